import type { Cluster, Problem } from '../src/api/cluster.ts';
import type { Pod } from '../src/api/objects.ts';
import { type Address, type Cidr, contains, parseAddress, parseCidr } from '../src/net/ip.ts';

/**
 * Pods whose addresses lie outside of their node's podCIDRs, since the Node object was made anew and got others: they keep
 * their addresses and are routed one by one. Where that network went to another node, it must not give them away again.
 * Nothing here does I/O, and all nodes find the same from the same objects. Of the many pods of a cluster only those are kept
 * that are strays or lie in this node's networks while they are elsewhere.
 *
 * What a Pod's status says is its kubelet's word. So a stray is routed only if it lies in the setting podNetworks, or, when
 * that is empty, in private address space (RFC 1918, RFC 6598, RFC 4193), and never if a pod on the node whose podCIDRs hold
 * the address has it too.
 */

export type Strays = {
	/** Undefined: it is gone. True: `judge` is due, or what it would say has changed. */
	readonly set: (key: string, pod: Pod | undefined) => boolean;
	/** Call it when nodes have changed, or `set` asked for it; works over all pods only when podCIDRs are others. */
	readonly judge: (cluster: Cluster) => void;
	/** Addresses to be routed to a node besides its podCIDRs, by name of the node. */
	readonly routed: () => ReadonlyMap<string, readonly string[]>;
	/** Of an address outside of the podCIDRs that a pod wired here has: whether others may be told so. */
	readonly mayAnnounce: (address: string) => boolean;
	/** Addresses in this node's podCIDRs that pods on other nodes have. */
	readonly taken: () => ReadonlySet<string>;
	readonly problems: () => readonly Problem[];
	/** What is worth knowing of this node, in sentences. */
	readonly warnings: () => readonly string[];
};

const privateSpace = ['10.0.0.0/8', '172.16.0.0/12', '192.168.0.0/16', '100.64.0.0/10', 'fc00::/7'];

type Known = { readonly node: string; readonly addresses: readonly string[] };

/** All pods known, those too that no longer live. */
export type AllPods = () => Iterable<{
	readonly key: string;
	readonly nodeName: string;
	readonly addresses: readonly string[];
	readonly eligible: boolean;
}>;

const some = (words: readonly string[]): string =>
	words.slice(0, 3).join(', ') + (words.length > 3 ? ` and ${words.length - 3} more` : '');

const parsed = (cidrs: readonly string[]): Cidr[] => cidrs.flatMap((text) => parseCidr(text) ?? []);
const within = (cidrs: readonly Cidr[], address: Address): boolean => cidrs.some((cidr) => contains(cidr, address));

