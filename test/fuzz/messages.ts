import { bytes } from '../abuse/build.ts';
import { captures } from '../unit/bgp-captures.ts';
import type { Random } from './random.ts';

/** Messages for the fuzzer: made by a grammar that knows where errors hide, and captures of other speakers with bytes changed. */

export type Dialect = {
	readonly peerAS: number;
	readonly ibgp: boolean;
	readonly fourOctetAs: boolean;
	readonly addPath: boolean;
	readonly maxMessageLength: number;
};

/** Of other speakers, and the simplest there are. */
const sources: readonly Uint8Array[] = [...Object.values(captures), '00000000', '0004180a0101100000'].map(bytes);

const frame = (type: number, body: ArrayLike<number>): Uint8Array => {
	const whole = new Uint8Array(19 + body.length);
	whole.fill(255, 0, 16);
	whole[16] = whole.length >> 8;
	whole[17] = whole.length;
	whole[18] = type;
	whole.set(body, 19);
	return whole;
};

const octets = (random: Random, count: number): number[] => Array.from({ length: count }, () => random.int(256));
const u32 = (value: number): number[] => [value >>> 24, (value >>> 16) & 255, (value >>> 8) & 255, value & 255];
const u16 = (value: number): number[] => [value >> 8, value & 255];

const nlri = (random: Random, v6: boolean, { addPath }: Dialect): number[] => {
	const list: number[] = [];
	for (let count = random.int(4); count >= 0; count--) {
		if (addPath) list.push(...u32(random.int(3)));
		if (v6) list.push(32, 0x20, 1, 0xd, random.int(256));
		else list.push(16, 10, random.int(256));
		if (random.once(400)) list.push(random.pick([33, 129, 200]), 1, 2);
	}
	return list;
};

const asPath = (random: Random, { ibgp, peerAS, fourOctetAs }: Dialect): number[] => {
	const list: number[] = [];
	const as = (value: number): number[] => (fourOctetAs ? u32(value) : u16(value & 0xffff));
	const path = ibgp ? [] : [peerAS];
	for (let count = random.int(5); count > 0; count--) path.push(1 + random.int(64000));
	if (path.length > 0) list.push(2, path.length, ...path.flatMap(as));
	if (random.once(6)) list.push(1, 2, ...as(7), ...as(8));
	return list;
};

type Attribute = { flags: number; code: number; value: number[] };

const known: readonly ((random: Random, dialect: Dialect) => Attribute)[] = [
	(random) => ({ flags: 0x80, code: 4, value: octets(random, 4) }),
	(random) => ({ flags: 0x40, code: 5, value: octets(random, 4) }),
	() => ({ flags: 0x40, code: 6, value: [] }),
	(random, { fourOctetAs }) => ({ flags: 0xc0, code: 7, value: octets(random, fourOctetAs ? 8 : 6) }),
	(random) => ({ flags: 0xc0, code: 8, value: octets(random, 4 * (1 + random.int(3))) }),
	(random) => ({ flags: 0x80, code: 9, value: octets(random, 4) }),
	(random) => ({ flags: 0x80, code: 10, value: octets(random, 4 * (1 + random.int(3))) }),
	(random) => ({ flags: 0xc0, code: 16, value: octets(random, 8 * (1 + random.int(2))) }),
	(random) => ({ flags: 0xc0, code: 17, value: [2, 1, ...octets(random, 4)] }),
	(random) => ({ flags: 0xc0, code: 18, value: octets(random, 8) }),
	(random) => ({ flags: 0xc0, code: 25, value: octets(random, 20) }),
	(random) => ({ flags: 0xc0, code: 32, value: octets(random, 12 * (1 + random.int(2))) }),
	(random) => ({ flags: 0xc0, code: 35, value: octets(random, 4) }),
	(random) => ({
		flags: random.pick([0x80, 0xc0, 0xe0]),
		code: 99 + random.int(100),
		value: octets(random, random.int(9)),
	}),
];

const multiprotocol = (random: Random, dialect: Dialect): Attribute => {
	const v6 = !random.once(6);
	const family = [0, v6 ? 2 : 1, random.once(30) ? random.int(256) : 1];
	if (random.once(2)) {
		return { flags: 0x80, code: 15, value: [...family, ...(random.once(8) ? [] : nlri(random, v6, dialect))] };
	}
	const length = random.once(30) ? random.int(40) : random.once(3) ? 32 : 16;
	const nextHop = [0x20, 1, 0xd, 0xb8, ...octets(random, 12), 0xfe, 0x80, ...octets(random, 14), ...octets(random, 8)];
	const value = [
		...family,
		length,
		...nextHop.slice(0, length),
		0,
		...(random.once(9) ? [] : nlri(random, v6, dialect)),
	];
	return { flags: 0x80, code: 14, value };
};

