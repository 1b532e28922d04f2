/** Messages from pieces of hex text, right or wrong: nothing is checked, and lengths are worked out unless given. */

export const bytes = (hex: string): Uint8Array => Uint8Array.from(Buffer.from(hex.replaceAll(/\s/g, ''), 'hex'));
const size = (hex: string): number => hex.replaceAll(/\s/g, '').length / 2;
const number = (value: number, octets: number): string => value.toString(16).padStart(2 * octets, '0');

export const MARKER = 'ff'.repeat(16);
export const TYPE = { OPEN: 1, UPDATE: 2, NOTIFICATION: 3, KEEPALIVE: 4, ROUTE_REFRESH: 5 } as const;

/** A whole message around a body. */
export const message = (type: number, body = '', length = size(body) + 19, marker = MARKER): string =>
	`${marker}${number(length, 2)}${number(type, 1)}${body}`;

export type OpenFields = {
	readonly version?: number;
	readonly as?: number;
	readonly holdTime?: number;
	readonly id?: string;
	/** Of the optional parameters, length first. */
	readonly parameters?: string;
};
/** One optional parameter: type, length, value. */
export const parameter = (type: number, value: string): string => `${number(type, 1)}${number(size(value), 1)}${value}`;
export const capability = (code: number, value = ''): string => `${number(code, 1)}${number(size(value), 1)}${value}`;
/** Optional parameters with their length in front. */
export const parameters = (...list: string[]): string => `${number(size(list.join('')), 1)}${list.join('')}`;
/** The extended form (RFC 9072), but for the one octet of length before it. */
export const extendedParameters = (...list: string[]): string => `ff${number(size(list.join('')), 2)}${list.join('')}`;

export const open = ({
	version = 4,
	as = 65000,
	holdTime = 90,
	id = 'c0000202',
	parameters = '00',
}: OpenFields): string =>
	message(TYPE.OPEN, `${number(version, 1)}${number(as, 2)}${number(holdTime, 2)}${id}${parameters}`);

/** A path attribute; one octet of length unless the flags say two. */
export const attribute = (flags: number, code: number, value = '', length = size(value)): string =>
	`${number(flags, 1)}${number(code, 1)}${number(length, flags & 0x10 ? 2 : 1)}${value}`;

export type UpdateFields = {
	readonly withdrawn?: string;
	readonly attributes?: string;
	readonly nlri?: string;
	readonly withdrawnLength?: number;
	readonly attributesLength?: number;
};
export const update = ({ withdrawn = '', attributes = '', nlri = '', ...lengths }: UpdateFields): string =>
	message(
		TYPE.UPDATE,
		number(lengths.withdrawnLength ?? size(withdrawn), 2) +
			withdrawn +
			number(lengths.attributesLength ?? size(attributes), 2) +
			attributes +
			nlri,
	);

export const u32 = (value: number): string => number(value, 4);
