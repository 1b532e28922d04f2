import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { createPrefixMap } from '../../src/net/prefix-map.ts';

const octet = fc.integer({ min: 0, max: 3 });
const key = fc.oneof(
	fc.tuple(octet, octet, fc.integer({ min: 22, max: 33 })).map(([a, b, length]) => `10.${a}.${b}.0/${length}`),
	fc.constantFrom('0.0.0.0/0', '255.255.255.255/32', '010.0.0.0/8', '10.0.0.0', '10.0.0.0/', '10.0.0/8', '10.0.0.0/08'),
	fc.constantFrom(
		'',
		'eth0 10.0.0.1',
		'2001:db8::/32',
		'::/0',
		'1.2.3.4.5/8',
		'256.0.0.0/8',
		'1.2.3.4/5/6',
		'1..2.3/4',
	),
	fc.nat(2000).map((n) => `10.${n >> 8}.${n & 255}.0/24`),
);
const step = fc.record({ key, value: fc.option(fc.integer({ min: 1 }), { nil: undefined, freq: 3 }) });

test('a map of prefixes is a map, whatever its keys are', () => {
	fc.assert(
		fc.property(fc.array(step, { maxLength: 600, size: 'max' }), (steps) => {
			const [model, map] = [new Map<string, number>(), createPrefixMap<number>()];
			for (const { key, value } of steps) {
				if (value === undefined) model.delete(key);
				else model.set(key, value);
				if (value === undefined) map.delete(key);
				else map.set(key, value);
				assert.equal(map.get(key), value);
				assert.equal(map.size(), model.size);
			}
			for (const { key } of steps) assert.equal(map.get(key), model.get(key));
			assert.deepEqual([...map.values()].sort(), [...model.values()].sort());
		}),
		{ numRuns: 300 },
	);
});
