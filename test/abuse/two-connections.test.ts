import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import {
	addresses,
	createWire,
	type OurSpeaker,
	routerPeer,
	speakerConfig,
	until,
	type Wire,
} from '../interop/harness.ts';
import { dialPeer, KEEPALIVE, listenPeer, openOf, soon, type WireListener, type WirePeer } from './wire-peer.ts';

/**
 * Both sides dial (RFC 4271 §6.8, RFC 6286 §2.3): the connection opened by the router with the higher identifier stays, in
 * whichever order the OPENs come, and the other ends with 6/7. Ours is 192.0.2.1.
 */

const cases = [
	{ address: '192.0.2.11', identifier: '192.0.2.11', first: 'ours', stays: 'theirs' },
	{ address: '192.0.2.12', identifier: '192.0.2.12', first: 'theirs', stays: 'theirs' },
	{ address: '192.0.2.13', identifier: '10.0.0.13', first: 'ours', stays: 'ours' },
	{ address: '192.0.2.14', identifier: '10.0.0.14', first: 'theirs', stays: 'ours' },
	// RFC 6286: the same identifier in another AS; the higher AS, theirs, decides.
	{ address: '192.0.2.15', identifier: '192.0.2.1', first: 'ours', stays: 'theirs' },
] as const;

describe('of two connections to a peer', () => {
	let wire: Wire;
	let ours: OurSpeaker;
	const listeners = new Map<string, WireListener>();

	before(async () => {
		wire = await createWire();
		for (const { address } of cases) {
			await wire.ip(wire.router, `address add ${address}/24 dev eth0`);
			listeners.set(address, listenPeer(wire.router, address));
		}
		const peers = cases.map(({ address }) => routerPeer({ name: address, address }));
		ours = wire.speaker(speakerConfig(routerPeer(), { peers }));
	});
	after(async () => {
		for (const listener of listeners.values()) listener.close();
		await wire.close();
	});

	for (const { address, identifier, first, stays } of cases) {
		it(`the one ${stays === 'ours' ? 'we' : 'they'} opened stays: identifier ${identifier}, OPEN on ${first} first`, async () => {
			const listener = listeners.get(address) as WireListener;
			await until('we have dialled', () => listener.peers.length > 0);
			const connections: Record<'ours' | 'theirs', WirePeer> = {
				ours: listener.peers[0] as WirePeer,
				theirs: dialPeer({ netns: wire.router, from: address, to: addresses.node.ipv4 }),
			};
			for (const peer of Object.values(connections)) await soon('its OPEN', () => peer.frames.length > 0);
			const open = openOf(65000, identifier);
			connections[first].write(open);
			connections[first === 'ours' ? 'theirs' : 'ours'].write(open);
			const [winner, loser] = [connections[stays], connections[stays === 'ours' ? 'theirs' : 'ours']];
			await until('the other ends', loser.closed);
			assert.equal(loser.notification(), '6/7');
			await soon('our KEEPALIVE', () => winner.keepalives() > 0);
			winner.write(KEEPALIVE);
			const state = async () => (await ours.status()).sessions.find(({ name }) => name === address)?.state;
			await until('a session', async () => (await state()) === 'Established');
			assert.equal(winner.closed(), false);
		});
	}
});
