import { createPrefixMap, type PrefixMap } from '../net/prefix-map.ts';

/**
 * Wanted against actual for one kind of object, and what is left to do; pure. Work is proportional to what changes:
 * every call looks at the keys it names and at no others (`replace` and `load` name all).
 *
 * With sweeping off, objects that nobody wants are left alone: after a start what is wanted is not yet fully known.
 */
export type Delta<V extends B, B = V> = {
	readonly wanted: ReadonlyMap<string, B>;
	readonly actual: ReadonlyMap<string, B>;
	readonly set: (value: V) => void;
	readonly put: (key: string, value: B) => void;
	readonly delete: (key: string) => void;
	readonly replace: (values: Iterable<V>) => void;
	readonly sweep: (on: boolean) => void;
	/** What the kernel is now known to have under `key`. */
	readonly observe: (key: string, value: B | undefined) => void;
	/** The same, of a cell from `open`. */
	readonly settle: (cell: Cell<B>, value: B | undefined) => void;
	/** A dump begins: what is observed from here on is newer than what `load` will bring. */
	readonly beginLoad: () => void;
	/** Everything the kernel has. Returns the keys that were believed otherwise (all unknown ones at the first load). */
	readonly load: (read: ReadonlyMap<string, B>) => readonly string[];
	/** All that is to be written, or deleted, in the order it became so. */
	readonly open: (what: Todo) => readonly Cell<B>[];
	/** What is to be done about it now. */
	readonly todo: (cell: Cell<B>) => Todo | undefined;
	readonly differs: (key: string) => boolean;
	readonly pending: () => number;
	/** Whether an actual object bears the tag. */
	readonly tagged: (tag: string) => boolean;
};

export type Todo = 'write' | 'delete';

/** One key: its own object, so that it is looked up once. */
export type Cell<B> = {
	readonly key: string;
	readonly wanted: B | undefined;
	/** Where it is equal to what is wanted, that very value. */
	readonly actual: B | undefined;
};

type OwnCell<B> = { -readonly [K in keyof Cell<B>]: Cell<B>[K] } & {
	/** In the list of those where something is to be done, or taken out of the table. */
	listed: boolean;
	gone: boolean;
};

export type DeltaOptions<V extends B, B = V> = {
	readonly keyOf: (value: V) => string;
	readonly equal: (wanted: B, actual: B, key: string) => boolean;
	/** Own only what was wanted at some time: an object found in the kernel is then nobody's until its key is set. */
	readonly onlyWanted?: boolean;
	/** Names what an object hangs on (a device, an address), so that it can be asked what a change of that concerns. */
	readonly tagsOf?: (value: B, visit: (tag: string) => void) => void;
};

const noKeys: ReadonlySet<string> = new Set();

/** The part of the cells as a map. */
const viewOf = <B>(
	cells: Pick<PrefixMap<Cell<B>>, 'get' | 'values'>,
	part: 'wanted' | 'actual',
	size: () => number,
): ReadonlyMap<string, B> => {
	function* entries(): Generator<[string, B], undefined> {
		for (const cell of cells.values()) {
			const value = cell[part];
			if (value !== undefined) yield [cell.key, value];
		}
	}
	function* map<T>(of: (entry: [string, B]) => T): Generator<T, undefined> {
		for (const entry of entries()) yield of(entry);
	}
	const view: ReadonlyMap<string, B> = {
		get size() {
			return size();
		},
		get: (key) => cells.get(key)?.[part],
		has: (key) => cells.get(key)?.[part] !== undefined,
		keys: () => map(([key]) => key),
		values: () => map(([, value]) => value),
		entries,
		[Symbol.iterator]: entries,
		forEach: (visit) => {
			for (const [key, value] of entries()) visit(value, key, view);
		},
	};
	return view;
};

/** Counts what objects hang on. Those of one run are mostly alike: they are counted when another comes, or somebody asks. */
const createTags = <B>(tagsOf: DeltaOptions<B>['tagsOf']) => {
	const tags = new Map<string, number>();
	let last: B | undefined;
	let count = 0;
	const flush = (): void => {
		if (last === undefined || count === 0) return;
		tagsOf?.(last, (tag) => {
			const left = (tags.get(tag) ?? 0) + count;
			if (left === 0) tags.delete(tag);
			else tags.set(tag, left);
		});
		count = 0;
	};
	return {
		add: (value: B, by: 1 | -1): void => {
			if (value !== last) {
				flush();
				last = value;
			}
			count += by;
		},
		has: (tag: string): boolean => {
			flush();
			return (tags.get(tag) ?? 0) > 0;
		},
	};
};

