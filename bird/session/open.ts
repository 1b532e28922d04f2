import {
	AS_TRANS,
	type Capability,
	type CodecOptions,
	ERROR_CODE,
	MAX_EXTENDED_MESSAGE_LENGTH,
	MAX_MESSAGE_LENGTH,
	OPEN_ERROR,
	type OpenMessage,
} from 'bgp-js-lite';
import { addressToBytes } from '../../src/net/ip.ts';
import { type Notification, notification } from './notification.ts';

/**
 * The OPEN: what we say in ours, and what both say together (RFC 4271 §6.2, RFC 5492). `negotiate` either gives what
 * the session will use or the NOTIFICATION to refuse it with; it looks at values only.
 */

export type FamilyKey = '1/1' | '2/1';

/** What our side of one session is. */
export type LocalOpen = {
	readonly asNumber: number;
	/** Dotted quad. */
	readonly bgpIdentifier: string;
	/** AS the peer must be in; 0: any but ours. */
	readonly peerAS: number;
	/** Seconds; 0: no hold timer. */
	readonly holdTime: number;
	/** Seconds; a third of the hold time agreed on unless given. */
	readonly keepaliveTime?: number;
	readonly families: readonly FamilyKey[];
	/** Seconds, 0..4095 (RFC 4724). */
	readonly restartTime: number;
	/** What we are to the peer (RFC 9234), and whether it has to say what it is. */
	readonly role?: Role;
	readonly strictRole?: boolean;
	/** RFC 7911. */
	readonly addPath?: { readonly send: boolean; readonly receive: boolean };
};

export type Role = 'provider' | 'rs' | 'rs-client' | 'customer' | 'peer';
const ROLES: readonly Role[] = ['provider', 'rs', 'rs-client', 'customer', 'peer'];
/** What the other side has to be. */
const counterpart = {
	provider: 'customer',
	customer: 'provider',
	rs: 'rs-client',
	'rs-client': 'rs',
	peer: 'peer',
} as const;

/** What the peer said about graceful restart (RFC 4724 §3, RFC 8538 §2). */
export type PeerGracefulRestart = {
	readonly restartState: boolean;
	readonly notification: boolean;
	/** Seconds. */
	readonly restartTime: number;
	/** Whether forwarding state was kept, by family; families without it in the capability are absent. */
	readonly families: ReadonlyMap<string, boolean>;
};

export type Negotiated = {
	readonly peerAS: number;
	readonly ibgp: boolean;
	readonly bgpIdentifier: string;
	/** Seconds; the smaller of both, 0 for none. */
	readonly holdTime: number;
	/** Seconds; 0 for none. */
	readonly keepaliveTime: number;
	/** Keys `afi/safi` both offered. */
	readonly families: ReadonlySet<string>;
	readonly routeRefresh: boolean;
	/** RFC 7313. */
	readonly enhancedRouteRefresh: boolean;
	/** IPv4 prefixes may have IPv6 next hops (RFC 8950). */
	readonly extendedNextHop: boolean;
	readonly gracefulRestart?: PeerGracefulRestart;
	readonly codec: CodecOptions;
};

export type Refusal = { readonly notification: Notification; readonly message: string };
export type OpenResult =
	| { readonly ok: true; readonly negotiated: Negotiated }
	| { readonly ok: false; readonly error: Refusal };

const BGP_VERSION = 4;

/** RFC 8950: we take and give IPv4 prefixes with IPv6 next hops. */
const ipv4OverIpv6 = { code: 5, tuples: [{ afi: 1, safi: 1, nextHopAfi: 2 }] } as const;

const afiSafi = (key: string): { afi: number; safi: number } => {
	const [afi, safi] = key.split('/');
	return { afi: Number(afi), safi: Number(safi) };
};

const isExternal = (local: LocalOpen): boolean => local.peerAS !== local.asNumber;

/** RFC 9234 §4.2: why the session cannot be. */
const roleMismatch = (open: OpenMessage, { role, strictRole }: LocalOpen): string | undefined => {
	if (role === undefined) return undefined;
	const said = new Set(open.capabilities.flatMap((c) => (c.code === 9 && 'role' in c ? [c.role] : [])));
	if (said.size === 0) return strictRole ? 'it does not say its role' : undefined;
	const [theirs] = said;
	const name = ROLES[theirs ?? -1];
	if (said.size === 1 && name === counterpart[role]) return undefined;
	return `its role is ${said.size > 1 ? 'more than one' : (name ?? theirs)}, as we are ${role} it has to be ${counterpart[role]}`;
};

