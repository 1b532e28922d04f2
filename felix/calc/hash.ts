/**
 * Short stable names out of long ones: SHA-256 (FIPS 180-4), cut to 80 bits.
 *
 * A cryptographic hash, since tenants choose what is hashed here: with a weaker one a tenant could write a selector whose
 * set bears the name of another tenant's. Synchronous and without `node:`, so pure folders may use it.
 */

const fractions = (exponent: number, count: number): Uint32Array => {
	const words = new Uint32Array(count);
	let found = 0;
	for (let n = 2; found < count; n++) {
		let prime = true;
		for (let d = 2; d * d <= n; d++) if (n % d === 0) prime = false;
		if (!prime) continue;
		const root = n ** exponent;
		words[found++] = Math.floor((root - Math.floor(root)) * 2 ** 32);
	}
	return words;
};

/** The first 32 bits of the fractional parts of the cube roots of the first 64 primes, and square roots of 8. */
const K = fractions(1 / 3, 64);
const INITIAL = fractions(1 / 2, 8);

const encoder = new TextEncoder();
const schedule = new Uint32Array(64);

const compress = (state: Uint32Array, view: DataView, offset: number): void => {
	const w = schedule;
	const word = (i: number): number => w[i] as number;
	const rotate = (x: number, n: number): number => (x >>> n) | (x << (32 - n));
	for (let i = 0; i < 16; i++) w[i] = view.getUint32(offset + 4 * i);
	for (let i = 16; i < 64; i++) {
		const x = word(i - 15);
		const y = word(i - 2);
		const s0 = rotate(x, 7) ^ rotate(x, 18) ^ (x >>> 3);
		const s1 = rotate(y, 17) ^ rotate(y, 19) ^ (y >>> 10);
		w[i] = word(i - 16) + s0 + word(i - 7) + s1;
	}
	let [a, b, c, d, e, f, g, h] = state as unknown as [number, number, number, number, number, number, number, number];
	for (let i = 0; i < 64; i++) {
		const s1 = rotate(e, 6) ^ rotate(e, 11) ^ rotate(e, 25);
		const t1 = (h + s1 + ((e & f) ^ (~e & g)) + (K[i] as number) + word(i)) | 0;
		const s0 = rotate(a, 2) ^ rotate(a, 13) ^ rotate(a, 22);
		const t2 = (s0 + ((a & b) ^ (a & c) ^ (b & c))) | 0;
		h = g;
		g = f;
		f = e;
		e = (d + t1) | 0;
		d = c;
		c = b;
		b = a;
		a = (t1 + t2) | 0;
	}
	[a, b, c, d, e, f, g, h].forEach((value, i) => {
		state[i] = (state[i] as number) + value;
	});
};

/** The SHA-256 digest of a text's UTF-8 bytes. */
export const sha256 = (text: string): Uint8Array => {
	const bytes = encoder.encode(text);
	const padded = new Uint8Array(((bytes.length + 8) >>> 6) * 64 + 64);
	padded.set(bytes);
	padded[bytes.length] = 0x80;
	const view = new DataView(padded.buffer);
	view.setUint32(padded.length - 8, Math.floor(bytes.length / 2 ** 29));
	view.setUint32(padded.length - 4, bytes.length * 8);
	const state = INITIAL.slice();
	for (let offset = 0; offset < padded.length; offset += 64) compress(state, view, offset);
	const digest = new Uint8Array(32);
	const out = new DataView(digest.buffer);
	state.forEach((value, i) => {
		out.setUint32(4 * i, value);
	});
	return digest;
};

const BASE32 = 'abcdefghijklmnopqrstuvwxyz234567';

/** 16 characters of [a-z2-7] that stand for `parts`; they are joined so that ['a', 'bc'] and ['ab', 'c'] differ. */
export const shortHash = (...parts: readonly string[]): string => {
	const digest = sha256(JSON.stringify(parts));
	let text = '';
	let bits = 0;
	let held = 0;
	for (const byte of digest.subarray(0, 10)) {
		held = (held << 8) | byte;
		bits += 8;
		while (bits >= 5) {
			bits -= 5;
			text += BASE32[(held >>> bits) & 31];
		}
		held &= (1 << bits) - 1;
	}
	return text;
};
