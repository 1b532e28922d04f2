import type { Cluster, Problem } from '../src/api/cluster.ts';
import type { InterfaceAddress, Route } from '../src/kernel/kernel.ts';
import { owners } from '../src/kernel/kernel.ts';
import { contains, type Family, familyOf, parseAddress, parseCidr } from '../src/net/ip.ts';

/**
 * The routes of felix that do not belong to one pod: a blackhole for each of this node's pod networks, so that an
 * address without a pod is dropped here instead of bounced to the router, and in host-gw mode a route to each other
 * node's pod networks by way of that node. Pure.
 */

export type ClusterRoutesInput = {
	readonly nodeName: string;
	readonly cluster: Cluster;
	readonly mode: 'bgp' | 'host-gw';
	/** This node's addresses, by family. */
	readonly nodeAddresses: { readonly 4?: string; readonly 6?: string };
	/** What the interfaces have now: tells which nodes are on the same segment. */
	readonly interfaces: readonly InterfaceAddress[];
};

const { protocol, metric } = owners.felix;

const blackhole = (dst: string): Route => ({
	dst,
	type: 'blackhole',
	scope: 'universe',
	protocol,
	metric,
	nextHops: [],
});

/** The interface whose prefix holds the address, the longest of several; undefined when none does. */
const interfaceTo = (address: string, interfaces: readonly InterfaceAddress[]): string | undefined => {
	const target = parseAddress(address);
	let best: InterfaceAddress | undefined;
	for (const entry of interfaces) {
		if (familyOf(entry.address) !== target?.family || entry.scope === 'host') continue;
		const prefix = parseCidr(`${entry.address}/${entry.length}`);
		if (prefix && contains(prefix, target) && (best === undefined || entry.length > best.length)) best = entry;
	}
	return best?.dev;
};

export const clusterRoutes = (input: ClusterRoutesInput): { routes: Route[]; problems: Problem[] } => {
	const { nodeName, cluster, mode, nodeAddresses, interfaces } = input;
	const self = cluster.nodes.get(nodeName);
	const routes = (self?.podCIDRs ?? []).map(blackhole);
	const problems: Problem[] = [];
	if (mode === 'bgp') return { routes, problems };
	for (const node of cluster.nodes.values()) {
		if (node.name === nodeName) continue;
		const object = `Node ${node.name}`;
		for (const dst of node.podCIDRs) {
			const family: Family = familyOf(dst);
			const via = node.addresses[family];
			if (via === undefined) {
				const reason = `has no IPv${family} InternalIP to route ${dst} to`;
				problems.push({ object, field: 'status.addresses', code: 'NoInternalIP', reason });
				continue;
			}
			const dev = interfaceTo(via, interfaces);
			if (dev === undefined) {
				const reason = `${via} is not on a segment of this node, which host-gw mode needs; set mode to bgp, or move the node`;
				problems.push({ object, field: 'status.addresses', code: 'NotOnSegment', reason });
				continue;
			}
			const prefSrc = nodeAddresses[family];
			routes.push({
				dst,
				type: 'unicast',
				scope: 'universe',
				protocol,
				metric,
				nextHops: [{ via, dev }],
				...(prefSrc !== undefined && { prefSrc }),
			});
		}
	}
	return { routes, problems };
};
