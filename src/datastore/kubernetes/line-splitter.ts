/**
 * A watch's bytes as lines, each one JSON text. Pure. Memory is bounded: a line longer than `maxBytes` is refused.
 */

export type LineSplitter = {
	/** False once a line was too long; nothing more is taken then. */
	readonly feed: (chunk: Uint8Array) => boolean;
	/** Bytes of a line that has not ended. */
	readonly rest: () => number;
};

const newline = 0x0a;

export const createLineSplitter = (maxBytes: number, onLine: (text: string) => void): LineSplitter => {
	let parts: Uint8Array[] = [];
	let length = 0;
	let broken = false;

	const take = (last: Uint8Array): void => {
		const line = parts.length === 0 ? last : Buffer.concat([...parts, last]);
		parts = [];
		length = 0;
		const text = Buffer.from(line.buffer, line.byteOffset, line.byteLength).toString('utf8');
		if (text.trim() !== '') onLine(text);
	};

	return {
		feed: (chunk) => {
			let from = 0;
			while (!broken) {
				const at = chunk.indexOf(newline, from);
				const end = at < 0 ? chunk.length : at;
				if (length + end - from > maxBytes) {
					broken = true;
					parts = [];
					length = 0;
				} else if (at < 0) {
					if (end > from) parts.push(chunk.subarray(from));
					length += end - from;
					break;
				} else {
					take(chunk.subarray(from, at));
					from = at + 1;
				}
			}
			return !broken;
		},
		rest: () => length,
	};
};
