/**
 * A group with many rules is judged by few: a rule that means "these peers on these ports" is worth members of a set of
 * pairs (hash:net,port), one that means "these peers" members of a set of peers (hash:net), and one rule over such a set
 * stands for all of them, so that a packet's cost does not grow with the number of policies. Rules of another kind, and
 * those worth too many members, stay rules of their own. What is merged depends on the rules and on how many members
 * their sets have now, never on how it came to be so.
 */
import type { Family } from '../../src/net/ip.ts';
import { netMembers } from './cidr-members.ts';
import type { Direction } from './compile-policy.ts';
import { createMemberSet, type MemberSet } from './member-set.ts';
import { setID, setLetter, setName } from './names.ts';
import type { MergedRules, PolicyRule } from './types.ts';

export type MergeLimits = {
	/** Rules that can be merged, in one group, from which on they are. */
	readonly rules: number;
	/** Members that one rule may be worth: all sets together hold no more than this for each rule they save. */
	readonly members: number;
};

export const usualLimits: MergeLimits = { rules: 16, members: 64 };

const kinds = { pairs: 'hash:net,port', peers: 'hash:net' } as const;
type Kind = keyof typeof kinds;

/** What a rule is worth: each member of its source with each of the endings. */
type Worth = {
	readonly kind: Kind;
	readonly source: string | undefined;
	readonly endings: readonly string[];
	/** The same for rules that are worth the same. */
	readonly key: string;
};

const weigh = (rule: PolicyRule, direction: Direction, most: number): Omit<Worth, 'key'> | undefined => {
	const { peerSet: source, exceptSet, destinationPortSet, protocol, ports = [] } = rule;
	if (exceptSet !== undefined) return undefined;
	if (destinationPortSet !== undefined) {
		// Such a set holds destinations with their ports, and only egress knows its peers by them.
		if (direction === 'ingress' || source !== undefined) return undefined;
		return { kind: 'pairs', source: destinationPortSet, endings: [''] };
	}
	if (protocol === undefined) return source === undefined ? undefined : { kind: 'peers', source, endings: [''] };
	const count = ports.reduce((sum, [from, to]) => sum + to - from + 1, 0);
	if (count === 0 || count > most) return undefined;
	const endings = ports.flatMap(([from, to]) =>
		Array.from({ length: to - from + 1 }, (_, i) => `,${protocol.toLowerCase()}:${from + i}`),
	);
	return { kind: 'pairs', source, endings };
};

/** A rule stays the same object while its policy does: of a thousand, an edit has one to look at anew. */
const weighed = new WeakMap<PolicyRule, { readonly worth: Worth | undefined; readonly most: number }>();

const worthOf = (rule: PolicyRule, direction: Direction, most: number): Worth | undefined => {
	const known = weighed.get(rule);
	if (known?.most === most) return known.worth;
	const found = weigh(rule, direction, most);
	const worth = found && { ...found, key: `${found.kind} ${found.source} ${found.endings.join(' ')}` };
	weighed.set(rule, { worth, most });
	return worth;
};

/** A set of what several sources give it: a member stays as long as any of them does. */
type SharedSet = {
	readonly name: string;
	readonly set: MemberSet;
	readonly change: (member: string, present: boolean) => void;
};

const createSharedSet = (name: string, set: MemberSet): SharedSet => {
	/** How often a member is given beyond the first time. */
	const more = new Map<string, number>();
	return {
		name,
		set,
		change: (member, present) => {
			const others = more.get(member) ?? 0;
			if (present && set.has(member)) more.set(member, others + 1);
			else if (present) set.add(member);
			else if (others > 1) more.set(member, others - 1);
			else if (!more.delete(member)) set.remove(member);
		},
	};
};

/** One worth while rules of the group have it; `shared` when it is small enough to be merged. */
type Part = {
	readonly worth: Worth;
	readonly source: MemberSet;
	readonly shared: SharedSet | undefined;
	readonly stop: () => void;
	/** The arrangement that last had it. */
	round: number;
};

export type Merging = {
	/** Brings the sets in line with these rules; the rules in the order of the chain, merged ones first. */
	readonly arrange: (rules: readonly PolicyRule[]) => {
		readonly rules: readonly PolicyRule[];
		readonly merged: readonly MergedRules[];
	};
	/** The sets of `merged`. */
	readonly byName: (name: string) => MemberSet | undefined;
	readonly close: () => void;
};

