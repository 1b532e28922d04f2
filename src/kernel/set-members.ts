import {
	IPSET_ATTR_CIDR,
	IPSET_ATTR_DATA,
	IPSET_ATTR_FAMILY,
	IPSET_ATTR_HASHSIZE,
	IPSET_ATTR_IFACE,
	IPSET_ATTR_IP,
	IPSET_ATTR_MAXELEM,
	IPSET_ATTR_PORT,
	IPSET_ATTR_PROTO,
	IPSET_ATTR_PROTOCOL,
	IPSET_ATTR_REVISION,
	IPSET_ATTR_SETNAME,
	IPSET_ATTR_TYPENAME,
	IPSET_CMD_ADD,
	IPSET_CMD_CREATE,
	IPSET_CMD_DEL,
	IPSET_CMD_DESTROY,
	IPSET_PROTOCOL_MIN,
	NFNL_SUBSYS_IPSET,
	NLA_F_NET_BYTEORDER,
	setProtocols as protocols,
} from './ipset-constants.ts';
import { AF_INET, AF_INET6, NETLINK_NETFILTER } from './netlink-constants.ts';
import { type NetlinkSocket, openNetlinkSocket } from './netlink-socket.ts';
import type { NetlinkWriter } from './netlink-writer.ts';
import { readSets, type SetSink } from './set-lists.ts';

/**
 * ipsets and their members over netlink (net/netfilter/ipset/ip_set_core.c): a pod comes or goes by a few of these, and
 * starting a program for them would cost more than all the rest of its ADD.
 */

/** One thing to do to a set. It is fine for a member or set to be there, or a member to be gone, already. */
export type SetChange = {
	readonly set: string;
	readonly family: 4 | 6;
} & (
	| {
			readonly verb: 'add' | 'del';
			/** As ipset prints it: `10.0.0.1`, `10.0.0.0/8`, `10.0.0.1,tcp:80`, `10.0.0.1,manx0123`. */
			readonly member: string;
	  }
	| { readonly verb: 'create'; readonly type: string; readonly hashsize: number; readonly maxelem: number }
	/** Refused while a rule uses it. */
	| { readonly verb: 'destroy' }
);

/**
 * Revisions of the types that know all we ask of them (skbinfo, Linux 4.0): those that the oldest ipset program in use
 * can still read, so that what is made here is not hidden from it.
 */
const revisions: Readonly<Record<string, number>> = {
	'hash:ip': 4,
	'hash:ip,port': 5,
	'hash:net': 6,
	'hash:net,port': 7,
	'hash:net,iface': 6,
};

const commands = { create: IPSET_CMD_CREATE, destroy: IPSET_CMD_DESTROY, add: IPSET_CMD_ADD, del: IPSET_CMD_DEL };

const begin = (writer: NetlinkWriter, command: number, family: 4 | 6): void => {
	writer.message((NFNL_SUBSYS_IPSET << 8) | command, 0);
	writer.u32(family === 4 ? AF_INET : AF_INET6);
	writer.attrU8(IPSET_ATTR_PROTOCOL, IPSET_PROTOCOL_MIN);
};

/** ipset's numbers go in network byte order. */
const attrNet32 = (writer: NetlinkWriter, type: number, value: number): void => {
	const bytes = new Uint8Array(4);
	new DataView(bytes.buffer).setUint32(0, value);
	writer.attrBytes(type | NLA_F_NET_BYTEORDER, bytes);
};

const write = (writer: NetlinkWriter, change: SetChange): string | undefined => {
	const { set, verb, family } = change;
	begin(writer, commands[verb], family);
	writer.attrString(IPSET_ATTR_SETNAME, set);
	if (verb === 'destroy') return undefined;
	if (verb === 'create') {
		const revision = revisions[change.type];
		if (revision === undefined) return `sets of type ${change.type} are not made here`;
		writer.attrString(IPSET_ATTR_TYPENAME, change.type);
		writer.attrU8(IPSET_ATTR_REVISION, revision);
		writer.attrU8(IPSET_ATTR_FAMILY, family === 4 ? AF_INET : AF_INET6);
		const data = writer.nest(IPSET_ATTR_DATA);
		attrNet32(writer, IPSET_ATTR_HASHSIZE, change.hashsize);
		attrNet32(writer, IPSET_ATTR_MAXELEM, change.maxelem);
		writer.endNest(data);
		return undefined;
	}
	const { member } = change;
	const data = writer.nest(IPSET_ATTR_DATA);
	const comma = member.indexOf(',');
	const prefix = comma < 0 ? member : member.slice(0, comma);
	const slash = prefix.indexOf('/');
	const ip = writer.nest(IPSET_ATTR_IP);
	// IPSET_ATTR_IPADDR_IPV4 is 1, _IPV6 2.
	const kind = (family === 4 ? 1 : 2) | NLA_F_NET_BYTEORDER;
	if (!writer.attrAddress(kind, prefix, slash < 0 ? prefix.length : slash)) return `'${member}' has no IP address`;
	writer.endNest(ip);
	if (slash >= 0) writer.attrU8(IPSET_ATTR_CIDR, Number(prefix.slice(slash + 1)));
	if (comma >= 0) {
		const rest = member.slice(comma + 1);
		const port = /^([a-z]+):(\d+)$/.exec(rest);
		if (port === null) {
			writer.attrString(IPSET_ATTR_IFACE, rest);
		} else {
			const protocol = protocols[port[1] as string];
			if (protocol === undefined) return `'${member}' has an unknown protocol`;
			const number = Number(port[2]);
			writer.attrBytes(IPSET_ATTR_PORT | NLA_F_NET_BYTEORDER, Uint8Array.of(number >>> 8, number & 255));
			writer.attrU8(IPSET_ATTR_PROTO, protocol);
		}
	}
	writer.endNest(data);
	return undefined;
};

export type SetMembers = {
	/** Whether all changes were made. False: some may have been; the caller makes them another way, and learns why there. */
	readonly write: (changes: readonly SetChange[]) => Promise<boolean>;
	/** All sets whose names begin with the prefix, as `readSets` tells them. */
	readonly read: (prefix: string, begin: () => SetSink) => Promise<boolean>;
	readonly close: () => void;
};

/** Of the network namespace that `inside` enters, the present one when absent. */
export const openSetMembers = (inside: <T>(run: () => T) => T = (run) => run()): SetMembers => {
	let socket: NetlinkSocket | undefined;
	const opened = (): NetlinkSocket => {
		socket ??= openNetlinkSocket(NETLINK_NETFILTER, inside);
		return socket;
	};
	return {
		read: (prefix, begin) => readSets(opened(), prefix, begin),
		write: async (changes) => {
			const results = await opened().request(changes, write, (change) =>
				'member' in change ? `${change.verb} ${change.set} ${change.member}` : `${change.verb} ${change.set}`,
			);
			return results.every((error) => error === undefined);
		},
		close: () => socket?.close(),
	};
};
