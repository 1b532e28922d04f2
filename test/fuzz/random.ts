/** Numbers that a seed decides, the same on every machine (mulberry32). */

export type Random = {
	/** 0 ≤ n < `below`, an integer. */
	readonly int: (below: number) => number;
	/** True once in `in` times. */
	readonly once: (times: number) => boolean;
	readonly pick: <T>(list: readonly T[]) => T;
};

export const createRandom = (seed: number): Random => {
	let state = seed >>> 0;
	const next = (): number => {
		state = (state + 0x6d2b79f5) >>> 0;
		let t = state;
		t = Math.imul(t ^ (t >>> 15), t | 1);
		t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
		return (t ^ (t >>> 14)) >>> 0;
	};
	const int = (below: number): number => next() % below;
	return {
		int,
		once: (times) => int(times) === 0,
		pick: (list) => list[int(list.length)] as (typeof list)[number],
	};
};

/** Seed of one case of a run, so that the case can be played alone. */
export const caseSeed = (seed: number, index: number): number =>
	(Math.imul(seed ^ 0x9e3779b9, 0x85ebca6b) ^ Math.imul(index + 1, 0xc2b2ae35)) >>> 0;
