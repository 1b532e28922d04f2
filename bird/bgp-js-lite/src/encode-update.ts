/**
 * UPDATEs, encoding: as many prefixes to a message as fit, attributes encoded once. IPv4 goes into the classic fields,
 * unless its next hop is IPv6 (RFC 8950); MP attributes come first (RFC 7606 §5.1).
 */

import { isV6, v6Bytes } from './address.ts';
import { ATTRIBUTE, FLAG, HEADER_LENGTH } from './constants.ts';
import { encodeAttributes } from './encode-attributes.ts';
import { withHeader, writeHeader } from './header.ts';
import { familyKey, isSupported, MAX_NLRI_LENGTH, writeNlri } from './nlri.ts';
import { AFI, type AfiSafi, type CodecOptions, MESSAGE_TYPE, type Nlri, type PathAttributes, SAFI } from './types.ts';
import { createWriter } from './writer.ts';

export type UpdateToEncode = {
	/** Needed with `announced`; its own `nextHop` and `linkLocalNextHop` are not looked at. */
	readonly attributes?: PathAttributes | undefined;
	readonly announced?:
		| (AfiSafi & { readonly nextHop: string; readonly linkLocalNextHop?: string; readonly nlri: readonly Nlri[] })
		| undefined;
	readonly withdrawn?: (AfiSafi & { readonly nlri: readonly Nlri[] }) | undefined;
};

/** Prefixes of one family, and how many of them are written. */
type Pending = { readonly family: AfiSafi; readonly nlri: readonly Nlri[]; done: number };

const isClassic = (family: AfiSafi): boolean => family.afi === AFI.ipv4;
const isDone = (pending: Pending): boolean => pending.done === pending.nlri.length;

/** Flags, code, two octets of length to be filled in, AFI and SAFI: how both MP attributes begin. */
const mpHeader = (code: number, family: AfiSafi, rest: readonly Uint8Array[] = []): Uint8Array => {
	const writer = createWriter(64);
	writer.u8(FLAG.optional | FLAG.extendedLength);
	writer.u8(code);
	writer.u16(0);
	writer.u16(family.afi);
	writer.u8(family.safi);
	for (const bytes of rest) writer.bytes(bytes);
	return writer.finish();
};

const mpReachHeader = (announced: NonNullable<UpdateToEncode['announced']>): Uint8Array => {
	const nextHop = v6Bytes(announced.nextHop);
	const linkLocal = announced.linkLocalNextHop === undefined ? new Uint8Array(0) : v6Bytes(announced.linkLocalNextHop);
	const length = Uint8Array.of(nextHop.length + linkLocal.length);
	return mpHeader(ATTRIBUTE.MP_REACH_NLRI, announced, [length, nextHop, linkLocal, Uint8Array.of(0)]);
};

const setU16 = (buffer: Uint8Array, at: number, value: number): void => {
	buffer[at] = value >>> 8;
	buffer[at + 1] = value;
};

/** Many small messages share a buffer: each of their own would cost more than all else about them. */
const POOL = 65_536;
let pool = new Uint8Array(0);
let pooled = 0;
const copyOf = (bytes: Uint8Array, length: number): Uint8Array => {
	if (length > POOL / 16) return bytes.slice(0, length);
	if (pool.length - pooled < length) {
		pool = new Uint8Array(POOL);
		pooled = 0;
	}
	const copy = pool.subarray(pooled, pooled + length);
	copy.set(bytes.subarray(0, length));
	pooled += length;
	return copy;
};

/** Messages are put together here and copied out: most are far shorter than they may be. */
let scratch = new Uint8Array(0);
const roomFor = (length: number): Uint8Array => {
	if (scratch.length < length) scratch = new Uint8Array(length);
	return scratch;
};

/**
 * Whole messages, in the order to be sent; none when there is nothing to say. Withdrawals come first; no message has them
 * and announcements, or prefixes in two fields (RFC 7606 §5.1). Attributes that leave no room for a prefix cannot be announced
 * (RFC 4271 §9.2): their prefixes are withdrawn instead, lest the peer keep what they were before. Values that are not what
 * types.ts says (no prefix, another family than IPv4 and IPv6 unicast) are bugs of the caller: RangeError.
 */
