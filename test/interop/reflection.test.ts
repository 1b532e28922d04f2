import assert from 'node:assert/strict';
import { afterEach, beforeEach, describe, it } from 'node:test';
import { type BirdRouter, startBirdRouter } from './bird-router.ts';
import {
	addresses,
	createWire,
	type OurSpeaker,
	prefixes,
	routerPeer,
	speakerConfig,
	until,
	type Wire,
} from './harness.ts';

/** Ours as route reflector (RFC 4456) between two BIRDs of its AS, one of them its client. */

describe('route reflector', () => {
	let wire: Wire;
	let ours: OurSpeaker;

	beforeEach(async () => {
		wire = await createWire();
	});
	afterEach(async () => {
		await wire.close();
	});

	it('reflects between a client and others, with ORIGINATOR_ID and CLUSTER_LIST, and no more when it is no reflector', async () => {
		const at = await wire.branch();
		const other = startBirdRouter(wire, { asNumber: 64512 });
		const client = startBirdRouter(wire, { asNumber: 64512, at, prefixes: ['198.51.200.0/24', '2001:db8:98::/64'] });
		const clientPeer = routerPeer({
			name: 'peer/client',
			address: at.router.ipv4,
			localAddress: at.node.ipv4,
			asNumber: 64512,
		});
		const plain = routerPeer({ asNumber: 64512 });
		const reflecting = speakerConfig(plain, {
			peers: [plain, { ...clientPeer, routeReflectorClient: true }],
			clusterId: '0.0.0.77',
		});
		ours = wire.speaker(reflecting);
		const has = async (bird: BirdRouter, prefix: string): Promise<boolean> =>
			(await bird.birdc(`show route ${prefix} all`)).includes('originator_id');
		await until('the client has what the other announces', () => has(client, prefixes.router[0]));
		await until('IPv6 too', () => has(client, prefixes.router[1]));
		await until('and the other way', () => has(other, '198.51.200.0/24'));
		const route = await client.birdc(`show route ${prefixes.router[0]} all`);
		assert.match(route, /BGP.next_hop: 192\.0\.2\.2/);
		assert.match(route, new RegExp(`BGP.originator_id: ${addresses.router.ipv4.replaceAll('.', '\\.')}`));
		assert.match(route, /BGP.cluster_list: 0\.0\.0\.77/);
		// Our own routes are not reflected ones.
		assert.doesNotMatch(await client.birdc(`show route ${prefixes.node[0]} all`), /originator_id/);

		ours.update({ ...reflecting, peers: [plain, clientPeer] });
		await until(
			'withdrawn',
			async () => !(await has(client, prefixes.router[0])) && !(await has(other, '198.51.200.0/24')),
		);
		assert.ok((await client.established()) && (await other.established()));
	});
});
