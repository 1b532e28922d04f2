import { compileSelector, matches } from '../../felix/calc/selector.ts';
import type { Cluster, ClusterNode, Problem } from '../api/cluster.ts';
import { parseLabelExpression } from '../api/label-expression.ts';
import type { BGPPeer, NodeSelector } from '../api/objects.ts';
import { isLinkLocal } from '../net/ip.ts';

/**
 * BGPPeers that are valid each by itself and make no sense in this cluster. Pure, and the same on every node, so that all
 * of them say the same of an object.
 */

export const nodesBy = (selector: NodeSelector): ((node: ClusterNode) => boolean) => {
	if (typeof selector === 'string') {
		const parsed = parseLabelExpression(selector);
		return ({ node }) => parsed.ok && parsed.matches(node.metadata.labels);
	}
	const compiled = compileSelector(selector);
	return ({ node }) => matches(compiled, node.metadata.labels);
};

/** Which nodes a peer is for. */
export const peerSelector = ({ spec }: BGPPeer): ((node: ClusterNode) => boolean) => {
	if (spec.node !== '') return ({ name }) => name === spec.node;
	return spec.nodeSelector === undefined ? () => true : nodesBy(spec.nodeSelector);
};

/** The elder first: a newcomer never takes a session away. The name decides between those of one second. */
export const peersBySeniority = (peers: Iterable<BGPPeer>): BGPPeer[] => {
	const age = ({ metadata }: BGPPeer): string => `${metadata.creationTimestamp} ${metadata.name}`;
	return [...peers].sort((a, b) => (age(a) < age(b) ? -1 : 1));
};

export type PeerProblems = {
	readonly problems: readonly Problem[];
	/** Names of BGPPeers no node has a session with. */
	readonly refused: ReadonlySet<string>;
};

/** `peers` by seniority. Those that share an address with an elder one have it only where that one is not. */
export const peerProblemsOf = (cluster: Cluster, mesh: boolean, peers: readonly BGPPeer[]): PeerProblems => {
	const nodes = [...cluster.nodes.values()].sort((a, b) => (a.name < b.name ? -1 : 1));
	const nodeAt = new Map<string, ClusterNode>();
	for (const node of nodes) for (const address of Object.values(node.addresses)) nodeAt.set(address, node);
	const problems: Problem[] = [];
	const refused = new Set<string>();
	const elders = new Map<string, BGPPeer[]>();
	for (const peer of peers) {
		const { name } = peer.metadata;
		const { peerIP } = peer.spec;
		// A range of addresses; one that may be another on each link.
		if (peerIP === '' || isLinkLocal(peerIP)) continue;
		const found = (code: string, reason: string): void => {
			problems.push({ object: `BGPPeer ${name}`, field: 'spec.peerIP', code, reason });
		};
		const selects = peerSelector(peer);
		const node = nodeAt.get(peerIP);
		if (node !== undefined && mesh) {
			const why = `${peerIP} is the address of Node ${node.name}: nodes have sessions with each other by the mesh`;
			found('PeerIsNode', `${why}, and a BGPPeer is a router outside of it; give the router's address`);
			refused.add(name);
			continue;
		}
		if (node !== undefined && selects(node)) {
			const why = `${peerIP} is the address of Node ${node.name}, one of the nodes this peer is for`;
			found('PeerIsSelf', `${why}: a node is no peer of its own; leave it out by nodeSelector`);
		}
		const before = elders.get(peerIP) ?? [];
		elders.set(peerIP, [...before, peer]);
		for (const elder of before) {
			const elderSelects = peerSelector(elder);
			if (!nodes.some((one) => selects(one) && elderSelects(one))) continue;
			// No node's name here: each that comes or goes would make it another Event.
			const why = `${peerIP} is that of BGPPeer ${elder.metadata.name} too, which is older and keeps it on nodes of both`;
			found('DuplicatePeer', `${why}; delete one, or give each nodes of its own`);
			break;
		}
	}
	return { problems, refused };
};
