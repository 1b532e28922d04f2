import type { PeerBfd, PeerConfig, SpeakerConfig } from '../../bird/config.ts';
import { compileSelector, matches } from '../../felix/calc/selector.ts';
import type { Bfd } from '../api/bfd.ts';
import type { Cluster, Problem } from '../api/cluster.ts';
import type { BGPConfiguration, BGPPeer } from '../api/objects.ts';
import { type Family, familyOf } from '../net/ip.ts';

/** What the objects of the cluster make of this node's speaker. Pure. */

const defaults = { asNumber: 64512, nodeToNodeMeshEnabled: true, listenPort: 179 };
/** Seconds: long enough for a restart, short enough that a dead node's pods are not believed alive for minutes. */
const meshTimers = { holdTime: 90, restartTime: 120 };

export type SpeakerInput = {
	readonly nodeName: string;
	readonly cluster: Cluster;
	readonly configuration: BGPConfiguration | undefined;
	readonly peers: Iterable<BGPPeer>;
	/** This node's addresses, by family. */
	readonly addresses: { readonly 4?: string; readonly 6?: string };
};

export type SpeakerResult = { readonly config: SpeakerConfig | undefined; readonly problems: readonly Problem[] };

/** IPv4 address as it is, else 32 bits of a hash of the name: an identifier must only be unique (RFC 6286 §2.1). */
const routerIdOf = (ipv4: string | undefined, name: string): string => {
	if (ipv4 !== undefined) return ipv4;
	let hash = 0x811c9dc5;
	for (const byte of new TextEncoder().encode(name)) hash = Math.imul(hash ^ byte, 0x01000193) >>> 0;
	return [(hash >>> 24) | 1, (hash >>> 16) & 255, (hash >>> 8) & 255, hash & 255].join('.');
};

const bfdOf = ({ multihop, gracefulRestart, ...profile }: Bfd): PeerBfd => ({ multihop, gracefulRestart, profile });

export const speakerConfigOf = (input: SpeakerInput): SpeakerResult => {
	const { nodeName, cluster, addresses } = input;
	const problems: Problem[] = [];
	const self = cluster.nodes.get(nodeName);
	const { asNumber, nodeToNodeMeshEnabled, listenPort } = input.configuration?.spec ?? defaults;
	if (self === undefined || (addresses[4] === undefined && addresses[6] === undefined)) {
		const reason = self === undefined ? 'does not exist' : 'has no address of this node';
		return { config: undefined, problems: [{ object: `Node ${nodeName}`, field: '', reason }] };
	}
	const localAddress = (family: Family): { localAddress?: string } => {
		const local = addresses[family];
		return local === undefined ? {} : { localAddress: local };
	};
	const common = { passive: false, families: ['1/1', '2/1'] as const };

	const peers: PeerConfig[] = [];
	if (nodeToNodeMeshEnabled) {
		for (const node of cluster.nodes.values()) {
			if (node.name === nodeName) continue;
			const family: Family = node.addresses[4] !== undefined && addresses[4] !== undefined ? 4 : 6;
			const address = node.addresses[family];
			if (address === undefined || addresses[family] === undefined) continue;
			peers.push({
				...common,
				...meshTimers,
				...localAddress(family),
				name: `mesh/${node.name}`,
				address,
				port: listenPort,
				asNumber,
				exportLearnt: false,
			});
		}
	}
	for (const { metadata, spec } of input.peers) {
		if (spec.node !== '' && spec.node !== nodeName) continue;
		if (spec.nodeSelector !== undefined && !matches(compileSelector(spec.nodeSelector), self.node.metadata.labels))
			continue;
		const family = familyOf(spec.peerIP);
		if (Object.values(addresses).includes(spec.peerIP)) continue;
		if (peers.some((peer) => peer.address === spec.peerIP)) {
			const reason = `${spec.peerIP} is a node of the mesh or another BGPPeer already; one session an address`;
			problems.push({ object: `BGPPeer ${metadata.name}`, field: 'spec.peerIP', reason });
			continue;
		}
		peers.push({
			...common,
			...localAddress(family),
			name: `peer/${metadata.name}`,
			address: spec.peerIP,
			port: spec.peerPort,
			asNumber: spec.asNumber,
			holdTime: spec.holdTime,
			restartTime: meshTimers.restartTime,
			exportLearnt: false,
			...(spec.bfd && { bfd: bfdOf(spec.bfd) }),
		});
	}
	return {
		problems,
		config: {
			asNumber,
			routerId: routerIdOf(addresses[4], nodeName),
			listen: [
				...(addresses[4] === undefined ? [] : [{ address: addresses[4], port: listenPort }]),
				...(addresses[6] === undefined ? [] : [{ address: addresses[6], port: listenPort }]),
			],
			addresses: {
				...(addresses[4] !== undefined && { ipv4: addresses[4] }),
				...(addresses[6] !== undefined && { ipv6: addresses[6] }),
			},
			peers: peers.sort((a, b) => (a.name < b.name ? -1 : 1)),
			originate: self.podCIDRs,
			maximumPaths: 16,
		},
	};
};
