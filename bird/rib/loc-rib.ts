import type { PathAttributes } from 'bgp-js-lite';
import type { AdjRibOut } from './adj-rib-out.ts';
import type { Audiences } from './audiences.ts';
import type { DecisionProcess } from './decision.ts';
import { createEntries, type Entries, type Entry, isEmpty, noPaths } from './entries.ts';
import { listedMap } from './listed-map.ts';
import type { Decision, Path } from './types.ts';

/**
 * The Loc-RIB (RFC 4271 §3.2): one entry a prefix, with every path that takes part in its decision. Changes mark
 * entries; `decide` works the marked ones off, `take` gives out what became of them since the last take. A decision
 * counts as changed when its peers or attributes changed, not when a path only became stale.
 */

export type LocRib = {
	readonly entries: Entries;
	/** One path gives way to another, comes or goes. */
	readonly replacePath: (entry: Entry, old: Path | undefined, path: Path | undefined) => void;
	/** To be decided again, since what is known of its next hops changed. */
	readonly touch: (entry: Entry) => void;
	readonly decide: () => void;
	/** At most `limit` are decided for it; without one, all. */
	readonly take: (limit?: number) => ReadonlyMap<string, Decision | undefined>;
	/** A take with a limit has left some. */
	readonly inPortions: () => boolean;
	/** Attributes in use. */
	readonly attributes: () => Iterable<PathAttributes>;
};

export type LocRibOptions = {
	readonly decide: DecisionProcess['decide'];
	/** Those that are told of changes. */
	readonly audiences: Pick<Audiences, 'of' | 'ofAllPaths' | 'empty'>;
	/** Somebody has something under its number. */
	readonly isHeld: (entry: Entry) => boolean;
	/** Called now and then while many prefixes are decided. */
	readonly pulse?: () => void;
};

/** Decisions between two pulses: some ten milliseconds of work. */
const PULSE = 4096;

const UNDECIDED = 1;
const CHANGED = 2;

const samePath = (a: Path | undefined, b: Path | undefined): boolean =>
	a === b ||
	(a !== undefined &&
		b !== undefined &&
		a.attributes === b.attributes &&
		a.source.peer === b.source.peer &&
		a.source.kind === b.source.kind &&
		a.source.client === b.source.client);

const sameDecision = (a: Decision | undefined, b: Decision | undefined): boolean =>
	a === b ||
	(a !== undefined &&
		b !== undefined &&
		a.multipath.length === b.multipath.length &&
		samePath(a.best, b.best) &&
		a.multipath.every((path, i) => samePath(path, b.multipath[i])));

/** Without room to grow, as an array that is spread would have. */
const changedPaths = (paths: readonly Path[], old: Path | undefined, path: Path | undefined): readonly Path[] => {
	if (old === undefined) return path === undefined ? paths : paths.concat(path);
	return path === undefined
		? paths.filter((other) => other !== old)
		: paths.map((other) => (other === old ? path : other));
};

export const createLocRib = ({ decide: decidePrefix, audiences, isHeld, pulse }: LocRibOptions): LocRib => {
	const entries = createEntries(isHeld);
	/** Their paths, or what is known of next hops, changed since they were decided. */
	let undecided: Entry[] = [];
	/** How many of those are decided. */
	let head = 0;
	/** Their decision may differ from the one delivered. */
	let changed: Entry[] = [];
	/** The list of one path that the last prefix got. */
	let alone: readonly Path[] = noPaths;

	const mark = (entry: Entry): void => {
		if ((entry.marks & UNDECIDED) !== 0) return;
		entry.marks |= UNDECIDED;
		undecided.push(entry);
	};

	const listOf = (path: Path): readonly Path[] => {
		if (alone[0] !== path) alone = [path];
		return alone;
	};

	const decide = (limit = Number.POSITIVE_INFINITY): void => {
		if (undecided.length === 0) return;
		const end = Math.min(undecided.length, head + limit);
		// Prefixes come in runs that share their paths, and so their decision, and who hears of it.
		let paths: readonly Path[] | undefined;
		let decision: Decision | undefined;
		let old: Decision | undefined;
		let hearers: readonly AdjRibOut[] | undefined;
		let done = 0;
		while (head < end) {
			const entry = undecided[head++] as Entry;
			if (++done % PULSE === 0) pulse?.();
			entry.marks &= ~UNDECIDED;
			const before = entry.decision;
			if (entry.paths !== paths || before !== old) hearers = undefined;
			if (entry.paths !== paths) {
				paths = entry.paths;
				decision = decidePrefix(paths);
			}
			old = before;
			entry.decision = decision;
			for (const out of audiences.ofAllPaths()) out.pathsChanged?.(entry);
			if (sameDecision(before, decision)) {
				if (isEmpty(entry)) entries.retire(entry);
				continue;
			}
			if ((entry.marks & CHANGED) === 0) {
				entry.marks |= CHANGED;
				changed.push(entry);
			}
			if (audiences.empty() || samePath(before?.best, decision?.best)) continue;
			hearers ??= [...audiences.of(before?.best, decision?.best)];
			for (const out of hearers) out.changed(entry);
		}
		if (head < undecided.length) return;
		undecided = [];
		head = 0;
	};

	return {
		entries,
		replacePath: (entry, old, path) => {
			const { paths } = entry;
			const lone = paths.length === 0 || (paths.length === 1 && paths[0] === old);
			if (lone) entry.paths = path === undefined ? noPaths : listOf(path);
			else entry.paths = changedPaths(paths, old, path);
			mark(entry);
		},
		touch: mark,
		decide: () => decide(),
		inPortions: () => head > 0,
		take: (limit) => {
			decide(limit);
			const prefixes: string[] = [];
			const decisions: (Decision | undefined)[] = [];
			for (const entry of changed) {
				entry.marks &= ~CHANGED;
				if (!sameDecision(entry.delivered, entry.decision)) {
					prefixes.push(entry.prefix);
					decisions.push(entry.decision);
				}
				entry.delivered = entry.decision;
				if (isEmpty(entry)) entries.retire(entry);
			}
			changed = [];
			entries.tidy();
			return listedMap(prefixes, decisions);
		},
		attributes: function* () {
			for (const { paths, decision, delivered } of entries.all()) {
				for (const path of paths) yield path.attributes;
				if (decision?.multipath !== paths) for (const path of decision?.multipath ?? noPaths) yield path.attributes;
				if (delivered === decision) continue;
				for (const path of delivered?.multipath ?? noPaths) yield path.attributes;
			}
		},
	};
};
