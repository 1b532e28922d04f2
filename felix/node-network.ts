import { type Cluster, clusterOf, type Problem } from '../src/api/cluster.ts';
import { type NodeAddresses, nodeAddressesOf, ownAddresses } from '../src/api/node-addresses.ts';
import type { BGPConfiguration, Node, Pod } from '../src/api/objects.ts';
import type { Settings } from '../src/config.ts';
import { type InterfaceAddress, type Kernel, type Link, owners, type Route } from '../src/kernel/kernel.ts';
import type { Logger } from '../src/logging.ts';
import { contains, type Family, hostCidr, parseCidr } from '../src/net/ip.ts';
import type { Attachment } from './attachment.ts';
import { type ClusterRoutes, clusterRoutes } from './cluster-routes.ts';
import { hostStateOf } from './cni/wiring.ts';
import { createRetiringRoutes } from './retiring-routes.ts';
import { type AllPods, createStrays } from './strays.ts';

/**
 * This node among the others: what Node objects and the node's interfaces say of addresses, pod networks and routes.
 * `recompute` works over all nodes and is called on changes of those only; everything else answers from its result.
 */

export type NodeNetwork = {
	readonly setNode: (node: Node) => void;
	readonly deleteNode: (name: string) => void;
	/** Any pod of the cluster; undefined: it is gone. True: `recompute` is due. */
	readonly setPod: (key: string, pod: Pod | undefined) => boolean;
	/** The one named `default`; undefined: there is none. */
	readonly setConfiguration: (configuration: BGPConfiguration | undefined) => void;
	/** Reads interfaces, and what an earlier run left; `changed` is called when `recompute` is due because of that. */
	readonly start: (changed: () => void) => Promise<void>;
	/** Reads links and addresses anew; `recompute` is the caller's. */
	readonly readInterfaces: () => Promise<void>;
	readonly recompute: (inSync: boolean) => void;
	/** This node's. */
	readonly podCIDRs: () => readonly string[];
	/** The same object as long as they are the same. */
	readonly addresses: () => NodeAddresses;
	readonly isNode: (address: string) => boolean;
	/** Addresses in this node's podCIDRs that pods on other nodes have. */
	readonly taken: () => ReadonlySet<string>;
	/** What desired state needs of all this. */
	readonly desired: (attachments: readonly Attachment[]) => {
		readonly podNetworks: readonly string[];
		readonly localPodCIDRs: readonly string[];
		readonly routes: readonly Route[];
		readonly fallback: readonly Route[];
		readonly serviceRanges: readonly string[];
	};
	readonly warnings: () => readonly string[];
	readonly problems: () => readonly Problem[];
	/** MTU of the interface that has the node's address. */
	readonly uplinkMtu: () => number;
	readonly close: () => void;
};

export type NodeNetworkDeps = {
	readonly settings: Pick<Settings, 'nodeName' | 'mode' | 'nodeAddress' | 'podNetworks'>;
	readonly kernel: Pick<Kernel, 'listLinks' | 'listAddresses' | 'listRoutes' | 'watch'>;
	readonly log: Logger;
	readonly pods: AllPods;
};

const addressOf = (hostPrefix: string): string => hostPrefix.slice(0, hostPrefix.indexOf('/'));
const isWithin = (hostPrefix: string, cidrs: readonly string[]): boolean => {
	const inner = parseCidr(hostPrefix);
	return cidrs.some((text) => {
		const outer = parseCidr(text);
		return inner !== undefined && outer !== undefined && contains(outer, inner);
	});
};
/** Those with an address outside of the node's podCIDRs. */
const outsideOf = (attachments: readonly Attachment[], cidrs: readonly string[]): Attachment[] =>
	attachments.filter((one) => one.addresses.some((address) => !isWithin(hostCidr(address), cidrs)));

const sentence = ({ object, field, reason }: Problem): string => [object, field, reason].filter(Boolean).join(' ');

