import type { BfdProfile } from './bfd/types.ts';

/**
 * What a speaker is told to be. Made by src/daemon from Node, BGPConfiguration and BGPPeer objects (bird knows no
 * Kubernetes); a new one replaces the old at any time and touches only the sessions it concerns.
 */

import type { Filter } from './policy/types.ts';
import type { PeerRules } from './rib/types.ts';

export type PrefixLimit = {
	/** Prefixes of one family. */
	readonly maximum: number;
	/** Part of it from which on there is a warning. */
	readonly warnPercent: number;
	/** Beyond it: a warning more, or the session is ended and kept down. */
	readonly action: 'warn' | 'hold';
	/** Seconds it is kept down; absent: until it is cleared by hand. */
	readonly restartSeconds?: number;
};

export type PeerBfd = {
	/** Port 4784 and the profile's minimum TTL, for a peer that is not on a common link (RFC 5883). */
	readonly multihop: boolean;
	readonly profile: BfdProfile;
	/** BFD down without the peer's C bit is taken for a restart of the peer where graceful restart is agreed (RFC 5882 §4.3). */
	readonly gracefulRestart: boolean;
};

export type PeerConfig = {
	/** Unique and stable: `mesh/n2`, `peer/tor1`. */
	readonly name: string;
	/** Canonical address of the peer; a link-local one needs `interface`. '': the router that shows itself on `interface`. */
	readonly address: string;
	readonly interface?: string;
	readonly port: number;
	/** 0: any AS but ours. */
	readonly asNumber: number;
	/** Our address on this session; the kernel chooses when absent. */
	readonly localAddress?: string;
	/** Seconds; 0 for no hold timer. */
	readonly holdTime: number;
	/** Seconds between KEEPALIVEs; a third of the hold time agreed on unless given. */
	readonly keepaliveTime?: number;
	/** Seconds a peer may take to come back with its routes kept (sent in our capability too), 0..4095. */
	readonly restartTime: number;
	/** Its path is watched by BFD; absent: not. */
	readonly bfd?: PeerBfd;
	/** Never dial, only accept. */
	readonly passive: boolean;
	/** Families offered. Keys `afi/safi`: '1/1', '2/1'. */
	readonly families: readonly ('1/1' | '2/1')[];
	/** What is announced to this peer beside our own prefixes: nothing, or every best path the rules of BGP allow. */
	readonly exportLearnt: boolean;
	/** TCP MD5 signatures (RFC 2385), at most 80 octets. Must never be logged or shown. */
	readonly password?: string;
	/** GTSM (RFC 5082): hops the peer may be away, 1 for a neighbour on the wire. Absent: any distance. */
	readonly ttlSecurity?: number;
	/** We reflect between it and all others of our AS (RFC 4456). */
	readonly routeReflectorClient?: boolean;
	readonly prefixLimit?: PrefixLimit;
	/** We are another AS to it: put in front of what it tells us too unless `noPrepend`. */
	readonly localAS?: { readonly asNumber: number; readonly noPrepend: boolean; readonly replaceAS: boolean };
	/** How often our AS number may be in paths from it; 0. */
	readonly allowOwnAS?: number;
	readonly asOverride?: boolean;
	readonly removePrivateAS?: boolean;
	/** What we tell it is about to go (RFC 8326): it finds other ways while this one still works. */
	readonly gracefulShutdown?: boolean;
	/** Next hop of what it is told: always ours, or always that of the path; else as RFC 4271 §5.1.3 says. */
	readonly nextHop?: NonNullable<PeerRules['nextHop']>;
	/** What we are to it (RFC 9234); `strict`: it has to say its own. */
	readonly role?: NonNullable<PeerRules['role']>;
	readonly strictRole?: boolean;
	/** Several paths to a prefix (RFC 7911): taken from it, told to it so many at most (0: the best alone). */
	readonly addPath?: { readonly receive: boolean; readonly sendPaths: number };
	/** What they say comes before all that follows here; a change of them ends no session. */
	readonly importFilter?: Filter;
	readonly exportFilter?: Filter;
	/** RFC 8212: without a policy nothing is taken, or told. */
	readonly rejectImport?: boolean;
	readonly rejectExport?: boolean;
	/** Kept down by hand; the peer is told so, with the message (RFC 9003). */
	readonly shutdown?: { readonly message: string };
};

/** Neighbours that are not known by address: whoever connects from the prefix and is what `peer` says. */
export type DynamicPeers = {
	/** Unique; a session is named `NAME/ADDRESS`. */
	readonly name: string;
	/** Canonical. */
	readonly prefix: string;
	/** Sessions at a time. */
	readonly limit: number;
	readonly peer: Omit<PeerConfig, 'name' | 'address'>;
};

export type SpeakerConfig = {
	readonly asNumber: number;
	/** BGP identifier, dotted quad, not 0.0.0.0. */
	readonly routerId: string;
	/** Where to listen; '0.0.0.0' and '::' for all. */
	readonly listen: readonly { readonly address: string; readonly port: number }[];
	/** Next hop we announce, by family, and the preferred source of learnt routes in the kernel. */
	readonly addresses: { readonly ipv4?: string; readonly ipv6?: string };
	readonly peers: readonly PeerConfig[];
	readonly dynamicPeers?: readonly DynamicPeers[];
	/** Our own prefixes. Announced only while the kernel holds a blackhole route of felix for them. */
	readonly originate: readonly string[];
	/** Announced as well, without anything in the kernel: addresses of Services, which are kube-proxy's. */
	readonly services?: readonly string[];
	/** Of our own prefixes, by prefix: `aa:nn` or `aa:nn:mm`. */
	readonly communities?: Readonly<Record<string, readonly string[]>>;
	/** Host routes to peers that no other route leads to. */
	readonly reachable?: readonly { readonly prefix: string; readonly via: string }[];
	/** Interfaces that no next hop is reached by; `*` stands for any characters. */
	readonly ignoredInterfaces?: readonly string[];
	/** Of learnt routes in the kernel; 174 each. */
	readonly kernelMetrics?: { readonly ipv4?: number; readonly ipv6?: number };
	/** Prefixes that felix has a route for are left to it. */
	readonly leaveToFelix?: boolean;
	/** Paths used in parallel at most; 16. */
	readonly maximumPaths: number;
	/** Dotted quad; the router ID unless given. Reflectors of the same clients share one (RFC 4456 §7). */
	readonly clusterId?: string;
	/** The node is about to leave: as `gracefulShutdown` of every peer. */
	readonly gracefulShutdown?: boolean;
};
