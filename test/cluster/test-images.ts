import { spawnSync } from 'node:child_process';
import { copyFileSync, mkdirSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';
import { findProgram } from '../../src/lab/system-packages.ts';
import { writeDockerArchive } from './docker-archive.ts';

export const pauseImage = 'docker.io/manx-test/pause:1';
/** Kubernetes' own test program beside busybox: netexec, pause, connect ... */
export const agnhostImage = 'docker.io/manx-test/agnhost:1';

export const testImageFiles = (folder: string): readonly [string, string] => [
	join(folder, 'pause.tar'),
	join(folder, 'agnhost.tar'),
];

/** Writes the two images the test pods run, and returns their files. */
export const writeTestImages = (folder: string, agnhost: string): readonly string[] => {
	const rootfs = join(folder, 'rootfs');
	for (const part of ['bin', 'etc', 'tmp']) mkdirSync(join(rootfs, part), { recursive: true });
	copyFileSync(agnhost, join(rootfs, 'agnhost'));
	const busybox = findProgram('busybox') ?? '/bin/busybox';
	copyFileSync(busybox, join(rootfs, 'bin/busybox'));
	const applets = spawnSync(busybox, ['--list'], { encoding: 'utf8' }).stdout.trim().split('\n');
	for (const applet of applets) if (applet !== 'busybox') symlinkSync('busybox', join(rootfs, 'bin', applet));
	const [pause, agnhostFile] = testImageFiles(folder);
	writeDockerArchive({ file: pause, name: pauseImage, rootfs, entrypoint: ['/agnhost', 'pause'] });
	writeDockerArchive({ file: agnhostFile, name: agnhostImage, rootfs, entrypoint: ['/agnhost'] });
	return [pause, agnhostFile];
};