export const createStrays = (nodeName: string, podNetworks: readonly string[], all: AllPods): Strays => {
	const pods = new Map<string, Known>();
	let judgedBy = '';
	const allowed = parsed(podNetworks.length > 0 ? podNetworks : privateSpace);
	let cidrsOf: ReadonlyMap<string, readonly Cidr[]> = new Map();
	let routed = new Map<string, string[]>();
	let taken: ReadonlySet<string> = new Set();
	let problems: readonly Problem[] = [];
	let warnings: readonly string[] = [];
	/** Of pods on this node: those that belong to a pod elsewhere. */
	let conflicting: ReadonlySet<string> = new Set();
	/** Addresses of strays, and of pods on other nodes in our podCIDRs: those whose coming or going changes anything. */
	let ofConcern = new Set<string>();

	const isOfConcern = ({ node, addresses }: Known): boolean =>
		addresses.some((text) => {
			if (ofConcern.has(text)) return true;
			const address = parseAddress(text);
			if (address === undefined) return false;
			const own = cidrsOf.get(node);
			if (own !== undefined && !within(own, address)) return true;
			return node !== nodeName && within(cidrsOf.get(nodeName) ?? [], address);
		});

	const judge = (cluster: Cluster): void => {
		const text = [...cluster.nodes.values()].map(({ name, podCIDRs }) => `${name} ${podCIDRs}`).join();
		ofConcern = new Set();
		if (text !== judgedBy) {
			judgedBy = text;
			cidrsOf = new Map([...cluster.nodes.values()].map(({ name, podCIDRs }) => [name, parsed(podCIDRs)]));
			pods.clear();
			for (const { key, nodeName: node, addresses, eligible } of all()) {
				if (eligible && node !== '' && isOfConcern({ node, addresses })) pods.set(key, { node, addresses });
			}
		}
		routed = new Map();
		const strays: { key: string; node: string; text: string; address: Address }[] = [];
		const foreign: { key: string; node: string; text: string }[] = [];
		/** Who has an address by the podCIDRs of its node. */
		const rightful = new Map<string, string>();
		const here = cidrsOf.get(nodeName) ?? [];
		for (const [key, { node, addresses }] of pods) {
			const own = cidrsOf.get(node);
			for (const text of addresses) {
				const address = parseAddress(text);
				if (address === undefined) continue;
				if (node !== nodeName && within(here, address)) foreign.push({ key, node, text });
				if (own !== undefined && !within(own, address)) strays.push({ key, node, text, address });
			}
		}
		if (strays.length > 0) {
			const wanted = new Set(strays.map(({ text }) => text));
			for (const { key, nodeName: node, addresses, eligible } of all()) {
				for (const text of eligible ? addresses : []) {
					if (!wanted.has(text)) continue;
					const address = parseAddress(text);
					if (address && within(cidrsOf.get(node) ?? [], address)) rightful.set(text, `${key} on ${node}`);
				}
			}
		}
		const found: Problem[] = [];
		const conflicts = new Set<string>();
		const told: string[] = [];
		const mine = strays.filter(({ node }) => node === nodeName);
		for (const { key, node, text, address } of strays) {
			ofConcern.add(text);
			const other = rightful.get(text);
			if (other === undefined && within(allowed, address)) {
				const list = routed.get(node);
				if (list === undefined) routed.set(node, [text]);
				else if (!list.includes(text)) list.push(text);
				continue;
			}
			if (node !== nodeName) continue;
			if (other !== undefined) conflicts.add(text);
			const reason =
				other !== undefined
					? `pod ${key} has the address ${text}, which ${other} has too, whose node it belongs to: other nodes reach that one only; delete pod ${key}`
					: `pod ${key} has the address ${text}, outside of the node's podCIDRs and of ${podNetworks.length > 0 ? 'podNetworks' : 'private address space'}: other nodes have no route to it; delete the pod, or add its network to the setting podNetworks`;
			found.push({ object: `Node ${nodeName}`, field: '', code: 'PodUnreachable', reason, node: nodeName });
		}
		if (mine.length > 0) {
			const names = some(mine.map(({ key, text }) => `${key} ${text}`));
			told.push(
				`PodsOutsidePodCIDR: ${mine.length} addresses of pods are outside of the node's podCIDRs (${names}) and routed one by one. They go with their pods: restart these when it suits.`,
			);
		}
		for (const { text } of foreign) ofConcern.add(text);
		taken = new Set(foreign.map(({ text }) => text));
		if (foreign.length > 0) {
			const names = some(foreign.map(({ key, node, text }) => `${key} on ${node}: ${text}`));
			const reason = `hold ${foreign.length} addresses of pods on other nodes (${names}): they are given to no pod here while those live; restart those pods`;
			found.push({ object: `Node ${nodeName}`, field: 'spec.podCIDRs', code: 'PodCIDRInUse', reason, node: nodeName });
		}
		problems = found;
		conflicting = conflicts;
		warnings = told;
	};

	return {
		set: (key, pod) => {
			const before = pods.get(key);
			const living =
				pod !== undefined &&
				!pod.spec.hostNetwork &&
				pod.spec.nodeName !== '' &&
				pod.status.podIPs.length > 0 &&
				!['Succeeded', 'Failed'].includes(pod.status.phase);
			pods.delete(key);
			const now = living ? { node: pod.spec.nodeName, addresses: pod.status.podIPs } : undefined;
			const matters = now !== undefined && isOfConcern(now);
			if (now !== undefined && matters) pods.set(key, now);
			const same =
				before !== undefined &&
				before.node === now?.node &&
				before.addresses.length === now.addresses.length &&
				before.addresses.every((address, i) => address === now.addresses[i]);
			return !same && (before !== undefined || matters);
		},
		judge,
		routed: () => routed,
		mayAnnounce: (text) => {
			const address = parseAddress(text);
			return address !== undefined && within(allowed, address) && !conflicting.has(text);
		},
		taken: () => taken,
		problems: () => problems,
		warnings: () => warnings,
	};
};
