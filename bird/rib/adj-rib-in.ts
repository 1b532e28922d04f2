import type { PathAttributes } from 'bgp-js-lite';
import type { Entries, Entry } from './entries.ts';
import { createImports, type JudgeImport } from './imports.ts';
import { createPathStore, type PathStore } from './path-store.ts';
import type { Path, RibFamily } from './types.ts';

/**
 * What one peer told, as it told it (RFC 4271 §3.2), between the session and the Loc-RIB, which hears of what the import
 * filters leave of it. One object stands for all paths with the same attributes.
 */

export type AdjRibIn = {
	readonly received: Pick<PathStore<Path>, 'get' | 'of' | 'size' | 'entries'>;
	/** `told`: what is received so far. */
	readonly put: (entry: Entry, pathId: number | undefined, path: Path | undefined, told: Path | undefined) => void;
	/** Takes away what `goes` says. */
	readonly clear: (family: RibFamily, goes: (path: Path) => boolean) => void;
	/** Replaces each path by what `change` makes of it; undefined: it stays as it is. */
	readonly change: (family: RibFamily, change: (path: Path) => Path | undefined) => void;
	/** Filters, or what they ask, changed. */
	readonly judgeAgain: () => void;
	/** How many paths go by each next hop. */
	readonly nextHops: ReadonlyMap<string, number>;
	/** What goes by the next hop in the decision. */
	readonly by: (nextHop: string) => Iterable<Entry>;
	/** Something is kept under its number. */
	readonly holds: (entry: Entry) => boolean;
	/** Attributes as told where filters made others of them. */
	readonly told: () => Iterable<PathAttributes>;
	/** Prefixes of paths that nothing was taken of. */
	readonly rejected: () => Iterable<string>;
};

export type AdjRibInPorts = {
	readonly judge: () => JudgeImport;
	readonly intern: (attributes: PathAttributes) => PathAttributes;
	readonly table: Pick<Entries, 'byId' | 'retire'>;
	/** In the decision `now` takes the place of `before`; they differ. */
	readonly replacePath: (entry: Entry, before: Path | undefined, now: Path | undefined) => void;
	/** A next hop came, or the last path by it went. */
	readonly nextHopsChanged: () => void;
};

export const createAdjRibIn = ({ judge, intern, table, replacePath, nextHopsChanged }: AdjRibInPorts): AdjRibIn => {
	const received = createPathStore<Path>(table);
	const imports = createImports(received, table, judge, intern);
	const nextHops = new Map<string, number>();

	const countNextHop = (nextHop: string | undefined, by: 1 | -1): void => {
		if (nextHop === undefined) return;
		const count = (nextHops.get(nextHop) ?? 0) + by;
		if (count === 0) nextHops.delete(nextHop);
		else nextHops.set(nextHop, count);
		if (count === 0 || (count === 1 && by === 1)) nextHopsChanged();
	};

	const put: AdjRibIn['put'] = (entry, pathId, path, told) => {
		if (told === undefined && path === undefined) return;
		const { before, now } = imports.put(entry, pathId, path, told);
		// Those of paths as told too: by which interface they are reached may be what a filter asks.
		const from = told?.attributes.nextHop;
		const to = path?.attributes.nextHop;
		const fromFiltered = before === told ? undefined : before?.attributes.nextHop;
		const toFiltered = now === path ? undefined : now?.attributes.nextHop;
		if (from !== to || fromFiltered !== toFiltered) {
			countNextHop(to, 1);
			countNextHop(toFiltered, 1);
			countNextHop(from, -1);
			countNextHop(fromFiltered, -1);
		}
		if (before !== now) replacePath(entry, before, now);
		else if (path === undefined) table.retire(entry);
	};

	return {
		received,
		nextHops,
		put,
		clear: (family, goes) => {
			for (const [entry, pathId, path] of received.entries()) {
				if (entry.family === family && goes(path)) put(entry, pathId, undefined, path);
			}
		},
		change: (family, change) => {
			const changed = new Map<Path, Path | undefined>();
			for (const [entry, pathId, path] of received.entries()) {
				if (entry.family !== family) continue;
				if (!changed.has(path)) changed.set(path, change(path));
				const now = changed.get(path);
				if (now !== undefined) put(entry, pathId, now, path);
			}
		},
		judgeAgain: () => {
			for (const [entry, pathId, path] of received.entries()) put(entry, pathId, path, path);
		},
		by: function* (nextHop) {
			for (const [entry, , told] of received.entries()) {
				if (imports.of(entry, told)?.attributes.nextHop === nextHop) yield entry;
			}
		},
		holds: received.has,
		told: imports.told,
		rejected: imports.rejected,
	};
};
