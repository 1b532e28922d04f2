import { addressFromBytes, type Family } from '../net/ip.ts';
import type { NextHop, Route, RouteBody } from './kernel.ts';
import * as nl from './netlink-constants.ts';
import type { NetlinkWriter } from './netlink-writer.ts';

/** Routes of the main table to and from rtnetlink messages. */

export type IndexOf = (name: string) => number | undefined;
export type NameOf = (index: number) => string | undefined;

const familyNumber = (family: Family): number => (family === 4 ? nl.AF_INET : nl.AF_INET6);

export const describeRoute = (dst: string, route: RouteBody): string => {
	const hops = route.nextHops.map(
		(hop) => `${hop.via === undefined ? '' : ` via ${hop.via}`}${hop.dev === undefined ? '' : ` dev ${hop.dev}`}`,
	);
	const type = route.type === 'blackhole' ? 'blackhole ' : '';
	return `${type}${dst}${hops.join(' nexthop')} proto ${route.protocol} metric ${route.metric}`;
};

/** RTA_OIF and RTA_GATEWAY or RTA_VIA of one next hop; a refusal when it cannot be. */
const writeHop = (writer: NetlinkWriter, v6: boolean, hop: NextHop): string | undefined => {
	if (hop.via === undefined) return undefined;
	if (hop.via.includes(':') === v6) {
		return writer.attrAddress(nl.RTA_GATEWAY, hop.via) ? undefined : `"${hop.via}" is not an IP address`;
	}
	if (v6) return `an IPv6 route cannot go via the IPv4 address ${hop.via}`;
	// struct rtvia: the family, then the address (RFC 8950 next hops); written as an attribute, then made one.
	const start = writer.length();
	if (!writer.attrAddress(nl.RTA_VIA, hop.via)) return `"${hop.via}" is not an IP address`;
	const address = Buffer.alloc(18);
	address.writeUInt16LE(nl.AF_INET6, 0);
	writer.buffer().copy(address, 2, start + 4, start + 20);
	writer.truncate(start);
	writer.attrBytes(nl.RTA_VIA, address);
	return undefined;
};

const header = (
	writer: NetlinkWriter,
	route: RouteBody,
	length: number,
	v6: boolean,
	scope: number,
	type: number,
): void => {
	writer.u8(v6 ? nl.AF_INET6 : nl.AF_INET);
	writer.u8(length);
	writer.u8(0);
	writer.u8(0);
	writer.u8(nl.RT_TABLE_MAIN);
	writer.u8(route.protocol);
	writer.u8(scope);
	writer.u8(type);
};

/** Writes RTM_NEWROUTE with `flags`, or returns why the route makes no sense. */
export const writeRoute = (
	writer: NetlinkWriter,
	dst: string,
	route: RouteBody,
	flags: number,
	indexOf: IndexOf,
): string | undefined => {
	const v6 = dst.includes(':');
	const slash = dst.indexOf('/');
	const length = Number(dst.slice(slash + 1));
	if (slash < 0 || !(length >= 0 && length <= (v6 ? 128 : 32))) return `"${dst}" is not a prefix`;
	const blackhole = route.type === 'blackhole';
	if (blackhole !== (route.nextHops.length === 0)) {
		return blackhole ? 'a blackhole has no next hop' : 'a unicast route needs a next hop';
	}
	writer.message(nl.RTM_NEWROUTE, flags);
	const scope = route.scope === 'link' ? nl.RT_SCOPE_LINK : nl.RT_SCOPE_UNIVERSE;
	header(writer, route, length, v6, v6 ? 0 : scope, blackhole ? nl.RTN_BLACKHOLE : nl.RTN_UNICAST);
	const single = route.nextHops.length === 1 ? (route.nextHops[0] as NextHop) : undefined;
	writer.u32(single?.onlink === true ? nl.RTNH_F_ONLINK : 0);
	if (!writer.attrAddress(nl.RTA_DST, dst, slash)) return `"${dst}" is not a prefix`;
	writer.attrU32(nl.RTA_PRIORITY, route.metric);
	if (route.prefSrc !== undefined && !writer.attrAddress(nl.RTA_PREFSRC, route.prefSrc)) {
		return `"${route.prefSrc}" is not an IP address`;
	}
	if (single !== undefined) {
		if (single.dev !== undefined) writer.attrU32(nl.RTA_OIF, indexOf(single.dev) ?? nl.noDevice);
		return writeHop(writer, v6, single);
	}
	if (blackhole) return undefined;
	const list = writer.nest(nl.RTA_MULTIPATH);
	for (const hop of route.nextHops) {
		const start = writer.mark();
		writer.u16(0);
		writer.u8(hop.onlink === true ? nl.RTNH_F_ONLINK : 0);
		writer.u8((hop.weight ?? 1) - 1);
		writer.u32(hop.dev === undefined ? 0 : (indexOf(hop.dev) ?? nl.noDevice));
		const refusal = writeHop(writer, v6, hop);
		if (refusal !== undefined) return refusal;
		writer.endMark(start);
	}
	writer.endNest(list);
	return undefined;
};

