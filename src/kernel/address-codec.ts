import { addressFromBytes, familyOf } from '../net/ip.ts';
import { eachAttribute, lladdrOf, parseLladdr } from './attributes.ts';
import type { InterfaceAddress, Neighbour } from './kernel.ts';
import * as nl from './netlink-constants.ts';
import type { NetlinkWriter } from './netlink-writer.ts';
import type { IndexOf, NameOf } from './route-codec.ts';

/** Interface addresses and permanent neighbours to and from rtnetlink messages. */

const familyNumber = (text: string): number => (familyOf(text) === 4 ? nl.AF_INET : nl.AF_INET6);
const scopes = { global: nl.RT_SCOPE_UNIVERSE, link: nl.RT_SCOPE_LINK, host: nl.RT_SCOPE_HOST } as const;

export const writeAddressDump = (writer: NetlinkWriter): void => {
	writer.message(nl.RTM_GETADDR, nl.NLM_F_DUMP);
	writer.u32(0);
	writer.u32(0);
};

/** RTM_NEWADDR or RTM_DELADDR. IPv6 addresses skip duplicate address detection: a pod must be able to send at once. */
export const writeAddress = (
	writer: NetlinkWriter,
	type: number,
	flags: number,
	value: InterfaceAddress,
	indexOf: IndexOf,
): string | undefined => {
	writer.message(type, flags);
	writer.u8(familyNumber(value.address));
	writer.u8(value.length);
	writer.u8(0);
	writer.u8(scopes[value.scope]);
	writer.u32(indexOf(value.dev) ?? nl.noDevice);
	const good = writer.attrAddress(nl.IFA_LOCAL, value.address) && writer.attrAddress(nl.IFA_ADDRESS, value.address);
	if (type === nl.RTM_NEWADDR && familyOf(value.address) === 6) writer.attrU32(nl.IFA_FLAGS, nl.IFA_F_NODAD);
	return good ? undefined : `"${value.address}" is not an IP address`;
};

export const readAddress = (data: Buffer, start: number, end: number, nameOf: NameOf): InterfaceAddress | undefined => {
	const family = data[start] === nl.AF_INET ? 4 : data[start] === nl.AF_INET6 ? 6 : undefined;
	const dev = nameOf(data.readInt32LE(start + 4));
	if (family === undefined || dev === undefined) return undefined;
	let local: string | undefined;
	let address: string | undefined;
	eachAttribute(data, start + 8, end, (type, from) => {
		if (type === nl.IFA_LOCAL) local = addressFromBytes(data, family, from);
		else if (type === nl.IFA_ADDRESS) address = addressFromBytes(data, family, from);
	});
	const text = local ?? address;
	if (text === undefined) return undefined;
	const scope = data[start + 3];
	return {
		dev,
		address: text,
		length: data[start + 1] as number,
		scope: scope === nl.RT_SCOPE_HOST ? 'host' : scope === nl.RT_SCOPE_LINK ? 'link' : 'global',
	};
};

export const writeNeighbourDump = (writer: NetlinkWriter): void => {
	writer.message(nl.RTM_GETNEIGH, nl.NLM_F_DUMP);
	writer.u32(0);
	writer.u32(0);
	writer.u32(0);
};

export const writeNeighbour = (
	writer: NetlinkWriter,
	type: number,
	flags: number,
	value: Neighbour,
	indexOf: IndexOf,
): string | undefined => {
	writer.message(type, flags);
	writer.u32(familyNumber(value.address));
	writer.u32(indexOf(value.dev) ?? nl.noDevice);
	writer.u16(nl.NUD_PERMANENT);
	writer.u16(0);
	if (!writer.attrAddress(nl.NDA_DST, value.address)) return `"${value.address}" is not an IP address`;
	if (type === nl.RTM_NEWNEIGH) {
		const lladdr = parseLladdr(value.lladdr);
		if (lladdr === undefined) return `"${value.lladdr}" is not a link-layer address`;
		writer.attrBytes(nl.NDA_LLADDR, lladdr);
	}
	return undefined;
};

/** `permanent` is false for entries the kernel learnt or gave up, of which only dev and address mean anything. */
export const readNeighbour = (
	data: Buffer,
	start: number,
	end: number,
	nameOf: NameOf,
): { readonly permanent: boolean; readonly neighbour: Neighbour } | undefined => {
	const family = data[start] === nl.AF_INET ? 4 : data[start] === nl.AF_INET6 ? 6 : undefined;
	const dev = nameOf(data.readInt32LE(start + 4));
	if (family === undefined || dev === undefined) return undefined;
	let address = '';
	let lladdr = '';
	eachAttribute(data, start + 12, end, (type, from, to) => {
		if (type === nl.NDA_DST && to - from === (family === 4 ? 4 : 16)) address = addressFromBytes(data, family, from);
		else if (type === nl.NDA_LLADDR) lladdr = lladdrOf(data, from, to);
	});
	if (address === '') return undefined;
	return { permanent: (data.readUInt16LE(start + 8) & nl.NUD_PERMANENT) !== 0, neighbour: { dev, address, lladdr } };
};
