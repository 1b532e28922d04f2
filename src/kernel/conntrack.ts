import { addressFromBytes, addressToBytes, type Family } from '../net/ip.ts';
import { eachAttribute } from './attributes.ts';
import { NETLINK_NETFILTER, NLM_F_DUMP } from './netlink-constants.ts';
import { type NetlinkSocket, openNetlinkSocket } from './netlink-socket.ts';

/** Connection tracking entries over ctnetlink (net/netfilter/nf_conntrack_netlink.c). */

const IPCTNL_MSG_CT_GET = 0x101;
const IPCTNL_MSG_CT_DELETE = 0x102;
const CTA_TUPLE_ORIG = 1;
const CTA_TUPLE_REPLY = 2;
const CTA_ID = 12;
const CTA_ZONE = 18;
const CTA_TUPLE_IP = 1;

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

export const conntrackDeleter = (inside: <T>(run: () => T) => T): ConntrackDeleter => {
	let socket: NetlinkSocket | undefined;
	return {
		delete: async (text) => {
			const address = addressToBytes(text);
			if (address === undefined) return 0;
			socket ??= openNetlinkSocket(NETLINK_NETFILTER, inside);
			const family: Family = address.length === 4 ? 4 : 6;
			const number = family === 4 ? 2 : 10;
			let entries: Entry[] = [];
			const what = `list connections of ${addressFromBytes(address, family)}`;
			const failure = await socket.dump(
				(writer) => {
					writer.message(IPCTNL_MSG_CT_GET, NLM_F_DUMP);
					writer.u32(number);
				},
				() => {
					entries = [];
					return (_type, data, start, end) => {
						let named = false;
						const keep: Buffer[] = [];
						eachAttribute(data, start + 4, end, (type, from, to) => {
							if (type === CTA_TUPLE_ORIG || type === CTA_TUPLE_REPLY) named ||= tupleNames(data, from, to, address);
							if (type === CTA_TUPLE_ORIG || type === CTA_ID || type === CTA_ZONE) {
								keep.push(data.subarray(from - 4, from + ((to - from + 3) & ~3)));
							}
						});
						if (named) entries.push({ family: data[start] as number, attributes: Buffer.concat(keep) });
					};
				},
				what,
			);
			if (failure !== undefined) throw new Error(failure.message, { cause: failure });
			const results = await socket.request(
				entries,
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
