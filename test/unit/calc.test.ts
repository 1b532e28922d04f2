import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { createPolicyCalc, type LastKnown, type PolicyCalc, type PolicyState } from '../../felix/calc/index.ts';
import { makeNamespace, makePod, makePolicy, plain, selector } from '../property/calc-world.ts';

const fromApp = (app: string) => ({ peers: [{ podSelector: selector({ app }) }], ports: [] });

const world = (): PolicyCalc => {
	const calc = createPolicyCalc();
	calc.set(makeNamespace('x', { team: 'x' }));
	calc.set(makePod('x/server', { app: 'server' }, []));
	calc.set(makePod('x/client', { app: 'client' }, ['10.0.0.2', 'fd00::2']));
	calc.setLocalPod({ key: 'x/server', addresses: ['10.0.0.1', 'fd00::1'] });
	calc.set(makePolicy('x/p', { podSelector: selector({ app: 'server' }), ingress: [fromApp('client')] }));
	return calc;
};

const members = (state: PolicyState, name: string | undefined): string[] =>
	[...(state.sets.get(name ?? '')?.members ?? [])].sort();
/** Addresses the only rule of the only group takes. */
const peers = (calc: PolicyCalc): string[] => {
	const state = calc.state(4);
	return members(state, state.groups[0]?.rules[0]?.peerSet);
};

describe('who is taken', () => {
	test('a pod made again elsewhere is told from the one still wired here, whatever came first, and over a restart', () => {
		const local = { key: 'x/server', addresses: ['10.0.0.1', 'fd00::1'], node: 'n1' };
		const here = makePod('x/server', { app: 'server' }, ['10.0.0.1', 'fd00::1']);
		const made = makePod('x/server', { app: 'client' }, ['10.0.1.9']);
		const there = { ...made, spec: { ...made.spec, nodeName: 'n2' } };
		const states = (calc: PolicyCalc) => [plain(calc.state(4)), plain(calc.state(6))];
		const start = (): PolicyCalc => {
			const calc = createPolicyCalc();
			calc.set(makeNamespace('x'));
			calc.set(makePolicy('x/p', { podSelector: selector({ app: 'server' }), ingress: [fromApp('client')] }));
			return calc;
		};
		const before = start();
		before.set(here);
		before.setLocalPod(local);
		const lastKnown = before.lastKnown('x/server') as LastKnown;
		before.set(there);
		assert.deepEqual(peers(before), ['10.0.1.9']);
		assert.deepEqual(before.podAt('10.0.1.9')?.key, 'x/server');
		assert.deepEqual(before.lastKnown('x/server'), lastKnown);

		const restarted = start();
		restarted.set(there);
		restarted.setLocalPod({ ...local, lastKnown });
		assert.deepEqual(states(restarted), states(before));

		const without = start();
		without.set(there);
		for (const calc of [before, restarted]) {
			calc.deleteLocalPod('x/server');
			assert.deepEqual(states(calc), states(without));
			assert.equal(calc.pod('x/server')?.nodeName, 'n2');
			calc.set(here);
			calc.setLocalPod(local);
			assert.deepEqual(peers(calc), []);
			calc.set(there);
			calc.delete('Pod', 'x/server');
			assert.deepEqual([peers(calc), calc.podAt('10.0.1.9')], [[], undefined]);
		}
	});
	test('a selected local pod leaves the open set for its group', () => {
		const state = world().state(4);
		assert.equal(state.groups.length, 1);
		assert.deepEqual(members(state, state.groups[0]?.memberSet), ['10.0.0.1']);
		assert.deepEqual(members(state, state.open.ingress), []);
		assert.deepEqual(members(state, state.open.egress), ['10.0.0.1']);
		assert.deepEqual(state.groups[0]?.policies, ['x/p']);
	});

	test('hostNetwork, finished and address-less pods are not', () => {
		const calc = world();
		calc.set(makePod('x/h', { app: 'client' }, ['10.0.0.3'], { hostNetwork: true }));
		calc.set(makePod('x/s', { app: 'client' }, ['10.0.0.4'], { phase: 'Succeeded' }));
		calc.set(makePod('x/f', { app: 'client' }, ['10.0.0.5'], { phase: 'Failed' }));
		calc.set(makePod('x/n', { app: 'client' }, []));
		assert.deepEqual(peers(calc), ['10.0.0.2']);
	});

	test('of two pods with one address the running one has it, also when it came first', () => {
		for (const phases of [
			['Running', 'Pending'],
			['Pending', 'Running'],
		] as const) {
			const calc = world();
			calc.set(
				makePod('x/one', { app: phases[0] === 'Running' ? 'client' : 'no' }, ['10.0.0.9'], { phase: phases[0] }),
			);
			calc.set(
				makePod('x/two', { app: phases[1] === 'Running' ? 'client' : 'no' }, ['10.0.0.9'], { phase: phases[1] }),
			);
			assert.deepEqual(peers(calc), ['10.0.0.2', '10.0.0.9']);
		}
	});

	test('a wired pod counts with the addresses it was wired with', () => {
		const calc = world();
		calc.setLocalPod({ key: 'x/client', addresses: ['10.0.0.7'] });
		assert.deepEqual(peers(calc), ['10.0.0.7']);
		calc.deleteLocalPod('x/client');
		assert.deepEqual(peers(calc), ['10.0.0.2']);
	});

	test('a wired pod missing from the API keeps labels and policies until it is unwired', () => {
		const calc = world();
		const before = plain(calc.state(4));
		calc.delete('Pod', 'x/server');
		calc.delete('Namespace', 'x');
		assert.deepEqual(plain(calc.state(4)), before);
		calc.deleteLocalPod('x/server');
		assert.equal(calc.state(4).groups.length, 0);
	});

	test('a wired pod missing from the API is what an earlier felix knew of it, until the API has it again', () => {
		const calc = world();
		const before = plain(calc.state(4));
		const lastKnown = calc.lastKnown('x/server') as LastKnown;
		assert.deepEqual(lastKnown.namespaceLabels, { team: 'x' });
		const later = createPolicyCalc();
		later.setLocalPod({ key: 'x/server', addresses: ['10.0.0.1', 'fd00::1'], lastKnown });
		later.set(makePod('x/client', { app: 'client' }, ['10.0.0.2', 'fd00::2']));
		later.set(makePolicy('x/p', { podSelector: selector({ app: 'server' }), ingress: [fromApp('client')] }));
		assert.deepEqual(plain(later.state(4)), before);
		assert.deepEqual(later.lastKnown('x/server'), lastKnown);
		later.set(makePod('x/server', { app: 'other' }, []));
		assert.equal(later.state(4).groups.length, 0);
	});

	test('a wired pod that finished is open, whatever selected it', () => {
		const calc = world();
		calc.set(makePod('x/server', { app: 'server' }, [], { phase: 'Succeeded' }));
		const state = calc.state(4);
		assert.equal(state.groups.length, 0);
		assert.deepEqual(members(state, state.open.ingress), ['10.0.0.1']);
	});
});

