/**
 * BGP messages as plain values. Addresses and prefixes are canonical text (RFC 5952 for IPv6, host bits zero);
 * AS numbers are 32-bit numbers. Names are those of the RFCs.
 */

/** Address family identifiers and subsequent ones (RFC 4760; IANA). */
export const AFI = { ipv4: 1, ipv6: 2 } as const;
export const SAFI = { unicast: 1 } as const;
export type AfiSafi = { readonly afi: number; readonly safi: number };

export const MESSAGE_TYPE = { OPEN: 1, UPDATE: 2, NOTIFICATION: 3, KEEPALIVE: 4, ROUTE_REFRESH: 5 } as const;

export type Capability =
	| { readonly code: 1; readonly afi: number; readonly safi: number }
	/** RFC 2918 */
	| { readonly code: 2 }
	/** RFC 8950 */
	| {
			readonly code: 5;
			readonly tuples: readonly { readonly afi: number; readonly safi: number; readonly nextHopAfi: number }[];
	  }
	/** RFC 8654 */
	| { readonly code: 6 }
	/** RFC 9234: 0 provider, 1 route server, 2 its client, 3 customer, 4 peer; what the sender is. */
	| { readonly code: 9; readonly role: number }
	/** RFC 4724; `restartState` is the R bit, `notification` the N bit of RFC 8538, `forwardingState` the F bit. */
	| {
			readonly code: 64;
			readonly restartState: boolean;
			readonly notification: boolean;
			/** Seconds, 0..4095. */
			readonly restartTime: number;
			readonly families: readonly { readonly afi: number; readonly safi: number; readonly forwardingState: boolean }[];
	  }
	/** RFC 6793 */
	| { readonly code: 65; readonly asNumber: number }
	/** RFC 7911; what the sender of the capability wants to do. */
	| {
			readonly code: 69;
			readonly families: readonly {
				readonly afi: number;
				readonly safi: number;
				readonly send: boolean;
				readonly receive: boolean;
			}[];
	  }
	/** RFC 7313 */
	| { readonly code: 70 }
	/** Any other: kept as bytes. */
	| { readonly code: number; readonly unknown: true; readonly value: Uint8Array };

export type OpenMessage = {
	readonly type: 'OPEN';
	readonly version: number;
	/** The 2-octet field as sent; the real one is in capability 65 when present (AS_TRANS 23456 here then). */
	readonly asNumber: number;
	/** Seconds. */
	readonly holdTime: number;
	/** Dotted quad. */
	readonly bgpIdentifier: string;
	readonly capabilities: readonly Capability[];
};

export type AsPathSegment = {
	readonly type: 'set' | 'sequence' | 'confedSequence' | 'confedSet';
	readonly asNumbers: readonly number[];
};
export type Origin = 'igp' | 'egp' | 'incomplete';

/** Path attributes that apply to every prefix of one UPDATE. 4-octet AS numbers merged (AS4_PATH applied, RFC 6793 §4.2.3). */
export type PathAttributes = {
	readonly origin: Origin;
	readonly asPath: readonly AsPathSegment[];
	/** Next hop for the prefixes it came with: from NEXT_HOP or from MP_REACH_NLRI (the global address). */
	readonly nextHop?: string;
	/** Link-local second next hop of MP_REACH_NLRI (RFC 2545 §3). */
	readonly linkLocalNextHop?: string;
	readonly med?: number;
	readonly localPref?: number;
	readonly atomicAggregate?: boolean;
	readonly aggregator?: { readonly asNumber: number; readonly address: string };
	/** Each 32 bits, AS << 16 | value. */
	readonly communities?: readonly number[];
	readonly extendedCommunities?: readonly bigint[];
	/** RFC 8092: [global, local 1, local 2]. */
	readonly largeCommunities?: readonly (readonly [number, number, number])[];
	/** RFC 4456 */
	readonly originatorId?: string;
	readonly clusterList?: readonly string[];
	/** RFC 9234: the AS that said it goes to customers only. */
	readonly onlyToCustomer?: number;
	/** Codes of the known optional transitive attributes that came with the Partial bit, ascending: it stays set (RFC 4271 §5). */
	readonly partial?: readonly number[];
	/** Optional transitive attributes we do not know, passed on with the Partial bit (RFC 4271 §5). */
	readonly unknown?: readonly { readonly flags: number; readonly code: number; readonly value: Uint8Array }[];
};

