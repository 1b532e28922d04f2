import packageJson from '../../package.json' with { type: 'json' };

export const imageNameOf = (version: string): string => `manx.dev/manx:${version}`;

/** Name of the image, the same in the manifest and in the archive. */
export const imageName = imageNameOf(packageJson.version);
