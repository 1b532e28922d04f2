import type { PathAttributes } from 'bgp-js-lite';
import { createImports, type JudgeImport } from './imports.ts';
import type { Path, RibFamily } from './types.ts';

/**
 * What one peer told, as it told it (RFC 4271 §3.2), between the session and the Loc-RIB, which hears of what the import
 * filters leave of it. Keys are prefixes, followed by a blank and the path identifier where the session has them.
 */

export type AdjRibIn = {
	readonly received: Readonly<Record<RibFamily, ReadonlyMap<string, Path>>>;
	/** `told`: what is received under the key so far. */
	readonly put: (family: RibFamily, key: string, path: Path | undefined, told: Path | undefined) => void;
	/** Takes away what `goes` says. */
	readonly clear: (family: RibFamily, goes: (path: Path) => boolean) => void;
	/** Replaces each path by what `change` makes of it; undefined: it stays as it is. */
	readonly change: (family: RibFamily, change: (path: Path) => Path | undefined) => void;
	/** Filters, or what they ask, changed. */
	readonly judgeAgain: () => void;
	/** How many paths go by each next hop. */
	readonly nextHops: ReadonlyMap<string, number>;
	/** What goes by the next hop in the decision. */
	readonly by: (nextHop: string) => Iterable<Path>;
	/** Attributes as told where filters made others of them. */
	readonly told: () => Iterable<PathAttributes>;
	/** Prefixes of paths that nothing was taken of. */
	readonly rejected: () => Iterable<string>;
};

export type AdjRibInPorts = {
	readonly judge: () => JudgeImport;
	readonly intern: (attributes: PathAttributes) => PathAttributes;
	/** In the decision `now` takes the place of `before`; they differ. */
	readonly replacePath: (prefix: string, before: Path | undefined, now: Path | undefined) => void;
	/** A next hop came, or the last path by it went. */
	readonly nextHopsChanged: () => void;
};

const families = [4, 6] as const;

export const createAdjRibIn = ({ judge, intern, replacePath, nextHopsChanged }: AdjRibInPorts): AdjRibIn => {
	const received = { 4: new Map<string, Path>(), 6: new Map<string, Path>() };
	const imports = createImports(received, judge, intern);
	const nextHops = new Map<string, number>();

	const countNextHop = (nextHop: string | undefined, by: 1 | -1): void => {
		if (nextHop === undefined) return;
		const count = (nextHops.get(nextHop) ?? 0) + by;
		if (count === 0) nextHops.delete(nextHop);
		else nextHops.set(nextHop, count);
		if (count === 0 || (count === 1 && by === 1)) nextHopsChanged();
	};

	const put: AdjRibIn['put'] = (family, key, path, told) => {
		if (told === undefined && path === undefined) return;
		const { before, now } = imports.put(family, key, path, told);
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
		if (before !== now) replacePath((path ?? told)?.prefix ?? key, before, now);
	};

	return {
		received,
		nextHops,
		put,
		clear: (family, goes) => {
			for (const [key, path] of received[family]) if (goes(path)) put(family, key, undefined, path);
		},
		change: (family, change) => {
			for (const [key, path] of received[family]) {
				const changed = change(path);
				if (changed !== undefined) put(family, key, changed, path);
			}
		},
		judgeAgain: () => {
			for (const family of families) for (const [key, path] of received[family]) put(family, key, path, path);
		},
		by: function* (nextHop) {
			for (const family of families) {
				for (const [key, told] of received[family]) {
					const path = imports.of(family, key, told);
					if (path?.attributes.nextHop === nextHop) yield path;
				}
			}
		},
		told: imports.told,
		rejected: imports.rejected,
	};
};