export const createNodeNetwork = ({ settings, kernel, log, pods }: NodeNetworkDeps): NodeNetwork => {
	const { nodeName, mode } = settings;
	const nodes = new Map<string, Node>();
	let cluster: Cluster = clusterOf([]);
	let interfaces: readonly InterfaceAddress[] = [];
	let links: readonly Link[] = [];
	let isNode = ownAddresses([]);
	let addresses: NodeAddresses = {};
	let routed: ClusterRoutes = { routes: [], fallback: [], problems: [] };
	let mesh = true;
	let withoutFallback: readonly Family[] = [];
	let serviceRanges: readonly string[] = [];
	const retiring = createRetiringRoutes(kernel);
	const strays = createStrays(nodeName, settings.podNetworks, pods);
	let problems: readonly Problem[] = [];

	const readInterfaces = async (): Promise<void> => {
		[links, interfaces] = await Promise.all([kernel.listLinks(), kernel.listAddresses()]);
		isNode = ownAddresses(interfaces);
	};

	const podCIDRs = (): readonly string[] => cluster.nodes.get(nodeName)?.podCIDRs ?? [];
	const podNetworks = (): readonly string[] =>
		settings.podNetworks.length > 0
			? settings.podNetworks
			: [...cluster.nodes.values()].flatMap((node) => node.podCIDRs);

	return {
		setNode: (node) => nodes.set(node.metadata.name, node),
		deleteNode: (name) => nodes.delete(name),
		setPod: strays.set,
		setConfiguration: (configuration) => {
			const {
				nodeToNodeMeshEnabled = true,
				programClusterRoutes = true,
				routePriorities = {},
			} = configuration?.spec ?? {};
			// They are felix's then, mesh or not.
			mesh = nodeToNodeMeshEnabled || !programClusterRoutes;
			const behind = (metric = 0): boolean => programClusterRoutes && metric >= owners.fallback.metric;
			withoutFallback = [
				...(behind(routePriorities.ipv4) ? [4 as const] : []),
				...(behind(routePriorities.ipv6) ? [6 as const] : []),
			];
			// Only bird announces them.
			const spec = mode === 'bgp' ? configuration?.spec : undefined;
			serviceRanges = spec
				? [...new Set([...spec.serviceClusterIPs, ...spec.serviceExternalIPs, ...spec.serviceLoadBalancerIPs])]
				: [];
		},
		start: async (changed) => {
			await readInterfaces();
			if (mode === 'bgp') await retiring.start(changed);
		},
		readInterfaces,
		recompute: (inSync) => {
			cluster = clusterOf(nodes.values());
			strays.judge(cluster);
			const self = cluster.nodes.get(nodeName);
			const chosen = nodeAddressesOf(settings.nodeAddress, self?.addresses ?? {}, interfaces);
			if (addresses[4] !== chosen.addresses[4] || addresses[6] !== chosen.addresses[6]) addresses = chosen.addresses;
			routed = clusterRoutes({
				nodeName,
				cluster,
				mode,
				mesh,
				withoutFallback,
				retiring: retiring.prefixes(),
				strays: strays.routed(),
				nodeAddresses: addresses,
				interfaces,
			});
			const object = `Node ${nodeName}`;
			const own: Problem[] = chosen.problems.map((reason) => ({ object, field: '', code: 'NoNodeAddress', reason }));
			if (self === undefined && inSync)
				own.push({ object, field: '', reason: 'does not exist: felix serves no pod until it does' });
			const all = [...cluster.problems, ...routed.problems, ...own, ...strays.problems()];
			const known = new Set(problems.map(sentence));
			for (const problem of all) if (!known.has(sentence(problem))) log.error({ ...problem }, sentence(problem));
			problems = all;
		},
		podCIDRs,
		addresses: () => addresses,
		isNode: (address) => isNode(address),
		taken: strays.taken,
		desired: (attachments) => {
			const own = podCIDRs();
			const outside = outsideOf(attachments, own);
			// bird announces what stands there by itself with the metric of fallbacks (docs/design/strays.md).
			const announced =
				mode === 'bgp'
					? outside
							.flatMap((attachment) => hostStateOf(attachment, Object.values(addresses)).routes)
							.filter(({ dst }) => strays.mayAnnounce(addressOf(dst)) && !isWithin(dst, own))
							.map((route) => ({ ...route, ...owners.fallback }))
					: [];
			return {
				podNetworks: [...podNetworks(), ...[...strays.routed().values()].flat().map(hostCidr)],
				localPodCIDRs: [
					...own,
					...outside.flatMap((one) => one.addresses.map(hostCidr)).filter((dst) => !isWithin(dst, own)),
				],
				routes: routed.routes,
				fallback: [...routed.fallback, ...announced],
				serviceRanges,
			};
		},
		warnings: strays.warnings,
		problems: () => problems,
		uplinkMtu: () => {
			const dev = interfaces.find((one) => Object.values(addresses).includes(one.address))?.dev;
			return links.find((link) => link.name === dev)?.mtu ?? 1500;
		},
		close: retiring.close,
	};
};