/**
 * Our OPEN. F is always set: the kernel keeps what we forward on while we are away, whatever ended us.
 * `restarting` is the R bit: we are back and have not yet got everyone's routes again.
 */
export const openMessage = ({ addPath, ...local }: LocalOpen, restarting: boolean): OpenMessage => ({
	type: 'OPEN',
	version: BGP_VERSION,
	asNumber: local.asNumber > 0xffff ? AS_TRANS : local.asNumber,
	holdTime: local.holdTime,
	bgpIdentifier: local.bgpIdentifier,
	capabilities: [
		...local.families.map((key) => ({ code: 1, ...afiSafi(key) }) as const),
		{ code: 2 },
		...(local.families.includes('1/1') ? [ipv4OverIpv6] : []),
		{ code: 6 },
		{
			code: 64,
			restartState: restarting,
			notification: true,
			restartTime: local.restartTime,
			families: local.families.map((key) => ({ ...afiSafi(key), forwardingState: true })),
		},
		...(isExternal(local) && local.role !== undefined ? [{ code: 9, role: ROLES.indexOf(local.role) } as const] : []),
		{ code: 65, asNumber: local.asNumber },
		...(addPath === undefined
			? []
			: [{ code: 69, families: local.families.map((key) => ({ ...afiSafi(key), ...addPath })) } as const]),
		{ code: 70 },
	],
});

type Known<Code extends number> = Exclude<Extract<Capability, { readonly code: Code }>, { readonly unknown: true }>;

/** The last instance counts where a capability is sent more than once (RFC 4724 §3). */
const capability = <Code extends 1 | 2 | 6 | 64 | 65 | 70>(open: OpenMessage, code: Code): Known<Code> | undefined =>
	open.capabilities.findLast((c): c is Known<Code> => c.code === code && !('unknown' in c));

const u32 = (n: number): Uint8Array => Uint8Array.of(n >>> 24, (n >>> 16) & 255, (n >>> 8) & 255, n & 255);
const u16 = (n: number): Uint8Array => Uint8Array.of((n >>> 8) & 255, n & 255);

const refuse = (subcode: number, data: Uint8Array, message: string): OpenResult => ({
	ok: false,
	error: { notification: notification(ERROR_CODE.open, subcode, data), message },
});

const gracefulRestartOf = (open: OpenMessage): PeerGracefulRestart | undefined => {
	const gr = capability(open, 64);
	return (
		gr && {
			restartState: gr.restartState,
			notification: gr.notification,
			restartTime: gr.restartTime,
			families: new Map(gr.families.map((f) => [`${f.afi}/${f.safi}`, f.forwardingState])),
		}
	);
};

/** Families with path identifiers, by direction: one side has to send and the other to receive them (RFC 7911 §4). */
const addPathOf = (open: OpenMessage, local: LocalOpen, families: ReadonlySet<string>) => {
	const theirs = open.capabilities.findLast((c) => c.code === 69 && 'families' in c && 'families' in c);
	const said = theirs !== undefined && theirs.code === 69 && 'families' in theirs ? theirs.families : [];
	const agreed = (can: boolean | undefined, direction: 'send' | 'receive'): Set<string> =>
		new Set(
			said.flatMap((family) => {
				const key = `${family.afi}/${family.safi}`;
				return can &&
					direction in family &&
					(family as Record<string, unknown>)[direction] === true &&
					families.has(key)
					? [key]
					: [];
			}),
		);
	const addPathReceive = agreed(local.addPath?.receive, 'send');
	const addPathSend = agreed(local.addPath?.send, 'receive');
	return {
		...(addPathReceive.size > 0 && { addPathReceive }),
		...(addPathSend.size > 0 && { addPathSend }),
	};
};

