import type { DynamicPeers, PeerBfd, PeerConfig, SpeakerConfig } from '../../bird/config.ts';
import type { Bfd } from '../api/bfd.ts';
import type { BgpSession } from '../api/bgp-session.ts';
import type { Cluster, Problem } from '../api/cluster.ts';
import type { BGPConfiguration, BGPPeer } from '../api/objects.ts';
import { type Family, familyOf, isLinkLocal } from '../net/ip.ts';
import { peerProblemsOf, peerSelector, peersBySeniority } from './peer-problems.ts';

/** What the objects of the cluster make of this node's speaker. Pure. */

const defaults: BGPConfiguration['spec'] = {
	asNumber: 64512,
	nodeToNodeMeshEnabled: true,
	listenPort: 179,
	meshPasswordFile: '',
	clusterID: '0.0.0.0',
	ebgpRequiresPolicy: false,
};
/** Seconds: long enough for a restart, short enough that a dead node's pods are not believed alive for minutes. */
const meshTimers = { holdTime: 90, restartTime: 120 };

export type SpeakerInput = {
	readonly nodeName: string;
	readonly cluster: Cluster;
	readonly configuration: BGPConfiguration | undefined;
	readonly peers: Iterable<BGPPeer>;
	/** This node's addresses, by family. */
	readonly addresses: { readonly 4?: string; readonly 6?: string };
	/** Content of a file of the setting passwordDir; an error in words when it cannot be read. */
	readonly passwordOf?: PasswordOf;
};

export type PasswordOf = (file: string) => { readonly password: string } | { readonly error: string };

export type SpeakerResult = { readonly config: SpeakerConfig | undefined; readonly problems: readonly Problem[] };

/** IPv4 address as it is, else 32 bits of a hash of the name: an identifier must only be unique (RFC 6286 §2.1). */
const routerIdOf = (ipv4: string | undefined, name: string): string => {
	if (ipv4 !== undefined) return ipv4;
	let hash = 0x811c9dc5;
	for (const byte of new TextEncoder().encode(name)) hash = Math.imul(hash ^ byte, 0x01000193) >>> 0;
	return [(hash >>> 24) | 1, (hash >>> 16) & 255, (hash >>> 8) & 255, hash & 255].join('.');
};

const bfdOf = ({ multihop, gracefulRestart, ...profile }: Bfd): PeerBfd => ({ multihop, gracefulRestart, profile });

/** RFC 8212 §2: with `requiresPolicy` silence means no. */
const sessionOf = (
	{ importPolicy, exportPolicy, passwordFile: _, ...session }: BgpSession,
	requiresPolicy: boolean,
): Omit<BgpSession, 'importPolicy' | 'exportPolicy' | 'passwordFile'> & Partial<PeerConfig> => {
	const rejects = (policy: 'Accept' | 'Reject' | undefined): boolean =>
		(policy ?? (requiresPolicy ? 'Reject' : 'Accept')) === 'Reject';
	return {
		...session,
		...(rejects(importPolicy) && { rejectImport: true }),
		...(rejects(exportPolicy) && { rejectExport: true }),
	};
};

