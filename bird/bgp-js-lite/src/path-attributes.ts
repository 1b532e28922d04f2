/**
 * The path attributes field of an UPDATE, attribute by attribute, each error handled as far as RFC 7606 says. An attribute
 * in error contributes nothing; the caller decides what the errors mean for the prefixes.
 */

import { decodeValue, type Fault, FLAGS_OF, type KnownAttributes, notWanted, unreadFault } from './attribute-values.ts';
import { ATTRIBUTE, ERROR_CODE, FLAG, UPDATE_ERROR } from './constants.ts';
import { attributeName } from './describe-notification.ts';
import { decodeError, fail, malformedList, reset, succeed } from './errors.ts';
import { decodeMpReach, decodeMpUnreach, type MpReach, type MpUnreach } from './mp-nlri.ts';
import { u8At, u16At } from './reader.ts';
import type { CodecOptions, Decoded, DecodeError, PathAttributes } from './types.ts';

export type AttributeList = {
	readonly known: KnownAttributes;
	readonly unknown: NonNullable<PathAttributes['unknown']>;
	readonly mpReach: MpReach | undefined;
	readonly mpUnreach: MpUnreach | undefined;
	/** Codes that were there, well-formed or not; each once. */
	readonly seen: readonly number[];
	/** None of them a session reset. */
	readonly errors: readonly DecodeError[];
};

type Attribute = {
	readonly flags: number;
	readonly code: number;
	readonly value: Uint8Array;
	readonly end: number;
	/** Flags, code and length included: the data of most errors (RFC 4271 §6.3). */
	readonly whole: () => Uint8Array;
};

const OPTIONAL_TRANSITIVE = FLAG.optional | FLAG.transitive;

const isMp = (code: number): boolean => code === ATTRIBUTE.MP_REACH_NLRI || code === ATTRIBUTE.MP_UNREACH_NLRI;

/** The attribute at `at`, or what is wrong with the list there (RFC 7606 §4). */
const attributeAt = (bytes: Uint8Array, at: number): Attribute | { readonly code?: number; readonly why: string } => {
	const left = bytes.length - at;
	if (left < 3) return { why: 'the path attributes end within the header of an attribute' };
	const flags = u8At(bytes, at);
	const code = u8At(bytes, at + 1);
	const headerLength = flags & FLAG.extendedLength ? 4 : 3;
	if (left < headerLength) return { code, why: `the path attributes end within the header of ${attributeName(code)}` };
	const length = headerLength === 4 ? u16At(bytes, at + 2) : u8At(bytes, at + 2);
	if (length > left - headerLength) {
		return { code, why: `${attributeName(code)} of ${length} octets is longer than the path attributes` };
	}
	const end = at + headerLength + length;
	const value = bytes.subarray(at + headerLength, end);
	return { flags, code, value, end, whole: () => bytes.slice(at, end) };
};

const faultError = (attribute: Attribute, fault: Fault): DecodeError =>
	decodeError(
		fault.action,
		ERROR_CODE.update,
		fault.subcode,
		`${attributeName(attribute.code)} is malformed: ${fault.why}.`,
		// RFC 4271 §6.3 names no data for a malformed AS_PATH.
		fault.subcode === UPDATE_ERROR.malformedAsPath ? undefined : attribute.whole(),
	);

