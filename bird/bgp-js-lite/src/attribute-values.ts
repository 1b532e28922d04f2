/** Values of the path attributes that apply to all prefixes, one by one, with their own error handling (RFC 7606 §7). */

import { v4At } from './address.ts';
import { decodeAsPath, mergeAs4Path, withoutConfeds } from './as-path.ts';
import { AS_TRANS, ATTRIBUTE, FLAG, UPDATE_ERROR } from './constants.ts';
import { isV4Host } from './mp-nlri.ts';
import { u8At, u16At, u32At } from './reader.ts';
import type { AsPathSegment, CodecOptions, Origin, PathAttributes } from './types.ts';

type Aggregator = NonNullable<PathAttributes['aggregator']>;

/** What well-formed attributes said. */
export type KnownAttributes = {
	/** What goes with every prefix, 4-octet AS numbers not merged yet. */
	readonly shared: { -readonly [K in keyof PathAttributes]?: PathAttributes[K] };
	nextHop?: string;
	as4Path?: readonly AsPathSegment[];
	as4Aggregator?: Aggregator;
};

export type Fault = {
	readonly action: 'treatAsWithdraw' | 'attributeDiscard';
	readonly subcode: number;
	readonly why: string;
};

const WELL_KNOWN = FLAG.transitive;
const OPTIONAL = FLAG.optional;
const OPTIONAL_TRANSITIVE = FLAG.optional | FLAG.transitive;

/** Optional and Transitive bits each known attribute must have. */
export const FLAGS_OF: ReadonlyMap<number, number> = new Map([
	[ATTRIBUTE.ORIGIN, WELL_KNOWN],
	[ATTRIBUTE.AS_PATH, WELL_KNOWN],
	[ATTRIBUTE.NEXT_HOP, WELL_KNOWN],
	[ATTRIBUTE.MULTI_EXIT_DISC, OPTIONAL],
	[ATTRIBUTE.LOCAL_PREF, WELL_KNOWN],
	[ATTRIBUTE.ATOMIC_AGGREGATE, WELL_KNOWN],
	[ATTRIBUTE.AGGREGATOR, OPTIONAL_TRANSITIVE],
	[ATTRIBUTE.COMMUNITIES, OPTIONAL_TRANSITIVE],
	[ATTRIBUTE.ORIGINATOR_ID, OPTIONAL],
	[ATTRIBUTE.CLUSTER_LIST, OPTIONAL],
	[ATTRIBUTE.MP_REACH_NLRI, OPTIONAL],
	[ATTRIBUTE.MP_UNREACH_NLRI, OPTIONAL],
	[ATTRIBUTE.EXTENDED_COMMUNITIES, OPTIONAL_TRANSITIVE],
	[ATTRIBUTE.AS4_PATH, OPTIONAL_TRANSITIVE],
	[ATTRIBUTE.AS4_AGGREGATOR, OPTIONAL_TRANSITIVE],
	[ATTRIBUTE.LARGE_COMMUNITY, OPTIONAL_TRANSITIVE],
	[ATTRIBUTE.ONLY_TO_CUSTOMER, OPTIONAL_TRANSITIVE],
]);

/**
 * Attributes passed on unread whose RFC says what lengths they can have: another one is treated as withdrawn, lest it trouble
 * routers behind us. IPv6 Address Specific Extended Communities (RFC 5701, RFC 7606 §7.15).
 */
const SIZE_OF_UNREAD: ReadonlyMap<number, number> = new Map([[25, 20]]);

export const unreadFault = (code: number, value: Uint8Array): Fault | undefined => {
	const size = SIZE_OF_UNREAD.get(code);
	const right = size === undefined || (value.length > 0 && value.length % size === 0);
	return right ? undefined : lengthFault(value, `a multiple of ${size}`);
};

