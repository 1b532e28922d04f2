import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, renameSync, rmSync, statSync } from 'node:fs';
import { join, resolve } from 'node:path';
import packageJson from '../../package.json' with { type: 'json' };
import { ensurePrograms } from '../lab/system-packages.ts';
import { buildContext, contextFolder } from './context.ts';
import { imageNameOf } from './name.ts';

/**
 * `npm run image -- FILE.tar`: builds the Dockerfile and writes the image as a docker-archive, under the name the
 * manifest asks for; with a VERSION behind, program and image are called by that. No registry is needed: the base image
 * is made by mmdebstrap from Debian's packages, and kept for a week. `--context` only prepares what the Dockerfile
 * copies, for another builder.
 */

const root = join(import.meta.dirname, '../..');
const cache = '/var/cache/manx-image';
const baseName = 'docker.io/library/debian:bookworm-slim';
const week = 7 * 24 * 3600 * 1000;

const fail = (message: string): never => {
	console.error(`npm run image: ${message}`);
	process.exit(1);
};

const call = (program: string, ...args: string[]): void => {
	const { status, stdout, stderr, error } = spawnSync(program, args, {
		cwd: root,
		encoding: 'utf8',
		maxBuffer: 64 << 20,
	});
	if (status === 0) return;
	fail(`${program} ${args.join(' ')} failed: ${error?.message ?? ''}\n${stdout}${stderr}`);
};

const buildah = (...args: string[]): void =>
	call(
		'buildah',
		...['--storage-driver', 'vfs', '--root', join(cache, 'storage'), '--runroot', join(cache, 'run')],
		...args,
	);

/** As Debian's own slim images: no manual pages, no translations. */
const slim = ['doc', 'man', 'info', 'locale', 'groff', 'lintian'].map(
	(folder) => `--dpkgopt=path-exclude=/usr/share/${folder}/*`,
);

/** usrmerge did its work and usr-is-merged stands for it; it is what brought all of perl along. */
const useless = [
	...['usrmerge', 'libfile-find-rule-perl', 'libnumber-compare-perl', 'libtext-glob-perl', 'perl'],
	...['libperl5.36', 'perl-modules-5.36', 'libgdbm-compat4', 'libgdbm6'],
];

const prepareBase = (): void => {
	const base = join(cache, 'base.tar');
	if (!existsSync(base) || Date.now() - statSync(base).mtimeMs > week) {
		console.log('making the base system (half a minute, once a week) ...');
		call(
			'mmdebstrap',
			'--variant=apt',
			'--format=tar',
			'--quiet',
			'--include=usr-is-merged',
			...slim,
			`--customize-hook=chroot "$1" dpkg --purge ${useless.join(' ')}`,
			'--customize-hook=rm -rf "$1"/var/lib/apt/lists/* "$1"/var/cache/apt/*',
			'bookworm',
			`${base}.new`,
			'/etc/apt/sources.list.d/debian.sources',
		);
		rmSync(join(cache, 'storage'), { recursive: true, force: true });
		renameSync(`${base}.new`, base);
	}
	const known = spawnSync(
		'buildah',
		['--storage-driver', 'vfs', '--root', join(cache, 'storage'), '--runroot', join(cache, 'run'), 'inspect', baseName],
		{ encoding: 'utf8' },
	);
	if (known.status === 0) return;
	buildah('bud', '--isolation', 'chroot', '--tag', baseName, '--file', join(root, 'src/image/base.Dockerfile'), cache);
};

const [target = '', version = packageJson.version] = process.argv.slice(2);
const imageName = imageNameOf(version);
if (!/^[\w.-]{1,100}$/.test(version)) fail(`'${version}' cannot be a version: letters, digits, dots and dashes can.`);
if (target === '') fail('say where to write the image: npm run image -- FILE.tar');
const started = performance.now();
await buildContext(version).catch((error: Error) => fail(error.message));
if (target === '--context') {
	console.log(`${contextFolder} is ready: docker build -t ${imageName} .`);
} else {
	if (process.getuid?.() !== 0) fail('building the image needs root.');
	const problem = ensurePrograms(['mmdebstrap', 'buildah'], console.log);
	if (problem !== undefined) fail(problem);
	mkdirSync(cache, { recursive: true });
	prepareBase();
	buildah('bud', '--isolation', 'chroot', '--pull-never', '--layers', '--tag', imageName, '--file', 'Dockerfile', '.');
	const file = resolve(target);
	rmSync(file, { force: true });
	buildah('push', '--quiet', imageName, `docker-archive:${file}:${imageName}`);
	const megabytes = (statSync(file).size / 1e6).toFixed(0);
	console.log(`${file}: ${imageName}, ${megabytes} MB, ${((performance.now() - started) / 1000).toFixed(0)} s`);
}
