import { familyOf } from '../../src/net/ip.ts';
import { createPrefixMap } from '../../src/net/prefix-map.ts';
import type { Decision, Path, RibFamily } from './types.ts';

/**
 * The prefixes of all RIBs, each once: looked up by its text when it comes in, and from there on handed around as its entry.
 * What others keep by prefix they keep in arrays by its number, which stays small: numbers of prefixes that are gone are
 * given again, once nobody has anything under them.
 */

export type Entry = {
	readonly id: number;
	readonly prefix: string;
	readonly family: RibFamily;
	/** Copied when it changes: a decision may hold it. Prefixes that come in a run share it. */
	paths: readonly Path[];
	decision: Decision | undefined;
	/** What the last take gave out. */
	delivered: Decision | undefined;
	/** Which lists of the Loc-RIB it is in. */
	marks: number;
};

export type Entries = {
	/** Made where there is none yet. */
	readonly of: (prefix: string) => Entry;
	readonly find: (prefix: string) => Entry | undefined;
	readonly byId: (id: number) => Entry | undefined;
	/** Those that a path leads to, or did at the last take. */
	readonly all: () => Iterable<Entry>;
	/** How many are known. */
	readonly size: () => number;
	/** Nothing is left of it, it seems: it is looked at again. */
	readonly retire: (entry: Entry) => void;
	/** Gives the numbers of retired ones free, now and then. */
	readonly tidy: () => void;
};

/** In the list of those retired. */
export const RETIRED = 4;
const FIRST_SWEEP = 1024;

export const noPaths: readonly Path[] = [];

export const isEmpty = ({ paths, decision, delivered }: Entry): boolean =>
	paths.length === 0 && decision === undefined && delivered === undefined;

/** `isHeld`: somebody has something under its number. */
export const createEntries = (isHeld: (entry: Entry) => boolean): Entries => {
	const byPrefix = createPrefixMap<Entry>();
	const byId: (Entry | undefined)[] = [];
	let free: number[] = [];
	let retired: Entry[] = [];
	let sweepAt = FIRST_SWEEP;

	const sweep = (): void => {
		const kept: Entry[] = [];
		for (const entry of retired) {
			entry.marks &= ~RETIRED;
			if (!isEmpty(entry) || entry.marks !== 0) continue;
			if (isHeld(entry)) {
				entry.marks |= RETIRED;
				kept.push(entry);
				continue;
			}
			byPrefix.delete(entry.prefix);
			byId[entry.id] = undefined;
			free.push(entry.id);
		}
		retired = kept;
		sweepAt = 2 * retired.length + FIRST_SWEEP;
		if (byPrefix.size() > 0) return;
		byId.length = 0;
		free = [];
	};

	return {
		of: (prefix) => {
			const known = byPrefix.get(prefix);
			if (known !== undefined) return known;
			const entry: Entry = {
				id: free.pop() ?? byId.length,
				prefix,
				family: familyOf(prefix),
				paths: noPaths,
				decision: undefined,
				delivered: undefined,
				marks: 0,
			};
			byPrefix.set(prefix, entry);
			byId[entry.id] = entry;
			return entry;
		},
		find: (prefix) => byPrefix.get(prefix),
		byId: (id) => byId[id],
		size: () => byPrefix.size() - retired.length,
		all: function* () {
			for (const entry of byPrefix.values()) if (!isEmpty(entry)) yield entry;
		},
		retire: (entry) => {
			if ((entry.marks & RETIRED) !== 0) return;
			entry.marks |= RETIRED;
			retired.push(entry);
		},
		tidy: () => {
			if (retired.length >= sweepAt) sweep();
		},
	};
};
