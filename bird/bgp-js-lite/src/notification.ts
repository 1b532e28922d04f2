/** NOTIFICATION (RFC 4271 §4.5). Its words are in describe-notification.ts. */

import { CEASE, ERROR_CODE, HEADER_LENGTH } from './constants.ts';
import { fail, succeed } from './errors.ts';
import { badMessageLength } from './framer.ts';
import { withHeader } from './header.ts';
import { u8At } from './reader.ts';
import { type Decoded, type DecodeError, MESSAGE_TYPE, type NotificationMessage } from './types.ts';
import { createWriter } from './writer.ts';

export const decodeNotification = (body: Uint8Array): Decoded<NotificationMessage> => {
	if (body.length < 2) {
		return fail(badMessageLength(body.length + HEADER_LENGTH, 'a NOTIFICATION has at least 21 octets'));
	}
	return succeed({ type: 'NOTIFICATION', code: u8At(body, 0), subcode: u8At(body, 1), data: body.slice(2) });
};

export const encodeNotification = (message: NotificationMessage): Uint8Array => {
	const body = createWriter(2 + message.data.length);
	body.u8(message.code);
	body.u8(message.subcode);
	body.bytes(message.data);
	return withHeader(MESSAGE_TYPE.NOTIFICATION, body.finish());
};

/** The NOTIFICATION that answers an error of decoding. */
export const notificationFor = (error: Pick<DecodeError, 'code' | 'subcode' | 'data'>): NotificationMessage => ({
	type: 'NOTIFICATION',
	code: error.code,
	subcode: error.subcode,
	data: error.data,
});

const encoder = new TextEncoder();

/**
 * Data field of a Cease with subcode administrative shutdown or reset: a length and UTF-8 (RFC 9003 §2), cut at a
 * character to the 255 octets there are.
 */
export const encodeShutdownMessage = (text: string): Uint8Array => {
	let length = 0;
	let kept = '';
	for (const character of text) {
		const size = encoder.encode(character).length;
		if (length + size > 255) break;
		length += size;
		kept += character;
	}
	return Uint8Array.of(length, ...encoder.encode(kept));
};

/** A NOTIFICATION that asks for a Hard Reset, its reason inside (RFC 8538 §3.1). */
export const hardReset = (reason: Pick<DecodeError, 'code' | 'subcode' | 'data'>): NotificationMessage => ({
	type: 'NOTIFICATION',
	code: ERROR_CODE.cease,
	subcode: CEASE.hardReset,
	data: Uint8Array.of(reason.code, reason.subcode, ...reason.data),
});
