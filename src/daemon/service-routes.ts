import type { BGPConfiguration, EndpointSlice, Node, Service } from '../api/objects.ts';
import { keyOf } from '../api/objects.ts';
import { contains, hostCidr, parseAddress, parseCidr } from '../net/ip.ts';

/**
 * Prefixes of Services that a node announces. Pure.
 *
 * The ranges of BGPConfiguration are what may be announced at all, and are announced as they are, by every node. An
 * address of its own is announced for Services with externalTrafficPolicy Local, by the nodes that have an endpoint that
 * is ready, so that it wins over the range; and for all of serviceLoadBalancerIPs without aggregation.
 */

export type ServiceRoutes = {
	readonly set: (object: Service | EndpointSlice) => void;
	readonly delete: (kind: 'Service' | 'EndpointSlice', key: string) => void;
	/** Sorted, canonical. */
	readonly prefixes: (ranges: ServiceRanges, node: Node | undefined, nodeName: string) => readonly string[];
};

export type ServiceRanges = Pick<
	BGPConfiguration['spec'],
	'serviceClusterIPs' | 'serviceExternalIPs' | 'serviceLoadBalancerIPs' | 'serviceLoadBalancerAggregation'
>;

/** What load balancers of clouds heed as well: no traffic from outside by this node. */
const excluded = 'node.kubernetes.io/exclude-from-external-load-balancers';

const within = (ranges: readonly string[]): ((address: string) => boolean) => {
	const cidrs = ranges.map(parseCidr).filter((cidr) => cidr !== undefined);
	if (cidrs.length === 0) return () => false;
	return (text) => {
		const address = parseAddress(text);
		return address !== undefined && cidrs.some((cidr) => contains(cidr, address));
	};
};

export const hasRanges = (ranges: ServiceRanges): boolean =>
	ranges.serviceClusterIPs.length + ranges.serviceExternalIPs.length + ranges.serviceLoadBalancerIPs.length > 0;

export const createServiceRoutes = (): ServiceRoutes => {
	const services = new Map<string, Service>();
	const slices = new Map<string, EndpointSlice>();
	/** Slices by the key of their Service. */
	const byService = new Map<string, Set<string>>();

	const unlink = (key: string): void => {
		const before = slices.get(key);
		if (before === undefined) return;
		const keys = byService.get(before.service);
		keys?.delete(key);
		if (keys?.size === 0) byService.delete(before.service);
	};
	const readyOn = (service: string, nodeName: string): boolean =>
		[...(byService.get(service) ?? [])].some((key) => slices.get(key)?.readyOn.includes(nodeName) === true);

	return {
		set: (object) => {
			const key = keyOf(object.metadata);
			if (object.kind === 'Service') {
				services.set(key, object);
				return;
			}
			unlink(key);
			slices.set(key, object);
			const keys = byService.get(object.service) ?? new Set();
			byService.set(object.service, keys.add(key));
		},
		delete: (kind, key) => {
			if (kind === 'Service') services.delete(key);
			else {
				unlink(key);
				slices.delete(key);
			}
		},
		prefixes: (ranges, node, nodeName) => {
			if (!hasRanges(ranges) || node?.metadata.labels[excluded] !== undefined) return [];
			const aggregated = ranges.serviceLoadBalancerAggregation;
			const found = new Set([
				...ranges.serviceClusterIPs,
				...ranges.serviceExternalIPs,
				...(aggregated ? ranges.serviceLoadBalancerIPs : []),
			]);
			const isClusterIP = within(ranges.serviceClusterIPs);
			const isExternalIP = within(ranges.serviceExternalIPs);
			const isLoadBalancerIP = within(ranges.serviceLoadBalancerIPs);
			for (const [key, { spec, status }] of services) {
				const local = spec.externalTrafficPolicy === 'Local';
				if (!local && aggregated) continue;
				const balanced = status.loadBalancerIPs.filter(isLoadBalancerIP);
				const single = local
					? [...spec.clusterIPs.filter(isClusterIP), ...spec.externalIPs.filter(isExternalIP), ...balanced]
					: balanced;
				if (single.length === 0 || (local && !readyOn(key, nodeName))) continue;
				for (const address of single) found.add(hostCidr(address));
			}
			return [...found].sort();
		},
	};
};
