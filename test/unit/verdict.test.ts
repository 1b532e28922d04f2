import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createPolicyCalc, type Packet, verdict } from '../../felix/calc/index.ts';
import { makeNamespace, makePod, makePolicy, selector } from '../property/calc-world.ts';

const calc = createPolicyCalc();
calc.set(makeNamespace('x'));
calc.set(makePod('x/server', { app: 'server' }));
calc.set(makePod('x/client', { app: 'client' }));
calc.setLocalPod({ key: 'x/server', addresses: ['10.0.0.1'] });
calc.setLocalPod({ key: 'x/client', addresses: ['10.0.0.2'] });
calc.set(makePolicy('x/deny', { podSelector: selector({ app: 'server' }) }));
calc.set(
	makePolicy('x/allow', {
		podSelector: selector({ app: 'server' }),
		ingress: [{ peers: [{ podSelector: selector({ app: 'client' }) }], ports: [{ protocol: 'TCP', port: 80 }] }],
	}),
);
const state = calc.state(4);
const packet: Packet = { source: '10.0.0.2', destination: '10.0.0.1', protocol: 'TCP', destinationPort: 80 };

test('an allowed packet names the rule and the policies considered, egress first', () => {
	const { allowed, reasons } = verdict(packet, state);
	assert.equal(allowed, true);
	assert.deepEqual(
		reasons.map(({ direction, outcome, rule, group }) => [direction, outcome, rule, group?.policies]),
		[
			['egress', 'open', undefined, undefined],
			['ingress', 'allowed', 0, ['x/allow', 'x/deny']],
		],
	);
	const { group, rule } = reasons[1] ?? {};
	assert.equal(group?.rules[rule ?? -1]?.policy, 'x/allow');
});

test('a denied packet names the group that isolates the pod', () => {
	const { allowed, reasons } = verdict({ ...packet, destinationPort: 81 }, state);
	assert.equal(allowed, false);
	assert.deepEqual(reasons.at(-1)?.outcome, 'denied');
	assert.deepEqual(reasons.at(-1)?.group?.policies, ['x/allow', 'x/deny']);
});

test('from the node itself, to itself and between strangers nothing is judged', () => {
	for (const one of [
		{ ...packet, source: '192.0.2.1', destinationPort: 81, fromNode: true },
		{ ...packet, source: '10.0.0.1', destinationPort: 81 },
		{ ...packet, source: '192.0.2.1', destination: '192.0.2.2' },
	]) {
		assert.deepEqual(verdict(one, state), { allowed: true, reasons: [] });
	}
});
