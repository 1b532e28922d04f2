import { encodeMessage, type RouteRefreshMessage } from 'bgp-js-lite';
import type { Logger } from '../src/logging.ts';
import type { Announcer } from './announcer.ts';
import type { Done } from './peer-session-types.ts';
import type { Rib } from './rib/types.ts';
import { STALE_ROUTES_TIME } from './session/graceful-restart.ts';
import { ribFamilyOf } from './session/import.ts';
import type { Negotiated } from './session/open.ts';
import type { Timer, Timers } from './timers.ts';

/**
 * Route refresh with one peer (RFC 2918) and its enhanced form (RFC 7313): what the peer does not tell again between
 * begin and end goes.
 */

export type RouteRefresh = {
	readonly received: (message: RouteRefreshMessage, negotiated: Negotiated) => void;
	/** Asks the peer for all its routes (`in`), or tells it all of ours again (`out`). */
	readonly start: (direction: 'in' | 'out', negotiated: Negotiated | undefined) => Done;
	/** The session ended. */
	readonly down: () => void;
};

export type RouteRefreshPorts = {
	readonly peer: string;
	readonly rib: Rib;
	readonly announcer: Pick<Announcer, 'refresh'>;
	readonly timers: Timers;
	readonly log: Logger;
	readonly send: (messages: readonly Uint8Array[]) => void;
	readonly changed: () => void;
};

const subtype = { request: 0, begin: 1, end: 2 } as const;

export const createRouteRefresh = (ports: RouteRefreshPorts): RouteRefresh => {
	const { peer, rib, announcer, timers, log, changed } = ports;
	/** Families the peer is telling again. */
	const refreshing = new Map<string, Timer>();

	const end = (key: string): void => {
		const family = ribFamilyOf(key);
		refreshing.get(key)?.cancel();
		if (!refreshing.delete(key) || family === undefined) return;
		rib.sweepStale(peer, family);
		changed();
	};

	return {
		received: (message, negotiated) => {
			const key = `${message.afi}/${message.safi}`;
			const family = ribFamilyOf(key);
			if (family === undefined || !negotiated.families.has(key)) return;
			if (message.subtype === subtype.request) {
				announcer.refresh(family);
				changed();
			} else if (!negotiated.enhancedRouteRefresh) {
				return;
			} else if (message.subtype === subtype.begin) {
				refreshing.get(key)?.cancel();
				rib.expectAgain(peer, family);
				refreshing.set(
					key,
					timers.start(STALE_ROUTES_TIME * 1000, () => {
						log.warn({ family }, `${peer} did not end its route refresh within ${STALE_ROUTES_TIME} s`);
						end(key);
					}),
				);
			} else if (message.subtype === subtype.end) {
				end(key);
			}
		},
		start: (direction, negotiated) => {
			if (negotiated === undefined) return { ok: false, error: `${peer} has no session` };
			if (direction === 'in' && !negotiated.routeRefresh) {
				const error = `${peer} cannot send its routes again (it has no route refresh): clear the session instead`;
				return { ok: false, error };
			}
			for (const key of negotiated.families) {
				const family = ribFamilyOf(key);
				if (family === undefined) continue;
				if (direction === 'out') announcer.refresh(family);
				else {
					const afi = family === 4 ? 1 : 2;
					ports.send([encodeMessage({ type: 'ROUTE_REFRESH', afi, safi: 1, subtype: subtype.request })]);
				}
			}
			changed();
			return { ok: true };
		},
		down: () => {
			for (const timer of refreshing.values()) timer.cancel();
			refreshing.clear();
		},
	};
};
