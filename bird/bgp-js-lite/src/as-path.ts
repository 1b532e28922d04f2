/** AS_PATH (RFC 4271 §4.3, RFC 5065 §3) and what AS4_PATH restores of it (RFC 6793 §4.2). */

import { AS_TRANS } from './constants.ts';
import { u8At, u16At, u32At } from './reader.ts';
import type { AsPathSegment } from './types.ts';
import { createWriter } from './writer.ts';

const SEGMENT_TYPES: readonly (AsPathSegment['type'] | undefined)[] = [
	undefined,
	'set',
	'sequence',
	'confedSequence',
	'confedSet',
];
const SEGMENT_CODES = { set: 1, sequence: 2, confedSequence: 3, confedSet: 4 } as const;

const isConfed = (segment: AsPathSegment): boolean => segment.type === 'confedSequence' || segment.type === 'confedSet';

/** The segments, or what is wrong with them (RFC 7606 §7.2, RFC 7607). */
export const decodeAsPath = (value: Uint8Array, asSize: 2 | 4): readonly AsPathSegment[] | string => {
	const segments: AsPathSegment[] = [];
	let at = 0;
	while (at < value.length) {
		if (value.length - at < 2) return 'one octet is left after the last segment';
		const code = u8At(value, at);
		const count = u8At(value, at + 1);
		const type = SEGMENT_TYPES[code];
		if (type === undefined) return `${code} is no segment type`;
		if (count === 0) return 'a segment is empty';
		at += 2;
		if (count * asSize > value.length - at) return `a segment of ${count} AS numbers is longer than the attribute`;
		const asNumbers: number[] = [];
		for (let i = 0; i < count; i++, at += asSize) {
			const asNumber = asSize === 4 ? u32At(value, at) : u16At(value, at);
			if (asNumber === 0) return 'it contains AS 0';
			asNumbers.push(asNumber);
		}
		segments.push({ type, asNumbers });
	}
	return segments;
};

const writer = createWriter();

/** Segments of more than 255 AS numbers are cut, empty ones left out. Two octets: what does not fit becomes AS_TRANS. */
export const encodeAsPath = (segments: readonly AsPathSegment[], asSize: 2 | 4): Uint8Array => {
	writer.clear();
	for (const segment of segments) {
		for (let from = 0; from < segment.asNumbers.length; from += 255) {
			const part = segment.asNumbers.slice(from, from + 255);
			writer.u8(SEGMENT_CODES[segment.type]);
			writer.u8(part.length);
			for (const asNumber of part) {
				if (asSize === 4) writer.u32(asNumber);
				else writer.u16(asNumber > 0xffff ? AS_TRANS : asNumber);
			}
		}
	}
	return writer.finish();
};

/** Segments for an AS4_PATH, or undefined where AS_PATH says everything in two octets (RFC 6793 §4.2.2). */
export const as4PathFor = (segments: readonly AsPathSegment[]): readonly AsPathSegment[] | undefined => {
	const kept = withoutConfeds(segments);
	return kept.some((segment) => segment.asNumbers.some((asNumber) => asNumber > 0xffff)) ? kept : undefined;
};

/** AS4_PATH carries no confederation segments; those received are dropped (RFC 6793 §3, §6). */
export const withoutConfeds = (segments: readonly AsPathSegment[]): readonly AsPathSegment[] =>
	segments.some(isConfed) ? segments.filter((segment) => !isConfed(segment)) : segments;

/** Length as the decision process counts it: a set is one, confederations are none (RFC 4271 §9.1.2.2, RFC 5065 §5.3). */
export const asPathLength = (segments: readonly AsPathSegment[]): number => {
	let length = 0;
	for (const segment of segments) {
		if (segment.type === 'sequence') length += segment.asNumbers.length;
		else if (segment.type === 'set') length++;
	}
	return length;
};

/**
 * The path as 4-octet speakers saw it: AS4_PATH, with as much of the head of AS_PATH before it as AS4_PATH is shorter
 * (what 2-octet speakers added since). An AS4_PATH longer than AS_PATH is not to be trusted (RFC 6793 §4.2.3).
 */
export const mergeAs4Path = (
	asPath: readonly AsPathSegment[],
	as4Path: readonly AsPathSegment[],
): readonly AsPathSegment[] => {
	let missing = asPathLength(asPath) - asPathLength(as4Path);
	if (missing < 0) return asPath;
	const merged: AsPathSegment[] = [];
	for (const segment of asPath) {
		if (isConfed(segment)) {
			merged.push(segment);
			continue;
		}
		if (missing === 0) break;
		const taken = segment.type === 'set' ? segment.asNumbers : segment.asNumbers.slice(0, missing);
		merged.push({ type: segment.type, asNumbers: taken });
		missing -= segment.type === 'set' ? 1 : taken.length;
		if (taken.length < segment.asNumbers.length) break;
	}
	const last = merged.at(-1);
	const [first, ...rest] = as4Path;
	if (
		last?.type === 'sequence' &&
		first?.type === 'sequence' &&
		last.asNumbers.length + first.asNumbers.length <= 255
	) {
		merged.pop();
		return [...merged, { type: 'sequence', asNumbers: [...last.asNumbers, ...first.asNumbers] }, ...rest];
	}
	return [...merged, ...as4Path];
};
