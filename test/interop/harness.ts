import assert from 'node:assert/strict';
import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface, type Interface } from 'node:readline';
import { promisify } from 'node:util';
import type { PeerConfig, SpeakerConfig } from '../../bird/config.ts';
import type { BirdStatus, RouteAnswer, RouteLine, RouteQuery } from '../../bird/index.ts';
import { birdOptions } from '../../src/image/node-options.ts';

/** Two network namespaces on one wire: `node` for a speaker of ours, `router` for somebody else's. */

const run = promisify(execFile);
export const output = async (program: string, args: readonly string[]): Promise<string> =>
	(await run(program, args as string[], { maxBuffer: 64 << 20 })).stdout;

export const until = async (
	what: string,
	condition: () => boolean | Promise<boolean>,
	seconds = 40,
	pauseMilliseconds = 30,
): Promise<void> => {
	const end = Date.now() + seconds * 1000;
	for (;;) {
		if (await condition()) return;
		if (Date.now() > end) assert.fail(`${what}: not within ${seconds} s`);
		await new Promise((resolve) => setTimeout(resolve, pauseMilliseconds));
	}
};

export type Process = {
	readonly child: ChildProcess;
	/** What it wrote to stderr and, unless asked for lines, stdout. */
	readonly log: () => string;
	readonly end: (signal: NodeJS.Signals) => Promise<void>;
};

export type OurSpeaker = Process & {
	readonly status: () => Promise<BirdStatus>;
	readonly update: (config: SpeakerConfig) => void;
	readonly routes: (query: RouteQuery) => Promise<readonly RouteLine[]>;
	/** `clear MESSAGE`, `refresh in|out`: for all peers. */
	readonly tell: (line: string) => void;
};

export type Wire = {
	readonly node: string;
	readonly router: string;
	readonly folder: string;
	readonly file: (name: string, text: string) => string;
	readonly start: (netns: string, program: string, args: readonly string[]) => Process;
	/** In `node` unless told otherwise. */
	readonly speaker: (config: SpeakerConfig, netns?: string) => OurSpeaker;
	/** `ip -n NETNS ...`, split at spaces. */
	readonly ip: (netns: string, command: string) => Promise<string>;
	/** A command in `router`, split at spaces. */
	readonly inRouter: (command: string) => Promise<string>;
	readonly inNode: (command: string) => Promise<string>;
	/** Prefixes of a protocol in the main table of a namespace, both families. */
	readonly routes: (netns: string, protocol: string) => Promise<string[]>;
	/** Route changes seen from now on, as `ip monitor route` prints them. */
	readonly monitor: (netns: string) => Promise<Process>;
	/** Another router on a wire of its own to `node`; its packets to anywhere go by `node`. */
	readonly branch: () => Promise<Branch>;
	/** One more namespace, on no wire yet; ended with the others. */
	readonly namespace: () => Promise<string>;
	readonly close: () => Promise<void>;
};

export type Branch = {
	readonly netns: string;
	readonly node: { readonly ipv4: string; readonly ipv6: string };
	readonly router: { readonly ipv4: string; readonly ipv6: string };
};

let count = 0;

export const addresses = {
	node: { ipv4: '192.0.2.1', ipv6: '2001:db8::1' },
	router: { ipv4: '192.0.2.2', ipv6: '2001:db8::2' },
} as const;
/** What each side announces; `unknown` stands for an address of the node's range with no pod. */
export const prefixes = {
	node: ['10.244.1.0/24', '2001:db8:1::/64'],
	router: ['198.51.100.0/24', '2001:db8:99::/64'],
} as const;
/** BIRD and FRR tell who they are, or what they print, in the kernel's route protocol names and numbers. */
export const ourProtocol = '174';

