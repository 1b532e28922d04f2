/** The sets that hang on wiring and settings, not on policy. */
import type { IpsetSpec } from 'iptables-wrapper';
import { type Family, familyOf } from '../../src/net/ip.ts';
import type { Attachment } from '../attachment.ts';
import { netMembers } from '../calc/cidr-members.ts';

export type NetSetsInput = {
	readonly family: Family;
	/** Canonical prefixes, of both families as they come. */
	readonly podNetworks: readonly string[];
	readonly localPodCIDRs: readonly string[];
	readonly nonMasqueradeCIDRs: readonly string[];
	/** Announced ranges of addresses of Services; no set without. */
	readonly serviceRanges?: readonly string[];
};

export type StaticSetsInput = NetSetsInput & {
	readonly attachments: readonly Pick<Attachment, 'addresses' | 'hostInterface'>[];
};

export const staticSetNames = (family: Family) =>
	({
		/** Pod address and the interface it may come from. */
		source: `manx-${family}-src`,
		/** This node's podCIDRs. */
		localPods: `manx-${family}-local`,
		/** Destinations that see the pod's own address. */
		noMasquerade: `manx-${family}-nomasq`,
		/** Addresses of Services, used or not. */
		services: `manx-${family}-svc`,
	}) as const;

/** What `source` holds for one pod. */
export const sourceMembers = (
	family: Family,
	{ addresses, hostInterface }: Pick<Attachment, 'addresses' | 'hostInterface'>,
): string[] =>
	addresses.filter((address) => familyOf(address) === family).map((address) => `${address},${hostInterface}`);

export const sourceSet = (family: Family): Pick<IpsetSpec, 'name' | 'type' | 'family'> => ({
	name: staticSetNames(family).source,
	type: 'hash:net,iface',
	family,
});

/** Those that hang on settings and Node objects only. */
export const netSets = (input: NetSetsInput): IpsetSpec[] => {
	const { family, localPodCIDRs, podNetworks, nonMasqueradeCIDRs, serviceRanges = [] } = input;
	const names = staticSetNames(family);
	const set = (name: string, cidrs: readonly string[]): IpsetSpec => {
		const members = new Set(cidrs.flatMap((cidr) => netMembers(family, cidr)));
		return { name, type: 'hash:net', family, members };
	};
	return [
		set(names.localPods, localPodCIDRs),
		set(names.noMasquerade, [...podNetworks, ...nonMasqueradeCIDRs]),
		...(serviceRanges.length > 0 ? [set(names.services, serviceRanges)] : []),
	];
};

export const staticSets = (input: StaticSetsInput): ReadonlyMap<string, IpsetSpec> => {
	const { family } = input;
	const members = new Set(input.attachments.flatMap((attachment) => sourceMembers(family, attachment)));
	const specs: IpsetSpec[] = [{ ...sourceSet(family), members }, ...netSets(input)];
	return new Map(specs.map((spec) => [spec.name, spec]));
};
