/**
 * Local pods with the same list of policies in a direction share a group; each policy is compiled, and its sets kept,
 * only while a group names it. Changes gather until `flush`.
 */
import type { NetworkPolicy } from '../../src/api/objects.ts';
import type { Family } from '../../src/net/ip.ts';
import { type CompiledPolicy, compilePolicy, type Direction } from './compile-policy.ts';
import { shortHash } from './hash.ts';
import { createMemberSet } from './member-set.ts';
import { createMerging, type MergeLimits, type Merging } from './merged-rules.ts';
import { openSetName, setID, setLetter, setName } from './names.ts';
import { contributeToHome, type FamilySets, type Home, type PodRecord, podsOf, type Selection } from './records.ts';
import type { Selections } from './selections.ts';
import { compileSelector } from './selector.ts';
import type { SetUses } from './set-uses.ts';
import type { PolicyGroup, PolicyRule } from './types.ts';

export const directions = ['ingress', 'egress'] as const;

export type Group = Home & {
	readonly id: string;
	readonly direction: Direction;
	readonly policies: readonly string[];
	readonly pods: Set<PodRecord>;
	/** As given out last; undefined when a policy changed since. */
	readonly output: { [F in Family]: PolicyGroup | undefined };
	readonly merging: { readonly [F in Family]: Merging };
};

type PolicyRecord = {
	readonly key: string;
	policy: NetworkPolicy | undefined;
	/** To tell an edit from a repetition. */
	spec: string;
	subject: Selection | undefined;
	readonly groups: Set<Group>;
	compiled: CompiledPolicy | undefined;
	stale: boolean;
};

export type Groups = {
	readonly setPolicy: (policy: NetworkPolicy) => void;
	readonly deletePolicy: (key: string) => void;
	/** A local pod came, went or may have other policies now. */
	readonly homeChanged: (pod: PodRecord) => void;
	/** Brings groups up to date; true when groups or their rules changed, not only members. */
	readonly flush: () => boolean;
	/** Sorted by direction and id. */
	readonly all: () => readonly Group[];
	readonly output: (group: Group, family: Family) => PolicyGroup;
	readonly open: { readonly [D in Direction]: FamilySets };
};

const typeOf = { ingress: 'Ingress', egress: 'Egress' } as const;

export type GroupsNeeds = {
	readonly selections: Selections;
	readonly uses: SetUses;
	readonly limits: MergeLimits;
	readonly onChange: (family: Family, name: string) => void;
};

