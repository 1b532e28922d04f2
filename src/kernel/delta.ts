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
	readonly toWrite: ReadonlySet<string>;
	/** Keys to delete; empty while sweeping is off. */
	readonly toDelete: () => ReadonlySet<string>;
	readonly pending: () => number;
	/** Whether an actual object bears the tag. */
	readonly tagged: (tag: string) => boolean;
};

export type DeltaOptions<V> = {
	readonly keyOf: (value: V) => string;
	readonly equal: (wanted: V, actual: V) => boolean;
	/** Own only what was wanted at some time: an object found in the kernel is then nobody's until its key is set. */
	readonly onlyWanted?: boolean;
	/** Names what an object hangs on (a device, an address), so that it can be asked what a change of that concerns. */
	readonly tagsOf?: (value: V, visit: (tag: string) => void) => void;
};

const none: ReadonlySet<string> = new Set();

export const createDelta = <V>({ keyOf, equal, onlyWanted = false, tagsOf }: DeltaOptions<V>): Delta<V> => {
	const wanted = new Map<string, V>();
	const actual = new Map<string, V>();
	/** Found in the kernel and not ours (onlyWanted). */
	const strangers = new Map<string, V>();
	const toWrite = new Set<string>();
	const unwanted = new Set<string>();
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
	const putActual = (key: string, value: V | undefined): void => {
		if (tagsOf !== undefined) {
			const before = actual.get(key);
			if (before === value) return;
			if (before !== undefined) tagsOf(before, untag);
			if (value !== undefined) tagsOf(value, tag);
		}
		if (value === undefined) actual.delete(key);
		else actual.set(key, value);
	};

	// Sets and maps that are empty are not asked: at ten thousands of keys a pass each look-up counts.
	const classify = (key: string, want: V | undefined, have: V | undefined): void => {
		if (want === undefined) {
			if (toWrite.size > 0) toWrite.delete(key);
			if (have !== undefined) unwanted.add(key);
			else if (unwanted.size > 0) unwanted.delete(key);
			return;
		}
		if (unwanted.size > 0) unwanted.delete(key);
		if (have !== want && (have === undefined || !equal(want, have))) toWrite.add(key);
		else if (toWrite.size > 0) toWrite.delete(key);
	};
	const put = (key: string, value: V | undefined): void => {
		const want = wanted.get(key);
		if (!onlyWanted || want !== undefined || actual.has(key)) {
			putActual(key, value);
			classify(key, want, value);
		} else if (value === undefined) strangers.delete(key);
		else strangers.set(key, value);
	};
	const set = (value: V): void => {
		const key = keyOf(value);
		wanted.set(key, value);
		const found = strangers.size > 0 ? strangers.get(key) : undefined;
		if (found !== undefined) {
			strangers.delete(key);
			putActual(key, found);
		}
		classify(key, value, actual.size > 0 ? actual.get(key) : undefined);
	};
	const remove = (key: string): void => {
		if (wanted.delete(key)) classify(key, undefined, actual.get(key));
	};

	return {
		wanted,
		actual,
		toWrite,
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
			put(key, value);
		},
		beginLoad: () => {
			touched = new Set();
		},
		load: (read) => {
			const newer = touched ?? none;
			touched = undefined;
			const changed: string[] = [];
			const known = [...actual.keys(), ...strangers.keys()];
			for (const key of known) {
				if (read.has(key) || newer.has(key)) continue;
				if (actual.has(key)) changed.push(key);
				put(key, undefined);
			}
			for (const [key, value] of read) {
				if (newer.has(key)) continue;
				const believed = actual.get(key);
				if (believed !== undefined && equal(believed, value)) {
					// What is read says more than what was written (which device a gateway resolved to).
					putActual(key, value);
					continue;
				}
				put(key, value);
				if (actual.has(key)) changed.push(key);
			}
			return changed;
		},
		toDelete: () => (sweeping ? unwanted : none),
		tagged: (name) => tags.has(name),
		pending: () => toWrite.size + (sweeping ? unwanted.size : 0),
	};
};
