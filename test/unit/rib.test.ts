import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { PathAttributes } from 'bgp-js-lite';
import { createRib } from '../../bird/rib/rib.ts';
import type { Rib, RibPeer } from '../../bird/rib/types.ts';

const OWN_AS = 64512;
const peer = (name: string, kind: 'ibgp' | 'ebgp', address: string, change: Partial<RibPeer> = {}): RibPeer => ({
	source: { peer: name, kind, bgpIdentifier: address, peerAddress: address },
	families: new Set(['1/1', '2/1']),
	exportLearnt: true,
	peerAS: kind === 'ibgp' ? OWN_AS : 65001,
	nextHopSelf: { 4: '192.0.2.99', 6: '2001:db8::99' },
	...change,
});
const tor = peer('tor', 'ebgp', '192.0.2.1');
const tor2 = peer('tor2', 'ebgp', '192.0.2.2', { peerAS: 65002 });
const n3 = peer('n3', 'ibgp', '192.0.2.3');
const n4 = peer('n4', 'ibgp', '192.0.2.4');

const from = (peerOf: RibPeer, change: Partial<PathAttributes> = {}): PathAttributes => ({
	origin: 'igp',
	asPath: peerOf.source.kind === 'ebgp' ? [{ type: 'sequence', asNumbers: [peerOf.peerAS] }] : [],
	nextHop: peerOf.source.peerAddress,
	...change,
});

const ribWith = (...peers: readonly RibPeer[]): Rib => {
	const rib = createRib({ asNumber: OWN_AS, maximumPaths: 4 });
	for (const each of peers) {
		rib.addPeer(each);
		rib.setNextHop(each.source.peerAddress, 0);
		rib.startSending(each.source.peer);
	}
	return rib;
};

test('rib: a route that flaps between two takes is not seen', () => {
	const rib = ribWith(tor);
	rib.announce('tor', 4, ['10.1.0.0/24'], from(tor));
	assert.equal(rib.takeDecisions().get('10.1.0.0/24')?.best.source.peer, 'tor');
	rib.withdraw('tor', 4, ['10.1.0.0/24']);
	assert.equal(rib.locRib().size, 0);
	rib.announce('tor', 4, ['10.1.0.0/24'], { ...from(tor) });
	assert.equal(rib.takeDecisions().size, 0);
	rib.announce('tor', 4, ['10.2.0.0/24'], from(tor));
	rib.withdraw('tor', 4, ['10.2.0.0/24']);
	assert.equal(rib.takeDecisions().size, 0);
	rib.withdraw('tor', 4, ['10.1.0.0/24']);
	assert.deepEqual([...rib.takeDecisions()], [['10.1.0.0/24', undefined]]);
});

test('rib: next hops are known from the paths held, and a path waits for its next hop', () => {
	const rib = ribWith(tor);
	rib.announce('tor', 4, ['10.1.0.0/24', '10.2.0.0/24'], from(tor, { nextHop: '198.51.100.1' }));
	assert.deepEqual([...rib.nextHops()], ['198.51.100.1']);
	assert.equal(rib.takeDecisions().size, 0);
	rib.setNextHop('198.51.100.1', 3);
	assert.equal(rib.takeDecisions().size, 2);
	rib.setNextHop('198.51.100.1', undefined);
	assert.equal(rib.takeDecisions().get('10.2.0.0/24'), undefined);
	rib.withdraw('tor', 4, ['10.1.0.0/24']);
	assert.deepEqual([...rib.nextHops()], ['198.51.100.1']);
	rib.withdraw('tor', 4, ['10.2.0.0/24']);
	assert.deepEqual([...rib.nextHops()], []);
	rib.announce('tor', 4, ['10.2.0.0/24'], from(tor));
	rib.removePeer('tor');
	assert.deepEqual([...rib.nextHops()], []);
});

