import { type Cluster, clusterOf, type Problem } from '../src/api/cluster.ts';
import { type NodeAddresses, nodeAddressesOf, ownAddresses } from '../src/api/node-addresses.ts';
import type { BGPConfiguration, Node } from '../src/api/objects.ts';
import type { Settings } from '../src/config.ts';
import type { InterfaceAddress, Kernel, Link } from '../src/kernel/kernel.ts';
import type { Logger } from '../src/logging.ts';
import { type ClusterRoutes, clusterRoutes } from './cluster-routes.ts';
import { createRetiringRoutes } from './retiring-routes.ts';

/**
 * This node among the others: what Node objects and the node's interfaces say of addresses, pod networks and routes.
 * `recompute` works over all nodes and is called on changes of those only; everything else answers from its result.
 */

export type NodeNetwork = {
	readonly setNode: (node: Node) => void;
	readonly deleteNode: (name: string) => void;
	/** The one named `default`; undefined: there is none. */
	readonly setConfiguration: (configuration: BGPConfiguration | undefined) => void;
	/** Reads interfaces, and what an earlier run left; `changed` is called when `recompute` is due because of that. */
	readonly start: (changed: () => void) => Promise<void>;
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
	/** Those that belong to no single pod. */
	readonly routes: () => Pick<ClusterRoutes, 'routes' | 'fallback'>;
	readonly problems: () => readonly Problem[];
	/** MTU of the interface that has the node's address. */
	readonly uplinkMtu: () => number;
	readonly close: () => void;
};

export type NodeNetworkDeps = {
	readonly settings: Pick<Settings, 'nodeName' | 'mode' | 'nodeAddress' | 'podNetworks'>;
	readonly kernel: Pick<Kernel, 'listLinks' | 'listAddresses' | 'listRoutes' | 'watch'>;
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
	let routed: ClusterRoutes = { routes: [], fallback: [], problems: [] };
	let mesh = true;
	const retiring = createRetiringRoutes(kernel);
	let problems: readonly Problem[] = [];

	const readInterfaces = async (): Promise<void> => {
		[links, interfaces] = await Promise.all([kernel.listLinks(), kernel.listAddresses()]);
		isNode = ownAddresses(interfaces);
	};

	return {
		setNode: (node) => nodes.set(node.metadata.name, node),
		deleteNode: (name) => nodes.delete(name),
		setConfiguration: (configuration) => {
			mesh = configuration?.spec.nodeToNodeMeshEnabled ?? true;
		},
		start: async (changed) => {
			await readInterfaces();
			if (mode === 'bgp') await retiring.start(changed);
		},
		readInterfaces,
		recompute: (inSync) => {
			cluster = clusterOf(nodes.values());
			const self = cluster.nodes.get(nodeName);
			const chosen = nodeAddressesOf(settings.nodeAddress, self?.addresses ?? {}, interfaces);
			if (addresses[4] !== chosen.addresses[4] || addresses[6] !== chosen.addresses[6]) addresses = chosen.addresses;
			routed = clusterRoutes({
				nodeName,
				cluster,
				mode,
				mesh,
				retiring: retiring.prefixes(),
				nodeAddresses: addresses,
				interfaces,
			});
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
		routes: () => routed,
		problems: () => problems,
		uplinkMtu: () => {
			const dev = interfaces.find((one) => Object.values(addresses).includes(one.address))?.dev;
			return links.find((link) => link.name === dev)?.mtu ?? 1500;
		},
		close: retiring.close,
	};
};
