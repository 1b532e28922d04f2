/** The sets that active policies name: made with the first user, filled from selections, gone with the last user. */
import type { Family } from '../../src/net/ip.ts';
import type { SetUse } from './compile-policy.ts';
import { createMemberSet, type MemberSet } from './member-set.ts';
import { setName } from './names.ts';
import { contributeTo, type FamilySets, podsOf, portKey, type Selection } from './records.ts';
import type { Selections } from './selections.ts';

export type SetUses = {
	readonly acquire: (use: SetUse) => void;
	readonly release: (use: SetUse) => void;
	readonly byName: (name: string) => MemberSet | undefined;
};

type Held = { users: number; readonly names: readonly string[]; readonly drop: () => void };

/** `onChange`: members of a set of this family changed, the set's name given. */
export const createSetUses = (selections: Selections, onChange: (family: Family, name: string) => void): SetUses => {
	const held = new Map<string, Held>();
	const sets = new Map<string, MemberSet>();

	const make = (name: string, type: 'hash:ip' | 'hash:ip,port' | 'hash:net', family: Family): MemberSet => {
		const set = createMemberSet({ name, type, family }, () => onChange(family, name));
		sets.set(name, set);
		return set;
	};
	const both = (use: SetUse, type: 'hash:ip' | 'hash:ip,port'): FamilySets => ({
		4: make(setName(4, use.id), type, 4),
		6: make(setName(6, use.id), type, 6),
	});

	const fill = (use: SetUse): { names: string[]; drop: () => void } => {
		if (use.kind === 'net') {
			const set = make(setName(use.family, use.id), 'hash:net', use.family);
			for (const member of use.members) set.add(member);
			return { names: [setName(use.family, use.id)], drop: () => {} };
		}
		const names = [setName(4, use.id), setName(6, use.id)];
		const selection = selections.acquire(use.selection);
		/** Members are put in once for the new sets only: adding what is in a set already changes nothing. */
		const fillFrom = (filled: Selection): void => {
			for (const pod of podsOf(selection)) contributeTo(filled, pod, true);
		};
		if (use.kind === 'addresses') {
			const addresses = both(use, 'hash:ip');
			selection.addresses = addresses;
			fillFrom({ ...selection, addresses, namedPorts: new Map() });
		} else {
			const key = portKey(use.protocol, use.port);
			const ports = both(use, 'hash:ip,port');
			selection.namedPorts.set(key, ports);
			fillFrom({ ...selection, addresses: undefined, namedPorts: new Map([[key, ports]]) });
		}
		return {
			names,
			drop: () => {
				if (use.kind === 'addresses') selection.addresses = undefined;
				else selection.namedPorts.delete(portKey(use.protocol, use.port));
				selections.release(selection);
			},
		};
	};

	const keyOf = (use: SetUse): string =>
		use.kind === 'net' ? setName(use.family, use.id) : `${use.id.letter}-${use.id.hash}`;

	return {
		acquire: (use) => {
			const key = keyOf(use);
			const known = held.get(key);
			if (known) known.users++;
			else held.set(key, { users: 1, ...fill(use) });
		},
		release: (use) => {
			const key = keyOf(use);
			const known = held.get(key);
			if (!known || --known.users > 0) return;
			held.delete(key);
			for (const name of known.names) sets.delete(name);
			known.drop();
		},
		byName: (name) => sets.get(name),
	};
};
