import type { Logger } from '../src/logging.ts';
import type { BfdSessionStatus } from './bfd/types.ts';
import type { PeerConfig, SpeakerConfig } from './config.ts';
import type { SessionCounters } from './counters.ts';
import type { Rib } from './rib/types.ts';
import type { PeerProgress } from './session/convergence.ts';
import type { Event, FsmConfig, FsmState } from './session/fsm.ts';
import type { Notification } from './session/notification.ts';
import type { Negotiated } from './session/open.ts';
import type { Timers } from './timers.ts';
import type { Connection, Transport } from './transport/transport.ts';

/** What peer-session.ts is to others, and what it needs of them. */

export type PeerSessionStatus = {
	readonly name: string;
	/** '' while that of a peer known by its link is still to be found. */
	readonly address: string;
	readonly interface?: string;
	readonly asNumber: number;
	readonly state: FsmState;
	/** When it came into being, or ended: ISO 8601. */
	readonly since: string;
	/** Seconds in Established; 0 otherwise. */
	readonly uptimeSeconds: number;
	/** Why it is not up, or last was not; '' when it never failed. */
	readonly lastError: string;
	/** Why the last session ended, while there is none: later attempts may have failed for other reasons. */
	readonly lastEnd?: string;
	readonly received: number;
	/** Prefixes by family, both counted in `received`. */
	readonly receivedByFamily: { readonly 4: number; readonly 6: number };
	readonly advertised: number;
	/** Seconds, as agreed; as configured while down. */
	readonly holdTime: number;
	/** Keys `afi/safi`, as agreed; as configured while down. */
	readonly families: readonly string[];
	/** Why it is kept down, and not tried again by itself; absent when it is not. */
	readonly held?: string;
	/** Its BFD session, where one is configured and our address is known. */
	readonly bfd?: BfdSessionStatus;
	readonly gracefulRestart: {
		/** Both sides have it. */
		readonly agreed: boolean;
		/** Seconds the peer asks for; 0 when not agreed. */
		readonly peerRestartTime: number;
		/** Routes of the peer's last session are kept while it restarts. */
		readonly helping: boolean;
	};
	readonly counters: SessionCounters;
};

export type PeerSession = {
	readonly config: PeerConfig;
	readonly start: () => void;
	/** Tells the peer why, when there is a notification; its routes go. */
	readonly stop: (event: Event) => void;
	/** Ends the connection without a word and starts again as `review` said: graceful restart keeps routes on both sides. */
	readonly restart: (reason: string) => void;
	readonly accept: (connection: Connection) => void;
	/** Ends the session by a NOTIFICATION and starts it anew; what kept it down does no more. */
	readonly clear: (message: string) => void;
	/** Asks for all routes of the peer again (`in`), or tells it all of ours again (`out`). */
	readonly refresh: (direction: 'in' | 'out') => Done;
	/** Ends the session and keeps it down: for some seconds, or until `clear` or a configuration without `shutdown`. */
	readonly hold: (why: Hold) => void;
	readonly held: () => boolean;
	/**
	 * Something other than BGP (BFD, a link) found the peer gone. With `keepRoutes` it is taken for restarting, where graceful
	 * restart is agreed: no word is sent, its routes stay, in use only where there are no others. Without, they go at once,
	 * and it is told Cease with the subcode.
	 */
	readonly dead: (how: { readonly reason: string; readonly subcode: number; readonly keepRoutes: boolean }) => void;
	/** Sends what is pending, in bounded portions; true: there is more to send at once. */
	readonly pump: () => boolean;
	/** Takes over another configuration; what the OPEN says and whom to dial only counts from `restart` on. */
	readonly review: (config: PeerConfig, speaker: SpeakerConfig) => void;
	/** See Connections. */
	readonly rekey: (password: string) => boolean;
	readonly pulse: () => void;
	readonly progress: () => PeerProgress;
	readonly negotiated: () => Negotiated | undefined;
	readonly status: () => PeerSessionStatus;
};

export type Done = { readonly ok: true } | { readonly ok: false; readonly error: string };

export type Hold = {
	readonly notification: Notification;
	readonly reason: string;
	/** Until it may start again by itself. */
	readonly seconds?: number;
};

export type PeerSessionPorts = {
	readonly rib: Rib;
	readonly transport: Transport;
	readonly timers: Timers;
	readonly log: Logger;
	/** Whether our OPENs carry the R bit, and routes of others and the End-of-RIB are still held back. */
	readonly deferring: () => boolean;
	/** The RIB, or the progress of this peer, changed. */
	readonly changed: () => void;
	/** A peer that nobody configured by name has no session, no connection and no routes any more. */
	readonly vacant: () => void;
	readonly isDynamic: boolean;
	/** A session came up, on this address of ours. */
	readonly established?: (localAddress: string) => void;
	/** Global addresses on the link of an address of ours. */
	readonly besides?: (localAddress: string) => readonly string[];
	readonly fsm?: Partial<FsmConfig>;
};
