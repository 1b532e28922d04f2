import type { SpeakerConfig } from '../../bird/config.ts';
import type { Cluster, ClusterNode, Problem } from '../api/cluster.ts';
import type { BFDProfile, BGPConfiguration, BGPFilter, BGPPeer } from '../api/objects.ts';
import { contains, isLinkLocal, parseCidr } from '../net/ip.ts';
import { peerProblemsOf, peersBySeniority } from './peer-problems.ts';
import { type PasswordOf, type SecretOf, speakerPeersOf } from './speaker-peers.ts';

/** What the objects of the cluster make of this node's speaker. Pure. */

const defaults: BGPConfiguration['spec'] = {
	asNumber: 64512,
	nodeToNodeMeshEnabled: true,
	listenPort: 179,
	bindMode: 'None',
	meshPasswordFile: '',
	nodeMeshMaxRestartTime: 120,
	clusterID: '0.0.0.0',
	ebgpRequiresPolicy: false,
	drainCordonedNodes: false,
	routePriorities: {},
	programClusterRoutes: true,
	serviceClusterIPs: [],
	serviceExternalIPs: [],
	serviceLoadBalancerIPs: [],
	serviceLoadBalancerAggregation: true,
	prefixAdvertisements: [],
	ignoredInterfaces: [],
};

export type SpeakerInput = {
	readonly nodeName: string;
	readonly cluster: Cluster;
	readonly configuration: BGPConfiguration | undefined;
	readonly peers: Iterable<BGPPeer>;
	readonly filters?: ReadonlyMap<string, BGPFilter>;
	/** Those deleted that peers name still. */
	readonly lostFilters?: ReadonlyMap<string, BGPFilter>;
	readonly profiles?: ReadonlyMap<string, BFDProfile>;
	/** This node's addresses, by family. */
	readonly addresses: { readonly 4?: string; readonly 6?: string };
	/** Content of a file of the setting passwordDir; an error in words when it cannot be read. */
	readonly passwordOf?: PasswordOf;
	/** The same of a key of a Secret. */
	readonly secretOf?: SecretOf;
	/** Prefixes of Services that this node announces. */
	readonly services?: readonly string[];
	/** The node is about to leave. */
	readonly draining?: boolean;
};

export type { PasswordOf, SecretOf } from './speaker-peers.ts';

export type SpeakerResult = { readonly config: SpeakerConfig | undefined; readonly problems: readonly Problem[] };

/** IPv4 address as it is, else 32 bits of a hash of the name: an identifier must only be unique (RFC 6286 §2.1). */
const routerIdOf = ({ bgp, name }: ClusterNode, ipv4: string | undefined): string => {
	if (bgp.routerId !== undefined) return bgp.routerId;
	if (ipv4 !== undefined) return ipv4;
	let hash = 0x811c9dc5;
	for (const byte of new TextEncoder().encode(name)) hash = Math.imul(hash ^ byte, 0x01000193) >>> 0;
	return [(hash >>> 24) | 1, (hash >>> 16) & 255, (hash >>> 8) & 255, hash & 255].join('.');
};

/** Communities of what is ours, by every advertisement it lies in. */
const communitiesOf = (
	prefixes: readonly string[],
	advertisements: BGPConfiguration['spec']['prefixAdvertisements'],
): Pick<SpeakerConfig, 'communities'> => {
	const parsed = advertisements.map(({ cidr, communities }) => ({ cidr: parseCidr(cidr), communities }));
	const found: Record<string, readonly string[]> = {};
	for (const prefix of prefixes) {
		const inner = parseCidr(prefix);
		const all = parsed.flatMap(({ cidr, communities }) =>
			cidr !== undefined && inner !== undefined && contains(cidr, inner) ? communities : [],
		);
		if (all.length > 0) found[prefix] = [...new Set(all)];
	}
	return Object.keys(found).length === 0 ? {} : { communities: found };
};

export const speakerConfigOf = (input: SpeakerInput): SpeakerResult => {
	const { nodeName, cluster, addresses, services = [] } = input;
	const self = cluster.nodes.get(nodeName);
	const general = input.configuration?.spec ?? defaults;
	const routers = peersBySeniority(input.peers);
	const senseless = peerProblemsOf(cluster, general.nodeToNodeMeshEnabled, routers);
	const problems: Problem[] = [...senseless.problems];
	if (self === undefined || (addresses[4] === undefined && addresses[6] === undefined)) {
		const reason = self === undefined ? 'does not exist' : 'has no address of this node';
		return { config: undefined, problems: [{ object: `Node ${nodeName}`, field: '', reason }, ...problems] };
	}
	const { peers, ranges, reachable } = speakerPeersOf({
		cluster,
		self,
		general,
		routers,
		senseless,
		addresses,
		passwordOf: input.passwordOf ?? (() => ({ error: 'there is no folder of passwords' })),
		secretOf: input.secretOf ?? (({ name }) => ({ error: `Secret ${name} cannot be read here` })),
		filterSource: { filters: input.filters ?? new Map(), lost: input.lostFilters ?? new Map() },
		profiles: input.profiles ?? new Map(),
		find: (problem) => problems.push(problem),
		findHere: (object, field, code, reason) => problems.push({ object, field, code, reason, node: nodeName }),
	});
	const everywhere = { 4: '0.0.0.0', 6: '::' };
	const listenOn = (family: 4 | 6) => {
		// Link-local addresses come and go with their links.
		const unnumbered = family === 6 && peers.some(({ address }) => address === '' || isLinkLocal(address));
		const own = addresses[family];
		if (own === undefined && !unnumbered) return [];
		const bound = general.bindMode === 'NodeIP' && !unnumbered;
		return [{ address: bound && own !== undefined ? own : everywhere[family], port: general.listenPort }];
	};
	const clusterId = self.bgp.clusterId ?? (general.clusterID === '0.0.0.0' ? undefined : general.clusterID);
	return {
		problems,
		config: {
			asNumber: self.bgp.asNumber ?? general.asNumber,
			routerId: routerIdOf(self, addresses[4]),
			listen: [...listenOn(4), ...listenOn(6)],
			addresses: {
				...(addresses[4] !== undefined && { ipv4: addresses[4] }),
				...(addresses[6] !== undefined && { ipv6: addresses[6] }),
			},
			peers,
			originate: self.podCIDRs,
			...(services.length > 0 && { services }),
			...communitiesOf([...self.podCIDRs, ...services], general.prefixAdvertisements),
			...(reachable.length > 0 && { reachable }),
			...(general.ignoredInterfaces.length > 0 && { ignoredInterfaces: general.ignoredInterfaces }),
			maximumPaths: 16,
			...(ranges.length > 0 && { dynamicPeers: ranges }),
			...(clusterId !== undefined && { clusterId }),
			...(Object.keys(general.routePriorities).length > 0 && { kernelMetrics: general.routePriorities }),
			...(!general.programClusterRoutes && { leaveToFelix: true }),
			...(input.draining && { gracefulShutdown: true }),
		},
	};
};
