import type { PathAttributes } from 'bgp-js-lite';
import { familyOf } from '../../src/net/ip.ts';
import type { Audiences } from './audiences.ts';
import type { DecisionProcess } from './decision.ts';
import { listedMap } from './listed-map.ts';
import type { Decision, Path } from './types.ts';

/**
 * The Loc-RIB (RFC 4271 §3.2): one entry a prefix, with every path that takes part in its decision. Changes mark
 * entries; `decide` works the marked ones off, `take` gives out what became of them since the last take. A decision
 * counts as changed when its peers or attributes changed, not when a path only became stale.
 */

export type Entry = {
	readonly prefix: string;
	/** Copied when it changes: a decision may hold it. */
	paths: readonly Path[];
	decision: Decision | undefined;
	/** What the last take gave out. */
	delivered: Decision | undefined;
	/** Which of the two lists below it is in; sets of a hundred thousand entries would cost more than all else here. */
	marks: number;
};

export type LocRib = {
	readonly entries: ReadonlyMap<string, Entry>;
	readonly bestOf: (prefix: string) => Path | undefined;
	/** One path gives way to another, comes or goes. */
	readonly replacePath: (prefix: string, old: Path | undefined, path: Path | undefined) => void;
	/** To be decided again, since what is known of its next hops changed. */
	readonly touch: (prefix: string) => void;
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
	/** Called now and then while many prefixes are decided. */
	readonly pulse?: () => void;
};

/** Decisions between two pulses: some ten milliseconds of work. */
const PULSE = 4096;

const UNDECIDED = 1;
const CHANGED = 2;

const noPaths: readonly Path[] = [];

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
	if (old === undefined) return path === undefined ? paths : paths.length === 0 ? [path] : paths.concat(path);
	if (paths.length === 1 && paths[0] === old) return path === undefined ? noPaths : [path];
	return path === undefined
		? paths.filter((other) => other !== old)
		: paths.map((other) => (other === old ? path : other));
};

export const createLocRib = ({ decide: decidePrefix, audiences, pulse }: LocRibOptions): LocRib => {
	const entries = new Map<string, Entry>();
	/** Their paths, or what is known of next hops, changed since they were decided. */
	let undecided: Entry[] = [];
	/** How many of those are decided. */
	let head = 0;
	/** Their decision may differ from the one delivered. */
	let changed: Entry[] = [];

	const mark = (entry: Entry): void => {
		if ((entry.marks & UNDECIDED) !== 0) return;
		entry.marks |= UNDECIDED;
		undecided.push(entry);
	};

	/** A prefix that came and went leaves nothing behind. */
	const forget = (entry: Entry): void => {
		if (entry.paths.length > 0 || entry.decision !== undefined || entry.delivered !== undefined) return;
		if (entries.get(entry.prefix) === entry) entries.delete(entry.prefix);
	};

	const decide = (limit = Number.POSITIVE_INFINITY): void => {
		if (undecided.length === 0) return;
		const end = Math.min(undecided.length, head + limit);
		let done = 0;
		while (head < end) {
			const entry = undecided[head++] as Entry;
			if (++done % PULSE === 0) pulse?.();
			entry.marks &= ~UNDECIDED;
			const before = entry.decision;
			const decision = decidePrefix(entry.prefix, entry.paths);
			entry.decision = decision;
			for (const out of audiences.ofAllPaths()) out.pathsChanged?.(entry.prefix);
			if (sameDecision(before, decision)) {
				forget(entry);
				continue;
			}
			if ((entry.marks & CHANGED) === 0) {
				entry.marks |= CHANGED;
				changed.push(entry);
			}
			if (audiences.empty() || samePath(before?.best, decision?.best)) continue;
			const family = familyOf(entry.prefix);
			for (const out of audiences.of(before?.best, decision?.best)) out.changed(entry.prefix, family, decision?.best);
		}
		if (head < undecided.length) return;
		undecided = [];
		head = 0;
	};

	return {
		entries,
		bestOf: (prefix) => entries.get(prefix)?.decision?.best,
		replacePath: (prefix, old, path) => {
			let entry = entries.get(prefix);
			if (entry === undefined) {
				if (path === undefined) return;
				entry = { prefix, paths: noPaths, decision: undefined, delivered: undefined, marks: 0 };
				entries.set(prefix, entry);
			}
			entry.paths = changedPaths(entry.paths, old, path);
			mark(entry);
		},
		touch: (prefix) => {
			const entry = entries.get(prefix);
			if (entry !== undefined) mark(entry);
		},
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
				forget(entry);
			}
			changed = [];
			return listedMap(prefixes, decisions);
		},
		attributes: function* () {
			for (const { paths, decision, delivered } of entries.values()) {
				for (const path of paths) yield path.attributes;
				if (decision?.multipath !== paths) for (const path of decision?.multipath ?? noPaths) yield path.attributes;
				if (delivered === decision) continue;
				for (const path of delivered?.multipath ?? noPaths) yield path.attributes;
			}
		},
	};
};
