/**
 * Speakers beside each other: `npm run bench -- bgp [PREFIXES ...]` (0 for no table). For each size of table, with few and with many
 * attribute sets, an external peer announces it all at once (UPDATEs encoded beforehand, test/bench/lib/bgp-load.c): time
 * until the kernel's table has it, until a second peer was told, and, after the first peer is gone, until both are clean
 * again; processor time, most memory resident, UPDATEs sent on. Then internal peers with four routes each, from starting
 * the speaker to all routes in the kernel, the peers dialling or waiting to be dialled; and what that costs when idle.
 *
 * SPEAKERS (manx,BIRD,FRR,GoBGP; `manx (tree)` is the work tree unbundled), SESSIONS (200; 0 for none), ROUNDS (3),
 * MAXIMUM (4096; 65535 offers RFC 8654), NODE_ARGS for manx. GoBGP writes no kernel routes.
 */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { chmodSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout as delay } from 'node:timers/promises';
import {
	links,
	manxAsShipped,
	type Neighbour,
	others,
	peerAddress,
	removeBundle,
	type Speaker,
	speakerAS,
	usage,
} from './lib/bgp-speakers.ts';
import { compile } from './lib/compile.ts';

const sizes = process.argv.slice(3).map(Number);
const prefixCounts = (sizes.length > 0 ? sizes : [10_000, 100_000]).filter((count) => count > 0);
const list = (name: string, otherwise: string): string[] => (process.env[name] ?? otherwise).split(',');
const sessionCounts = list('SESSIONS', '200')
	.map(Number)
	.filter((count) => count > 0);
const chosen = list('SPEAKERS', 'manx,BIRD,FRR,GoBGP');
const rounds = Number(process.env.ROUNDS ?? 3);
const maximum = process.env.MAXIMUM ?? '4096';
const routesPerSession = 4;
const patience = 120_000;

if (process.getuid?.() !== 0) {
	console.error('This benchmark makes network namespaces: run it as root.');
	process.exit(1);
}

const folder = mkdtempSync('/run/manx-bench-');
// FRR runs as a user of its own.
chmodSync(folder, 0o755);
const program = compile('bgp-load', folder);
const netns = { speaker: `manxb-${process.pid}-s`, in: `manxb-${process.pid}-i`, out: `manxb-${process.pid}-o` };
const ip = (...args: readonly string[]): string => execFileSync('ip', args, { encoding: 'utf8' });
const children = new Set<ChildProcess>();

const removeNamespaces = (): void => {
	for (const name of Object.values(netns)) {
		try {
			execFileSync('ip', ['netns', 'del', name], { stdio: 'ignore' });
		} catch {}
	}
};

const makeNamespaces = (peers: number): void => {
	removeNamespaces();
	for (const name of Object.values(netns)) {
		ip('netns', 'add', name);
		ip('-n', name, 'link', 'set', 'lo', 'up');
	}
	for (const link of ['in', 'out'] as const) {
		const [here, there] = links[link];
		ip('-n', netns.speaker, 'link', 'add', link, 'type', 'veth', 'peer', 'name', 'eth0', 'netns', netns[link]);
		ip('-n', netns.speaker, 'addr', 'add', here, 'dev', link);
		ip('-n', netns.speaker, 'link', 'set', link, 'up');
		ip('-n', netns[link], 'link', 'set', 'eth0', 'up');
		if (link === 'out') ip('-n', netns[link], 'addr', 'add', there, 'dev', 'eth0');
	}
	ip('-n', netns.out, 'route', 'add', 'default', 'via', '198.19.0.1');
	const lines = Array.from({ length: peers }, (_, i) => `addr add ${peerAddress(i)}/16 dev eth0\n`);
	execFileSync('ip', ['-n', netns.in, '-batch', '-'], { input: lines.join('') });
};

/** Speaks the monotonic clock, as `performance.timeOrigin` does not. */
const monotonic = (): number => Number(process.hrtime.bigint()) / 1e9;

