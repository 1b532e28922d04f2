import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { createPlaces } from '../../felix/calc/places.ts';
import type { PodRecord } from '../../felix/calc/records.ts';

const step = fc.tuple(fc.boolean(), fc.integer({ min: 0, max: 400 }));

test('pods are found by address as in a Map, whatever comes and goes', () => {
	fc.assert(
		fc.property(fc.array(step, { maxLength: 2000, size: 'max' }), (steps) => {
			const places = createPlaces();
			const model = new Map<string, PodRecord>();
			const pods = Array.from(
				{ length: 200 },
				(_, i) => ({ claims: [`10.0.0.${i}`, `fd00::${i}`] }) as unknown as PodRecord,
			);
			for (const [come, number] of steps) {
				const pod = pods[number >> 1];
				const address = pod?.claims[number & 1];
				if (pod === undefined || address === undefined) continue;
				assert.equal(places.get(address), model.get(address));
				if (come && !model.has(address)) {
					places.add(address, pod);
					model.set(address, pod);
				} else if (!come) {
					places.delete(address);
					model.delete(address);
				}
			}
			for (const { claims } of pods) for (const one of claims) assert.equal(places.get(one), model.get(one));
		}),
		{ numRuns: 50 },
	);
});
