import { NLA_F_NESTED, NLM_F_REQUEST, NLMSG_HDRLEN } from './netlink-constants.ts';
import { writeAddressBytes } from './write-address.ts';

/**
 * Writes netlink messages one after the other into one growing buffer, with no allocation a message or attribute:
 * at four microseconds a route, that is what the speed of a batch hangs on. Little-endian hosts only (x64, arm64).
 */
export type NetlinkWriter = {
	/** The buffer as it is now; it is replaced when it grows. */
	readonly buffer: () => Buffer;
	readonly length: () => number;
	/** Drops everything after `length`. */
	readonly truncate: (length: number) => void;
	/** Starts a message; NLM_F_REQUEST is added. Length and sequence number are filled in by `finish`. */
	readonly message: (type: number, flags: number) => void;
	/** Fills in length and sequence number of the message that began at `start` and ends here. */
	readonly finish: (start: number, sequence: number) => void;
	readonly u8: (value: number) => void;
	readonly u16: (value: number) => void;
	readonly u32: (value: number) => void;
	readonly attrU8: (type: number, value: number) => void;
	readonly attrU32: (type: number, value: number) => void;
	readonly attrBytes: (type: number, value: Uint8Array) => void;
	/** Attributes as they are, already aligned. */
	readonly raw: (value: Uint8Array) => void;
	/** A NUL-terminated string. */
	readonly attrString: (type: number, value: string) => void;
	/** An address; false (and nothing written) when `text` up to `end` is none. */
	readonly attrAddress: (type: number, text: string, end?: number) => boolean;
	/** Opens a nested attribute; give what it returns to `endNest`. */
	readonly nest: (type: number) => number;
	readonly endNest: (start: number) => void;
	/** Opens a structure that begins with its own 16-bit length (rtnexthop). */
	readonly mark: () => number;
	readonly endMark: (start: number) => void;
};

export const createNetlinkWriter = (): NetlinkWriter => {
	let buffer = Buffer.alloc(65_536);
	let at = 0;

	const need = (bytes: number): void => {
		if (at + bytes <= buffer.length) return;
		const grown = Buffer.alloc(Math.max(buffer.length * 2, at + bytes));
		buffer.copy(grown, 0, 0, at);
		buffer = grown;
	};
	const align = (): void => {
		while ((at & 3) !== 0) buffer[at++] = 0;
	};
	const put16 = (value: number): void => {
		buffer[at] = value;
		buffer[at + 1] = value >>> 8;
		at += 2;
	};
	const put32 = (value: number): void => {
		buffer[at] = value;
		buffer[at + 1] = value >>> 8;
		buffer[at + 2] = value >>> 16;
		buffer[at + 3] = value >>> 24;
		at += 4;
	};
	const endMark = (start: number): void => {
		const length = at - start;
		buffer[start] = length;
		buffer[start + 1] = length >>> 8;
	};

	return {
		buffer: () => buffer,
		length: () => at,
		truncate: (length) => {
			at = length;
		},
		message: (type, flags) => {
			need(NLMSG_HDRLEN);
			put32(0);
			put16(type);
			put16(flags | NLM_F_REQUEST);
			put32(0);
			put32(0);
		},
		finish: (start, sequence) => {
			buffer.writeUInt32LE(at - start, start);
			buffer.writeUInt32LE(sequence, start + 8);
		},
		u8: (value) => {
			need(1);
			buffer[at++] = value;
		},
		u16: (value) => {
			need(2);
			put16(value);
		},
		u32: (value) => {
			need(4);
			put32(value);
		},
		attrU8: (type, value) => {
			need(8);
			put16(5);
			put16(type);
			buffer[at++] = value;
			align();
		},
		attrU32: (type, value) => {
			need(8);
			put16(8);
			put16(type);
			put32(value);
		},
		attrBytes: (type, value) => {
			need(8 + value.length);
			put16(4 + value.length);
			put16(type);
			buffer.set(value, at);
			at += value.length;
			align();
		},
		raw: (value) => {
			need(value.length);
			buffer.set(value, at);
			at += value.length;
		},
		attrString: (type, value) => {
			const bytes = Buffer.byteLength(value);
			need(9 + bytes);
			put16(5 + bytes);
			put16(type);
			at += buffer.write(value, at);
			buffer[at++] = 0;
			align();
		},
		attrAddress: (type, text, end = text.length) => {
			need(20);
			const length = writeAddressBytes(buffer, at + 4, text, end);
			if (length === 0) return false;
			put16(4 + length);
			put16(type);
			at += length;
			return true;
		},
		nest: (type) => {
			need(4);
			const start = at;
			put16(0);
			put16(type | NLA_F_NESTED);
			return start;
		},
		endNest: endMark,
		mark: () => at,
		endMark,
	};
};
