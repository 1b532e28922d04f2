/**
 * Takes a list answer of the API server (`{"kind":"PodList","metadata":{...},"items":[{...},{...}]}`) apart while it
 * arrives: each item is handed on by itself, so a list of 100 MB never exists as one value. What stands around the items
 * is parsed at the end; CRD lists put `items` before `metadata`. Pure. Memory is bounded by the largest item.
 *
 * It looks only for where items begin and end; whether an item is JSON is JSON.parse's to say.
 */

export type ListScanner = {
	/** Why the text is no list, or undefined while it may still be one. */
	readonly feed: (chunk: Uint8Array) => string | undefined;
	/** What stood around the items, with `items` empty. */
	readonly end: () => { readonly ok: true; readonly rest: unknown } | { readonly ok: false; readonly reason: string };
};

const quote = 0x22;
const backslash = 0x5c;
const comma = 0x2c;
const colon = 0x3a;
const openBrace = 0x7b;
const closeBrace = 0x7d;
const openBracket = 0x5b;
const closeBracket = 0x5d;

export const createListScanner = (maxBytes: number, onItem: (item: unknown) => void): ListScanner => {
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

	const keep = (piece: Uint8Array): void => {
		size += piece.length;
		if (size > maxBytes) problem = `an item, or what stands around them, is longer than ${maxBytes} bytes`;
		kept.push(piece);
	};
	const flush = (): string => {
		const text = Buffer.concat(kept).toString('utf8');
		kept = [];
		size = 0;
		return text;
	};
	const parse = (text: string): void => {
		try {
			onItem(JSON.parse(text));
		} catch (error) {
			problem = `an item is not JSON: ${(error as Error).message}`;
		}
	};

	const feed = (chunk: Uint8Array): string | undefined => {
		// What is not handed on yet of this chunk begins here.
		let from = 0;
		let wordFrom = 0;
		for (let i = 0; i < chunk.length && problem === undefined; i++) {
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
					if (inItems && depth === 2) from = i;
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
					else if (inItems && depth === 2) {
						keep(chunk.subarray(from, i + 1));
						parse(flush());
						from = i + 1;
					} else if (inItems && depth === 1) {
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
		if (!inItems || depth > 2) keep(chunk.subarray(from));
		return problem;
	};

	return {
		feed,
		end: () => {
			if (problem !== undefined) return { ok: false, reason: problem };
			if (depth !== 0 || inString) return { ok: false, reason: 'the list breaks off' };
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