/** A prefix; `pathId` only where add-path is agreed (RFC 7911). */
export type Nlri = { readonly prefix: string; readonly pathId?: number };

/**
 * An UPDATE, families told apart: IPv4 unicast carried in the classic fields and IPv4/IPv6 in MP attributes both end up
 * here. A decoded UPDATE may announce in several families, each with its own next hop.
 */
export type UpdateMessage = {
	readonly type: 'UPDATE';
	readonly withdrawn: readonly (AfiSafi & { readonly nlri: readonly Nlri[] })[];
	readonly announced: readonly (AfiSafi & {
		readonly nlri: readonly Nlri[];
		readonly nextHop: string;
		readonly linkLocalNextHop?: string;
	})[];
	/** Absent when nothing is announced. `nextHop` in it is unset on decode: see `announced`. */
	readonly attributes?: PathAttributes;
	/** End-of-RIB of this family (RFC 4724 §2). */
	readonly endOfRib?: AfiSafi;
	/** What RFC 7606 made of malformed attributes: all of `announced` was turned into `withdrawn`, or attributes dropped. */
	readonly errors?: readonly DecodeError[];
};

export type NotificationMessage = {
	readonly type: 'NOTIFICATION';
	readonly code: number;
	readonly subcode: number;
	readonly data: Uint8Array;
};
export type KeepaliveMessage = { readonly type: 'KEEPALIVE' };
/** RFC 2918; subtype 0 normal, 1 BoRR, 2 EoRR (RFC 7313). */
export type RouteRefreshMessage = {
	readonly type: 'ROUTE_REFRESH';
	readonly afi: number;
	readonly safi: number;
	readonly subtype: number;
};

export type Message = OpenMessage | UpdateMessage | NotificationMessage | KeepaliveMessage | RouteRefreshMessage;

/** What both ends agreed on in their OPENs and the codec needs to know. */
export type CodecOptions = {
	/** Both sent capability 65: AS numbers are 4 octets in AS_PATH and AGGREGATOR. */
	readonly fourOctetAs: boolean;
	/** Whether this session is iBGP: LOCAL_PREF, ORIGINATOR_ID and CLUSTER_LIST are then accepted and sent. */
	readonly ibgp: boolean;
	/** 4096, or 65535 with RFC 8654. */
	readonly maxMessageLength: number;
	/** Families whose NLRI carry a path id, by direction. Keys `afi/safi`. */
	readonly addPathReceive?: ReadonlySet<string>;
	readonly addPathSend?: ReadonlySet<string>;
};

/** How far an error goes (RFC 7606 §2), and what a NOTIFICATION for it would say. */
export type DecodeError = {
	readonly action: 'sessionReset' | 'treatAsWithdraw' | 'attributeDiscard';
	/** NOTIFICATION error code and subcode (RFC 4271 §4.5, §6) and its data field. */
	readonly code: number;
	readonly subcode: number;
	readonly data: Uint8Array;
	/** A full sentence for a person. */
	readonly message: string;
};

export type Decoded<T> = { readonly ok: true; readonly value: T } | { readonly ok: false; readonly error: DecodeError };

/*
 * What index.ts exports besides these types:
 *
 *   createFramer(maxMessageLength): Framer       bytes in, whole messages out; RFC 4271 §6.1 header errors
 *     push(chunk: Uint8Array): void
 *     next(): Decoded<{ type: number; body: Uint8Array }> | undefined     (body without the 19-byte header)
 *     setMaxMessageLength(n)
 *   decodeMessage(type, body, options: CodecOptions): Decoded<Message>
 *   encodeMessage(message: Exclude<Message, UpdateMessage>): Uint8Array    whole message, header included
 *   encodeUpdates(update: { attributes?: PathAttributes, announced: {afi,safi,nextHop,linkLocalNextHop?,nlri}|undefined,
 *     withdrawn: {afi,safi,nlri}|undefined }, options): Uint8Array[]       packed into as few messages as fit
 *   encodeEndOfRib(family: AfiSafi): Uint8Array
 *   describeNotification(code, subcode, data): string                      in words
 */
