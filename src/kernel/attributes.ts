import { NLA_TYPE_MASK } from './netlink-constants.ts';

/** Calls `visit` for each netlink attribute between `start` and `end`, with where its value begins and ends. */
export const eachAttribute = (
	data: Buffer,
	start: number,
	end: number,
	visit: (type: number, from: number, to: number) => void,
): void => {
	for (let at = start; at + 4 <= end; ) {
		const length = data.readUInt16LE(at);
		if (length < 4 || at + length > end) return;
		visit(data.readUInt16LE(at + 2) & NLA_TYPE_MASK, at + 4, at + length);
		at += (length + 3) & ~3;
	}
};

/** A string attribute without its NUL. */
export const stringOf = (data: Buffer, from: number, to: number): string => {
	let end = from;
	while (end < to && data[end] !== 0) end++;
	return data.toString('utf8', from, end);
};

export const lladdrOf = (data: Buffer, from: number, to: number): string => {
	let text = '';
	for (let i = from; i < to; i++) {
		const byte = data[i] as number;
		text += `${i === from ? '' : ':'}${byte < 16 ? '0' : ''}${byte.toString(16)}`;
	}
	return text;
};

/** The bytes of `02:00:5e:10:00:01`, or undefined. */
export const parseLladdr = (text: string): Uint8Array | undefined =>
	/^([0-9a-f]{2}:){5}[0-9a-f]{2}$/i.test(text)
		? Uint8Array.from(text.split(':'), (part) => Number.parseInt(part, 16))
		: undefined;
