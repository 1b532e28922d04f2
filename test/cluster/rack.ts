import { type ChildProcess, spawn } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { inNetns, ipBatch, mustRun, type Outcome, run, until } from '../../src/lab/shell.ts';
import { startComponent, stopComponent } from './components.ts';
import { inMachine } from './control-plane.ts';
import type { Harness } from './harness.ts';
import { fabricAddress } from './network.ts';
import { paths } from './state.ts';

/**
 * A top-of-rack router in the place of the fabric's, BIRD at 172.30.0.1, and a client of the outside behind it:
 *
 *     outside 198.51.100.10 -- 198.51.100.1 fabric 172.30.0.1 -- nodes
 *
 * It spreads connections over equal paths by addresses and ports, as racks do, and tells every node what it learnt from the
 * others. All of it is in namespaces and files of the cluster, and goes down with it.
 */

export const outside = { prefix: '198.51.100.0/24', client: '198.51.100.10', router: '198.51.100.1' } as const;
export const torAsNumber = 65001;
export const nodesAsNumber = 64512;

export type TorOptions = {
	/** Of the sessions with nodes by name; '*' for all others. */
	readonly passwords?: Readonly<Record<string, string>>;
	/** The nodes it has no session with. */
	readonly without?: readonly string[];
};

/** What somebody sees who tries to connect all the time. */
export type Attempts = {
	readonly started: number;
	readonly connected: number;
	readonly answered: number;
	/** Of connections that were never made, in words. */
	readonly failures: readonly string[];
	/** Of connections that were made and ended without an answer. */
	readonly broken: readonly string[];
	/** Connections that were made by the second SYN, and by a later one. */
	readonly secondSyn: number;
	readonly laterSyn: number;
	readonly slowestConnectMs: number;
};
export type Connecting = { readonly finish: () => Promise<{ readonly [target: string]: Attempts }> };

export type Rack = {
	readonly configure: (options: TorOptions) => Promise<void>;
	readonly birdc: (command: string) => Promise<string>;
	/** Names of the nodes that the router's kernel has a prefix by, sorted. */
	readonly nodesOf: (prefix: string) => Promise<readonly string[]>;
	/** Runs a command where the client is. */
	readonly client: (...argv: string[]) => Promise<Outcome>;
	/** What HTTP answers to the client; the error in words when it does not. */
	readonly get: (host: string, path?: string) => Promise<string>;
	/** The same so many times, by new connections. */
	readonly getOften: (times: number, host: string, path?: string) => Promise<readonly string[]>;
	/** New connections to each target (HOST:PORT), one each `interval` milliseconds, until it is finished. */
	readonly keepConnecting: (interval: number, targets: readonly string[]) => Promise<Connecting>;
	/** Milliseconds since the epoch at which the router's kernel had each change of a prefix's next hops, since now. */
	readonly watchRoutes: () => RouteWatch;
	readonly stop: () => Promise<void>;
};

export type RouteWatch = {
	readonly changes: () => readonly { readonly at: number; readonly line: string }[];
	readonly close: () => void;
};

const birdConfig = (nodes: Harness['state']['nodes'], { passwords = {}, without = [] }: TorOptions): string => `
log stderr all;
router id ${fabricAddress};
protocol device {}
protocol direct { ipv4; interface "outside"; }
protocol kernel {
	merge paths on limit 16;
	ipv4 { import none; export where source = RTS_BGP; };
}
template bgp node {
	local ${fabricAddress} as ${torAsNumber};
	direct;
	graceful restart on;
	graceful restart time 120;
	hold time 90;
	connect delay time 1;
	connect retry time 1;
	error wait time 1, 2;
	ipv4 { import all; export where source = RTS_DEVICE || source = RTS_BGP; };
}
${nodes
	.filter(({ name }) => !without.includes(name))
	.map(({ name, address }) => {
		const password = passwords[name] ?? passwords['*'];
		const secret = password === undefined ? '' : ` password "${password}";`;
		return `protocol bgp ${name} from node { neighbor ${address} as ${nodesAsNumber};${secret} }`;
	})
	.join('\n')}
`;

/** The client, its wire to the fabric, and spreading by ports there. `ip netns del` of both takes all of it away. */
const createOutside = async (cluster: string): Promise<void> => {
	const { netns } = paths(cluster);
	await ipBatch(undefined, [`netns add ${netns('outside')}`]);
	await ipBatch(netns('fabric'), [
		`link add outside type veth peer name eth0 netns ${netns('outside')}`,
		`address add ${outside.router}/24 dev outside`,
		'link set outside up',
	]);
	await ipBatch(netns('outside'), [
		'link set lo up',
		`address add ${outside.client}/24 dev eth0`,
		'link set eth0 up',
		`route add default via ${outside.router}`,
	]);
	const set = (machine: string, setting: string): Promise<string> =>
		mustRun(...inNetns(netns(machine), ['sysctl', '-qw', setting]));
	await set('fabric', 'net.ipv4.fib_multipath_hash_policy=1');
	// A SYN is sent again after 1 s and after 3 s; after 7 s the connection has failed.
	await set('outside', 'net.ipv4.tcp_syn_retries=2');
};

