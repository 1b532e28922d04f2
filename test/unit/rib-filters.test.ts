import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { PathAttributes } from 'bgp-js-lite';
import fc from 'fast-check';
import type { Filter, Rule } from '../../bird/policy/types.ts';
import { createRib } from '../../bird/rib/rib.ts';
import type { Rib, RibPeer } from '../../bird/rib/types.ts';

const OWN_AS = 64512;
const peer = (name: string, change: Partial<RibPeer> = {}): RibPeer => {
	const address = `192.0.2.${name.length}`;
	return {
		source: { peer: name, kind: 'ebgp', bgpIdentifier: address, peerAddress: address },
		families: new Set(['1/1', '2/1']),
		exportLearnt: false,
		peerAS: 65000 + name.length,
		nextHopSelf: { 4: '192.0.2.99', 6: '2001:db8::99' },
		...change,
	};
};
const from = ({ peerAS, source }: RibPeer, change: Partial<PathAttributes> = {}): PathAttributes => ({
	origin: 'igp',
	asPath: [{ type: 'sequence', asNumbers: [peerAS] }],
	nextHop: source.peerAddress,
	...change,
});
const filter = (...rules: readonly Partial<Rule>[]): Filter => ({
	4: rules.map((rule, i) => ({ name: `rule ${i}`, action: 'Accept', ...rule })),
	6: [],
});
const within = (cidr: string): Partial<Rule> => ({ prefix: { cidr, operator: 'In' } });
const ribWith = (...peers: readonly RibPeer[]): Rib => {
	const rib = createRib({ asNumber: OWN_AS, maximumPaths: 4 });
	for (const each of peers) {
		rib.addPeer(each);
		rib.setNextHop(each.source.peerAddress, 0, ['eth0']);
		rib.startSending(each.source.peer);
	}
	return rib;
};
const best = (rib: Rib): string[] => [...rib.locRib().keys()].sort();
const told = (rib: Rib, name: string): string[] => {
	while (rib.takeOutgoing(name, 100).length > 0);
	return [...rib.adjRibOut(name).keys()].sort();
};

const a = peer('a');
const bb = peer('bb');
const two = ['10.1.0.0/16', '10.2.0.0/16'];

describe('an import filter', () => {
	const rejecting = { importFilter: filter({ ...within('10.1.0.0/16'), action: 'Reject' }) };

	it('rejects and accepts again without the peer telling anything anew', () => {
		const rib = ribWith(a);
		rib.announce('a', 4, two, from(a));
		assert.deepEqual(best(rib), two);
		rib.addPeer({ ...a, ...rejecting });
		assert.deepEqual(best(rib), ['10.2.0.0/16']);
		assert.equal(rib.takeDecisions().size, 1);
		assert.equal(rib.adjRibIn('a').length, 2);
		assert.equal(rib.counts('a').received, 2);
		rib.addPeer(a);
		assert.deepEqual(best(rib), two);
	});

	it('changes what is decided by, and nothing where it changes nothing', () => {
		const rib = ribWith(a, bb);
		rib.announce('a', 4, two, from(a));
		rib.announce('bb', 4, two, from(bb));
		rib.takeDecisions();
		const importFilter = filter({
			...within('10.2.0.0/16'),
			operations: [{ type: 'setLocalPref', value: 200 }],
		});
		rib.addPeer({ ...bb, importFilter });
		assert.deepEqual([...rib.takeDecisions().keys()], ['10.2.0.0/16']);
		assert.equal(rib.locRib().get('10.2.0.0/16')?.best.source.peer, 'bb');
		assert.equal(rib.locRib().get('10.1.0.0/16')?.multipath.length, 2);
		rib.addPeer({ ...bb, importFilter: structuredClone(importFilter) });
		assert.equal(rib.takeDecisions().size, 0);
		rib.removePeer('bb');
		assert.equal(rib.locRib().get('10.2.0.0/16')?.best.source.peer, 'a');
	});

	it('comes before what holds otherwise (RFC 8212)', () => {
		const closed = peer('a', { rejectImport: true });
		const rib = ribWith(closed);
		rib.announce('a', 4, two, from(a));
		assert.deepEqual(best(rib), []);
		assert.deepEqual([...rib.prefixes()], []);
		rib.addPeer({ ...closed, importFilter: filter(within('10.1.0.0/16')) });
		assert.deepEqual(best(rib), ['10.1.0.0/16']);
		assert.deepEqual(
			two.map((prefix) => rib.policyOf(prefix).imports.map(({ accept, rule }) => [accept, rule])),
			[[[true, 'rule 0']], [[false, undefined]]],
		);
	});

	it('goes by the interface of the next hop, also of what it rejects', () => {
		const only = peer('a', { importFilter: filter({ interface: 'eth*' }, { action: 'Reject' }) });
		const rib = ribWith(only);
		rib.announce('a', 4, two, from(a, { nextHop: '198.51.100.1' }));
		assert.deepEqual(best(rib), []);
		assert.ok(rib.nextHops().has('198.51.100.1'));
		rib.setNextHop('198.51.100.1', 1, ['eth1']);
		assert.deepEqual(best(rib), two);
		rib.setNextHop('198.51.100.1', 1, ['wan0']);
		assert.deepEqual(best(rib), []);
		rib.withdraw('a', 4, two);
		assert.deepEqual([...rib.nextHops()], []);
	});
});

