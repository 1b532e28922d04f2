import assert from 'node:assert/strict';
import { afterEach, beforeEach, describe, it } from 'node:test';
import { startBirdRouter } from './bird-router.ts';
import { addresses, createWire, ourProtocol, routerPeer, speakerConfig, until, type Wire } from './harness.ts';

describe('neighbours by prefix, and our own address of a session', () => {
	let wire: Wire;

	beforeEach(async () => {
		wire = await createWire();
	});
	afterEach(async () => {
		await wire.close();
	});

	it('takes whoever connects from the prefix with the password of it, up to a limit, and forgets who is gone', async () => {
		const { name: _n, address: _a, ...peer } = routerPeer({ asNumber: 0, password: 'rack', passive: true });
		const config = speakerConfig(routerPeer(), {
			peers: [],
			dynamicPeers: [{ name: 'rack', prefix: '192.0.2.0/24', limit: 1, peer }],
		});
		const ours = wire.speaker(config);
		const bird = startBirdRouter(wire, { asNumber: 65123, options: 'password "rack"; strict bind;' });
		await until('its routes are in the kernel', async () => (await wire.routes(wire.node, ourProtocol)).length === 2);
		await until('the session', async () => (await ours.status()).sessions[0]?.state === 'Established');
		const [session] = (await ours.status()).sessions;
		assert.equal(session?.name, `rack/${addresses.router.ipv4}`);
		assert.equal(session?.asNumber, 65123);

		// A second one from the range is one too many.
		await wire.ip(wire.router, 'address add 192.0.2.3/24 dev eth0');
		startBirdRouter(wire, {
			at: { netns: wire.router, node: addresses.node, router: { ...addresses.router, ipv4: '192.0.2.3' } },
			name: 'second',
			options: 'password "rack"; strict bind;',
		});
		await until('it is told', () => ours.log().includes('rejected: rack has its 1 neighbours already'));

		await bird.birdc('disable manx');
		await until('the other has its place', async () => {
			const [now] = (await ours.status()).sessions;
			return now?.name === 'rack/192.0.2.3' && now.state === 'Established';
		});
		ours.update({ ...config, dynamicPeers: [] });
		await until('no neighbours', async () => (await ours.status()).sessions.length === 0);
	});

	it('dials from the address it is told to', async () => {
		await wire.ip(wire.node, 'address add 192.0.2.10/24 dev eth0');
		const bird = startBirdRouter(wire, {
			at: { netns: wire.router, node: { ...addresses.node, ipv4: '192.0.2.10' }, router: addresses.router },
			options: 'passive;',
		});
		wire.speaker(speakerConfig(routerPeer({ localAddress: '192.0.2.10' })));
		await until('the session', () => bird.established());
	});
});
