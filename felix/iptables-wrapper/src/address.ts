/**
 * Addresses as iptables and ipset print them, which is glibc's inet_ntop: RFC 5952, with IPv4-mapped and
 * IPv4-compatible IPv6 addresses ending in a dotted quad. Strict: no leading zeros, never octal, never a host name.
 */
import type { Family } from './types.ts';

export type ParsedPrefix = { readonly family: Family; readonly value: bigint; readonly length: number };

const parseV4 = (text: string): bigint | undefined => {
	const match = /^(\d{1,3})\.(\d{1,3})\.(\d{1,3})\.(\d{1,3})$/.exec(text);
	if (match === null) return undefined;
	let value = 0;
	for (let i = 1; i <= 4; i++) {
		const octet = match[i] as string;
		if (Number(octet) > 255 || (octet.length > 1 && octet.startsWith('0'))) return undefined;
		value = value * 256 + Number(octet);
	}
	return BigInt(value);
};

const parseGroups = (text: string): number[] | undefined => {
	if (text === '') return [];
	const groups: number[] = [];
	const parts = text.split(':');
	for (const [i, part] of parts.entries()) {
		if (part.includes('.')) {
			const v4 = i === parts.length - 1 ? parseV4(part) : undefined;
			if (v4 === undefined) return undefined;
			groups.push(Number(v4 >> 16n), Number(v4 & 0xffffn));
		} else if (/^[0-9a-f]{1,4}$/i.test(part)) {
			groups.push(Number.parseInt(part, 16));
		} else {
			return undefined;
		}
	}
	return groups;
};

const parseV6 = (text: string): bigint | undefined => {
	const gap = text.indexOf('::');
	let groups: number[] | undefined;
	if (gap < 0) {
		groups = parseGroups(text);
	} else {
		if (text.indexOf('::', gap + 1) >= 0) return undefined;
		const head = parseGroups(text.slice(0, gap));
		const tail = parseGroups(text.slice(gap + 2));
		if (head === undefined || tail === undefined || head.length + tail.length > 7) return undefined;
		if (text.slice(0, gap).includes('.')) return undefined;
		groups = [...head, ...new Array<number>(8 - head.length - tail.length).fill(0), ...tail];
	}
	if (groups?.length !== 8) return undefined;
	return groups.reduce((value, group) => (value << 16n) | BigInt(group), 0n);
};

const formatV4 = (value: number): string =>
	`${value >>> 24}.${(value >>> 16) & 255}.${(value >>> 8) & 255}.${value & 255}`;

const formatV6 = (value: bigint): string => {
	const groups = Array.from({ length: 8 }, (_, i) => Number((value >> BigInt(112 - 16 * i)) & 0xffffn));
	let start = -1;
	let length = 1;
	for (let i = 0; i < 8; i++) {
		let end = i;
		while (end < 8 && groups[end] === 0) end++;
		if (end - i > length) {
			start = i;
			length = end - i;
		}
		if (end > i) i = end;
	}
	// glibc resolv/inet_ntop.c: a dotted quad after six zero groups, or after five and ffff.
	const dotted = start === 0 && (length === 6 || (length === 5 && groups[5] === 0xffff));
	const hex = (from: number, to: number): string =>
		groups
			.slice(from, to)
			.map((group) => group.toString(16))
			.join(':');
	if (dotted) return `::${length === 5 ? 'ffff:' : ''}${formatV4(Number(value & 0xffffffffn))}`;
	return start < 0 ? hex(0, 8) : `${hex(0, start)}::${hex(start + length, 8)}`;
};

/** Parses `ADDRESS`, `ADDRESS/LENGTH` or, for IPv4, `ADDRESS/MASK` (contiguous); host bits are cleared. */
export const parsePrefix = (text: string): ParsedPrefix | undefined => {
	const slash = text.indexOf('/');
	const addressText = slash < 0 ? text : text.slice(0, slash);
	const family: Family = addressText.includes(':') ? 6 : 4;
	const bits = family === 4 ? 32 : 128;
	const address = family === 4 ? parseV4(addressText) : parseV6(addressText);
	if (address === undefined) return undefined;
	let length = bits;
	if (slash >= 0) {
		const rest = text.slice(slash + 1);
		if (/^(0|[1-9]\d{0,2})$/.test(rest)) {
			length = Number(rest);
		} else {
			const mask = family === 4 ? parseV4(rest) : undefined;
			if (mask === undefined) return undefined;
			const ones = mask.toString(2).padStart(32, '0');
			if (!/^1*0*$/.test(ones)) return undefined;
			length = ones.indexOf('0') < 0 ? 32 : ones.indexOf('0');
		}
		if (length > bits) return undefined;
	}
	const host = BigInt(bits - length);
	return { family, value: (address >> host) << host, length };
};

/** Text of a prefix's address, without its length. */
export const formatValue = (prefix: ParsedPrefix): string =>
	prefix.family === 4 ? formatV4(Number(prefix.value)) : formatV6(prefix.value);