/** Starts a program where the client is; returns once it said that it is ready. */
const startClient = async (cluster: string, argv: readonly string[]): Promise<ChildProcess> => {
	const [program, args] = inNetns(paths(cluster).netns('outside'), argv);
	const child = spawn(program, args, { stdio: ['pipe', 'pipe', 'inherit'] });
	await new Promise<void>((resolve, reject) => {
		child.stdout.once('data', () => resolve());
		child.once('close', () => reject(new Error(`${argv.join(' ')} ended before it was ready`)));
	});
	return child;
};

export const startRack = async (cluster: Harness, options: TorOptions = {}): Promise<Rack> => {
	const { name, nodes } = cluster.state;
	const folder = join(paths(name).run, 'tor');
	const [conf, control] = [join(folder, 'bird.conf'), join(folder, 'bird.ctl')];
	const [fabric, client] = [paths(name).netns('fabric'), paths(name).netns('outside')];
	const write = (now: TorOptions): void => writeFileSync(conf, birdConfig(cluster.state.nodes, now));
	await createOutside(name);
	mkdirSync(folder, { recursive: true });
	write(options);
	const argv = ['bird', '-f', '-c', conf, '-s', control, '-P', join(folder, 'bird.pid')];
	startComponent(name, { id: 'tor', argv: inMachine(name, 'fabric', ...argv) });
	const birdc = async (command: string): Promise<string> => {
		const { stdout, stderr } = await run('birdc', ['-s', control, ...command.split(' ')]);
		return stdout + stderr;
	};
	const silent = await until(60_000, async () => {
		const answer = await birdc('show status');
		return answer.includes('up and running') ? undefined : answer;
	});
	if (silent !== undefined) throw new Error(`The router is not up after a minute: ${silent}`);
	const nameAt = new Map(nodes.map((node) => [node.address, node.name]));
	return {
		birdc,
		configure: async (now) => {
			write(now);
			const answer = await birdc('configure');
			if (!/Reconfigur/.test(answer)) throw new Error(`BIRD refused its configuration: ${answer}`);
		},
		nodesOf: async (prefix) => {
			const text = await mustRun('ip', ['-n', fabric, '-j', 'route', 'show', prefix]);
			type Route = { gateway?: string; nexthops?: { gateway?: string }[] };
			const routes = (text.trim() === '' ? [] : JSON.parse(text)) as Route[];
			const gateways = routes.flatMap(({ gateway, nexthops = [] }) => [gateway, ...nexthops.map((hop) => hop.gateway)]);
			return gateways.flatMap((gateway) => (gateway === undefined ? [] : (nameAt.get(gateway) ?? gateway))).sort();
		},
		client: (...command) => run(...inNetns(client, command)),
		get: async (host, path = '/hostname') => {
			const curl = ['curl', '-sS', '-m', '20', '-H', 'Connection: close', `http://${host}${path}`];
			const { stdout, stderr } = await run(...inNetns(client, curl));
			return stdout || stderr;
		},
		getOften: async (times, host, path = '/hostname') => {
			// Each by a connection of its own.
			const curl = [
				'curl',
				'-sS',
				'-m',
				'60',
				'-H',
				'Connection: close',
				'-w',
				'\\n',
				`http://${host}${path}?[1-${times}]`,
			];
			const { stdout, stderr } = await run(...inNetns(client, curl));
			return (stdout + stderr).trim().split('\n');
		},
		keepConnecting: async (interval, targets) => {
			const program = join(import.meta.dirname, 'connector.ts');
			const child = await startClient(name, [process.execPath, program, String(interval), ...targets]);
			return {
				finish: () =>
					new Promise((resolve, reject) => {
						if (child.exitCode !== null || child.signalCode !== null)
							return reject(new Error('the client ended before'));
						let text = '';
						child.stdout?.on('data', (data: Buffer) => {
							text += data.toString();
						});
						child.once('close', (code) => {
							if (code === 0) resolve(JSON.parse(text) as { [target: string]: Attempts });
							else reject(new Error(`the client ended with ${code}: ${text}`));
						});
						child.stdin?.end();
					}),
			};
		},
		watchRoutes: () => {
			const child = spawn('ip', ['-n', fabric, '-o', '-ts', 'monitor', 'route'], {
				stdio: ['ignore', 'pipe', 'ignore'],
			});
			const changes: { at: number; line: string }[] = [];
			let rest = '';
			child.stdout.on('data', (data: Buffer) => {
				const lines = (rest + data.toString()).split('\n');
				rest = lines.pop() ?? '';
				for (const line of lines) {
					const [, time, text] = /^\[([^\]]+)\] (.*)/.exec(line) ?? [];
					if (time !== undefined && text !== undefined) changes.push({ at: Date.parse(time), line: text });
				}
			});
			return { changes: () => changes, close: () => void child.kill('SIGKILL') };
		},
		stop: async () => {
			await stopComponent(name, 'tor');
			await run('ip', ['netns', 'del', client]);
		},
	};
};
