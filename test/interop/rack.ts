import assert from 'node:assert/strict';
import { createInterface } from 'node:readline';
import type { PeerConfig, SpeakerConfig } from '../../bird/config.ts';
import { bfd } from './bfd-peer.ts';
import { addresses, output, prefixes, routerPeer, speakerConfig, until, type Wire } from './harness.ts';
import type { ProbeReport } from './probe.ts';

/**
 * A rack: a node with two top-of-rack routers, both of which lead to a spine with the hosts of the world behind it.
 *
 *     node (ours) ──┬── ToR 1 ──┬── spine (BIRD)
 *                   └── ToR 2 ──┘
 *
 * A pod and a host of the world send each other datagrams all the time, on flows that the kernels of node and spine spread
 * over both ToRs.
 */

export type Link = { readonly ipv4: string; readonly ipv6: string };
export type Tor = {
	readonly netns: string;
	readonly asNumber: number;
	/** Towards the node, and the node's towards it. */
	readonly own: Link;
	readonly node: Link;
	/** Towards the spine, and the spine's towards it. */
	readonly up: Link;
	readonly spine: Link;
};

export const SPINE_AS = 65100;
export const pod: Link = { ipv4: '10.244.1.10', ipv6: '2001:db8:1::10' };
export const world: Link = { ipv4: '198.51.100.10', ipv6: '2001:db8:99::10' };
const FLOWS = 4;

export type Rack = {
	readonly tors: readonly [Tor, Tor];
	readonly spine: string;
	readonly config: (peer?: Partial<PeerConfig>) => SpeakerConfig;
	/** Whether node and spine use just these ToRs for the pod and the world, in both families. */
	readonly uses: (...tors: readonly Tor[]) => Promise<boolean>;
	/** Everything that goes in or out of a ToR is dropped in it; `node`: only what goes to the node or comes from it. */
	readonly cut: (tor: Tor, what: 'all' | 'node') => Promise<void>;
	readonly mend: (tor: Tor) => Promise<void>;
	/** Traffic begins; what is lost is told by `lost`. */
	readonly probe: () => Promise<void>;
	/** Milliseconds that the worst flow of each direction lost while `work` was done. */
	readonly lost: (work: () => Promise<void>) => Promise<{ readonly up: number; readonly down: number }>;
};

