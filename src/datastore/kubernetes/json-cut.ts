import { backslash, closeBrace, closeBracket, colon, comma, openBrace, openBracket, quote } from './json-characters.ts';

/**
 * Reads of a JSON value only what is wanted, out of bytes that may not be all there yet. A pod is 4 to 20 kB as the API
 * server sends it and 300 bytes as Manx uses it: what nobody looks at is passed over by its quotes and brackets and never
 * becomes text or objects. Pure.
 *
 * What is wanted is JSON.parse's to judge; what is passed over may be anything whose quotes and brackets fit.
 */

/** Whole, or by key; an array's elements each the same way. */
export type Keep = true | { readonly [key: string]: Keep } | ((key: string) => boolean);

export type Cut =
	/** The value ended before `end`. */
	| { readonly type: 'value'; readonly value: unknown; readonly end: number }
	/** The bytes end within it. */
	| { readonly type: 'more' }
	| { readonly type: 'broken'; readonly reason: string };

/** Thrown within, at the end of the bytes. */
const more = Symbol('more');

const afterSpace = (data: Buffer, from: number): number => {
	let at = from;
	while (at < data.length && (data[at] as number) <= 0x20) at++;
	if (at === data.length) throw more;
	return at;
};

/** Short strings are looked through here, long ones by memchr. */
const patience = 32;

/** Behind the closing quote of a string whose text begins at `from`. */
const afterString = (data: Buffer, from: number): number => {
	let at = from;
	for (;;) {
		const soon = Math.min(at + patience, data.length);
		while (at < soon && data[at] !== quote && data[at] !== backslash) at++;
		if (at === data.length) throw more;
		if (data[at] === quote) return at + 1;
		if (data[at] === backslash) {
			at += 2;
			continue;
		}
		const end = data.indexOf(quote, at);
		if (end < 0) throw more;
		const escaped = data.subarray(at, end).indexOf(backslash);
		if (escaped < 0) return end + 1;
		at += escaped + 2;
	}
};

/** Behind the value that begins at `from`. */
const afterValue = (data: Buffer, from: number): number => {
	const first = data[from];
	if (first === quote) return afterString(data, from + 1);
	const { length } = data;
	let at = from;
	if (first !== openBrace && first !== openBracket) {
		for (; at < length; at++) {
			const byte = data[at] as number;
			if (byte === comma || byte === closeBrace || byte === closeBracket || byte <= 0x20) return at;
		}
		throw more;
	}
	// Most of what the API server sends goes by here: one look at each byte.
	for (let depth = 0; at < length; ) {
		const byte = data[at++] as number;
		if (byte === quote) {
			while (at < length && (data[at] as number) !== quote && (data[at] as number) !== backslash) at++;
			if (at < length && data[at] === quote) at++;
			else at = afterString(data, at);
		} else if (byte >= openBracket) {
			if (byte === openBrace || byte === openBracket) depth++;
			else if ((byte === closeBrace || byte === closeBracket) && --depth === 0) return at;
		}
	}
	throw more;
};

const keepOf = (keep: Exclude<Keep, true>, key: string): Keep | undefined => {
	if (typeof keep === 'function') return keep(key) ? true : undefined;
	return Object.hasOwn(keep, key) ? keep[key] : undefined;
};

type Read = { value: unknown; end: number };

const readWhole = (data: Buffer, from: number): Read => {
	const end = afterValue(data, from);
	if (data[from] === quote) {
		const text = data.toString('utf8', from + 1, end - 1);
		if (!text.includes('\\')) return { value: text, end };
	}
	return { value: JSON.parse(data.toString('utf8', from, end)) as unknown, end };
};

/** First bytes of the keys that are wanted: most keys are not, and need not become text for that. */
const firstBytes = new WeakMap<object, Uint8Array>();

const firstBytesOf = (keep: Exclude<Keep, true>): Uint8Array => {
	const known = firstBytes.get(keep);
	if (known) return known;
	const bytes = new Uint8Array(256);
	if (typeof keep === 'function') bytes.fill(1);
	else for (const key of Object.keys(keep)) bytes[Buffer.from(key)[0] ?? quote] = 1;
	bytes[backslash] = 1;
	firstBytes.set(keep, bytes);
	return bytes;
};

const keyOf = (data: Buffer, from: number, behind: number): string => {
	const text = data.toString('utf8', from + 1, behind - 1);
	return text.includes('\\') ? (JSON.parse(data.toString('utf8', from, behind)) as string) : text;
};

const readObject = (data: Buffer, from: number, keep: Exclude<Keep, true>): Read => {
	const value: Record<string, unknown> = {};
	const firsts = firstBytesOf(keep);
	let at = afterSpace(data, from + 1);
	if (data[at] === closeBrace) return { value, end: at + 1 };
	for (;;) {
		if (data[at] !== quote) throw new SyntaxError('a key is missing in an object');
		const behind = afterString(data, at + 1);
		const key = firsts[data[at + 1] as number] === 1 ? keyOf(data, at, behind) : undefined;
		at = afterSpace(data, behind);
		if (data[at] !== colon) throw new SyntaxError('there is no colon behind a key');
		at = afterSpace(data, at + 1);
		const wanted = key === undefined ? undefined : keepOf(keep, key);
		if (key === undefined || wanted === undefined) {
			at = afterValue(data, at);
		} else {
			const read = readValue(data, at, wanted);
			if (key !== '__proto__') value[key] = read.value;
			at = read.end;
		}
		at = afterSpace(data, at);
		if (data[at] === closeBrace) return { value, end: at + 1 };
		if (data[at] !== comma) throw new SyntaxError('there is no comma between the fields of an object');
		at = afterSpace(data, at + 1);
	}
};

const readArray = (data: Buffer, from: number, keep: Exclude<Keep, true>): Read => {
	const value: unknown[] = [];
	let at = afterSpace(data, from + 1);
	if (data[at] === closeBracket) return { value, end: at + 1 };
	for (;;) {
		const read = readValue(data, at, keep);
		value.push(read.value);
		at = afterSpace(data, read.end);
		if (data[at] === closeBracket) return { value, end: at + 1 };
		if (data[at] !== comma) throw new SyntaxError('there is no comma between the elements of a list');
		at = afterSpace(data, at + 1);
	}
};

const readValue = (data: Buffer, from: number, keep: Keep): Read => {
	if (keep === true) return readWhole(data, from);
	if (data[from] === openBrace) return readObject(data, from, keep);
	if (data[from] === openBracket) return readArray(data, from, keep);
	return readWhole(data, from);
};

/** The value that begins at `from`; a number or a word needs a byte behind it to have ended. */
export const cutJSON = (data: Buffer, from: number, keep: Keep): Cut => {
	try {
		return { type: 'value', ...readValue(data, from, keep) };
	} catch (error) {
		return error === more ? { type: 'more' } : { type: 'broken', reason: (error as Error).message };
	}
};
