/** Time as a port: milliseconds of a clock that never goes back, and timers on it. */

export type Timer = {
	/** Starts over. */
	readonly refresh: () => void;
	readonly cancel: () => void;
};

export type Timers = {
	readonly now: () => number;
	readonly start: (milliseconds: number, expired: () => void) => Timer;
	/** Runs after what is ready to be read has been read. */
	readonly soon: (task: () => void) => void;
	/** 0 ≤ n < 1. */
	readonly random: () => number;
};

export const systemTimers: Timers = {
	now: () => performance.now(),
	start: (milliseconds, expired) => {
		const timeout = setTimeout(expired, milliseconds);
		return { refresh: () => timeout.refresh(), cancel: () => clearTimeout(timeout) };
	},
	soon: (task) => {
		setImmediate(task);
	},
	random: Math.random,
};
