import type { Logger } from '../logging.ts';
import { type Cell, createDelta, type DeltaOptions, type Todo } from './delta.ts';
import type { Applied, KernelError, Reconciler } from './kernel.ts';

/**
 * The one reconciler behind routes, neighbours, addresses and rules: a {@link Delta} in the middle, a resource that
 * reads and writes the kernel at its edge. One pass at a time; a pass looks at each key once, so a key the kernel
 * refuses does not keep the others waiting. Between two batches notifications may come in and are believed.
 */

export type Change<B> = Cell<B>;

/** Outcome of one change: an error, or done. `untouched`: the kernel had it so already, nothing was written. */
export type Outcome = KernelError | 'untouched' | undefined;

export type Resource<V extends B, B = V> = DeltaOptions<V, B> & {
	/** For logs: `routes of protocol 173 and metric 173`. */
	readonly name: string;
	/** Where what is read is what is `believed` to be there, that should be given back, so that nothing is kept twice. */
	readonly read: (believed: (key: string) => B | undefined) => Promise<ReadonlyMap<string, B> | KernelError>;
	/** Carries the changes out; one outcome each. A deletion of what is not there is done. */
	readonly write: (changes: readonly Change<B>[]) => Promise<readonly Outcome[]>;
	/** Splits writes: those for which it says true go first (what the others stand on). */
	readonly first?: (value: B) => boolean;
};

/** What the kernel's notifications are fed into. */
export type Feed<V extends B, B = V> = {
	readonly reconciler: Reconciler<V, B>;
	/** The kernel has this under the key now, or nothing. */
	readonly observe: (key: string, value: B | undefined) => void;
	/** What is believed may be wrong: the next apply or resync reads everything again. */
	readonly doubt: () => void;
	/** The same, if an object believed to be in the kernel bears the tag. */
	readonly doubtTagged: (tag: string) => void;
};

/** Changes handed to a resource at a time. */
const chunk = 32_768;
const isError = (outcome: Outcome): outcome is KernelError => typeof outcome === 'object';

/** `settled` returns when all notifications sent so far have been fed in, so that no stale one is believed after. */
export const createReconciler = <V extends B, B = V>(
	resource: Resource<V, B>,
	log: Logger,
	settled: () => Promise<void> = async () => {},
): Feed<V, B> => {
	const delta = createDelta<V, B>(resource);
	let known: 'never' | 'doubtful' | 'known' = 'never';
	let queue: Promise<unknown> = Promise.resolve();
	/** Keys that notifications spoke of while a write was under way: theirs is the last word, not our acknowledgement. */
	let heard: Set<string> | undefined;
	/** Keys that notifications made differ from what is wanted, not yet told to anybody. */
	const drifted = new Set<string>();
	const { differs } = delta;
	const tellDrift = (keys: Iterable<string>): void => {
		const list = [...keys];
		if (list.length === 0) return;
		log.warn(
			{ keys: list.slice(0, 10), count: list.length },
			`${resource.name} in the kernel were changed by somebody else; they are put back`,
		);
	};

	const serially = <T>(run: () => Promise<T>): Promise<T> => {
		const result = queue.then(run);
		queue = result.catch(() => {});
		return result;
	};

	/** Reads everything; an error when that failed, in which case nothing is known better than before. */
	const load = async (): Promise<readonly string[] | KernelError> => {
		// What is still in the queue may be half a story, its end lost with the overrun that made us read: done with first.
		await settled();
		const before = known;
		known = 'known';
		delta.beginLoad();
		const read = await resource.read((key) => delta.actual.get(key));
		await settled();
		if (!(read instanceof Map)) {
			known = before === 'never' ? 'never' : 'doubtful';
			return read as KernelError;
		}
		const changed = delta.load(read);
		if (before === 'never') return [];
		const found = changed.filter(differs);
		tellDrift(found);
		return found;
	};

	const carryOut = async (
		cells: readonly Cell<B>[],
		what: Todo,
		done: string[],
		failed: Map<string, KernelError>,
	): Promise<void> => {
		for (let from = 0; from < cells.length; from += chunk) {
			const some = cells.slice(from, from + chunk).filter((cell) => delta.todo(cell) === what);
			if (some.length === 0) continue;
			// As they are now: what is wanted may change while they are written.
			const changes = some.map(({ key, wanted, actual }): Change<B> => ({ key, wanted, actual }));
			heard = new Set();
			const outcomes = await resource.write(changes);
			const later = heard;
			heard = undefined;
			for (let i = 0; i < changes.length; i++) {
				const { key, wanted } = changes[i] as Change<B>;
				const outcome = outcomes[i];
				if (isError(outcome)) {
					failed.set(key, outcome);
					continue;
				}
				if (later.size === 0 || !later.has(key)) delta.settle(some[i] as Cell<B>, wanted);
				if (outcome !== 'untouched') done.push(key);
			}
		}
	};

	const apply = async (): Promise<Applied> => {
		const written: string[] = [];
		const deleted: string[] = [];
		const failed = new Map<string, KernelError>();
		if (known === 'known') await settled();
		// Again when notifications were lost during the read itself; after some times what is left is the next pass's.
		for (let tries = 0; known !== 'known' && tries < 3; tries++) {
			const error = await load();
			if (!Array.isArray(error)) {
				// Blind writes could hit what is not ours: nothing is done until the kernel can be read.
				const open = [...delta.open('write'), ...delta.open('delete')];
				for (const { key } of open) failed.set(key, error as KernelError);
				return { written, deleted, failed };
			}
		}
		tellDrift([...drifted].filter(differs));
		drifted.clear();
		const { first } = resource;
		const early: Cell<B>[] = [];
		const late: Cell<B>[] = [];
		for (const cell of delta.open('write')) {
			if (first === undefined || first(cell.wanted as B)) early.push(cell);
			else late.push(cell);
		}
		for (const cells of [early, late]) await carryOut(cells, 'write', written, failed);
		await carryOut(delta.open('delete'), 'delete', deleted, failed);
		return { written, deleted, failed };
	};

	const reconciler: Reconciler<V, B> = {
		set: delta.set,
		put: delta.put,
		delete: delta.delete,
		replace: delta.replace,
		keyOf: resource.keyOf,
		wanted: () => delta.wanted,
		actual: () => delta.actual,
		sweep: delta.sweep,
		pending: () => delta.pending() + (known === 'doubtful' ? 1 : 0),
		apply: () => serially(apply),
		resync: () =>
			serially(async () => {
				const drifted = await load();
				if (Array.isArray(drifted)) return drifted as readonly string[];
				log.error({ error: drifted }, `${resource.name} could not be read from the kernel; it is tried again`);
				return [];
			}),
	};
	const doubt = (): void => {
		if (known === 'known') known = 'doubtful';
	};
	return {
		reconciler,
		observe: (key, value) => {
			const before = differs(key);
			delta.observe(key, value);
			heard?.add(key);
			if (!before && differs(key)) drifted.add(key);
		},
		doubt,
		doubtTagged: (tag) => {
			if (delta.tagged(tag)) doubt();
		},
	};
};
