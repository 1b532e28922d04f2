import type { Logger } from '../src/logging.ts';
import type { Rib } from './rib/types.ts';
import { notPreserved, type Retained, STALE_ROUTES_TIME } from './session/graceful-restart.ts';
import { ribFamilyOf } from './session/import.ts';
import type { Negotiated } from './session/open.ts';
import type { Timer, Timers } from './timers.ts';

/**
 * A peer's routes while it restarts (RFC 4724 §4.2, helper): kept in the RIB, marked stale, until it is back and has told
 * its routes again, or a timer says that it took too long.
 */

export type StaleRoutes = {
	/** The session ended: what of its routes stays; with no family, none does. */
	readonly keep: (what: Retained, doubtful?: boolean) => void;
	/** It is back: what it did not preserve goes, the rest waits for its End-of-RIBs. */
	readonly back: (negotiated: Negotiated) => void;
	/** Key `afi/safi`. */
	readonly endOfRib: (family: string) => void;
	/** The peer is gone from the RIB. */
	readonly drop: () => void;
	/** Routes are kept for a peer that is away. */
	readonly helping: () => boolean;
};

export type StaleRoutesPorts = {
	readonly peer: string;
	readonly rib: Rib;
	readonly timers: Timers;
	readonly log: Logger;
	readonly changed: () => void;
};

export const createStaleRoutes = ({ peer, rib, timers, log, changed }: StaleRoutesPorts): StaleRoutes => {
	/** Families whose stale routes the RIB still holds. */
	let held = new Set<string>();
	let away = false;
	let timer: Timer | undefined;

	const rest = (): void => {
		held = new Set();
		away = false;
		timer?.cancel();
		timer = undefined;
	};

	const sweep = (families: readonly string[]): void => {
		for (const key of families) {
			const family = ribFamilyOf(key);
			if (held.delete(key) && family !== undefined) rib.sweepStale(peer, family);
		}
		if (held.size === 0) rest();
	};

	const startTimer = (seconds: number, reason: string): void => {
		timer?.cancel();
		timer = timers.start(seconds * 1000, () => {
			log.warn({ families: [...held] }, `stale routes of ${peer} removed: ${reason}`);
			if (away) rib.removePeer(peer);
			sweep([...held]);
			changed();
		});
	};

	return {
		keep: ({ families, seconds }, doubtful) => {
			if (families.size === 0) {
				rest();
				rib.removePeer(peer);
				return;
			}
			rib.markStale(
				peer,
				[...families].map(ribFamilyOf).filter((family) => family !== undefined),
				doubtful,
			);
			held = new Set(families);
			away = true;
			startTimer(seconds, `it was not back within ${seconds} s`);
		},
		back: (negotiated) => {
			const lost = notPreserved(held, negotiated);
			if (lost.length > 0) {
				log.warn({ families: lost }, `stale routes of ${peer} removed: it came back without its forwarding state`);
			}
			sweep(lost);
			away = false;
			if (held.size > 0) startTimer(STALE_ROUTES_TIME, `no End-of-RIB within ${STALE_ROUTES_TIME} s`);
		},
		endOfRib: (family) => sweep([family]),
		drop: () => {
			rest();
			rib.removePeer(peer);
		},
		helping: () => away,
	};
};
