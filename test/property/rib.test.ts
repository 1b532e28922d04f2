import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { PathAttributes } from 'bgp-js-lite';
import fc from 'fast-check';
import { createRib } from '../../bird/rib/rib.ts';
import type { Rib, RibFamily, RibPeer } from '../../bird/rib/types.ts';

const OWN_AS = 64512;
const family4 = ['10.0.0.0/24', '10.0.1.0/24', '10.0.2.0/24'];
const family6 = ['2001:db8:1::/64', '2001:db8:2::/64'];
const hops = ['192.0.2.1', '192.0.2.2', '192.0.2.3'];

const peers: readonly RibPeer[] = [
	['a', 'ebgp', 65001, true],
	['b', 'ebgp', 65002, false],
	['c', 'ebgp', 65001, true],
	['d', 'ibgp', OWN_AS, true],
	['e', 'ibgp', OWN_AS, true],
].map(([name, kind, peerAS, exportLearnt], i) => ({
	source: {
		peer: name as string,
		kind: kind as 'ibgp' | 'ebgp',
		bgpIdentifier: `1.1.1.${i < 3 ? 1 : i}`,
		peerAddress: `192.0.2.${10 + i}`,
	},
	families: new Set(i === 4 ? ['1/1'] : ['1/1', '2/1']),
	exportLearnt: exportLearnt as boolean,
	peerAS: peerAS as number,
	nextHopSelf: i === 2 ? { 4: '192.0.2.99' } : { 4: '192.0.2.99', 6: '2001:db8::99' },
}));
const names = peers.map((peer) => peer.source.peer);

const attributes: fc.Arbitrary<PathAttributes> = fc.record(
	{
		origin: fc.constantFrom('igp', 'egp', 'incomplete'),
		asPath: fc.array(
			fc.record({
				type: fc.constantFrom('sequence', 'set'),
				asNumbers: fc.array(fc.constantFrom(65001, 65002, 65003, OWN_AS), { minLength: 1, maxLength: 2 }),
			}),
			{ maxLength: 2 },
		),
		nextHop: fc.constantFrom(...hops),
		med: fc.integer({ min: 0, max: 2 }),
		localPref: fc.integer({ min: 99, max: 101 }),
		communities: fc.subarray([0xffffff01, 0xffffff02, 7], { minLength: 1 }),
		originatorId: fc.constantFrom('1.1.1.1', '1.1.1.9'),
		clusterList: fc.array(fc.constant('2.2.2.2'), { minLength: 1, maxLength: 2 }),
	},
	{ requiredKeys: ['origin', 'asPath', 'nextHop'] },
);

type Step =
	| { readonly do: 'announce'; readonly peer: string; readonly prefix: string; readonly attributes: PathAttributes }
	| { readonly do: 'withdraw'; readonly peer: string; readonly prefix: string }
	| { readonly do: 'local'; readonly prefixes: readonly string[] }
	| { readonly do: 'metric'; readonly nextHop: string; readonly metric: number | undefined }
	| { readonly do: 'stale' | 'down' | 'up' | 'resend' | 'take'; readonly peer: string; readonly family: RibFamily };

const peerName = fc.constantFrom(...names);
const prefix = fc.constantFrom(...family4, ...family6);
const announce = fc.record({ do: fc.constant('announce' as const), peer: peerName, prefix, attributes });
const step: fc.Arbitrary<Step> = fc.oneof(
	{ arbitrary: announce, weight: 8 },
	{ arbitrary: fc.record({ do: fc.constant('withdraw' as const), peer: peerName, prefix }), weight: 3 },
	{
		arbitrary: fc.record({ do: fc.constant('local' as const), prefixes: fc.subarray([...family4, ...family6]) }),
		weight: 1,
	},
	{
		arbitrary: fc.record({
			do: fc.constant('metric' as const),
			nextHop: fc.constantFrom(...hops),
			metric: fc.constantFrom(undefined, 0, 1),
		}),
		weight: 2,
	},
	{
		arbitrary: fc.record({
			do: fc.constantFrom('stale', 'down', 'up', 'resend', 'take'),
			peer: peerName,
			family: fc.constantFrom(4, 6),
		}),
		weight: 4,
	},
);

const familyOf = (text: string): RibFamily => (text.includes(':') ? 6 : 4);
const peerOf = (name: string): RibPeer => peers.find((peer) => peer.source.peer === name) as RibPeer;

/** What a peer would hold that was sent everything taken. */
type Model = Map<string, Map<string, PathAttributes>>;

const replay = (rib: Rib, model: Model, name: string, limit: number): void => {
	const held = model.get(name) as Map<string, PathAttributes>;
	for (const { attributes: sent, prefixes, family } of rib.takeOutgoing(name, limit)) {
		for (const each of prefixes) {
			assert.equal(familyOf(each), family);
			if (sent !== undefined) {
				held.set(each, sent);
			} else {
				assert.ok(held.delete(each), `${each} withdrawn from ${name}, which did not have it`);
			}
		}
	}
};

