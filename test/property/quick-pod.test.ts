import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { quickPod } from '../../src/api/quick-pod.ts';
import { podSchema } from '../../src/api/validate.ts';

/** Mostly a value as it should be, else anything. */
const usually = <T>(value: fc.Arbitrary<T>): fc.Arbitrary<unknown> =>
	fc.oneof(
		{ weight: 30, arbitrary: value as fc.Arbitrary<unknown> },
		{ weight: 2, arbitrary: fc.constantFrom(null, undefined) },
		{ weight: 1, arbitrary: fc.jsonValue({ maxDepth: 1 }) },
	);
const name = fc.stringMatching(/^[a-z0-9]([-a-z0-9.]{0,20}[a-z0-9])?$/);
const map = fc.dictionary(fc.string({ maxLength: 10 }), usually(fc.string({ maxLength: 5 })), { maxKeys: 3 });
const port = fc.record(
	{
		name: usually(fc.constantFrom('http', 'x', '')),
		containerPort: usually(fc.integer({ min: 0, max: 65536 })),
		protocol: usually(fc.constantFrom('TCP', 'UDP', 'SCTP')),
	},
	{ requiredKeys: ['containerPort'] },
);
const container = fc.record(
	{
		restartPolicy: usually(fc.constantFrom('Always', 'Never')),
		ports: usually(fc.array(usually(port), { maxLength: 3 })),
		image: fc.string(),
	},
	{ requiredKeys: [] },
);
const address = fc.oneof(fc.ipV4(), fc.ipV6(), fc.constantFrom('010.0.0.1', 'FD00::1', '::ffff:10.0.0.1', 'x', ''));
const pod = fc.record(
	{
		kind: fc.constant('Pod'),
		apiVersion: fc.constant('v1'),
		metadata: usually(
			fc.record(
				{
					name: usually(name),
					namespace: usually(name),
					uid: usually(fc.constantFrom('', 'u1')),
					creationTimestamp: usually(fc.constantFrom('2026-01-01T00:00:00Z', '')),
					labels: usually(map),
					annotations: usually(map),
				},
				{ requiredKeys: ['name'] },
			),
		),
		spec: usually(
			fc.record(
				{
					nodeName: usually(name),
					hostNetwork: usually(fc.boolean()),
					containers: usually(fc.array(usually(container), { maxLength: 2 })),
					initContainers: usually(fc.array(container, { maxLength: 2 })),
				},
				{ requiredKeys: [] },
			),
		),
		status: usually(
			fc.record(
				{
					phase: usually(fc.constantFrom('Pending', 'Running', 'Succeeded', 'Failed', 'Unknown')),
					podIP: usually(address),
					podIPs: usually(fc.array(usually(fc.record({ ip: usually(address) })), { maxLength: 2 })),
				},
				{ requiredKeys: [] },
			),
		),
	},
	{ requiredKeys: ['kind', 'metadata'] },
);

test('a pod read by hand is what the schema makes of it, text for text', () => {
	let read = 0;
	let good = 0;
	fc.assert(
		fc.property(pod, (made) => {
			const raw = JSON.parse(JSON.stringify(made)) as object;
			const expected = podSchema.safeParse(raw);
			const quick = quickPod(raw);
			if (expected.success) good++;
			if (quick === undefined) return;
			read++;
			assert.equal(JSON.stringify(quick), JSON.stringify(expected.data), JSON.stringify(raw));
		}),
		{ numRuns: 2000 },
	);
	assert.ok(read > 0.7 * good, `${read} of ${good} good pods were read by hand`);
});
