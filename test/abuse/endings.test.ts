import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import type { PeerConfig } from '../../bird/config.ts';
import {
	addresses,
	createWire,
	type OurSpeaker,
	routerPeer,
	speakerConfig,
	until,
	type Wire,
} from '../interop/harness.ts';
import { dialPeer, establish, openOf, type WirePeer } from './wire-peer.ts';

/** What a peer is told when we end its session on purpose (RFC 4486 §4, RFC 8538 §3.1, RFC 9003). */

const hosts = ['removed', 'lasting', 'shut', 'changed', 'restarted'] as const;
type Host = (typeof hosts)[number];
const addressOf = (host: Host): string => `192.0.2.${21 + hosts.indexOf(host)}`;
const text = (words: string): string =>
	`${words.length.toString(16).padStart(2, '0')}${Buffer.from(words).toString('hex')}`;

const graceful = (notification: boolean): Parameters<typeof openOf>[2] => ({
	capabilities: [
		{ code: 1, afi: 1, safi: 1 },
		{ code: 65, asNumber: 65000 },
		{
			code: 64,
			restartState: false,
			notification,
			restartTime: 120,
			families: [{ afi: 1, safi: 1, forwardingState: true }],
		},
	],
});

describe('a session that we end', () => {
	let wire: Wire;
	let ours: OurSpeaker;
	const peers = new Map<string, WirePeer>();
	const configOf = (host: Host, more: Partial<PeerConfig> = {}): PeerConfig =>
		routerPeer({ name: host, address: addressOf(host), passive: true, ...more });
	const update = (...list: PeerConfig[]): void => ours.update(speakerConfig(routerPeer(), { peers: list }));
	const connect = async (host: Host, more?: Parameters<typeof openOf>[2]): Promise<WirePeer> => {
		const peer = dialPeer({ netns: wire.router, from: addressOf(host), to: addresses.node.ipv4 });
		await establish(peer, openOf(65000, addressOf(host), more));
		peers.set(host, peer);
		return peer;
	};
	const ends = async (host: Host, notification: string | undefined): Promise<void> => {
		const peer = peers.get(host);
		await until(`${host} ends`, () => peer?.closed() === true).catch((error) => assert.fail(`${error}\n${ours.log()}`));
		assert.equal(peer?.notification(), notification, host);
	};

	before(async () => {
		wire = await createWire();
		for (const host of hosts) await wire.ip(wire.router, `address add ${addressOf(host)}/24 dev eth0`);
		ours = wire.speaker(speakerConfig(routerPeer(), { peers: hosts.map((host) => configOf(host)) }));
		await until('it listens', () => ours.log().includes('listening on 0.0.0.0'));
	});
	after(() => wire.close());

	it('ends as its configuration changed, and no other does', async () => {
		for (const host of hosts) await connect(host, host === 'restarted' ? graceful(false) : {});
		update(
			configOf('lasting', { exportLearnt: false }),
			configOf('shut', { shutdown: { message: 'rack 7 moves' } }),
			configOf('changed', { holdTime: 30 }),
			configOf('restarted', { holdTime: 30 }),
		);
		await ends('removed', '6/3');
		await ends('shut', `6/2 ${text('rack 7 moves')}`);
		await ends('changed', '6/6');
		// A Cease would defeat the restart (RFC 4724 §4).
		await ends('restarted', undefined);
		assert.equal(peers.get('lasting')?.closed(), false);
	});

	it('ends with 6/4 and the words where an operator clears it', async () => {
		ours.tell('clear new optics');
		await ends('lasting', `6/4 ${text('new optics')}`);
	});

	it('ends with 6/9, a hard reset around it, where the peer keeps routes over NOTIFICATIONs', async () => {
		await connect('lasting', graceful(true));
		ours.tell('clear');
		ours.tell('clear twice');
		await ends('lasting', `6/9 0604${text('twice')}`);
		await connect('lasting', graceful(true));
		update(configOf('shut'));
		await ends('lasting', '6/9 0603');
	});
});
