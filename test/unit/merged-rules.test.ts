import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { createPolicyCalc, type PolicyState, verdict } from '../../felix/calc/index.ts';
import { groupChain, indexInChain, renderPolicy } from '../../felix/render/index.ts';
import type { NetworkPolicyPeer, NetworkPolicyPort } from '../../src/api/objects.ts';
import { makeNamespace, makePod, makePolicy, selector } from '../property/calc-world.ts';

const app = (name: string): NetworkPolicyPeer => ({ podSelector: selector({ app: name }) });
const tcp = (port: number | string): NetworkPolicyPort => ({ protocol: 'TCP', port });
const policy = (name: string, peers: NetworkPolicyPeer[], ports: NetworkPolicyPort[]) =>
	makePolicy(`x/${name}`, { podSelector: selector({ app: 'server' }), ingress: [{ peers, ports }] });

/** A server that ten policies select, each with a client and a port of its own. */
const cluster = (limits = { rules: 8, members: 4 }) => {
	const calc = createPolicyCalc(limits);
	calc.set(makeNamespace('x'));
	calc.set(makePod('x/server', { app: 'server' }));
	calc.setLocalPod({ key: 'x/server', addresses: ['10.0.0.100'] });
	for (let i = 0; i < 10; i++) {
		calc.set(makePod(`x/${i}`, { app: `client${i}` }, [`10.0.0.${i}`]));
		calc.set(policy(`p${i}`, [app(`client${i}`)], [tcp(80 + i)]));
	}
	return calc;
};
const chainOf = (state: PolicyState): readonly string[] => {
	const [group] = state.groups;
	return renderPolicy(state).chains.get(groupChain('ingress', group?.id ?? '')) ?? [];
};
const membersOf = (state: PolicyState, i = 0): string[] =>
	[...(state.sets.get(state.groups[0]?.merged[i]?.set ?? '')?.members ?? [])].sort();
const judge = (state: PolicyState, source: string, destinationPort: number) =>
	verdict({ source, destination: '10.0.0.100', protocol: 'TCP', destinationPort }, state);

describe('merged rules', () => {
	test('ten policies are one rule over pairs; the verdict still names the policy, and the rule that holds it', () => {
		const state = cluster().state(4);
		const [group] = state.groups;
		const [pairs] = group?.merged ?? [];
		assert.deepEqual(chainOf(state), [
			`-m set --match-set ${pairs?.set} src,dst -m comment --comment "many policies" -j RETURN`,
			'-j DROP',
		]);
		assert.equal(state.sets.get(pairs?.set ?? '')?.type, 'hash:net,port');
		assert.deepEqual(membersOf(state).slice(0, 2), ['10.0.0.0,tcp:80', '10.0.0.1,tcp:81']);
		const { allowed, reasons } = judge(state, '10.0.0.7', 87);
		assert.equal(allowed, true);
		const rule = reasons[0]?.rule ?? -1;
		assert.equal(group?.rules[rule]?.policy, 'x/p7');
		assert.equal(group && indexInChain(group, rule, 87, false), 0);
		assert.equal(judge(state, '10.0.0.7', 88).allowed, false);
		assert.equal(group && indexInChain(group, undefined, 88, false), 1);
	});

	test('the sets behind it are known to the verdict and not to the kernel', () => {
		const state = cluster().state(4);
		assert.equal(state.mergedSets.size, 10);
		assert.deepEqual([...state.sets.keys()].map((name) => name.slice(0, 8)).sort(), [
			'manx-4-g',
			'manx-4-m',
			'manx-4-o',
			'manx-4-o',
		]);
	});

	test('an edit of one policy, and a pod that comes, change members and neither chain nor set name', () => {
		const calc = cluster();
		const before = calc.state(4);
		calc.set(policy('p3', [app('client3')], [tcp(8080)]));
		calc.set(makePod('x/more', { app: 'client4' }, ['10.0.0.44']));
		const after = calc.state(4);
		assert.deepEqual(chainOf(after), chainOf(before));
		const [was, is] = [membersOf(before), membersOf(after)];
		assert.deepEqual(
			was.filter((one) => !is.includes(one)),
			['10.0.0.3,tcp:83'],
		);
		assert.deepEqual(
			is.filter((one) => !was.includes(one)),
			['10.0.0.3,tcp:8080', '10.0.0.44,tcp:84'],
		);
	});

	test('what two policies allow stays until neither does', () => {
		const calc = cluster();
		calc.set(policy('p1', [app('client0')], [tcp(80)]));
		const has = (): boolean => membersOf(calc.state(4)).includes('10.0.0.0,tcp:80');
		assert.ok(has());
		calc.set(policy('p0', [app('client0')], [tcp(1)]));
		assert.ok(has());
		calc.set(policy('p1', [app('client0')], [tcp(1)]));
		assert.ok(!has());
	});

	test('a rule worth too many members is a rule of its own for as long as it is', () => {
		const calc = cluster();
		for (let i = 0; i < 4; i++) calc.set(makePod(`x/replica${i}`, { app: 'client5' }, [`10.0.1.${i + 1}`]));
		const large = calc.state(4);
		assert.deepEqual(
			chainOf(large).map((rule) => /"(.*)"/.exec(rule)?.[1]),
			['many policies', 'x/p5', undefined],
		);
		assert.ok(!membersOf(large).some((one) => one.startsWith('10.0.1.')));
		const { reasons } = judge(large, '10.0.1.2', 85);
		const [group] = large.groups;
		assert.equal(group && indexInChain(group, reasons[0]?.rule, 85, false), 1);
		calc.delete('Pod', 'x/replica0');
		assert.equal(chainOf(calc.state(4)).length, 2);
		assert.ok(membersOf(calc.state(4)).includes('10.0.1.2,tcp:85'));
	});

	test('rules without ports share a set of peers; any peer, prefixes and ranges are pairs; an except is left alone', () => {
		const calc = cluster();
		const block = (cidr: string, except: string[] = []) => ({ ipBlock: { cidr, except } });
		calc.set(policy('p0', [app('client0')], []));
		calc.set(policy('p1', [block('192.0.2.0/24')], []));
		calc.set(policy('p2', [], [tcp(1)]));
		calc.set(policy('p3', [block('198.51.100.0/24')], [{ protocol: 'UDP', port: 7, endPort: 8 }]));
		calc.set(policy('p4', [block('203.0.113.0/24', ['203.0.113.8/29'])], [tcp(2)]));
		const state = calc.state(4);
		assert.deepEqual(
			state.groups[0]?.merged.map(({ kind, rules }) => [kind, rules]),
			[
				['pairs', 7],
				['peers', 2],
			],
		);
		assert.deepEqual(membersOf(state, 1), ['10.0.0.0', '192.0.2.0/24']);
		for (const member of ['0.0.0.0/1,tcp:1', '128.0.0.0/1,tcp:1', '198.51.100.0/24,udp:7', '198.51.100.0/24,udp:8']) {
			assert.ok(membersOf(state).includes(member), member);
		}
		assert.equal(chainOf(state).length, 4);
	});

	test('few rules stay as they are, to be read by people', () => {
		const state = cluster({ rules: 11, members: 4 }).state(4);
		assert.deepEqual(state.groups[0]?.merged, []);
		assert.equal(chainOf(state).length, 11);
		assert.equal(state.mergedSets.size, 0);
	});
});