export const encodeUpdates = (update: UpdateToEncode, options: CodecOptions): Uint8Array[] => {
	const { maxMessageLength } = options;
	const start = (part: (AfiSafi & { readonly nlri: readonly Nlri[] }) | undefined): Pending => {
		if (part !== undefined && !isSupported(part)) {
			throw new RangeError(`prefixes of AFI ${part.afi}, SAFI ${part.safi} cannot be encoded`);
		}
		return { family: part ?? { afi: AFI.ipv4, safi: SAFI.unicast }, nlri: part?.nlri ?? [], done: 0 };
	};
	let withdrawn = start(update.withdrawn);
	let announced = start(update.announced);
	const mpReach =
		update.announced && (!isClassic(update.announced) || isV6(update.announced.nextHop))
			? mpReachHeader(update.announced)
			: undefined;
	const attributes = update.announced && attributesOf(update, options, mpReach ? undefined : update.announced.nextHop);
	const overhead = (attributes?.length ?? 0) + (mpReach?.length ?? 0);

	// Room behind the end for the one prefix that turns out not to fit.
	const buffer = roomFor(maxMessageLength + MAX_NLRI_LENGTH + 16);
	/** Writes prefixes from `at` on while they end within `limit`; returns where they end. */
	const pack = (pending: Pending, at: number, limit: number): number => {
		const { nlri, family } = pending;
		const addPath = options.addPathSend?.has(familyKey(family)) ?? false;
		let end = at;
		while (pending.done < nlri.length) {
			const next = writeNlri(nlri[pending.done] as Nlri, family.afi, addPath, buffer, end);
			if (next > limit) break;
			end = next;
			pending.done++;
		}
		return end;
	};
	/** An MP attribute: its header, prefixes, its length. */
	const packMp = (header: Uint8Array, pending: Pending, at: number, limit: number): number => {
		buffer.set(header, at);
		const end = pack(pending, at + header.length, limit);
		setU16(buffer, at + 2, end - at - 4);
		return end;
	};

	const messages: Uint8Array[] = [];
	while (!isDone(withdrawn) || !isDone(announced)) {
		const before = withdrawn.done;
		let at = HEADER_LENGTH + 2;
		if (isClassic(withdrawn.family)) at = pack(withdrawn, at, maxMessageLength - 2);
		setU16(buffer, HEADER_LENGTH, at - HEADER_LENGTH - 2);
		const attributesAt = at + 2;
		at = attributesAt;
		if (!isClassic(withdrawn.family) && !isDone(withdrawn)) {
			at = packMp(mpHeader(ATTRIBUTE.MP_UNREACH_NLRI, withdrawn.family), withdrawn, at, maxMessageLength);
		}
		let attributesEnd = at;
		if (withdrawn.done === before) {
			if (at + overhead + MAX_NLRI_LENGTH <= maxMessageLength) {
				if (mpReach !== undefined) {
					at = packMp(mpReach, announced, at, maxMessageLength - (attributes?.length ?? 0));
				}
				if (attributes !== undefined) buffer.set(attributes, at);
				at += attributes?.length ?? 0;
				attributesEnd = at;
				if (mpReach === undefined) at = pack(announced, at, maxMessageLength);
			} else {
				withdrawn = { ...announced };
				announced = { ...announced, nlri: [], done: 0 };
				continue;
			}
		}
		setU16(buffer, attributesAt - 2, attributesEnd - attributesAt);
		writeHeader(buffer, at, MESSAGE_TYPE.UPDATE);
		messages.push(copyOf(buffer, at));
	}
	return messages;
};

const attributesOf = (update: UpdateToEncode, options: CodecOptions, nextHop: string | undefined): Uint8Array => {
	if (update.attributes === undefined) throw new RangeError('announced prefixes need attributes');
	return encodeAttributes(update.attributes, options, nextHop);
};

/** End-of-RIB of a family: an empty UPDATE for IPv4 unicast, an empty MP_UNREACH_NLRI for others (RFC 4724 §2). */
export const encodeEndOfRib = (family: AfiSafi): Uint8Array => {
	const body = createWriter(16);
	body.u16(0);
	if (family.afi === AFI.ipv4 && family.safi === SAFI.unicast) {
		body.u16(0);
	} else {
		const attribute = mpHeader(ATTRIBUTE.MP_UNREACH_NLRI, family);
		attribute[3] = 3;
		body.u16(attribute.length);
		body.bytes(attribute);
	}
	return withHeader(MESSAGE_TYPE.UPDATE, body.finish());
};
