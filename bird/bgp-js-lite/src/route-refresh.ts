/** ROUTE-REFRESH (RFC 2918 §3), with the subtypes of enhanced route refresh (RFC 7313 §3). */

import { ERROR_CODE, HEADER_LENGTH } from './constants.ts';
import { fail, reset, succeed } from './errors.ts';
import { badMessageLength } from './framer.ts';
import { withHeader } from './header.ts';
import { u8At, u16At } from './reader.ts';
import { type Decoded, MESSAGE_TYPE, type RouteRefreshMessage } from './types.ts';
import { createWriter } from './writer.ts';

const INVALID_MESSAGE_LENGTH = 1;

/** Subtypes nobody defined are given out as they are: RFC 7313 §5 has the session ignore them. */
export const decodeRouteRefresh = (body: Uint8Array): Decoded<RouteRefreshMessage> => {
	const length = body.length + HEADER_LENGTH;
	if (body.length < 4) return fail(badMessageLength(length, 'a ROUTE-REFRESH has 23 octets'));
	const subtype = u8At(body, 2);
	if (body.length > 4) {
		// RFC 7313 §5 has an error of its own for its two subtypes, with the whole message as data.
		if (subtype !== 1 && subtype !== 2) return fail(badMessageLength(length, 'a ROUTE-REFRESH has 23 octets'));
		const message = `A ROUTE-REFRESH of subtype ${subtype} has ${body.length} octets after its header instead of 4.`;
		const data = withHeader(MESSAGE_TYPE.ROUTE_REFRESH, body);
		return fail(reset(ERROR_CODE.routeRefresh, INVALID_MESSAGE_LENGTH, message, data));
	}
	return succeed({ type: 'ROUTE_REFRESH', afi: u16At(body, 0), safi: u8At(body, 3), subtype });
};

export const encodeRouteRefresh = (message: RouteRefreshMessage): Uint8Array => {
	const body = createWriter(4);
	body.u16(message.afi);
	body.u8(message.subtype);
	body.u8(message.safi);
	return withHeader(MESSAGE_TYPE.ROUTE_REFRESH, body.finish());
};
