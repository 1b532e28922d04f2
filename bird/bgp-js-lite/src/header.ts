import { HEADER_LENGTH } from './constants.ts';

/** Writes the marker, length and type of a message of `length` bytes, header included (RFC 4271 §4.1). */
export const writeHeader = (into: Uint8Array, length: number, type: number): void => {
	into.fill(0xff, 0, 16);
	into[16] = length >>> 8;
	into[17] = length;
	into[18] = type;
};

/** A whole message around its body. */
export const withHeader = (type: number, body: Uint8Array): Uint8Array => {
	const message = new Uint8Array(HEADER_LENGTH + body.length);
	writeHeader(message, message.length, type);
	message.set(body, HEADER_LENGTH);
	return message;
};
