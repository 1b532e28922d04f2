import { addressToBytes, type Family } from '../../src/net/ip.ts';

/**
 * A classic BPF program for a UDP socket that lets in only packets with a TTL high enough for who sent them (RFC 5881 §5,
 * RFC 5883 §3): UDP knows no IP_MINTTL, and dropped here they cost this process nothing. The IP header is read at
 * SKF_NET_OFF (net/core/filter.c), since the data of a UDP socket begin at the UDP header.
 */

export type TtlRule = { readonly address: string; readonly minimumTtl: number };

/** One `struct sock_filter`. */
export type Instruction = readonly [code: number, whenTrue: number, whenFalse: number, value: number];

const LOAD_BYTE = 0x30;
const LOAD_WORD = 0x20;
const JUMP_EQUAL = 0x15;
const JUMP_AT_LEAST = 0x35;
const RETURN = 0x06;
const NETWORK_HEADER = -0x100000;
const TAKE = 0xffffffff;

const header = { 4: { ttl: 8, source: 12 }, 6: { ttl: 7, source: 8 } } as const;

const verdict = (family: Family, minimumTtl: number): Instruction[] => [
	[LOAD_BYTE, 0, 0, NETWORK_HEADER + header[family].ttl],
	[JUMP_AT_LEAST, 0, 1, minimumTtl],
	[RETURN, 0, 0, TAKE],
	[RETURN, 0, 0, 0],
];

/** A rule for an address that is none of the family is left out. A source without a rule is not let in. */
export const ttlFilter = (family: Family, rules: readonly TtlRule[]): readonly Instruction[] => {
	const lowest = Math.min(255, ...rules.map((rule) => rule.minimumTtl));
	if (rules.every((rule) => rule.minimumTtl === lowest)) return verdict(family, lowest);
	const program: Instruction[] = [];
	for (const { address, minimumTtl } of rules) {
		const bytes = addressToBytes(address);
		if (bytes?.length !== (family === 4 ? 4 : 16)) continue;
		const view = new DataView(bytes.buffer);
		const found = verdict(family, minimumTtl);
		for (let at = 0; at < bytes.length; at += 4) {
			// Not this source: on to the next rule, over the rest of this one.
			const rest = ((bytes.length - at) / 4 - 1) * 2 + found.length;
			program.push([LOAD_WORD, 0, 0, NETWORK_HEADER + header[family].source + at]);
			program.push([JUMP_EQUAL, 0, rest, view.getUint32(at)]);
		}
		program.push(...found);
	}
	return [...program, [RETURN, 0, 0, 0]];
};

/** As setsockopt wants it, in the byte order of every machine Node runs on. */
export const encodeFilter = (program: readonly Instruction[]): Uint8Array => {
	const bytes = new Uint8Array(program.length * 8);
	const view = new DataView(bytes.buffer);
	program.forEach(([code, whenTrue, whenFalse, value], i) => {
		view.setUint16(i * 8, code, true);
		view.setUint8(i * 8 + 2, whenTrue);
		view.setUint8(i * 8 + 3, whenFalse);
		view.setUint32(i * 8 + 4, value >>> 0, true);
	});
	return bytes;
};