type Load = {
	readonly child: ChildProcess;
	/** When the event came, in monotonic seconds, and its count; undefined when it does not within two minutes. */
	readonly event: (name: string) => Promise<{ readonly at: number; readonly count: number } | undefined>;
	readonly tell: (line: string) => void;
};

const startLoad = (args: readonly string[]): Load => {
	const child = spawn(program, args, { stdio: ['pipe', 'pipe', 'inherit'] });
	children.add(child);
	const seen = new Map<string, { at: number; count: number }[]>();
	const waiting = new Map<string, (event: { at: number; count: number } | undefined) => void>();
	createInterface(child.stdout).on('line', (line) => {
		const [name = '', at, count] = line.split(' ');
		const event = { at: Number(at), count: Number(count) };
		const waiter = waiting.get(name);
		waiting.delete(name);
		if (waiter !== undefined) waiter(event);
		else seen.set(name, [...(seen.get(name) ?? []), event]);
	});
	return {
		child,
		event: (name) =>
			new Promise((resolve) => {
				const known = seen.get(name)?.shift();
				if (known !== undefined) {
					resolve(known);
					return;
				}
				const timer = setTimeout(() => {
					waiting.delete(name);
					resolve(undefined);
				}, patience);
				waiting.set(name, (event) => {
					clearTimeout(timer);
					resolve(event);
				});
			}),
		tell: (line) => child.stdin.write(`${line}\n`),
	};
};

const end = async (child: ChildProcess): Promise<void> => {
	children.delete(child);
	if (child.exitCode !== null || child.signalCode !== null) return;
	const ended = new Promise((resolve) => child.once('exit', resolve));
	// A profile is written at an orderly end only.
	child.kill(process.env.NODE_ARGS === undefined ? 'SIGKILL' : 'SIGTERM');
	await ended;
};

type Figures = Record<string, number | undefined>;

const withSpeaker = async (
	speaker: Speaker,
	neighbours: readonly Neighbour[],
	load: readonly string[],
	measure: (load: Load, processes: readonly ChildProcess[], started: number) => Promise<Figures>,
): Promise<Figures> => {
	makeNamespaces(load[0] === 'table' ? 1 : neighbours.length);
	const own = join(folder, 'speaker');
	mkdirSync(own);
	const [mode = '', ...rest] = load;
	const peers = startLoad([mode, netns.speaker, netns.in, ...rest]);
	await peers.event('ready');
	const started = monotonic();
	const processes = await speaker.start({ netns: netns.speaker, folder: own, neighbours });
	for (const child of processes) children.add(child);
	try {
		return await measure(peers, processes, started);
	} finally {
		for (const child of [...processes, peers.child]) await end(child);
		removeNamespaces();
		rmSync(own, { recursive: true });
	}
};

const tableOf = (speaker: Speaker, prefixes: number, sets: number): Promise<Figures> => {
	const neighbours = [
		{ address: peerAddress(0), asNumber: 65001 },
		{ address: '198.19.0.2', asNumber: 65002 },
	];
	const args = ['table', netns.out, String(prefixes), String(sets), maximum];
	return withSpeaker(speaker, neighbours, args, async (load, processes) => {
		if ((await load.event('up')) === undefined) return {};
		// A daemon has been running for a while when it matters.
		await delay(1500);
		const before = usage(processes);
		load.tell('announce');
		const t0 = (await load.event('announce'))?.at ?? 0;
		const told = await load.event('told');
		const fib = speaker.fib ? await load.event('fib') : undefined;
		const learnt = usage(processes);
		await delay(1000);
		const rested = usage(processes);
		load.tell('kill');
		const t1 = (await load.event('kill'))?.at ?? 0;
		const untold = await load.event('told');
		const clean = speaker.fib ? await load.event('fib') : undefined;
		const after = usage(processes);
		return {
			'to FIB': fib && fib.at - t0,
			'to peer': told && told.at - t0,
			UPDATEs: told?.count,
			'FIB clean': clean && clean.at - t1,
			'peer clean': untold && untold.at - t1,
			'CPU s': learnt.cpu - before.cpu,
			'CPU gone': after.cpu - rested.cpu,
			'MB idle': before.resident,
			'MB peak': after.peak,
		};
	});
};