/** Writes RTM_DELROUTE that matches protocol and metric, so that another owner's route is never hit. */
export const writeRouteDeletion = (writer: NetlinkWriter, dst: string, route: RouteBody): string | undefined => {
	const v6 = dst.includes(':');
	const slash = dst.indexOf('/');
	writer.message(nl.RTM_DELROUTE, 0);
	header(writer, route, Number(dst.slice(slash + 1)), v6, v6 ? 0 : nl.RT_SCOPE_NOWHERE, 0);
	writer.u32(0);
	if (!writer.attrAddress(nl.RTA_DST, dst, slash)) return `"${dst}" is not a prefix`;
	writer.attrU32(nl.RTA_PRIORITY, route.metric);
	return undefined;
};

/** Dump of the main table of one family, of one protocol when given (NETLINK_GET_STRICT_CHK filters in the kernel). */
export const writeRouteDump = (writer: NetlinkWriter, family: Family, protocol = 0): void => {
	writer.message(nl.RTM_GETROUTE, nl.NLM_F_DUMP);
	writer.u32(familyNumber(family));
	writer.u8(nl.RT_TABLE_MAIN);
	writer.u8(protocol);
	writer.u16(0);
	writer.u32(0);
};

/** The protocol, metric and so on of a message, to choose by before the rest is read. */
export const routeProtocol = (data: Buffer, start: number): number => data[start + 5] as number;

const hopOf = (via: string | undefined, dev: string | undefined, onlink: boolean, weight: number): NextHop => {
	const hop: { via?: string; dev?: string; onlink?: boolean; weight?: number } = {};
	if (via !== undefined) hop.via = via;
	if (dev !== undefined) hop.dev = dev;
	if (onlink) hop.onlink = true;
	if (weight !== 1) hop.weight = weight;
	return hop;
};

const viaOf = (data: Buffer, type: number, from: number, family: Family): string =>
	type === nl.RTA_GATEWAY
		? addressFromBytes(data, family, from)
		: addressFromBytes(data, data.readUInt16LE(from) === nl.AF_INET6 ? 6 : 4, from + 2);

const readHops = (data: Buffer, from: number, to: number, family: Family, nameOf: NameOf): NextHop[] => {
	const hops: NextHop[] = [];
	for (let at = from; at + 8 <= to; ) {
		const length = data.readUInt16LE(at);
		if (length < 8 || at + length > to) break;
		let via: string | undefined;
		for (let inner = at + 8; inner + 4 <= at + length; ) {
			const attribute = data.readUInt16LE(inner);
			if (attribute < 4) break;
			const type = data.readUInt16LE(inner + 2) & nl.NLA_TYPE_MASK;
			if (type === nl.RTA_GATEWAY || type === nl.RTA_VIA) via = viaOf(data, type, inner + 4, family);
			inner += (attribute + 3) & ~3;
		}
		const onlink = ((data[at + 2] as number) & nl.RTNH_F_ONLINK) !== 0;
		hops.push(hopOf(via, nameOf(data.readInt32LE(at + 4)), onlink, (data[at + 3] as number) + 1));
		at += (length + 3) & ~3;
	}
	return hops;
};

