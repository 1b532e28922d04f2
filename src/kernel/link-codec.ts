import { eachAttribute, lladdrOf, parseLladdr, stringOf } from './attributes.ts';
import type { Link, LinkChange, PodLink } from './kernel.ts';
import * as nl from './netlink-constants.ts';
import type { NetlinkWriter } from './netlink-writer.ts';

/** Links to and from rtnetlink messages. */

const ifinfo = (writer: NetlinkWriter, index: number, flags = 0, change = 0): void => {
	writer.u32(0);
	writer.u32(index);
	writer.u32(flags);
	writer.u32(change);
};

export const writeLinkDump = (writer: NetlinkWriter): void => {
	writer.message(nl.RTM_GETLINK, nl.NLM_F_DUMP);
	ifinfo(writer, 0);
	writer.attrU32(nl.IFLA_EXT_MASK, nl.RTEXT_FILTER_SKIP_STATS);
};

/** Asks for one link by index or name. */
export const writeLinkGet = (writer: NetlinkWriter, which: number | string): void => {
	writer.message(nl.RTM_GETLINK, 0);
	ifinfo(writer, typeof which === 'number' ? which : 0);
	writer.attrU32(nl.IFLA_EXT_MASK, nl.RTEXT_FILTER_SKIP_STATS);
	if (typeof which === 'string') writer.attrString(nl.IFLA_IFNAME, which);
};

const nameRefusal = (name: string): string | undefined =>
	name !== '' && Buffer.byteLength(name) <= 15 && !/[\s/:]/.test(name)
		? undefined
		: `"${name}" is not an interface name (1 to 15 bytes, no blank, slash or colon)`;

export const writeLinkDeletion = (writer: NetlinkWriter, name: string): string | undefined => {
	writer.message(nl.RTM_DELLINK, 0);
	ifinfo(writer, 0);
	writer.attrString(nl.IFLA_IFNAME, name);
	return nameRefusal(name);
};

export const writeLinkChange = (writer: NetlinkWriter, name: string, change: LinkChange): string | undefined => {
	writer.message(nl.RTM_SETLINK, 0);
	ifinfo(writer, 0, change.up === true ? nl.IFF_UP : 0, change.up === undefined ? 0 : nl.IFF_UP);
	writer.attrString(nl.IFLA_IFNAME, name);
	if (change.mtu !== undefined) writer.attrU32(nl.IFLA_MTU, change.mtu);
	if (change.lladdr !== undefined) {
		const lladdr = parseLladdr(change.lladdr);
		if (lladdr === undefined) return `"${change.lladdr}" is not a link-layer address`;
		writer.attrBytes(nl.IFLA_ADDRESS, lladdr);
	}
	if (change.alias !== undefined) {
		const alias = Buffer.from(change.alias);
		if (alias.length > 255) return `the alias has ${alias.length} bytes, an interface holds 255`;
		// Without the NUL: an empty attribute clears the alias (net/core/rtnetlink.c, do_setlink).
		writer.attrBytes(nl.IFLA_IFALIAS, alias);
	}
	return nameRefusal(name);
};

/** A veth pair whose peer is born in the namespace behind `netnsFd`. The alias is ignored by the kernel here. */
export const writePodLink = (writer: NetlinkWriter, link: PodLink, netnsFd: number): string | undefined => {
	const lladdr = parseLladdr(link.hostLladdr);
	if (lladdr === undefined) return `"${link.hostLladdr}" is not a link-layer address`;
	writer.message(nl.RTM_NEWLINK, nl.NLM_F_CREATE | nl.NLM_F_EXCL);
	ifinfo(writer, 0);
	writer.attrString(nl.IFLA_IFNAME, link.hostName);
	writer.attrU32(nl.IFLA_MTU, link.mtu);
	writer.attrBytes(nl.IFLA_ADDRESS, lladdr);
	const info = writer.nest(nl.IFLA_LINKINFO);
	writer.attrString(nl.IFLA_INFO_KIND, 'veth');
	const data = writer.nest(nl.IFLA_INFO_DATA);
	const peer = writer.nest(nl.VETH_INFO_PEER);
	ifinfo(writer, 0);
	writer.attrString(nl.IFLA_IFNAME, link.podName);
	writer.attrU32(nl.IFLA_MTU, link.mtu);
	writer.attrU32(nl.IFLA_NET_NS_FD, netnsFd);
	writer.endNest(peer);
	writer.endNest(data);
	writer.endNest(info);
	return nameRefusal(link.hostName) ?? nameRefusal(link.podName);
};

/** Undefined for messages of another family: AF_BRIDGE tells of ports, and its RTM_DELLINK is no link going away. */
export const readLink = (data: Buffer, start: number, end: number): Link | undefined => {
	if (data[start] !== 0) return undefined;
	const flags = data.readUInt32LE(start + 8);
	let name = '';
	let alias = '';
	let kind = '';
	let lladdr = '';
	let mtu = 0;
	let master = 0;
	let peerIndex = 0;
	let peerNetnsId = -1;
	eachAttribute(data, start + 16, end, (type, from, to) => {
		if (type === nl.IFLA_IFNAME) name = stringOf(data, from, to);
		else if (type === nl.IFLA_IFALIAS) alias = stringOf(data, from, to);
		else if (type === nl.IFLA_ADDRESS) lladdr = lladdrOf(data, from, to);
		else if (type === nl.IFLA_MTU) mtu = data.readUInt32LE(from);
		else if (type === nl.IFLA_MASTER) master = data.readUInt32LE(from);
		else if (type === nl.IFLA_LINK) peerIndex = data.readUInt32LE(from);
		else if (type === nl.IFLA_LINK_NETNSID) peerNetnsId = data.readInt32LE(from);
		else if (type === nl.IFLA_LINKINFO) {
			eachAttribute(data, from, to, (inner, innerFrom, innerTo) => {
				if (inner === nl.IFLA_INFO_KIND) kind = stringOf(data, innerFrom, innerTo);
			});
		}
	});
	return {
		index: data.readInt32LE(start + 4),
		name,
		alias,
		kind,
		mtu,
		up: (flags & nl.IFF_UP) !== 0,
		lowerUp: (flags & nl.IFF_LOWER_UP) !== 0,
		lladdr,
		master,
		peerIndex,
		peerNetnsId,
	};
};
