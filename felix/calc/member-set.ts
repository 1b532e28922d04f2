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
	readonly has: (member: string) => boolean;
	readonly current: () => Iterable<string>;
	/** Calls back with each member that comes (true) or goes, from now on; returns how to stop that. */
	readonly watch: (watcher: MemberWatcher) => () => void;
};

export type MemberWatcher = (member: string, present: boolean) => void;

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
	let watchers: readonly MemberWatcher[] = [];
	const tell = (member: string, present: boolean): void => {
		for (const watcher of watchers) watcher(member, present);
		onChange();
	};
	const change = (member: string, present: boolean): void => {
		if (spec === undefined) {
			if (unseen.has(member) === present) return;
			if (present) unseen.add(member);
			else unseen.delete(member);
			tell(member, present);
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
		tell(member, present);
	};
	return {
		add: (member) => change(member, true),
		remove: (member) => change(member, false),
		changed: () => pending.size > 0 || spec === undefined,
		size: () => members.size + added,
		has: (member) => pending.get(member) ?? members.has(member),
		current: function* () {
			for (const member of members) if (pending.get(member) !== false) yield member;
			for (const [member, present] of pending) if (present) yield member;
		},
		watch: (watcher) => {
			watchers = [...watchers, watcher];
			return () => {
				watchers = watchers.filter((other) => other !== watcher);
			};
		},
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
