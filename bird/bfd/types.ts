/** The words of Bidirectional Forwarding Detection (RFC 5880) that the rest of bird needs. */

export type BfdState = 'AdminDown' | 'Down' | 'Init' | 'Up';

/** How quickly a session sends and detects; intervals in milliseconds. */
export type BfdProfile = {
	/** Our packets come at least so far apart: bfd.DesiredMinTxInterval once Up (1 s until then). */
	readonly transmitInterval: number;
	/** The peer may send so often: bfd.RequiredMinRxInterval. */
	readonly receiveInterval: number;
	/** Packets the peer must miss to call us dead. */
	readonly detectMultiplier: number;
	/** Says nothing before the peer has (RFC 5880 §6.1). */
	readonly passive: boolean;
	/** Multihop only: packets with a lower TTL are dropped (RFC 5883 §3). On one hop it is 255 (RFC 5881 §5). */
	readonly minimumTtl: number;
};

export const defaultBfdProfile: BfdProfile = {
	transmitInterval: 300,
	receiveInterval: 300,
	detectMultiplier: 3,
	passive: false,
	// Any: BIRD and others send with TTL 64 over several hops, and RFC 5883 asks for no check.
	minimumTtl: 1,
};

/** Diagnostic codes (RFC 5880 §4.1). */
export const DIAGNOSTIC = {
	none: 0,
	detectionTimeExpired: 1,
	echoFailed: 2,
	neighborSignaledDown: 3,
	forwardingPlaneReset: 4,
	pathDown: 5,
	concatenatedPathDown: 6,
	administrativelyDown: 7,
	reverseConcatenatedPathDown: 8,
} as const;

const diagnosticWords: Readonly<Record<number, string>> = {
	0: 'no reason given',
	1: 'nothing came within the detection time',
	2: 'its echo failed',
	3: 'its neighbor signalled the session down',
	4: 'its forwarding plane was reset',
	5: 'its path is down',
	6: 'a concatenated path is down',
	7: 'administratively down',
	8: 'a reverse concatenated path is down',
};

export const describeDiagnostic = (code: number): string => diagnosticWords[code] ?? `diagnostic ${code}`;

export type BfdSessionOptions = {
	/** Unique and stable; the name of the BGP peer. */
	readonly peer: string;
	/** Canonical text. */
	readonly address: string;
	readonly localAddress: string;
	/** Packets go out and come in here only; needed for link-local addresses. */
	readonly interface?: string;
	readonly multihop: boolean;
	readonly profile: BfdProfile;
};

/** What a session knows; times in milliseconds. */
export type BfdSessionStatus = {
	readonly peer: string;
	readonly address: string;
	readonly localAddress: string;
	readonly multihop: boolean;
	readonly state: BfdState;
	/** ISO 8601: since when it is in this state. */
	readonly since: string;
	/** Why it is not up, or last was not; '' when it never failed. */
	readonly lastError: string;
	/** As negotiated: between our packets, before jitter, and without a packet of the peer until it is called dead. */
	readonly transmitInterval: number;
	readonly detectionTime: number;
	readonly remote: {
		readonly state: BfdState;
		readonly transmitInterval: number;
		readonly receiveInterval: number;
		readonly detectMultiplier: number;
		/** C bit: its BFD goes on while its control plane restarts. */
		readonly controlPlaneIndependent: boolean;
	};
	/** Packets, and packets received that failed a check of RFC 5880 §6.8.6. */
	readonly sent: number;
	readonly received: number;
	readonly refused: number;
};

export type BfdStateChange = {
	readonly peer: string;
	readonly state: BfdState;
	readonly previous: BfdState;
	/** Why, in words. */
	readonly reason: string;
	/** The peer took it down on purpose: says nothing about the path (RFC 5882 §3.2). */
	readonly remoteAdminDown: boolean;
	/** C bit of the peer's last packet: without it, its BFD dies with its control plane (RFC 5882 §4.3). */
	readonly remoteControlPlaneIndependent: boolean;
};