test('rib: to another AS we prepend our own, are the next hop, and keep LOCAL_PREF and MED to ourselves', () => {
	const rib = ribWith(tor, tor2, n3);
	rib.announce('tor', 4, ['10.1.0.0/24'], from(tor, { med: 5, communities: [7], linkLocalNextHop: 'fe80::1' }));
	assert.deepEqual(rib.takeOutgoing('tor2', 10), [
		{
			family: 4,
			attributes: {
				origin: 'igp',
				asPath: [{ type: 'sequence', asNumbers: [OWN_AS, 65001] }],
				nextHop: '192.0.2.99',
				communities: [7],
			},
			prefixes: ['10.1.0.0/24'],
		},
	]);
	rib.announce(
		'n3',
		6,
		['2001:db8:1::/64'],
		from(n3, { localPref: 300, originatorId: '9.9.9.9', clusterList: ['1.1.1.1'], nextHop: '192.0.2.3' }),
	);
	assert.deepEqual(rib.takeOutgoing('tor2', 10), [
		{
			family: 6,
			attributes: { origin: 'igp', asPath: [{ type: 'sequence', asNumbers: [OWN_AS] }], nextHop: '2001:db8::99' },
			prefixes: ['2001:db8:1::/64'],
		},
	]);
	assert.equal(rib.hasOutgoing('tor2'), false);
});

test('rib: a full AS_PATH segment is left as it is and a new one begun', () => {
	const rib = ribWith(tor, tor2);
	const full = { type: 'sequence', asNumbers: new Array<number>(255).fill(65001) } as const;
	rib.announce('tor', 4, ['10.1.0.0/24'], from(tor, { asPath: [full] }));
	assert.deepEqual(rib.takeOutgoing('tor2', 10)[0]?.attributes?.asPath, [
		{ type: 'sequence', asNumbers: [OWN_AS] },
		full,
	]);
});

test('rib: within our AS the next hop stays, LOCAL_PREF is always there, and iBGP routes are not passed on', () => {
	const rib = ribWith(tor, n3, n4);
	rib.announce('tor', 4, ['10.1.0.0/24'], from(tor, { med: 5 }));
	rib.announce('n4', 4, ['10.4.0.0/24'], from(n4, { localPref: 100 }));
	rib.setLocal(['10.9.0.0/24']);
	assert.deepEqual(
		[...rib.takeOutgoing('n3', 10)].sort((a, b) => ((a.prefixes[0] as string) < (b.prefixes[0] as string) ? -1 : 1)),
		[
			{ family: 4, attributes: { ...from(tor, { med: 5 }), localPref: 100 }, prefixes: ['10.1.0.0/24'] },
			{
				family: 4,
				attributes: { origin: 'igp', asPath: [], nextHop: '192.0.2.99', localPref: 100 },
				prefixes: ['10.9.0.0/24'],
			},
		],
	);
});

test('rib: what a peer is not given', () => {
	const bare = peer('bare', 'ebgp', '192.0.2.7', { peerAS: 65007, nextHopSelf: { 4: '192.0.2.99' } });
	const four = peer('four', 'ebgp', '192.0.2.8', { peerAS: 65008, families: new Set(['1/1']) });
	const own = peer('own', 'ebgp', '192.0.2.9', { peerAS: 65009, exportLearnt: false });
	const rib = ribWith(tor, tor2, n3, bare, four, own);
	rib.setLocal(['10.0.0.0/24', '2001:db8:a::/64']);
	rib.announce('tor', 4, ['10.1.0.0/24'], from(tor, { communities: [0xffffff01] }));
	rib.announce('tor', 4, ['10.2.0.0/24'], from(tor, { communities: [0xffffff02] }));
	rib.announce('tor', 4, ['10.3.0.0/24'], from(tor, { communities: [0xffffff03] }));
	rib.announce('tor', 4, ['10.4.0.0/24'], from(tor, { asPath: [{ type: 'sequence', asNumbers: [65001, 65002] }] }));
	const sent = (name: string): string[] => {
		rib.takeOutgoing(name, 100);
		return [...rib.adjRibOut(name).keys()].sort();
	};
	assert.deepEqual(sent('tor'), ['10.0.0.0/24', '2001:db8:a::/64'], 'its own routes back');
	assert.deepEqual(sent('tor2'), ['10.0.0.0/24', '2001:db8:a::/64'], 'NO_EXPORT…, or its AS in the path');
	assert.deepEqual(
		sent('n3'),
		['10.0.0.0/24', '10.1.0.0/24', '10.3.0.0/24', '10.4.0.0/24', '2001:db8:a::/64'],
		'NO_ADVERTISE',
	);
	assert.deepEqual(sent('bare'), ['10.0.0.0/24', '10.4.0.0/24'], 'a family we have no address of');
	assert.deepEqual(sent('four'), ['10.0.0.0/24', '10.4.0.0/24'], 'a family not agreed on');
	assert.deepEqual(sent('own'), ['10.0.0.0/24', '2001:db8:a::/64'], 'learnt routes');
});

