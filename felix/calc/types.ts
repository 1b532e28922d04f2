import type { IpsetSpec } from 'iptables-wrapper';
import type { Family } from '../../src/net/ip.ts';

/** A pod wired on this node, as the policy calculation sees it. */
export type LocalPod = {
	/** `namespace/name` */
	readonly key: string;
	/** Canonical addresses, both families. */
	readonly addresses: readonly string[];
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

/** Local pods that share the same list of policies in one direction. */
export type PolicyGroup = {
	/** Stable hash of direction and policies. */
	readonly id: string;
	readonly direction: 'ingress' | 'egress';
	/** `namespace/name`, sorted. */
	readonly policies: readonly string[];
	/** Name of the hash:ip set of the pods in it. */
	readonly memberSet: string;
	readonly rules: readonly PolicyRule[];
};

/** All the policy state one family's rules are rendered from. */
export type PolicyState = {
	readonly family: Family;
	readonly groups: readonly PolicyGroup[];
	/** Names of the hash:ip sets of all isolated local pods, by direction. */
	readonly isolated: { readonly ingress: string; readonly egress: string };
	/** Every set named above; `members` is the same Set object from one state to the next when nothing changed in it. */
	readonly sets: ReadonlyMap<string, IpsetSpec>;
};

/*
 * felix/calc/index.ts:
 *   createPolicyCalc(): PolicyCalc       (pure: no I/O, no clock)
 *     set(object: Pod | Namespace | NetworkPolicy), delete(kind, key)
 *     setLocalPod(pod: LocalPod), deleteLocalPod(key)
 *     state(family): PolicyState          incremental; the same object when nothing changed
 *     explain(...)                        later: why a packet passes
 * felix/render/index.ts:
 *   renderPolicy(state: PolicyState): { chains, ... }
 *   renderRuleset({ family, policy: PolicyState, settings }): Ruleset  (raw anti-spoofing, filter, nat masquerade, hooks)
 *   staticSets({ family, attachments, podNetworks, localPodCIDRs, nonMasqueradeCIDRs }): Map<name, IpsetSpec>
 */