describe('what is given out', () => {
	test('nothing changed: the same object; another pod joins a peer: the same groups and other sets', () => {
		const calc = world();
		const before = calc.state(4);
		calc.set(makePod('x/client', { app: 'client' }, ['10.0.0.2', 'fd00::2']));
		calc.set(makePod('x/unrelated', { app: 'none' }, ['10.0.0.8']));
		assert.equal(calc.state(4), before);
		calc.set(makePod('x/second', { app: 'client' }, ['10.0.0.3']));
		const after = calc.state(4);
		assert.equal(after.groups, before.groups);
		for (const [name, spec] of after.sets) {
			const peer = name === after.groups[0]?.rules[0]?.peerSet;
			assert.equal(spec.members === before.sets.get(name)?.members, !peer, name);
		}
		assert.deepEqual(members(before, before.groups[0]?.rules[0]?.peerSet), ['10.0.0.2']);
	});

	test('another local pod with the same policies costs members only', () => {
		const calc = world();
		const before = calc.state(4);
		calc.set(makePod('x/server2', { app: 'server' }, []));
		calc.setLocalPod({ key: 'x/server2', addresses: ['10.0.0.11'] });
		assert.equal(calc.state(4).groups, before.groups);
		assert.deepEqual(members(calc.state(4), before.groups[0]?.memberSet), ['10.0.0.1', '10.0.0.11']);
	});

	test('policies that select no local pod cost nothing', () => {
		const calc = world();
		const before = calc.state(4);
		calc.set(makePolicy('y/p', { ingress: [fromApp('client')] }));
		calc.set(makePolicy('x/q', { podSelector: selector({ app: 'client' }) }));
		assert.equal(calc.state(4), before);
	});

	test('a family without local pods has no groups, its open sets are there', () => {
		const calc = world();
		calc.setLocalPod({ key: 'x/server', addresses: ['10.0.0.1'] });
		const state = calc.state(6);
		assert.deepEqual([...state.sets.keys()], ['manx-6-open-ingress', 'manx-6-open-egress']);
		assert.equal(state.groups.length, 0);
	});

	test('set names fit, and are the same everywhere', () => {
		const names = [...world().state(4).sets.keys()];
		assert.deepEqual(names, [...world().state(4).sets.keys()]);
		for (const name of names) assert.match(name, /^manx-4-[a-z0-9-]{1,24}$/);
	});
});

