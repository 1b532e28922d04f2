import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { copyFileSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { parse } from 'yaml';
import { createRun } from '../../src/kernel/run.ts';
import { type LabHarness, until } from './lab-harness.ts';

/**
 * A lab of two racks, a segment each, with up to two ToRs in rack a and one in rack b; above them a spine (the lab's own
 * router) with the world behind it. What runs on the ToRs is the examples' own configuration (manifests/examples).
 */

const run = createRun();
export const examples = join(import.meta.dirname, '../../manifests/examples');
const must = async (program: string, ...args: string[]): Promise<string> => {
	const { code, stdout, stderr } = await run(program, args);
	assert.equal(code, 0, `${program} ${args.join(' ')}: ${stderr}`);
	return stdout;
};

const tors = {
	a1: { bridge: 'br0', own: ['192.0.2.2/24', '2001:db8:0:2::2/64'], link: 1 },
	a2: { bridge: 'br0', own: ['192.0.2.3/24', '2001:db8:0:2::3/64'], link: 2 },
	b: { bridge: 'br1', own: ['203.0.113.2/24', '2001:db8:0:3::2/64'], link: 3 },
} as const;
export type TorName = keyof typeof tors;

export type Racks = {
	readonly netns: (name: string) => string;
	/** Prefix of a file of an example; as routers of just these names, others end. */
	readonly routers: (confs: Readonly<Partial<Record<TorName, string>>>) => Promise<void>;
	/** A program of the example's in a namespace; ended with `routers`. */
	readonly program: (netns: string, ...argv: string[]) => ChildProcess;
	readonly bird: (netns: string, conf: string) => ChildProcess;
	/** zebra and bgpd, in a namespace of theirs. */
	readonly frr: (netns: string, conf: string) => void;
	readonly birdc: (netns: string, ...command: string[]) => Promise<string>;
	/** Of Node objects: annotations and labels that the examples may set; others of these go. */
	readonly nodes: (marks: Readonly<Record<string, Marks>>) => Promise<void>;
	/** Gateways of a prefix in the kernel of a namespace, sorted. */
	readonly ways: (netns: string, prefix: string) => Promise<string>;
	/** Every pod reaches every other, in both families, and with `outside` the world each pod. */
	readonly reach: (how?: { readonly outside?: boolean; readonly nodes?: readonly string[] }) => Promise<void>;
	readonly ip: (netns: string, ...args: string[]) => Promise<string>;
};

export type Marks = { readonly labels?: Record<string, string>; readonly annotations?: Record<string, string> };
const ownMarks = ['manx.dev/as-number', 'manx.dev/route-reflector-cluster-id', 'reflector'];

export const createRacks = async (harness: LabHarness): Promise<Racks> => {
	const netns = (name: string): string => `manx-${harness.name}-${name}`;
	const folder = join(harness.state, 'racks');
	mkdirSync(folder, { recursive: true });
	const ip = (where: string, ...args: string[]): Promise<string> => must('ip', '-n', netns(where), ...args);
	const spine = 'tor';

	const addresses = async (where: string, dev: string, own: readonly string[]): Promise<void> => {
		for (const address of own) {
			await ip(where, 'address', 'add', address, 'dev', dev, ...(address.includes(':') ? ['nodad'] : []));
		}
		await ip(where, 'link', 'set', dev, 'up');
	};
	const settings = [
		...[
			'ipv4.ip_forward=1',
			'ipv6.conf.all.forwarding=1',
			'ipv4.conf.all.rp_filter=0',
			'ipv4.conf.all.send_redirects=0',
		],
		...['ipv4.conf.default.send_redirects=0', 'ipv4.fib_multipath_hash_policy=1', 'ipv6.fib_multipath_hash_policy=1'],
	].map((setting) => `net.${setting}`);
	for (const [name, { bridge, own, link }] of Object.entries(tors)) {
		const where = `tor-${name}`;
		await must('ip', 'netns', 'add', netns(where));
		await ip(where, 'link', 'set', 'lo', 'up');
		await ip('fabric', 'link', 'add', where, 'type', 'veth', 'peer', 'name', 'fabric', 'netns', netns(where));
		await ip('fabric', 'link', 'set', where, 'master', bridge, 'up');
		await addresses(where, 'fabric', own);
		await ip(spine, 'link', 'add', `up-${name}`, 'type', 'veth', 'peer', 'name', 'uplink', 'netns', netns(where));
		await addresses(spine, `up-${name}`, [`10.255.${link}.1/30`, `fd00:ffff:0:${link}::1/64`]);
		await addresses(where, 'uplink', [`10.255.${link}.2/30`, `fd00:ffff:0:${link}::2/64`]);
		await must('ip', 'netns', 'exec', netns(where), 'sysctl', '-qw', ...settings);
	}
	await must('ip', 'netns', 'exec', netns(spine), 'sysctl', '-qw', ...settings);
	copyFileSync(join(examples, 'spine.bird.conf'), join(harness.state, 'tor/bird.conf'));
	await must('birdc', '-s', join(harness.state, 'tor/bird.ctl'), 'configure');

	let started: ChildProcess[] = [];
	const program = (where: string, ...argv: string[]): ChildProcess => {
		const child = spawn('ip', ['netns', 'exec', netns(where), ...argv], { stdio: 'ignore' });
		started.push(child);
		return child;
	};
	const bird = (where: string, conf: string): ChildProcess => {
		const files = ['-s', join(folder, `${where}.ctl`), '-P', join(folder, `${where}.pid`)];
		return program(where, 'bird', '-f', '-c', resolve(examples, conf), ...files);
	};
	const frr = (where: string, conf: string): void => {
		const sockets = join(folder, where);
		mkdirSync(sockets, { recursive: true });
		writeFileSync(join(sockets, 'zebra.conf'), '');
		copyFileSync(join(examples, conf), join(sockets, 'bgpd.conf'));
		for (const daemon of ['zebra', 'bgpd']) {
			const files = ['-f', join(sockets, `${daemon}.conf`), '-i', join(sockets, `${daemon}.id`)];
			const own = ['-z', join(sockets, 'zserv.api'), '--vty_socket', sockets, '-P', '0', '--log', 'stdout'];
			// They change to the user frr.
			const script = 'chown -R frr:frr "$0" && exec "$@"';
			program(where, 'sh', '-c', script, sockets, `/usr/lib/frr/${daemon}`, ...files, ...own);
		}
	};
	const pods = async () => (await harness.status()).pods;
	const pings = async (from: string, to: readonly string[]): Promise<string[]> => {
		const answers = await Promise.all(
			to.map(async (address) => {
				const { code } = await run('ip', ['netns', 'exec', from, 'ping', '-n', '-c', '1', '-W', '2', address]);
				return code === 0 ? [] : [`${from.slice(harness.name.length + 6)} does not reach ${address}`];
			}),
		);
		return answers.flat();
	};

	return {
		netns,
		ip,
		program,
		bird,
		frr,
		// It ends with 1 for a route that is not there.
		birdc: async (where, ...command) => (await run('birdc', ['-s', join(folder, `${where}.ctl`), ...command])).stdout,
		routers: async (confs) => {
			for (const child of started) child.kill('SIGKILL');
			started = [];
			for (const name of Object.keys(tors)) {
				// What was learnt goes with who learnt it.
				for (const family of ['-4', '-6'])
					await run('ip', ['-n', netns(`tor-${name}`), family, 'route', 'flush', 'proto', 'bird']);
			}
			for (const [name, conf] of Object.entries(confs)) bird(`tor-${name}`, conf);
		},
		nodes: async (marks) => {
			const objects = readdirSync(join(harness.state, 'objects'))
				.filter((file) => file.startsWith('node.'))
				.map((file) => {
					const object = parse(readFileSync(join(harness.state, 'objects', file), 'utf8')) as {
						metadata: { name: string } & Marks;
					};
					const given = marks[object.metadata.name];
					const others = (all: Record<string, string> = {}): Record<string, string> =>
						Object.fromEntries(Object.entries(all).filter(([name]) => !ownMarks.includes(name)));
					const labels = { ...others(object.metadata.labels), ...given?.labels };
					const annotations = { ...others(object.metadata.annotations), ...given?.annotations };
					return { ...object, metadata: { ...object.metadata, labels, annotations } };
				});
			const file = join(folder, 'nodes.yaml');
			writeFileSync(file, objects.map((object) => JSON.stringify(object)).join('\n---\n'));
			await harness.lab(['apply', '-f', file]);
		},
		ways: async (where, prefix) => {
			const text = await ip(where, prefix.includes(':') ? '-6' : '-4', '-j', 'route', 'show', prefix, 'proto', '174');
			type Hop = { gateway?: string; via?: { host: string }; dev?: string };
			const routes = JSON.parse(text || '[]') as (Hop & { nexthops?: Hop[] })[];
			const hops = routes.flatMap((route) => route.nexthops ?? [route]);
			return hops
				.map((hop) => hop.gateway ?? hop.dev ?? '')
				.sort()
				.join(' ');
		},
		reach: async ({ outside = false, nodes } = {}) => {
			const all = (await pods()).filter(({ node }) => nodes?.includes(node) ?? true);
			const targets = (except: string): string[] => all.filter(({ name }) => name !== except).flatMap(({ ips }) => ips);
			await until('everybody reaches everybody', 90, async () => {
				const missing = await Promise.all([
					...all.map((pod) => pings(pod.netns, targets(pod.name))),
					...(outside ? [pings(netns('out1'), targets(''))] : []),
				]);
				return missing.flat().length === 0 || missing.flat().join(', ');
			});
		},
	};
};
