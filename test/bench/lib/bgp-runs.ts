/** What the benchmarks of BGP have in common: namespaces, neighbours written in C, one speaker at a time between them. */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { chmodSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { links, type Neighbour, peerAddress, removeBundle, type Speaker, type Topology } from './bgp-speakers.ts';
import { compile } from './compile.ts';

const patience = 120_000;

if (process.getuid?.() !== 0) {
	console.error('This benchmark makes network namespaces: run it as root.');
	process.exit(1);
}

const folder = mkdtempSync('/run/manx-bench-');
// FRR runs as a user of its own.
chmodSync(folder, 0o755);
const program = compile('bgp-load', folder);
export const netns = { speaker: `manxb-${process.pid}-s`, in: `manxb-${process.pid}-i`, out: `manxb-${process.pid}-o` };
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
	// The kernel's table of neighbours holds 1,024 that it has learnt, of all namespaces together.
	const mac = /link\/ether (\S+)/.exec(ip('-n', netns.in, 'link', 'show', 'eth0'))?.[1];
	const known = Array.from(
		{ length: peers },
		(_, i) => `neigh add ${peerAddress(i)} lladdr ${mac} nud permanent dev in\n`,
	);
	execFileSync('ip', ['-n', netns.speaker, '-batch', '-'], { input: known.join('') });
};

/** Speaks the monotonic clock, as `performance.timeOrigin` does not. */
const monotonic = (): number => Number(process.hrtime.bigint()) / 1e9;

export type Load = {
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

export type Figures = Record<string, number | undefined>;

export type Run = {
	readonly load: Load;
	readonly processes: readonly ChildProcess[];
	/** When the speaker was started, in monotonic seconds. */
	readonly started: number;
	/** Of the speaker's own files. */
	readonly folder: string;
};

export const withSpeaker = async (
	speaker: Speaker,
	neighbours: readonly Neighbour[],
	load: readonly string[],
	measure: (run: Run) => Promise<Figures>,
	topology: Topology = 'peers',
): Promise<Figures> => {
	makeNamespaces(load[0] === 'table' ? 1 : neighbours.length);
	const own = join(folder, 'speaker');
	mkdirSync(own);
	const [mode = '', ...rest] = load;
	const peers = startLoad([mode, netns.speaker, netns.in, ...rest]);
	await peers.event('ready');
	const started = monotonic();
	const processes = await speaker.start({ netns: netns.speaker, folder: own, neighbours, topology });
	for (const child of processes) children.add(child);
	try {
		return await measure({ load: peers, processes, started, folder: own });
	} finally {
		for (const child of [...processes, peers.child]) await end(child);
		removeNamespaces();
		rmSync(own, { recursive: true });
	}
};

/** Removes all that was made. */
export const cleanUp = async (): Promise<void> => {
	for (const child of [...children]) await end(child);
	removeNamespaces();
	removeBundle();
	rmSync(folder, { recursive: true, force: true });
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
