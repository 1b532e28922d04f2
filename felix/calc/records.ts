/** The calculation's own records: what it knows of pods, namespaces and selections, linked both ways. */
import type { Labels, Namespace, Pod, Protocol } from '../../src/api/objects.ts';
import { type Family, familyOf } from '../../src/net/ip.ts';
import type { LabelIndex } from './label-index.ts';
import type { MemberSet } from './member-set.ts';
import type { Selector } from './selector.ts';
import type { LocalPod } from './types.ts';

/** One content in both families. */
export type FamilySets = { readonly [F in Family]: MemberSet };

/** Where a local pod is at home in a direction: a group, or the open set. */
export type Home = { readonly members: FamilySets };

/** One selection, kept current in the pods it takes (`podsOf`) while anyone needs it. */
export type Selection = {
	readonly key: string;
	readonly scope: Scope;
	readonly selector: Selector;
	readonly local: boolean;
	/** Keys of the policies whose podSelector this is. */
	readonly policies: Set<string>;
	addresses: FamilySets | undefined;
	/** By `PROTOCOL/name`. */
	readonly namedPorts: Map<string, FamilySets>;
	users: number;
};

/** A namespace, or all namespaces a selector takes; what pod selectors within it are indexed under. */
export type Scope = {
	readonly namespace: string | Selector;
	readonly namespaces: Set<NamespaceRecord>;
	readonly selections: Set<Selection>;
	readonly index: LabelIndex<Selection>;
	/** Of selections that take local pods only. */
	readonly localIndex: LabelIndex<Selection>;
};

export type NamespaceRecord = {
	readonly name: string;
	object: Namespace | undefined;
	/** Undefined: not known (yet). Outlives the object while pods are wired here. */
	labels: Labels | undefined;
	/** By name. */
	readonly pods: Map<string, PodRecord>;
	localPods: number;
	/** All scopes it lies in, its own included. */
	readonly scopes: Set<Scope>;
};

export type PodRecord = {
	readonly name: string;
	readonly namespace: NamespaceRecord;
	/**
	 * As last seen, without the object around it: a node knows all pods of the cluster. Kept without being in the API while
	 * the pod is wired; undefined: never seen.
	 */
	spec: Pod['spec'] | undefined;
	phase: Pod['status']['phase'];
	podIPs: readonly string[];
	uid: string;
	inAPI: boolean;
	local: LocalPod | undefined;
	/** Whether selectors may take it: not hostNetwork, not finished. */
	eligible: boolean;
	labels: Labels | undefined;
	/** Addresses it says are its own, and how good that word is. */
	claims: readonly string[];
	rank: number;
	/** The claims it prevailed with. */
	owned: readonly string[];
	/** In no order. Never changed in place: most pods share theirs (`withSelection`), where a Set each would be 20 MB. */
	selections: readonly Selection[];
	homes: { readonly ingress: Home; readonly egress: Home } | undefined;
};

/** `namespace/name` */
export const keyOfRecord = ({ name, namespace }: PodRecord): string => `${namespace.name}/${name}`;

/** Lists of selections by what they were made of. */
const longer = new WeakMap<readonly Selection[], WeakMap<Selection, readonly Selection[]>>();
/** Longer lists are few pods' and have many orders. */
export const mostShared = 4;

/** The same list for the same two: pods taken by the same selections share it. */
export const withSelection = (list: readonly Selection[], selection: Selection): readonly Selection[] => {
	if (list.length >= mostShared) return list.concat(selection);
	const known = longer.get(list)?.get(selection);
	if (known !== undefined) return known;
	const made = list.concat(selection);
	const from = longer.get(list) ?? new WeakMap<Selection, readonly Selection[]>();
	longer.set(list, from.set(selection, made));
	return made;
};

export const portKey = (protocol: Protocol, name: string): string => `${protocol}/${name}`;

/** The pods a selection takes. A Set for each selection would be 3 MB where one takes all pods of a large cluster. */
export const podsOf = function* (selection: Selection): Generator<PodRecord> {
	for (const namespace of selection.scope.namespaces) {
		for (const pod of namespace.pods.values()) if (pod.selections.includes(selection)) yield pod;
	}
};

/** Puts what `pod` is worth into the sets of one selection, or takes it out. */
export const contributeTo = (selection: Selection, pod: PodRecord, present: boolean): void => {
	const change = (set: MemberSet, member: string): void => (present ? set.add(member) : set.remove(member));
	for (const address of pod.owned) {
		const family = familyOf(address);
		if (selection.addresses) change(selection.addresses[family], address);
		if (selection.namedPorts.size === 0) continue;
		for (const { name, protocol, containerPort } of pod.spec?.ports ?? []) {
			const sets = selection.namedPorts.get(portKey(protocol, name));
			if (sets) change(sets[family], `${address},${protocol.toLowerCase()}:${containerPort}`);
		}
	}
};

/** The same for a home. */
export const contributeToHome = (home: Home, pod: PodRecord, present: boolean): void => {
	for (const address of pod.owned) {
		const set = home.members[familyOf(address)];
		if (present) set.add(address);
		else set.remove(address);
	}
};

/** The same for every set the pod is in. */
export const contribute = (pod: PodRecord, present: boolean): void => {
	for (const selection of pod.selections) contributeTo(selection, pod, present);
	if (pod.homes === undefined) return;
	contributeToHome(pod.homes.ingress, pod, present);
	contributeToHome(pod.homes.egress, pod, present);
};
