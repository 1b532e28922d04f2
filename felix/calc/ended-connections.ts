/**
 * Which established connections a change of policy ends: first which local pods have lost something (so that a change
 * that only opens costs nothing), then connection by connection what the new state says. Pure.
 */
import { differenceOf } from 'iptables-wrapper';
import type { Connection } from '../../src/kernel/kernel.ts';
import type { PolicyGroup, PolicyState } from './types.ts';
import { type Packet, setOf, verdict } from './verdict.ts';

const none: ReadonlySet<string> = new Set();
const protocols: Readonly<Record<number, Packet['protocol']>> = { 6: 'TCP', 17: 'UDP', 132: 'SCTP' };

const membersOf = (state: PolicyState | undefined, name: string): ReadonlySet<string> =>
	(state && setOf(state, name)?.members) ?? none;

const lostSome = (before: ReadonlySet<string>, after: ReadonlySet<string>): boolean => {
	const difference = differenceOf(before, after);
	if (difference !== undefined) return difference.removed.length > 0;
	if (before.size > after.size) return true;
	for (const member of before) if (!after.has(member)) return true;
	return false;
};

/**
 * Addresses of local pods for which something allowed in `before` may not be in `after`. No `before`: every pod that
 * any policy isolates. A pod that was not there before has lost nothing.
 */
export const tightenedPods = (before: PolicyState | undefined, after: PolicyState): ReadonlySet<string> => {
	const found = new Set<string>();
	if (before === after) return found;
	/** Names of sets that lost members, and of those that got some. */
	const less = new Set<string>();
	const more = new Set<string>();
	for (const sets of before === undefined ? [] : [before.sets, before.mergedSets]) {
		for (const [name, { members }] of sets) {
			const now = membersOf(after, name);
			if (now === members) continue;
			if (lostSome(members, now)) less.add(name);
			if (lostSome(now, members)) more.add(name);
		}
	}
	const givesLess = (old: PolicyGroup, group: PolicyGroup): boolean =>
		(old.rules !== group.rules && JSON.stringify(old.rules) !== JSON.stringify(group.rules)) ||
		(less.size + more.size > 0 &&
			group.rules.some(
				({ peerSet = '', destinationPortSet = '', exceptSet = '' }) =>
					less.has(peerSet) || less.has(destinationPortSet) || more.has(exceptSet),
			));
	const oldGroups = new Map(before?.groups.map((group) => [group.id, group]));
	const wasHere = (address: string): boolean =>
		before === undefined ||
		membersOf(before, before.open.ingress).has(address) ||
		before.groups.some(
			({ direction, memberSet }) => direction === 'ingress' && membersOf(before, memberSet).has(address),
		);
	for (const group of after.groups) {
		const old = oldGroups.get(group.id);
		const members = membersOf(after, group.memberSet);
		const oldMembers = old === undefined ? none : membersOf(before, old.memberSet);
		const all = old === undefined || givesLess(old, group);
		if (!all && oldMembers === members) continue;
		const came = all ? members : (differenceOf(oldMembers, members)?.added ?? members);
		for (const address of came) if ((all || !oldMembers.has(address)) && wasHere(address)) found.add(address);
	}
	return found;
};

/** The packet that opened a connection, as the rules met it. `isNode`: whether an address is this node's own. */
export const packetOf = (connection: Connection, isNode: (address: string) => boolean): Packet => {
	const { protocol, source, destination, destinationPort } = connection;
	return {
		source,
		destination,
		// What policies have no word for is judged as ICMP is: by rules without protocol and port.
		protocol: protocols[protocol] ?? 'ICMP',
		...(destinationPort !== undefined && { destinationPort }),
		...(isNode(source) && { fromNode: true }),
	};
};

/** Whether `state`, of the connection's family, lets nobody open this connection any more. */
export const isEnded = (state: PolicyState, connection: Connection, isNode: (address: string) => boolean): boolean =>
	!verdict(packetOf(connection, isNode), state).allowed;
