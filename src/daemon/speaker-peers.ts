import type { DynamicPeers, PeerBfd, PeerConfig } from '../../bird/config.ts';
import type { Bfd } from '../api/bfd.ts';
import type { SecretKeyRef } from '../api/bgp-fields.ts';
import type { Cluster, ClusterNode, Problem } from '../api/cluster.ts';
import type { BFDProfile, BGPConfiguration, BGPPeer } from '../api/objects.ts';
import { type Family, familyOf, hostCidr, isLinkLocal } from '../net/ip.ts';
import { nodesBy, type PeerProblems, peerSelector } from './peer-problems.ts';
import { createSessionFilters, type FilterSource } from './speaker-filters.ts';

/** The sessions of this node's speaker: with the other nodes by the mesh, with routers and reflectors by BGPPeers. Pure. */

export type Password = { readonly password: string } | { readonly error: string };
export type PasswordOf = (file: string) => Password;
export type SecretOf = (ref: SecretKeyRef) => Password;

export type PeersInput = {
	readonly cluster: Cluster;
	readonly self: ClusterNode;
	readonly general: BGPConfiguration['spec'];
	/** By seniority. */
	readonly routers: readonly BGPPeer[];
	readonly senseless: PeerProblems;
	/** This node's addresses, by family. */
	readonly addresses: { readonly 4?: string; readonly 6?: string };
	readonly passwordOf: PasswordOf;
	readonly secretOf: SecretOf;
	readonly filterSource: FilterSource;
	readonly profiles: ReadonlyMap<string, BFDProfile>;
	/** What only this node finds. */
	readonly findHere: (object: string, field: string, code: string, reason: string) => void;
	/** What every node finds. */
	readonly find: (problem: Problem) => void;
};

export type SpeakerPeers = {
	readonly peers: readonly PeerConfig[];
	readonly ranges: readonly DynamicPeers[];
	/** Routes to peers that are reached by a gateway. */
	readonly reachable: readonly { readonly prefix: string; readonly via: string }[];
};

/** Seconds: long enough for a restart, short enough that a dead node's pods are not believed alive for minutes. */
const defaultHoldTime = 90;
const defaultRestartTime = 120;
const bgpPort = 179;

const common = { passive: false, families: ['1/1', '2/1'] as const };
const bfdOf = ({ multihop, gracefulRestart, ...profile }: Bfd): PeerBfd => ({ multihop, gracefulRestart, profile });

