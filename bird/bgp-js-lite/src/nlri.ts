/**
 * Prefixes on the wire: a length in bits and as many whole octets as it needs (RFC 4271 §4.3), after four octets of path
 * id where add-path is agreed (RFC 7911 §3). Bits beyond the length mean nothing and are cleared.
 */

import { parseV4, v6At, writeV6 } from './address.ts';
import { u8At, u32At } from './reader.ts';
import { AFI, type AfiSafi, type Nlri, SAFI } from './types.ts';

/** What one prefix takes at most: path id, length, sixteen octets. */
export const MAX_NLRI_LENGTH = 21;

export const familyKey = (family: AfiSafi): string => `${family.afi}/${family.safi}`;

/** Families whose NLRI this codec reads and writes. */
export const isSupported = (family: AfiSafi): boolean =>
	family.safi === SAFI.unicast && (family.afi === AFI.ipv4 || family.afi === AFI.ipv6);

/** Scratch of {@link v6Prefix}: sixteen octets, used and left within one call. */
const octets = new Uint8Array(16);

/** Prefixes are put together of two texts, since each text between costs memory: the one before the last octet, kept, */
let lastHead = 0;
let headText = '0.0.0.';
/** and last octet and length, by both. */
const endings: (string | undefined)[] = new Array(33 * 256).fill(undefined);

const v4Prefix = (bytes: Uint8Array, from: number, length: number): string => {
	const count = (length + 7) >> 3;
	let value = 0;
	for (let i = 0; i < count; i++) value |= u8At(bytes, from + i) << (24 - 8 * i);
	if (length < 32) value &= ~(0xffffffff >>> length);
	const head = value >>> 8;
	if (head !== lastHead) {
		lastHead = head;
		headText = `${head >>> 16}.${(head >>> 8) & 255}.${head & 255}.`;
	}
	const at = (length << 8) | (value & 255);
	endings[at] ??= `${value & 255}/${length}`;
	return headText + endings[at];
};

const v6Prefix = (bytes: Uint8Array, at: number, length: number): string => {
	const count = (length + 7) >> 3;
	octets.fill(0);
	for (let i = 0; i < count; i++) octets[i] = u8At(bytes, at + i);
	if (length & 7) octets[count - 1] = u8At(octets, count - 1) & (0xff00 >> (length & 7));
	return `${v6At(octets, 0)}/${length}`;
};

/** The prefixes that fill `bytes` exactly, or why they do not. `afi` is 1 or 2. */
export const decodeNlri = (bytes: Uint8Array, afi: number, addPath: boolean): readonly Nlri[] | string => {
	const v6 = afi === AFI.ipv6;
	const maxLength = v6 ? 128 : 32;
	const end = bytes.length;
	const list: Nlri[] = [];
	let at = 0;
	while (at < end) {
		let pathId = 0;
		if (addPath) {
			if (end - at < 5) return 'the last path identifier has no prefix after it';
			pathId = u32At(bytes, at);
			at += 4;
		}
		const length = u8At(bytes, at++);
		if (length > maxLength) return `a prefix length of ${length} is more than ${maxLength}`;
		const count = (length + 7) >> 3;
		if (count > end - at) return `a prefix of length ${length} needs ${count} octets, and ${end - at} are left`;
		const prefix = v6 ? v6Prefix(bytes, at, length) : v4Prefix(bytes, at, length);
		list.push(addPath ? { prefix, pathId } : { prefix });
		at += count;
	}
	return list;
};

const parseLength = (text: string, slash: number, max: number): number => {
	let length = 0;
	for (let i = slash + 1; i < text.length; i++) {
		const c = text.charCodeAt(i);
		if (c < 48 || c > 57) length = Number.NaN;
		length = length * 10 + c - 48;
	}
	if (slash < 0 || slash === text.length - 1 || !(length <= max)) {
		throw new RangeError(`'${text}' is not a prefix with a length of 0 to ${max}`);
	}
	return length;
};

/**
 * Writes one prefix at `at` and returns where it ends. `into` must have MAX_NLRI_LENGTH bytes left there, of which those
 * beyond the end returned are garbage.
 */
export const writeNlri = (nlri: Nlri, afi: number, addPath: boolean, into: Uint8Array, at: number): number => {
	const { prefix } = nlri;
	const slash = prefix.lastIndexOf('/');
	let start = at;
	if (addPath) {
		const pathId = nlri.pathId ?? 0;
		into[start++] = pathId >>> 24;
		into[start++] = pathId >>> 16;
		into[start++] = pathId >>> 8;
		into[start++] = pathId;
	}
	if (afi === AFI.ipv6) {
		const length = parseLength(prefix, slash, 128);
		into[start++] = length;
		writeV6(prefix, into, start, 0, slash);
		const end = start + ((length + 7) >> 3);
		if (length & 7) into[end - 1] = u8At(into, end - 1) & (0xff00 >> (length & 7));
		return end;
	}
	const length = parseLength(prefix, slash, 32);
	let value = parseV4(prefix, 0, slash);
	if (length < 32) value &= ~(0xffffffff >>> length);
	into[start++] = length;
	for (let shift = 24; shift > 24 - length; shift -= 8) into[start++] = value >>> shift;
	return start;
};
