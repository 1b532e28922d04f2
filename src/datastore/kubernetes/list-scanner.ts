/**
 * Takes a list answer of the API server (`{"kind":"PodList","metadata":{...},"items":[{...},{...}]}`) apart while it
 * arrives: each item is handed on by itself, so a list of 100 MB never exists as one value. What stands around the items
 * is parsed at the end; CRD lists put `items` before `metadata`. Pure. Memory is bounded by the largest item.
 *
 * What is read of an item is json-cut.ts's matter.
 */
import { backslash, closeBrace, closeBracket, colon, comma, openBrace, openBracket, quote } from './json-characters.ts';
import { cutJSON, type Keep } from './json-cut.ts';

export type ListScanner = {
	/** Why the text is no list, or undefined while it may still be one. */
	readonly feed: (chunk: Uint8Array) => string | undefined;
	/** What stood around the items, with `items` empty. */
	readonly end: () => { readonly ok: true; readonly rest: unknown } | { readonly ok: false; readonly reason: string };
};

export const createListScanner = (
	maxBytes: number,
	onItem: (item: unknown) => void,
	wanted: Keep = true,
): ListScanner => {
	let problem: string | undefined;
	let depth = 0;
	let inString = false;
	let escaped = false;
	/** Within the array under the top level's `items`. */
	let inItems = false;
	/** The last string of the top level, until something else than a colon follows. */
	let word = '';
	let key = '';
	let kept: Uint8Array[] = [];
	let around: string[] = [];
	let size = 0;
	/** An item that has begun, and how long it must have become before it is worth another look. */
	let begun: Buffer[] = [];
	let begunSize = 0;
	let lookAgainAt = 0;

	const keep = (piece: Uint8Array): void => {
		size += piece.length;
		if (size > maxBytes) problem = tooLong;
		kept.push(piece);
	};
	const flush = (): string => {
		const text = Buffer.concat(kept).toString('utf8');
		kept = [];
		size = 0;
		return text;
	};
	const tooLong = `an item, or what stands around them, is longer than ${maxBytes} bytes`;

	/** Hands on the item that begins at `from`; where it ends, or the end of the data when the rest is still to come. */
	const takeItem = (data: Buffer, from: number): number => {
		const cut = cutJSON(data, from, wanted);
		if (cut.type === 'broken') {
			problem = `an item is not JSON: ${cut.reason}`;
			return data.length;
		}
		const end = cut.type === 'more' ? data.length : cut.end;
		if (end - from > maxBytes) {
			problem = tooLong;
		} else if (cut.type === 'value') {
			onItem(cut.value);
		} else {
			begun = [data.subarray(from)];
			begunSize = end - from;
			lookAgainAt = begunSize + 1;
		}
		return end;
	};

	const bytesOf = (chunk: Uint8Array): Buffer => Buffer.from(chunk.buffer, chunk.byteOffset, chunk.byteLength);

	const feed = (bytes: Uint8Array, last: boolean): string | undefined => {
		let chunk = bytesOf(bytes);
		/** Where to go on in the chunk. */
		let start = 0;
		if (begunSize > 0) {
			begun.push(chunk);
			begunSize += chunk.length;
			if (begunSize < lookAgainAt && !last) {
				if (begunSize > maxBytes) problem = tooLong;
				return problem;
			}
			chunk = Buffer.concat(begun);
			begun = [];
			begunSize = 0;
			start = takeItem(chunk, 0);
			// The usual item is whole by now; a long one is not gone over for each of its pieces.
			lookAgainAt = 2 * begunSize;
			if (begunSize > 0) return problem;
		}
		// What is not handed on yet of this chunk begins here.
		let from = start;
		let wordFrom = start;
		for (let i = start; i < chunk.length && problem === undefined; i++) {
			const byte = chunk[i] as number;
			if (inString) {
				if (escaped) escaped = false;
				else if (byte === backslash) escaped = true;
				else if (byte === quote) {
					inString = false;
					if (depth === 1)
						word = `${word}${String.fromCharCode(...chunk.subarray(wordFrom, Math.min(i, wordFrom + 64)))}`;
				}
				continue;
			}
			switch (byte) {
				case quote:
					if (inItems && depth === 2) problem = 'an item is not an object';
					inString = true;
					word = '';
					wordFrom = i + 1;
					break;
				case colon:
					if (depth === 1) key = word;
					break;
				case openBrace:
				case openBracket:
					if (inItems && depth === 2) {
						from = takeItem(chunk, i);
						i = from - 1;
						break;
					}
					depth++;
					if (depth === 2 && byte === openBracket && key === 'items') {
						inItems = true;
						keep(chunk.subarray(from, i + 1));
						around.push(flush());
					}
					break;
				case closeBrace:
				case closeBracket:
					depth--;
					if (depth < 0) problem = 'the text is not JSON';
					else if (inItems && depth === 1) {
						inItems = false;
						key = '';
						from = i;
					}
					break;
				case comma:
					if (depth === 1) key = '';
					break;
				default:
					// Between items there is nothing but commas and space.
					if (inItems && depth === 2 && byte > 0x20) problem = 'an item is not an object';
			}
		}
		if (problem !== undefined) return problem;
		if (depth === 1 && inString) {
			word = `${word}${String.fromCharCode(...chunk.subarray(wordFrom, Math.min(chunk.length, wordFrom + 64)))}`;
		}
		if (!inItems) keep(chunk.subarray(from));
		return problem;
	};

	return {
		feed: (chunk) => feed(chunk, false),
		end: () => {
			if (begunSize > 0) feed(new Uint8Array(0), true);
			if (problem !== undefined) return { ok: false, reason: problem };
			if (depth !== 0 || inString || begunSize > 0) return { ok: false, reason: 'the list breaks off' };
			around.push(flush());
			const text = around.join('');
			around = [];
			try {
				const rest = JSON.parse(text) as unknown;
				return typeof rest === 'object' && rest !== null
					? { ok: true, rest }
					: { ok: false, reason: 'the answer is no object' };
			} catch (error) {
				return { ok: false, reason: `the answer is not JSON: ${(error as Error).message}` };
			}
		},
	};
};
