import type { Cluster, ClusterNode, Problem } from '../src/api/cluster.ts';
import type { InterfaceAddress, Owner, Route } from '../src/kernel/kernel.ts';
import { owners } from '../src/kernel/kernel.ts';
import { contains, type Family, familyOf, hostCidr, parseAddress, parseCidr } from '../src/net/ip.ts';

/**
 * The routes of felix that do not belong to one pod: a blackhole for each of this node's pod networks, so that an
 * address without a pod is dropped here instead of bounced to the router, and a route to each other node's pod networks
 * by way of that node. In host-gw mode these are how the nodes reach each other. In bgp mode with a mesh they are a
 * fallback, for as long as bird has no route: to nodes that are in the other mode while a cluster changes over, and to
 * those whose bird is away. Pure.
 */

export type ClusterRoutesInput = {
	readonly nodeName: string;
	readonly cluster: Cluster;
	readonly mode: 'bgp' | 'host-gw';
	/** Whether nodes have sessions with each other; without a mesh the way between two nodes may be by a router. */
	readonly mesh: boolean;
	/** Families whose learnt routes have a metric behind that of fallbacks, which would shadow them. */
	readonly withoutFallback?: readonly Family[];
	/** Prefixes to keep as a fallback without a mesh, until bird has learnt them. */
	readonly retiring?: ReadonlySet<string>;
	/** Addresses of pods to be routed to a node besides its podCIDRs, by name of the node. */
	readonly strays?: ReadonlyMap<string, readonly string[]>;
	/** This node's addresses, by family. */
	readonly nodeAddresses: { readonly 4?: string; readonly 6?: string };
	/** What the interfaces have now: tells which nodes are on the same segment. */
	readonly interfaces: readonly InterfaceAddress[];
};

export type ClusterRoutes = {
	/** With felix's metric. */
	readonly routes: readonly Route[];
	/** With that of fallbacks. */
	readonly fallback: readonly Route[];
	readonly problems: readonly Problem[];
};

const blackhole = (dst: string): Route => ({
	dst,
	type: 'blackhole',
	scope: 'universe',
	...owners.felix,
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

export const clusterRoutes = (input: ClusterRoutesInput): ClusterRoutes => {
	const { nodeName, cluster, mode, mesh, withoutFallback, retiring, strays, nodeAddresses, interfaces } = input;
	const problems: Problem[] = [];

	const direct = (owner: Owner, node: ClusterNode, dst: string): Route | undefined => {
		const object = `Node ${node.name}`;
		const family: Family = familyOf(dst);
		const via = node.addresses[family];
		if (via === undefined) {
			const reason = `has no IPv${family} InternalIP to route ${dst} to`;
			problems.push({ object, field: 'status.addresses', code: 'NoInternalIP', reason });
			return undefined;
		}
		const dev = interfaceTo(via, interfaces);
		if (dev === undefined) {
			const reason = `${via} is not on a segment of this node, which host-gw mode needs; set mode to bgp, or move the node`;
			problems.push({ object, field: 'status.addresses', code: 'NotOnSegment', reason });
			return undefined;
		}
		const prefSrc = nodeAddresses[family];
		return {
			dst,
			type: 'unicast',
			scope: 'universe',
			...owner,
			nextHops: [{ via, dev }],
			...(prefSrc !== undefined && { prefSrc }),
		};
	};
	const toOthers = (owner: Owner): Route[] =>
		[...cluster.nodes.values()]
			.filter(({ name }) => name !== nodeName)
			.flatMap((node) => {
				const prefixes = [...node.podCIDRs, ...(strays?.get(node.name) ?? []).map(hostCidr)];
				return prefixes.flatMap((dst) => direct(owner, node, dst) ?? []);
			});

	const own = (cluster.nodes.get(nodeName)?.podCIDRs ?? []).map(blackhole);
	if (mode === 'host-gw') return { routes: [...own, ...toOthers(owners.felix)], fallback: [], problems };
	const fallback = toOthers(owners.fallback).filter(
		({ dst }) => retiring?.has(dst) || (mesh && !withoutFallback?.includes(familyOf(dst))),
	);
	// What is on another segment is bird's alone.
	return { routes: own, fallback, problems: [] };
};
