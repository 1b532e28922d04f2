/**
 * `npm run test:cluster`: builds the image and runs the tests below test/cluster on real Kubernetes clusters, which it
 * brings up by itself. `npm run test:cluster -- traffic`: only files whose path contains one of the words.
 *
 * Whatever ends it (the tests' end, TEST_CLUSTER_MINUTES, SIGINT or SIGTERM), what it started is taken down and the last
 * line counts what passed and failed. TEST_IMAGE: an image that is built already.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { globSync, mkdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { run } from 'node:test';
import { spec } from 'node:test/reporters';
import { endProcesses, recordOf } from '../../src/lab/processes.ts';
import { parentOf } from './down.ts';
import { sweepDead, testProcesses } from './sweep.ts';

const root = join(import.meta.dirname, '../..');
const words = process.argv.slice(2);
const minutes = Number(process.env.TEST_CLUSTER_MINUTES ?? 60);
const startedAt = performance.now();

let passed = 0;
let failed = 0;
const finish = (): never => {
	const minutesTaken = ((performance.now() - startedAt) / 60_000).toFixed(1);
	// The last line is read by .ci/run.
	console.log(`\n${minutesTaken} minutes\n${passed} passed, ${failed} failed`);
	process.exit(failed === 0 && passed > 0 ? 0 : 1);
};
const giveUp = (reason: string): never => {
	console.error(reason);
	failed++;
	return finish();
};

const stop = new AbortController();
let ending = false;
/** Taken down by a signal with all it started: a process group of its own. */
let builder: ChildProcess | undefined;
const build = (...argv: string[]): Promise<boolean> =>
	new Promise((resolve) => {
		builder = spawn(process.execPath, argv, { stdio: 'inherit', detached: true });
		builder.on('close', (status) => {
			builder = undefined;
			// Ended by a signal to us: the rest is up to end().
			if (!ending) resolve(status === 0);
		});
	});

/** Ends our own test processes, so that none starts anything more, then takes down what they had. */
const end = async (reason?: string): Promise<void> => {
	if (ending) return;
	ending = true;
	if (reason !== undefined) {
		failed++;
		console.error(`\n${reason}: taking down what was started ...`);
		stop.abort();
	}
	if (builder?.pid !== undefined) process.kill(-builder.pid, 'SIGTERM');
	const ours = [...testProcesses()].filter((pid) => parentOf(pid) === process.pid);
	await endProcesses(ours.flatMap((pid) => recordOf(pid) ?? []));
	await sweepDead(console.log).catch((error: Error) => {
		failed++;
		console.error(`what the tests started is not all down: ${error.message}`);
	});
	finish();
};
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => void end(signal));
setTimeout(() => void end(`not done after ${minutes} minutes`), minutes * 60_000).unref();

if (process.getuid?.() !== 0) giveUp('The tests make network namespaces and run containers: run them as root.');
if (!(await build(join(import.meta.dirname, 'binaries.ts')))) giveUp('The programs of a cluster cannot be had.');
await sweepDead(console.log);
if (process.env.TEST_IMAGE === undefined) {
	const image = join(root, 'build/manx.tar');
	mkdirSync(join(root, 'build'), { recursive: true });
	if (!(await build(join(root, 'src/image/build.ts'), image))) giveUp('The image cannot be built.');
	process.env.TEST_IMAGE = image;
}

const files = globSync('test/cluster/*.test.ts', { cwd: root })
	.filter((file) => words.length === 0 || words.some((word) => file.includes(word)))
	.sort()
	.map((file) => join(root, file));
if (files.length === 0) giveUp(`No test file matches ${words.join(' ')}.`);

/** Those without a cluster mostly wait for one API server: they run beside the others. */
const isLight = (file: string): boolean => readFileSync(file, 'utf8').includes("from './datastore-server.ts'");

const runFiles = (some: readonly string[]): Promise<void> =>
	new Promise((resolve) => {
		if (some.length === 0) return resolve();
		const stream = run({ files: some, concurrency: 1, timeout: 2_400_000, cwd: root, signal: stop.signal });
		stream.on('test:pass', (event) => {
			if (event.details.type !== 'suite' && event.skip === undefined) passed++;
		});
		stream.on('test:fail', (event) => {
			if (event.details.type !== 'suite') failed++;
		});
		stream.compose(new spec()).pipe(process.stdout, { end: false });
		stream.on('end', () => setImmediate(() => setTimeout(resolve, 200)));
	});

await Promise.all([runFiles(files.filter(isLight)), runFiles(files.filter((file) => !isLight(file)))]);
await end();