export const createGroups = ({ selections, uses, limits, onChange }: GroupsNeeds): Groups => {
	const policies = new Map<string, PolicyRecord>();
	const groups = new Map<string, Group>();
	/** By direction and id. */
	const sorted: Group[] = [];
	const dirty = new Set<PodRecord>();
	const stale = new Set<PolicyRecord>();
	let structureChanged = true;

	const familySets = (nameOf: (family: Family) => string): FamilySets => {
		const make = (family: Family) => {
			const name = nameOf(family);
			return createMemberSet({ name, type: 'hash:ip', family }, () => onChange(family, name));
		};
		return { 4: make(4), 6: make(6) };
	};
	const open = {
		ingress: familySets((family) => openSetName(family, 'ingress')),
		egress: familySets((family) => openSetName(family, 'egress')),
	};
	const openHomes = { ingress: { members: open.ingress }, egress: { members: open.egress } };

	const detach = (record: PolicyRecord): void => {
		if (!record.subject) return;
		for (const pod of podsOf(record.subject)) dirty.add(pod);
		record.subject.policies.delete(record.key);
		selections.release(record.subject);
		record.subject = undefined;
	};
	const attach = (record: PolicyRecord, policy: NetworkPolicy): void => {
		const { namespace } = policy.metadata;
		record.subject = selections.acquire({ namespace, pods: compileSelector(policy.spec.podSelector), local: true });
		record.subject.policies.add(record.key);
		for (const pod of podsOf(record.subject)) dirty.add(pod);
	};

	/** New sets before old ones go, so that what both name stays as it is. */
	const compile = (record: PolicyRecord, policy: NetworkPolicy | undefined): void => {
		const before = record.compiled;
		record.compiled = policy && compilePolicy(policy);
		for (const use of record.compiled?.uses ?? []) uses.acquire(use);
		for (const use of before?.uses ?? []) uses.release(use);
	};

	const policiesOf = (pod: PodRecord, direction: Direction): string[] => {
		const found: string[] = [];
		for (const selection of pod.selections) {
			for (const key of selection.policies) {
				if (policies.get(key)?.policy?.spec.policyTypes.includes(typeOf[direction])) found.push(key);
			}
		}
		return found.sort();
	};

	/** Where a group is, or belongs, in `sorted`. */
	const place = ({ direction, id }: Group): number => {
		let [low, high] = [0, sorted.length];
		while (low < high) {
			const middle = (low + high) >>> 1;
			const other = sorted[middle] as Group;
			if (other.direction < direction || (other.direction === direction && other.id < id)) low = middle + 1;
			else high = middle;
		}
		return low;
	};

	const groupOf = (direction: Direction, keys: readonly string[]): Group => {
		const id = shortHash('group', direction, ...keys);
		const known = groups.get(id);
		if (known) return known;
		const memberID = setID(setLetter.group, id);
		const merging = (family: Family): Merging =>
			createMerging({
				family,
				direction,
				id,
				limits,
				sourceOf: uses.byName,
				onChange: (name) => onChange(family, name),
				outdated: () => {
					group.output[family] = undefined;
					structureChanged = true;
				},
			});
		const group: Group = {
			id,
			direction,
			policies: keys,
			pods: new Set(),
			members: familySets((family) => setName(family, memberID)),
			output: { 4: undefined, 6: undefined },
			merging: { 4: merging(4), 6: merging(6) },
		};
		groups.set(id, group);
		sorted.splice(place(group), 0, group);
		structureChanged = true;
		for (const key of keys) {
			const record = policies.get(key) as PolicyRecord;
			record.groups.add(group);
			if (record.compiled === undefined) compile(record, record.policy);
		}
		return group;
	};

	const isGroup = (home: Home): home is Group => 'pods' in home;

	const move = (pod: PodRecord, homes: PodRecord['homes']): void => {
		for (const direction of directions) {
			const before = pod.homes?.[direction];
			const after = homes?.[direction];
			if (before === after) continue;
			if (after) {
				contributeToHome(after, pod, true);
				if (isGroup(after)) after.pods.add(pod);
			}
			if (before) {
				contributeToHome(before, pod, false);
				if (isGroup(before)) before.pods.delete(pod);
			}
		}
		pod.homes = homes;
	};
	const homeOf = (pod: PodRecord, direction: Direction): Home => {
		const keys = policiesOf(pod, direction);
		return keys.length === 0 ? openHomes[direction] : groupOf(direction, keys);
	};

	const dropEmpty = (): void => {
		for (const [id, group] of groups) {
			if (group.pods.size > 0) continue;
			groups.delete(id);
			sorted.splice(place(group), 1);
			structureChanged = true;
			for (const merging of Object.values(group.merging)) merging.close();
			for (const key of group.policies) {
				const record = policies.get(key) as PolicyRecord;
				record.groups.delete(group);
				if (record.groups.size > 0) continue;
				compile(record, undefined);
				if (!record.policy) policies.delete(key);
			}
		}
	};

	return {
		open,
		setPolicy: (policy) => {
			const key = `${policy.metadata.namespace}/${policy.metadata.name}`;
			const spec = JSON.stringify(policy.spec);
			const known = policies.get(key);
			if (known?.policy && known.spec === spec) return;
			const record: PolicyRecord = known ?? {
				key,
				policy,
				spec,
				subject: undefined,
				groups: new Set(),
				compiled: undefined,
				stale: false,
			};
			policies.set(key, record);
			record.policy = policy;
			record.spec = spec;
			const old = record.subject;
			if (old) {
				for (const pod of podsOf(old)) dirty.add(pod);
				old.policies.delete(key);
			}
			attach(record, policy);
			if (old) selections.release(old);
			if (record.compiled) stale.add(record);
		},
		deletePolicy: (key) => {
			const record = policies.get(key);
			if (!record) return;
			detach(record);
			record.policy = undefined;
			stale.delete(record);
			if (record.groups.size === 0) policies.delete(key);
		},
		homeChanged: (pod) => {
			dirty.add(pod);
		},
		flush: () => {
			for (const record of stale) {
				if (!record.compiled) continue;
				compile(record, record.policy);
				for (const group of record.groups) group.output[4] = group.output[6] = undefined;
				structureChanged = true;
			}
			stale.clear();
			for (const pod of dirty) {
				move(pod, pod.local ? { ingress: homeOf(pod, 'ingress'), egress: homeOf(pod, 'egress') } : undefined);
			}
			if (dirty.size > 0) dropEmpty();
			dirty.clear();
			const changed = structureChanged;
			structureChanged = false;
			return changed;
		},
		all: () => sorted,
		output: (group, family) => {
			const known = group.output[family];
			if (known) return known;
			const { id, direction } = group;
			const rules: PolicyRule[] = group.policies.flatMap(
				(key) => policies.get(key)?.compiled?.rules[direction][family] ?? [],
			);
			const memberSet = setName(family, setID(setLetter.group, id));
			const arranged = group.merging[family].arrange(rules);
			const made: PolicyGroup = { id, direction, policies: group.policies, memberSet, ...arranged };
			group.output[family] = made;
			return made;
		},
	};
};