/** Why an attribute is ignored on this session whatever it says (RFC 7606 §7.5, §7.9, §7.10; RFC 6793 §4.1). */
export const notWanted = (code: number, options: CodecOptions): string | undefined => {
	switch (code) {
		case ATTRIBUTE.LOCAL_PREF:
		case ATTRIBUTE.ORIGINATOR_ID:
		case ATTRIBUTE.CLUSTER_LIST:
			return options.ibgp ? undefined : 'an external peer has no say in it';
		case ATTRIBUTE.AS4_PATH:
		case ATTRIBUTE.AS4_AGGREGATOR:
			return options.fourOctetAs ? 'the session has 4-octet AS numbers anyway' : undefined;
		default:
			return undefined;
	}
};

const ORIGINS: readonly Origin[] = ['igp', 'egp', 'incomplete'];

const lengthFault = (value: Uint8Array, wanted: string, action: Fault['action'] = 'treatAsWithdraw'): Fault => ({
	action,
	subcode: UPDATE_ERROR.attributeLength,
	why: `it has ${value.length} octets instead of ${wanted}`,
});

/** Values of `size` octets each, at least one; undefined when the length is none of them. */
const values = <T>(bytes: Uint8Array, size: number, decode: (at: number) => T): T[] | undefined => {
	if (bytes.length === 0 || bytes.length % size !== 0) return undefined;
	const list: T[] = [];
	for (let at = 0; at < bytes.length; at += size) list.push(decode(at));
	return list;
};

const decodeAggregator = (value: Uint8Array, asSize: 2 | 4): Aggregator | Fault => {
	if (value.length !== asSize + 4) return lengthFault(value, String(asSize + 4), 'attributeDiscard');
	const asNumber = asSize === 4 ? u32At(value, 0) : u16At(value, 0);
	if (asNumber === 0) {
		return {
			action: 'attributeDiscard',
			subcode: UPDATE_ERROR.optionalAttribute,
			why: 'its AS number is 0 (RFC 7607)',
		};
	}
	return { asNumber, address: v4At(value, asSize) };
};

/** RFC 8092 §5: a value given twice counts once. */
const decodeLargeCommunities = (value: Uint8Array): (readonly [number, number, number])[] | undefined => {
	const seen = new Set<string>();
	return values(value, 12, (at) => [u32At(value, at), u32At(value, at + 4), u32At(value, at + 8)] as const)?.filter(
		(community) => {
			const key = community.join(':');
			return !seen.has(key) && seen.add(key);
		},
	);
};

const malformedAsPath = (why: string): Fault => ({
	action: 'treatAsWithdraw',
	subcode: UPDATE_ERROR.malformedAsPath,
	why,
});

