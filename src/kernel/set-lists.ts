import { addressFromBytes } from '../net/ip.ts';
import { eachAttribute, stringOf } from './attributes.ts';
import {
	IPSET_ATTR_ADT,
	IPSET_ATTR_CIDR,
	IPSET_ATTR_DATA,
	IPSET_ATTR_FAMILY,
	IPSET_ATTR_IFACE,
	IPSET_ATTR_IP,
	IPSET_ATTR_MAXELEM,
	IPSET_ATTR_PORT,
	IPSET_ATTR_PROTO,
	IPSET_ATTR_PROTOCOL,
	IPSET_ATTR_SETNAME,
	IPSET_ATTR_TYPENAME,
	IPSET_CMD_LIST,
	IPSET_PROTOCOL_MIN,
	NFNL_SUBSYS_IPSET,
	setProtocols,
} from './ipset-constants.ts';
import { AF_INET, AF_INET6, NLM_F_DUMP } from './netlink-constants.ts';
import type { NetlinkSocket } from './netlink-socket.ts';

/**
 * What is in the ipsets of a prefix, member by member as the kernel tells it (net/netfilter/ipset/ip_set_core.c,
 * ip_set_dump_do): 250,000 members as the text of a program would be 12 MB to hold, here each is gone once looked at.
 */

export type SetSink = {
	readonly set: (name: string, type: string, family: 4 | 6, maxelem: number) => void;
	/** Of the set told last, as ipset prints it. */
	readonly member: (text: string) => void;
};

/** A few milliseconds of reading; then others go on. */
const datagramsAtOnce = 4;

const protocolNames = new Map(Object.entries(setProtocols).map(([name, number]) => [number, name]));

/** As glibc's inet_ntop has it, and so ipset: some IPv6 addresses end as a dotted quad. */
const addressText = (data: Buffer, from: number, to: number): string => {
	if (to - from === 4) return addressFromBytes(data, 4, from);
	const zeros = data.readUInt32BE(from) === 0 && data.readUInt32BE(from + 4) === 0;
	const third = zeros ? data.readUInt32BE(from + 8) : -1;
	if (third === 0xffff) return `::ffff:${addressFromBytes(data, 4, from + 12)}`;
	if (third === 0 && data.readUInt16BE(from + 12) !== 0) return `::${addressFromBytes(data, 4, from + 12)}`;
	return addressFromBytes(data, 6, from);
};

/** Undefined for a member that has no text here. */
const memberText = (data: Buffer, start: number, end: number): string | undefined => {
	let text = '';
	let length = -1;
	let port = -1;
	let protocol: string | undefined;
	let device: string | undefined;
	eachAttribute(data, start, end, (type, from, to) => {
		if (type === IPSET_ATTR_IP) text = addressText(data, from + 4, to);
		else if (type === IPSET_ATTR_CIDR) length = data[from] as number;
		else if (type === IPSET_ATTR_PORT) port = data.readUInt16BE(from);
		else if (type === IPSET_ATTR_PROTO) protocol = protocolNames.get(data[from] as number);
		else if (type === IPSET_ATTR_IFACE) device = stringOf(data, from, to);
	});
	if (text === '' || (port >= 0 && protocol === undefined)) return undefined;
	if (length >= 0 && length !== (text.includes(':') ? 128 : 32)) text += `/${length}`;
	if (port >= 0) text += `,${protocol}:${port}`;
	return device === undefined ? text : `${text},${device}`;
};

/**
 * Tells every set whose name begins with `prefix`, and its members. `begin` is called again when the kernel had to start
 * anew: what was told before does not count. False: it could not be read to the end.
 */
export const readSets = async (socket: NetlinkSocket, prefix: string, begin: () => SetSink): Promise<boolean> => {
	let readable = true;
	const error = await socket.dump(
		(writer) => {
			writer.message((NFNL_SUBSYS_IPSET << 8) | IPSET_CMD_LIST, NLM_F_DUMP);
			writer.u32(AF_INET);
			writer.attrU8(IPSET_ATTR_PROTOCOL, IPSET_PROTOCOL_MIN);
		},
		() => {
			const sink = begin();
			readable = true;
			const members = (data: Buffer, start: number, end: number): void =>
				eachAttribute(data, start, end, (_, from, to) => {
					const text = memberText(data, from, to);
					if (text === undefined) readable = false;
					else sink.member(text);
				});
			return (_, data, start, end) => {
				let ours = false;
				let kind = '';
				let family: 4 | 6 | undefined;
				let maxelem = 0;
				let name = '';
				// The header comes first, in the first message of a set only.
				eachAttribute(data, start + 4, end, (type, from, to) => {
					if (type === IPSET_ATTR_SETNAME) {
						name = stringOf(data, from, to);
						ours = name.startsWith(prefix);
					} else if (!ours) return;
					else if (type === IPSET_ATTR_TYPENAME) kind = stringOf(data, from, to);
					else if (type === IPSET_ATTR_FAMILY) family = data[from] === AF_INET6 ? 6 : 4;
					else if (type === IPSET_ATTR_DATA) {
						eachAttribute(data, from, to, (inner, at) => {
							if (inner === IPSET_ATTR_MAXELEM) maxelem = data.readUInt32BE(at);
						});
						if (family !== undefined) sink.set(name, kind, family, maxelem);
					} else if (type === IPSET_ATTR_ADT) members(data, from, to);
				});
			};
		},
		'list sets and their members',
		datagramsAtOnce,
	);
	return error === undefined && readable;
};
