/** Which pods a change of policy tightens, and which connections it ends. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { isEnded, tightenedPods } from '../../felix/calc/ended-connections.ts';
import { createPolicyCalc, verdict } from '../../felix/calc/index.ts';
import { keyOf } from '../../src/api/objects.ts';
import { familyOf } from '../../src/net/ip.ts';
import {
	fill,
	makeNamespace,
	makePod,
	makePolicy,
	namespaceArbitrary,
	podArbitrary,
	policyArbitrary,
	probes,
	selector,
	worldArbitrary,
} from './calc-world.ts';

const numRuns = Number(process.env.MANX_PROPERTY_RUNS ?? 1000);

test('whatever was allowed and no longer is has an end among the tightened pods', () => {
	const edit = fc.tuple(fc.oneof(podArbitrary, namespaceArbitrary, policyArbitrary), fc.boolean());
	fc.assert(
		fc.property(worldArbitrary, fc.array(edit, { minLength: 1, maxLength: 4 }), (world, edits) => {
			const calc = fill(createPolicyCalc(), world);
			const before = { 4: calc.state(4), 6: calc.state(6) };
			for (const [object, present] of edits) {
				if (present) calc.set(object);
				else calc.delete(object.kind, keyOf(object.metadata));
			}
			const after = { 4: calc.state(4), 6: calc.state(6) };
			const tightened = { 4: tightenedPods(before[4], after[4]), 6: tightenedPods(before[6], after[6]) };
			const first = { 4: tightenedPods(undefined, after[4]), 6: tightenedPods(undefined, after[6]) };
			for (const packet of probes) {
				const family = familyOf(packet.source);
				const now = verdict(packet, after[family]);
				if (now.allowed) continue;
				const denied = now.reasons.filter(({ outcome }) => outcome === 'denied').map(({ pod }) => pod);
				assert.ok(denied.every((pod) => first[family].has(pod)));
				const then = verdict(packet, before[family]);
				// A pod that was nobody's before has lost nothing.
				const known = denied.every((pod) => then.reasons.some((reason) => reason.pod === pod));
				if (!then.allowed || !known) continue;
				assert.ok(
					denied.some((pod) => tightened[family].has(pod)),
					JSON.stringify(packet),
				);
			}
		}),
		{ numRuns },
	);
});

const cluster = () => {
	const calc = createPolicyCalc();
	calc.set(makeNamespace('x'));
	for (const [i, name] of ['a', 'b', 'c'].entries()) {
		const addresses = [`10.0.0.${i + 1}`];
		calc.set(makePod(`x/${name}`, { app: name }, addresses));
		calc.setLocalPod({ key: `x/${name}`, addresses });
	}
	calc.set(
		makePolicy('x/b', {
			podSelector: selector({ app: 'b' }),
			ingress: [{ peers: [{ podSelector: selector({ role: 'client' }) }], ports: [{ protocol: 'TCP', port: 80 }] }],
		}),
	);
	return calc;
};

test('what only opens, and pods that come, tighten nothing; a peer that goes and an edited rule do', () => {
	const calc = cluster();
	const step = (change: () => void): string[] => {
		const before = calc.state(4);
		change();
		return [...tightenedPods(before, calc.state(4))];
	};
	assert.deepEqual(
		step(() => calc.set(makePod('x/a', { app: 'a', role: 'client' }, ['10.0.0.1']))),
		[],
	);
	assert.deepEqual(
		step(() => {
			calc.set(makePod('x/b2', { app: 'b' }, ['10.0.0.9']));
			calc.setLocalPod({ key: 'x/b2', addresses: ['10.0.0.9'] });
		}),
		[],
	);
	assert.deepEqual(
		step(() => calc.set(makePod('x/a', { app: 'a' }, ['10.0.0.1']))),
		['10.0.0.2', '10.0.0.9'],
	);
	assert.deepEqual(
		step(() =>
			calc.set(makePolicy('x/c', { podSelector: selector({ app: 'c' }), ingress: [{ peers: [], ports: [] }] })),
		),
		['10.0.0.3'],
	);
	assert.deepEqual(
		step(() => calc.delete('NetworkPolicy', 'x/b')),
		[],
	);
});

test('a named port that moves tightens the pods whose rules name it, on either side', () => {
	const calc = cluster();
	const withPort = (containerPort: number) =>
		calc.set(makePod('x/b', { app: 'b' }, ['10.0.0.2'], { ports: [{ name: 'http', containerPort, protocol: 'TCP' }] }));
	withPort(80);
	const named = { peers: [], ports: [{ protocol: 'TCP', port: 'http' }] } as const;
	calc.set(makePolicy('x/b', { podSelector: selector({ app: 'b' }), ingress: [named] }));
	calc.set(makePolicy('x/c', { podSelector: selector({ app: 'c' }), policyTypes: ['Egress'], egress: [named] }));
	const before = calc.state(4);
	withPort(81);
	assert.deepEqual([...tightenedPods(before, calc.state(4))].sort(), ['10.0.0.2', '10.0.0.3']);
});

test('a connection is judged as it was opened: after DNAT, by who opened it; the node reaches its pods', () => {
	const calc = cluster();
	calc.set(makePod('x/a', { app: 'a', role: 'client' }, ['10.0.0.1']));
	calc.set(
		makePolicy('x/e', {
			podSelector: selector({ app: 'c' }),
			policyTypes: ['Egress'],
			egress: [{ peers: [{ podSelector: selector({ app: 'b' }) }], ports: [] }],
		}),
	);
	const state = calc.state(4);
	const isNode = (address: string): boolean => address === '192.0.2.1';
	const ends = (source: string, destination: string, protocol: number, destinationPort?: number): boolean =>
		isEnded(
			state,
			{ family: 4, protocol, source, destination, ...(destinationPort !== undefined && { destinationPort }) },
			isNode,
		);
	assert.equal(ends('10.0.0.1', '10.0.0.2', 6, 80), false);
	assert.equal(ends('10.0.0.1', '10.0.0.2', 6, 81), true);
	assert.equal(ends('10.0.0.1', '10.0.0.2', 17, 80), true);
	assert.equal(ends('10.0.0.1', '10.0.0.2', 1), true);
	assert.equal(ends('10.0.0.2', '10.0.0.1', 6, 4242), false);
	assert.equal(ends('192.0.2.1', '10.0.0.2', 6, 81), false);
	assert.equal(ends('192.0.2.9', '10.0.0.2', 6, 81), true);
	assert.equal(ends('10.0.0.3', '192.0.2.1', 6, 22), true);
	assert.equal(ends('10.0.0.3', '10.0.0.2', 47), true);
	assert.equal(ends('10.0.0.3', '10.0.0.3', 17, 53), false);
});
