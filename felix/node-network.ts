import { type Cluster, clusterOf, type Problem } from '../src/api/cluster.ts';
import { type NodeAddresses, nodeAddressesOf, ownAddresses } from '../src/api/node-addresses.ts';
import type { Node } from '../src/api/objects.ts';
import type { Settings } from '../src/config.ts';
import type { InterfaceAddress, Kernel, Link, Route } from '../src/kernel/kernel.ts';
import type { Logger } from '../src/logging.ts';
import { clusterRoutes } from './cluster-routes.ts';

/**
 * This node among the others: what Node objects and the node's interfaces say of addresses, pod networks and routes.
 * `recompute` works over all nodes and is called on changes of those only; everything else answers from its result.
 */

export type NodeNetwork = {
	readonly setNode: (node: Node) => void;
	readonly deleteNode: (name: string) => void;
	/** Reads links and addresses anew; `recompute` is the caller's. */
	readonly readInterfaces: () => Promise<void>;
	readonly recompute: (inSync: boolean) => void;
	/** This node's. */
	readonly podCIDRs: () => readonly string[];
	/** Those of all pods. */
	readonly podNetworks: () => readonly string[];
	/** The same object as long as they are the same. */
	readonly addresses: () => NodeAddresses;
	readonly isNode: (address: string) => boolean;
	/** Routes that belong to no single pod. */
	readonly routes: () => readonly Route[];
	readonly problems: () => readonly Problem[];
	/** MTU of the interface that has the node's address. */
	readonly uplinkMtu: () => number;
};

export type NodeNetworkDeps = {
	readonly settings: Pick<Settings, 'nodeName' | 'mode' | 'nodeAddress' | 'podNetworks'>;
	readonly kernel: Pick<Kernel, 'listLinks' | 'listAddresses'>;
	readonly log: Logger;
};

const sentence = ({ object, field, reason }: Problem): string => [object, field, reason].filter(Boolean).join(' ');

export const createNodeNetwork = ({ settings, kernel, log }: NodeNetworkDeps): NodeNetwork => {
	const { nodeName, mode } = settings;
	const nodes = new Map<string, Node>();
	let cluster: Cluster = clusterOf([]);
	let interfaces: readonly InterfaceAddress[] = [];
	let links: readonly Link[] = [];
	let isNode = ownAddresses([]);
	let addresses: NodeAddresses = {};
	let routes: readonly Route[] = [];
	let problems: readonly Problem[] = [];

	return {
		setNode: (node) => nodes.set(node.metadata.name, node),
		deleteNode: (name) => nodes.delete(name),
		readInterfaces: async () => {
			[links, interfaces] = await Promise.all([kernel.listLinks(), kernel.listAddresses()]);
			isNode = ownAddresses(interfaces);
		},
		recompute: (inSync) => {
			cluster = clusterOf(nodes.values());
			const self = cluster.nodes.get(nodeName);
			const chosen = nodeAddressesOf(settings.nodeAddress, self?.addresses ?? {}, interfaces);
			if (addresses[4] !== chosen.addresses[4] || addresses[6] !== chosen.addresses[6]) addresses = chosen.addresses;
			const routed = clusterRoutes({ nodeName, cluster, mode, nodeAddresses: addresses, interfaces });
			routes = routed.routes;
			const object = `Node ${nodeName}`;
			const own: Problem[] = chosen.problems.map((reason) => ({ object, field: '', code: 'NoNodeAddress', reason }));
			if (self === undefined && inSync)
				own.push({ object, field: '', reason: 'does not exist: felix serves no pod until it does' });
			const all = [...cluster.problems, ...routed.problems, ...own];
			const known = new Set(problems.map(sentence));
			for (const problem of all) if (!known.has(sentence(problem))) log.error({ ...problem }, sentence(problem));
			problems = all;
		},
		podCIDRs: () => cluster.nodes.get(nodeName)?.podCIDRs ?? [],
		podNetworks: () =>
			settings.podNetworks.length > 0
				? settings.podNetworks
				: [...cluster.nodes.values()].flatMap((node) => node.podCIDRs),
		addresses: () => addresses,
		isNode: (address) => isNode(address),
		routes: () => routes,
		problems: () => problems,
		uplinkMtu: () => {
			const dev = interfaces.find((one) => Object.values(addresses).includes(one.address))?.dev;
			return links.find((link) => link.name === dev)?.mtu ?? 1500;
		},
	};
};
