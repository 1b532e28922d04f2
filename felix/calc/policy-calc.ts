/** The policy calculation put together; contract in types.ts, data flow in docs/design/policy.md. */
import type { IpsetSpec } from 'iptables-wrapper';
import type { Family } from '../../src/net/ip.ts';
import { createGroups, directions, type Groups } from './groups.ts';
import type { MemberSet } from './member-set.ts';
import { openSetName } from './names.ts';
import { createPods } from './pods.ts';
import { createSetUses } from './set-uses.ts';
import type { PolicyCalc, PolicyGroup, PolicyState } from './types.ts';

type Output = {
	state: PolicyState | undefined;
	/** Groups or rules changed since `state`. */
	restructure: boolean;
	/** Names of sets whose members may have. */
	readonly changed: Set<string>;
	/** The sets in `state`. */
	sets: ReadonlyMap<string, MemberSet>;
	/** The groups' member sets by name, and whether they had members: a group without any is not in `state`. */
	readonly memberSets: Map<string, { readonly set: MemberSet; readonly inhabited: boolean }>;
};

const sameState = (a: PolicyState, groups: readonly PolicyGroup[], sets: PolicyState['sets']): boolean =>
	a.groups.length === groups.length &&
	a.groups.every((group, i) => group === groups[i]) &&
	a.sets.size === sets.size &&
	[...sets].every(([name, spec]) => a.sets.get(name) === spec);

export const createPolicyCalc = (): PolicyCalc => {
	const newOutput = (): Output => ({
		state: undefined,
		restructure: true,
		changed: new Set(),
		sets: new Map(),
		memberSets: new Map(),
	});
	const outputs: { readonly [F in Family]: Output } = { 4: newOutput(), 6: newOutput() };
	const onChange = (family: Family, name: string): void => {
		outputs[family].changed.add(name);
	};
	const pods = createPods((pod) => groups.homeChanged(pod));
	const uses = createSetUses(pods.selections, onChange);
	const groups: Groups = createGroups({ selections: pods.selections, uses, onChange });

	const restructured = (family: Family, output: Output): PolicyState => {
		const sets = new Map<string, MemberSet>();
		const given: PolicyGroup[] = [];
		output.memberSets.clear();
		for (const group of groups.all()) {
			const members = group.members[family];
			const made = groups.output(group, family);
			const inhabited = members.size() > 0;
			output.memberSets.set(made.memberSet, { set: members, inhabited });
			if (!inhabited) continue;
			given.push(made);
			for (const { peerSet, exceptSet, destinationPortSet } of made.rules) {
				for (const name of [peerSet, exceptSet, destinationPortSet]) {
					if (name !== undefined) sets.set(name, uses.byName(name) as MemberSet);
				}
			}
			sets.set(made.memberSet, members);
		}
		for (const direction of directions) sets.set(openSetName(family, direction), groups.open[direction][family]);
		output.sets = sets;
		const specs = new Map<string, IpsetSpec>();
		for (const [name, set] of sets) specs.set(name, set.publish());
		if (output.state && sameState(output.state, given, specs)) return output.state;
		const open = { ingress: openSetName(family, 'ingress'), egress: openSetName(family, 'egress') };
		return { family, groups: given, open, sets: specs };
	};

	const withMembers = (state: PolicyState, output: Output): PolicyState => {
		const changed = [...output.changed].filter((name) => output.sets.get(name)?.changed());
		if (changed.length === 0) return state;
		const sets = new Map(state.sets);
		for (const name of changed) sets.set(name, (output.sets.get(name) as MemberSet).publish());
		return { ...state, sets };
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
		podAt: pods.podAt,
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
