import type { PathAttributes } from 'bgp-js-lite';

/**
 * Path attributes as shared values: equal attributes are one object, so that they compare by identity, are rewritten
 * once per kind of peer, and cost memory once however many prefixes carry them.
 */

const hex = (bytes: Uint8Array): string => {
	let text = '';
	for (const byte of bytes) text += byte.toString(16).padStart(2, '0');
	return text;
};

/** A text that is equal exactly for attributes that look the same on the wire (an empty list is an absent one). */
export const attributesKey = (a: PathAttributes): string => {
	let key = `${a.origin}|`;
	for (const segment of a.asPath) key += `${segment.type}:${segment.asNumbers.join(' ')};`;
	key += `|${a.nextHop ?? ''}|${a.linkLocalNextHop ?? ''}|${a.med ?? ''}|${a.localPref ?? ''}|`;
	key += `${a.atomicAggregate === true ? 'A' : ''}|`;
	if (a.aggregator !== undefined) key += `${a.aggregator.asNumber} ${a.aggregator.address}`;
	key += `|${a.communities?.join(' ') ?? ''}|${a.extendedCommunities?.join(' ') ?? ''}|`;
	for (const large of a.largeCommunities ?? []) key += `${large.join(':')} `;
	key += `|${a.originatorId ?? ''}|${a.clusterList?.join(' ') ?? ''}|${a.onlyToCustomer ?? ''}|${a.partial?.join(' ') ?? ''}|`;
	for (const other of a.unknown ?? []) key += `${other.flags}.${other.code}.${hex(other.value)} `;
	return key;
};

const compactPath = (asPath: PathAttributes['asPath']): PathAttributes['asPath'] =>
	asPath.map(({ type, asNumbers }) => ({ type, asNumbers: asNumbers.slice() }));

/** The same, in less memory: objects put together by spreading have room for properties they never get. */
const compact = (attributes: PathAttributes): PathAttributes => {
	const copy: PathAttributes & Record<string, unknown> = {
		origin: attributes.origin,
		asPath: compactPath(attributes.asPath),
	};
	const from: Readonly<Record<string, unknown>> = attributes;
	for (const name in from) {
		const value = from[name];
		if (value !== undefined && !(name in copy)) copy[name] = value;
	}
	return copy;
};

export type Interner = {
	/** The one object that stands for attributes equal to these. */
	readonly intern: (attributes: PathAttributes) => PathAttributes;
	readonly size: () => number;
	/** Many may have come out of use: looks which, if the table is larger than `expected`. */
	readonly shrink: (expected: number) => void;
};

const FIRST_SWEEP = 4096;

/**
 * Objects nobody uses any more are forgotten when the table has doubled: `live` then names those in use, and `swept` is
 * told, as what was derived from the forgotten ones must be forgotten too (else equal attributes could be two objects).
 */
export const createInterner = (live: () => Iterable<PathAttributes>, swept: () => void): Interner => {
	let table = new Map<string, PathAttributes>();
	let sweepAt = FIRST_SWEEP;
	let last: PathAttributes | undefined;

	const sweep = (): void => {
		const kept = new Set<PathAttributes>(live());
		table = new Map([...table].filter(([, attributes]) => kept.has(attributes)));
		sweepAt = 2 * table.size + FIRST_SWEEP;
		last = undefined;
		swept();
	};

	return {
		intern: (attributes) => {
			if (attributes === last) return attributes;
			const key = attributesKey(attributes);
			const known = table.get(key);
			if (known !== undefined) {
				last = known;
				return known;
			}
			if (table.size >= sweepAt) sweep();
			last = compact(attributes);
			table.set(key, last);
			return last;
		},
		size: () => table.size,
		shrink: (expected) => {
			if (table.size > FIRST_SWEEP + expected) sweep();
		},
	};
};
