/**
 * IP addresses and prefixes as values: strict parsing, canonical text (RFC 5952), containment.
 *
 * Across module boundaries an address or a prefix travels as its canonical text; arithmetic happens on
 * {@link Address} and {@link Cidr}. Parsing is strict: no leading zeros (`010.1.1.1` is refused, never octal),
 * no zone, no surrounding blanks. A failed parse is `undefined`, never an exception.
 */

export type Family = 4 | 6;

/** An address: its family and its value as an unsigned integer of 32 or 128 bits. */
export type Address = { readonly family: Family; readonly value: bigint };

/** A prefix whose host bits are zero. `length` is 0..32 or 0..128. */
export type Cidr = { readonly family: Family; readonly value: bigint; readonly length: number };

export const bitsOf = (family: Family): 32 | 128 => (family === 4 ? 32 : 128);

const parseV4 = (text: string, from: number): number | undefined => {
	let value = 0;
	let octet = -1;
	let octets = 0;
	for (let i = from; i <= text.length; i++) {
		const c = i < text.length ? text.charCodeAt(i) : 46;
		if (c === 46) {
			if (octet < 0 || ++octets > 4) return undefined;
			value = value * 256 + octet;
			octet = -1;
		} else if (c >= 48 && c <= 57) {
			if (octet === 0) return undefined;
			octet = octet < 0 ? c - 48 : octet * 10 + (c - 48);
			if (octet > 255) return undefined;
		} else {
			return undefined;
		}
	}
	return octets === 4 ? value : undefined;
};

const hexDigit = (c: number): number =>
	c >= 48 && c <= 57 ? c - 48 : c >= 97 && c <= 102 ? c - 87 : c >= 65 && c <= 70 ? c - 55 : -1;

/** The eight groups of an IPv6 address, or undefined (RFC 4291 §2.2). */
const parseV6Groups = (text: string): number[] | undefined => {
	const groups: number[] = [];
	let gap = -1;
	let i = 0;
	if (text.startsWith('::')) {
		gap = 0;
		i = 2;
	} else if (text.startsWith(':')) {
		return undefined;
	}
	while (i < text.length) {
		const start = i;
		let value = 0;
		let digit = hexDigit(text.charCodeAt(i));
		while (digit >= 0 && i - start < 4) {
			value = value * 16 + digit;
			i++;
			digit = i < text.length ? hexDigit(text.charCodeAt(i)) : -1;
		}
		if (i < text.length && text.charCodeAt(i) === 46) {
			const v4 = parseV4(text, start);
			if (v4 === undefined) return undefined;
			groups.push(Math.floor(v4 / 65536), v4 % 65536);
			i = text.length;
			break;
		}
		if (i === start) return undefined;
		groups.push(value);
		if (i === text.length) break;
		if (text.charCodeAt(i) !== 58) return undefined;
		i++;
		if (text.charCodeAt(i) === 58) {
			if (gap >= 0) return undefined;
			gap = groups.length;
			i++;
		} else if (i === text.length) {
			return undefined;
		}
	}
	if (gap < 0) return groups.length === 8 ? groups : undefined;
	if (groups.length > 7) return undefined;
	return [...groups.slice(0, gap), ...new Array<number>(8 - groups.length).fill(0), ...groups.slice(gap)];
};

/** Parses an address; undefined when `text` is not exactly one. */
export const parseAddress = (text: string): Address | undefined => {
	if (!text.includes(':')) {
		const v4 = parseV4(text, 0);
		return v4 === undefined ? undefined : { family: 4, value: BigInt(v4) };
	}
	const groups = parseV6Groups(text);
	if (groups === undefined) return undefined;
	const at = (i: number): bigint => BigInt(groups[i] as number);
	let value = 0n;
	for (let i = 0; i < 8; i++) value = (value << 16n) | at(i);
	return { family: 6, value };
};

const formatV4 = (n: number): string => `${n >>> 24}.${(n >>> 16) & 255}.${(n >>> 8) & 255}.${n & 255}`;

/** RFC 5952: lower case, the longest run of two or more zero groups shortened, the first of equals. */
const formatV6Groups = (groups: ArrayLike<number>): string => {
	let best = -1;
	let bestLength = 1;
	for (let i = 0; i < 8; i++) {
		let j = i;
		while (j < 8 && groups[j] === 0) j++;
		if (j - i > bestLength) {
			best = i;
			bestLength = j - i;
		}
		if (j > i) i = j;
	}
	let text = '';
	for (let i = 0; i < 8; i++) {
		if (i === best) {
			text += '::';
			i += bestLength - 1;
			continue;
		}
		if (text !== '' && !text.endsWith(':')) text += ':';
		text += (groups[i] as number).toString(16);
	}
	return text;
};

