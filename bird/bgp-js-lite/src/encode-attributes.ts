/** Path attributes to bytes, in the order of their codes (RFC 4271 §5), those left out that the session must not carry. */

import { v4Bytes } from './address.ts';
import { as4PathFor, encodeAsPath } from './as-path.ts';
import { FLAGS_OF } from './attribute-values.ts';
import { AS_TRANS, ATTRIBUTE, FLAG } from './constants.ts';
import type { CodecOptions, PathAttributes } from './types.ts';
import { createWriter, type Writer } from './writer.ts';

/** RFC 4271 §5.1.5 wants it in every UPDATE to an internal peer; 100 is what everybody takes for none. */
const DEFAULT_LOCAL_PREF = 100;

const ORIGIN_CODES = { igp: 0, egp: 1, incomplete: 2 } as const;

type Encoded = { readonly flags: number; readonly code: number; readonly value: Uint8Array };

/** Never two values at a time. */
const scratch = createWriter();
const built = (write: (writer: Writer) => void): Uint8Array => {
	scratch.clear();
	write(scratch);
	return scratch.finish();
};
const u32 = (value: number): Uint8Array => built((writer) => writer.u32(value));

const aggregatorValue = (asNumber: number, address: string, asSize: 2 | 4): Uint8Array =>
	built((writer) => {
		if (asSize === 4) writer.u32(asNumber);
		else writer.u16(asNumber > 0xffff ? AS_TRANS : asNumber);
		writer.bytes(v4Bytes(address));
	});

/**
 * All but the MP attributes. `nextHop` is for NEXT_HOP, when the prefixes are in the classic field. The result may be
 * longer than a message can be; it is right only when it is not.
 */
export const encodeAttributes = (
	attributes: PathAttributes,
	options: CodecOptions,
	nextHop: string | undefined,
): Uint8Array => {
	const list: Encoded[] = [];
	const put = (code: number, value: Uint8Array): void => {
		const partial = attributes.partial?.includes(code) ? FLAG.partial : 0;
		list.push({ flags: (FLAGS_OF.get(code) ?? 0) | partial, code, value });
	};
	const asSize = options.fourOctetAs ? 4 : 2;
	put(ATTRIBUTE.ORIGIN, Uint8Array.of(ORIGIN_CODES[attributes.origin]));
	put(ATTRIBUTE.AS_PATH, encodeAsPath(attributes.asPath, asSize));
	if (nextHop !== undefined) put(ATTRIBUTE.NEXT_HOP, v4Bytes(nextHop));
	if (attributes.med !== undefined) put(ATTRIBUTE.MULTI_EXIT_DISC, u32(attributes.med));
	if (options.ibgp) put(ATTRIBUTE.LOCAL_PREF, u32(attributes.localPref ?? DEFAULT_LOCAL_PREF));
	if (attributes.atomicAggregate) put(ATTRIBUTE.ATOMIC_AGGREGATE, new Uint8Array(0));
	const { aggregator, communities, extendedCommunities, largeCommunities, originatorId, clusterList } = attributes;
	if (aggregator !== undefined) {
		put(ATTRIBUTE.AGGREGATOR, aggregatorValue(aggregator.asNumber, aggregator.address, asSize));
		if (asSize === 2 && aggregator.asNumber > 0xffff) {
			put(ATTRIBUTE.AS4_AGGREGATOR, aggregatorValue(aggregator.asNumber, aggregator.address, 4));
		}
	}
	if (communities?.length) {
		put(
			ATTRIBUTE.COMMUNITIES,
			built((writer) => {
				for (const community of communities) writer.u32(community);
			}),
		);
	}
	if (options.ibgp && originatorId !== undefined) put(ATTRIBUTE.ORIGINATOR_ID, v4Bytes(originatorId));
	if (options.ibgp && clusterList?.length) {
		put(
			ATTRIBUTE.CLUSTER_LIST,
			built((writer) => {
				for (const cluster of clusterList) writer.bytes(v4Bytes(cluster));
			}),
		);
	}
	if (extendedCommunities?.length) {
		put(
			ATTRIBUTE.EXTENDED_COMMUNITIES,
			built((writer) => {
				for (const community of extendedCommunities) {
					writer.u32(Number(community >> 32n));
					writer.u32(Number(community & 0xffffffffn));
				}
			}),
		);
	}
	const as4Path = asSize === 2 ? as4PathFor(attributes.asPath) : undefined;
	if (as4Path !== undefined) put(ATTRIBUTE.AS4_PATH, encodeAsPath(as4Path, 4));
	if (largeCommunities?.length) {
		put(
			ATTRIBUTE.LARGE_COMMUNITY,
			built((writer) => {
				for (const community of largeCommunities) for (const part of community) writer.u32(part);
			}),
		);
	}
	if (attributes.onlyToCustomer !== undefined) put(ATTRIBUTE.ONLY_TO_CUSTOMER, u32(attributes.onlyToCustomer));
	if (attributes.unknown) list.push(...attributes.unknown);
	list.sort((a, b) => a.code - b.code);
	return built((writer) => {
		for (const { flags, code, value } of list) {
			const extended = value.length > 255;
			writer.u8(extended ? flags | FLAG.extendedLength : flags & ~FLAG.extendedLength);
			writer.u8(code);
			// A value beyond 65535 fits into no message: its length does not matter.
			if (extended) writer.u16(Math.min(value.length, 0xffff));
			else writer.u8(value.length);
			writer.bytes(value);
		}
	});
};
