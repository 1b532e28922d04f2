import { type Cidr, type Family, formatCidr } from '../../src/net/ip.ts';

/**
 * GTSM (RFC 5082) for connections that peers open, as a classic BPF program for the listening socket: packets of a peer
 * that come from too far never reach the connection, not even its SYN. IP_MINTTL cannot do that: it holds for all peers of
 * a listener alike, and on an accepted connection it comes too late for what is queued already.
 */

export type TtlRule = {
	readonly cidr: Cidr;
	/** 1..255. */
	readonly minimumTtl: number;
};

/** Offsets into the network header (include/uapi/linux/filter.h, SKF_NET_OFF). */
const NET = 0xfff00000;
const layout = {
	4: { ttl: NET + 8, source: NET + 12 },
	6: { ttl: NET + 7, source: NET + 8 },
} as const;

const LD_W_ABS = 0x20;
const LD_B_ABS = 0x30;
const AND_K = 0x54;
const JEQ_K = 0x15;
const JGE_K = 0x35;
const RET_K = 0x06;
const WHOLE_PACKET = 0xffffffff;

type Instruction = readonly [code: number, jumpTrue: number, jumpFalse: number, k: number];

const isTtl = (ttl: number, minimum: number): Instruction[] => [
	[LD_B_ABS, 0, 0, ttl],
	[JGE_K, 0, 1, minimum],
	[RET_K, 0, 0, WHOLE_PACKET],
];

/** The 32-bit words of an address that the prefix fixes, with their masks. */
const wordsOf = ({ family, value, length }: Cidr): { readonly word: number; readonly mask: number }[] => {
	const bits = family === 4 ? 32 : 128;
	const words = [];
	for (let from = 0; from < length; from += 32) {
		const word = Number((value >> BigInt(bits - from - 32)) & 0xffffffffn);
		const fixed = Math.min(32, length - from);
		words.push({ word, mask: fixed === 32 ? 0xffffffff : ~(0xffffffff >>> fixed) >>> 0 });
	}
	return words;
};

/** When the source is in the prefix: passed or dropped by its TTL; else the next rule. */
const ruleOf = (family: Family, { cidr, minimumTtl }: TtlRule): Instruction[] => {
	const { ttl, source } = layout[family];
	const verdict: Instruction[] = [...isTtl(ttl, minimumTtl), [RET_K, 0, 0, 0]];
	const tests: Instruction[][] = wordsOf(cidr).map(({ word, mask }, i) => [
		[LD_W_ABS, 0, 0, source + 4 * i],
		...(mask === 0xffffffff ? [] : [[AND_K, 0, 0, mask] as const]),
		[JEQ_K, 0, 0, word],
	]);
	let after = verdict.length;
	const patched: Instruction[][] = [];
	for (const test of tests.toReversed()) {
		const [code, , , k] = test.at(-1) as Instruction;
		patched.unshift([...test.slice(0, -1), [code, 0, after, k]]);
		after += test.length;
	}
	return [...patched.flat(), ...verdict];
};

/** Instructions of struct sock_filter, one after the other. The longest prefix decides; who is in none passes. */
export const createTtlFilter = (family: Family, rules: readonly TtlRule[]): Buffer => {
	const distinct = new Map(rules.map((rule) => [formatCidr(rule.cidr), rule]));
	const ordered = [...distinct.values()].toSorted((a, b) => b.cidr.length - a.cidr.length);
	const program: Instruction[] = [
		...isTtl(layout[family].ttl, 255),
		...ordered.flatMap((rule) => ruleOf(family, rule)),
		[RET_K, 0, 0, WHOLE_PACKET],
	];
	const bytes = Buffer.alloc(8 * program.length);
	program.forEach(([code, jumpTrue, jumpFalse, k], i) => {
		bytes.writeUInt16LE(code, 8 * i);
		bytes.writeUInt8(jumpTrue, 8 * i + 2);
		bytes.writeUInt8(jumpFalse, 8 * i + 3);
		bytes.writeUInt32LE(k, 8 * i + 4);
	});
	return bytes;
};