/** Decodes one known attribute into `into`, unless it is in error. MP attributes are not for here. */
export const decodeValue = (
	code: number,
	value: Uint8Array,
	options: CodecOptions,
	into: KnownAttributes,
): Fault | undefined => {
	const asSize = options.fourOctetAs ? 4 : 2;
	switch (code) {
		case ATTRIBUTE.ORIGIN: {
			if (value.length !== 1) return lengthFault(value, '1');
			const origin = ORIGINS[u8At(value, 0)];
			if (origin === undefined) {
				return {
					action: 'treatAsWithdraw',
					subcode: UPDATE_ERROR.invalidOrigin,
					why: `${u8At(value, 0)} is no origin`,
				};
			}
			into.shared.origin = origin;
			return undefined;
		}
		case ATTRIBUTE.AS_PATH: {
			const asPath = decodeAsPath(value, asSize);
			if (typeof asPath === 'string') return malformedAsPath(asPath);
			// RFC 5065 §5: such segments do not leave a confederation, and a session inside one is not `external` here.
			if (!options.ibgp && withoutConfeds(asPath) !== asPath) {
				return malformedAsPath('an external peer sends confederation segments');
			}
			into.shared.asPath = asPath;
			return undefined;
		}
		case ATTRIBUTE.NEXT_HOP:
			if (value.length !== 4) return lengthFault(value, '4');
			if (!isV4Host(value, 0)) {
				return {
					action: 'treatAsWithdraw',
					subcode: UPDATE_ERROR.invalidNextHop,
					why: `${v4At(value, 0)} is not the address of a host`,
				};
			}
			into.nextHop = v4At(value, 0);
			return undefined;
		case ATTRIBUTE.MULTI_EXIT_DISC:
			if (value.length !== 4) return lengthFault(value, '4');
			into.shared.med = u32At(value, 0);
			return undefined;
		case ATTRIBUTE.LOCAL_PREF:
			if (value.length !== 4) return lengthFault(value, '4');
			into.shared.localPref = u32At(value, 0);
			return undefined;
		case ATTRIBUTE.ATOMIC_AGGREGATE:
			if (value.length !== 0) return lengthFault(value, '0', 'attributeDiscard');
			into.shared.atomicAggregate = true;
			return undefined;
		case ATTRIBUTE.AGGREGATOR: {
			const aggregator = decodeAggregator(value, asSize);
			if ('action' in aggregator) return aggregator;
			into.shared.aggregator = aggregator;
			return undefined;
		}
		case ATTRIBUTE.COMMUNITIES: {
			const communities = values(value, 4, (at) => u32At(value, at));
			if (communities === undefined) return lengthFault(value, 'a multiple of 4');
			into.shared.communities = communities;
			return undefined;
		}
		case ATTRIBUTE.ORIGINATOR_ID:
			if (value.length !== 4) return lengthFault(value, '4');
			into.shared.originatorId = v4At(value, 0);
			return undefined;
		case ATTRIBUTE.CLUSTER_LIST: {
			const clusterList = values(value, 4, (at) => v4At(value, at));
			if (clusterList === undefined) return lengthFault(value, 'a multiple of 4');
			into.shared.clusterList = clusterList;
			return undefined;
		}
		case ATTRIBUTE.EXTENDED_COMMUNITIES: {
			const communities = values(value, 8, (at) => (BigInt(u32At(value, at)) << 32n) | BigInt(u32At(value, at + 4)));
			if (communities === undefined) return lengthFault(value, 'a multiple of 8');
			into.shared.extendedCommunities = communities;
			return undefined;
		}
		case ATTRIBUTE.LARGE_COMMUNITY: {
			const communities = decodeLargeCommunities(value);
			if (communities === undefined) return lengthFault(value, 'a multiple of 12');
			into.shared.largeCommunities = communities;
			return undefined;
		}
		case ATTRIBUTE.ONLY_TO_CUSTOMER:
			if (value.length !== 4) return lengthFault(value, '4');
			into.shared.onlyToCustomer = u32At(value, 0);
			return undefined;
		case ATTRIBUTE.AS4_PATH: {
			// RFC 6793 §6: a malformed AS4_PATH is dropped, and what AS_PATH says holds.
			const as4Path = value.length === 0 ? 'it is empty' : decodeAsPath(value, 4);
			if (typeof as4Path === 'string') {
				return { action: 'attributeDiscard', subcode: UPDATE_ERROR.optionalAttribute, why: as4Path };
			}
			into.as4Path = withoutConfeds(as4Path);
			return undefined;
		}
		case ATTRIBUTE.AS4_AGGREGATOR: {
			const aggregator = decodeAggregator(value, 4);
			if ('action' in aggregator) return aggregator;
			into.as4Aggregator = aggregator;
			return undefined;
		}
		default:
			return undefined;
	}
};

/** AS4_PATH and AS4_AGGREGATOR put in the place of what 2-octet speakers carried (RFC 6793 §4.2.3). */
export const mergeFourOctet = (known: KnownAttributes): Pick<KnownAttributes['shared'], 'asPath' | 'aggregator'> => {
	const { shared, as4Path, as4Aggregator } = known;
	const { asPath = [], aggregator } = shared;
	// An aggregator that is not AS_TRANS is a 2-octet speaker which made a new route: the older attributes are not of it.
	if (aggregator !== undefined && aggregator.asNumber !== AS_TRANS) return { asPath, aggregator };
	const merged = as4Path === undefined ? asPath : mergeAs4Path(asPath, as4Path);
	if (aggregator === undefined) return { asPath: merged };
	return { asPath: merged, aggregator: as4Aggregator ?? aggregator };
};
