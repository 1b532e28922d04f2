/** The speakers compared by the benchmark of BGP, each with what it needs to start, in a namespace of its own. */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { chmodSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { stringify } from 'yaml';
import { buildProgram, nodeOptions } from '../../../src/image/context.ts';
import { birdOptions } from '../../../src/image/node-options.ts';
import { inNetns } from '../../../src/kernel/netns.ts';

export const speakerAS = 65000;
export const speakerAddress = '198.18.0.1';
/** Networks the speaker is in; peers of the first are 198.18.1.1 and on, 250 to a /24. */
export const links = { in: ['198.18.0.1/16', '198.18.1.0/16'], out: ['198.19.0.1/16', '198.19.0.2/16'] } as const;
export const peerAddress = (i: number): string => `198.18.${1 + Math.floor(i / 250)}.${(i % 250) + 1}`;

export type Neighbour = { readonly address: string; readonly asNumber: number };

/** How the speaker knows its neighbours: each by itself, as nodes of a mesh, or as clients of the reflector that it is. */
export type Topology = 'peers' | 'mesh' | 'reflector';

export type Setting = {
	readonly netns: string;
	readonly folder: string;
	readonly neighbours: readonly Neighbour[];
	readonly topology: Topology;
};

export type Speaker = {
	readonly name: string;
	/** Whether it writes to the kernel by itself. */
	readonly fib: boolean;
	/** Starts it; resolves once its processes run, the last of which takes the sessions. */
	readonly start: (setting: Setting) => Promise<readonly ChildProcess[]>;
};

const run = (netns: string, file: string, args: readonly string[], env = process.env): ChildProcess => {
	const stdio = process.env.SHOW_LOGS === undefined ? 'ignore' : 'inherit';
	return inNetns(`/run/netns/${netns}`, () => spawn(file, args, { env, stdio: ['ignore', stdio, stdio] }));
};

const bird: Speaker = {
	name: 'BIRD',
	fib: true,
	start: async ({ netns, folder, neighbours, topology }) => {
		const client = topology === 'reflector' ? ' rr client;' : '';
		const peers = neighbours.map(
			({ address, asNumber }, i) =>
				`protocol bgp p${i} { local ${speakerAddress} as ${speakerAS}; neighbor ${address} as ${asNumber}; direct;${client} ipv4 { import all; export all; }; }`,
		);
		const conf = `router id ${speakerAddress};
protocol device {}
protocol kernel { ipv4 { import none; export all; }; }
${peers.join('\n')}
`;
		writeFileSync(join(folder, 'bird.conf'), conf);
		return [run(netns, 'bird', ['-f', '-c', join(folder, 'bird.conf'), '-s', join(folder, 'bird.ctl')])];
	},
};

const frr: Speaker = {
	name: 'FRR',
	fib: true,
	start: async ({ netns, folder, neighbours, topology }) => {
		const sockets = join(folder, 'frr');
		mkdirSync(sockets, { recursive: true });
		// The daemons change to the user frr.
		chmodSync(folder, 0o755);
		chmodSync(sockets, 0o777);
		const conf = `router bgp ${speakerAS}
 bgp router-id ${speakerAddress}
 no bgp ebgp-requires-policy
${neighbours.map(({ address, asNumber }) => ` neighbor ${address} remote-as ${asNumber}`).join('\n')}
${topology === 'reflector' ? neighbours.map(({ address }) => ` neighbor ${address} route-reflector-client`).join('\n') : ''}
`;
		const daemon = (name: string, text: string): ChildProcess => {
			const file = join(folder, `${name}.conf`);
			writeFileSync(file, text);
			return run(netns, `/usr/lib/frr/${name}`, [
				...['-f', file, '-i', join(sockets, `${name}.pid`), '-z', join(sockets, 'zserv.api')],
				...['--vty_socket', sockets, '-P', '0', '--log', 'stdout', '--log-level', 'err'],
			]);
		};
		const zebra = daemon('zebra', '');
		for (let tries = 0; tries < 100; tries++) {
			try {
				execFileSync('vtysh', ['--vty_socket', sockets, '-c', 'show version'], { stdio: 'ignore' });
				break;
			} catch {
				await delay(20);
			}
		}
		return [zebra, daemon('bgpd', conf)];
	},
};

const gobgp: Speaker = {
	name: 'GoBGP',
	fib: false,
	start: async ({ netns, folder, neighbours }) => {
		const conf = `[global.config]
as = ${speakerAS}
router-id = "${speakerAddress}"
local-address-list = ["${speakerAddress}"]
${neighbours
	.map(
		({ address, asNumber }) => `[[neighbors]]
[neighbors.config]
neighbor-address = "${address}"
peer-as = ${asNumber}`,
	)
	.join('\n')}
`;
		writeFileSync(join(folder, 'gobgpd.toml'), conf);
		const options = ['-f', join(folder, 'gobgpd.toml'), '--api-hosts', '127.0.0.1:50051', '-l', 'error'];
		return [run(netns, 'gobgpd', options)];
	},
};

const node = (name: string, address: string, annotations = {}, labels = {}): object => ({
	apiVersion: 'v1',
	kind: 'Node',
	metadata: { name, annotations, labels },
	status: { addresses: [{ type: 'InternalIP', address }] },
});

const general = (topology: Topology, more = {}): object => ({
	apiVersion: 'manx.dev/v1',
	kind: 'BGPConfiguration',
	metadata: { name: 'default' },
	spec: { asNumber: speakerAS, nodeToNodeMeshEnabled: topology === 'mesh', ...more },
});

const asNodes = (neighbours: readonly Neighbour[], topology: Topology): readonly object[] => [
	topology === 'mesh'
		? node('bench', speakerAddress)
		: node('bench', speakerAddress, { 'manx.dev/route-reflector-cluster-id': '244.0.0.1' }, { reflector: 'yes' }),
	...neighbours.map(({ address }, i) => node(`n${i}`, address)),
	...(topology === 'mesh'
		? []
		: [
				{
					apiVersion: 'manx.dev/v1',
					kind: 'BGPPeer',
					metadata: { name: 'reflectors' },
					spec: { nodeSelector: '!has(reflector)', peerSelector: 'has(reflector)' },
				},
			]),
];

const asPeers = (neighbours: readonly Neighbour[]): readonly object[] => [
	node('bench', speakerAddress),
	...neighbours.map(({ address, asNumber }, i) => ({
		apiVersion: 'manx.dev/v1',
		kind: 'BGPPeer',
		metadata: { name: `p${i}` },
		spec: { peerIP: address, asNumber, exportLearnt: true },
	})),
];

const manx = (name: string, argv: readonly string[], env = process.env): Speaker => ({
	name,
	fib: true,
	start: async ({ netns, folder, neighbours, topology }) => {
		const path = join(folder, 'objects');
		mkdirSync(path, { recursive: true });
		const objects = topology === 'peers' ? asPeers(neighbours) : asNodes(neighbours, topology);
		writeFileSync(join(path, 'all.yaml'), objects.map((object) => stringify(object)).join('---\n'));
		writeFileSync(join(path, 'general.yaml'), stringify(general(topology)));
		const config = join(folder, 'bird.yaml');
		const settings = { nodeName: 'bench', datastore: { kind: 'directory', path }, runDir: join(folder, 'run') };
		writeFileSync(config, stringify({ ...settings, metricsAddress: '', logLevel: 'warn' }));
		return [run(netns, process.execPath, [...argv, 'bird', '--config', config], env)];
	},
});

const root = join(import.meta.dirname, '../../..');
const bundle = join(root, 'node_modules', `.manx-bench-${process.pid}`);

/** As the image has it; `profile` adds options of Node. */
export const manxAsShipped = async (): Promise<Speaker> => {
	await buildProgram(bundle);
	const profile = process.env.NODE_ARGS?.split(' ') ?? [];
	const argv = [...nodeOptions, ...birdOptions, ...profile, join(bundle, 'main.js')];
	return manx('manx', argv, { ...process.env, MALLOC_ARENA_MAX: '1' });
};
export const removeBundle = (): void => rmSync(bundle, { recursive: true, force: true });

/** From the work tree, unbundled, without the image's options. */
const tree = manx('manx (tree)', [join(root, 'src/main.ts')]);

export const others: readonly Speaker[] = [bird, frr, gobgp, tree];

/** Megabytes and seconds of processor time of processes together. */
export const usage = (processes: readonly ChildProcess[]): { peak: number; resident: number; cpu: number } => {
	let [peak, resident, cpu] = [0, 0, 0];
	for (const { pid } of processes) {
		const status = readFileSync(`/proc/${pid}/status`, 'utf8');
		const kilobytes = (name: string): number => Number(new RegExp(`${name}:\\s+(\\d+)`).exec(status)?.[1]);
		peak += kilobytes('VmHWM') / 1024;
		resident += kilobytes('VmRSS') / 1024;
		const fields = readFileSync(`/proc/${pid}/stat`, 'utf8')
			.replace(/^.*\) /, '')
			.split(' ');
		// utime and stime (proc_pid_stat(5)), in ticks of 10 ms.
		cpu += (Number(fields[11]) + Number(fields[12])) / 100;
	}
	return { peak, resident, cpu };
};

/** In a mesh, one more address of Services that every neighbour is told: as `kubectl apply` would, in the folder of objects. */
export const announceMore = (folder: string, cidr: string): void =>
	writeFileSync(
		join(folder, 'objects', 'general.yaml'),
		stringify(general('mesh', { serviceExternalIPs: [{ cidr }] })),
	);
