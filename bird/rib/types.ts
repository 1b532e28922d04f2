import type { PathAttributes } from 'bgp-js-lite';
import type { Family } from '../../src/net/ip.ts';
import type { Filter } from '../policy/types.ts';

/** Who a path came from, as far as the decision process cares (RFC 4271 §9.1.2.2). */
export type PathSource = {
	/** Unique name of the peer, or 'local'. */
	readonly peer: string;
	readonly kind: 'local' | 'ibgp' | 'ebgp';
	/** Dotted quad of the peer; '' for local. */
	readonly bgpIdentifier: string;
	readonly peerAddress: string;
	/** A client of ours as route reflector (RFC 4456). */
	readonly client?: boolean;
	/** How often our own AS number may be in its paths; 0. */
	readonly allowOwnAS?: number;
};

/** A path as all prefixes that have it share it. Attribute objects are shared between paths and never changed. */
export type Path = {
	readonly source: PathSource;
	/** With `nextHop` set, unless local. */
	readonly attributes: PathAttributes;
	/** Learnt before the peer's session went down, kept for graceful restart (RFC 4724 §4.2). */
	readonly stale: boolean;
	/** The peer's name for this path among several to the prefix (RFC 7911). */
	readonly pathId?: number;
	/** Stale, and BFD says that the way to the peer may be dead: used only where there is no other. */
	readonly doubtful?: true;
};

export type NamedPath = Path & { readonly prefix: string };

/** The chosen path(s) of prefixes: `best` is announced on, `multipath` (best included) goes into the kernel. */
export type Decision = { readonly best: Path; readonly multipath: readonly Path[] };

export type RibFamily = Family;

/** How what we tell a peer differs from what RFC 4271 says. */
export type PeerRules = {
	/** Nothing is told (RFC 8212). */
	readonly reject?: boolean;
	/** Another AS number of ours towards it; with `replaceAS` the real one is not shown. */
	readonly localAS?: { readonly asNumber: number; readonly replaceAS: boolean };
	/** Its AS number in paths is replaced by ours, so that it does not see a loop. */
	readonly asOverride?: boolean;
	readonly removePrivateAS?: boolean;
	/** RFC 8326: what it gets is about to go. */
	readonly gracefulShutdown?: boolean;
	/** What we are to it (RFC 9234). */
	readonly role?: 'provider' | 'rs' | 'rs-client' | 'customer' | 'peer';
	/** Always ours, or that of the path even to an external peer, instead of what RFC 4271 §5.1.3 says. */
	readonly nextHop?: 'self' | 'keep';
};

/** A peer as the RIB knows it while its session is established or held for graceful restart. */
export type RibPeer = {
	readonly source: PathSource;
	/** Keys `afi/safi` agreed on the session. */
	readonly families: ReadonlySet<string>;
	/** Whether best paths learnt from others go to this peer at all (our own prefixes always do). */
	readonly exportLearnt: boolean;
	readonly peerAS: number;
	/** Next hop we put into what we announce to it, by family; absent: nothing of that family can be announced. */
	readonly nextHopSelf: { readonly 4?: string; readonly 6?: string };
	/** Second next hop beside an IPv6 one that is ours (RFC 2545 §3). */
	readonly linkLocalSelf?: string;
	/** It takes IPv4 prefixes with IPv6 next hops (RFC 8950). */
	readonly extendedNextHop?: boolean;
	readonly rules?: PeerRules;
	/** Judge first; what no rule of theirs matches goes by `rejectImport`, or by `exportLearnt` and `rules.reject`. */
	readonly importFilter?: Filter;
	readonly exportFilter?: Filter;
	/** Nothing is taken (RFC 8212). */
	readonly rejectImport?: boolean;
	/** Families in which it gets several paths to a prefix (RFC 7911), and how many at most. */
	readonly addPath?: { readonly families: ReadonlySet<string>; readonly paths: number };
};

/** Whether a peer's path is taken, or a peer told; by which rule of a filter, or for which reason of BGP's own. */
export type PolicyAnswer = {
	readonly peer: string;
	readonly accept: boolean;
	readonly rule?: string;
	readonly reason: string;
};

/** Prefixes to send to one peer that share attributes; the session packs them into UPDATEs. */
export type Outgoing = {
	readonly family: RibFamily;
	/** Absent: `prefixes` are withdrawn. `nextHop` is set. */
	readonly attributes?: PathAttributes;
	/** Followed by a blank and the path identifier where the peer gets several paths. */
	readonly prefixes: readonly string[];
};