/** Checks a peer's OPEN against what we are and agrees on the rest. */
export const negotiate = (open: OpenMessage, local: LocalOpen): OpenResult => {
	if (open.version !== BGP_VERSION) {
		return refuse(
			OPEN_ERROR.unsupportedVersion,
			u16(BGP_VERSION),
			`it speaks BGP version ${open.version}, we speak ${BGP_VERSION}`,
		);
	}
	const fourOctet = capability(open, 65);
	const peerAS = fourOctet?.asNumber ?? open.asNumber;
	// RFC 6793 §4.2.2, §9: the field has the same number, or AS_TRANS where it cannot or may not.
	if (open.asNumber !== peerAS && open.asNumber !== AS_TRANS) {
		return refuse(
			OPEN_ERROR.badPeerAS,
			u32(peerAS),
			`it says AS ${open.asNumber} in its OPEN and AS ${peerAS} in the capability for 4-octet AS numbers`,
		);
	}
	if (local.peerAS === 0 ? peerAS === local.asNumber : peerAS !== local.peerAS) {
		return refuse(
			OPEN_ERROR.badPeerAS,
			u32(peerAS),
			`it says it is in AS ${peerAS}, but ${local.peerAS === 0 ? 'another than ours' : `AS ${local.peerAS}`} is configured for it`,
		);
	}
	const ibgp = peerAS === local.asNumber;
	const id = open.bgpIdentifier;
	// RFC 6286 §2.1: any non-zero value; the same as ours is an error inside one AS only.
	if (id === '0.0.0.0' || (ibgp && id === local.bgpIdentifier)) {
		return refuse(
			OPEN_ERROR.badBgpIdentifier,
			addressToBytes(id) ?? new Uint8Array(4),
			id === '0.0.0.0'
				? 'its BGP identifier is 0.0.0.0'
				: `its BGP identifier ${id} is ours too: give one of the routers another`,
		);
	}
	if (open.holdTime === 1 || open.holdTime === 2) {
		return refuse(
			OPEN_ERROR.unacceptableHoldTime,
			u16(open.holdTime),
			`its hold time is ${open.holdTime} s, the least allowed is 3 s`,
		);
	}
	const offered = open.capabilities.flatMap((c) =>
		c.code === 1 && !('unknown' in c) && 'afi' in c ? [`${c.afi}/${c.safi}`] : [],
	);
	// Without any multiprotocol capability a speaker means IPv4 unicast (RFC 4760 §8).
	const theirs = new Set(offered.length > 0 ? offered : ['1/1']);
	const families = new Set<string>(local.families.filter((key) => theirs.has(key)));
	if (families.size === 0) {
		const wanted = local.families.flatMap((key) => [1, 4, 0, afiSafi(key).afi, 0, afiSafi(key).safi]);
		return refuse(
			OPEN_ERROR.unsupportedCapability,
			Uint8Array.from(wanted),
			`no address family in common: it offers ${[...theirs].join(', ')}, we ${local.families.join(', ')} (afi/safi)`,
		);
	}
	const mismatch = ibgp ? undefined : roleMismatch(open, local);
	if (mismatch !== undefined) return refuse(OPEN_ERROR.roleMismatch, new Uint8Array(0), mismatch);
	const holdTime = Math.min(local.holdTime, open.holdTime);
	const gracefulRestart = gracefulRestartOf(open);
	return {
		ok: true,
		negotiated: {
			peerAS,
			ibgp,
			bgpIdentifier: id,
			holdTime,
			keepaliveTime: Math.min(holdTime / 3, local.keepaliveTime ?? Number.POSITIVE_INFINITY),
			families,
			routeRefresh: capability(open, 2) !== undefined,
			enhancedRouteRefresh: capability(open, 70) !== undefined,
			extendedNextHop:
				families.has('1/1') &&
				open.capabilities.some(
					(c) =>
						c.code === 5 && 'tuples' in c && c.tuples.some((t) => t.afi === 1 && t.safi === 1 && t.nextHopAfi === 2),
				),
			...(gracefulRestart && { gracefulRestart }),
			codec: {
				fourOctetAs: fourOctet !== undefined,
				ibgp,
				...addPathOf(open, local, families),
				// RFC 8654 §4: once both have said so.
				maxMessageLength: capability(open, 6) === undefined ? MAX_MESSAGE_LENGTH : MAX_EXTENDED_MESSAGE_LENGTH,
			},
		},
	};
};
