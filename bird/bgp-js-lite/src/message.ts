/** One entry each way for all message types. */

import { HEADER_LENGTH } from './constants.ts';
import { fail, succeed } from './errors.ts';
import { badMessageLength, badMessageType } from './framer.ts';
import { withHeader } from './header.ts';
import { decodeNotification, encodeNotification } from './notification.ts';
import { decodeOpen, encodeOpen } from './open.ts';
import { plainBytes } from './reader.ts';
import { decodeRouteRefresh, encodeRouteRefresh } from './route-refresh.ts';
import { type CodecOptions, type Decoded, MESSAGE_TYPE, type Message, type UpdateMessage } from './types.ts';
import { decodeUpdate } from './update.ts';

/**
 * Decodes what a {@link Framer} gave. An error ends the session; what RFC 7606 lets go on comes as a value, its errors
 * in `errors` of the UPDATE. Never throws, whatever the bytes, and keeps no reference to `body`.
 */
export const decodeMessage = (type: number, body: Uint8Array, options: CodecOptions): Decoded<Message> => {
	const bytes = plainBytes(body);
	switch (type) {
		case MESSAGE_TYPE.OPEN:
			return decodeOpen(bytes);
		case MESSAGE_TYPE.UPDATE:
			return decodeUpdate(bytes, options);
		case MESSAGE_TYPE.NOTIFICATION:
			return decodeNotification(bytes);
		case MESSAGE_TYPE.KEEPALIVE:
			if (body.length > 0) return fail(badMessageLength(body.length + HEADER_LENGTH, 'a KEEPALIVE is a header only'));
			return succeed({ type: 'KEEPALIVE' });
		case MESSAGE_TYPE.ROUTE_REFRESH:
			return decodeRouteRefresh(bytes);
		default:
			return fail(badMessageType(type));
	}
};

/** The whole message, header included. Values that do not fit their fields are a bug of the caller: RangeError. */
export const encodeMessage = (message: Exclude<Message, UpdateMessage>): Uint8Array => {
	switch (message.type) {
		case 'OPEN':
			return encodeOpen(message);
		case 'NOTIFICATION':
			return encodeNotification(message);
		case 'KEEPALIVE':
			return withHeader(MESSAGE_TYPE.KEEPALIVE, new Uint8Array(0));
		case 'ROUTE_REFRESH':
			return encodeRouteRefresh(message);
	}
};
