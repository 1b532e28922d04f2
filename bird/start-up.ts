import type { Logger } from '../src/logging.ts';
import type { SpeakerConfig } from './config.ts';
import type { Fib } from './fib/types.ts';
import type { PeerSession } from './peer-session-types.ts';
import { createRestartHold, type RestartHold } from './restart-hold.ts';
import type { Decision } from './rib/types.ts';
import { isComplete, isSelectable, type PeerProgress } from './session/convergence.ts';
import type { Timer, Timers } from './timers.ts';

/**
 * What a speaker that has just started waits for (RFC 4724 §4.1), and what waits with it. Our own prefixes do not: nothing about
 * them depends on others. Routes of others and the End-of-RIB to peers that get them wait until all peers have told us theirs;
 * what the kernel keeps from the last run stays until then, or until the longest restart time has passed, and is not changed
 * meanwhile (restart-hold.ts).
 */

export type StartUp = {
	/** Routes of others are not announced yet, and OPENs carry the R bit. */
	readonly deferring: () => boolean;
	/** Everybody's routes are known, or were waited for long enough. */
	readonly converged: () => boolean;
	/** Of these decisions those that the kernel may have now. */
	readonly sift: (decisions: Decisions) => Decisions;
	/** After the decisions went to the FIB: what is swept there is not wanted any more. */
	readonly judge: () => void;
	readonly stop: () => void;
};

type Decisions = ReadonlyMap<string, Decision | undefined>;

export type StartUpPorts = {
	readonly fib: Pick<Fib, 'converged'> & Partial<Pick<Fib, 'holds'>>;
	readonly timers: Timers;
	readonly log: Logger;
	/** The kernel has routes of an earlier run. */
	readonly restarting: boolean;
	readonly config: () => SpeakerConfig;
	readonly peers: () => Iterable<PeerSession>;
	/** Whether it is one to wait for: configured, there, and not kept down. */
	readonly awaits: (peer: PeerSession) => boolean;
	/** Hands decisions to the FIB; without any given, all that the RIB has not given yet. */
	readonly hand: (decisions?: Decisions) => void;
	/** Routes of others may be announced. */
	readonly selected: () => void;
	readonly changed: () => void;
};

export const createStartUp = (ports: StartUpPorts): StartUp => {
	const { fib, timers, log, restarting, config, awaits } = ports;
	const peers = (): PeerSession[] => [...ports.peers()].filter(awaits);
	/** Whether all are so far. Who was not is asked first the next time: with a thousand peers all would be, at each pass. */
	const everybody = (sofar: (progress: PeerProgress) => boolean): (() => boolean) => {
		let last: PeerSession | undefined;
		const lags = (peer: PeerSession): boolean => !sofar(peer.progress()) && awaits(peer);
		return () => {
			if (last !== undefined && lags(last)) return false;
			last = undefined;
			for (const peer of ports.peers()) {
				if (!lags(peer)) continue;
				last = peer;
				return false;
			}
			return true;
		};
	};
	const allSelectable = everybody(isSelectable);
	const allComplete = everybody(isComplete);
	let deferring = restarting;
	let converged = false;
	let hold: RestartHold | undefined;

	const endDeferring = (): void => {
		if (!deferring) return;
		deferring = false;
		ports.selected();
	};

	const endHold = (): void => {
		const kept = hold?.release();
		hold = undefined;
		if (kept !== undefined) ports.hand(kept);
	};
	if (restarting && fib.holds !== undefined) hold = createRestartHold(timers, fib.holds, endHold);

	const converge = (why: string): void => {
		if (converged) return;
		converged = true;
		deferral.cancel();
		endDeferring();
		ports.hand();
		endHold();
		fib.converged();
		log.info({ peers: peers().length }, `converged: ${why}`);
	};

	const ranges = (config().dynamicPeers ?? []).map((range) => range.peer);
	const seconds = Math.max(0, ...[...config().peers, ...ranges].map((peer) => peer.restartTime));
	const deferral: Timer = timers.start(seconds * 1000, () => {
		const missing = peers().filter((peer) => peer.progress().awaited?.size !== 0);
		const names = missing.map((peer) => peer.config.name).join(', ');
		converge(`after ${seconds} s${names === '' ? '' : ` without the routes of ${names}`}`);
		ports.changed();
	});

	return {
		deferring: () => deferring,
		converged: () => converged,
		sift: (decisions) => hold?.sift(decisions) ?? decisions,
		judge: () => {
			// Nobody knows which neighbours of a range are to come back.
			if (converged || (restarting && config().dynamicPeers?.length)) return;
			if (deferring && allSelectable()) endDeferring();
			if (allComplete()) {
				converge(peers().length === 0 ? 'there are no peers' : 'all peers have announced their routes');
			}
		},
		stop: () => {
			deferral.cancel();
			hold?.release();
			hold = undefined;
		},
	};
};
