/**
 * How long to wait before the next try. Pure. Waits double from 0.2 s to the limit, each drawn from the upper half of
 * its range, so that a thousand nodes do not come back in one instant.
 */

/** Milliseconds. */
export const waits = {
	first: 200,
	/** Nobody answers, or only with errors. */
	failing: 30_000,
	/** Watches open, but end early: changes are read at each, so these tries are worth more. */
	shortLived: 5_000,
} as const;

/** `tries`: how many in a row failed before; `random` in [0, 1). */
export const backoff = (tries: number, limit: number, random: number): number => {
	const range = Math.min(limit, waits.first * 2 ** Math.min(tries, 20));
	return range / 2 + (range / 2) * random;
};

/** After how many tries the wait is the limit. */
export const triesTo = (limit: number): number => Math.ceil(Math.log2(limit / waits.first));