export const speakerPeersOf = (input: PeersInput): SpeakerPeers => {
	const { cluster, self, general, routers, senseless, addresses, profiles, findHere, find } = input;
	const asOf = ({ bgp }: ClusterNode): number => bgp.asNumber ?? general.asNumber;
	const ownAS = asOf(self);
	const nodeAt = new Map<string, ClusterNode>();
	for (const node of cluster.nodes.values()) {
		for (const address of Object.values(node.addresses)) nodeAt.set(address, node);
	}
	const localAddress = (family: Family): { localAddress?: string } => {
		const local = addresses[family];
		return local === undefined ? {} : { localAddress: local };
	};
	/** Where both have an address; IPv4 carries both families, as IPv6 does. */
	const meetingPoint = (node: ClusterNode): string | undefined => {
		const family: Family = node.addresses[4] !== undefined && addresses[4] !== undefined ? 4 : 6;
		return addresses[family] === undefined ? undefined : node.addresses[family];
	};
	/** {}: without one; undefined: it should have one that cannot be had. */
	const password = (
		object: string,
		prefix: 'password' | 'nodeMeshPassword',
		file: string,
		secret: SecretKeyRef | undefined,
	): { password?: string } | undefined => {
		const field = secret === undefined ? (prefix === 'password' ? 'passwordFile' : 'meshPasswordFile') : prefix;
		const result = secret !== undefined ? input.secretOf(secret) : file === '' ? {} : input.passwordOf(file);
		if (!('error' in result)) return result;
		findHere(object, `spec.${field}`, 'NoPassword', `${result.error}: no session without its password`);
		return undefined;
	};

	const peers: PeerConfig[] = [];
	const ranges: DynamicPeers[] = [];
	const reachable: { prefix: string; via: string }[] = [];

	const mesh = (): void => {
		// Reflectors have no part in the mesh: their sessions are those of BGPPeers.
		if (!general.nodeToNodeMeshEnabled || self.bgp.clusterId !== undefined) return;
		const secret = password(
			'BGPConfiguration default',
			'nodeMeshPassword',
			general.meshPasswordFile,
			general.nodeMeshPassword,
		);
		if (secret === undefined) return;
		for (const node of cluster.nodes.values()) {
			const address = meetingPoint(node);
			if (node.name === self.name || address === undefined || node.bgp.clusterId !== undefined) continue;
			peers.push({
				...common,
				holdTime: defaultHoldTime,
				restartTime: general.nodeMeshMaxRestartTime,
				...secret,
				...localAddress(familyOf(address)),
				name: `mesh/${node.name}`,
				address,
				port: general.listenPort,
				asNumber: asOf(node),
				exportLearnt: false,
			});
		}
	};

	const filtersOf = createSessionFilters(input.filterSource);

	/** What every session of a BGPPeer has; undefined without its password. */
	const sessionOf = ({ metadata, spec }: BGPPeer) => {
		const object = `BGPPeer ${metadata.name}`;
		const { session } = spec;
		const secret = password(object, 'password', session.passwordFile ?? '', session.password);
		const { filters, missing } = filtersOf(session.filters ?? []);
		missing.forEach((name) => {
			const lost = input.filterSource.lost.has(name);
			find({
				object,
				field: `spec.filters[${session.filters?.indexOf(name) ?? 0}]`,
				code: 'NoFilter',
				reason: `there is no BGPFilter ${name}${lost ? ' any more: what it last said holds' : ': nothing is taken from the peer or told to it until there is'}`,
			});
		});
		const profile = session.bfdProfile === undefined ? undefined : profiles.get(session.bfdProfile)?.spec;
		if (session.bfdProfile !== undefined && profile === undefined) {
			const reason = `there is no BFDProfile ${session.bfdProfile}: the path is not watched until there is`;
			find({ object, field: 'spec.bfdProfile', code: 'NoBFDProfile', reason });
		}
		if (secret === undefined) return undefined;
		const { importPolicy, exportPolicy, nextHopMode, passwordFile: _f, password: _p, filters: _l, ...rest } = session;
		const { bfdProfile: _b, reachableBy: _r, sourceAddress: _s, ...plain } = rest;
		const bfd = spec.bfd ?? profile;
		return { plain, importPolicy, exportPolicy, nextHopMode, filters, secret, ...(bfd && { bfd: bfdOf(bfd) }) };
	};

	const peerOf = (
		router: BGPPeer,
		of: NonNullable<ReturnType<typeof sessionOf>>,
		asNumber: number,
		node?: ClusterNode,
	) => {
		const { spec } = router;
		const external = asNumber !== (spec.session.localAS?.asNumber ?? ownAS);
		// RFC 8212 §2: silence means no.
		const silence = external && general.ebgpRequiresPolicy ? 'Reject' : 'Accept';
		const reflector = self.bgp.clusterId !== undefined;
		const sameCluster = node?.bgp.clusterId !== undefined && node.bgp.clusterId === self.bgp.clusterId;
		const client = of.plain.routeReflectorClient ?? (reflector && !external && !sameCluster);
		// A reflector is on nobody's way (RFC 4456 §10): what it tells of other nodes leads to these, above all addresses of
		// Services that only some nodes have endpoints of.
		const auto = reflector && external ? ('keep' as const) : undefined;
		const nextHop = { Auto: auto, Self: 'self' as const, Keep: 'keep' as const }[of.nextHopMode ?? 'Auto'];
		return {
			...common,
			port: spec.peerPort || (node === undefined ? bgpPort : general.listenPort),
			asNumber,
			holdTime: spec.holdTime,
			restartTime: defaultRestartTime,
			exportLearnt: client || reflector,
			...of.plain,
			...(client && { routeReflectorClient: true }),
			...((of.importPolicy ?? silence) === 'Reject' && { rejectImport: true }),
			...((of.exportPolicy ?? silence) === 'Reject' && { rejectExport: true }),
			...(nextHop !== undefined && { nextHop }),
			...of.filters,
			...of.secret,
			...(of.bfd && { bfd: of.bfd }),
		};
	};

	/** Nodes that a BGPPeer with peerSelector makes peers of this one, from either end. */
	const selectedNodes = (router: BGPPeer): ClusterNode[] => {
		const { peerSelector: whom, reversePeering } = router.spec;
		if (whom === undefined) return [];
		const near = peerSelector(router);
		const far = nodesBy(whom);
		const back = reversePeering === 'Auto' && far(self);
		const forth = near(self);
		return [...cluster.nodes.values()].filter(
			(node) => node.name !== self.name && ((forth && far(node)) || (back && near(node))),
		);
	};

	const add = (router: BGPPeer): void => {
		const { metadata, spec } = router;
		const object = `BGPPeer ${metadata.name}`;
		const nodes = selectedNodes(router);
		const name = `peer/${metadata.name}`;
		if (spec.peerSelector === undefined ? !peerSelector(router)(self) : nodes.length === 0) return;
		const session = sessionOf(router);
		if (session === undefined) return;
		const source = (address: string): { localAddress?: string } =>
			address === '' || isLinkLocal(address) || spec.session.sourceAddress === 'None'
				? {}
				: localAddress(familyOf(address));
		if (spec.peerRange !== '') {
			const peer = { ...peerOf(router, session, spec.asNumber), ...source(spec.peerRange) };
			ranges.push({ name, prefix: spec.peerRange, limit: spec.peerLimit, peer });
			return;
		}
		if (spec.peerSelector !== undefined) {
			for (const node of nodes) {
				const address = meetingPoint(node);
				// Of the mesh, of an elder object, or of this one from its other end.
				if (address === undefined || peers.some((other) => other.address === address)) continue;
				const peer = peerOf(router, session, asOf(node), node);
				peers.push({ ...peer, ...source(address), name: `${name}/${node.name}`, address });
			}
			return;
		}
		if (Object.values(addresses).includes(spec.peerIP)) {
			const reason = `${spec.peerIP} is this node's own address (setting nodeAddress): a node is no peer of its own`;
			// The address in the Node object is among what every node finds.
			if (!Object.values(self.addresses).includes(spec.peerIP)) findHere(object, 'spec.peerIP', 'PeerIsSelf', reason);
			return;
		}
		const { interface: link = '' } = spec.session;
		// Who is known by the link alone may be whoever is known by an address there.
		const same = (other: PeerConfig): boolean =>
			(other.interface ?? '') === link &&
			(other.address === spec.peerIP || (link !== '' && [other.address, spec.peerIP].includes('')));
		if (peers.some(same)) {
			// Those of a link are not among what every node finds.
			const reason = `${spec.peerIP} is another BGPPeer on the same link already; one session an address`;
			if (isLinkLocal(spec.peerIP)) findHere(object, 'spec.peerIP', 'DuplicatePeer', reason);
			const crowd = `there is another BGPPeer on ${link} already; by interface alone there can be one`;
			if (spec.peerIP === '') findHere(object, 'spec.interface', 'DuplicatePeer', crowd);
			return;
		}
		const peer = peerOf(router, session, spec.asNumber, nodeAt.get(spec.peerIP));
		peers.push({ ...peer, ...source(spec.peerIP), name, address: spec.peerIP });
		const { reachableBy } = spec.session;
		if (reachableBy !== undefined) reachable.push({ prefix: hostCidr(spec.peerIP), via: reachableBy });
	};

	mesh();
	for (const router of routers) if (!senseless.refused.has(router.metadata.name)) add(router);
	const byName = (a: { readonly name: string }, b: { readonly name: string }): number => (a.name < b.name ? -1 : 1);
	return { peers: peers.sort(byName), ranges: ranges.sort(byName), reachable };
};
