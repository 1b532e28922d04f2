import type { Logger } from '../src/logging.ts';
import type { Timers } from './timers.ts';

/** Warnings about one peer, ten a minute at most: what it sends must not fill the log. */

const PERIOD_MS = 60_000;
const LIMIT = 10;

export const createComplaints = (name: string, log: Logger, timers: Pick<Timers, 'now'>): ((words: string) => void) => {
	let count = 0;
	let since = Number.NEGATIVE_INFINITY;
	return (words) => {
		const now = timers.now();
		if (now - since > PERIOD_MS) {
			const left = count - LIMIT;
			if (left > 0) log.warn({ count: left }, `${left} more complaints about ${name} not logged`);
			count = 0;
			since = now;
		}
		if (++count <= LIMIT) log.warn({}, words);
	};
};
