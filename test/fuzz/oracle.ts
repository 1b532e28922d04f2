import type { Dialect } from './messages.ts';

/**
 * What RFC 4271 and RFC 7606 say of one message in Established, worked out again, without the codec: whether the session ends.
 * Only that: which routes go is the business of the tables in test/abuse.
 */

export type Verdict = 'stays' | 'ends' | 'incomplete';

type Bytes = Uint8Array;
const at = (bytes: Bytes, index: number): number => bytes[index] ?? 0;
const two = (bytes: Bytes, index: number): number => at(bytes, index) * 256 + at(bytes, index + 1);

/** §5.3: prefixes that fill their field. */
const prefixesFit = (bytes: Bytes, longest: number, addPath: boolean): boolean => {
	for (let i = 0; i < bytes.length; ) {
		if (addPath) i += 4;
		if (i >= bytes.length || at(bytes, i) > longest) return false;
		i += 1 + Math.ceil(at(bytes, i) / 8);
		if (i > bytes.length) return false;
	}
	return true;
};

const multiple = (length: number, size: number): boolean => length > 0 && length % size === 0;

const segmentsFit = (value: Bytes, size: number): boolean => {
	let i = 0;
	while (i < value.length) {
		const type = at(value, i);
		const count = at(value, i + 1);
		const end = i + 2 + count * size;
		if (i + 2 > value.length || type < 1 || type > 4 || count === 0 || end > value.length) return false;
		for (let as = i + 2; as < end; as += size)
			if (value.subarray(as, as + size).every((octet) => octet === 0)) return false;
		i = end;
	}
	return true;
};
const confederated = (value: Bytes, size: number): boolean => {
	for (let i = 0; i < value.length; i += 2 + at(value, i + 1) * size) if (at(value, i) > 2) return true;
	return false;
};

/** Optional and Transitive as the RFCs want them. */
const flagsOf = new Map<number, number>([
	...[1, 2, 3, 5, 6].map((code) => [code, 0x40] as const),
	...[4, 9, 10, 14, 15].map((code) => [code, 0x80] as const),
	...[7, 8, 16, 17, 18, 32, 35].map((code) => [code, 0xc0] as const),
]);

/** Whether a malformed value withdraws; those that are only discarded do not matter here. */
const withdraws = (code: number, value: Bytes, { ibgp, fourOctetAs }: Dialect): boolean => {
	const size = fourOctetAs ? 4 : 2;
	switch (code) {
		case 1:
			return value.length !== 1 || at(value, 0) > 2;
		case 2:
			return !segmentsFit(value, size) || (!ibgp && confederated(value, size));
		case 3:
			return value.length !== 4;
		case 4:
		case 5:
		case 9:
		case 35:
			return value.length !== 4;
		case 8:
		case 10:
			return !multiple(value.length, 4);
		case 16:
			return !multiple(value.length, 8);
		case 25:
			return !multiple(value.length, 20);
		case 32:
			return !multiple(value.length, 12);
		default:
			return false;
	}
};

const isHost = (value: Bytes): boolean => at(value, 0) !== 0 && at(value, 0) !== 127 && at(value, 0) < 224;

/** Undefined: it ends the session; else whether it has prefixes. */
const reaches = (value: Bytes, { addPath }: Dialect): boolean | undefined => {
	const [family, length] = [two(value, 0), at(value, 3)];
	if (value.length < 5 || 5 + length > value.length) return undefined;
	if (at(value, 2) !== 1 || (family !== 1 && family !== 2)) return value.length > 5 + length;
	if (length !== 16 && length !== 32 && !(family === 1 && length === 4)) return undefined;
	const prefixes = value.subarray(5 + length);
	return prefixesFit(prefixes, family === 1 ? 32 : 128, addPath) ? prefixes.length > 0 : undefined;
};
const unreachFits = (value: Bytes, { addPath }: Dialect): boolean => {
	const family = two(value, 0);
	if (value.length < 3) return false;
	if (at(value, 2) !== 1 || (family !== 1 && family !== 2)) return true;
	return prefixesFit(value.subarray(3), family === 1 ? 32 : 128, addPath);
};

