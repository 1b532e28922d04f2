import { encodeEndOfRib, encodeMessage, encodeUpdates, type Nlri } from 'bgp-js-lite';
import type { Outgoing, Rib, RibFamily } from './rib/types.ts';
import type { Negotiated } from './session/open.ts';
import type { Timer, Timers } from './timers.ts';

/**
 * What one peer is told: the RIB's pending changes as UPDATEs, no more than the peer reads, and the End-of-RIB when it
 * has been told everything for the first time (RFC 4724 §3). Routes wait in the RIB, where they coalesce, not in buffers.
 */

export type Announcer = {
	/** The session came up: the whole table is pending. */
	readonly up: (negotiated: Negotiated) => void;
	readonly down: () => void;
	readonly drained: () => void;
	/** The whole table of a family is told again, between marks where the peer knows them (RFC 7313). */
	readonly refresh: (family: RibFamily) => void;
	/** Sends what is pending, in bounded portions; true: there is more to send at once. */
	readonly pump: () => boolean;
};

export type AnnouncerPorts = {
	readonly peer: string;
	readonly rib: Rib;
	readonly timers: Timers;
	/** False: no room for more until `drained`. */
	readonly send: (messages: readonly Uint8Array[]) => boolean;
	/** Nothing was read for the send hold time (RFC 9687). */
	readonly stalled: () => void;
	/** Whether more is to come before the End-of-RIB, though nothing is pending. */
	readonly deferring: () => boolean;
};

/**
 * Prefixes taken from the RIB and sent to one peer before others' turn: enough that those with the same attributes fill
 * messages, however mixed they are; some 100 kB, which is what may wait for a peer that does not read.
 */
const TURN = 16_384;

const afiOf = { 4: { afi: 1, safi: 1 }, 6: { afi: 2, safi: 1 } } as const;
const keyOf = { 4: '1/1', 6: '2/1' } as const;

/** RFC 7313 §3.2 */
const BEGIN = 1;
const END = 2;
const mark = (family: RibFamily, subtype: number): Uint8Array =>
	encodeMessage({ type: 'ROUTE_REFRESH', ...afiOf[family], subtype });

const nlriOf = (key: string): Nlri => {
	const blank = key.indexOf(' ');
	return blank < 0 ? { prefix: key } : { prefix: key.slice(0, blank), pathId: Number(key.slice(blank + 1)) };
};

const encode = (codec: Negotiated['codec'], portion: readonly Outgoing[]): Uint8Array[] =>
	portion.flatMap(({ family, attributes, prefixes }) => {
		const part = { ...afiOf[family], nlri: prefixes.map(nlriOf) };
		if (attributes === undefined) return encodeUpdates({ withdrawn: part }, codec);
		const { nextHop, linkLocalNextHop } = attributes;
		if (nextHop === undefined) return [];
		const announced = { ...part, nextHop, ...(linkLocalNextHop !== undefined && { linkLocalNextHop }) };
		return encodeUpdates({ attributes, announced }, codec);
	});

export const createAnnouncer = ({ peer, rib, timers, send, stalled, deferring }: AnnouncerPorts): Announcer => {
	let negotiated: Negotiated | undefined;
	let blocked = false;
	let endOfRibDue = false;
	/** Families whose end of refresh is to be told. */
	const refreshing = new Set<RibFamily>();
	/** Families to be told again: a look at the whole table, however many requests ask for it before the next turn. */
	const asked = new Set<RibFamily>();
	let sendHoldTimer: Timer | undefined;

	const unblock = (): void => {
		blocked = false;
		sendHoldTimer?.cancel();
		sendHoldTimer = undefined;
	};

	const put = (messages: readonly Uint8Array[], holdTime: number): void => {
		if (send(messages)) return;
		blocked = true;
		// RFC 9687 §5.2: at least eight minutes, and twice the hold time.
		sendHoldTimer ??= timers.start(Math.max(480, 2 * holdTime) * 1000, () => {
			sendHoldTimer = undefined;
			stalled();
		});
	};

	return {
		up: (agreed) => {
			unblock();
			negotiated = agreed;
			endOfRibDue = agreed.gracefulRestart !== undefined;
			rib.startSending(peer);
		},
		down: () => {
			unblock();
			negotiated = undefined;
			refreshing.clear();
			asked.clear();
		},
		drained: unblock,
		refresh: (family) => {
			if (negotiated !== undefined) asked.add(family);
		},
		pump: () => {
			if (negotiated === undefined) return false;
			const { codec, families, holdTime, enhancedRouteRefresh } = negotiated;
			if (!blocked) {
				for (const family of asked) {
					if (enhancedRouteRefresh && !refreshing.has(family)) {
						refreshing.add(family);
						put([mark(family, BEGIN)], holdTime);
					}
					rib.resend(peer, family);
				}
				asked.clear();
			}
			for (let sent = 0; sent < TURN && !blocked; ) {
				const portion = rib.takeOutgoing(peer, TURN);
				if (portion.length === 0) {
					if (refreshing.size > 0)
						put(
							[...refreshing].map((family) => mark(family, END)),
							holdTime,
						);
					refreshing.clear();
					if (!endOfRibDue || deferring()) return false;
					endOfRibDue = false;
					const mine = ([4, 6] as const).filter((family) => families.has(keyOf[family]));
					put(
						mine.map((family) => encodeEndOfRib(afiOf[family])),
						holdTime,
					);
					return false;
				}
				put(encode(codec, portion), holdTime);
				for (const { prefixes } of portion) sent += prefixes.length;
			}
			return !blocked && rib.hasOutgoing(peer);
		},
	};
};
