import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { encodeMessage, encodeUpdates } from 'bgp-js-lite';
import type { PeerConfig, SpeakerConfig } from '../../bird/config.ts';
import {
	addresses,
	type Branch,
	createWire,
	type OurSpeaker,
	output,
	type Process,
	routerPeer,
	speakerConfig,
	until,
	type Wire,
} from '../interop/harness.ts';
import { dialPeer, establish, KEEPALIVE, openOf, type WirePeer } from './wire-peer.ts';

/**
 * A speaker that does its work while somebody else misbehaves: one peer, the carrier, has given it thousands of routes, and
 * packets run along them. `undisturbed` says that neither noticed anything.
 */

export const carrier = { address: '192.0.2.200', asNumber: 65200, pinged: '10.50.7.1' } as const;

export type Rig = {
	readonly wire: Wire;
	readonly ours: OurSpeaker;
	readonly routes: number;
	/** A peer on the router's end of the wire, its address made if need be. */
	readonly peer: (address: string, more?: { readonly deaf?: boolean }) => WirePeer;
	/** Addresses `192.0.N.H/16`, made at once. */
	readonly addAddresses: (list: readonly string[]) => Promise<void>;
	/** Resident memory, in megabytes. */
	readonly memory: () => number;
	readonly descriptors: () => number;
	/** The session of a peer by its name. */
	readonly state: (name: string) => Promise<string | undefined>;
	readonly undisturbed: () => Promise<void>;
	readonly close: () => Promise<void>;
};

export const announcement = (
	prefixes: readonly string[],
	asNumber: number,
	nextHop: string,
	more: { readonly med?: number; readonly communities?: readonly number[] } = {},
): Uint8Array[] =>
	encodeUpdates(
		{
			attributes: { origin: 'igp', asPath: [{ type: 'sequence', asNumbers: [asNumber] }], ...more },
			announced: { afi: 1, safi: 1, nextHop, nlri: prefixes.map((prefix) => ({ prefix })) },
		},
		{ fourOctetAs: true, ibgp: false, maxMessageLength: 4096 },
	);
export const withdrawal = (prefixes: readonly string[]): Uint8Array[] =>
	encodeUpdates(
		{ withdrawn: { afi: 1, safi: 1, nlri: prefixes.map((prefix) => ({ prefix })) } },
		{ fourOctetAs: true, ibgp: false, maxMessageLength: 4096 },
	);

/** `count` prefixes of 24 bits from 10.`start`.0.0 on. */
export const prefixes24 = (count: number, start: number): string[] =>
	Array.from({ length: count }, (_, i) => `10.${start + (i >> 8)}.${i & 255}.0/24`);

/** Sends KEEPALIVEs until it is closed. */
export const keepAlive = (peer: WirePeer): void => {
	const timer = setInterval(() => peer.write(KEEPALIVE), 5_000).unref();
	peer.socket.on('close', () => clearInterval(timer));
};

/** A ping on its own, every 10 ms: how many were sent and answered when it ends. */
const startPing = (wire: Wire, branch: Branch): Process =>
	wire.start(branch.netns, 'ping', ['-i', '0.01', '-W', '5', '-q', carrier.pinged]);

export const createRig = async (
	peers: readonly Partial<PeerConfig>[],
	{ routes = 10_000, ...extra }: Partial<SpeakerConfig> & { readonly routes?: number } = {},
): Promise<Rig> => {
	const wire = await createWire();
	const branch = await wire.branch();
	await output('ip', ['netns', 'exec', wire.node, 'sysctl', '-qw', 'net.ipv4.ip_forward=1']);
	await wire.ip(wire.router, `address add ${carrier.pinged}/32 dev lo`);
	await wire.ip(wire.router, `route add 10.9.0.0/16 via ${addresses.node.ipv4}`);
	const made = new Set<string>([addresses.router.ipv4]);
	const addAddresses = async (list: readonly string[]): Promise<void> => {
		const missing = list.filter((address) => !made.has(address));
		for (const address of missing) made.add(address);
		const file = wire.file('addresses', missing.map((address) => `address add ${address}/24 dev eth0\n`).join(''));
		await output('ip', ['-n', wire.router, '-batch', file]);
	};
	await addAddresses([carrier.address, ...peers.map(({ address }) => address ?? addresses.router.ipv4)]);
	const passive = (one: Partial<PeerConfig>): PeerConfig => routerPeer({ passive: true, exportLearnt: false, ...one });
	const ours = wire.speaker(
		speakerConfig(routerPeer(), {
			peers: [{ name: 'carrier', address: carrier.address, asNumber: carrier.asNumber }, ...peers].map(passive),
			...extra,
		}),
	);
	await until('it listens', () => ours.log().includes('listening on 0.0.0.0'));

	const peer: Rig['peer'] = (address, more = {}) =>
		dialPeer({ netns: wire.router, from: address, to: addresses.node.ipv4, ...more });
	const bearer = peer(carrier.address);
	await establish(bearer, openOf(carrier.asNumber, carrier.address));
	keepAlive(bearer);
	bearer.write(
		...announcement(prefixes24(routes, 50), carrier.asNumber, addresses.router.ipv4),
		...encodeUpdates(
			{ withdrawn: { afi: 1, safi: 1, nlri: [{ prefix: '10.49.0.0/16' }] } },
			{ fourOctetAs: true, ibgp: false, maxMessageLength: 4096 },
		),
		encodeMessage({ type: 'KEEPALIVE' }),
	);
	const inKernel = async (): Promise<number> =>
		(await output('ip', ['-n', wire.node, 'route', 'show', 'proto', '174'])).match(/^10\.(5\d|[6-9]\d)\.\d+\.0\/24 /gm)
			?.length ?? 0;
	await until('the routes are in the kernel', async () => (await inKernel()) === routes, 90);
	const session = async () => (await ours.status()).sessions.find(({ name }) => name === 'carrier');
	const since = (await session())?.since;
	const monitor = await wire.monitor(wire.node);
	const ping = startPing(wire, branch);
	await until('packets run', () => ping.child.exitCode === null && ping.child.pid !== undefined);

	return {
		wire,
		ours,
		routes,
		peer,
		addAddresses,
		memory: () => Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${ours.child.pid}/status`, 'utf8'))?.[1]) / 1024,
		descriptors: () => readdirSync(`/proc/${ours.child.pid}/fd`).length,
		state: async (name) => (await ours.status()).sessions.find((one) => one.name === name)?.state,
		undisturbed: async () => {
			const now = await session();
			assert.deepEqual(
				[now?.state, now?.since, now?.received],
				['Established', since, routes],
				ours.log().slice(-2000),
			);
			assert.ok(!bearer.closed(), bearer.notification());
			assert.equal(await inKernel(), routes);
			const changes = monitor
				.log()
				.split('\n')
				.filter((line) => /^(Deleted )?10\.(5\d|[6-9]\d)\.\d+\.0\/24 /.test(line));
			assert.deepEqual(changes.slice(0, 5), []);
			await ping.end('SIGINT');
			const counted = /(\d+) packets transmitted, (\d+) received/.exec(ping.log());
			assert.ok(counted && Number(counted[1]) > 0, ping.log());
			assert.equal(counted[2], counted[1], ping.log());
		},
		close: () => wire.close(),
	};
};