export const speakerConfigOf = (input: SpeakerInput): SpeakerResult => {
	const { nodeName, cluster, addresses } = input;
	const self = cluster.nodes.get(nodeName);
	const general = input.configuration?.spec ?? defaults;
	const { asNumber, nodeToNodeMeshEnabled, listenPort } = general;
	const routers = peersBySeniority(input.peers);
	const senseless = peerProblemsOf(cluster, nodeToNodeMeshEnabled, routers);
	const problems: Problem[] = [...senseless.problems];
	/** What only this node finds. */
	const findHere = (object: string, field: string, code: string, reason: string): void => {
		problems.push({ object, field, code, reason, node: nodeName });
	};
	const passwordOf = input.passwordOf ?? (() => ({ error: 'there is no folder of passwords' }));
	const password = (object: string, field: string, file: string): { password?: string } | undefined => {
		const result = file === '' ? {} : passwordOf(file);
		if (!('error' in result)) return result;
		findHere(object, field, 'NoPassword', `${result.error}: no session without its password`);
		return undefined;
	};
	if (self === undefined || (addresses[4] === undefined && addresses[6] === undefined)) {
		const reason = self === undefined ? 'does not exist' : 'has no address of this node';
		return { config: undefined, problems: [{ object: `Node ${nodeName}`, field: '', reason }, ...problems] };
	}
	const localAddress = (family: Family): { localAddress?: string } => {
		const local = addresses[family];
		return local === undefined ? {} : { localAddress: local };
	};
	const common = { passive: false, families: ['1/1', '2/1'] as const };

	const peers: PeerConfig[] = [];
	const ranges: DynamicPeers[] = [];
	const meshPassword = password('BGPConfiguration default', 'spec.meshPasswordFile', general.meshPasswordFile);
	if (nodeToNodeMeshEnabled && meshPassword !== undefined) {
		for (const node of cluster.nodes.values()) {
			if (node.name === nodeName) continue;
			const family: Family = node.addresses[4] !== undefined && addresses[4] !== undefined ? 4 : 6;
			const address = node.addresses[family];
			if (address === undefined || addresses[family] === undefined) continue;
			peers.push({
				...common,
				...meshTimers,
				...meshPassword,
				...localAddress(family),
				name: `mesh/${node.name}`,
				address,
				port: listenPort,
				asNumber,
				exportLearnt: false,
			});
		}
	}
	for (const router of routers) {
		const { metadata, spec } = router;
		if (senseless.refused.has(metadata.name) || !peerSelector(router)(self)) continue;
		const object = `BGPPeer ${metadata.name}`;
		const secret = password(object, 'spec.passwordFile', spec.session.passwordFile ?? '');
		if (secret === undefined) continue;
		const family = familyOf(spec.peerIP || spec.peerRange);
		const external = spec.asNumber !== asNumber;
		const peer = {
			...common,
			...(isLinkLocal(spec.peerIP) ? {} : localAddress(family)),
			port: spec.peerPort,
			asNumber: spec.asNumber,
			holdTime: spec.holdTime,
			restartTime: meshTimers.restartTime,
			exportLearnt: spec.session.routeReflectorClient ?? false,
			...sessionOf(spec.session, external && general.ebgpRequiresPolicy),
			...secret,
			...(spec.bfd && { bfd: bfdOf(spec.bfd) }),
		};
		if (spec.peerRange !== '') {
			ranges.push({ name: `peer/${metadata.name}`, prefix: spec.peerRange, limit: spec.peerLimit, peer });
			continue;
		}
		if (Object.values(addresses).includes(spec.peerIP)) {
			const reason = `${spec.peerIP} is this node's own address (setting nodeAddress): a node is no peer of its own`;
			// The address in the Node object is among what every node finds.
			if (!Object.values(self.addresses).includes(spec.peerIP)) findHere(object, 'spec.peerIP', 'PeerIsSelf', reason);
			continue;
		}
		const same = (other: PeerConfig): boolean =>
			other.address === spec.peerIP && (other.interface ?? '') === (spec.session.interface ?? '');
		if (peers.some(same)) {
			// Those of a link are not among what every node finds.
			const reason = `${spec.peerIP} is another BGPPeer on the same link already; one session an address`;
			if (isLinkLocal(spec.peerIP)) findHere(object, 'spec.peerIP', 'DuplicatePeer', reason);
			continue;
		}
		peers.push({ ...peer, name: `peer/${metadata.name}`, address: spec.peerIP });
	}
	const listenOn = (address: string | undefined) => (address === undefined ? [] : [{ address, port: listenPort }]);
	return {
		problems,
		config: {
			asNumber,
			routerId: routerIdOf(addresses[4], nodeName),
			// Link-local addresses come and go with their links.
			listen: [
				...listenOn(addresses[4]),
				...listenOn(peers.some((peer) => isLinkLocal(peer.address)) ? '::' : addresses[6]),
			],
			addresses: {
				...(addresses[4] !== undefined && { ipv4: addresses[4] }),
				...(addresses[6] !== undefined && { ipv6: addresses[6] }),
			},
			peers: peers.sort((a, b) => (a.name < b.name ? -1 : 1)),
			originate: self.podCIDRs,
			maximumPaths: 16,
			...(ranges.length > 0 && { dynamicPeers: ranges.sort((a, b) => (a.name < b.name ? -1 : 1)) }),
			...(general.clusterID !== '0.0.0.0' && { clusterId: general.clusterID }),
		},
	};
};