/**
 * Reads the message whose rtmsg begins at `start`. Undefined for what is no route of the main table in the sense of
 * {@link Route}: other tables, clones, other types, routes by TOS or source.
 */
export const readRoute = (data: Buffer, start: number, end: number, nameOf: NameOf): Route | undefined => {
	const kernelFamily = data[start] as number;
	const type = data[start + 7] as number;
	if (kernelFamily !== nl.AF_INET && kernelFamily !== nl.AF_INET6) return undefined;
	if (data[start + 4] !== nl.RT_TABLE_MAIN || data[start + 3] !== 0 || data[start + 2] !== 0) return undefined;
	if (type !== nl.RTN_UNICAST && type !== nl.RTN_BLACKHOLE) return undefined;
	const flags = data.readUInt32LE(start + 8);
	if ((flags & nl.RTM_F_CLONED) !== 0) return undefined;
	const family: Family = kernelFamily === nl.AF_INET ? 4 : 6;
	let dst = family === 4 ? '0.0.0.0' : '::';
	let metric = 0;
	let index = 0;
	let via: string | undefined;
	let prefSrc: string | undefined;
	let nextHops: NextHop[] | undefined;
	for (let at = start + 12; at + 4 <= end; ) {
		const length = data.readUInt16LE(at);
		if (length < 4 || at + length > end) break;
		const attribute = data.readUInt16LE(at + 2) & nl.NLA_TYPE_MASK;
		if (attribute === nl.RTA_DST) dst = addressFromBytes(data, family, at + 4);
		else if (attribute === nl.RTA_PRIORITY) metric = data.readUInt32LE(at + 4);
		else if (attribute === nl.RTA_OIF) index = data.readInt32LE(at + 4);
		else if (attribute === nl.RTA_GATEWAY || attribute === nl.RTA_VIA) via = viaOf(data, attribute, at + 4, family);
		else if (attribute === nl.RTA_PREFSRC) prefSrc = addressFromBytes(data, family, at + 4);
		else if (attribute === nl.RTA_MULTIPATH) nextHops = readHops(data, at + 4, at + length, family, nameOf);
		at += (length + 3) & ~3;
	}
	// IPv6 tells a blackhole as one on lo (net/ipv6/route.c).
	if (type === nl.RTN_BLACKHOLE) nextHops = [];
	else nextHops ??= [hopOf(via, index === 0 ? undefined : nameOf(index), (flags & nl.RTNH_F_ONLINK) !== 0, 1)];
	const route = {
		dst: `${dst}/${data[start + 1]}`,
		type: type === nl.RTN_BLACKHOLE ? ('blackhole' as const) : ('unicast' as const),
		scope: data[start + 6] === nl.RT_SCOPE_LINK ? ('link' as const) : ('universe' as const),
		protocol: data[start + 5] as number,
		metric,
		nextHops,
	};
	return prefSrc === undefined ? route : { ...route, prefSrc };
};

const sameHop = (wanted: NextHop, actual: NextHop, weighed: boolean): boolean =>
	wanted.via === actual.via &&
	(wanted.dev === undefined || actual.dev === undefined || wanted.dev === actual.dev) &&
	(wanted.onlink ?? false) === (actual.onlink ?? false) &&
	(!weighed || (wanted.weight ?? 1) === (actual.weight ?? 1));

/** Whether the kernel's route is the wanted one. A hop wanted without a device matches any; IPv6 has no scope. */
export const sameRoute = (wanted: RouteBody, actual: RouteBody, dst: string): boolean => {
	if (wanted.type !== actual.type || wanted.prefSrc !== actual.prefSrc) return false;
	if (wanted.protocol !== actual.protocol || wanted.metric !== actual.metric) return false;
	if (wanted.scope !== actual.scope && !dst.includes(':')) return false;
	const hops = wanted.nextHops.length;
	if (hops !== actual.nextHops.length) return false;
	if (hops === 1) return sameHop(wanted.nextHops[0] as NextHop, actual.nextHops[0] as NextHop, false);
	const left = [...actual.nextHops];
	return wanted.nextHops.every((hop) => {
		const at = left.findIndex((candidate) => sameHop(hop, candidate, true));
		if (at >= 0) left.splice(at, 1);
		return at >= 0;
	});
};
