import { familyOf, parseAddress } from '../net/ip.ts';
import { asNumber, routerAddress } from './bgp-fields.ts';
import type { Node } from './objects.ts';

/**
 * What a Node says of its speaker by annotations, ours or those Calico writes in a cluster without a datastore of its own.
 * Ours wins. One that cannot be read counts as absent, and is told.
 */

export type NodeBgp = {
	readonly asNumber?: number;
	/** Dotted quad. */
	readonly routerId?: string;
	/** It is a route reflector, of this cluster (RFC 4456 §7). Dotted quad. */
	readonly clusterId?: string;
	/** Instead of the InternalIP. */
	readonly addresses: { readonly 4?: string; readonly 6?: string };
	readonly problems: readonly { readonly field: string; readonly reason: string }[];
};

/** Annotations that anybody here reads; others are not kept. */
export const bgpAnnotations = {
	asNumber: ['manx.dev/as-number', 'projectcalico.org/ASNumber'],
	routerId: ['manx.dev/router-id'],
	clusterId: ['manx.dev/route-reflector-cluster-id', 'projectcalico.org/RouteReflectorClusterID'],
	ipv4: ['manx.dev/ipv4-address', 'projectcalico.org/IPv4Address'],
	ipv6: ['manx.dev/ipv6-address', 'projectcalico.org/IPv6Address'],
} as const;

export const isBgpAnnotation = (name: string): boolean =>
	Object.values(bgpAnnotations).some((names) => (names as readonly string[]).includes(name));

type Read<T> = { readonly value: T } | { readonly reason: string };

const quad = (text: string): Read<string> =>
	parseAddress(text)?.family === 4 && text !== '0.0.0.0'
		? { value: text }
		: { reason: 'must be written like an IPv4 address, and not 0.0.0.0' };

/** Calico writes the prefix length of its link too. */
const address =
	(family: 4 | 6) =>
	(text: string): Read<string> => {
		const result = routerAddress.safeParse(text.replace(/\/\d{1,3}$/, ''));
		if (!result.success) return { reason: result.error.issues[0]?.message ?? 'is no address' };
		return familyOf(result.data) === family ? { value: result.data } : { reason: `is not an IPv${family} address` };
	};

const as = (text: string): Read<number> => {
	const result = asNumber.safeParse(text);
	return result.success ? { value: result.data } : { reason: result.error.issues[0]?.message ?? 'is no AS number' };
};

export const nodeBgpOf = ({ metadata: { annotations } }: Node): NodeBgp => {
	const problems: { field: string; reason: string }[] = [];
	const read = <T>(names: readonly string[], parse: (text: string) => Read<T>): T | undefined => {
		for (const name of names) {
			const text = annotations[name];
			if (text === undefined || text === '') continue;
			const result = parse(text);
			if ('value' in result) return result.value;
			problems.push({ field: `metadata.annotations.${name}`, reason: `'${text}' ${result.reason}` });
		}
		return undefined;
	};
	const asn = read(bgpAnnotations.asNumber, as);
	const routerId = read(bgpAnnotations.routerId, quad);
	const clusterId = read(bgpAnnotations.clusterId, quad);
	const ipv4 = read(bgpAnnotations.ipv4, address(4));
	const ipv6 = read(bgpAnnotations.ipv6, address(6));
	return {
		...(asn !== undefined && { asNumber: asn }),
		...(routerId !== undefined && { routerId }),
		...(clusterId !== undefined && { clusterId }),
		addresses: { ...(ipv4 !== undefined && { 4: ipv4 }), ...(ipv6 !== undefined && { 6: ipv6 }) },
		problems,
	};
};
