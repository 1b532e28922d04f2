import type { Logger } from '../src/logging.ts';
import type { Rib, RibFamily } from './rib/types.ts';
import { notPreserved, type Retained, STALE_ROUTES_TIME } from './session/graceful-restart.ts';
import { ribFamilyOf } from './session/import.ts';
import type { Negotiated } from './session/open.ts';
import type { Timer, Timers } from './timers.ts';

/**
 * A peer's routes while it restarts (RFC 4724 §4.2, helper): kept in the RIB, marked stale, until it is back and has told
 * its routes again, or a timer says that it took too long.
 *
 * FRR says End-of-RIB of a family whose route-map it has not loaded yet, and tells its routes some seconds later (`bgp
 * route-map delay-timer`, 5 s): its routes would go and come. So where not one route of a family was told, those kept outlast
 * its End-of-RIB by a moment, though RFC 4724 §4.2 has them go at once.
 */

export type StaleRoutes = {
	/** The session ended: what of its routes stays; with no family, none does. */
	readonly keep: (what: Retained, doubtful?: boolean) => void;
	/** It is back: what it did not preserve goes, the rest waits for its End-of-RIBs. */
	readonly back: (negotiated: Negotiated) => void;
	/** It announced routes of this family. */
	readonly told: (family: RibFamily) => void;
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

/** Longer than FRR's route-maps take. */
export const EMPTY_MS = 6_000;

export const createStaleRoutes = ({ peer, rib, timers, log, changed }: StaleRoutesPorts): StaleRoutes => {
	/** Families whose stale routes the RIB still holds. */
	let held = new Set<string>();
	let away = false;
	let timer: Timer | undefined;
	/** Families with a route since it is back. */
	const told = new Set<RibFamily>();
	/** End-of-RIBs of families without any. */
	const empty = new Map<string, Timer>();

	const rest = (): void => {
		held = new Set();
		away = false;
		for (const one of empty.values()) one.cancel();
		empty.clear();
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

	const ended = (key: string): void => {
		sweep([key]);
		if (held.size === 0) log.info({}, `${peer} has told its routes again; those it has not are gone`);
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
			rest();
			told.clear();
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
		told: (family) => {
			if (held.size > 0) told.add(family);
		},
		endOfRib: (key) => {
			const family = ribFamilyOf(key);
			if (!held.has(key) || family === undefined) return;
			if (told.has(family) || rib.counts(peer).receivedByFamily[family] === 0) {
				ended(key);
				return;
			}
			if (empty.has(key)) return;
			const text = `${peer} is back without a route of IPv${family}: those kept stay ${EMPTY_MS / 1000} s more`;
			log.info({}, `${text}, in case its policies are not loaded yet`);
			empty.set(
				key,
				timers.start(EMPTY_MS, () => {
					empty.delete(key);
					ended(key);
					changed();
				}),
			);
		},
		drop: () => {
			rest();
			rib.removePeer(peer);
		},
		helping: () => away,
	};
};