export const createDelta = <V extends B, B = V>(options: DeltaOptions<V, B>): Delta<V, B> => {
	const { keyOf, equal, onlyWanted = false } = options;
	const cells = createPrefixMap<OwnCell<B>>();
	/** Found in the kernel and not ours (onlyWanted). */
	const strangers = new Map<string, B>();
	const tags = createTags(options.tagsOf);
	/** Where something is to be done, and those where it was. */
	let list: OwnCell<B>[] = [];
	/** How many are wanted, actual, to be written, unwanted. */
	const counts = { wanted: 0, actual: 0, write: 0, unwanted: 0 };
	let touched: Set<string> | undefined;
	let sweeping = false;

	const cellOf = (key: string): OwnCell<B> => {
		let cell = cells.get(key);
		if (cell === undefined) {
			cell = { key, wanted: undefined, actual: undefined, listed: false, gone: false };
			cells.set(key, cell);
		}
		return cell;
	};
	const count = (cell: OwnCell<B>, by: 1 | -1): void => {
		const { wanted, actual } = cell;
		if (wanted !== undefined) counts.wanted += by;
		if (actual !== undefined) counts.actual += by;
		if (wanted === actual) return;
		if (wanted === undefined) counts.unwanted += by;
		else counts.write += by;
	};
	/** `want` is wanted under the key, and the kernel has `have`. */
	const note = (cell: OwnCell<B>, want: B | undefined, have: B | undefined): void => {
		const before = cell.actual;
		const now =
			want !== undefined && have !== undefined && (have === want || equal(want, have, cell.key)) ? want : have;
		count(cell, -1);
		cell.wanted = want;
		cell.actual = now;
		count(cell, 1);
		if (now !== before) {
			if (before !== undefined) tags.add(before, -1);
			if (now !== undefined) tags.add(now, 1);
		}
		if (want !== now && !cell.listed) {
			cell.listed = true;
			list.push(cell);
		} else if (want === undefined && now === undefined) {
			cell.gone = true;
			cells.delete(cell.key);
		}
	};
	const observe = (key: string, have: B | undefined): void => {
		const cell = cells.get(key);
		if (cell !== undefined) note(cell, cell.wanted, have);
		else if (!onlyWanted) {
			if (have !== undefined) note(cellOf(key), undefined, have);
		} else if (have === undefined) strangers.delete(key);
		else strangers.set(key, have);
	};
	const put = (key: string, value: B): void => {
		const cell = cellOf(key);
		const found = strangers.size > 0 ? strangers.get(key) : undefined;
		if (found !== undefined) strangers.delete(key);
		note(cell, value, found ?? cell.actual);
	};
	const remove = (key: string): void => {
		const cell = cells.get(key);
		if (cell?.wanted !== undefined) note(cell, undefined, cell.actual);
	};
	const todo = ({ wanted, actual }: Cell<B>): Todo | undefined => {
		if (wanted === actual) return undefined;
		if (wanted !== undefined) return 'write';
		return sweeping ? 'delete' : undefined;
	};
	const actual = viewOf(cells, 'actual', () => counts.actual);

	return {
		wanted: viewOf(cells, 'wanted', () => counts.wanted),
		actual,
		open: (what) => {
			if (what === 'delete' && counts.unwanted === 0) return [];
			const kept: OwnCell<B>[] = [];
			const found: OwnCell<B>[] = [];
			for (const cell of list) {
				cell.listed = cell.wanted !== cell.actual && !cell.gone;
				if (cell.listed) kept.push(cell);
				if (cell.listed && todo(cell) === what) found.push(cell);
			}
			list = kept;
			return found;
		},
		todo,
		differs: (key) => {
			const cell = cells.get(key);
			return cell !== undefined && todo(cell) !== undefined;
		},
		set: (value) => put(keyOf(value), value),
		put,
		delete: remove,
		replace: (values) => {
			const kept = new Set<string>();
			for (const value of values) {
				kept.add(keyOf(value));
				put(keyOf(value), value);
			}
			for (const { key } of cells.values()) if (!kept.has(key)) remove(key);
		},
		sweep: (on) => {
			sweeping = on;
		},
		observe: (key, value) => {
			touched?.add(key);
			observe(key, value);
		},
		settle: (cell, value) => {
			touched?.add(cell.key);
			const own = cell as OwnCell<B>;
			if (own.gone) observe(own.key, value);
			else note(own, own.wanted, value);
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
			for (const key of [...actual.keys()].filter(lost)) {
				changed.push(key);
				observe(key, undefined);
			}
			for (const [key, value] of read) {
				if (newer.has(key)) continue;
				const believed = actual.get(key);
				if (believed !== undefined && (believed === value || equal(believed, value, key))) continue;
				observe(key, value);
				if (actual.has(key)) changed.push(key);
			}
			return changed;
		},
		tagged: tags.has,
		pending: () => counts.write + (sweeping ? counts.unwanted : 0),
	};
};
