import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

const tar = (...args: string[]): void => {
	const { status, stderr } = spawnSync('tar', args, { encoding: 'utf8' });
	if (status !== 0) throw new Error(`tar ${args.join(' ')} failed: ${stderr}`);
};

/** Packs a folder as an image of one layer, in the format `docker save` writes and `ctr images import` reads. */
export const writeDockerArchive = (image: {
	readonly file: string;
	readonly name: string;
	readonly rootfs: string;
	readonly entrypoint: readonly string[];
}): void => {
	const scratch = mkdtempSync(`${image.file}.`);
	try {
		const layer = join(scratch, 'layer.tar');
		tar('--create', '--file', layer, '--directory', image.rootfs, '--sort=name', '--owner=0', '--group=0', '.');
		const sha256 = (data: string | Buffer): string => createHash('sha256').update(data).digest('hex');
		const config = JSON.stringify({
			architecture: process.arch === 'arm64' ? 'arm64' : 'amd64',
			os: 'linux',
			config: { Entrypoint: image.entrypoint, Env: ['PATH=/bin:/'] },
			rootfs: { type: 'layers', diff_ids: [`sha256:${sha256(readFileSync(layer))}`] },
		});
		const configFile = `${sha256(config)}.json`;
		writeFileSync(join(scratch, configFile), config);
		const manifest = [{ Config: configFile, RepoTags: [image.name], Layers: ['layer.tar'] }];
		writeFileSync(join(scratch, 'manifest.json'), JSON.stringify(manifest));
		tar('--create', '--file', image.file, '--directory', scratch, configFile, 'layer.tar', 'manifest.json');
	} finally {
		rmSync(scratch, { recursive: true, force: true });
	}
};
