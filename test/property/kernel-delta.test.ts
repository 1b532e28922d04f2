import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import type { KernelError } from '../../src/kernel/kernel.ts';
import { type Change, createReconciler, type Outcome } from '../../src/kernel/reconciler.ts';
import type { Logger } from '../../src/logging.ts';

/** A kernel of one table, with somebody else at work in it and notifications that come when they come. */

type Thing = { readonly key: string; readonly value: number };

const quiet: Logger = { debug: () => {}, info: () => {}, warn: () => {}, error: () => {}, child: () => quiet };
const refusal: KernelError = { errno: 101, code: 'ENETUNREACH', message: 'refused' };
const keys = ['a', 'b', 'c', 'd'];
const key = fc.constantFrom(...keys);
const thing = fc.record({ key, value: fc.integer({ min: 0, max: 3 }) });

const step = fc.oneof(
	fc.record({ do: fc.constant('set' as const), thing }),
	fc.record({ do: fc.constant('delete' as const), key }),
	fc.record({ do: fc.constant('replace' as const), things: fc.uniqueArray(thing, { selector: (t) => t.key }) }),
	fc.record({ do: fc.constant('apply' as const) }),
	fc.record({ do: fc.constant('resync' as const) }),
	fc.record({ do: fc.constant('foreignSet' as const), thing }),
	fc.record({ do: fc.constant('foreignDelete' as const), key }),
	fc.record({ do: fc.constant('notify' as const), count: fc.integer({ min: 1, max: 3 }) }),
	fc.record({ do: fc.constant('lose' as const), kept: fc.integer({ min: 0, max: 3 }) }),
	fc.record({ do: fc.constant('refuse' as const), keys: fc.subarray(keys) }),
	fc.record({ do: fc.constant('meddle' as const), key, thing: fc.option(thing, { nil: undefined }) }),
	fc.record({ do: fc.constant('sweep' as const), on: fc.boolean() }),
);

const createModel = (start: readonly Thing[]) => {
	const table = new Map(start.map((thing) => [thing.key, thing]));
	const notifications: { readonly key: string; readonly thing: Thing | undefined }[] = [];
	const writes: Change<Thing>[] = [];
	let refused: ReadonlySet<string> = new Set();
	let drainsDuringWrites = 0;
	/** What somebody does right after our next write, with its notification overtaking our acknowledgement. */
	let meddling: { readonly key: string; readonly thing: Thing | undefined } | undefined;
	const feed = createReconciler<Thing>(
		{
			name: 'things',
			keyOf: (thing) => thing.key,
			equal: (a, b) => a.value === b.value,
			read: async () => {
				const read = new Map(table);
				notify(drainsDuringWrites);
				return read;
			},
			write: async (changes) => {
				const outcomes = changes.map(({ key, wanted, actual }): Outcome => {
					if (refused.has(key)) return refusal;
					const there = table.get(key);
					if (wanted === undefined) {
						if (!table.delete(key)) return 'untouched';
					} else if (there !== undefined && there.value === wanted.value) return 'untouched';
					else table.set(key, wanted);
					writes.push({ key, wanted, actual });
					return undefined;
				});
				notify(drainsDuringWrites);
				if (meddling !== undefined) {
					foreign(meddling.key, meddling.thing);
					notify(notifications.length);
					meddling = undefined;
				}
				return outcomes;
			},
		},
		quiet,
		async () => notify(notifications.length),
	);
	const notify = (count: number): void => {
		for (const { key, thing } of notifications.splice(0, count)) feed.observe(key, thing);
	};
	const foreign = (key: string, thing: Thing | undefined): void => {
		if (thing === undefined) table.delete(key);
		else table.set(key, thing);
		notifications.push({ key, thing });
	};
	return {
		table,
		writes,
		feed,
		notify,
		foreign,
		/** The queue was full: the oldest are still in it when the loss is noticed. */
		lose: (kept: number) => {
			notifications.splice(kept);
			feed.doubt();
		},
		meddle: (key: string, thing: Thing | undefined) => {
			meddling = { key, thing: thing && { key, value: thing.value } };
		},
		refuse: (keys: readonly string[]) => {
			meddling = undefined;
			refused = new Set(keys);
			drainsDuringWrites = keys.length;
		},
	};
};

