import type { IpsetSpec } from 'iptables-wrapper';
import type { ContainerPort, Labels, Namespace, NetworkPolicy, Pod } from '../../src/api/objects.ts';
import type { Family } from '../../src/net/ip.ts';

/** A pod wired on this node, as the policy calculation sees it. */
export type LocalPod = {
	/** `namespace/name` */
	readonly key: string;
	/** Canonical addresses, both families. */
	readonly addresses: readonly string[];
	/** This node: a Pod object of the same name with another one is another pod. Absent: every object of the name is it. */
	readonly node?: string;
	/** What an earlier felix knew of it: counts until the API has the pod, and its namespace. */
	readonly lastKnown?: LastKnown;
};

/** All that policies look at in a pod, apart from its addresses. Kept in its record on disk. */
export type LastKnown = {
	readonly uid: string;
	readonly labels: Labels;
	readonly ports: readonly ContainerPort[];
	readonly phase: Pod['status']['phase'];
	/** Absent: its namespace was never seen. */
	readonly namespaceLabels?: Labels;
};

/** One thing that lets a packet pass within a direction: all conditions given must hold. */
export type PolicyRule = {
	/** Set the remote address must be in (selector or ipBlock set), or absent: anyone. */
	readonly peerSet?: string;
	/** Remote prefixes that never match this rule (ipBlock.except), by set. */
	readonly exceptSet?: string;
	/** hash:ip,port set the destination must be in (named ports). */
	readonly destinationPortSet?: string;
	readonly protocol?: 'TCP' | 'UDP' | 'SCTP';
	/** Inclusive ranges of destination ports; absent or empty: any. */
	readonly ports?: readonly (readonly [number, number])[];
	/** `namespace/policy` it came from, for people. */
	readonly policy: string;
};

/** Rules of a group that the kernel has as one rule over one set (merged-rules.ts). */
export type MergedRules = {
	readonly set: string;
	/** Of the remote's address and the destination's port, or of the remote's address. */
	readonly kind: 'pairs' | 'peers';
	/** How many rules it stands for. */
	readonly rules: number;
};

/** Local pods that share the same list of policies in one direction. */
export type PolicyGroup = {
	/** Stable hash of direction and policies. */
	readonly id: string;
	readonly direction: 'ingress' | 'egress';
	/** `namespace/name`, sorted. */
	readonly policies: readonly string[];
	/** Name of the hash:ip set of the pods in it. */
	readonly memberSet: string;
	/** In the order they are tried in. */
	readonly rules: readonly PolicyRule[];
	/** The first so many rules belong to the first of these, the next to the second; those that remain are rules of their own. */
	readonly merged: readonly MergedRules[];
};

/** All the policy state one family's rules are rendered from. */
export type PolicyState = {
	readonly family: Family;
	readonly groups: readonly PolicyGroup[];
	/**
	 * Names of the hash:ip sets of local pods that no policy isolates, by direction. Every address of a local pod is in
	 * exactly one of this set and the groups' member sets; one that is in none is dropped (docs/design/policy.md).
	 */
	readonly open: { readonly ingress: string; readonly egress: string };
	/**
	 * Every set that the kernel needs for the above; `members` is the same Set object from one state to the next when
	 * nothing changed in it.
	 */
	readonly sets: ReadonlyMap<string, IpsetSpec>;
	/** The other sets that rules name: merged sets stand for them in the kernel, the verdict asks for them. */
	readonly mergedSets: ReadonlyMap<string, IpsetSpec>;
};

/** What is known of a pod, for people. */
export type PodInfo = {
	/** `namespace/name` */
	readonly key: string;
	/** Of the wired interface here, else as the API reports them. */
	readonly addresses: readonly string[];
	/** Wired on this node. */
	readonly local: boolean;
	/** '' when the API does not say. */
	readonly nodeName: string;
	/** Whether selectors can take it: not hostNetwork, not finished. */
	readonly eligible: boolean;
};

export type PolicyObject = Pod | Namespace | NetworkPolicy;

/**
 * From API objects and wired pods to policy state. Pure: no I/O, no clock. The result depends on the current objects
 * only, never on how they came; the one exception is meant: a local pod that is missing from the API keeps what it had.
 */
export type PolicyCalc = {
	readonly set: (object: PolicyObject) => void;
	/** `key` as keyOf gives it: `namespace/name`, or a Namespace's name. */
	readonly delete: (kind: PolicyObject['kind'], key: string) => void;
	readonly setLocalPod: (pod: LocalPod) => void;
	readonly deleteLocalPod: (key: string) => void;
	/** Incremental: the same object as before when nothing changed, the same groups and members where they did not. */
	readonly state: (family: Family) => PolicyState;
	readonly pod: (key: string) => PodInfo | undefined;
	/** What a felix after this one has to know of a pod should the API miss it then; undefined: no pod was ever seen. */
	readonly lastKnown: (key: string) => LastKnown | undefined;
	/** The pod an address belongs to. */
	readonly podAt: (address: string) => PodInfo | undefined;
	/** Every pod known, one after the other. */
	readonly pods: () => Iterable<PodInfo>;
	/** Number of a pod's named port. */
	readonly port: (key: string, protocol: string, name: string) => number | undefined;
};
