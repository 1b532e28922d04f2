import { type Cidr, contains, type Family, familyOf, formatCidr, parseCidr } from '../net/ip.ts';
import { type NodeBgp, nodeBgpOf } from './node-bgp.ts';
import type { Node } from './objects.ts';

/**
 * The nodes of a cluster as both daemons see them: addresses by family and the pod networks that are theirs beyond
 * doubt. Pure; every node computes the same from the same Node objects.
 */

export type ClusterNode = {
	readonly name: string;
	readonly node: Node;
	/** The node's InternalIP, one a family, unless an annotation says another. */
	readonly addresses: { readonly 4?: string; readonly 6?: string };
	/** What its annotations say of its speaker. */
	readonly bgp: NodeBgp;
	/** Canonical, without those that another node holds. */
	readonly podCIDRs: readonly string[];
};

/** Something wrong with an object that is valid by itself. */
export type Problem = {
	/** `Kind namespace/name` or `Kind name`. */
	readonly object: string;
	readonly field: string;
	readonly reason: string;
	/** One word in camel case, for Events and conditions. */
	readonly code?: string;
	/** The only node that finds so; absent where every node finds the same. */
	readonly node?: string;
};

export type Cluster = {
	readonly nodes: ReadonlyMap<string, ClusterNode>;
	readonly problems: readonly Problem[];
};

const addressesOf = (node: Node): { 4?: string; 6?: string } => {
	const addresses: { 4?: string; 6?: string } = {};
	for (const wanted of ['InternalIP', 'ExternalIP']) {
		for (const { type, address } of node.status.addresses) {
			if (type === wanted) addresses[familyOf(address)] ??= address;
		}
	}
	return addresses;
};

/** Elder nodes first, so that a newcomer never takes a network away; the name decides between those of one second. */
const bySeniority = (a: Node, b: Node): number => {
	const left = `${a.metadata.creationTimestamp} ${a.metadata.name}`;
	const right = `${b.metadata.creationTimestamp} ${b.metadata.name}`;
	return left < right ? -1 : left > right ? 1 : 0;
};

/** Prefixes with their holder, found by overlap in one look-up a distinct prefix length. */
const createHolders = () => {
	const byPrefix = new Map<string, { cidr: Cidr; holder: string }>();
	const lengths: Record<Family, Set<number>> = { 4: new Set(), 6: new Set() };
	const ancestor = (cidr: Cidr, length: number): string | undefined => {
		const bits = cidr.family === 4 ? 32 : 128;
		const host = BigInt(bits - length);
		return formatCidr({ family: cidr.family, value: (cidr.value >> host) << host, length });
	};
	return {
		overlapping: (cidr: Cidr): { cidr: Cidr; holder: string } | undefined => {
			for (const length of lengths[cidr.family]) {
				if (length <= cidr.length) {
					const found = byPrefix.get(ancestor(cidr, length) ?? '');
					if (found !== undefined) return found;
				} else {
					for (const entry of byPrefix.values()) if (contains(cidr, entry.cidr)) return entry;
				}
			}
			return undefined;
		},
		add: (cidr: Cidr, holder: string): void => {
			byPrefix.set(formatCidr(cidr), { cidr, holder });
			lengths[cidr.family].add(cidr.length);
		},
	};
};

/** Works over all nodes; call it once a batch that changed a Node. */
export const clusterOf = (nodes: Iterable<Node>): Cluster => {
	const holders = createHolders();
	const result = new Map<string, ClusterNode>();
	const problems: Problem[] = [];
	for (const node of [...nodes].sort(bySeniority)) {
		const { name } = node.metadata;
		const object = `Node ${name}`;
		const bgp = nodeBgpOf(node);
		for (const { field, reason } of bgp.problems) problems.push({ object, field, code: 'BadAnnotation', reason });
		const addresses = { ...addressesOf(node), ...bgp.addresses };
		if (addresses[4] === undefined && addresses[6] === undefined) {
			problems.push({
				object,
				field: 'status.addresses',
				code: 'NoInternalIP',
				reason: 'has no InternalIP: no other node can route to its pods until it has one',
			});
		}
		const podCIDRs: string[] = [];
		node.spec.podCIDRs.forEach((text, i) => {
			const cidr = parseCidr(text);
			if (cidr === undefined) return;
			const other = holders.overlapping(cidr);
			if (other === undefined) {
				holders.add(cidr, name);
				podCIDRs.push(text);
				return;
			}
			problems.push({
				object,
				field: `spec.podCIDRs[${i}]`,
				code: 'OverlappingPodCIDR',
				reason: `${text} overlaps ${formatCidr(other.cidr)} of Node ${other.holder}, which is older and keeps it; give ${name} another`,
			});
		});
		result.set(name, { name, node, addresses, bgp, podCIDRs });
	}
	return { nodes: result, problems };
};