describe('an export filter', () => {
	it('takes back and tells what changes, and lets routes of others through where it accepts them', () => {
		const rib = ribWith(a, bb);
		rib.setLocal(['10.9.0.0/24', '10.8.0.0/24']);
		rib.announce('a', 4, two, from(a));
		assert.deepEqual(told(rib, 'bb'), ['10.8.0.0/24', '10.9.0.0/24']);
		const exportFilter = filter(
			{ ...within('10.9.0.0/24'), action: 'Reject' },
			{ ...within('10.1.0.0/16'), remoteOnly: true },
		);
		rib.addPeer({ ...bb, exportFilter });
		assert.deepEqual(told(rib, 'bb'), ['10.1.0.0/16', '10.8.0.0/24']);
		assert.deepEqual(
			[...two, '10.9.0.0/24'].map((prefix) => {
				const { accept, reason } = rib.policyOf(prefix).exports.find((one) => one.peer === 'bb') ?? {};
				return [accept, reason];
			}),
			[
				[true, 'rule 1 accepts it'],
				[false, 'routes of others are told only where a filter accepts them, or with exportLearnt'],
				[false, 'rule 0 rejects it'],
			],
		);
	});

	it('changes attributes: communities and path before BGP does, MED and next hop after', () => {
		const exportFilter = filter({
			operations: [
				{ type: 'prependASPath', asNumbers: [65099] },
				{ type: 'addCommunity', value: '65099:1' },
				{ type: 'setMed', value: 7 },
				{ type: 'setNextHop', address: '192.0.2.77' },
				{ type: 'setLocalPref', value: 7 },
			],
		});
		const rib = ribWith(a, { ...bb, exportFilter });
		rib.announce('a', 4, ['10.1.0.0/16'], from(a));
		told(rib, 'bb');
		const attributes = rib.adjRibOut('bb').get('10.1.0.0/16');
		assert.deepEqual(attributes?.asPath, [{ type: 'sequence', asNumbers: [OWN_AS, 65099, 65001] }]);
		assert.deepEqual(
			[attributes?.med, attributes?.nextHop, attributes?.localPref, attributes?.communities?.length],
			[7, '192.0.2.77', undefined, 1],
		);
	});

	it('does not override what BGP forbids', () => {
		const rib = ribWith(a, { ...bb, exportFilter: filter({}) });
		rib.announce('a', 4, two, from(a, { communities: [0xffffff01] }));
		assert.deepEqual(told(rib, 'bb'), []);
	});
});

describe('next hops by the mode of a peer', () => {
	const inside = (name: string, rules?: RibPeer['rules']): RibPeer => {
		const base = peer(name);
		return {
			...base,
			source: { ...base.source, kind: 'ibgp' },
			peerAS: OWN_AS,
			exportLearnt: true,
			...(rules && { rules }),
		};
	};
	for (const [name, to, nextHop] of [
		['external peers get ours', peer('bb', { exportLearnt: true }), '192.0.2.99'],
		[
			'external ones with keep that of the path',
			peer('bb', { exportLearnt: true, rules: { nextHop: 'keep' } }),
			'192.0.2.1',
		],
		['internal ones that of the path', inside('bb'), '192.0.2.1'],
		['internal ones with self ours', inside('bb', { nextHop: 'self' }), '192.0.2.99'],
	] as const) {
		it(name, () => {
			const rib = ribWith(a, to);
			rib.announce('a', 4, two, from(a));
			told(rib, 'bb');
			assert.equal(rib.adjRibOut('bb').get('10.1.0.0/16')?.nextHop, nextHop);
		});
	}
});