const sessionsOf = (speaker: Speaker, count: number, how: 'dial' | 'listen'): Promise<Figures> => {
	const neighbours = Array.from({ length: count }, (_, i) => ({ address: peerAddress(i), asNumber: speakerAS }));
	const args = ['sessions', String(count), String(routesPerSession), how];
	return withSpeaker(speaker, neighbours, args, async (load, processes, started) => {
		const up = await load.event('up');
		const fib = speaker.fib ? await load.event('fib') : undefined;
		await delay(2000);
		const before = usage(processes);
		const idle = Number(process.env.IDLE ?? 10);
		await delay(idle * 1000);
		const after = usage(processes);
		return {
			'all up': up && up.at - started,
			'in FIB': fib && fib.at - started,
			'CPU s': before.cpu,
			'idle %': ((after.cpu - before.cpu) / idle) * 100,
			MB: after.resident,
			'MB peak': after.peak,
		};
	});
};

const median = (values: readonly (number | undefined)[]): number | undefined => {
	const known = values.filter((value) => value !== undefined).sort((a, b) => a - b);
	return known.length === values.length ? known[Math.floor(known.length / 2)] : undefined;
};

const text = (name: string, value: number | undefined): string =>
	(value === undefined ? '-' : value.toFixed(/MB|UPDATEs/.test(name) ? 0 : 2)).padStart(11);

const compare = async (
	title: string,
	speakers: readonly Speaker[],
	measure: (speaker: Speaker) => Promise<Figures>,
): Promise<void> => {
	const results = new Map<string, Figures[]>();
	for (let round = 0; round < rounds; round++) {
		for (const speaker of speakers) {
			results.set(speaker.name, [...(results.get(speaker.name) ?? []), await measure(speaker)]);
		}
	}
	const medians = new Map<string, Figures>();
	for (const [name, figures] of results) {
		const columns = Object.keys(figures[0] ?? {});
		medians.set(name, Object.fromEntries(columns.map((column) => [column, median(figures.map((one) => one[column]))])));
	}
	const columns = [...new Set([...medians.values()].flatMap((figures) => Object.keys(figures)))];
	console.log(`\n${title}`);
	console.log(`${''.padEnd(12)}${columns.map((column) => column.padStart(11)).join('')}`);
	for (const [name, figures] of medians) {
		console.log(`${name.padEnd(12)}${columns.map((column) => text(column, figures[column])).join('')}`);
	}
	const [ours, bird] = [medians.get('manx'), medians.get('BIRD')];
	if (ours === undefined || bird === undefined) return;
	const ratio = (column: string): number | undefined => {
		const [a, b] = [ours[column], bird[column]];
		return a === undefined || !b ? undefined : a / b;
	};
	console.log(`${'manx / BIRD'.padEnd(12)}${columns.map((column) => text('', ratio(column))).join('')}`);
};

for (const signal of ['SIGINT', 'SIGTERM'] as const) {
	process.once(signal, () => {
		for (const child of children) child.kill('SIGKILL');
		removeNamespaces();
		removeBundle();
		rmSync(folder, { recursive: true });
		process.exit(1);
	});
}

try {
	const all = [...(chosen.includes('manx') ? [await manxAsShipped()] : []), ...others];
	const speakers = all.filter(({ name }) => chosen.includes(name));
	console.log(`medians of ${rounds} rounds; times in seconds`);
	for (const prefixes of prefixCounts) {
		for (const sets of [10, Math.ceil(prefixes / 4)]) {
			const title = `${prefixes} prefixes in ${sets} attribute sets`;
			await compare(title, speakers, (speaker) => tableOf(speaker, prefixes, sets));
		}
	}
	for (const count of sessionCounts) {
		for (const how of ['dial', 'listen'] as const) {
			const title = `${count} internal peers that ${how}, ${routesPerSession} prefixes each, from the start of the speaker`;
			await compare(title, speakers, (speaker) => sessionsOf(speaker, count, how));
		}
	}
} finally {
	for (const child of [...children]) await end(child);
	removeNamespaces();
	removeBundle();
	rmSync(folder, { recursive: true });
}
