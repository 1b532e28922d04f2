import type { Entries, Entry } from './entries.ts';
import type { RibFamily } from './types.ts';

/** Something for each path of one peer, known by its prefix and, where the session has them, its identifier (RFC 7911). */

export type PathStore<T> = {
	readonly get: (entry: Entry, pathId: number | undefined) => T | undefined;
	/** Undefined: nothing. */
	readonly set: (entry: Entry, pathId: number | undefined, value: T | undefined) => void;
	readonly has: (entry: Entry) => boolean;
	/** All of one prefix. */
	readonly of: (entry: Entry) => Iterable<T>;
	readonly size: (family: RibFamily) => number;
	/** May change while it is walked over. */
	readonly entries: () => Iterable<readonly [Entry, number | undefined, T]>;
};

export const createPathStore = <T>(table: Pick<Entries, 'byId'>): PathStore<T> => {
	/** By number of the prefix: those without an identifier, by far the most. */
	const plain: (T | undefined)[] = [];
	const numbered = new Map<Entry, Map<number, T>>();
	const sizes: Record<RibFamily, number> = { 4: 0, 6: 0 };

	const get: PathStore<T>['get'] = (entry, pathId) =>
		pathId === undefined ? plain[entry.id] : numbered.get(entry)?.get(pathId);

	return {
		get,
		set: (entry, pathId, value) => {
			const before = get(entry, pathId);
			sizes[entry.family] += Number(value !== undefined) - Number(before !== undefined);
			if (pathId === undefined) {
				if (value !== undefined || before !== undefined) plain[entry.id] = value;
				return;
			}
			const ids = numbered.get(entry) ?? new Map<number, T>();
			if (value === undefined) ids.delete(pathId);
			else ids.set(pathId, value);
			if (ids.size === 0) numbered.delete(entry);
			else numbered.set(entry, ids);
		},
		has: (entry) => plain[entry.id] !== undefined || numbered.has(entry),
		of: function* (entry) {
			const one = plain[entry.id];
			if (one !== undefined) yield one;
			yield* numbered.get(entry)?.values() ?? [];
		},
		size: (family) => sizes[family],
		entries: function* () {
			for (let id = 0; id < plain.length; id++) {
				const value = plain[id];
				const entry = value === undefined ? undefined : table.byId(id);
				if (value !== undefined && entry !== undefined) yield [entry, undefined, value];
			}
			for (const [entry, ids] of [...numbered]) for (const [pathId, value] of [...ids]) yield [entry, pathId, value];
		},
	};
};
