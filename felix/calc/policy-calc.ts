/** The policy calculation put together; contract in types.ts, data flow in docs/design/policy.md. */
import type { IpsetSpec } from 'iptables-wrapper';
import type { Family } from '../../src/net/ip.ts';
import { createGroups, directions, type Group, type Groups } from './groups.ts';
import type { MemberSet } from './member-set.ts';
import { type MergeLimits, usualLimits } from './merged-rules.ts';
import { openSetName } from './names.ts';
import { createPods } from './pods.ts';
import { createSetUses } from './set-uses.ts';
import type { PolicyCalc, PolicyGroup, PolicyState } from './types.ts';

type SetTable = Map<string, { readonly set: MemberSet; readonly users: number }>;

/** Where sets are, here and in the state: those for the kernel, and those that merged sets stand for. */
const fields = ['sets', 'mergedSets'] as const;

type Output = {
	state: PolicyState | undefined;
	/** Groups or rules changed since `state`. */
	restructure: boolean;
	/** Names of sets whose members may have. */
	readonly changed: Set<string>;
	/** The sets in `state`, and how often its groups name each. */
	readonly sets: SetTable;
	readonly mergedSets: SetTable;
	/** The groups' member sets by name, and whether they had members: a group without any is not in `state`. */
	readonly memberSets: Map<string, { readonly set: MemberSet; readonly inhabited: boolean }>;
};

/** Names of the sets a group needs, its own included; each as often as it is named. */
const setsOf = ({ memberSet, rules, merged }: PolicyGroup): Record<(typeof fields)[number], string[]> => {
	const names = { sets: [memberSet, ...merged.map(({ set }) => set)], mergedSets: [] as string[] };
	const inMerged = merged.reduce((sum, one) => sum + one.rules, 0);
	rules.forEach(({ peerSet, exceptSet, destinationPortSet }, i) => {
		const list = i < inMerged ? names.mergedSets : names.sets;
		if (peerSet !== undefined) list.push(peerSet);
		if (exceptSet !== undefined) list.push(exceptSet);
		if (destinationPortSet !== undefined) list.push(destinationPortSet);
	});
	return names;
};

/** `limits`: from where on rules are merged; tests have them low. */
export const createPolicyCalc = (limits: MergeLimits = usualLimits): PolicyCalc => {
	const newOutput = (): Output => ({
		state: undefined,
		restructure: true,
		changed: new Set(),
		sets: new Map(),
		mergedSets: new Map(),
		memberSets: new Map(),
	});
	const outputs: { readonly [F in Family]: Output } = { 4: newOutput(), 6: newOutput() };
	const onChange = (family: Family, name: string): void => {
		outputs[family].changed.add(name);
	};
	const pods = createPods((pod) => groups.homeChanged(pod));
	const uses = createSetUses(pods.selections, onChange);
	const groups: Groups = createGroups({ selections: pods.selections, uses, limits, onChange });

	/** Groups that came, went or have other rules; what the others name stays as it is. */
	const restructured = (family: Family, output: Output): PolicyState => {
		const before = output.state ?? emptyState(family, output);
		const given: PolicyGroup[] = [];
		const came: { readonly group: Group; readonly made: PolicyGroup }[] = [];
		const gone = new Set(before.groups);
		output.memberSets.clear();
		for (const group of groups.all()) {
			const members = group.members[family];
			const made = groups.output(group, family);
			const inhabited = members.size() > 0;
			output.memberSets.set(made.memberSet, { set: members, inhabited });
			if (!inhabited) continue;
			given.push(made);
			if (!gone.delete(made)) came.push({ group, made });
		}
		/** How much more often each set is named: an edit names most of a group's sets as often as before. */
		const difference = { sets: new Map<string, number>(), mergedSets: new Map<string, number>() };
		const count = (group: PolicyGroup, by: number): void => {
			const names = setsOf(group);
			for (const field of fields) {
				for (const name of names[field]) difference[field].set(name, (difference[field].get(name) ?? 0) + by);
			}
		};
		for (const group of gone) count(group, -1);
		const own = new Map<string, MemberSet | undefined>();
		for (const { group, made } of came) {
			count(made, 1);
			own.set(made.memberSet, group.members[family]);
			for (const { set } of made.merged) own.set(set, group.merging[family].byName(set));
		}
		for (const field of fields) {
			for (const [name, by] of difference[field]) {
				const known = output[field].get(name);
				const users = (known?.users ?? 0) + by;
				const set = own.get(name) ?? uses.byName(name);
				if (users === 0) output[field].delete(name);
				else output[field].set(name, { set: set as MemberSet, users });
				if (users === 0 || known?.set !== set) output.changed.add(name);
			}
		}
		const state = withMembers(before, output);
		return came.length === 0 && gone.size === 0 ? state : { ...state, groups: given };
	};

	const emptyState = (family: Family, output: Output): PolicyState => {
		const open = { ingress: openSetName(family, 'ingress'), egress: openSetName(family, 'egress') };
		for (const direction of directions) {
			// Named by the state itself, so never left.
			output.sets.set(open[direction], { set: groups.open[direction][family], users: 1 });
			output.changed.add(open[direction]);
		}
		return { family, groups: [], open, sets: new Map(), mergedSets: new Map() };
	};

	/** `state` with the sets of `output` as they are now, those that changed. */
	const withMembers = (state: PolicyState, output: Output): PolicyState => {
		let result = state;
		for (const field of fields) {
			let sets: Map<string, IpsetSpec> | undefined;
			for (const name of output.changed) {
				const spec = output[field].get(name)?.set.publish();
				if (spec === state[field].get(name)) continue;
				sets ??= new Map(state[field]);
				if (spec === undefined) sets.delete(name);
				else sets.set(name, spec);
			}
			if (sets !== undefined) result = { ...result, [field]: sets };
		}
		return result;
	};

	/** A group that got its first member of the family, or lost its last, enters or leaves that family's state. */
	const inhabitedChanged = (output: Output): boolean =>
		[...output.changed].some((name) => {
			const known = output.memberSets.get(name);
			return known !== undefined && known.set.size() > 0 !== known.inhabited;
		});

	return {
		set: (object) => {
			switch (object.kind) {
				case 'Pod':
					return pods.setPod(object);
				case 'Namespace':
					return pods.setNamespace(object);
				case 'NetworkPolicy':
					return groups.setPolicy(object);
			}
		},
		delete: (kind, key) => {
			switch (kind) {
				case 'Pod':
					return pods.deletePod(key);
				case 'Namespace':
					return pods.deleteNamespace(key);
				case 'NetworkPolicy':
					return groups.deletePolicy(key);
			}
		},
		setLocalPod: pods.setLocalPod,
		deleteLocalPod: pods.deleteLocalPod,
		pod: pods.pod,
		lastKnown: pods.lastKnown,
		podAt: pods.podAt,
		pods: pods.all,
		port: pods.port,
		state: (family) => {
			if (groups.flush()) outputs[4].restructure = outputs[6].restructure = true;
			const output = outputs[family];
			const state =
				output.state === undefined || output.restructure || inhabitedChanged(output)
					? restructured(family, output)
					: withMembers(output.state, output);
			output.state = state;
			output.restructure = false;
			output.changed.clear();
			return state;
		},
	};
};