const ignoredBy = (code: number, { ibgp, fourOctetAs }: Dialect): boolean =>
	(!ibgp && (code === 5 || code === 9 || code === 10)) || (fourOctetAs && (code === 17 || code === 18));

const updateEnds = (body: Bytes, dialect: Dialect): boolean => {
	const withdrawnEnd = 2 + two(body, 0);
	const start = withdrawnEnd + 2;
	const end = start + two(body, withdrawnEnd);
	if (start > body.length || end > body.length) return true;
	if (!prefixesFit(body.subarray(2, withdrawnEnd), 32, dialect.addPath)) return true;
	const classic = body.subarray(end);
	if (!prefixesFit(classic, 32, dialect.addPath)) return true;
	const seen = new Set<number>();
	let error = false;
	let badNextHop = false;
	let reachable = classic.length > 0;
	for (let i = start; i < end; ) {
		const flags = at(body, i);
		const code = at(body, i + 1);
		const head = flags & 0x10 ? 4 : 3;
		const length = head === 4 ? two(body, i + 2) : at(body, i + 2);
		if (i + 3 > end || i + head > end || i + head + length > end) {
			const named = i + 3 <= end;
			if (named && (code === 14 || code === 15)) return true;
			error = true;
			break;
		}
		const value = body.subarray(i + head, i + head + length);
		i += head + length;
		if (seen.has(code)) {
			if (code === 14 || code === 15) return true;
			continue;
		}
		seen.add(code);
		if (ignoredBy(code, dialect)) continue;
		const wanted = flagsOf.get(code);
		if (wanted === undefined && !(flags & 0x80)) return true;
		const flagsWrong = wanted !== undefined && (flags & 0xc0) !== wanted;
		if (code === 14) {
			const has = flagsWrong ? undefined : reaches(value, dialect);
			if (has === undefined) return true;
			// A next hop that is no host withdraws: prefixes are there, so that ends nothing.
			reachable ||= has;
		} else if (code === 15) {
			if (flagsWrong || !unreachFits(value, dialect)) return true;
		} else if (flagsWrong || withdraws(code, value, dialect)) error = true;
		else if (code === 3 && !isHost(value)) badNextHop = true;
	}
	// RFC 4760 §3: of no concern to the prefixes of MP_REACH_NLRI.
	if (badNextHop && (classic.length > 0 || !seen.has(14))) error = true;
	return error && !reachable;
};
/** Of bytes that begin with a message; what comes after it is judged as the next. */
export const verdictOn = (message: Bytes, dialect: Dialect): Verdict => {
	const verdict = first(message, dialect);
	const length = two(message, 16);
	return verdict === 'stays' && message.length > length ? verdictOn(message.subarray(length), dialect) : verdict;
};

const first = (message: Bytes, dialect: Dialect): Verdict => {
	for (let i = 0; i < Math.min(16, message.length); i++) if (at(message, i) !== 255) return 'ends';
	if (message.length < 18) return 'incomplete';
	const length = two(message, 16);
	if (length < 19 || length > dialect.maxMessageLength) return 'ends';
	if (message.length < 19) return 'incomplete';
	const type = at(message, 18);
	if (type < 2 || type > 5) return 'ends';
	if (type === 2 && length < 23) return 'ends';
	if (type === 4) return length === 19 ? 'stays' : 'ends';
	if (type === 5 && length < 22) return 'ends';
	if (message.length < length) return 'incomplete';
	const body = message.subarray(19, length);
	if (type === 3) return 'ends';
	if (type === 5) return body.length === 4 || at(body, 2) > 2 ? 'stays' : 'ends';
	return updateEnds(body, dialect) ? 'ends' : 'stays';
};
