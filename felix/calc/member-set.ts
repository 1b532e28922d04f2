/**
 * One ipset's content while it changes: changes gather until `publish`, which gives out an immutable Set, and the very
 * same one as before when the changes cancelled each other out.
 */
import { changedSet, type IpsetSpec } from 'iptables-wrapper';

export type MemberSet = {
	readonly add: (member: string) => void;
	readonly remove: (member: string) => void;
	/** Whether `publish` would give something new. */
	readonly changed: () => boolean;
	readonly publish: () => IpsetSpec;
	/** Members once the gathered changes are in. */
	readonly size: () => number;
};

/** `onChange` is called with every change, also one that undoes another. */
export const createMemberSet = (
	kind: Pick<IpsetSpec, 'name' | 'type' | 'family'>,
	onChange: () => void = () => {},
): MemberSet => {
	/** Filled in place until somebody has seen it. */
	const unseen = new Set<string>();
	let members: ReadonlySet<string> = unseen;
	let spec: IpsetSpec | undefined;
	let added = 0;
	/** Member to whether it is added (true) or removed. */
	const pending = new Map<string, boolean>();
	const change = (member: string, present: boolean): void => {
		if (spec === undefined) {
			if (unseen.has(member) === present) return;
			if (present) unseen.add(member);
			else unseen.delete(member);
			onChange();
			return;
		}
		if (pending.get(member) === !present) {
			pending.delete(member);
		} else if (members.has(member) !== present && !pending.has(member)) {
			pending.set(member, present);
		} else {
			return;
		}
		added += present ? 1 : -1;
		onChange();
	};
	return {
		add: (member) => change(member, true),
		remove: (member) => change(member, false),
		changed: () => pending.size > 0 || spec === undefined,
		size: () => members.size + added,
		publish: () => {
			if (spec !== undefined && pending.size === 0) return spec;
			if (pending.size > 0) members = changedSet(members, pending);
			pending.clear();
			added = 0;
			spec = { ...kind, members };
			return spec;
		},
	};
};
