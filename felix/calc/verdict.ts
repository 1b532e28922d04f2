/**
 * The one evaluator: what the rendered rules do with the first packet of a connection, told from the same PolicyState,
 * with the reasons. Addresses and ports are those after Service DNAT, as FORWARD sees them. Pure.
 *
 * It answers for the ends that are pods of this node; the far node answers for its own.
 */
import type { IpsetSpec } from 'iptables-wrapper';
import { type Family, parseAddress, parseCidr } from '../../src/net/ip.ts';
import type { Direction } from './compile-policy.ts';
import type { PolicyGroup, PolicyRule, PolicyState } from './types.ts';

export type Packet = {
	/** Canonical addresses of one family. */
	readonly source: string;
	readonly destination: string;
	readonly protocol: 'TCP' | 'UDP' | 'SCTP' | 'ICMP';
	/** Absent for ICMP. */
	readonly destinationPort?: number;
	/** Sent by this node itself: its own pods take everything from it. */
	readonly fromNode?: boolean;
};

/** Why one direction's policies let the packet pass or not. */
export type Reason = {
	readonly direction: Direction;
	/** The local pod's address this direction was judged for. */
	readonly pod: string;
	readonly outcome: 'open' | 'allowed' | 'denied';
	/** The group that judged; absent when open. */
	readonly group?: PolicyGroup;
	/** Index of the deciding rule in the group's rules, when one allowed. */
	readonly rule?: number;
};

export type Verdict = {
	readonly allowed: boolean;
	/** Egress before ingress; empty when no end is subject to policy here (not local, node to pod, pod to itself). */
	readonly reasons: readonly Reason[];
};

/** hash:net members by prefix length, kept with the immutable Set they were read from. */
const netTables = new WeakMap<ReadonlySet<string>, Map<number, Set<bigint>>>();

const netTable = (members: ReadonlySet<string>, family: Family): Map<number, Set<bigint>> => {
	const known = netTables.get(members);
	if (known) return known;
	const table = new Map<number, Set<bigint>>();
	for (const member of members) {
		const cidr = parseCidr(member.includes('/') ? member : `${member}/${family === 4 ? 32 : 128}`);
		if (!cidr) continue;
		const values = table.get(cidr.length) ?? new Set<bigint>();
		table.set(cidr.length, values.add(cidr.value));
	}
	netTables.set(members, table);
	return table;
};

/** A set that rules name, whether the kernel has it or a merged one in its place. */
export const setOf = (state: PolicyState, name: string): IpsetSpec | undefined =>
	state.sets.get(name) ?? state.mergedSets.get(name);

/** Whether the set of that name holds `member`, an address or `address,protocol:port`. A set not there holds nothing. */
const inSet = (state: PolicyState, name: string, member: string): boolean => {
	const spec = setOf(state, name);
	if (!spec) return false;
	if (spec.type !== 'hash:net') return spec.members.has(member);
	const address = parseAddress(member);
	if (!address) return false;
	const bits = state.family === 4 ? 32 : 128;
	for (const [length, values] of netTable(spec.members, state.family)) {
		const host = BigInt(bits - length);
		if (values.has((address.value >> host) << host)) return true;
	}
	return false;
};

const ruleAllows = (state: PolicyState, rule: PolicyRule, packet: Packet, remote: string): boolean => {
	const { destination, protocol, destinationPort: port } = packet;
	if (rule.protocol !== undefined && rule.protocol !== protocol) return false;
	if (rule.ports !== undefined && rule.ports.length > 0) {
		if (port === undefined || !rule.ports.some(([from, to]) => from <= port && port <= to)) return false;
	}
	if (rule.destinationPortSet !== undefined) {
		const member = `${destination},${protocol.toLowerCase()}:${port}`;
		if (!inSet(state, rule.destinationPortSet, member)) return false;
	}
	if (rule.peerSet !== undefined && !inSet(state, rule.peerSet, remote)) return false;
	return rule.exceptSet === undefined || !inSet(state, rule.exceptSet, remote);
};

const judge = (state: PolicyState, direction: Direction, packet: Packet): Reason | undefined => {
	const [pod, remote] =
		direction === 'egress' ? [packet.source, packet.destination] : [packet.destination, packet.source];
	if (inSet(state, state.open[direction], pod)) return { direction, pod, outcome: 'open' };
	const group = state.groups.find((one) => one.direction === direction && inSet(state, one.memberSet, pod));
	if (!group) return undefined;
	const rule = group.rules.findIndex((one) => ruleAllows(state, one, packet, remote));
	return rule < 0 ? { direction, pod, outcome: 'denied', group } : { direction, pod, outcome: 'allowed', group, rule };
};

/** `state` is that of the packet's family. A packet between ends that are no pods of this node is allowed. */
export const verdict = (packet: Packet, state: PolicyState): Verdict => {
	if (packet.fromNode || packet.source === packet.destination) return { allowed: true, reasons: [] };
	const reasons = (['egress', 'ingress'] as const)
		.map((direction) => judge(state, direction, packet))
		.filter((reason) => reason !== undefined);
	return { allowed: reasons.every(({ outcome }) => outcome !== 'denied'), reasons };
};
