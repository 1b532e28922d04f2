/**
 * One NetworkPolicy as rules over named sets, for both families and directions. Pure and without any cluster state: a
 * set is named after what defines its content, so the rules do not change when the content does.
 */
import type { NetworkPolicy, NetworkPolicyPeer, NetworkPolicyPort, Protocol } from '../../src/api/objects.ts';
import { keyOf } from '../../src/api/objects.ts';
import { type Family, familyOf } from '../../src/net/ip.ts';
import { netMembers } from './cidr-members.ts';
import { type SetID, setID, setLetter, setName } from './names.ts';
import { compileSelector, everything, type Selector } from './selector.ts';
import type { PolicyRule } from './types.ts';

export type Direction = 'ingress' | 'egress';

/** Which pods are meant: those of one namespace, or of the namespaces a selector takes. */
export type PodSelection = {
	readonly namespace: string | Selector;
	readonly pods: Selector;
	/** Only pods wired on this node. */
	readonly local: boolean;
};

/** A set the rules name, and where its content comes from. */
export type SetUse =
	| { readonly kind: 'addresses'; readonly id: SetID; readonly selection: PodSelection }
	| {
			readonly kind: 'namedPort';
			readonly id: SetID;
			readonly selection: PodSelection;
			readonly protocol: Protocol;
			readonly port: string;
	  }
	| { readonly kind: 'net'; readonly id: SetID; readonly family: Family; readonly members: readonly string[] };

export type CompiledPolicy = {
	readonly rules: { readonly [D in Direction]: { readonly [F in Family]: readonly PolicyRule[] } };
	/** Each set once. */
	readonly uses: readonly SetUse[];
};

/** Identity of a selection: a namespace and a selector can never be confused, nor can where one ends. */
export const selectionKey = ({ namespace, pods, local }: PodSelection): string =>
	JSON.stringify([
		local,
		typeof namespace === 'string' ? 'namespace' : 'selector',
		typeof namespace === 'string' ? namespace : namespace.canonical,
		pods.canonical,
	]);

type PortMatch = {
	readonly protocol?: Protocol;
	readonly ports?: NonNullable<PolicyRule['ports']>;
	readonly name?: string;
};

/** Sorted ranges that neither overlap nor touch. */
export const mergeRanges = (ranges: readonly (readonly [number, number])[]): [number, number][] => {
	const merged: [number, number][] = [];
	for (const [from, to] of [...ranges].sort((a, b) => a[0] - b[0])) {
		const last = merged.at(-1);
		if (last && from <= last[1] + 1) last[1] = Math.max(last[1], to);
		else merged.push([from, to]);
	}
	return merged;
};

/** The ports of one rule, a protocol at a time: numbers together, each name by itself. No ports: one match of all. */
const portMatches = (ports: readonly NetworkPolicyPort[]): PortMatch[] => {
	if (ports.length === 0) return [{}];
	const found: PortMatch[] = [];
	for (const protocol of ['TCP', 'UDP', 'SCTP'] as const) {
		const own = ports.filter((port) => port.protocol === protocol);
		if (own.some((port) => port.port === undefined)) {
			found.push({ protocol });
			continue;
		}
		const ranges: [number, number][] = [];
		const names = new Set<string>();
		for (const { port, endPort } of own) {
			if (typeof port === 'number') ranges.push([port, endPort ?? port]);
			else if (port !== undefined) names.add(port);
		}
		if (ranges.length > 0) found.push({ protocol, ports: mergeRanges(ranges) });
		for (const name of names) found.push({ protocol, name });
	}
	return found;
};

type PeerMatch = Pick<PolicyRule, 'peerSet' | 'exceptSet'> & { readonly selection?: PodSelection };

