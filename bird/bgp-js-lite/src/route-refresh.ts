/** ROUTE-REFRESH (RFC 2918 §3), with the subtypes of enhanced route refresh (RFC 7313 §3). */

import { ERROR_CODE, HEADER_LENGTH } from './constants.ts';
import { fail, reset, succeed } from './errors.ts';
import { badMessageLength } from './framer.ts';
import { withHeader } from './header.ts';
import { u8At, u16At } from './reader.ts';
import { type Decoded, MESSAGE_TYPE, type RouteRefreshMessage } from './types.ts';
import { createWriter } from './writer.ts';

const INVALID_MESSAGE_LENGTH = 1;

/**
 * Subtypes nobody defined are given out as they are, whatever their length: RFC 7313 §5 has the session ignore them. Its two
 * own subtypes have an error of their own for a wrong length, with the whole message as data.
 */
export const decodeRouteRefresh = (body: Uint8Array): Decoded<RouteRefreshMessage> => {
	const length = body.length + HEADER_LENGTH;
	if (body.length < 3) return fail(badMessageLength(length, 'a ROUTE-REFRESH has 23 octets'));
	const subtype = u8At(body, 2);
	const safi = body[3] ?? 0;
	if (body.length === 4 || subtype > 2) return succeed({ type: 'ROUTE_REFRESH', afi: u16At(body, 0), safi, subtype });
	if (subtype === 0) return fail(badMessageLength(length, 'a ROUTE-REFRESH has 23 octets'));
	const message = `A ROUTE-REFRESH of subtype ${subtype} has ${body.length} octets after its header instead of 4.`;
	const data = withHeader(MESSAGE_TYPE.ROUTE_REFRESH, body);
	return fail(reset(ERROR_CODE.routeRefresh, INVALID_MESSAGE_LENGTH, message, data));
};

export const encodeRouteRefresh = (message: RouteRefreshMessage): Uint8Array => {
	const body = createWriter(4);
	body.u16(message.afi);
	body.u8(message.subtype);
	body.u8(message.safi);
	return withHeader(MESSAGE_TYPE.ROUTE_REFRESH, body.finish());
};
