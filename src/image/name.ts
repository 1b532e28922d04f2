import packageJson from '../../package.json' with { type: 'json' };

/** Name of the image, the same in the manifest and in the archive. */
export const imageName = `manx.dev/manx:${packageJson.version}`;