const prefixes = ['10.1.0.0/16', '10.1.1.0/24', '10.2.0.0/16', '10.3.0.0/16'];
const arbitraryRule: fc.Arbitrary<Partial<Rule>> = fc.record(
	{
		action: fc.constantFrom('Accept', 'Reject'),
		prefix: fc.record({
			cidr: fc.constantFrom('10.0.0.0/8', '10.1.0.0/16', '10.2.0.0/16'),
			operator: fc.constantFrom('In', 'NotIn', 'Equal', 'NotEqual'),
			maxLength: fc.constantFrom(16, 24),
		}),
		interface: fc.constantFrom('eth0', 'eth1'),
		operations: fc.constantFrom(
			[],
			[{ type: 'setLocalPref', value: 300 }] as const,
			[{ type: 'setNextHop', address: '192.0.2.50' }] as const,
		),
	},
	{ requiredKeys: [] },
);
const arbitraryFilter = fc.option(
	fc.array(arbitraryRule, { maxLength: 3 }).map((rules) => filter(...rules)),
	{ nil: undefined },
);
const step = fc.oneof(
	fc.record({
		do: fc.constant('announce' as const),
		peer: fc.nat(1),
		prefix: fc.constantFrom(...prefixes),
		pref: fc.constantFrom(100, 200),
	}),
	fc.record({ do: fc.constant('withdraw' as const), peer: fc.nat(1), prefix: fc.constantFrom(...prefixes) }),
	fc.record({
		do: fc.constant('configure' as const),
		peer: fc.nat(1),
		imports: arbitraryFilter,
		exports: arbitraryFilter,
		reject: fc.boolean(),
	}),
	fc.record({ do: fc.constant('hop' as const), dev: fc.constantFrom('eth0', 'eth1') }),
	fc.record({ do: fc.constant('take' as const) }),
);

describe('filters, however they came to be what they are', () => {
	it('make the same tables as if they had been there from the start', () => {
		fc.assert(
			fc.property(fc.array(step, { maxLength: 25 }), (steps) => {
				const state: RibPeer[] = [a, bb];
				const tables = [new Map<string, PathAttributes>(), new Map<string, PathAttributes>()];
				let dev = 'eth0';
				const hops = (rib: Rib): void => {
					for (const hop of ['192.0.2.1', '192.0.2.2', '192.0.2.50']) rib.setNextHop(hop, 0, [dev]);
				};
				const rib = ribWith(a, bb);
				hops(rib);
				for (const one of steps) {
					if (one.do === 'take') {
						rib.takeDecisions();
						for (const { source } of state) rib.takeOutgoing(source.peer, 3);
					} else if (one.do === 'hop') {
						dev = one.dev;
						hops(rib);
					} else {
						const which = state[one.peer] as RibPeer;
						const name = which.source.peer;
						if (one.do === 'withdraw') {
							rib.withdraw(name, 4, [one.prefix]);
							tables[one.peer]?.delete(one.prefix);
						} else if (one.do === 'announce') {
							const attributes = from(which, { localPref: one.pref });
							rib.announce(name, 4, [one.prefix], attributes);
							tables[one.peer]?.set(one.prefix, attributes);
						} else {
							const { importFilter: _i, exportFilter: _e, ...rest } = which;
							const next: RibPeer = {
								...rest,
								rejectImport: one.reject,
								...(one.imports && { importFilter: one.imports }),
								...(one.exports && { exportFilter: one.exports }),
							};
							state[one.peer] = next;
							rib.addPeer(next);
						}
					}
				}
				const fresh = ribWith(...state);
				hops(fresh);
				for (const [i, table] of tables.entries()) {
					for (const [prefix, attributes] of table)
						fresh.announce(state[i]?.source.peer ?? '', 4, [prefix], attributes);
				}
				const shown = (one: Rib): unknown => [
					best(one).map((prefix) => [
						prefix,
						one
							.locRib()
							.get(prefix)
							?.multipath.map(({ source, attributes }) => [source.peer, attributes]),
					]),
					[...one.nextHops()].sort(),
					state.map(({ source }) => {
						told(one, source.peer);
						return [...one.adjRibOut(source.peer)].sort(([x], [y]) => (x < y ? -1 : 1));
					}),
				];
				assert.deepEqual(shown(rib), shown(fresh));
			}),
			{ numRuns: 500 },
		);
	});
});
