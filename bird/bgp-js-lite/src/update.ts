/**
 * UPDATE, decoding (RFC 4271 §4.3, §6.3; RFC 4760; RFC 7606). A prefix in both `withdrawn` and `announced` is announced
 * (RFC 4271 §4.3): apply `withdrawn` first.
 */

import { mergeFourOctet } from './attribute-values.ts';
import { ATTRIBUTE, ERROR_CODE, HEADER_LENGTH, UPDATE_ERROR } from './constants.ts';
import { attributeName } from './describe-notification.ts';
import { decodeError, fail, malformedList, reset, succeed } from './errors.ts';
import { badMessageLength } from './framer.ts';
import { decodeNlri, familyKey } from './nlri.ts';
import { type AttributeList, decodePathAttributes } from './path-attributes.ts';
import { createReader } from './reader.ts';
import {
	AFI,
	type CodecOptions,
	type Decoded,
	type DecodeError,
	type Nlri,
	type PathAttributes,
	SAFI,
	type UpdateMessage,
} from './types.ts';

const IPV4_UNICAST = { afi: AFI.ipv4, safi: SAFI.unicast } as const;

/** The three fields of the body, or undefined when their lengths do not fit into it. */
const fields = (body: Uint8Array): { withdrawn: Uint8Array; attributes: Uint8Array; nlri: Uint8Array } | undefined => {
	const reader = createReader(body);
	const withdrawnLength = reader.u16();
	const withdrawn = withdrawnLength === undefined ? undefined : reader.take(withdrawnLength);
	const attributesLength = reader.u16();
	const attributes = attributesLength === undefined ? undefined : reader.take(attributesLength);
	const nlri = reader.take(reader.remaining());
	return withdrawn && attributes && nlri && { withdrawn, attributes, nlri };
};

const invalidNetworkField = (field: string, why: string): DecodeError =>
	reset(ERROR_CODE.update, UPDATE_ERROR.invalidNetworkField, `The ${field} of an UPDATE cannot be read: ${why}.`);

/** RFC 7606 §3 (d): mandatory attributes that are not there at all. */
const missingAttributes = (list: AttributeList, classic: boolean): DecodeError[] => {
	const mandatory: number[] = [ATTRIBUTE.ORIGIN, ATTRIBUTE.AS_PATH];
	if (classic) mandatory.push(ATTRIBUTE.NEXT_HOP);
	return mandatory
		.filter((code) => !list.seen.includes(code))
		.map((code) =>
			decodeError(
				'treatAsWithdraw',
				ERROR_CODE.update,
				UPDATE_ERROR.missingWellKnownAttribute,
				`${attributeName(code)} is missing from an UPDATE that announces prefixes.`,
				Uint8Array.of(code),
			),
		);
};

/** Only MP_UNREACH_NLRI, and that without prefixes (RFC 4724 §2). */
const endOfRibOf = (list: AttributeList): UpdateMessage['endOfRib'] =>
	list.mpUnreach?.empty && list.seen.length === 1 && list.errors.length === 0
		? { afi: list.mpUnreach.afi, safi: list.mpUnreach.safi }
		: undefined;

export const decodeUpdate = (body: Uint8Array, options: CodecOptions): Decoded<UpdateMessage> => {
	if (body.length < 4) {
		return fail(badMessageLength(body.length + HEADER_LENGTH, 'an UPDATE has at least 23 octets'));
	}
	const parts = fields(body);
	if (parts === undefined) {
		return fail(malformedList('The withdrawn routes or path attributes of an UPDATE are longer than the message.'));
	}
	const addPath = options.addPathReceive?.has(familyKey(IPV4_UNICAST)) ?? false;
	const classicWithdrawn = decodeNlri(parts.withdrawn, AFI.ipv4, addPath);
	if (typeof classicWithdrawn === 'string') return fail(invalidNetworkField('withdrawn routes', classicWithdrawn));
	const decoded = decodePathAttributes(parts.attributes, options, parts.nlri.length > 0);
	if (!decoded.ok) return decoded;
	const list = decoded.value;
	const classic = decodeNlri(parts.nlri, AFI.ipv4, addPath);
	if (typeof classic === 'string') return fail(invalidNetworkField('NLRI', classic));

	if (body.length === 4) return succeed({ type: 'UPDATE', withdrawn: [], announced: [], endOfRib: IPV4_UNICAST });

	const withdrawn: UpdateMessage['withdrawn'][number][] = [];
	const announced: UpdateMessage['announced'][number][] = [];
	const withdraw = (afi: number, safi: number, nlri: readonly Nlri[]): void => {
		if (nlri.length > 0) withdrawn.push({ afi, safi, nlri });
	};
	const { known, mpReach, mpUnreach } = list;
	withdraw(AFI.ipv4, SAFI.unicast, classicWithdrawn);
	if (mpUnreach !== undefined) withdraw(mpUnreach.afi, mpUnreach.safi, mpUnreach.nlri);

	const reachable = classic.length > 0 || mpReach?.reachable === true;
	const errors = reachable ? [...list.errors, ...missingAttributes(list, classic.length > 0)] : list.errors;
	const worst = errors.find((error) => error.action === 'treatAsWithdraw');
	if (worst !== undefined && !reachable) {
		// RFC 7606 §5.2: no prefixes, so perhaps the error hides them; nobody can tell which to withdraw.
		return fail({ ...worst, action: 'sessionReset' });
	}
	if (worst !== undefined) {
		withdraw(AFI.ipv4, SAFI.unicast, classic);
		if (mpReach !== undefined) withdraw(mpReach.afi, mpReach.safi, mpReach.nlri);
		return succeed({ type: 'UPDATE', withdrawn, announced, errors });
	}

	if (classic.length > 0 && known.nextHop !== undefined) {
		announced.push({ ...IPV4_UNICAST, nlri: classic, nextHop: known.nextHop });
	}
	if (mpReach?.nextHop !== undefined && mpReach.nlri.length > 0) {
		const { afi, safi, nlri, nextHop, linkLocalNextHop } = mpReach;
		announced.push({ afi, safi, nlri, nextHop, ...(linkLocalNextHop === undefined ? {} : { linkLocalNextHop }) });
	}
	const endOfRib = parts.withdrawn.length === 0 && parts.nlri.length === 0 ? endOfRibOf(list) : undefined;
	return succeed({
		type: 'UPDATE',
		withdrawn,
		announced,
		...(announced.length > 0 ? { attributes: pathAttributes(list) } : {}),
		...(endOfRib === undefined ? {} : { endOfRib }),
		...(errors.length > 0 ? { errors } : {}),
	});
};

const pathAttributes = ({ known, unknown }: AttributeList): PathAttributes => ({
	...known.shared,
	// Both are there wherever prefixes are announced, else these were withdrawn.
	origin: known.shared.origin ?? 'incomplete',
	asPath: [],
	...mergeFourOctet(known),
	...(unknown.length > 0 ? { unknown } : {}),
});