describe('rules', () => {
	const rulesOf = (spec: Parameters<typeof makePolicy>[1]) => {
		const calc = world();
		calc.delete('NetworkPolicy', 'x/p');
		calc.set(makePolicy('x/p', spec));
		const state = calc.state(4);
		return { rules: state.groups.flatMap((group) => group.rules), state };
	};

	test('no peers: anyone; no ports: everything; no rules: nothing', () => {
		assert.deepEqual(rulesOf({ ingress: [{ peers: [], ports: [] }] }).rules, [{ policy: 'x/p' }]);
		assert.deepEqual(rulesOf({ ingress: [] }).rules, []);
	});

	test('blocks: plain ones pooled, each except with its own element, /0 without a set, other families nowhere', () => {
		const block = (cidr: string, ...except: string[]) => ({ ipBlock: { cidr, except } });
		const peers = [
			block('10.1.0.0/16'),
			block('10.2.0.1/32'),
			block('10.3.0.0/16', '10.3.1.0/24'),
			block('0.0.0.0/0', '10.0.0.0/8'),
			block('fd00::/8'),
		];
		const { rules, state } = rulesOf({ ingress: [{ peers, ports: [] }] });
		assert.equal(rules.length, 3);
		assert.deepEqual(members(state, rules[0]?.peerSet), ['10.1.0.0/16', '10.2.0.1']);
		assert.deepEqual(members(state, rules[1]?.peerSet), ['10.3.0.0/16']);
		assert.deepEqual(members(state, rules[1]?.exceptSet), ['10.3.1.0/24']);
		assert.equal(rules[2]?.peerSet, undefined);
		assert.deepEqual(members(state, rules[2]?.exceptSet), ['10.0.0.0/8']);
		assert.deepEqual(rulesOf({ ingress: [{ peers: [block('fd00::/8')], ports: [] }] }).rules, []);
	});

	test('ports by protocol, ranges merged; a protocol without a port covers its others', () => {
		const ports = [
			{ protocol: 'TCP', port: 80 },
			{ protocol: 'TCP', port: 70, endPort: 79 },
			{ protocol: 'TCP', port: 443 },
			{ protocol: 'UDP', port: 53 },
			{ protocol: 'UDP' },
		] as const;
		assert.deepEqual(rulesOf({ ingress: [{ peers: [], ports }] }).rules, [
			{
				protocol: 'TCP',
				ports: [
					[70, 80],
					[443, 443],
				],
				policy: 'x/p',
			},
			{ protocol: 'UDP', policy: 'x/p' },
		]);
	});

	test('a named port is where each destination pod has it, by name and protocol', () => {
		const calc = world();
		const http = (containerPort: number, protocol: 'TCP' | 'UDP' = 'TCP') => [
			{ name: 'http', containerPort, protocol },
		];
		calc.set(makePod('x/server', { app: 'server' }, [], { ports: http(8080) }));
		calc.set(makePod('x/client', { app: 'client' }, ['10.0.0.2'], { ports: http(9090) }));
		calc.set(makePod('x/udp', { app: 'client' }, ['10.0.0.3'], { ports: http(9091, 'UDP') }));
		const ports = [{ protocol: 'TCP', port: 'http' }] as const;
		calc.set(
			makePolicy('x/p', {
				podSelector: selector({ app: 'server' }),
				policyTypes: ['Ingress', 'Egress'],
				ingress: [{ peers: [], ports }],
				egress: [{ ...fromApp('client'), ports }],
			}),
		);
		const state = calc.state(4);
		const [egress, ingress] = state.groups;
		assert.deepEqual(members(state, ingress?.rules[0]?.destinationPortSet), ['10.0.0.1,tcp:8080']);
		assert.deepEqual(members(state, egress?.rules[0]?.destinationPortSet), ['10.0.0.2,tcp:9090']);
		calc.set(makePolicy('x/p', { podSelector: selector(), policyTypes: ['Egress'], egress: [{ peers: [], ports }] }));
		const all = calc.state(4);
		assert.deepEqual(members(all, all.groups[0]?.rules[0]?.destinationPortSet), [
			'10.0.0.1,tcp:8080',
			'10.0.0.2,tcp:9090',
		]);
	});
});
