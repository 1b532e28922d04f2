/** Bytes written one after the other into a buffer that grows. A number that does not fit its field is a bug: RangeError. */

export type Writer = {
	readonly length: () => number;
	readonly u8: (value: number) => void;
	readonly u16: (value: number) => void;
	readonly u32: (value: number) => void;
	readonly bytes: (value: Uint8Array) => void;
	/** Overwrites two bytes written before: for lengths known only afterwards. */
	readonly setU16: (at: number, value: number) => void;
	/** A copy of what was written. */
	readonly finish: () => Uint8Array;
	/** Nothing is written any more: for a writer that is used again, also after one of those bugs. */
	readonly clear: () => void;
};

const check = (value: number, bits: 8 | 16 | 32): number => {
	if (!Number.isInteger(value) || value < 0 || value >= 2 ** bits) {
		throw new RangeError(`${value} does not fit into ${bits} bits`);
	}
	return value;
};

/** V8 keeps arrays of up to 64 bytes on its own heap, which is far cheaper; most of what is written is no longer. */
const SMALL = 64;

export const createWriter = (capacity = SMALL): Writer => {
	let buffer = new Uint8Array(capacity);
	let end = 0;
	/** Makes room, moves the end, returns where to write. `buffer` may be another one after it. */
	const claim = (length: number): number => {
		if (end + length > buffer.length) {
			const larger = new Uint8Array(Math.max(2 * buffer.length, end + length));
			larger.set(buffer.subarray(0, end));
			buffer = larger;
		}
		end += length;
		return end - length;
	};
	const putU16 = (at: number, value: number): void => {
		buffer[at] = value >>> 8;
		buffer[at + 1] = value;
	};
	return {
		length: () => end,
		u8: (value) => {
			check(value, 8);
			const at = claim(1);
			buffer[at] = value;
		},
		u16: (value) => {
			check(value, 16);
			const at = claim(2);
			putU16(at, value);
		},
		u32: (value) => {
			check(value, 32);
			const at = claim(4);
			putU16(at, value >>> 16);
			putU16(at + 2, value & 0xffff);
		},
		bytes: (value) => {
			const at = claim(value.length);
			buffer.set(value, at);
		},
		setU16: (at, value) => putU16(at, check(value, 16)),
		finish: () => buffer.slice(0, end),
		clear: () => {
			end = 0;
		},
	};
};