const run = (steps: readonly Step[]): { rib: Rib; model: Model; decisions: Map<string, unknown> } => {
	const rib = createRib({ asNumber: OWN_AS, maximumPaths: 2 });
	const model: Model = new Map(names.map((name) => [name, new Map()]));
	const decisions = new Map<string, unknown>();
	const up = (name: string): void => {
		rib.addPeer(peerOf(name));
		rib.startSending(name);
		model.get(name)?.clear();
	};
	for (const name of names) up(name);
	for (const hop of hops) rib.setNextHop(hop, 0);
	for (const each of steps) {
		if (each.do === 'announce') rib.announce(each.peer, familyOf(each.prefix), [each.prefix], each.attributes);
		else if (each.do === 'withdraw') rib.withdraw(each.peer, familyOf(each.prefix), [each.prefix]);
		else if (each.do === 'local') rib.setLocal(each.prefixes);
		else if (each.do === 'metric') rib.setNextHop(each.nextHop, each.metric);
		else if (each.do === 'stale') rib.markStale(each.peer, [each.family]);
		else if (each.do === 'down') rib.removePeer(each.peer);
		else if (each.do === 'up') up(each.peer);
		else if (each.do === 'resend') rib.resend(each.peer, each.family);
		else {
			replay(rib, model, each.peer, 2);
			for (const [key, decision] of rib.takeDecisions()) decisions.set(key, decision);
		}
	}
	for (const name of names) {
		up(name);
		for (const family of [4, 6] as const) rib.sweepStale(name, family);
	}
	return { rib, model, decisions };
};

const drain = (rib: Rib, model: Model): void => {
	for (const name of names) while (rib.hasOutgoing(name)) replay(rib, model, name, 3);
};

const plain = (table: ReadonlyMap<string, unknown>): unknown[] =>
	[...table].filter(([, value]) => value !== undefined).sort(([a], [b]) => (a < b ? -1 : 1));

test('rib: decisions do not depend on the order of arrival', () => {
	fc.assert(
		fc.property(
			fc
				.uniqueArray(announce, { selector: (each) => `${each.peer} ${each.prefix}`, maxLength: 20 })
				.chain((steps) => fc.tuple(fc.constant(steps), fc.shuffledSubarray(steps, { minLength: steps.length }))),
			([steps, shuffled]) => {
				const table = plain(run(steps).rib.locRib());
				assert.deepEqual(plain(run(shuffled).rib.locRib()), table);
				assert.deepEqual(plain(run(steps.toReversed()).rib.locRib()), table);
			},
		),
		{ numRuns: 300 },
	);
});

test('rib: after any history every table is that of a fresh RIB given the final state', () => {
	fc.assert(
		fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
			const { rib, model, decisions } = run(steps);
			const fresh = createRib({ asNumber: OWN_AS, maximumPaths: 2 });
			const freshModel: Model = new Map(names.map((name) => [name, new Map()]));
			const metrics = new Map<string, number | undefined>(hops.map((hop) => [hop, 0]));
			for (const each of steps) if (each.do === 'metric') metrics.set(each.nextHop, each.metric);
			fresh.setLocal(steps.reduce<readonly string[]>((last, each) => (each.do === 'local' ? each.prefixes : last), []));
			for (const name of names) {
				fresh.addPeer(peerOf(name));
				for (const path of rib.adjRibIn(name)) {
					fresh.announce(name, familyOf(path.prefix), [path.prefix], path.attributes);
				}
				fresh.startSending(name);
			}
			for (const [hop, metric] of metrics) fresh.setNextHop(hop, metric);
			drain(rib, model);
			drain(fresh, freshModel);
			assert.deepEqual(plain(rib.locRib()), plain(fresh.locRib()));
			for (const [key, decision] of rib.takeDecisions()) decisions.set(key, decision);
			const chosen = (table: ReadonlyMap<string, unknown>): unknown[] =>
				plain(table).map((row) =>
					JSON.parse(JSON.stringify(row, (key, value) => (key === 'stale' ? undefined : value))),
				);
			assert.deepEqual(chosen(decisions), chosen(rib.locRib()), 'decisions taken, replayed');
			for (const name of names) {
				assert.deepEqual(plain(rib.adjRibOut(name)), plain(fresh.adjRibOut(name)), `Adj-RIB-Out of ${name}`);
				assert.deepEqual(plain(model.get(name) as Map<string, unknown>), plain(rib.adjRibOut(name)));
				assert.equal(rib.hasOutgoing(name), false);
			}
			assert.deepEqual([...rib.nextHops()].sort(), [...fresh.nextHops()].sort());
		}),
		{ numRuns: 500 },
	);
});

test('rib: what is sent while a session lasts adds up to the final table', () => {
	const lasting = step.filter((each) => each.do !== 'up' && each.do !== 'down' && each.do !== 'stale');
	fc.assert(
		fc.property(fc.array(lasting, { maxLength: 60 }), (steps) => {
			const rib = createRib({ asNumber: OWN_AS, maximumPaths: 2 });
			const model: Model = new Map(names.map((name) => [name, new Map()]));
			for (const peer of peers) {
				rib.addPeer(peer);
				rib.startSending(peer.source.peer);
			}
			for (const each of steps) {
				if (each.do === 'announce') rib.announce(each.peer, familyOf(each.prefix), [each.prefix], each.attributes);
				else if (each.do === 'withdraw') rib.withdraw(each.peer, familyOf(each.prefix), [each.prefix]);
				else if (each.do === 'local') rib.setLocal(each.prefixes);
				else if (each.do === 'metric') rib.setNextHop(each.nextHop, each.metric);
				else if (each.do === 'resend') rib.resend(each.peer, each.family);
				else replay(rib, model, each.peer, 2);
			}
			drain(rib, model);
			for (const name of names) {
				rib.addPeer(peerOf(name));
				assert.equal(rib.hasOutgoing(name), false, 'looking at everything again finds nothing to send');
				assert.deepEqual(plain(model.get(name) as Map<string, unknown>), plain(rib.adjRibOut(name)));
				rib.startSending(name);
			}
			const again: Model = new Map(names.map((name) => [name, new Map()]));
			drain(rib, again);
			for (const name of names) assert.deepEqual(plain(again.get(name) as never), plain(model.get(name) as never));
		}),
		{ numRuns: 500 },
	);
});
