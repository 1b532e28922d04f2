/**
 * A map from prefixes to values. IPv4 prefixes are looked up by their numbers, in arrays of those: a map of text looks at every
 * key it meets, wherever in memory that is, and with some hundred thousand keys that costs more than all else that is done with
 * them. Others than canonical IPv4 prefixes, any text in fact, are keys of an ordinary map.
 */
export type PrefixMap<V> = {
	readonly get: (prefix: string) => V | undefined;
	readonly set: (prefix: string, value: V) => void;
	readonly delete: (prefix: string) => void;
	readonly size: () => number;
	/** In no order; may change meanwhile. */
	readonly values: () => Iterable<V>;
};

/** The prefix that `parse` read. */
let address = 0;
let length = 0;

/** False: no IPv4 prefix in its one canonical form. */
const parse = (text: string): boolean => {
	let value = 0;
	let digits = 0;
	let dots = 0;
	let quad = 0;
	let slash = false;
	for (let i = 0; i < text.length; i++) {
		const c = text.charCodeAt(i);
		if (c >= 48 && c <= 57) {
			if (digits > 0 && value === 0) return false;
			value = value * 10 + c - 48;
			if (++digits > 3 || value > 255) return false;
			continue;
		}
		if (digits === 0 || slash || c !== (dots === 3 ? 47 : 46)) return false;
		quad = (quad << 8) | value;
		if (dots === 3) slash = true;
		else dots++;
		value = 0;
		digits = 0;
	}
	if (!slash || digits === 0 || value > 32) return false;
	address = quad;
	length = value;
	return true;
};

const FIRST = 256;

const grown = <A extends Int32Array | Uint8Array>(array: A, into: A): A => {
	into.set(array);
	return into;
};

export const createPrefixMap = <V>(): PrefixMap<V> => {
	const others = new Map<string, V>();
	/** Lists of places with the same hash: the first of each and the one after, a place being counted from 1. */
	let heads = new Int32Array(FIRST);
	let nexts = new Int32Array(FIRST);
	let addresses = new Int32Array(FIRST);
	let lengths = new Uint8Array(FIRST);
	let values: (V | undefined)[] = [];
	/** First of a list of places given back. */
	let free = 0;
	let count = 0;

	const bucket = (quad: number, bits: number): number =>
		(Math.imul(quad ^ Math.imul(bits, 0x9e3779b1), 0x85ebca6b) >>> 7) & (heads.length - 1);

	/** Where the prefix that was read is; 0: nowhere. */
	const find = (): number => {
		let at = heads[bucket(address, length)] as number;
		while (at !== 0 && (addresses[at - 1] !== address || lengths[at - 1] !== length)) at = nexts[at - 1] as number;
		return at;
	};

	const link = (at: number): void => {
		const list = bucket(addresses[at - 1] as number, lengths[at - 1] as number);
		nexts[at - 1] = heads[list] as number;
		heads[list] = at;
	};

	/** None is free then: all places are in use. */
	const grow = (): void => {
		const capacity = 2 * nexts.length;
		nexts = new Int32Array(capacity);
		addresses = grown(addresses, new Int32Array(capacity));
		lengths = grown(lengths, new Uint8Array(capacity));
		heads = new Int32Array(capacity);
		for (let at = 1; at <= values.length; at++) link(at);
	};

	const clear = (): void => {
		heads = new Int32Array(FIRST);
		nexts = new Int32Array(FIRST);
		addresses = new Int32Array(FIRST);
		lengths = new Uint8Array(FIRST);
		values = [];
		free = 0;
	};

	return {
		get: (prefix) => {
			if (!parse(prefix)) return others.get(prefix);
			const at = find();
			return at === 0 ? undefined : values[at - 1];
		},
		set: (prefix, value) => {
			if (!parse(prefix)) {
				others.set(prefix, value);
				return;
			}
			let at = find();
			if (at === 0) {
				if (free === 0 && values.length === nexts.length) grow();
				at = free === 0 ? values.length + 1 : free;
				if (at === free) free = nexts[at - 1] as number;
				addresses[at - 1] = address;
				lengths[at - 1] = length;
				link(at);
				count++;
			}
			values[at - 1] = value;
		},
		delete: (prefix) => {
			if (!parse(prefix)) {
				others.delete(prefix);
				return;
			}
			const at = find();
			if (at === 0) return;
			const list = bucket(address, length);
			let before = heads[list] as number;
			if (before === at) heads[list] = nexts[at - 1] as number;
			else {
				while (nexts[before - 1] !== at) before = nexts[before - 1] as number;
				nexts[before - 1] = nexts[at - 1] as number;
			}
			values[at - 1] = undefined;
			nexts[at - 1] = free;
			free = at;
			if (--count === 0) clear();
		},
		size: () => count + others.size,
		values: function* () {
			for (let i = 0; i < values.length; i++) {
				const value = values[i];
				if (value !== undefined) yield value;
			}
			yield* others.values();
		},
	};
};
