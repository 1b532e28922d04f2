/** Merged rules hold what the policies say, whatever the way to them: held against the rules and against a fresh start. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { createPolicyCalc, type PolicyRule, type PolicyState, setOf } from '../../felix/calc/index.ts';
import { renderPolicy } from '../../felix/render/index.ts';
import type { NetworkPolicy, Pod } from '../../src/api/objects.ts';
import { keyOf } from '../../src/api/objects.ts';
import { makeNamespace, makePod, makePolicy, plain, selector } from './calc-world.ts';

const numRuns = Number(process.env.MANX_PROPERTY_RUNS ?? 300);
/** So low that rules of every kind are there, and cross the limits. */
const limits = { rules: 3, members: 4 };

/** Members of a merged set, told from the sets that the rule names. */
const worthOf = (state: PolicyState, { peerSet, destinationPortSet, protocol, ports = [] }: PolicyRule): string[] => {
	const membersOf = (name: string): string[] => [...(setOf(state, name)?.members ?? [])];
	if (destinationPortSet !== undefined) return membersOf(destinationPortSet);
	const everyone = state.family === 4 ? ['0.0.0.0/1', '128.0.0.0/1'] : ['::/1', '8000::/1'];
	const peers = peerSet === undefined ? everyone : membersOf(peerSet);
	if (ports.length === 0) return peers;
	const numbers = ports.flatMap(([from, to]) => Array.from({ length: to - from + 1 }, (_, i) => from + i));
	return numbers.flatMap((number) => peers.map((peer) => `${peer},${protocol?.toLowerCase()}:${number}`));
};

const app = fc.constantFrom('a', 'b', 'c');
const key = (kind: string, most: number) => fc.nat({ max: most }).map((i) => `x/${kind}${i}`);
const peer = fc.oneof(
	{ weight: 4, arbitrary: app.map((name) => ({ podSelector: selector({ app: name }) })) },
	fc.constant({ podSelector: selector() }),
	fc.record({
		ipBlock: fc.record({
			cidr: fc.constantFrom('10.0.0.0/30', '10.0.0.1/32', '0.0.0.0/0', 'fd00::/64'),
			except: fc.constantFrom<string[][]>([], [], ['10.0.0.1/32']),
		}),
	}),
);
const port = fc.constantFrom(
	{ protocol: 'TCP' as const, port: 80 },
	{ protocol: 'TCP' as const, port: 80, endPort: 81 },
	{ protocol: 'UDP' as const, port: 81 },
	{ protocol: 'TCP' as const, port: 'http' },
	{ protocol: 'SCTP' as const },
);
const rules = fc.array(
	fc.record({ peers: fc.array(peer, { maxLength: 2 }), ports: fc.array(port, { maxLength: 2 }) }),
	{
		maxLength: 2,
	},
);
const policy = fc
	.record({ name: key('policy', 3), ingress: rules, egress: rules })
	.map(({ name, ...spec }) => makePolicy(name, { policyTypes: ['Ingress', 'Egress'], ...spec }));
const http = { name: 'http', containerPort: 80, protocol: 'TCP' as const };
const pod = fc
	.record({ name: key('pod', 5), label: app, ports: fc.constantFrom([], [http]) })
	.map(({ name, label, ports }) => {
		const number = Number(name.slice(-1));
		return makePod(name, { app: label }, [`10.0.0.${number}`, `fd00::${number + 1}`], { ports });
	});
type Step = { readonly object: Pod | NetworkPolicy; readonly gone: boolean; readonly read: boolean };
const steps: fc.Arbitrary<Step[]> = fc.array(
	fc.record({
		object: fc.oneof<fc.Arbitrary<Pod | NetworkPolicy>[]>(pod, policy),
		gone: fc.nat({ max: 4 }).map((dice) => dice === 0),
		read: fc.boolean(),
	}),
	{ minLength: 5, maxLength: 40 },
);

const start = () => {
	const calc = createPolicyCalc(limits);
	calc.set(makeNamespace('x'));
	calc.set(makePod('x/local', { app: 'a' }));
	calc.setLocalPod({ key: 'x/local', addresses: ['10.0.0.100', 'fd00::100'] });
	return calc;
};

test('after any changes the state is that of a fresh start, and merged sets hold what their rules are worth', () => {
	fc.assert(
		fc.property(steps, (changes) => {
			const calc = start();
			const found = new Map<string, Pod | NetworkPolicy>();
			for (const [i, { object, gone, read }] of changes.entries()) {
				const name = keyOf(object.metadata);
				if (gone) {
					calc.delete(object.kind, name);
					found.delete(name);
				} else {
					calc.set(object);
					found.set(name, object);
				}
				if (!read && i < changes.length - 1) continue;
				const fresh = start();
				for (const one of found.values()) fresh.set(one);
				for (const family of [4, 6] as const) {
					const state = calc.state(family);
					assert.deepEqual(plain(state), plain(fresh.state(family)));
					for (const { rules, merged } of state.groups) {
						let next = 0;
						for (const { set, rules: count } of merged) {
							const worth = rules.slice(next, next + count).flatMap((rule) => worthOf(state, rule));
							assert.deepEqual([...(state.sets.get(set)?.members ?? [])].sort(), [...new Set(worth)].sort());
							next += count;
						}
					}
					const text = [...renderPolicy(state).chains.values()].flat().join(' ');
					const named = new Set([...text.matchAll(/--match-set (\S+)/g)].map((match) => match[1]));
					assert.deepEqual([...state.sets.keys()].sort(), [...named].sort());
				}
			}
		}),
		{ numRuns },
	);
});
