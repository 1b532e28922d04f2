/** The calculation against a direct reading of the objects, and against itself along other ways to the same state. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { createPolicyCalc, type LastKnown, type PolicyCalc, verdict } from '../../felix/calc/index.ts';
import { keyOf } from '../../src/api/objects.ts';
import { familyOf } from '../../src/net/ip.ts';
import {
	fill,
	localArbitrary,
	naiveVerdict,
	namespaceArbitrary,
	plain,
	podArbitrary,
	policyArbitrary,
	probes,
	type World,
	worldArbitrary,
} from './calc-world.ts';

const numRuns = Number(process.env.MANX_PROPERTY_RUNS ?? 300);

test('verdict over the calculated state equals a direct reading of the policies', () => {
	fc.assert(
		fc.property(worldArbitrary, (world) => {
			const calc = fill(createPolicyCalc(), world);
			const states = { 4: calc.state(4), 6: calc.state(6) };
			for (const packet of probes) {
				const found = verdict(packet, states[familyOf(packet.source)]);
				assert.equal(found.allowed, naiveVerdict(world, packet), JSON.stringify([packet, found.reasons]));
			}
		}),
		{ numRuns },
	);
});

type Step = { readonly apply: (calc: PolicyCalc) => void; readonly to: (world: Record<string, unknown>) => void };

const objectStep = fc
	.tuple(fc.oneof(podArbitrary, namespaceArbitrary, policyArbitrary), fc.integer({ min: 0, max: 3 }))
	.map(([object, dice]): Step => {
		const key = `${object.kind} ${keyOf(object.metadata)}`;
		return dice > 0
			? {
					apply: (calc) => calc.set(object),
					to: (world) => {
						world[key] = object;
					},
				}
			: {
					apply: (calc) => calc.delete(object.kind, keyOf(object.metadata)),
					to: (world) => {
						delete world[key];
					},
				};
	});
const localStep = fc.tuple(localArbitrary, fc.integer({ min: 0, max: 2 })).map(([pod, dice]): Step => {
	const key = `local ${pod.key}`;
	return dice > 0
		? {
				apply: (calc) => calc.setLocalPod(pod),
				to: (world) => {
					world[key] = pod;
				},
			}
		: {
				apply: (calc) => calc.deleteLocalPod(pod.key),
				to: (world) => {
					delete world[key];
				},
			};
});

const worldOf = (found: Record<string, unknown>): World => {
	const of = <T>(kind: string): T[] =>
		Object.entries(found)
			.filter(([key]) => key.startsWith(`${kind} `))
			.map(([, value]) => value as T);
	return { namespaces: of('Namespace'), pods: of('Pod'), policies: of('NetworkPolicy'), local: of('local') };
};

test('the state depends on the objects, not on the way to them; reading in between changes nothing', () => {
	fc.assert(
		fc.property(
			fc.array(fc.oneof({ weight: 3, arbitrary: objectStep }, localStep), { minLength: 5, maxLength: 40 }),
			fc.array(fc.boolean(), { minLength: 40, maxLength: 40 }),
			(steps, reads) => {
				const found: Record<string, unknown> = {};
				const calc = createPolicyCalc();
				const squashed = createPolicyCalc();
				steps.forEach((step, i) => {
					step.apply(calc);
					step.apply(squashed);
					step.to(found);
					if (reads[i]) {
						calc.state(4);
						calc.state(6);
					}
				});
				// What wired pods missing from the API keep is history on purpose: here they are unwired in the end.
				const world = worldOf(found);
				const known = new Set(world.pods.map((pod) => keyOf(pod.metadata)));
				const gone = world.local.filter(({ key }) => !known.has(key));
				for (const { key } of gone) for (const one of [calc, squashed]) one.deleteLocalPod(key);
				const local = world.local.filter(({ key }) => known.has(key));
				// A namespace keeps its labels while pods are wired in it: given back the object first.
				for (const name of ['x', 'y', 'z']) {
					if (world.namespaces.some(({ metadata }) => metadata.name === name)) continue;
					for (const pod of local.filter(({ key }) => key.startsWith(`${name}/`))) {
						for (const one of [calc, squashed]) {
							one.deleteLocalPod(pod.key);
						}
					}
				}
				for (const pod of local) for (const one of [calc, squashed]) one.setLocalPod(pod);
				const fresh = fill(createPolicyCalc(), { ...world, local });
				for (const family of [4, 6] as const) {
					const wanted = plain(fresh.state(family));
					assert.deepEqual(plain(calc.state(family)), wanted);
					assert.deepEqual(plain(squashed.state(family)), wanted);
				}
			},
		),
		{ numRuns },
	);
});

test('a restart while wired pods are missing from the API changes nothing', () => {
	fc.assert(
		fc.property(
			fc.array(fc.oneof({ weight: 3, arbitrary: objectStep }, localStep), { minLength: 5, maxLength: 40 }),
			fc.boolean(),
			(steps, localFirst) => {
				const found: Record<string, unknown> = {};
				const calc = createPolicyCalc();
				for (const step of steps) {
					step.apply(calc);
					step.to(found);
				}
				// A pod is wired once the API has it.
				const local = worldOf(found).local.filter(({ key }) => {
					const known = calc.lastKnown(key) !== undefined;
					if (!known) calc.deleteLocalPod(key);
					return known;
				});
				const objects = { ...worldOf(found), local: [] };
				const after = createPolicyCalc();
				if (!localFirst) fill(after, objects);
				for (const pod of local) after.setLocalPod({ ...pod, lastKnown: calc.lastKnown(pod.key) as LastKnown });
				if (localFirst) fill(after, objects);
				for (const family of [4, 6] as const) assert.deepEqual(plain(after.state(family)), plain(calc.state(family)));
			},
		),
		{ numRuns },
	);
});

test('a state given out never changes, and every address of a local pod has exactly one home a direction', () => {
	fc.assert(
		fc.property(fc.array(fc.oneof(objectStep, localStep), { minLength: 5, maxLength: 30 }), (steps) => {
			const calc = createPolicyCalc();
			let before = calc.state(4);
			let text = JSON.stringify(plain(before));
			for (const step of steps) {
				step.apply(calc);
				const after = calc.state(4);
				assert.equal(JSON.stringify(plain(before)), text);
				assert.equal(calc.state(4), after, 'the same object when nothing changed');
				for (const [name, spec] of after.sets) {
					const old = before.sets.get(name);
					if (!old || old === spec) continue;
					assert.notDeepEqual([...old.members].sort(), [...spec.members].sort(), `${name} is new but equal`);
				}
				for (const direction of ['ingress', 'egress'] as const) {
					const homes = after.groups.filter((group) => group.direction === direction);
					const all = [after.open[direction], ...homes.map(({ memberSet }) => memberSet)].flatMap((name) => [
						...(after.sets.get(name)?.members ?? []),
					]);
					assert.equal(new Set(all).size, all.length);
				}
				before = after;
				text = JSON.stringify(plain(after));
			}
		}),
		{ numRuns },
	);
});
