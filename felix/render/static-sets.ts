/** The sets that hang on wiring and settings, not on policy. */
import type { IpsetSpec } from 'iptables-wrapper';
import { type Family, familyOf } from '../../src/net/ip.ts';
import type { Attachment } from '../attachment.ts';
import { netMembers } from '../calc/cidr-members.ts';

export type StaticSetsInput = {
	readonly family: Family;
	readonly attachments: readonly Pick<Attachment, 'addresses' | 'hostInterface'>[];
	/** Canonical prefixes, of both families as they come. */
	readonly podNetworks: readonly string[];
	readonly localPodCIDRs: readonly string[];
	readonly nonMasqueradeCIDRs: readonly string[];
};

export const staticSetNames = (family: Family) =>
	({
		/** Pod address and the interface it may come from. */
		source: `manx-${family}-src`,
		/** This node's podCIDRs. */
		localPods: `manx-${family}-local`,
		/** Destinations that see the pod's own address. */
		noMasquerade: `manx-${family}-nomasq`,
	}) as const;

export const staticSets = (input: StaticSetsInput): ReadonlyMap<string, IpsetSpec> => {
	const { family } = input;
	const names = staticSetNames(family);
	const nets = (cidrs: readonly string[]): string[] => cidrs.flatMap((cidr) => netMembers(family, cidr));
	const sources = input.attachments.flatMap(({ addresses, hostInterface }) =>
		addresses.filter((address) => familyOf(address) === family).map((address) => `${address},${hostInterface}`),
	);
	const specs: IpsetSpec[] = [
		{ name: names.source, type: 'hash:net,iface', family, members: new Set(sources) },
		{ name: names.localPods, type: 'hash:net', family, members: new Set(nets(input.localPodCIDRs)) },
		{
			name: names.noMasquerade,
			type: 'hash:net',
			family,
			members: new Set(nets([...input.podNetworks, ...input.nonMasqueradeCIDRs])),
		},
	];
	return new Map(specs.map((spec) => [spec.name, spec]));
};