test('rib: a withdraw goes only to whom the prefix was announced', () => {
	const rib = ribWith(tor, tor2, n3);
	rib.announce('tor', 4, ['10.1.0.0/24'], from(tor));
	rib.takeOutgoing('tor2', 10);
	rib.announce('tor', 4, ['10.2.0.0/24'], from(tor));
	rib.withdraw('tor', 4, ['10.1.0.0/24', '10.2.0.0/24']);
	assert.deepEqual(rib.takeOutgoing('tor2', 10), [{ family: 4, prefixes: ['10.1.0.0/24'] }]);
	assert.deepEqual(rib.takeOutgoing('n3', 10), []);
	assert.deepEqual(rib.takeOutgoing('tor', 10), []);
});

test('rib: a peer whose own path becomes the best gets a withdraw of the other one', () => {
	const rib = ribWith(tor, tor2);
	rib.announce('tor2', 4, ['10.1.0.0/24'], from(tor2));
	assert.equal(rib.takeOutgoing('tor', 10)[0]?.prefixes.length, 1);
	rib.announce('tor', 4, ['10.1.0.0/24'], from(tor));
	assert.deepEqual(rib.takeOutgoing('tor', 10), [{ family: 4, prefixes: ['10.1.0.0/24'] }]);
});

test('rib: nothing is sent before startSending, and the table comes in portions of the limit', () => {
	const rib = createRib({ asNumber: OWN_AS, maximumPaths: 1 });
	rib.addPeer(tor);
	const prefixes = Array.from({ length: 25 }, (_, i) => `10.0.${i}.0/24`);
	rib.setLocal(prefixes);
	assert.equal(rib.hasOutgoing('tor'), false);
	assert.deepEqual(rib.takeOutgoing('tor', 10), []);
	rib.startSending('tor');
	const sizes: number[] = [];
	while (rib.hasOutgoing('tor'))
		sizes.push(rib.takeOutgoing('tor', 10).reduce((sum, out) => sum + out.prefixes.length, 0));
	assert.deepEqual(sizes, [10, 10, 5]);
	assert.deepEqual(rib.counts('tor'), { received: 0, receivedByFamily: { 4: 0, 6: 0 }, advertised: 25 });
});

test('rib: route refresh sends one family again, and a withdraw in between still goes out', () => {
	const rib = ribWith(tor);
	rib.setLocal(['10.0.0.0/24', '10.0.1.0/24', '2001:db8:a::/64']);
	rib.takeOutgoing('tor', 10);
	assert.equal(rib.hasOutgoing('tor'), false);
	rib.resend('tor', 4);
	rib.setLocal(['10.0.0.0/24', '2001:db8:a::/64']);
	assert.deepEqual(
		rib.takeOutgoing('tor', 10).map(({ attributes, prefixes }) => [attributes !== undefined, prefixes]),
		[
			[true, ['10.0.0.0/24']],
			[false, ['10.0.1.0/24']],
		],
	);
	assert.equal(rib.hasOutgoing('tor'), false);
});

test('rib: prefixes with equal attributes leave together, though learnt apart', () => {
	const rib = ribWith(tor, tor2);
	rib.announce('tor', 4, ['10.1.0.0/24'], from(tor, { med: 1 }));
	rib.announce('tor', 4, ['10.2.0.0/24'], from(tor, { med: 2 }));
	assert.deepEqual(
		rib.takeOutgoing('tor2', 10).map((out) => out.prefixes),
		[['10.1.0.0/24', '10.2.0.0/24']],
	);
	rib.announce('tor', 4, ['10.1.0.0/24'], from(tor, { med: 3 }));
	assert.equal(rib.hasOutgoing('tor2'), false, 'a MED that is not passed on is no change');
	assert.equal(rib.takeDecisions().size, 2);
});

