import type { InterfaceAddress } from '../kernel/kernel.ts';
import { contains, type Family, familyOf, parseAddress, parseCidr } from '../net/ip.ts';

export type NodeAddresses = { readonly 4?: string; readonly 6?: string };

/** Whether an address is one that this node itself sends from; what is link-local never came from further off. */
export const ownAddresses = (interfaces: readonly InterfaceAddress[]): ((address: string) => boolean) => {
	const known = new Set(interfaces.map(({ address }) => address));
	return (address) => known.has(address) || address.startsWith('127.') || address.startsWith('fe80:');
};

/**
 * This node's own addresses: by setting (an interface's name, or a prefix they lie in), else the Node's InternalIP.
 * Only an address that an interface has can be a preferred source or listened on; `problems` names those that none has.
 */
export const nodeAddressesOf = (
	setting: string,
	internal: NodeAddresses,
	interfaces: readonly InterfaceAddress[],
): { readonly addresses: NodeAddresses; readonly problems: readonly string[] } => {
	const problems: string[] = [];
	const prefix = parseCidr(setting);
	const candidate = (entry: InterfaceAddress): boolean => {
		if (entry.scope !== 'global') return false;
		if (prefix === undefined) return entry.dev === setting;
		const address = parseAddress(entry.address);
		return address !== undefined && contains(prefix, address);
	};
	const choose = (family: Family): string | undefined => {
		if (setting !== '') return interfaces.find((one) => familyOf(one.address) === family && candidate(one))?.address;
		const wanted = internal[family];
		if (wanted === undefined || interfaces.some((one) => one.address === wanted)) return wanted;
		problems.push(
			`${wanted}, the node's InternalIP, is on no interface of this node; correct the Node object or set nodeAddress`,
		);
		return undefined;
	};
	const v4 = choose(4);
	const v6 = choose(6);
	if (setting !== '' && v4 === undefined && v6 === undefined) {
		problems.push(`nodeAddress '${setting}' fits no address of this node`);
	}
	return { addresses: { ...(v4 !== undefined && { 4: v4 }), ...(v6 !== undefined && { 6: v6 }) }, problems };
};
