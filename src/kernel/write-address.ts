import { addressToBytes } from '../net/ip.ts';

/**
 * Writes the address `text[0..end)` in network order to `buffer` at `at`, which must have 16 bytes of room. Returns 4 or
 * 16, or 0 when it is none. Canonical text goes straight into the buffer; anything odd goes the strict and slower way
 * of src/net/ip.ts, which also is the judge of what is an address.
 */
export const writeAddressBytes = (buffer: Uint8Array, at: number, text: string, end: number): 0 | 4 | 16 => {
	const fast = writeV4(buffer, at, text, end) || writeV6(buffer, at, text, end);
	if (fast !== 0) return fast;
	const bytes = addressToBytes(end === text.length ? text : text.slice(0, end));
	if (bytes === undefined) return 0;
	buffer.set(bytes, at);
	return bytes.length === 4 ? 4 : 16;
};

const writeV4 = (buffer: Uint8Array, at: number, text: string, end: number): 0 | 4 => {
	let value = 0;
	let octets = 0;
	let digits = 0;
	for (let i = 0; i < end; i++) {
		const c = text.charCodeAt(i);
		if (c === 46 && digits > 0 && octets < 3) {
			buffer[at + octets++] = value;
			value = 0;
			digits = 0;
		} else if (c >= 48 && c <= 57 && !(digits > 0 && value === 0)) {
			value = value * 10 + c - 48;
			digits++;
			if (value > 255) return 0;
		} else return 0;
	}
	if (octets !== 3 || digits === 0) return 0;
	buffer[at + 3] = value;
	return 4;
};

/** Lower-case groups of up to four digits, with `::` at most once and never for a single group at the wrong place. */
const writeV6 = (buffer: Uint8Array, at: number, text: string, end: number): 0 | 16 => {
	let groups = 0;
	let gap = -1;
	let i = 0;
	if (end >= 2 && text.charCodeAt(0) === 58) {
		if (text.charCodeAt(1) !== 58) return 0;
		gap = 0;
		i = 2;
	}
	while (i < end) {
		let value = 0;
		let digits = 0;
		for (; i < end; i++) {
			const c = text.charCodeAt(i);
			const digit = c >= 48 && c <= 57 ? c - 48 : c >= 97 && c <= 102 ? c - 87 : -1;
			if (digit < 0) break;
			value = (value << 4) | digit;
			digits++;
		}
		if (digits === 0 || digits > 4 || groups === 8) return 0;
		buffer[at + 2 * groups] = value >>> 8;
		buffer[at + 2 * groups + 1] = value;
		groups++;
		if (i === end) break;
		if (text.charCodeAt(i++) !== 58 || i === end) return 0;
		if (text.charCodeAt(i) === 58) {
			if (gap >= 0) return 0;
			gap = groups;
			i++;
		}
	}
	if (gap < 0) return groups === 8 ? 16 : 0;
	if (groups > 7) return 0;
	const tail = 2 * (groups - gap);
	buffer.copyWithin(at + 16 - tail, at + 2 * gap, at + 2 * groups);
	buffer.fill(0, at + 2 * gap, at + 16 - tail);
	return 16;
};
