/**
 * Wanted against actual for one kind of object, and what is left to do; pure. Work is proportional to what changes:
 * every call looks at the keys it names and at no others (`replace` and `load` name all).
 *
 * With sweeping off, objects that nobody wants are left alone: after a start what is wanted is not yet fully known.
 */
export type Delta<V> = {
	readonly wanted: ReadonlyMap<string, V>;
	readonly actual: ReadonlyMap<string, V>;
	readonly set: (value: V) => void;
	readonly delete: (key: string) => void;
	readonly replace: (values: Iterable<V>) => void;
	readonly sweep: (on: boolean) => void;
	/** What the kernel is now known to have under `key`. */
	readonly observe: (key: string, value: V | undefined) => void;
	/** A dump begins: what is observed from here on is newer than what `load` will bring. */
	readonly beginLoad: () => void;
	/** Everything the kernel has. Returns the keys that were believed otherwise (all unknown ones at the first load). */
	readonly load: (read: ReadonlyMap<string, V>) => readonly string[];
	/** Keys to add or change, in the order they became so. */
	readonly toWrite: ReadonlyMap<string, Change<V>>;
	/** Keys to delete; none while sweeping is off. */
	readonly toDelete: ReadonlyMap<string, V>;
	/** What is to be done about a key; undefined: nothing (any more). */
	readonly todo: (key: string) => Change<V> | undefined;
	readonly pending: () => number;
	/** Whether an actual object bears the tag. */
	readonly tagged: (tag: string) => boolean;
};

export type Change<V> = {
	readonly key: string;
	/** Undefined: delete it. */
	readonly wanted: V | undefined;
	/** What the kernel has of ours, to be replaced; undefined: nothing. */
	readonly actual: V | undefined;
};

export type DeltaOptions<V> = {
	readonly keyOf: (value: V) => string;
	readonly equal: (wanted: V, actual: V) => boolean;
	/** Own only what was wanted at some time: an object found in the kernel is then nobody's until its key is set. */
	readonly onlyWanted?: boolean;
	/** Names what an object hangs on (a device, an address), so that it can be asked what a change of that concerns. */
	readonly tagsOf?: (value: V, visit: (tag: string) => void) => void;
};

const noKeys: ReadonlySet<string> = new Set();
const none: ReadonlyMap<string, never> = new Map<string, never>();

/**
 * Nearly all keys are as wanted nearly always, so what the kernel has is kept for the others only; where it is equal, the
 * wanted value stands for both.
 */
