/** NOTIFICATIONs in words, for logs and status. Text a peer sent is shown quoted and without control characters. */

import { ATTRIBUTE, CEASE, ERROR_CODE } from './constants.ts';
import { u8At, u16At, u32At } from './reader.ts';

const ERRORS: Readonly<Record<number, { readonly name: string; readonly subcodes: Readonly<Record<number, string>> }>> =
	{
		1: {
			name: 'Message Header Error',
			subcodes: { 1: 'Connection Not Synchronized', 2: 'Bad Message Length', 3: 'Bad Message Type' },
		},
		2: {
			name: 'OPEN Message Error',
			subcodes: {
				1: 'Unsupported Version Number',
				2: 'Bad Peer AS',
				3: 'Bad BGP Identifier',
				4: 'Unsupported Optional Parameter',
				5: 'Authentication Failure',
				6: 'Unacceptable Hold Time',
				7: 'Unsupported Capability',
				11: 'Role Mismatch',
			},
		},
		3: {
			name: 'UPDATE Message Error',
			subcodes: {
				1: 'Malformed Attribute List',
				2: 'Unrecognized Well-known Attribute',
				3: 'Missing Well-known Attribute',
				4: 'Attribute Flags Error',
				5: 'Attribute Length Error',
				6: 'Invalid ORIGIN Attribute',
				7: 'AS Routing Loop',
				8: 'Invalid NEXT_HOP Attribute',
				9: 'Optional Attribute Error',
				10: 'Invalid Network Field',
				11: 'Malformed AS_PATH',
			},
		},
		4: { name: 'Hold Timer Expired', subcodes: {} },
		5: {
			name: 'Finite State Machine Error',
			subcodes: {
				1: 'Receive Unexpected Message in OpenSent State',
				2: 'Receive Unexpected Message in OpenConfirm State',
				3: 'Receive Unexpected Message in Established State',
			},
		},
		6: {
			name: 'Cease',
			subcodes: {
				1: 'Maximum Number of Prefixes Reached',
				2: 'Administrative Shutdown',
				3: 'Peer De-configured',
				4: 'Administrative Reset',
				5: 'Connection Rejected',
				6: 'Other Configuration Change',
				7: 'Connection Collision Resolution',
				8: 'Out of Resources',
				9: 'Hard Reset',
				10: 'BFD Down',
			},
		},
		7: { name: 'ROUTE-REFRESH Message Error', subcodes: { 1: 'Invalid Message Length' } },
		8: { name: 'Send Hold Timer Expired', subcodes: {} },
	};

const ATTRIBUTE_NAMES: ReadonlyMap<number, string> = new Map(
	Object.entries(ATTRIBUTE).map(([name, code]) => [code, name]),
);

/** `ORIGIN`, or `Attribute 99`. */
export const attributeName = (code: number): string => ATTRIBUTE_NAMES.get(code) ?? `Attribute ${code}`;

const hex = (data: Uint8Array): string => {
	const shown = Array.from(data.subarray(0, 32), (octet) => octet.toString(16).padStart(2, '0')).join(' ');
	return data.length > 32 ? `data ${shown} … (${data.length} octets)` : `data ${shown}`;
};

/**
 * The text of an administrative shutdown or reset (RFC 9003 §2): undefined when there is none, the length does not fit
 * or the bytes are not UTF-8.
 */
export const decodeShutdownMessage = (data: Uint8Array): string | undefined => {
	if (data.length < 2 || u8At(data, 0) !== data.length - 1) return undefined;
	try {
		return new TextDecoder('utf-8', { fatal: true }).decode(data.subarray(1));
	} catch {
		return undefined;
	}
};

/** Quoted; control characters, also those that turn text around or end lines, become escapes. */
const quote = (text: string): string =>
	JSON.stringify(text).replaceAll(
		/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu,
		(character) => `\\u{${(character.codePointAt(0) ?? 0).toString(16)}}`,
	);

const describeCease = (subcode: number, data: Uint8Array): string | undefined => {
	if (subcode === CEASE.administrativeShutdown || subcode === CEASE.administrativeReset) {
		if (data.length === 1 && data[0] === 0) return '';
		const text = decodeShutdownMessage(data);
		return text === undefined ? undefined : quote(text);
	}
	if (subcode === CEASE.maximumPrefixes && data.length === 7) {
		return `AFI ${u16At(data, 0)}, SAFI ${u8At(data, 2)}, at most ${u32At(data, 3)}`;
	}
	// A hard reset within a hard reset is nonsense, and could be nested without end: it is shown as bytes.
	const nested = data[0] === ERROR_CODE.cease && data[1] === CEASE.hardReset;
	if (subcode === CEASE.hardReset && data.length >= 2 && !nested) {
		return `reason: ${describeNotification(u8At(data, 0), u8At(data, 1), data.subarray(2))}`;
	}
	return undefined;
};

const describeData = (code: number, subcode: number, data: Uint8Array): string | undefined => {
	switch (code) {
		case ERROR_CODE.messageHeader:
			if (subcode === 2 && data.length === 2) return `length ${u16At(data, 0)}`;
			if (subcode === 3 && data.length === 1) return `type ${u8At(data, 0)}`;
			return undefined;
		case ERROR_CODE.open:
			if (subcode === 1 && data.length === 2) return `version ${u16At(data, 0)} is supported`;
			if (subcode === 7) return `capability ${u8At(data, 0)}`;
			return undefined;
		case ERROR_CODE.update:
			if (subcode === 3 && data.length === 1) return attributeName(u8At(data, 0));
			if (subcode >= 2 && subcode <= 9 && data.length >= 3) return `${attributeName(u8At(data, 1))}, ${hex(data)}`;
			return undefined;
		case ERROR_CODE.fsm:
			return data.length === 1 ? `message type ${u8At(data, 0)}` : undefined;
		case ERROR_CODE.cease:
			return describeCease(subcode, data);
		default:
			return undefined;
	}
};

/** For example `Cease, Administrative Shutdown: "back at noon"`. */
export const describeNotification = (code: number, subcode: number, data: Uint8Array): string => {
	const known = ERRORS[code];
	const error = known?.name ?? `error code ${code}`;
	const named = known?.subcodes[subcode];
	const detail = named ?? (subcode === 0 ? undefined : `subcode ${subcode}`);
	const words = data.length === 0 ? '' : (describeData(code, subcode, data) ?? hex(data));
	return `${error}${detail === undefined ? '' : `, ${detail}`}${words === '' ? '' : `: ${words}`}`;
};
