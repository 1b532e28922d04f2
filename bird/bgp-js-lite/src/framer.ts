/**
 * Cuts a byte stream into messages and checks their headers (RFC 4271 §6.1). What comes out does not depend on how the
 * stream was cut into chunks, and nothing waits for bytes that cannot make it right: a wrong marker octet, a length out of
 * range or an unknown type is refused as soon as it is seen. After an error the framer gives that error for ever.
 *
 * A body is a view into the chunk it arrived in where it lies in one, else a copy: chunks must not be changed after `push`.
 */

import { ERROR_CODE, HEADER_ERROR, HEADER_LENGTH, MAX_MESSAGE_LENGTH } from './constants.ts';
import { fail, reset, succeed } from './errors.ts';
import { plainBytes, u8At, u16At } from './reader.ts';
import { type Decoded, type DecodeError, MESSAGE_TYPE } from './types.ts';

export type Framer = {
	readonly push: (chunk: Uint8Array) => void;
	/** The next whole message without its header, or the error that ended the stream; undefined: more bytes are needed. */
	readonly next: () => Decoded<{ readonly type: number; readonly body: Uint8Array }> | undefined;
	/** For headers not yet complete: RFC 8654 raises the limit once OPENs were exchanged. */
	readonly setMaxMessageLength: (length: number) => void;
};

const MINIMUM_LENGTH: Readonly<Record<number, number>> = {
	[MESSAGE_TYPE.OPEN]: 29,
	[MESSAGE_TYPE.UPDATE]: 23,
	[MESSAGE_TYPE.NOTIFICATION]: 21,
	[MESSAGE_TYPE.KEEPALIVE]: HEADER_LENGTH,
	// One octet less than it needs: its subtype decides what a wrong length means (RFC 7313 §5).
	[MESSAGE_TYPE.ROUTE_REFRESH]: 22,
};

export const badMessageLength = (length: number, why: string): DecodeError =>
	reset(
		ERROR_CODE.messageHeader,
		HEADER_ERROR.badMessageLength,
		`The message header gives a length of ${length}: ${why}.`,
		Uint8Array.of(length >>> 8, length),
	);

export const badMessageType = (type: number): DecodeError =>
	reset(
		ERROR_CODE.messageHeader,
		HEADER_ERROR.badMessageType,
		`Message type ${type} is none that BGP knows.`,
		Uint8Array.of(type),
	);

/** What is wrong with the first `filled` bytes of a header, if that can be told already. */
const headerError = (header: Uint8Array, filled: number, maxMessageLength: number): DecodeError | undefined => {
	for (let i = 0; i < filled && i < 16; i++) {
		if (header[i] !== 0xff) {
			return reset(
				ERROR_CODE.messageHeader,
				HEADER_ERROR.notSynchronized,
				`The marker of a message header is not all ones at octet ${i}: the peer does not speak BGP here, or is out of step.`,
			);
		}
	}
	if (filled < 18) return undefined;
	const length = u16At(header, 16);
	if (length < HEADER_LENGTH) return badMessageLength(length, `the header alone has ${HEADER_LENGTH} octets`);
	if (length > maxMessageLength) return badMessageLength(length, `no more than ${maxMessageLength} was agreed`);
	if (filled < HEADER_LENGTH) return undefined;
	const type = u8At(header, 18);
	const minimum = MINIMUM_LENGTH[type];
	if (minimum === undefined) return badMessageType(type);
	if (length < minimum) return badMessageLength(length, `a message of type ${type} has at least ${minimum} octets`);
	if (type === MESSAGE_TYPE.KEEPALIVE && length > HEADER_LENGTH) {
		return badMessageLength(length, 'a KEEPALIVE is a header only');
	}
	// RFC 8654 §4: extended messages are for the other types.
	if (type === MESSAGE_TYPE.OPEN && length > MAX_MESSAGE_LENGTH) {
		return badMessageLength(length, `an OPEN has at most ${MAX_MESSAGE_LENGTH} octets`);
	}
	return undefined;
};

export const createFramer = (initialMaxMessageLength: number = MAX_MESSAGE_LENGTH): Framer => {
	let maxMessageLength = initialMaxMessageLength;
	const queue: Uint8Array[] = [];
	const header = new Uint8Array(HEADER_LENGTH);
	let headerFilled = 0;
	/** A body that spans chunks, once its header is complete. */
	let body: Uint8Array | undefined;
	let bodyFilled = 0;
	let failure: ReturnType<typeof fail> | undefined;

	/** Moves bytes from the queue into `target`; returns how far that is filled now. */
	const fill = (target: Uint8Array, filled: number): number => {
		let at = filled;
		while (at < target.length) {
			const chunk = queue[0];
			if (chunk === undefined) break;
			const part = chunk.subarray(0, target.length - at);
			target.set(part, at);
			at += part.length;
			consume(chunk, part.length);
		}
		return at;
	};
	const consume = (head: Uint8Array, length: number): void => {
		if (length === head.length) queue.shift();
		else queue[0] = head.subarray(length);
	};

	return {
		push: (chunk) => {
			if (chunk.length > 0 && failure === undefined) queue.push(plainBytes(chunk));
		},
		setMaxMessageLength: (length) => {
			maxMessageLength = length;
		},
		next: () => {
			if (failure !== undefined) return failure;
			if (headerFilled < HEADER_LENGTH) {
				headerFilled = fill(header, headerFilled);
				const error = headerError(header, headerFilled, maxMessageLength);
				if (error !== undefined) {
					queue.length = 0;
					failure = fail(error);
					return failure;
				}
				if (headerFilled < HEADER_LENGTH) return undefined;
			}
			const length = u16At(header, 16) - HEADER_LENGTH;
			const head = queue[0];
			let whole: Uint8Array;
			if (body === undefined && head !== undefined && head.length >= length) {
				whole = head.subarray(0, length);
				consume(head, length);
			} else {
				body ??= new Uint8Array(length);
				bodyFilled = fill(body, bodyFilled);
				if (bodyFilled < length) return undefined;
				whole = body;
			}
			headerFilled = 0;
			body = undefined;
			bodyFilled = 0;
			return succeed({ type: u8At(header, 18), body: whole });
		},
	};
};
