/**
 * MP_REACH_NLRI and MP_UNREACH_NLRI (RFC 4760 §3, §4), next hops of IPv6 (RFC 2545 §3) and IPv6 next hops of IPv4
 * prefixes (RFC 8950 §3). Of a family this codec does not know only `afi` and `safi` are told: it cannot have been agreed.
 */

import { v4At, v6At } from './address.ts';
import { ERROR_CODE, UPDATE_ERROR } from './constants.ts';
import { fail, reset } from './errors.ts';
import { decodeNlri, familyKey, isSupported } from './nlri.ts';
import { u8At, u16At } from './reader.ts';
import { AFI, type AfiSafi, type CodecOptions, type Decoded, type Nlri } from './types.ts';

export type MpReach = AfiSafi & {
	/** Undefined: no address of a host, so the prefixes cannot be used. */
	readonly nextHop: string | undefined;
	readonly linkLocalNextHop: string | undefined;
	readonly nlri: readonly Nlri[];
	/** Whether prefixes were there, also those of a family unknown. */
	readonly reachable: boolean;
};
export type MpUnreach = AfiSafi & { readonly nlri: readonly Nlri[]; readonly empty: boolean };

/**
 * Where MP attributes are malformed nobody can tell the prefixes concerned: the session ends (RFC 7606 §5.3, §7.11), with
 * the attribute as data (RFC 4760 §7).
 */
const malformed = (name: string, why: string, attribute: () => Uint8Array): ReturnType<typeof fail> =>
	fail(reset(ERROR_CODE.update, UPDATE_ERROR.optionalAttribute, `${name} cannot be read: ${why}.`, attribute()));

const isLinkLocal = (bytes: Uint8Array, at: number): boolean =>
	u8At(bytes, at) === 0xfe && (u8At(bytes, at + 1) & 0xc0) === 0x80;

/** Unspecified, loopback and multicast addresses are no next hops. */
const isV6Host = (bytes: Uint8Array, at: number): boolean => {
	if (u8At(bytes, at) === 0xff) return false;
	for (let i = 0; i < 15; i++) if (bytes[at + i] !== 0) return true;
	return u8At(bytes, at + 15) > 1;
};

/** RFC 1122 §3.2.1.3: 0/8, 127/8 and what is not unicast name no host. */
export const isV4Host = (bytes: Uint8Array, at: number): boolean => {
	const first = u8At(bytes, at);
	return first !== 0 && first !== 127 && first < 224;
};

const decodeNextHop = (bytes: Uint8Array): Pick<MpReach, 'nextHop' | 'linkLocalNextHop'> => {
	if (bytes.length === 4) {
		return { nextHop: isV4Host(bytes, 0) ? v4At(bytes, 0) : undefined, linkLocalNextHop: undefined };
	}
	// A second address that is not link-local breaks RFC 2545 §3 and helps nobody: left out.
	const linkLocalNextHop = bytes.length === 32 && isLinkLocal(bytes, 16) ? v6At(bytes, 16) : undefined;
	// Without a global address some speakers send `::` in its place on unnumbered links.
	return { nextHop: isV6Host(bytes, 0) ? v6At(bytes, 0) : linkLocalNextHop, linkLocalNextHop };
};

export const decodeMpReach = (
	value: Uint8Array,
	attribute: () => Uint8Array,
	options: CodecOptions,
): Decoded<MpReach> => {
	const name = 'MP_REACH_NLRI';
	if (value.length < 5) return malformed(name, `it has ${value.length} octets of at least 5`, attribute);
	const family = { afi: u16At(value, 0), safi: u8At(value, 2) };
	const nextHopLength = u8At(value, 3);
	// One reserved octet stands between next hop and prefixes.
	const start = 4 + nextHopLength + 1;
	if (start > value.length)
		return malformed(name, `a next hop of ${nextHopLength} octets is beyond its end`, attribute);
	const reachable = start < value.length;
	if (!isSupported(family)) {
		return {
			ok: true,
			value: { ...family, nextHop: undefined, linkLocalNextHop: undefined, nlri: [], reachable },
		};
	}
	if (nextHopLength !== 16 && nextHopLength !== 32 && !(nextHopLength === 4 && family.afi === AFI.ipv4)) {
		return malformed(name, `a next hop of AFI ${family.afi} does not have ${nextHopLength} octets`, attribute);
	}
	const nlri = decodeNlri(value.subarray(start), family.afi, options.addPathReceive?.has(familyKey(family)) ?? false);
	if (typeof nlri === 'string') return malformed(name, nlri, attribute);
	return { ok: true, value: { ...family, ...decodeNextHop(value.subarray(4, 4 + nextHopLength)), nlri, reachable } };
};

export const decodeMpUnreach = (
	value: Uint8Array,
	attribute: () => Uint8Array,
	options: CodecOptions,
): Decoded<MpUnreach> => {
	const name = 'MP_UNREACH_NLRI';
	if (value.length < 3) return malformed(name, `it has ${value.length} octets of at least 3`, attribute);
	const family = { afi: u16At(value, 0), safi: u8At(value, 2) };
	const empty = value.length === 3;
	if (!isSupported(family)) return { ok: true, value: { ...family, nlri: [], empty } };
	const nlri = decodeNlri(value.subarray(3), family.afi, options.addPathReceive?.has(familyKey(family)) ?? false);
	if (typeof nlri === 'string') return malformed(name, nlri, attribute);
	return { ok: true, value: { ...family, nlri, empty } };
};