/** Canonical text of an address. */
export const formatAddress = (address: Address): string => {
	if (address.family === 4) return formatV4(Number(address.value));
	const groups = new Array<number>(8);
	let value = address.value;
	for (let i = 7; i >= 0; i--) {
		groups[i] = Number(value & 0xffffn);
		value >>= 16n;
	}
	return formatV6Groups(groups);
};

/** Network-order bytes of an address text: 4 or 16 of them. Undefined when it is not an address. */
export const addressToBytes = (text: string): Uint8Array | undefined => {
	if (!text.includes(':')) {
		const v4 = parseV4(text, 0);
		return v4 === undefined ? undefined : Uint8Array.of(v4 >>> 24, (v4 >>> 16) & 255, (v4 >>> 8) & 255, v4 & 255);
	}
	const groups = parseV6Groups(text);
	if (groups === undefined) return undefined;
	const bytes = new Uint8Array(16);
	for (let i = 0; i < 8; i++) {
		bytes[2 * i] = (groups[i] as number) >>> 8;
		bytes[2 * i + 1] = (groups[i] as number) & 255;
	}
	return bytes;
};

/** Canonical text of 4 or 16 network-order bytes starting at `offset`; throws a RangeError on too few. */
export const addressFromBytes = (bytes: Uint8Array, family: Family, offset = 0): string => {
	const length = family === 4 ? 4 : 16;
	if (offset + length > bytes.length) {
		throw new RangeError(`an IPv${family} address needs ${length} bytes, ${bytes.length - offset} left`);
	}
	const at = (i: number): number => bytes[offset + i] as number;
	if (family === 4) return `${at(0)}.${at(1)}.${at(2)}.${at(3)}`;
	const groups = new Array<number>(8);
	for (let i = 0; i < 8; i++) groups[i] = (at(2 * i) << 8) | at(2 * i + 1);
	return formatV6Groups(groups);
};

const maskedValue = (family: Family, value: bigint, length: number): bigint => {
	const host = BigInt(bitsOf(family) - length);
	return (value >> host) << host;
};

/** Parses `ADDRESS/LENGTH`; `hostBits` tells that the text had bits set beyond the length, which are cleared. */
export const parseCidr = (text: string): (Cidr & { readonly hostBits: boolean }) | undefined => {
	const slash = text.indexOf('/');
	if (slash < 0) return undefined;
	const lengthText = text.slice(slash + 1);
	if (!/^(0|[1-9]\d{0,2})$/.test(lengthText)) return undefined;
	const length = Number(lengthText);
	const address = parseAddress(text.slice(0, slash));
	if (address === undefined || length > bitsOf(address.family)) return undefined;
	const value = maskedValue(address.family, address.value, length);
	return { family: address.family, value, length, hostBits: value !== address.value };
};

/** Canonical text of a prefix. */
export const formatCidr = (cidr: Cidr): string => `${formatAddress(cidr)}/${cidr.length}`;

/** Canonical text of an address text, or undefined. */
export const canonicalAddress = (text: string): string | undefined => {
	// An IPv4 address that can be read has one text only.
	if (!text.includes(':')) return parseV4(text, 0) === undefined ? undefined : text;
	const groups = parseV6Groups(text);
	const canonical = groups && formatV6Groups(groups);
	// The text that was given rather than another put together from pieces: many are kept.
	return canonical === text ? text : canonical;
};

/** Canonical text of a prefix text, host bits cleared, or undefined. */
export const canonicalCidr = (text: string): string | undefined => {
	const cidr = parseCidr(text);
	return cidr && formatCidr(cidr);
};

/** Family of an address or prefix text, told by its colon; the text is not checked. */
export const familyOf = (text: string): Family => (text.includes(':') ? 6 : 4);

/** The prefix that holds one address only: `/32` or `/128`. */
export const hostCidr = (address: string): string => `${address}/${bitsOf(familyOf(address))}`;

/** Whether `inner` (an address or a prefix) lies wholly in `outer`. */
export const contains = (outer: Cidr, inner: Address | Cidr): boolean =>
	outer.family === inner.family &&
	outer.length <= ('length' in inner ? inner.length : bitsOf(inner.family)) &&
	maskedValue(outer.family, inner.value, outer.length) === outer.value;

/** Whether two prefixes share an address. */
export const overlaps = (a: Cidr, b: Cidr): boolean => contains(a, b) || contains(b, a);

/** fe80::/10, in canonical text. */
export const isLinkLocal = (address: string): boolean => /^fe[89ab]/.test(address);
