import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { PathAttributes } from 'bgp-js-lite';
import { createRib } from '../../bird/rib/rib.ts';
import type { Rib, RibPeer } from '../../bird/rib/types.ts';

/** RFC 4456: who gets whose routes from a reflector, and what is written into them. */

const OWN_AS = 64512;
const peer = (name: string, host: number, client: boolean, kind: 'ibgp' | 'ebgp' = 'ibgp'): RibPeer => ({
	source: {
		peer: name,
		kind,
		bgpIdentifier: `192.0.2.${host}`,
		peerAddress: `192.0.2.${host}`,
		...(client && { client }),
	},
	families: new Set(['1/1']),
	exportLearnt: true,
	peerAS: kind === 'ibgp' ? OWN_AS : 65001,
	nextHopSelf: { 4: '192.0.2.99' },
});
const peers = {
	client1: peer('client1', 1, true),
	client2: peer('client2', 2, true),
	other1: peer('other1', 3, false),
	other2: peer('other2', 4, false),
	external: peer('external', 5, false, 'ebgp'),
};
const route: PathAttributes = { origin: 'igp', asPath: [], nextHop: '198.51.100.1', localPref: 100 };
const prefix = '10.1.0.0/24';

const reflector = (clusterId = '9.9.9.9'): Rib => {
	const rib = createRib({ asNumber: OWN_AS, maximumPaths: 4, routerId: '192.0.2.99', clusterId });
	for (const each of Object.values(peers)) {
		rib.addPeer(each);
		rib.setNextHop(each.source.peerAddress, 0);
		rib.startSending(each.source.peer);
	}
	rib.setNextHop('198.51.100.1', 0);
	return rib;
};
const gets = (rib: Rib): string[] => Object.keys(peers).filter((name) => rib.takeOutgoing(name, 10).length > 0);
const sent = (rib: Rib, to: string): PathAttributes | undefined => rib.takeOutgoing(to, 10)[0]?.attributes;

describe('route reflection (RFC 4456)', () => {
	for (const [from, to] of [
		['client1', ['client2', 'other1', 'other2', 'external']],
		['other1', ['client1', 'client2', 'external']],
		['external', ['client1', 'client2', 'other1', 'other2']],
	] as const) {
		it(`a route of ${from} goes to ${to.join(', ')}`, () => {
			const rib = reflector();
			const asPath = from === 'external' ? [{ type: 'sequence' as const, asNumbers: [65001] }] : [];
			rib.announce(from, 4, [prefix], { ...route, asPath });
			assert.deepEqual(gets(rib), from === 'external' ? to : to.filter((name) => name !== from));
		});
	}

	it('writes originator and cluster, keeps an originator that is there, and changes nothing else', () => {
		const rib = reflector();
		rib.announce('client1', 4, [prefix], route);
		assert.deepEqual(sent(rib, 'other1'), { ...route, originatorId: '192.0.2.1', clusterList: ['9.9.9.9'] });
		rib.announce('client1', 4, [prefix], { ...route, originatorId: '7.7.7.7', clusterList: ['8.8.8.8'] });
		assert.deepEqual(sent(rib, 'other1'), {
			...route,
			originatorId: '7.7.7.7',
			clusterList: ['9.9.9.9', '8.8.8.8'],
		});
	});

	it('equal attributes of two clients keep their own originators', () => {
		const rib = reflector();
		rib.announce('client1', 4, [prefix], route);
		rib.announce('client2', 4, ['10.2.0.0/24'], route);
		const originators = rib.takeOutgoing('other1', 10).map(({ attributes }) => attributes?.originatorId);
		assert.deepEqual(originators.sort(), ['192.0.2.1', '192.0.2.2']);
	});

	it('an external peer sees nothing of it', () => {
		const rib = reflector();
		rib.announce('client1', 4, [prefix], route);
		const attributes = sent(rib, 'external');
		assert.equal(attributes?.originatorId, undefined);
		assert.equal(attributes?.clusterList, undefined);
	});

	it('does not give a route back to the router it began at', () => {
		const rib = reflector();
		rib.announce('client1', 4, [prefix], { ...route, originatorId: '192.0.2.2' });
		assert.deepEqual(gets(rib), ['other1', 'other2', 'external']);
	});

	for (const [what, attributes] of [
		['our identifier as originator', { originatorId: '192.0.2.99' }],
		['our cluster in the list', { clusterList: ['8.8.8.8', '9.9.9.9'] }],
	] as const) {
		it(`does not use a path with ${what}`, () => {
			const rib = reflector();
			rib.announce('client1', 4, [prefix], { ...route, ...attributes });
			assert.equal(rib.takeDecisions().size, 0);
			assert.deepEqual(gets(rib), []);
		});
	}

	it('prefers the shorter CLUSTER_LIST between paths of one originator (§9)', () => {
		const rib = reflector();
		rib.announce('client1', 4, [prefix], { ...route, originatorId: '7.7.7.7', clusterList: ['1.1.1.1', '2.2.2.2'] });
		rib.announce('other1', 4, [prefix], { ...route, originatorId: '7.7.7.7', clusterList: ['1.1.1.1'] });
		assert.equal(rib.takeDecisions().get(prefix)?.best.source.peer, 'other1');
	});

	it('a peer that becomes a client gets what it did not, and its routes go out again', () => {
		const rib = reflector();
		rib.announce('other1', 4, [prefix], route);
		assert.ok(!gets(rib).includes('other2'));
		rib.addPeer({ ...peers.other1, source: { ...peers.other1.source, client: true } });
		assert.deepEqual(gets(rib), ['other2']);
	});
});
