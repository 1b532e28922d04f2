import type { Cause } from './fsm.ts';
import { isHardReset } from './notification.ts';
import type { Negotiated } from './open.ts';

/**
 * The helper's side of graceful restart (RFC 4724 §4.2, RFC 8538 §4): what is kept of a peer whose session ended, for
 * how long, and what of it is still good when the peer is back.
 */

/** Seconds that stale routes of a peer that is back wait for its End-of-RIB. */
export const STALE_ROUTES_TIME = 360;

export type Retained = {
	/** Keys `afi/safi` whose routes stay, marked stale; empty: the peer's routes go. */
	readonly families: ReadonlySet<string>;
	/** Seconds. */
	readonly seconds: number;
};

const nothing: Retained = { families: new Set(), seconds: 0 };

/**
 * The lost TCP connection of a peer that knows graceful restart is a restart. A NOTIFICATION, either way, is one only if
 * the peer sent the N bit (we always do), and never when it asks for a hard reset. We may limit how long.
 */
export const retained = (negotiated: Negotiated, cause: Cause, longest: number): Retained => {
	const gr = negotiated.gracefulRestart;
	if (gr === undefined || cause.kind === 'stopped') return nothing;
	if (cause.notification !== undefined && (!gr.notification || isHardReset(cause.notification))) return nothing;
	const seconds = Math.min(gr.restartTime, longest);
	const families = new Set([...negotiated.families].filter((family) => gr.families.has(family)));
	return seconds > 0 && families.size > 0 ? { families, seconds } : nothing;
};

/** Of the families held, those the peer did not keep its forwarding state for: their stale routes go at once. */
export const notPreserved = (held: ReadonlySet<string>, negotiated: Negotiated): readonly string[] =>
	[...held].filter(
		(family) => !negotiated.families.has(family) || negotiated.gracefulRestart?.families.get(family) !== true,
	);
