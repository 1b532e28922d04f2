/** Sets told as a big one and a few changes, held against plain ones. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { changedSet, differenceOf } from 'iptables-wrapper';

const member = fc.integer({ min: 0, max: 30 }).map(String);
const changes = fc.array(fc.tuple(member, fc.boolean()), { maxLength: 40 }).map((list) => new Map(list));
const sorted = (members: Iterable<string>): string[] => [...members].sort();

test('every successor reads as a plain set with the same changes, and its predecessors stay as they were', () => {
	fc.assert(
		fc.property(fc.array(member), fc.array(changes, { maxLength: 6 }), (start, steps) => {
			let set: ReadonlySet<string> = new Set(start);
			let plain = new Set(start);
			const seen: [ReadonlySet<string>, Set<string>][] = [[set, plain]];
			for (const step of steps) {
				set = changedSet(set, step);
				plain = new Set(plain);
				for (const [name, present] of step) {
					if (present) plain.add(name);
					else plain.delete(name);
				}
				seen.push([set, plain]);
			}
			for (const [one, expected] of seen) {
				assert.equal(one.size, expected.size);
				assert.deepEqual(sorted(one), sorted(expected));
				const visited: string[] = [];
				one.forEach((name) => {
					visited.push(name);
				});
				assert.deepEqual(sorted(visited), sorted(expected));
				for (let i = 0; i <= 30; i++) assert.equal(one.has(`${i}`), expected.has(`${i}`));
				assert.deepEqual(sorted(one.union(new Set(['x']))), sorted(expected.union(new Set(['x']))));
			}
			for (const [before, from] of seen) {
				for (const [after, to] of seen) {
					const found = differenceOf(before, after);
					if (found === undefined) continue;
					assert.deepEqual(sorted(found.added), sorted(to.difference(from)));
					assert.deepEqual(sorted(found.removed), sorted(from.difference(to)));
				}
			}
		}),
	);
});

test('a small change of a large set shares its bulk, also with the one before and after it', () => {
	const large = new Set(Array.from({ length: 10_000 }, (_, i) => `${i}`));
	let set: ReadonlySet<string> = large;
	for (let i = 0; i < 150; i++) {
		const next = changedSet(set, new Map([[`new${i}`, true]]));
		assert.deepEqual(differenceOf(set, next), { added: [`new${i}`], removed: [] });
		assert.deepEqual(differenceOf(next, large)?.removed.length, i + 1);
		set = next;
	}
});