test('rib: graceful restart keeps stale paths until the sweep, and changes nothing meanwhile', () => {
	const rib = ribWith(tor, tor2);
	rib.announce('tor', 4, ['10.1.0.0/24', '10.2.0.0/24'], from(tor));
	rib.announce('tor', 6, ['2001:db8:1::/64'], from(tor));
	rib.takeDecisions();
	rib.takeOutgoing('tor2', 10);
	rib.markStale('tor', [4]);
	assert.deepEqual([...rib.takeDecisions()], [['2001:db8:1::/64', undefined]], 'the other family goes');
	assert.deepEqual(
		rib.adjRibIn('tor').map((path) => path.stale),
		[true, true],
	);
	assert.equal(rib.takeOutgoing('tor2', 10).length, 1);
	rib.addPeer(tor);
	rib.announce('tor', 4, ['10.1.0.0/24'], from(tor));
	assert.equal(rib.takeDecisions().size, 0);
	rib.sweepStale('tor', 4);
	assert.deepEqual([...rib.takeDecisions()], [['10.2.0.0/24', undefined]]);
	assert.deepEqual(rib.takeOutgoing('tor2', 10), [{ family: 4, prefixes: ['10.2.0.0/24'] }]);
	assert.deepEqual(rib.locRib().get('10.1.0.0/24')?.best.stale, false);
});

test('rib: a second restart drops what was stale from the first (RFC 4724 §4.2)', () => {
	const rib = ribWith(tor);
	rib.announce('tor', 4, ['10.1.0.0/24', '10.2.0.0/24'], from(tor));
	rib.markStale('tor', [4]);
	rib.markStale('tor', [4]);
	assert.equal(rib.adjRibIn('tor').length, 2, 'the same restart, told twice');
	rib.addPeer(tor);
	rib.announce('tor', 4, ['10.1.0.0/24'], from(tor));
	rib.markStale('tor', [4]);
	assert.deepEqual(
		rib.adjRibIn('tor').map((path) => path.prefix),
		['10.1.0.0/24'],
	);
});

test('rib: a peer whose rules change gets the difference', () => {
	const rib = ribWith(tor, tor2);
	rib.announce('tor', 4, ['10.1.0.0/24'], from(tor));
	rib.setLocal(['10.0.0.0/24']);
	rib.takeOutgoing('tor2', 10);
	rib.addPeer({ ...tor2, exportLearnt: false });
	assert.deepEqual(rib.takeOutgoing('tor2', 10), [{ family: 4, prefixes: ['10.1.0.0/24'] }]);
});

test('rib: a call for a peer that is gone changes nothing', () => {
	const rib = ribWith(tor);
	rib.removePeer('tor');
	rib.announce('tor', 4, ['10.1.0.0/24'], from(tor));
	rib.withdraw('tor', 4, ['10.1.0.0/24']);
	rib.markStale('tor', [4]);
	rib.sweepStale('tor', 4);
	rib.resend('tor', 4);
	rib.startSending('tor');
	assert.equal(rib.takeDecisions().size, 0);
	assert.deepEqual(rib.takeOutgoing('tor', 10), []);
	assert.deepEqual(rib.counts('tor'), { received: 0, receivedByFamily: { 4: 0, 6: 0 }, advertised: 0 });
});

test('rib: 100,000 prefixes are decided and handed to another peer in a few hundred messages worth of groups', () => {
	const rib = ribWith(tor, tor2);
	const prefixes = Array.from({ length: 100_000 }, (_, i) => `10.${i >> 10}.${(i >> 2) & 255}.${(i & 3) << 6}/26`);
	for (let i = 0; i < prefixes.length; i += 800) rib.announce('tor', 4, prefixes.slice(i, i + 800), from(tor));
	assert.equal(rib.takeDecisions().size, prefixes.length);
	let groups = 0;
	const shared = new Set<PathAttributes | undefined>();
	while (rib.hasOutgoing('tor2')) {
		for (const out of rib.takeOutgoing('tor2', 1000)) {
			groups++;
			shared.add(out.attributes);
		}
	}
	assert.equal(groups, 100);
	assert.equal(shared.size, 1);
	assert.equal(rib.counts('tor2').advertised, prefixes.length);
});