const faults: readonly ((random: Random, attribute: Attribute) => void)[] = [
	(random, attribute) => {
		attribute.flags ^= random.pick([0x80, 0x40, 0xc0, 0x20, 0x10]);
	},
	(_, attribute) => {
		attribute.value.pop();
	},
	(random, attribute) => {
		attribute.value.push(random.int(256));
	},
	(_, attribute) => {
		attribute.value = [];
	},
	(random, attribute) => {
		if (attribute.value.length > 0) attribute.value[random.int(attribute.value.length)] = random.pick([0, 1, 255, 128]);
	},
	(random, attribute) => {
		attribute.code = random.int(40);
	},
];

const encodeAttribute = ({ flags, code, value }: Attribute): number[] =>
	flags & 0x10 || value.length > 255
		? [flags | 0x10, code, ...u16(value.length), ...value]
		: [flags, code, value.length, ...value];

const grammar = (random: Random, dialect: Dialect): Uint8Array => {
	const announces = !random.once(4);
	const list: Attribute[] = [];
	if (announces) {
		list.push(
			{ flags: 0x40, code: 1, value: [random.int(3)] },
			{ flags: 0x40, code: 2, value: asPath(random, dialect) },
			{ flags: 0x40, code: 3, value: [192, 0, 2, 2] },
		);
		for (let count = random.int(5); count > 0; count--) list.push(random.pick(known)(random, dialect));
	}
	if (random.once(4)) list.push(multiprotocol(random, dialect));
	for (let count = random.int(3); count > 0 && list.length > 0; count--) {
		const attribute = random.pick(list);
		const what = random.int(9);
		if (what === 0) list.push(attribute);
		else if (what === 1) list.splice(random.int(list.length), 1);
		else random.pick(faults)(random, attribute);
	}
	if (random.once(4)) list.sort(() => random.int(3) - 1);
	const attributes = list.flatMap(encodeAttribute);
	if (random.once(100)) attributes.length = random.int(attributes.length + 1);
	const withdrawn = random.once(3) ? nlri(random, false, dialect) : [];
	const wrong = (length: number): number[] => u16(random.once(300) ? random.int(200) : length);
	const classic = announces && !random.once(5) ? nlri(random, false, dialect) : [];
	return frame(2, [...wrong(withdrawn.length), ...withdrawn, ...wrong(attributes.length), ...attributes, ...classic]);
};

const changed = (random: Random, source: Uint8Array): Uint8Array => {
	let message = frame(2, source);
	for (let edits = 1 + random.int(2); edits > 0; edits--) {
		// The header is hit seldom: what is behind it would not be read.
		const from = random.once(30) ? 0 : Math.min(19, message.length - 1);
		const at = from + random.int(Math.max(1, message.length - from));
		switch (random.int(4)) {
			case 0:
				message[at] = random.int(256);
				break;
			case 1:
				message[at] = (message[at] ?? 0) ^ (1 << random.int(8));
				break;
			case 2:
				message = frame(2, [...message.subarray(19, Math.max(19, at)), ...message.subarray(Math.max(19, at + 1))]);
				break;
			default:
				message = frame(2, [
					...message.subarray(19, Math.max(19, at)),
					random.int(256),
					...message.subarray(Math.max(19, at)),
				]);
		}
	}
	return message;
};

const other = (random: Random): Uint8Array => {
	switch (random.int(8)) {
		case 0:
			return frame(random.int(256), octets(random, random.int(30)));
		case 1:
			return frame(1, octets(random, 10 + random.int(20)));
		case 2:
			return frame(3, octets(random, random.int(6)));
		case 3:
			return frame(4, octets(random, random.once(4) ? 1 : 0));
		case 4:
			return Uint8Array.from(octets(random, 19 + random.int(40)));
		default:
			return frame(5, [0, random.pick([1, 2, 25]), random.int(5), 1].slice(0, random.once(8) ? random.int(5) : 4));
	}
};

/** One message; its length field may promise more than there is. */
export const randomMessage = (random: Random, dialect: Dialect): Uint8Array => {
	const kind = random.int(20);
	if (kind < 16) return grammar(random, dialect);
	if (kind < 19) return changed(random, random.pick(sources));
	return other(random);
};