/** An error fails the session; lesser ones are in the list. `classic`: prefixes follow that NEXT_HOP is for. */
export const decodePathAttributes = (
	bytes: Uint8Array,
	options: CodecOptions,
	classic: boolean,
): Decoded<AttributeList> => {
	const known: KnownAttributes = { shared: {} };
	const unknown: { flags: number; code: number; value: Uint8Array }[] = [];
	const seen: number[] = [];
	const errors: DecodeError[] = [];
	const partial: number[] = [];
	let badNextHop: DecodeError | undefined;
	let mpReach: MpReach | undefined;
	let mpUnreach: MpUnreach | undefined;

	for (let at = 0; at < bytes.length; ) {
		const attribute = attributeAt(bytes, at);
		if ('why' in attribute) {
			const error = malformedList(`The attribute list is malformed: ${attribute.why}.`);
			if (attribute.code !== undefined && isMp(attribute.code)) return fail(error);
			// The length of the whole field still tells where the prefixes begin.
			errors.push({ ...error, action: 'treatAsWithdraw' });
			break;
		}
		at = attribute.end;
		const { flags, code, value, whole } = attribute;

		if (seen.includes(code)) {
			const error = malformedList(`${attributeName(code)} appears more than once.`);
			if (isMp(code)) return fail(error);
			errors.push({ ...error, action: 'attributeDiscard' });
			continue;
		}
		seen.push(code);

		const unwanted = notWanted(code, options);
		if (unwanted !== undefined) {
			const message = `${attributeName(code)} is ignored: ${unwanted}.`;
			errors.push(decodeError('attributeDiscard', ERROR_CODE.update, UPDATE_ERROR.optionalAttribute, message, whole()));
			continue;
		}

		const expected = FLAGS_OF.get(code);
		if (expected === undefined) {
			if (!(flags & FLAG.optional)) {
				const message = `Attribute ${code} is flagged as well-known, and is not known.`;
				return fail(reset(ERROR_CODE.update, UPDATE_ERROR.unrecognizedWellKnownAttribute, message, whole()));
			}
			const fault = unreadFault(code, value);
			if (fault !== undefined) errors.push(faultError(attribute, fault));
			else if (flags & FLAG.transitive) {
				unknown.push({ flags: FLAG.optional | FLAG.transitive | FLAG.partial, code, value: value.slice() });
			}
			continue;
		}
		const flagsRight = (flags & (FLAG.optional | FLAG.transitive)) === expected;
		if (!flagsRight) {
			const message = `${attributeName(code)} has the wrong flags 0x${flags.toString(16).padStart(2, '0')}.`;
			// RFC 7606 §5.3: then its prefixes count as unreadable (§3 j).
			if (isMp(code)) return fail(reset(ERROR_CODE.update, UPDATE_ERROR.attributeFlags, message, whole()));
			errors.push(decodeError('treatAsWithdraw', ERROR_CODE.update, UPDATE_ERROR.attributeFlags, message, whole()));
		}
		if (code === ATTRIBUTE.MP_REACH_NLRI) {
			const decoded = decodeMpReach(value, whole, options);
			if (!decoded.ok) return decoded;
			mpReach = decoded.value;
			if (mpReach.nextHop === undefined && mpReach.nlri.length > 0) {
				const message = 'The next hop in MP_REACH_NLRI is not the address of a host.';
				errors.push(
					decodeError('treatAsWithdraw', ERROR_CODE.update, UPDATE_ERROR.optionalAttribute, message, whole()),
				);
			}
		} else if (code === ATTRIBUTE.MP_UNREACH_NLRI) {
			const decoded = decodeMpUnreach(value, whole, options);
			if (!decoded.ok) return decoded;
			mpUnreach = decoded.value;
		} else if (flagsRight) {
			const fault = decodeValue(code, value, options, known);
			if (fault?.subcode === UPDATE_ERROR.invalidNextHop) badNextHop = faultError(attribute, fault);
			else if (fault !== undefined) errors.push(faultError(attribute, fault));
			else if (flags & FLAG.partial && expected === OPTIONAL_TRANSITIVE) partial.push(code);
		}
	}
	// Beside MP_REACH_NLRI alone a NEXT_HOP is for no prefix, and ignored (RFC 4760 §3).
	if (badNextHop !== undefined && (classic || mpReach === undefined)) errors.push(badNextHop);
	if (partial.length > 0) known.shared.partial = partial.sort((a, b) => a - b);
	return succeed({ known, unknown, mpReach, mpUnreach, seen, errors });
};
