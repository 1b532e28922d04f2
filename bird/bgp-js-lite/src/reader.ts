/**
 * A cursor over bytes that either gives what was asked for or `undefined`: never a short slice, never an exception.
 * A read that fails moves nothing.
 */

export type Reader = {
	readonly remaining: () => number;
	readonly u8: () => number | undefined;
	readonly u16: () => number | undefined;
	readonly u32: () => number | undefined;
	/** Exactly `length` bytes, as a view. */
	readonly take: (length: number) => Uint8Array | undefined;
};

/** Big-endian reads at a place the caller has checked to lie within `bytes`. */
export const u8At = (bytes: Uint8Array, at: number): number => bytes[at] as number;
export const u16At = (bytes: Uint8Array, at: number): number => (u8At(bytes, at) << 8) | u8At(bytes, at + 1);
export const u32At = (bytes: Uint8Array, at: number): number => u16At(bytes, at) * 0x10000 + u16At(bytes, at + 2);

/**
 * The same bytes as a Uint8Array proper. A Buffer is one only by name: its `slice` shares memory, and what is kept of a
 * message would then pin, and change with, the buffer it arrived in.
 */
export const plainBytes = (bytes: Uint8Array): Uint8Array =>
	bytes.constructor === Uint8Array ? bytes : new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.length);

export const createReader = (bytes: Uint8Array): Reader => {
	let at = 0;
	const advance = (length: number): number | undefined => {
		if (length > bytes.length - at) return undefined;
		at += length;
		return at - length;
	};
	const read = (length: number, decode: (bytes: Uint8Array, at: number) => number): number | undefined => {
		const start = advance(length);
		return start === undefined ? undefined : decode(bytes, start);
	};
	return {
		remaining: () => bytes.length - at,
		u8: () => read(1, u8At),
		u16: () => read(2, u16At),
		u32: () => read(4, u32At),
		take: (length) => {
			const start = advance(length);
			return start === undefined ? undefined : bytes.subarray(start, start + length);
		},
	};
};
