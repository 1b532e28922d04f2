/**
 * Routes: ours beside `ip -batch`, in the same run, in a network namespace of their own. Prints medians and ratios;
 * then a resync of 65,000 routes that are as wanted, which must write nothing.
 */
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { type Kernel, owners, type Route } from '../../src/kernel/kernel.ts';
import { openKernel } from '../../src/kernel/open-kernel.ts';
import type { Logger } from '../../src/logging.ts';
import { addressFromBytes, type Family } from '../../src/net/ip.ts';

const count = 20_000;
const resyncCount = 65_000;
const rounds = Number(process.env.ROUNDS ?? 9);
/** Rounds not counted, for both sides: a daemon has been running for a while when it matters. */
const warmUp = 3;

if (process.getuid?.() !== 0) {
	console.error('This benchmark makes a network namespace: run it as root.');
	process.exit(1);
}

const log: Logger = { debug: () => {}, info: () => {}, warn: () => {}, error: console.error, child: () => log };
const netns = `manxb-${process.pid}`;
const folder = mkdtempSync(join(tmpdir(), 'manx-bench-'));
const ip = (...args: string[]): string => execFileSync('ip', args, { encoding: 'utf8' });
const inside = (...args: string[]): string => ip('-n', netns, ...args);

const prefix = (family: Family, i: number): string => {
	const bytes = Buffer.alloc(family === 4 ? 4 : 16);
	bytes.writeUInt32BE((family === 4 ? 0x0b000000 : 0x20010db8) >>> 0, 0);
	if (family === 4) bytes.writeUInt32BE(0x0b000000 + i * 64, 0);
	else bytes.writeUInt32BE(i, 4);
	return `${addressFromBytes(bytes, family)}/${family === 4 ? 26 : 64}`;
};
const gateway = (family: Family): string => (family === 4 ? '192.0.2.1' : 'fd00::1');
const route = (family: Family, i: number): Route => ({
	dst: prefix(family, i),
	type: 'unicast',
	scope: 'universe',
	protocol: owners.bird.protocol,
	metric: owners.bird.metric,
	nextHops: [{ via: gateway(family), dev: 'bench0' }],
});
const flush = (family: Family): void => {
	inside(`-${family}`, 'route', 'flush', 'proto', String(owners.bird.protocol));
};
const open = (): Kernel => openKernel({ log, netns: `/run/netns/${netns}` });
const timed = async (run: () => Promise<void> | void): Promise<number> => {
	const start = process.hrtime.bigint();
	await run();
	return Number(process.hrtime.bigint() - start) / 1e6;
};
/** Lets the kernel free what a flush left to RCU, and our side read the notifications of it. */
const quiet = (): Promise<void> => setTimeout(300);
const median = (values: readonly number[]): number =>
	[...values].sort((a, b) => a - b)[Math.floor(values.length / 2)] as number;
const report = (times: readonly number[]): string =>
	`p50 ${median(times).toFixed(0).padStart(5)} ms  (${times.map((time) => time.toFixed(0)).join(' ')})`;

const race = async (family: Family): Promise<void> => {
	const routes = Array.from({ length: count }, (_, i) => route(family, i));
	const batch = join(folder, `routes${family}`);
	const lines = routes.map(
		({ dst, protocol, metric }) =>
			`route add ${dst} via ${gateway(family)} dev bench0 proto ${protocol} metric ${metric}`,
	);
	writeFileSync(batch, `${lines.join('\n')}\n`);
	const ours: number[] = [];
	const theirs: number[] = [];
	const kernel = open();
	const reconciler = kernel.routes(owners.bird);
	reconciler.sweep(true);
	for (let round = -warmUp; round < rounds; round++) {
		flush(family);
		reconciler.replace([]);
		await quiet();
		await reconciler.resync();
		ours.push(
			await timed(async () => {
				for (const value of routes) reconciler.set(value);
				const { written, failed } = await reconciler.apply();
				if (written.length !== count) throw new Error(`${failed.size} failed: ${[...failed.values()][0]?.message}`);
			}),
		);
		flush(family);
		await quiet();
		theirs.push(await timed(() => void inside(`-${family}`, '-batch', batch)));
	}
	flush(family);
	kernel.close();
	ours.splice(0, warmUp);
	theirs.splice(0, warmUp);
	console.log(`${count} IPv${family} routes`);
	console.log(`  ip -batch   ${report(theirs)}`);
	console.log(`  manx        ${report(ours)}`);
	console.log(`  manx is ${(median(theirs) / median(ours)).toFixed(2)} times as fast`);
};

const resync = async (family: Family): Promise<void> => {
	const kernel = open();
	const reconciler = kernel.routes(owners.bird);
	reconciler.sweep(true);
	for (let i = 0; i < resyncCount; i++) reconciler.set(route(family, i));
	await reconciler.apply();
	const times: number[] = [];
	let written = 0;
	for (let round = 0; round < rounds; round++) {
		times.push(
			await timed(async () => {
				await reconciler.resync();
				const applied = await reconciler.apply();
				written += applied.written.length + applied.deleted.length + applied.failed.size;
			}),
		);
	}
	kernel.close();
	flush(family);
	console.log(`resync of ${resyncCount} unchanged IPv${family} routes`);
	console.log(`  manx        ${report(times)}, ${written} written`);
	if (written !== 0) process.exitCode = 1;
};

try {
	ip('netns', 'add', netns);
	inside('link', 'add', 'bench0', 'type', 'veth', 'peer', 'name', 'bench1');
	inside('address', 'add', '192.0.2.2/24', 'dev', 'bench0');
	inside('address', 'add', 'fd00::2/64', 'dev', 'bench0', 'nodad');
	inside('link', 'set', 'bench0', 'up');
	inside('link', 'set', 'bench1', 'up');
	for (const family of [4, 6] as const) await race(family);
	for (const family of [4, 6] as const) await resync(family);
} finally {
	ip('netns', 'delete', netns);
	rmSync(folder, { recursive: true });
}
