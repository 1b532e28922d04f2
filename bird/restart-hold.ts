import type { Decision } from './rib/types.ts';
import type { Timer, Timers } from './timers.ts';

/**
 * After a restart what the kernel has of the earlier run stays as it is until all peers have told their routes again: until then
 * a decision sees a part of the paths only, and would take next hops away, or a worse path, for a moment (RFC 4724 §4.1 defers
 * the selection of routes). Not for as long as a peer may take to come back: others' changes are not to wait for one that is gone.
 */

const HOLD_MS = 30_000;

type Decisions = ReadonlyMap<string, Decision | undefined>;

export type RestartHold = {
	/** Those that may go to the kernel now; the last of each other is kept. */
	readonly sift: (decisions: Decisions) => Decisions;
	/** Ends it; what was kept. */
	readonly release: () => Decisions;
};

const none: Decisions = new Map();

export const createRestartHold = (
	timers: Timers,
	/** The kernel has a route of ours for the prefix. */
	inKernel: (prefix: string) => boolean,
	/** Time is over: `release` is due. */
	expired: () => void,
): RestartHold => {
	let kept: Map<string, Decision | undefined> | undefined = new Map();
	const timer: Timer = timers.start(HOLD_MS, expired);
	return {
		sift: (decisions) => {
			if (kept === undefined || decisions.size === 0) return decisions;
			const free = new Map<string, Decision | undefined>();
			for (const [prefix, decision] of decisions) {
				if (inKernel(prefix)) kept.set(prefix, decision);
				else free.set(prefix, decision);
			}
			return free;
		},
		release: () => {
			timer.cancel();
			const all = kept ?? none;
			kept = undefined;
			return all;
		},
	};
};
