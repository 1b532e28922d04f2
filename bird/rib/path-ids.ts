import type { Path } from './types.ts';

/**
 * The identifiers we give to paths (RFC 7911 §3), by where a path is from: its peer, and the identifier the peer gave it. So
 * they stay while the path changes. Those of paths that are gone are given again, looked for when the table has doubled: a
 * peer that numbers its paths ever on does not make it grow.
 */

const FIRST_SWEEP = 1024;

export const createPathIds = (live: () => Iterable<Path>, firstSweep = FIRST_SWEEP): ((path: Path) => number) => {
	const ids = new Map<string, number>();
	const free: number[] = [];
	let highest = 0;
	let sweepAt = firstSweep;
	const keyOf = ({ source, pathId }: Path): string => `${source.peer} ${pathId ?? ''}`;

	const sweep = (): void => {
		const kept = new Set<string>();
		for (const path of live()) kept.add(keyOf(path));
		for (const [key, id] of ids) {
			if (kept.has(key)) continue;
			ids.delete(key);
			free.push(id);
		}
		sweepAt = 2 * ids.size + firstSweep;
	};

	return (path) => {
		const key = keyOf(path);
		const known = ids.get(key);
		if (known !== undefined) return known;
		if (ids.size >= sweepAt) sweep();
		const id = free.pop() ?? ++highest;
		ids.set(key, id);
		return id;
	};
};
