/**
 * `npm run test:cluster`: builds the image and runs the tests below test/cluster on real Kubernetes clusters, which it
 * brings up by itself. `npm run test:cluster -- traffic`: only files whose path contains one of the words.
 */
import { spawnSync } from 'node:child_process';
import { existsSync, globSync, mkdirSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { run } from 'node:test';
import { spec } from 'node:test/reporters';
import { startTimeOf } from '../../src/lab/processes.ts';
import { findBinaries } from './binaries.ts';
import { down } from './down.ts';

const root = join(import.meta.dirname, '../..');
const words = process.argv.slice(2);

const finish = (passed: number, failed: number): never => {
	console.log(`\n${passed} passed, ${failed} failed`);
	process.exit(failed === 0 && passed > 0 ? 0 : 1);
};

if (process.getuid?.() !== 0) {
	console.error('The tests make network namespaces and run containers: run them as root.');
	finish(0, 1);
}
try {
	findBinaries(console.log);
} catch (error) {
	console.error((error as Error).message);
	finish(0, 1);
}
// What a run that was killed left behind; clusters carry their test process' id.
for (const name of existsSync('/run/manx-cluster') ? readdirSync('/run/manx-cluster') : []) {
	const pid = /^t(\d+)/.exec(name)?.[1];
	if (pid === undefined || startTimeOf(Number(pid)) !== undefined) continue;
	console.log(`taking down cluster ${name} of an earlier run`);
	await down(name);
}
if (process.env.TEST_IMAGE === undefined) {
	const image = join(root, 'build/manx.tar');
	mkdirSync(join(root, 'build'), { recursive: true });
	const { status } = spawnSync(process.execPath, [join(root, 'src/image/build.ts'), image], { stdio: 'inherit' });
	if (status !== 0) finish(0, 1);
	process.env.TEST_IMAGE = image;
}

const files = globSync('test/cluster/*.test.ts', { cwd: root })
	.filter((file) => words.length === 0 || words.some((word) => file.includes(word)))
	.sort()
	.map((file) => join(root, file));
if (files.length === 0) console.error(`no test file matches ${words.join(' ')}`);

let passed = 0;
let failed = 0;
const stream = run({ files, concurrency: 1, timeout: 1_200_000, cwd: root });
stream.on('test:pass', (event) => {
	if (event.details.type !== 'suite' && event.skip === undefined) passed++;
});
stream.on('test:fail', (event) => {
	if (event.details.type !== 'suite') failed++;
});
stream.compose(spec).pipe(process.stdout);
stream.on('end', () => setImmediate(() => setTimeout(finish, 200, passed, failed)));