export const createRack = async (wire: Wire): Promise<Rack> => {
	const second = await wire.branch();
	const spine = await wire.namespace();
	const inside = (netns: string, command: string): Promise<string> =>
		output('ip', ['netns', 'exec', netns, ...command.split(' ')]);
	const link = (n: number, host: number): Link => ({ ipv4: `10.8.${n}.${host}`, ipv6: `2001:db8:8:${n}::${host}` });
	const tors = [
		{ netns: wire.router, own: addresses.router, node: addresses.node },
		{ netns: second.netns, own: second.router, node: second.node },
	].map((tor, i) => ({ ...tor, asNumber: 65001 + i, up: link(i + 1, 2), spine: link(i + 1, 1) })) as unknown as [
		Tor,
		Tor,
	];

	for (const [i, tor] of tors.entries()) {
		await wire.ip(spine, `link add eth${i} type veth peer name uplink netns ${tor.netns}`);
		for (const [netns, dev, { ipv4, ipv6 }] of [
			[spine, `eth${i}`, tor.spine],
			[tor.netns, 'uplink', tor.up],
		] as const) {
			await wire.ip(netns, `link set ${dev} up`);
			await wire.ip(netns, `address add ${ipv4}/24 dev ${dev}`);
			await wire.ip(netns, `-6 address add ${ipv6}/64 dev ${dev} nodad`);
		}
	}
	await wire.ip(second.netns, 'route delete default');
	await wire.ip(second.netns, '-6 route delete default');
	for (const [netns, { ipv4, ipv6 }] of [
		[wire.node, pod],
		[spine, world],
	] as const) {
		await wire.ip(netns, `address add ${ipv4}/32 dev lo`);
		await wire.ip(netns, `-6 address add ${ipv6}/128 dev lo`);
	}
	for (const netns of [wire.node, spine, ...tors.map((tor) => tor.netns)]) {
		for (const setting of [
			'net.ipv4.ip_forward=1',
			'net.ipv6.conf.all.forwarding=1',
			'net.ipv4.conf.all.rp_filter=0',
			// By ports: flows of the same two hosts take different ways.
			'net.ipv4.fib_multipath_hash_policy=1',
			'net.ipv6.fib_multipath_hash_policy=1',
		]) {
			await inside(netns, `sysctl -qw ${setting}`);
		}
	}

	const gateways = async (netns: string, family: '-4' | '-6', prefix: string): Promise<string[]> => {
		const text = await wire.ip(netns, `${family} -j route show ${prefix}`);
		type Hop = { gateway?: string };
		const routes = JSON.parse(text || '[]') as (Hop & { nexthops?: Hop[]; type?: string })[];
		return routes
			.filter(({ type }) => type !== 'blackhole')
			.flatMap((route) => route.nexthops ?? [route])
			.flatMap(({ gateway }) => gateway ?? [])
			.sort();
	};

	type End = { readonly ask: () => Promise<ProbeReport> };
	const end = async (netns: string, own: Link, peer: Link): Promise<End> => {
		const script = `${import.meta.dirname}/probe.ts`;
		const args = [script, String(FLOWS), own.ipv4, peer.ipv4, own.ipv6, peer.ipv6];
		const { child, log } = wire.start(netns, process.execPath, args);
		const { stdin, stdout } = child;
		assert.ok(stdin !== null && stdout !== null);
		const lines = createInterface({ input: stdout });
		return {
			ask: () =>
				new Promise((resolve, reject) => {
					const gone = (): void => reject(new Error(`the probe is gone: ${log()}`));
					child.once('exit', gone);
					lines.once('line', (line) => {
						child.off('exit', gone);
						resolve(JSON.parse(line) as ProbeReport);
					});
					stdin.write('report\n');
				}),
		};
	};
	let ends: readonly [End, End] | undefined;

	/** The worst flow that came in at `to` of what `from` sent in the meantime. */
	const worst = async (to: End, begin: number, until_: number): Promise<number> => {
		let report = await to.ask();
		await until('what was sent has come', async () => {
			report = await to.ask();
			const flows = Object.values(report.flows);
			return flows.length === 2 * FLOWS && flows.every(({ last }) => last >= until_);
		});
		return Math.max(
			...Object.values(report.flows).map(({ missing }) =>
				missing.reduce((sum, [a, b]) => sum + Math.max(0, Math.min(b + 1, until_) - Math.max(a, begin)), 0),
			),
		);
	};

	return {
		tors,
		spine,
		config: (peer = {}) =>
			speakerConfig(routerPeer(), {
				peers: tors.map((tor, i) =>
					routerPeer({
						name: `peer/tor${i + 1}`,
						address: tor.own.ipv4,
						localAddress: tor.node.ipv4,
						asNumber: tor.asNumber,
						exportLearnt: false,
						bfd: bfd({}, { transmitInterval: 200, receiveInterval: 200 }),
						...peer,
					}),
				),
			}),
		uses: async (...used) => {
			const found = await Promise.all([
				gateways(wire.node, '-4', prefixes.router[0]),
				gateways(wire.node, '-6', prefixes.router[1]),
				gateways(spine, '-4', prefixes.node[0]),
				gateways(spine, '-6', prefixes.node[1]),
			]);
			const wanted = [
				used.map(({ own }) => own.ipv4),
				used.map(({ own }) => own.ipv6),
				used.map(({ up }) => up.ipv4),
				used.map(({ up }) => up.ipv6),
			].map((list) => list.sort());
			return JSON.stringify(found) === JSON.stringify(wanted);
		},
		cut: async ({ netns }, what) => {
			const match = (way: 'i' | 'o'): string => (what === 'node' ? `${way}ifname "eth0"` : `${way}ifname != "lo"`);
			// In one go, so that no direction or family is cut before the others.
			const file = wire.file(
				'cut.nft',
				`table inet cut {
	chain in { type filter hook prerouting priority -300; ${match('i')} drop; }
	chain out { type filter hook postrouting priority -300; ${match('o')} drop; }
}`,
			);
			await inside(netns, `nft -f ${file}`);
		},
		mend: async ({ netns }) => {
			await inside(netns, 'nft delete table inet cut');
		},
		probe: async () => {
			ends = [await end(wire.node, pod, world), await end(spine, world, pod)];
			await until('all flows are there', async () => {
				const all = await Promise.all((ends ?? []).map(({ ask }) => ask()));
				return all.every(({ flows }) => Object.keys(flows).length === 2 * FLOWS);
			});
		},
		lost: async (work) => {
			assert.ok(ends !== undefined, 'probe() begins the traffic');
			const [atPod, atWorld] = ends;
			const before = [await atPod.ask(), await atWorld.ask()] as const;
			await work();
			const after = [await atPod.ask(), await atWorld.ask()] as const;
			return {
				up: await worst(atWorld, before[0].sent, after[0].sent),
				down: await worst(atPod, before[1].sent, after[1].sent),
			};
		},
	};
};
