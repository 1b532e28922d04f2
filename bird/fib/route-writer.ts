import type { KernelError, Reconciler, Route, RouteBody } from '../../src/kernel/kernel.ts';
import type { Logger } from '../../src/logging.ts';
import { sameRoute } from './kernel-view.ts';
import type { FibFailure, Timers } from './types.ts';

/**
 * Brings the wanted routes into the kernel: one write at a time, the next one takes all that gathered meanwhile. What the
 * kernel refuses is told once and tried again with a growing pause; an error never deletes anything. What somebody else
 * changed is logged by the reconciler when it puts it back.
 */

export type RouteWriter = {
	/** Something is to be written; `since`: the time of the change that it comes from. */
	readonly kick: (since?: number) => void;
	/** Something may have gone wrong without a word: read again soon, then write the difference. */
	readonly resyncSoon: () => void;
	/** The kernel told of a change that may concern routes of ours; looked at when things have settled. */
	readonly lookSoon: () => void;
	/** Writing may begin. */
	readonly start: () => void;
	readonly flush: () => Promise<void>;
	/** Prefixes where the kernel differs from what is wanted, as far as known. */
	readonly differing: (deletesToo: boolean) => readonly string[];
	readonly failed: () => readonly FibFailure[];
	readonly close: () => void;
};

export type RouteWriterOptions = {
	readonly routes: Reconciler<Route, RouteBody>;
	readonly log: Logger;
	readonly timers: Timers;
	/** Reads everything again. */
	readonly resync: () => Promise<void>;
	/** Routes were written; the earliest `since` among what was kicked for. */
	readonly written?: (since: number) => void;
};

const FIRST_RETRY = 1_000;
const LAST_RETRY = 60_000;
/** Notifications come in bursts; a look at each would be a look at a half-done change. */
const SETTLE = 100;
const SHOWN = 10;

export const createRouteWriter = ({ routes, log, timers, resync, written }: RouteWriterOptions): RouteWriter => {
	let started = false;
	let closed = false;
	let running = false;
	let dirty = false;
	let oldest: number | undefined;
	let resyncWanted = false;
	let retryIn = FIRST_RETRY;
	let retryTimer: unknown;
	let settleTimer: unknown;
	let failures: ReadonlyMap<string, KernelError> = new Map();
	const waiting: (() => void)[] = [];

	const differs = (prefix: string): boolean => {
		const wanted = routes.wanted().get(prefix);
		const actual = routes.actual().get(prefix);
		return wanted !== undefined && (actual === undefined || !sameRoute(actual, wanted));
	};

	const retryLater = (again: () => void): void => {
		if (closed || retryTimer !== undefined) return;
		retryTimer = timers.set(() => {
			retryTimer = undefined;
			again();
		}, retryIn);
		retryIn = Math.min(2 * retryIn, LAST_RETRY);
	};

	const noteFailures = (failed: ReadonlyMap<string, KernelError>): void => {
		const news = [...failed].filter(([prefix, error]) => failures.get(prefix)?.code !== error.code);
		const over = [...failures.keys()].filter((prefix) => !failed.has(prefix));
		failures = failed;
		if (news.length > 0) {
			retryIn = FIRST_RETRY;
			const refused = news.slice(0, SHOWN).map(([prefix, { code, message }]) => ({ prefix, code, reason: message }));
			log.warn({ refused, count: news.length }, 'the kernel refuses learnt routes; they are tried again');
		}
		if (over.length > 0) {
			log.info({ prefixes: over.slice(0, SHOWN), count: over.length }, 'routes refused before are settled');
		}
		if (failed.size > 0) retryLater(() => kick());
		else retryIn = FIRST_RETRY;
	};

	const step = async (): Promise<void> => {
		try {
			if (resyncWanted) {
				resyncWanted = false;
				await resync();
				dirty = true;
			}
			if (dirty) {
				dirty = false;
				const since = oldest;
				oldest = undefined;
				const { written: added, deleted, failed } = await routes.apply();
				if (since !== undefined && added.length + deleted.length > 0) written?.(since);
				noteFailures(failed);
			}
		} catch (error) {
			if (closed) return;
			log.error({ error: String(error) }, 'routes could not be read or written; what is there stays, trying again');
			resyncWanted = false;
			dirty = false;
			retryLater(resyncSoon);
		}
	};

	const run = async (): Promise<void> => {
		running = true;
		// What is wanted usually changes several times in one turn of the event loop.
		await new Promise<void>((resolve) => setImmediate(resolve));
		while ((dirty || resyncWanted) && !closed) await step();
		running = false;
		for (const resolve of waiting.splice(0)) resolve();
	};

	const wake = (): void => {
		if (started && !closed && !running) void run();
	};
	const kick = (since?: number): void => {
		if (since !== undefined) oldest = Math.min(oldest ?? since, since);
		dirty = true;
		wake();
	};

	const resyncSoon = (): void => {
		resyncWanted = true;
		wake();
	};

	const lookSoon = (): void => {
		if (closed || settleTimer !== undefined) return;
		settleTimer = timers.set(() => {
			settleTimer = undefined;
			if (running) lookSoon();
			else if (routes.pending() > failures.size) kick();
		}, SETTLE);
	};

	return {
		kick,
		resyncSoon,
		lookSoon,
		start: () => {
			started = true;
			kick();
		},
		flush: () =>
			closed || (started && !running && !dirty && !resyncWanted)
				? Promise.resolve()
				: new Promise((resolve) => waiting.push(resolve)),
		differing: (deletesToo) => {
			if (routes.pending() === 0) return [];
			const prefixes = [...routes.wanted().keys()].filter(differs);
			if (!deletesToo) return prefixes;
			return [...prefixes, ...[...routes.actual().keys()].filter((prefix) => !routes.wanted().has(prefix))];
		},
		failed: () => [...failures].map(([prefix, { code, message }]) => ({ prefix, code, reason: message })),
		close: () => {
			closed = true;
			timers.clear(retryTimer);
			timers.clear(settleTimer);
			for (const resolve of waiting.splice(0)) resolve();
		},
	};
};