export type MergingNeeds = {
	readonly family: Family;
	readonly direction: Direction;
	/** The group's id. */
	readonly id: string;
	readonly limits: MergeLimits;
	/** Members of a set that rules name. */
	readonly sourceOf: (name: string) => MemberSet | undefined;
	/** Members of a merged set changed. */
	readonly onChange: (name: string) => void;
	/** A source grew or shrank past the limit: arrange again. */
	readonly outdated: () => void;
};

export const createMerging = (needs: MergingNeeds): Merging => {
	const { family, direction, id, limits, sourceOf, onChange, outdated } = needs;
	const parts = new Map<string, Part>();
	let round = 0;
	const sets = new Map<Kind, SharedSet>();
	let everyone: MemberSet | undefined;

	const anyone = (): MemberSet => {
		if (everyone) return everyone;
		everyone = createMemberSet({ name: '', type: 'hash:net', family });
		for (const member of netMembers(family, family === 4 ? '0.0.0.0/0' : '::/0')) everyone.add(member);
		return everyone;
	};
	const sharedOf = (kind: Kind): SharedSet => {
		const known = sets.get(kind);
		if (known) return known;
		const name = setName(family, setID(setLetter.merged, kind, id));
		const made = createSharedSet(
			name,
			createMemberSet({ name, type: kinds[kind], family }, () => onChange(name)),
		);
		sets.set(kind, made);
		return made;
	};
	const fits = (source: MemberSet, { endings }: Worth): boolean => source.size() * endings.length <= limits.members;

	const give = ({ shared, source, worth }: Part, present: boolean): void => {
		if (shared === undefined) return;
		for (const member of source.current()) for (const ending of worth.endings) shared.change(member + ending, present);
	};
	const begin = (worth: Worth, source: MemberSet): Part => {
		const shared = fits(source, worth) ? sharedOf(worth.kind) : undefined;
		const stop = source.watch((member, present) => {
			if (shared) for (const ending of worth.endings) shared.change(member + ending, present);
			if (fits(source, worth) !== (shared !== undefined)) outdated();
		});
		const part: Part = { worth, source, shared, stop, round };
		give(part, true);
		return part;
	};
	const end = (part: Part): void => {
		part.stop();
		give(part, false);
	};

	const arrange: Merging['arrange'] = (rules) => {
		const worths = rules.map((rule) => worthOf(rule, direction, limits.members));
		const many = worths.filter((worth) => worth !== undefined).length >= limits.rules;
		const replaced: Part[] = [];
		round++;
		const ordered: Record<Kind | 'single', PolicyRule[]> = { pairs: [], peers: [], single: [] };
		rules.forEach((rule, i) => {
			const worth = worths[i];
			const source = worth && (worth.source === undefined ? anyone() : sourceOf(worth.source));
			if (!many || worth === undefined || source === undefined) {
				ordered.single.push(rule);
				return;
			}
			const { key } = worth;
			let part = parts.get(key);
			if (part?.source !== source || fits(source, worth) !== (part.shared !== undefined)) {
				if (part) replaced.push(part);
				part = begin(worth, source);
				parts.set(key, part);
			}
			part.round = round;
			ordered[part.shared ? worth.kind : 'single'].push(rule);
		});
		for (const [key, part] of parts) {
			if (part.round === round) continue;
			replaced.push(part);
			parts.delete(key);
		}
		// What comes is given before what goes is taken: what both give stays as it is.
		for (const part of replaced) end(part);
		const merged: MergedRules[] = [];
		for (const kind of ['pairs', 'peers'] as const) {
			if (ordered[kind].length > 0) merged.push({ set: sharedOf(kind).name, kind, rules: ordered[kind].length });
			else sets.delete(kind);
		}
		return { rules: merged.length === 0 ? rules : [...ordered.pairs, ...ordered.peers, ...ordered.single], merged };
	};

	return {
		arrange,
		byName: (name) => [...sets.values()].find((shared) => shared.name === name)?.set,
		close: () => {
			for (const part of parts.values()) part.stop();
			parts.clear();
		},
	};
};
