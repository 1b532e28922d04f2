/**
 * `npm test`: checks style and types, then runs every test under test/ on the real kernel.
 * `npm test -- unit netns/routes`: only files whose path contains one of the words.
 */
import { spawnSync } from 'node:child_process';
import { globSync } from 'node:fs';
import { join, relative } from 'node:path';
import { run } from 'node:test';
import { spec } from 'node:test/reporters';
import { ensurePrograms } from '../src/lab/system-packages.ts';

const root = join(import.meta.dirname, '..');
const words = process.argv.slice(2);

const finish = (passed: number, failed: number): never => {
	console.log(`\n${passed} passed, ${failed} failed`);
	process.exit(failed === 0 && passed > 0 ? 0 : 1);
};

if (process.getuid?.() !== 0) {
	console.error('The tests make network namespaces: run them as root.');
	finish(0, 1);
}
const problem = ensurePrograms(
	['ip', 'iptables', 'ipset', 'bird', 'ping', 'tcpdump', 'conntrack', 'gcc', 'libc.a', 'vtysh', 'gobgpd', 'ptp'],
	console.log,
);
if (problem !== undefined) {
	console.error(problem);
	finish(0, 1);
}

let passed = 0;
let failed = 0;
if (words.length === 0) {
	for (const [name, command] of [
		['style (biome)', ['biome', 'check', '.']],
		['types (tsc)', ['tsc', '--noEmit']],
	] as const) {
		const [program, ...args] = command;
		const result = spawnSync(join(root, 'node_modules/.bin', program), args, { cwd: root, stdio: 'inherit' });
		console.log(`${result.status === 0 ? '✔' : '✖'} ${name}`);
		if (result.status === 0) passed++;
		else failed++;
	}
}

const files = globSync('{test,felix,bird,src}/**/*.test.ts', { cwd: root, exclude: ['**/node_modules/**'] })
	// Clusters have a runner of their own, since they take an image and minutes: npm run test:cluster.
	.filter((file) =>
		words.length === 0 ? !file.startsWith('test/cluster/') : words.some((word) => file.includes(word)),
	)
	.sort()
	.map((file) => join(root, file));

const stream = run({ files, concurrency: 2, timeout: 600_000, cwd: root });
stream.on('test:pass', (event) => {
	if (event.details.type !== 'suite' && event.skip === undefined) passed++;
});
stream.on('test:fail', (event) => {
	if (event.details.type !== 'suite') {
		failed++;
		process.exitCode = 1;
	}
});
stream.compose(spec).pipe(process.stdout);
stream.on('end', () => setImmediate(() => setTimeout(finish, 200, passed, failed)));
process.on('exit', () => {
	if (files.length === 0) console.error(`no test file matches ${words.map((word) => relative('.', word)).join(' ')}`);
});