/** Somebody adds and deletes; the queue holds the first, had no room for the second, and is read while we read anew. */
const overrunInTheMiddle = [
	{ do: 'set' as const, thing: { key: 'a', value: 1 } },
	{ do: 'apply' as const },
	{ do: 'foreignDelete' as const, key: 'a' },
	{ do: 'apply' as const },
	{ do: 'notify' as const, count: 3 },
	{ do: 'foreignDelete' as const, key: 'a' },
	{ do: 'foreignSet' as const, thing: { key: 'a', value: 1 } },
	{ do: 'foreignDelete' as const, key: 'a' },
	{ do: 'lose' as const, kept: 2 },
	{ do: 'resync' as const },
];

test('whatever happens in between, the kernel ends as wanted, and a pass over it then writes nothing', async () => {
	await fc.assert(
		fc.asyncProperty(fc.array(thing, { maxLength: 4 }), fc.array(step, { maxLength: 30 }), async (start, steps) => {
			const model = createModel(start);
			const { reconciler } = model.feed;
			const running: Promise<unknown>[] = [];
			for (const action of steps) {
				if (action.do === 'set') reconciler.set(action.thing);
				else if (action.do === 'delete') reconciler.delete(action.key);
				else if (action.do === 'replace') reconciler.replace(action.things);
				else if (action.do === 'apply') running.push(reconciler.apply());
				else if (action.do === 'resync') running.push(reconciler.resync());
				else if (action.do === 'foreignSet') model.foreign(action.thing.key, action.thing);
				else if (action.do === 'foreignDelete') model.foreign(action.key, undefined);
				else if (action.do === 'notify') model.notify(action.count);
				else if (action.do === 'lose') model.lose(action.kept);
				else if (action.do === 'refuse') model.refuse(action.keys);
				else if (action.do === 'meddle') model.meddle(action.key, action.thing);
				else reconciler.sweep(action.on);
				if (running.length > 2) await running.shift();
			}
			await Promise.all(running);
			model.refuse([]);
			reconciler.sweep(true);
			await reconciler.apply();
			const byKey = (map: ReadonlyMap<string, Thing>): string[] =>
				[...map.values()].map(({ key, value }) => `${key}=${value}`).sort();
			assert.deepEqual(byKey(model.table), byKey(reconciler.wanted()));
			assert.deepEqual(byKey(reconciler.actual()), byKey(reconciler.wanted()));
			assert.equal(reconciler.pending(), 0);
			const before = model.writes.length;
			await reconciler.resync();
			const again = await reconciler.apply();
			assert.equal(model.writes.length, before);
			assert.deepEqual([again.written, again.deleted], [[], []]);
		}),
		{ numRuns: 2000, examples: [[[], overrunInTheMiddle]] },
	);
});

test('with sweeping off nothing is ever deleted', async () => {
	await fc.assert(
		fc.asyncProperty(fc.array(thing, { maxLength: 4 }), fc.array(step, { maxLength: 30 }), async (start, steps) => {
			const model = createModel(start);
			const { reconciler } = model.feed;
			for (const action of steps) {
				if (action.do === 'set') reconciler.set(action.thing);
				else if (action.do === 'delete') reconciler.delete(action.key);
				else if (action.do === 'replace') reconciler.replace(action.things);
				else if (action.do === 'apply') await reconciler.apply();
				else if (action.do === 'resync') await reconciler.resync();
				else if (action.do === 'lose') model.lose(action.kept);
			}
			await reconciler.apply();
			assert.ok(model.writes.every(({ wanted }) => wanted !== undefined));
			for (const { key } of start) assert.ok(model.table.has(key));
		}),
	);
});
