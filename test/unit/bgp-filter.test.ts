import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { PathAttributes } from 'bgp-js-lite';
import { compileFilter, type FilterRoute } from '../../bird/policy/evaluate.ts';
import type { Operation, Rule } from '../../bird/policy/types.ts';

const attributes: PathAttributes = {
	origin: 'igp',
	asPath: [{ type: 'sequence', asNumbers: [65001, 65002] }],
	nextHop: '192.0.2.1',
	communities: [(65001 << 16) | 7].map((value) => value >>> 0),
	largeCommunities: [[4200000000, 1, 2]],
};
const route = (given: Partial<FilterRoute> = {}): FilterRoute => ({
	prefix: '10.1.0.0/16',
	family: 4,
	attributes,
	local: false,
	peerType: 'eBGP',
	interfaces: () => ['eth0'],
	...given,
});
const judge = (rules: readonly Partial<Rule>[], given?: Partial<FilterRoute>) => {
	const all = rules.map((rule, i): Rule => ({ name: `rule ${i}`, action: 'Accept', ...rule }));
	return compileFilter({ 4: all, 6: all })(route(given));
};

describe('a rule of a filter matches', () => {
	const cidr = (operator: 'Equal' | 'NotEqual' | 'In' | 'NotIn', minLength?: number, maxLength?: number) => ({
		prefix: {
			cidr: '10.0.0.0/8',
			operator,
			...(minLength !== undefined && { minLength }),
			...(maxLength !== undefined && { maxLength }),
		},
	});
	const table: readonly [string, Partial<Rule>, Partial<FilterRoute>, boolean][] = [
		['everything when it asks for nothing', {}, {}, true],
		['In: a longer prefix within', cidr('In'), {}, true],
		['In: the prefix itself', cidr('In'), { prefix: '10.0.0.0/8' }, true],
		['In: not a shorter one around it', cidr('In'), { prefix: '0.0.0.0/0' }, false],
		['In: not another', cidr('In'), { prefix: '11.0.0.0/16' }, false],
		['In with lengths: within', cidr('In', 16, 24), {}, true],
		['In with lengths: too short', cidr('In', 17), {}, false],
		['In with lengths: too long', cidr('In', undefined, 15), {}, false],
		['NotIn turns it around', cidr('NotIn'), {}, false],
		['NotIn with lengths too', cidr('NotIn', 17), {}, true],
		['Equal: the prefix alone', cidr('Equal'), { prefix: '10.0.0.0/8' }, true],
		['Equal: nothing within', cidr('Equal'), {}, false],
		['NotEqual', cidr('NotEqual'), {}, true],
		['RemotePeers: what is learnt', { remoteOnly: true }, {}, true],
		['RemotePeers: not what is ours', { remoteOnly: true }, { local: true }, false],
		['an interface', { interface: 'eth0' }, {}, true],
		['an interface by a pattern', { interface: 'et*' }, {}, true],
		['not another interface', { interface: 'eth' }, {}, false],
		['dots in names of interfaces by themselves', { interface: 'eth.' }, {}, false],
		['the type of the peer', { peerType: 'eBGP' }, {}, true],
		['not another type', { peerType: 'iBGP' }, {}, false],
		['a community', { communities: ['65001:7'] }, {}, true],
		['a large community', { communities: ['4200000000:1:2'] }, {}, true],
		['all communities', { communities: ['65001:7', '65001:8'] }, {}, false],
		['a community that is none, never', { communities: ['65536:1'] }, {}, false],
		['how the AS path begins', { asPathPrefix: [65001] }, {}, true],
		['the whole AS path', { asPathPrefix: [65001, 65002] }, {}, true],
		['not a longer one', { asPathPrefix: [65001, 65002, 65003] }, {}, false],
		['not the middle of one', { asPathPrefix: [65002] }, {}, false],
		['the normal priority', { priority: 1024 }, {}, true],
		['a priority by LOCAL_PREF', { priority: 7 }, { attributes: { ...attributes, localPref: 2147483640 } }, true],
		['all that is given', { peerType: 'eBGP', remoteOnly: true, ...cidr('In') }, {}, true],
		['not when one thing is not so', { peerType: 'iBGP', remoteOnly: true, ...cidr('In') }, {}, false],
	];
	for (const [name, rule, given, expected] of table) {
		it(name, () => assert.equal(judge([rule], given) !== undefined, expected));
	}
});

describe('operations of a rule', () => {
	const after = (...operations: Operation[]): PathAttributes | undefined => judge([{ operations }])?.attributes;
	const standard = (high: number, low: number): number => ((high << 16) | low) >>> 0;
	it('add, remove and set communities of both kinds', () => {
		assert.deepEqual(after({ type: 'addCommunity', value: '65535:1' })?.communities, [
			standard(65001, 7),
			standard(65535, 1),
		]);
		assert.deepEqual(after({ type: 'addCommunity', value: '1:2:3' })?.largeCommunities, [
			[4200000000, 1, 2],
			[1, 2, 3],
		]);
		assert.equal(after({ type: 'addCommunity', value: '65001:7' }), attributes);
		const none = after({ type: 'removeCommunity', value: '65001:7' });
		assert.ok(none !== undefined && !('communities' in none) && none.largeCommunities?.length === 1);
		const set = after({ type: 'setCommunities', values: ['1:1', '1:1:1'] });
		assert.deepEqual([set?.communities, set?.largeCommunities], [[65537], [[1, 1, 1]]]);
	});
	it('put AS numbers in front, in their order', () => {
		assert.deepEqual(after({ type: 'prependASPath', asNumbers: [65000, 64999] })?.asPath, [
			{ type: 'sequence', asNumbers: [65000, 64999, 65001, 65002] },
		]);
	});
	it('set preference, MED, next hop and priority, one after another', () => {
		const verdict = judge([
			{
				operations: [
					{ type: 'setLocalPref', value: 5 },
					{ type: 'setMed', value: 6 },
					{ type: 'setNextHop', address: '192.0.2.9' },
					{ type: 'setPriority', value: 512 },
				],
			},
		]);
		const { localPref, med, nextHop } = verdict?.attributes ?? {};
		assert.deepEqual([localPref, med, nextHop], [2147483135, 6, '192.0.2.9']);
		assert.deepEqual(verdict?.explicit, { med: 6, nextHop: '192.0.2.9' });
	});
});

describe('a filter', () => {
	it('is decided by the first rule that matches', () => {
		const rules: Partial<Rule>[] = [{ peerType: 'iBGP' }, { action: 'Reject' }, {}];
		assert.deepEqual(
			[judge(rules)?.rule, judge(rules)?.accept, judge(rules, { peerType: 'iBGP' })?.rule],
			['rule 1', false, 'rule 0'],
		);
	});
	it('says nothing where none does', () => assert.equal(judge([{ peerType: 'iBGP' }]), undefined));
	it('makes the same object of the same attributes', () => {
		const rules: Rule[] = [{ name: 'r', action: 'Accept', operations: [{ type: 'setMed', value: 1 }] }];
		const judgeAll = compileFilter({ 4: rules, 6: [] });
		const [a, b] = [judgeAll(route()), judgeAll(route({ prefix: '10.2.0.0/16' }))];
		assert.equal(a?.attributes, b?.attributes);
	});
});
