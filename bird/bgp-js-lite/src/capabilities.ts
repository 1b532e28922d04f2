/** Capabilities (RFC 5492 §4): code, length and value, one after the other in an optional parameter of type 2. */

import { CAPABILITY } from './constants.ts';
import { createReader, u8At, u16At, u32At } from './reader.ts';
import type { Capability } from './types.ts';
import { createWriter, type Writer } from './writer.ts';

/** Cuts a value into records of `size` bytes; undefined when it does not divide. */
const records = <T>(value: Uint8Array, from: number, size: number, decode: (at: number) => T): T[] | undefined => {
	if (value.length < from || (value.length - from) % size !== 0) return undefined;
	const list: T[] = [];
	for (let at = from; at < value.length; at += size) list.push(decode(at));
	return list;
};

const KNOWN: ReadonlySet<number> = new Set(Object.values(CAPABILITY));

const decodeKnown = (code: number, value: Uint8Array): Capability | undefined => {
	switch (code) {
		case CAPABILITY.multiprotocol:
			return value.length === 4 ? { code: 1, afi: u16At(value, 0), safi: u8At(value, 3) } : undefined;
		case CAPABILITY.routeRefresh:
			return value.length === 0 ? { code: 2 } : undefined;
		case CAPABILITY.extendedNextHop: {
			const tuples = records(value, 0, 6, (at) => ({
				afi: u16At(value, at),
				safi: u16At(value, at + 2),
				nextHopAfi: u16At(value, at + 4),
			}));
			return tuples && { code: 5, tuples };
		}
		case CAPABILITY.extendedMessage:
			return value.length === 0 ? { code: 6 } : undefined;
		case CAPABILITY.role:
			return value.length === 1 ? { code: 9, role: u8At(value, 0) } : undefined;
		case CAPABILITY.gracefulRestart: {
			const families = records(value, 2, 4, (at) => ({
				afi: u16At(value, at),
				safi: u8At(value, at + 2),
				forwardingState: (u8At(value, at + 3) & 0x80) !== 0,
			}));
			if (families === undefined) return undefined;
			const first = u16At(value, 0);
			return {
				code: 64,
				restartState: (first & 0x8000) !== 0,
				notification: (first & 0x4000) !== 0,
				restartTime: first & 0x0fff,
				families,
			};
		}
		case CAPABILITY.fourOctetAs:
			return value.length === 4 ? { code: 65, asNumber: u32At(value, 0) } : undefined;
		case CAPABILITY.addPath: {
			const families = records(value, 0, 4, (at) => ({
				afi: u16At(value, at),
				safi: u8At(value, at + 2),
				// RFC 7911 §4: 1 to 3; a family with anything else is ignored.
				receive: u8At(value, at + 3) === 1 || u8At(value, at + 3) === 3,
				send: u8At(value, at + 3) === 2 || u8At(value, at + 3) === 3,
			}));
			return families && { code: 69, families };
		}
		case CAPABILITY.enhancedRouteRefresh:
			return value.length === 0 ? { code: 70 } : undefined;
		default:
			return undefined;
	}
};

/** All capabilities in the value of one parameter; undefined when their lengths do not add up, or are not those of their codes. */
export const decodeCapabilities = (bytes: Uint8Array): Capability[] | undefined => {
	const reader = createReader(bytes);
	const list: Capability[] = [];
	while (reader.remaining() > 0) {
		const code = reader.u8();
		const length = reader.u8();
		if (code === undefined || length === undefined) return undefined;
		const value = reader.take(length);
		if (value === undefined) return undefined;
		const known = decodeKnown(code, value);
		// RFC 4271 §6.2: a parameter that is known, and malformed.
		if (known === undefined && KNOWN.has(code)) return undefined;
		list.push(known ?? { code, unknown: true, value: value.slice() });
	}
	return list;
};

const writeValue = (capability: Capability, into: Writer): void => {
	if ('unknown' in capability) {
		into.bytes(capability.value);
		return;
	}
	switch (capability.code) {
		case 1:
			into.u16(capability.afi);
			into.u8(0);
			into.u8(capability.safi);
			return;
		case 5:
			for (const tuple of capability.tuples) {
				into.u16(tuple.afi);
				into.u16(tuple.safi);
				into.u16(tuple.nextHopAfi);
			}
			return;
		case 9:
			into.u8(capability.role);
			return;
		case 64:
			if (capability.restartTime > 0x0fff)
				throw new RangeError(`a restart time of ${capability.restartTime} s is over 4095`);
			into.u16(
				(capability.restartState ? 0x8000 : 0) | (capability.notification ? 0x4000 : 0) | capability.restartTime,
			);
			for (const family of capability.families) {
				into.u16(family.afi);
				into.u8(family.safi);
				into.u8(family.forwardingState ? 0x80 : 0);
			}
			return;
		case 69:
			for (const family of capability.families) {
				into.u16(family.afi);
				into.u8(family.safi);
				into.u8((family.receive ? 1 : 0) | (family.send ? 2 : 0));
			}
			return;
		case 65:
			into.u32(capability.asNumber);
			return;
		default:
			return;
	}
};

/** Code, length and value of one capability. */
export const encodeCapability = (capability: Capability): Uint8Array => {
	const writer = createWriter();
	writer.u8(capability.code);
	writer.u8(0);
	writeValue(capability, writer);
	const bytes = writer.finish();
	if (bytes.length > 257) throw new RangeError(`capability ${capability.code} is over 255 octets`);
	bytes[1] = bytes.length - 2;
	return bytes;
};
