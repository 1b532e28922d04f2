/**
 * OPEN (RFC 4271 §4.2, §6.2), with its optional parameters in the classic or the extended form (RFC 9072). What depends
 * on configuration (the AS number expected, capabilities required, an identifier equal to ours) is for the session.
 */

import { v4At, v4Bytes } from './address.ts';
import { decodeCapabilities, encodeCapability } from './capabilities.ts';
import { ERROR_CODE, HEADER_LENGTH, MAX_MESSAGE_LENGTH, OPEN_ERROR } from './constants.ts';
import { fail, reset, succeed } from './errors.ts';
import { badMessageLength } from './framer.ts';
import { withHeader } from './header.ts';
import { createReader, u8At, u16At } from './reader.ts';
import { type Capability, type Decoded, type DecodeError, MESSAGE_TYPE, type OpenMessage } from './types.ts';
import { createWriter } from './writer.ts';

const VERSION = 4;
const PARAMETER_CAPABILITIES = 2;
/** In place of a parameter type: the extended form follows (RFC 9072 §2). */
const PARAMETER_EXTENDED_LENGTH = 255;
/** Version, AS number, hold time, identifier, length of the optional parameters. */
const FIXED_LENGTH = 10;

const openError = (subcode: number, message: string, data?: Uint8Array): DecodeError =>
	reset(ERROR_CODE.open, subcode, message, data);

/** RFC 4271 §6.2: a malformed optional parameter that is recognised has no subcode of its own. */
const malformedParameters = openError(
	OPEN_ERROR.unspecific,
	'The optional parameters of the OPEN are malformed: the lengths of parameters or capabilities are not right.',
);

const decodeParameters = (body: Uint8Array): Decoded<Capability[]> => {
	const length = u8At(body, 9);
	const rest = body.subarray(FIXED_LENGTH);
	const extended = length > 0 && rest[0] === PARAMETER_EXTENDED_LENGTH;
	if (extended && rest.length < 3) return fail(malformedParameters);
	const bytes = extended ? rest.subarray(3) : rest;
	if (bytes.length !== (extended ? u16At(rest, 1) : length)) return fail(malformedParameters);
	const reader = createReader(bytes);
	const capabilities: Capability[] = [];
	while (reader.remaining() > 0) {
		const type = reader.u8();
		const valueLength = extended ? reader.u16() : reader.u8();
		const value = valueLength === undefined ? undefined : reader.take(valueLength);
		if (type === undefined || value === undefined) return fail(malformedParameters);
		if (type !== PARAMETER_CAPABILITIES) {
			return fail(
				openError(
					OPEN_ERROR.unsupportedOptionalParameter,
					`Optional parameter ${type} of the OPEN is not supported: only capabilities (${PARAMETER_CAPABILITIES}) are.`,
				),
			);
		}
		const decoded = decodeCapabilities(value);
		if (decoded === undefined) return fail(malformedParameters);
		capabilities.push(...decoded);
	}
	return succeed(capabilities);
};

export const decodeOpen = (body: Uint8Array): Decoded<OpenMessage> => {
	if (body.length < FIXED_LENGTH) {
		return fail(badMessageLength(body.length + HEADER_LENGTH, 'an OPEN has at least 29 octets'));
	}
	const version = u8At(body, 0);
	const asNumber = u16At(body, 1);
	const holdTime = u16At(body, 3);
	const bgpIdentifier = v4At(body, 5);
	if (version !== VERSION) {
		const message = `The peer speaks BGP version ${version}; only version ${VERSION} is supported.`;
		return fail(openError(OPEN_ERROR.unsupportedVersion, message, Uint8Array.of(0, VERSION)));
	}
	if (asNumber === 0) {
		return fail(openError(OPEN_ERROR.badPeerAS, 'The peer gives AS number 0, which is reserved (RFC 7607).'));
	}
	if (holdTime === 1 || holdTime === 2) {
		const message = `The peer wants a hold time of ${holdTime} s; it has to be 0 or at least 3.`;
		return fail(openError(OPEN_ERROR.unacceptableHoldTime, message));
	}
	// RFC 6286 §2.1 leaves this as the only syntactical demand on an identifier.
	if (bgpIdentifier === '0.0.0.0') {
		return fail(openError(OPEN_ERROR.badBgpIdentifier, 'The peer gives 0.0.0.0 as its BGP identifier.'));
	}
	const capabilities = decodeParameters(body);
	if (!capabilities.ok) return capabilities;
	for (const capability of capabilities.value) {
		if (!('unknown' in capability) && capability.code === 65 && capability.asNumber === 0) {
			const message = 'The peer gives AS number 0 in its 4-octet AS capability, which is reserved (RFC 7607).';
			return fail(openError(OPEN_ERROR.badPeerAS, message));
		}
	}
	return succeed({ type: 'OPEN', version, asNumber, holdTime, bgpIdentifier, capabilities: capabilities.value });
};

/** The whole message. All capabilities go into one parameter (RFC 5492 §4), extended when they need it (RFC 9072). */
export const encodeOpen = (open: OpenMessage): Uint8Array => {
	const capabilities = createWriter();
	for (const capability of open.capabilities) capabilities.bytes(encodeCapability(capability));
	const value = capabilities.finish();
	const body = createWriter(64 + value.length);
	body.u8(open.version);
	body.u16(open.asNumber);
	body.u16(open.holdTime);
	body.bytes(v4Bytes(open.bgpIdentifier));
	if (value.length === 0) {
		body.u8(0);
	} else if (value.length <= 253) {
		body.u8(value.length + 2);
		body.u8(PARAMETER_CAPABILITIES);
		body.u8(value.length);
	} else {
		body.u8(255);
		body.u8(PARAMETER_EXTENDED_LENGTH);
		body.u16(value.length + 3);
		body.u8(PARAMETER_CAPABILITIES);
		body.u16(value.length);
	}
	body.bytes(value);
	if (body.length() + HEADER_LENGTH > MAX_MESSAGE_LENGTH) {
		throw new RangeError(`an OPEN of ${body.length() + HEADER_LENGTH} octets is over ${MAX_MESSAGE_LENGTH}`);
	}
	return withHeader(MESSAGE_TYPE.OPEN, body.finish());
};
