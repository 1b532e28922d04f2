/** Numbers of the protocol, under the names the RFCs and the IANA registries give them. */

export const HEADER_LENGTH = 19;
/** RFC 4271 §4.1. */
export const MAX_MESSAGE_LENGTH = 4096;
/** RFC 8654: once both sides sent capability 6. */
export const MAX_EXTENDED_MESSAGE_LENGTH = 65535;

/** Stands for an AS number that does not fit into two octets (RFC 6793 §9). */
export const AS_TRANS = 23456;

export const CAPABILITY = {
	multiprotocol: 1,
	routeRefresh: 2,
	extendedNextHop: 5,
	extendedMessage: 6,
	role: 9,
	gracefulRestart: 64,
	fourOctetAs: 65,
	addPath: 69,
	enhancedRouteRefresh: 70,
} as const;

export const ATTRIBUTE = {
	ORIGIN: 1,
	AS_PATH: 2,
	NEXT_HOP: 3,
	MULTI_EXIT_DISC: 4,
	LOCAL_PREF: 5,
	ATOMIC_AGGREGATE: 6,
	AGGREGATOR: 7,
	COMMUNITIES: 8,
	ORIGINATOR_ID: 9,
	CLUSTER_LIST: 10,
	MP_REACH_NLRI: 14,
	MP_UNREACH_NLRI: 15,
	EXTENDED_COMMUNITIES: 16,
	AS4_PATH: 17,
	AS4_AGGREGATOR: 18,
	LARGE_COMMUNITY: 32,
	ONLY_TO_CUSTOMER: 35,
} as const;

/** Attribute flags (RFC 4271 §4.3). */
export const FLAG = { optional: 0x80, transitive: 0x40, partial: 0x20, extendedLength: 0x10 } as const;

/** NOTIFICATION error codes (RFC 4271 §4.5, RFC 7313 §5, RFC 9687). */
export const ERROR_CODE = {
	messageHeader: 1,
	open: 2,
	update: 3,
	holdTimerExpired: 4,
	fsm: 5,
	cease: 6,
	routeRefresh: 7,
	sendHoldTimerExpired: 8,
} as const;

export const HEADER_ERROR = { notSynchronized: 1, badMessageLength: 2, badMessageType: 3 } as const;

export const OPEN_ERROR = {
	unspecific: 0,
	unsupportedVersion: 1,
	badPeerAS: 2,
	badBgpIdentifier: 3,
	unsupportedOptionalParameter: 4,
	unacceptableHoldTime: 6,
	unsupportedCapability: 7,
	/** RFC 9234 §4.2. */
	roleMismatch: 11,
} as const;

export const UPDATE_ERROR = {
	malformedAttributeList: 1,
	unrecognizedWellKnownAttribute: 2,
	missingWellKnownAttribute: 3,
	attributeFlags: 4,
	attributeLength: 5,
	invalidOrigin: 6,
	invalidNextHop: 8,
	optionalAttribute: 9,
	invalidNetworkField: 10,
	malformedAsPath: 11,
} as const;

/** Where the state machine was when it met a message it did not expect (RFC 6608). */
export const FSM_ERROR = { unspecified: 0, inOpenSent: 1, inOpenConfirm: 2, inEstablished: 3 } as const;

/** RFC 4486 §4, RFC 8538 §3, RFC 9384. */
export const CEASE = {
	maximumPrefixes: 1,
	administrativeShutdown: 2,
	peerDeconfigured: 3,
	administrativeReset: 4,
	connectionRejected: 5,
	otherConfigurationChange: 6,
	connectionCollisionResolution: 7,
	outOfResources: 8,
	hardReset: 9,
	bfdDown: 10,
} as const;
