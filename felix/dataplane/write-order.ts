import { differenceOf, type IpsetSpec } from 'iptables-wrapper';
import type { Family } from '../../src/net/ip.ts';
import type { PolicyGroup, PolicyState } from '../calc/types.ts';

/**
 * In which order a change of policies is written so that at no instant the kernel allows what neither the state before
 * nor the one after does. Pure.
 *
 * A packet passes by a product: what judges its source, and its destination, and members of the sets that their rules name.
 * While one factor changes, members may come before others go. As soon as more than one does, sets that allow must hold no
 * more than both states do until the rest is done: first members go, then pods move and rules change, then members come.
 * The same holds for what judges pods: where some come to be judged more strictly and others less, all leave first.
 */

export type WriteOrder = {
	/** Sets that allow: members go before everything else, and come after. Empty: nothing else changes. */
	readonly peers: ReadonlySet<string>;
	/** Sets that say by whom a pod is judged. */
	readonly homes: ReadonlySet<string>;
	/** Pods leave where they are judged before rules change, and enter after: between, what is new is dropped. */
	readonly leaveFirst: boolean;
};

export type Policies = Readonly<Record<Family, PolicyState>>;

const none: ReadonlySet<string> = new Set();
const atOnce: WriteOrder = { peers: none, homes: none, leaveFirst: false };

const sameRules = (a: PolicyGroup, b: PolicyGroup): boolean =>
	a === b ||
	(a.rules === b.rules && a.merged === b.merged) ||
	JSON.stringify([a.rules, a.merged]) === JSON.stringify([b.rules, b.merged]);

/** Names of sets whose members differ, of those in both states. */
const changedSets = (before: PolicyState, after: PolicyState): string[] => {
	const names: string[] = [];
	if (before.sets === after.sets) return names;
	for (const [name, spec] of after.sets) {
		const old = before.sets.get(name);
		if (old !== undefined && old !== spec && old.members !== spec.members) names.push(name);
	}
	return names;
};

/** Of a factor. */
const directionOf = (factor: string): string => factor.split(' ')[0] as string;

/** Groups change seldom, members often. */
const factors = new WeakMap<readonly PolicyGroup[], ReadonlyMap<string, ReadonlySet<string>>>();

/** For which part of a packet's way each set allows: a packet between two pods of the node meets rules of both directions. */
const factorsOf = (groups: readonly PolicyGroup[]): ReadonlyMap<string, ReadonlySet<string>> => {
	const known = factors.get(groups);
	if (known !== undefined) return known;
	const found = new Map<string, Set<string>>();
	factors.set(groups, found);
	const note = (name: string | undefined, factor: string): void => {
		if (name !== undefined) found.set(name, (found.get(name) ?? new Set()).add(factor));
	};
	for (const { direction, rules, merged } of groups) {
		for (const { set } of merged) note(set, direction);
		for (const { peerSet, destinationPortSet } of rules) {
			note(peerSet, direction);
			note(destinationPortSet, `${direction} port`);
		}
	}
	return found;
};

const changeOf = (before: IpsetSpec | undefined, after: IpsetSpec | undefined): { came: string[]; went: string[] } => {
	const [old, now] = [before?.members ?? none, after?.members ?? none];
	if (old === now) return { came: [], went: [] };
	const difference = differenceOf(old, now);
	if (difference !== undefined) return { came: [...difference.added], went: [...difference.removed] };
	return {
		came: [...now].filter((member) => !old.has(member)),
		went: [...old].filter((member) => !now.has(member)),
	};
};

type Moves = {
	/** Some are judged more strictly than before, or may be; some less. */
	stricter: boolean;
	looser: boolean;
	/** That are judged in both states, by others. */
	readonly movers: Set<string>;
};

/** Adds the moves of one direction. */
const noteMoves = (
	before: PolicyState,
	after: PolicyState,
	direction: PolicyGroup['direction'],
	moves: Moves,
): void => {
	const open = after.open[direction];
	const groups = [...before.groups, ...after.groups].filter((group) => group.direction === direction);
	const left = new Map<string, string>();
	const entered = new Map<string, string>();
	for (const name of new Set([open, ...groups.map(({ memberSet }) => memberSet)])) {
		const { came, went } = changeOf(before.sets.get(name), after.sets.get(name));
		for (const address of came) entered.set(address, name);
		for (const address of went) left.set(address, name);
	}
	for (const [address, home] of entered) {
		const old = left.get(address);
		if (old !== open) moves.looser = true;
		if (old === undefined) continue;
		if (home !== open) moves.stricter = true;
		moves.movers.add(address);
	}
	for (const address of left.keys()) if (!entered.has(address)) moves.stricter = true;
};

/** `before`: what is in force; undefined after a start, when nobody knows. */
export const writeOrder = (before: Policies | undefined, after: Policies): WriteOrder => {
	if (before === undefined || (before[4] === after[4] && before[6] === after[6])) return atOnce;
	const peers = new Set<string>();
	const homes = new Set<string>();
	let [judgesChange, rulesChange, leaveFirst, several] = [false, false, false, false];
	for (const family of [4, 6] as const) {
		const [old, now] = [before[family], after[family]];
		if (old === now) continue;
		const known = new Map(old.groups.map((group) => [group.id, group]));
		for (const name of Object.values(now.open)) homes.add(name);
		for (const { memberSet } of [...old.groups, ...now.groups]) homes.add(memberSet);
		const editedGroups =
			old.groups === now.groups ? [] : now.groups.filter((group) => !sameRules(known.get(group.id) ?? group, group));
		const edited = editedGroups.length > 0;
		if (edited) rulesChange = true;
		const moves: Moves = { stricter: false, looser: false, movers: new Set() };
		for (const direction of ['ingress', 'egress'] as const) noteMoves(old, now, direction, moves);
		if (moves.stricter || moves.looser) judgesChange = true;
		const opposed = moves.stricter && moves.looser && moves.movers.size > 1;
		if (opposed || (edited && (moves.stricter || moves.looser))) leaveFirst = true;
		const allowing = factorsOf(now.groups);
		const touched = new Set<string>();
		for (const name of changedSets(old, now)) {
			if (homes.has(name)) continue;
			peers.add(name);
			for (const factor of allowing.get(name) ?? []) touched.add(factor);
		}
		if (touched.size > 1) several = true;
		const directions = new Set([...editedGroups.map(({ direction }) => direction), ...[...touched].map(directionOf)]);
		if (directions.size > 1 || moves.stricter || moves.looser) continue;
		// A rule on its way into a merged set, or out of it, is in force all the time: alone, that allows nothing new.
		for (const { merged } of now.groups) for (const { set } of merged) peers.delete(set);
	}
	// One factor changes: what comes may come before what goes.
	if (!judgesChange && !rulesChange && !several) return atOnce;
	return { peers, homes, leaveFirst };
};