/**
 * Adj-RIBs-In, Loc-RIB and Adj-RIBs-Out of one speaker; pure, no I/O, no clock. Changes are coalesced: a prefix that
 * flaps between two takes shows its last state once, or not at all.
 */
export type Rib = {
	/* Prefixes of a session with path identifiers (RFC 7911) are followed by a blank and the identifier. */
	/** Peer known: paths may come in. Called again after a graceful restart, which keeps its stale paths. */
	readonly addPeer: (peer: RibPeer) => void;
	readonly announce: (peer: string, family: RibFamily, prefixes: readonly string[], attributes: PathAttributes) => void;
	readonly withdraw: (peer: string, family: RibFamily, prefixes: readonly string[]) => void;
	/** Session gone, peer restarting: its paths of these families stay, marked stale; nothing is sent to it. */
	readonly markStale: (peer: string, families: readonly RibFamily[], doubtful?: boolean) => void;
	/** The peer begins to tell this family again (RFC 7313): what it has not told by `sweepStale` goes then. */
	readonly expectAgain: (peer: string, family: RibFamily) => void;
	/** End-of-RIB came or the restart timer ran out: what is still stale goes. */
	readonly sweepStale: (peer: string, family: RibFamily) => void;
	/** Session gone for good: its paths go, nothing is sent to it. */
	readonly removePeer: (peer: string) => void;
	/** Replaces what we originate, with communities (`aa:nn`, `aa:nn:mm`) by prefix. */
	readonly setLocal: (prefixes: readonly string[], communities?: Readonly<Record<string, readonly string[]>>) => void;
	/** IGP metric of a next hop, undefined for unreachable (RFC 4271 §9.1.2.1). Unknown next hops count as unreachable. */
	readonly setNextHop: (nextHop: string, metric: number | undefined, interfaces?: readonly string[]) => void;
	/** Next hops of all paths held, for the resolver. */
	readonly nextHops: () => ReadonlySet<string>;
	/**
	 * Prefixes whose decision changed since the last take; undefined: no path any more. Local prefixes included. No more than
	 * `limit` are decided for it.
	 */
	readonly takeDecisions: (limit?: number) => ReadonlyMap<string, Decision | undefined>;
	/** The last take met its limit: more is to be decided, and peers are told of what is decided only. */
	readonly undecided: () => boolean;
	/** Starts sending to the peer: its whole table becomes pending. Nothing is sent to a peer before. */
	readonly startSending: (peer: string) => void;
	/** At most `limit` prefixes pending for the peer, grouped by attributes; empty when all is sent. */
	readonly takeOutgoing: (peer: string, limit: number) => readonly Outgoing[];
	readonly hasOutgoing: (peer: string) => boolean;
	/** Peers for whom something became pending where nothing was, since the last call; of others nothing has to be taken. */
	readonly takeWaiting: () => ReadonlySet<string>;
	/** Route refresh: this family's whole table becomes pending again. */
	readonly resend: (peer: string, family: RibFamily) => void;
	readonly adjRibIn: (peer: string) => readonly NamedPath[];
	readonly adjRibOut: (peer: string) => ReadonlyMap<string, PathAttributes>;
	readonly locRib: () => ReadonlyMap<string, Decision>;
	/** All that have a path. */
	readonly prefixes: () => Iterable<string>;
	/** How many those are, by family. */
	readonly size: () => { readonly 4: number; readonly 6: number };
	/** Those that peers told and of which nothing was taken. */
	readonly rejected: () => Iterable<string>;
	/** Every path to a prefix, what it is used for and why. */
	readonly explain: (
		prefix: string,
	) => readonly { readonly path: NamedPath; readonly use: 'best' | 'multipath' | 'none'; readonly reason: string }[];
	/** What of a prefix is taken from peers and told to them, and what decides. */
	readonly policyOf: (prefix: string) => {
		readonly imports: readonly (PolicyAnswer & { readonly path: NamedPath })[];
		/** `told`: the attributes a peer gets. */
		readonly exports: readonly (PolicyAnswer & { readonly told?: PathAttributes })[];
	};
	readonly counts: (peer: string) => {
		readonly received: number;
		readonly receivedByFamily: { readonly 4: number; readonly 6: number };
		readonly advertised: number;
	};
};

/*
 * bird/rib/rib.ts: createRib({ asNumber, maximumPaths, routerId? }): Rib
 * bird/fib/fib.ts: createFib({ kernel, log, prefSrc: {4?,6?}, maximumPaths, resyncSeconds?, timers? }): Fib
 *   (bird/fib/types.ts): decisions in the kernel, next hops resolved, felix' blackholes for originate.
 */