export const compilePolicy = (policy: NetworkPolicy): CompiledPolicy => {
	const { namespace } = policy.metadata;
	const uses = new Map<string, SetUse>();
	const use = (found: SetUse, family: Family): string => {
		const name = setName(family, found.id);
		uses.set(found.kind === 'net' ? name : found.id.letter + found.id.hash, found);
		return name;
	};
	const netSet = (family: Family, cidrs: readonly string[], letter: 'n' | 'x'): string => {
		const members = [...new Set(cidrs.flatMap((cidr) => netMembers(family, cidr)))].sort();
		return use({ kind: 'net', id: setID(letter, ...members), family, members }, family);
	};

	const selectionOf = (peer: NetworkPolicyPeer): PodSelection => ({
		namespace: peer.namespaceSelector ? compileSelector(peer.namespaceSelector) : namespace,
		pods: peer.podSelector ? compileSelector(peer.podSelector) : everything,
		local: false,
	});

	/**
	 * Blocks without except share one set; each block with except keeps both of its own, since an except holds for its
	 * element only. A whole family needs no set.
	 */
	const blockMatches = (blocks: readonly NonNullable<NetworkPolicyPeer['ipBlock']>[], family: Family): PeerMatch[] => {
		const own = blocks.filter(({ cidr }) => familyOf(cidr) === family);
		const whole = (cidr: string): boolean => cidr.endsWith('/0');
		const excepts = (block: (typeof own)[number]): readonly string[] =>
			block.except.filter((cidr) => familyOf(cidr) === family);
		const plain = own.filter((block) => excepts(block).length === 0).map(({ cidr }) => cidr);
		if (plain.some(whole)) return [{}];
		const found: PeerMatch[] = plain.length > 0 ? [{ peerSet: netSet(family, plain, setLetter.net) }] : [];
		for (const block of own) {
			const except = excepts(block);
			if (except.length === 0) continue;
			const exceptSet = netSet(family, except, setLetter.except);
			found.push(
				whole(block.cidr) ? { exceptSet } : { peerSet: netSet(family, [block.cidr], setLetter.net), exceptSet },
			);
		}
		return found;
	};

	const peerMatches = (peers: readonly NetworkPolicyPeer[], family: Family): PeerMatch[] => {
		if (peers.length === 0) return [{}];
		const found: PeerMatch[] = [];
		const blocks: NonNullable<NetworkPolicyPeer['ipBlock']>[] = [];
		const seen = new Set<string>();
		for (const peer of peers) {
			if (peer.ipBlock) {
				blocks.push(peer.ipBlock);
				continue;
			}
			const selection = selectionOf(peer);
			const key = selectionKey(selection);
			if (!seen.has(key)) found.push({ selection });
			seen.add(key);
		}
		return [...found, ...blockMatches(blocks, family)];
	};

	const subject: PodSelection = { namespace, pods: compileSelector(policy.spec.podSelector), local: true };
	const anyPod: PodSelection = { namespace: everything, pods: everything, local: false };
	const name = keyOf(policy.metadata);

	const addressSet = (selection: PodSelection, family: Family): string =>
		use({ kind: 'addresses', id: setID(setLetter.selector, selectionKey(selection)), selection }, family);

	const rule = (direction: Direction, family: Family, peer: PeerMatch, match: PortMatch): PolicyRule => {
		const { selection, ...sets } = peer;
		const { name: port, ...rest } = match;
		if (port === undefined || match.protocol === undefined) {
			return { ...sets, ...(selection && { peerSet: addressSet(selection, family) }), ...rest, policy: name };
		}
		// The set of a name holds the destination's address as well: towards selected peers no second set is needed.
		const destinations = direction === 'ingress' ? subject : (selection ?? anyPod);
		const { protocol } = match;
		const id = setID(setLetter.namedPort, selectionKey(destinations), protocol, port);
		const destinationPortSet = use({ kind: 'namedPort', id, selection: destinations, protocol, port }, family);
		const peerSet = selection && direction === 'ingress' ? { peerSet: addressSet(selection, family) } : {};
		return { ...sets, ...peerSet, destinationPortSet, protocol, policy: name };
	};

	const rules = (direction: Direction, family: Family): PolicyRule[] =>
		policy.spec[direction].flatMap(({ peers, ports }) =>
			peerMatches(peers, family).flatMap((peer) =>
				portMatches(ports).map((match) => rule(direction, family, peer, match)),
			),
		);

	return {
		rules: {
			ingress: { 4: rules('ingress', 4), 6: rules('ingress', 6) },
			egress: { 4: rules('egress', 4), 6: rules('egress', 6) },
		},
		uses: [...uses.values()],
	};
};