export const createDelta = <V>({ keyOf, equal, onlyWanted = false, tagsOf }: DeltaOptions<V>): Delta<V> => {
	const wanted = new Map<string, V>();
	/** Keys wanted and not so in the kernel. */
	const toWrite = new Map<string, Change<V>>();
	/** What the kernel has and nobody wants. */
	const unwanted = new Map<string, V>();
	/** Found in the kernel and not ours (onlyWanted). */
	const strangers = new Map<string, V>();
	const tags = new Map<string, number>();
	let touched: Set<string> | undefined;
	let sweeping = false;

	const tag = (name: string): void => {
		tags.set(name, (tags.get(name) ?? 0) + 1);
	};
	const untag = (name: string): void => {
		const left = (tags.get(name) ?? 0) - 1;
		if (left > 0) tags.set(name, left);
		else tags.delete(name);
	};

	// Maps that are empty are not asked: at ten thousands of keys a pass each look-up counts.
	const actualOf = (key: string, want: V | undefined): V | undefined => {
		const change = toWrite.size > 0 ? toWrite.get(key) : undefined;
		if (change !== undefined) return change.actual;
		return want ?? (unwanted.size > 0 ? unwanted.get(key) : undefined);
	};
	/** What the kernel has under a key is `have` now and was `before`, and `want` is wanted. */
	const note = (key: string, want: V | undefined, have: V | undefined, before: V | undefined): void => {
		const same = want !== undefined && have !== undefined && (have === want || equal(want, have));
		const now = same ? want : have;
		if (tagsOf !== undefined && now !== before) {
			if (before !== undefined) tagsOf(before, untag);
			if (now !== undefined) tagsOf(now, tag);
		}
		if (want !== undefined && !same) toWrite.set(key, { key, wanted: want, actual: have });
		else if (toWrite.size > 0) toWrite.delete(key);
		if (want === undefined && have !== undefined) unwanted.set(key, have);
		else if (unwanted.size > 0) unwanted.delete(key);
	};
	const observe = (key: string, have: V | undefined): void => {
		const change = toWrite.size > 0 ? toWrite.get(key) : undefined;
		if (change !== undefined) {
			note(key, change.wanted, have, change.actual);
			return;
		}
		const want = wanted.get(key);
		const before = actualOf(key, want);
		if (!onlyWanted || want !== undefined || before !== undefined) note(key, want, have, before);
		else if (have === undefined) strangers.delete(key);
		else strangers.set(key, have);
	};
	const set = (value: V): void => {
		const key = keyOf(value);
		const before = actualOf(key, wanted.get(key));
		wanted.set(key, value);
		const found = strangers.size > 0 ? strangers.get(key) : undefined;
		if (found !== undefined) strangers.delete(key);
		note(key, value, found ?? before, before);
	};
	const remove = (key: string): void => {
		const before = actualOf(key, wanted.get(key));
		if (wanted.delete(key)) note(key, undefined, before, before);
	};

	function* entries(): Generator<[string, V], undefined> {
		for (const [key, want] of wanted) {
			const have = actualOf(key, want);
			if (have !== undefined) yield [key, have];
		}
		yield* unwanted;
	}
	function* part<T>(of: (entry: [string, V]) => T): Generator<T, undefined> {
		for (const entry of entries()) yield of(entry);
	}
	const actual: ReadonlyMap<string, V> = {
		get size() {
			let missing = 0;
			for (const change of toWrite.values()) if (change.actual === undefined) missing++;
			return wanted.size - missing + unwanted.size;
		},
		get: (key) => actualOf(key, wanted.get(key)),
		has: (key) => actualOf(key, wanted.get(key)) !== undefined,
		keys: () => part(([key]) => key),
		values: () => part(([, value]) => value),
		entries,
		[Symbol.iterator]: entries,
		forEach: (visit) => {
			for (const [key, value] of entries()) visit(value, key, actual);
		},
	};

	return {
		wanted,
		actual,
		toWrite,
		get toDelete() {
			return sweeping ? unwanted : none;
		},
		todo: (key) => {
			const change = toWrite.get(key);
			if (change !== undefined || !sweeping) return change;
			const left = unwanted.get(key);
			return left && { key, wanted: undefined, actual: left };
		},
		set,
		delete: remove,
		replace: (values) => {
			const kept = new Set<string>();
			for (const value of values) {
				kept.add(keyOf(value));
				set(value);
			}
			for (const key of wanted.keys()) if (!kept.has(key)) remove(key);
		},
		sweep: (on) => {
			sweeping = on;
		},
		observe: (key, value) => {
			touched?.add(key);
			observe(key, value);
		},
		beginLoad: () => {
			touched = new Set();
		},
		load: (read) => {
			const newer = touched ?? noKeys;
			touched = undefined;
			const changed: string[] = [];
			const lost = (key: string): boolean => !read.has(key) && !newer.has(key);
			for (const key of [...strangers.keys()].filter(lost)) strangers.delete(key);
			for (const key of [...part(([key]) => key)].filter(lost)) {
				changed.push(key);
				observe(key, undefined);
			}
			for (const [key, value] of read) {
				if (newer.has(key)) continue;
				const believed = actual.get(key);
				if (believed !== undefined && (believed === value || equal(believed, value))) continue;
				observe(key, value);
				if (actual.has(key)) changed.push(key);
			}
			return changed;
		},
		tagged: (name) => tags.has(name),
		pending: () => toWrite.size + (sweeping ? unwanted.size : 0),
	};
};
