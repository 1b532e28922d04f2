import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { createDigests } from '../../src/datastore/kubernetes/digests.ts';

const key = fc.oneof(
	fc.integer({ min: 0, max: 300 }).map((i) => `ns${i % 7}/pod-${i}`),
	fc.string({ maxLength: 40 }),
	fc.string({ unit: 'grapheme', maxLength: 40 }),
	fc.integer({ min: 1, max: 3000 }).map((length) => 'ä'.repeat(length)),
);
const step = fc.oneof(
	{ weight: 3, arbitrary: fc.tuple(fc.constant('set' as const), key, fc.integer({ min: 0, max: 2 ** 48 - 1 })) },
	{ weight: 1, arbitrary: fc.tuple(fc.constant('delete' as const), key, fc.constant(0)) },
);

test('digests by key are what a Map would be, whatever comes and goes', () => {
	fc.assert(
		fc.property(fc.array(step, { maxLength: 1500, size: 'max' }), (steps) => {
			const digests = createDigests();
			const model = new Map<string, number>();
			for (const [verb, name, digest] of steps) {
				// A lone surrogate is no text: it never comes out of JSON over the wire as bytes.
				if (!name.isWellFormed()) continue;
				assert.equal(digests.get(name), model.get(name));
				if (verb === 'set') {
					digests.set(name, digest);
					model.set(name, digest);
				} else {
					assert.equal(digests.delete(name), model.delete(name));
				}
				assert.equal(digests.size(), model.size);
			}
			assert.deepEqual([...digests.keys()].sort(), [...model.keys()].sort());
			for (const [name, digest] of model) assert.equal(digests.get(name), digest);
		}),
		{ numRuns: 50 },
	);
});
