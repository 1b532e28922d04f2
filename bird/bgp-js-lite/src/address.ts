/**
 * Addresses between their bytes and their canonical text (dotted quad, RFC 5952). Bytes are network order. Text that is
 * no address is a bug of the caller when encoding: RangeError.
 */

import { u8At, u16At } from './reader.ts';

/** Decimal text of every octet: joining these is what makes 100,000 prefixes cheap to print. */
const OCTETS: readonly string[] = Array.from({ length: 256 }, (_, octet) => String(octet));
const octetText = (octet: number): string => OCTETS[octet] as string;

export const formatV4 = (a: number, b: number, c: number, d: number): string =>
	`${octetText(a)}.${octetText(b)}.${octetText(c)}.${octetText(d)}`;

/** Text of the four bytes at `at`, which must be there. */
export const v4At = (bytes: Uint8Array, at: number): string =>
	formatV4(u8At(bytes, at), u8At(bytes, at + 1), u8At(bytes, at + 2), u8At(bytes, at + 3));

/** Text of the sixteen bytes at `at`, which must be there: the longest run of two or more zero groups is shortened. */
export const v6At = (bytes: Uint8Array, at: number): string => {
	let best = -1;
	let bestLength = 1;
	let run = 0;
	for (let i = 0; i < 8; i++) {
		run = u16At(bytes, at + 2 * i) === 0 ? run + 1 : 0;
		if (run > bestLength) {
			bestLength = run;
			best = i - run + 1;
		}
	}
	let text = '';
	for (let i = 0; i < 8; i++) {
		if (i === best) {
			text += '::';
			i += bestLength - 1;
			continue;
		}
		if (i > 0 && i !== best + bestLength) text += ':';
		text += u16At(bytes, at + 2 * i).toString(16);
	}
	return text;
};

const notAnAddress = (text: string): RangeError => new RangeError(`'${text}' is not an address in canonical text`);

/** Value of the dotted quad in `text` from `start` to `end`, as an unsigned number. */
export const parseV4 = (text: string, start = 0, end = text.length): number => {
	let value = 0;
	let octet = -1;
	let octets = 0;
	for (let i = start; i < end; i++) {
		const c = text.charCodeAt(i);
		if (c >= 48 && c <= 57) {
			octet = octet < 0 ? c - 48 : octet * 10 + c - 48;
			if (octet > 255) throw notAnAddress(text);
		} else {
			if (c !== 46 || octet < 0) throw notAnAddress(text);
			value = value * 256 + octet;
			octet = -1;
			octets++;
		}
	}
	if (octet < 0 || octets !== 3) throw notAnAddress(text);
	return value * 256 + octet;
};

const hexDigit = (c: number): number =>
	c >= 48 && c <= 57 ? c - 48 : c >= 97 && c <= 102 ? c - 87 : c >= 65 && c <= 70 ? c - 55 : -1;

/** Writes the sixteen bytes of the IPv6 text from `start` to `end` into `into` at `at`. */
export const writeV6 = (text: string, into: Uint8Array, at: number, start = 0, end = text.length): void => {
	const bytes = into.subarray(at, at + 16).fill(0);
	let group = 0;
	let gap = -1;
	let i = start;
	if (text.startsWith('::', start)) {
		gap = 0;
		i += 2;
	}
	while (i < end) {
		let value = 0;
		const first = i;
		let digit = hexDigit(text.charCodeAt(i));
		while (i < end && digit >= 0) {
			value = value * 16 + digit;
			digit = hexDigit(text.charCodeAt(++i));
		}
		if (i === first || i - first > 4 || group > 7) throw notAnAddress(text);
		bytes[2 * group] = value >>> 8;
		bytes[2 * group + 1] = value;
		group++;
		if (i === end) break;
		if (text.charCodeAt(i++) !== 58 || i === end) throw notAnAddress(text);
		if (text.charCodeAt(i) === 58) {
			if (gap >= 0) throw notAnAddress(text);
			gap = group;
			i++;
		}
	}
	if (gap < 0 ? group !== 8 : group > 7) throw notAnAddress(text);
	if (gap >= 0) {
		bytes.copyWithin(16 - 2 * (group - gap), 2 * gap, 2 * group);
		bytes.fill(0, 2 * gap, 16 - 2 * (group - gap));
	}
};

export const isV6 = (text: string): boolean => text.includes(':');

/** The four bytes of an IPv4 address or an identifier written like one. */
export const v4Bytes = (text: string): Uint8Array => {
	const value = parseV4(text);
	return Uint8Array.of(value >>> 24, value >>> 16, value >>> 8, value);
};

/** The sixteen bytes of an IPv6 address. */
export const v6Bytes = (text: string): Uint8Array => {
	const bytes = new Uint8Array(16);
	writeV6(text, bytes, 0);
	return bytes;
};