export const createWire = async (): Promise<Wire> => {
	const id = `manxi-${process.pid}-${++count}`;
	const [node, router] = [`${id}n`, `${id}r`];
	const folder = mkdtempSync(join(tmpdir(), `${id}-`));
	const processes: Process[] = [];
	const ip = (netns: string, command: string): Promise<string> => output('ip', ['-n', netns, ...command.split(' ')]);

	const watch = (child: ChildProcess, withStdout: boolean): Process => {
		let text = '';
		const add = (chunk: Buffer): void => {
			text += chunk;
		};
		child.stderr?.on('data', add);
		if (withStdout) child.stdout?.on('data', add);
		const exited = new Promise<void>((resolve) => child.once('exit', () => resolve()));
		const started: Process = {
			child,
			log: () => text,
			end: async (signal) => {
				if (child.exitCode === null && child.signalCode === null) child.kill(signal);
				await exited;
			},
		};
		processes.push(started);
		return started;
	};
	const start = (netns: string, program: string, args: readonly string[]): Process =>
		watch(spawn('ip', ['netns', 'exec', netns, program, ...args], { stdio: ['pipe', 'pipe', 'pipe'] }), true);

	for (const netns of [node, router]) {
		await output('ip', ['netns', 'add', netns]);
		await ip(netns, 'link set lo up');
	}
	await ip(node, `link add eth0 type veth peer name eth0 netns ${router}`);
	for (const [netns, own] of [
		[node, addresses.node],
		[router, addresses.router],
	] as const) {
		await ip(netns, 'link set eth0 up');
		await ip(netns, `address add ${own.ipv4}/24 dev eth0`);
		await ip(netns, `-6 address add ${own.ipv6}/64 dev eth0 nodad`);
	}
	for (const prefix of prefixes.node) await ip(node, `route add blackhole ${prefix} proto 173 metric 173`);

	const namespaces = [node, router];
	const namespace = async (): Promise<string> => {
		const netns = `${id}x${namespaces.length}`;
		namespaces.push(netns);
		await output('ip', ['netns', 'add', netns]);
		await ip(netns, 'link set lo up');
		return netns;
	};

	const branches: Branch[] = [];
	const branch = async (): Promise<Branch> => {
		const n = branches.length + 1;
		const netns = `${id}b${n}`;
		const own = (host: number): { ipv4: string; ipv6: string } => ({
			ipv4: `10.9.${n}.${host}`,
			ipv6: `2001:db8:9:${n}::${host}`,
		});
		const made = { netns, node: own(1), router: own(2) };
		branches.push(made);
		await output('ip', ['netns', 'add', netns]);
		await ip(netns, 'link set lo up');
		await ip(node, `link add eth${n} type veth peer name eth0 netns ${netns}`);
		for (const [where, dev, { ipv4, ipv6 }] of [
			[node, `eth${n}`, made.node],
			[netns, 'eth0', made.router],
		] as const) {
			await ip(where, `link set ${dev} up`);
			await ip(where, `address add ${ipv4}/24 dev ${dev}`);
			await ip(where, `-6 address add ${ipv6}/64 dev ${dev} nodad`);
		}
		await ip(netns, `route add default via ${made.node.ipv4}`);
		await ip(netns, `-6 route add default via ${made.node.ipv6}`);
		return made;
	};

	return {
		node,
		router,
		branch,
		namespace,
		folder,
		ip,
		inNode: (command) => output('ip', ['netns', 'exec', node, ...command.split(' ')]),
		inRouter: (command) => output('ip', ['netns', 'exec', router, ...command.split(' ')]),
		start,
		file: (name, text) => {
			const path = join(folder, name);
			writeFileSync(path, text);
			return path;
		},
		speaker: (config, netns = node) => {
			const path = join(folder, `speaker-${processes.length}.json`);
			writeFileSync(path, JSON.stringify(config));
			const script = join(import.meta.dirname, 'speaker-process.ts');
			const child = spawn('ip', ['netns', 'exec', netns, process.execPath, ...birdOptions, script, path], {
				stdio: ['pipe', 'pipe', 'pipe'],
			});
			const lines: Interface = createInterface({ input: child.stdout });
			const started = watch(child, false);
			child.stdin.on('error', () => {});
			const ask = <T>(question: string): Promise<T> =>
				new Promise((resolve, reject) => {
					const gone = (): void => reject(new Error(`the speaker is gone:\n${started.log()}`));
					if (child.exitCode !== null || child.signalCode !== null) return gone();
					child.once('exit', gone);
					lines.once('line', (line) => {
						child.off('exit', gone);
						resolve(JSON.parse(line) as T);
					});
					child.stdin.write(`${question}\n`);
				});
			return {
				...started,
				update: (next) => child.stdin.write(`update ${JSON.stringify(next)}\n`),
				tell: (line) => child.stdin.write(`${line}\n`),
				status: () => ask<BirdStatus>('status'),
				routes: async (query) => {
					const answer = await ask<RouteAnswer>(`routes ${JSON.stringify(query)}`);
					assert.ok(answer.ok, JSON.stringify(answer));
					return answer.routes;
				},
			};
		},
		routes: async (netns, protocol) => {
			const found: string[] = [];
			for (const family of ['-4', '-6']) {
				const text = await output('ip', ['-j', '-n', netns, family, 'route', 'show', 'proto', protocol]);
				for (const { dst } of JSON.parse(text || '[]') as { dst: string }[]) found.push(dst);
			}
			return found.sort();
		},
		monitor: async (netns) => {
			const monitor = start(netns, 'ip', ['monitor', 'route']);
			// It listens once a change of ours shows.
			await until('ip monitor listens', async () => {
				await ip(netns, 'route add blackhole 203.0.113.255/32');
				await ip(netns, 'route delete blackhole 203.0.113.255/32');
				return monitor.log().includes('203.0.113.255');
			});
			return monitor;
		},
		close: async () => {
			await Promise.all(processes.map((started) => started.end('SIGKILL')));
			for (const netns of [...namespaces, ...branches.map(({ netns }) => netns)])
				await output('ip', ['netns', 'delete', netns]).catch(() => {});
			rmSync(folder, { recursive: true, force: true });
		},
	};
};

export const routerPeer = (extra: Partial<PeerConfig> = {}): PeerConfig => ({
	name: 'peer/tor',
	address: addresses.router.ipv4,
	port: 179,
	asNumber: 65000,
	localAddress: addresses.node.ipv4,
	holdTime: 90,
	restartTime: 120,
	passive: false,
	families: ['1/1', '2/1'],
	exportLearnt: true,
	...extra,
});

export const speakerConfig = (peer: PeerConfig = routerPeer(), extra: Partial<SpeakerConfig> = {}): SpeakerConfig => ({
	asNumber: 64512,
	routerId: addresses.node.ipv4,
	listen: [
		{ address: '0.0.0.0', port: 179 },
		{ address: '::', port: 179 },
	],
	addresses: addresses.node,
	peers: [peer],
	originate: prefixes.node,
	maximumPaths: 16,
	...extra,
});

/** Lines of a monitor about prefixes other than its own mark. */
export const changesIn = (monitor: Process): string[] =>
	monitor
		.log()
		.split('\n')
		.filter((line) => line !== '' && !line.includes('203.0.113.255'))
		.filter((line) => /^(Deleted )?(blackhole |unicast )?(10\.244|198\.51|2001:db8:(1|99):)/.test(line));
