import { addressFromBytes, addressToBytes, type Family } from '../net/ip.ts';
import { eachAttribute } from './attributes.ts';
import type { KernelError } from './kernel.ts';
import { AF_INET, AF_INET6, NETLINK_NETFILTER, NLM_F_DUMP } from './netlink-constants.ts';
import { type NetlinkSocket, openNetlinkSocket } from './netlink-socket.ts';
import type { NetlinkWriter } from './netlink-writer.ts';

/**
 * Connection tracking entries over ctnetlink (net/netfilter/nf_conntrack_netlink.c). A busy node has 100,000 of them,
 * a pod few, so the kernel is asked to filter (CTA_FILTER, since 5.8): one dump for each place an address can be in.
 * Every entry is looked at again here, since an older kernel ignores the filter and tells everything. Not for IPv6:
 * ctnetlink_filter_match_tuple compares those addresses the wrong way round (seen in 6.18) and hides what is asked for.
 */

const IPCTNL_MSG_CT_GET = 0x101;
const IPCTNL_MSG_CT_DELETE = 0x102;
const CTA_TUPLE_ORIG = 1;
const CTA_TUPLE_REPLY = 2;
const CTA_ID = 12;
const CTA_ZONE = 18;
const CTA_FILTER = 25;
const CTA_TUPLE_IP = 1;
const CTA_FILTER_ORIG_FLAGS = 1;
const CTA_FILTER_REPLY_FLAGS = 2;

/** Where an address may stand; `flag` is CTA_FILTER_F_CTA_IP_SRC or _DST (nf_internals.h). */
const places = [
	{ tuple: CTA_TUPLE_ORIG, flags: CTA_FILTER_ORIG_FLAGS, flag: 1 },
	{ tuple: CTA_TUPLE_ORIG, flags: CTA_FILTER_ORIG_FLAGS, flag: 2 },
	{ tuple: CTA_TUPLE_REPLY, flags: CTA_FILTER_REPLY_FLAGS, flag: 1 },
	{ tuple: CTA_TUPLE_REPLY, flags: CTA_FILTER_REPLY_FLAGS, flag: 2 },
] as const;
type Place = (typeof places)[number];

/** What identifies an entry in a deletion: the raw attributes as the kernel gave them. */
type Entry = { readonly family: number; readonly attributes: Buffer };

export type ConntrackDeleter = {
	readonly delete: (address: string) => Promise<number>;
	readonly close: () => void;
};

/** Whether the source or destination address of a tuple is `address`. */
const tupleNames = (data: Buffer, from: number, to: number, address: Uint8Array): boolean => {
	let found = false;
	eachAttribute(data, from, to, (type, ipFrom, ipTo) => {
		if (type !== CTA_TUPLE_IP) return;
		eachAttribute(data, ipFrom, ipTo, (_which, valueFrom, valueTo) => {
			if (valueTo - valueFrom !== address.length) return;
			let i = 0;
			while (i < address.length && data[valueFrom + i] === address[i]) i++;
			if (i === address.length) found = true;
		});
	});
	return found;
};

const writeDump = (writer: NetlinkWriter, address: Uint8Array, place: Place | undefined): void => {
	writer.message(IPCTNL_MSG_CT_GET, NLM_F_DUMP);
	writer.u32(address.length === 4 ? AF_INET : AF_INET6);
	if (place === undefined) return;
	const tuple = writer.nest(place.tuple);
	const ip = writer.nest(CTA_TUPLE_IP);
	// CTA_IP_V4_SRC is 1 and CTA_IP_V4_DST 2, as the flags are.
	writer.attrBytes(place.flag, address);
	writer.endNest(ip);
	writer.endNest(tuple);
	const filter = writer.nest(CTA_FILTER);
	writer.attrU32(place.flags, place.flag);
	writer.endNest(filter);
};

export const conntrackDeleter = (inside: <T>(run: () => T) => T): ConntrackDeleter => {
	let socket: NetlinkSocket | undefined;

	/** Adds the entries that name `address` to `found`, by their id; tells whether others were told as well. */
	const collect = async (
		from: NetlinkSocket,
		address: Uint8Array,
		place: Place | undefined,
		found: Map<string, Entry>,
	): Promise<{ readonly error?: KernelError; readonly others: boolean }> => {
		const family: Family = address.length === 4 ? 4 : 6;
		let others = false;
		const error = await from.dump(
			(writer) => writeDump(writer, address, place),
			() => (_type, data, start, end) => {
				let named = false;
				let id = '';
				const keep: Buffer[] = [];
				eachAttribute(data, start + 4, end, (type, from, to) => {
					if (type === CTA_TUPLE_ORIG || type === CTA_TUPLE_REPLY) named ||= tupleNames(data, from, to, address);
					if (type === CTA_ID) id = data.toString('hex', from, to);
					if (type === CTA_TUPLE_ORIG || type === CTA_ID || type === CTA_ZONE) {
						keep.push(data.subarray(from - 4, from + ((to - from + 3) & ~3)));
					}
				});
				if (!named) others = true;
				// concat copies: the buffer is the socket's.
				else found.set(id, { family: data[start] as number, attributes: Buffer.concat(keep) });
			},
			`list connections of ${addressFromBytes(address, family)}`,
		);
		return error === undefined ? { others } : { error, others };
	};
	const search = async (from: NetlinkSocket, address: Uint8Array): Promise<Iterable<Entry>> => {
		const found = new Map<string, Entry>();
		let filtered = address.length === 4;
		for (const place of filtered ? places : []) {
			const { error, others } = await collect(from, address, place, found);
			filtered = error === undefined && !others;
			if (!filtered) break;
		}
		if (!filtered) {
			const { error } = await collect(from, address, undefined, found);
			if (error !== undefined) throw new Error(error.message, { cause: error });
		}
		return found.values();
	};

	return {
		delete: async (text) => {
			const address = addressToBytes(text);
			if (address === undefined) return 0;
			socket ??= openNetlinkSocket(NETLINK_NETFILTER, inside);
			const results = await socket.request(
				[...(await search(socket, address))],
				(writer, entry) => {
					writer.message(IPCTNL_MSG_CT_DELETE, 0);
					writer.u32(entry.family);
					writer.raw(entry.attributes);
					return undefined;
				},
				() => `delete a connection of ${text}`,
			);
			return results.filter((error) => error === undefined).length;
		},
		close: () => socket?.close(),
	};
};
