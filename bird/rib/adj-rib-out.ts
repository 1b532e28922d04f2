import type { PathAttributes } from 'bgp-js-lite';
import type { Entries, Entry } from './entries.ts';
import type { Exporter } from './export.ts';
import { createOutgoingGroups } from './outgoing-groups.ts';
import type { Outgoing, RibFamily } from './types.ts';

/**
 * What one peer was sent, and the prefixes that may have to be sent. Only the last state of a prefix counts: it is
 * looked up when it is taken, and compared with what the peer has.
 */
export type AdjRibOut = {
	/** By prefix, followed by a blank and the path identifier where the peer gets several paths. */
	readonly sent: () => Iterable<readonly [string, PathAttributes]>;
	readonly size: () => number;
	readonly sending: () => boolean;
	readonly start: (entries: Iterable<Entry>) => void;
	readonly stop: () => void;
	/** The best path of the prefix changed. */
	readonly changed: (entry: Entry) => void;
	/** Any of its paths did; for peers that get more than the best. */
	readonly pathsChanged?: (entry: Entry) => void;
	/** All prefixes are to be looked at again, since the rules towards the peer changed. */
	readonly review: (exporter: Exporter, entries: Iterable<Entry>) => void;
	readonly resend: (family: RibFamily) => void;
	readonly take: (limit: number) => readonly Outgoing[];
	readonly pending: () => boolean;
	/** Something is kept under its number. */
	readonly holds: (entry: Entry) => boolean;
};

const nothing: readonly Outgoing[] = [];

const WAITING = 1;
/** To be sent even when the peer has just that. */
const AGAIN = 2;

export const createAdjRibOut = (
	first: Exporter,
	table: Pick<Entries, 'byId'>,
	/** Something became pending where nothing was. */
	wake: () => void = () => {},
): AdjRibOut => {
	let exporter = first;
	let sending = false;
	/** By number of the prefix, as all here. */
	let sent: (PathAttributes | undefined)[] = [];
	let size = 0;
	let marks = new Uint8Array(0);
	let waiting: Entry[] = [];
	/** How many of those are done with. */
	let head = 0;

	const marksOf = ({ id }: Entry): number => marks[id] ?? 0;
	const mark = ({ id }: Entry, value: number): void => {
		if (id >= marks.length) {
			const grown = new Uint8Array(2 * id + 64);
			grown.set(marks);
			marks = grown;
		}
		marks[id] = value;
	};
	const wait = (entry: Entry): void => {
		const known = marksOf(entry);
		if ((known & WAITING) !== 0) return;
		mark(entry, known | WAITING);
		if (head === waiting.length) wake();
		waiting.push(entry);
	};
	/** The first one waiting. */
	const peek = (): Entry | undefined => {
		if (head < waiting.length) return waiting[head];
		if (head > 0) waiting = [];
		head = 0;
		return undefined;
	};

	const empty = (): void => {
		sent = [];
		size = 0;
		marks = new Uint8Array(0);
		waiting = [];
		head = 0;
	};

	const wanted = (entry: Entry): PathAttributes | undefined => {
		const best = entry.decision?.best;
		return best && exporter.attributes(best, entry);
	};
	function* sentEntries(): Iterable<readonly [Entry, PathAttributes]> {
		for (let id = 0; id < sent.length; id++) {
			const attributes = sent[id];
			const entry = attributes && table.byId(id);
			if (attributes !== undefined && entry !== undefined) yield [entry, attributes];
		}
	}

	return {
		sent: function* () {
			for (const [{ prefix }, attributes] of sentEntries()) yield [prefix, attributes];
		},
		size: () => size,
		sending: () => sending,
		start: (entries) => {
			sending = true;
			empty();
			for (const entry of entries) wait(entry);
		},
		stop: () => {
			sending = false;
			empty();
		},
		changed: (entry) => {
			if (!sending) return;
			const best = entry.decision?.best;
			if (sent[entry.id] !== undefined || (best !== undefined && exporter.allows(best, entry))) wait(entry);
		},
		review: (next, entries) => {
			exporter = next;
			if (!sending) return;
			for (const entry of entries) wait(entry);
			for (const [entry] of sentEntries()) wait(entry);
		},
		resend: (family) => {
			for (const [entry] of sentEntries()) {
				if (entry.family !== family) continue;
				wait(entry);
				mark(entry, WAITING | AGAIN);
			}
		},
		take: (limit) => {
			if (peek() === undefined) return nothing;
			const groups = createOutgoingGroups();
			let taken = 0;
			for (let entry = peek(); entry !== undefined && taken < limit; entry = peek()) {
				head++;
				const forced = (marksOf(entry) & AGAIN) !== 0;
				mark(entry, 0);
				const attributes = wanted(entry);
				const had = sent[entry.id];
				if (attributes === had && (attributes === undefined || !forced)) continue;
				if (attributes !== had) {
					sent[entry.id] = attributes;
					size += Number(attributes !== undefined) - Number(had !== undefined);
				}
				groups.add(entry.family, attributes, entry.prefix);
				taken++;
			}
			return groups.list();
		},
		pending: () => {
			for (let entry = peek(); entry !== undefined; entry = peek()) {
				if ((marksOf(entry) & AGAIN) !== 0 || wanted(entry) !== sent[entry.id]) return true;
				mark(entry, 0);
				head++;
			}
			return false;
		},
		holds: (entry) => sent[entry.id] !== undefined || marksOf(entry) !== 0,
	};
};
