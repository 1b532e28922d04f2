/**
 * A set that never changes, told as a big one shared with its predecessors and the few members in which it differs: the
 * successor of a set of 100,000 costs the difference instead of a copy, and so does comparing the two.
 */

type Layers = { readonly base: ReadonlySet<string>; readonly changed: ReadonlyMap<string, boolean> };

/** What a set is made of, kept aside so that it looks like any other. */
const layersOf = new WeakMap<ReadonlySet<string>, Layers>();

const layers = (set: ReadonlySet<string>): Layers => layersOf.get(set) ?? { base: set, changed: new Map() };

/** Above this a set is copied after all; grows with the set, so that all copies together cost little a change. */
const most = (base: ReadonlySet<string>): number => 64 + base.size / 64;

const layered = (base: ReadonlySet<string>, changed: ReadonlyMap<string, boolean>): ReadonlySet<string> => {
	let size = base.size;
	for (const present of changed.values()) size += present ? 1 : -1;
	const members = function* (): SetIterator<string> {
		for (const member of base) if (!changed.has(member)) yield member;
		for (const [member, present] of changed) if (present) yield member;
		return undefined;
	};
	const flat = (): Set<string> => new Set(members());
	const set: ReadonlySet<string> = {
		size,
		has: (member) => changed.get(member) ?? base.has(member),
		forEach: (run) => {
			for (const member of members()) run(member, member, set);
		},
		keys: members,
		values: members,
		entries: () => flat().entries(),
		[Symbol.iterator]: members,
		union: (other) => flat().union(other),
		intersection: (other) => flat().intersection(other),
		difference: (other) => flat().difference(other),
		symmetricDifference: (other) => flat().symmetricDifference(other),
		isSubsetOf: (other) => flat().isSubsetOf(other),
		isSupersetOf: (other) => flat().isSupersetOf(other),
		isDisjointFrom: (other) => flat().isDisjointFrom(other),
	};
	layersOf.set(set, { base, changed });
	return set;
};

/** `set` with members put in (true) or taken out (false), as a new set; `set` must not be changed from here on. */
export const changedSet = (set: ReadonlySet<string>, changes: ReadonlyMap<string, boolean>): ReadonlySet<string> => {
	const { base, changed } = layers(set);
	if (changed.size + changes.size > most(base)) {
		const copy = new Set(set);
		for (const [member, present] of changes) {
			if (present) copy.add(member);
			else copy.delete(member);
		}
		return copy;
	}
	const all = new Map(changed);
	for (const [member, present] of changes) {
		if (base.has(member) === present) all.delete(member);
		else all.set(member, present);
	}
	return layered(base, all);
};

export type SetDifference = { readonly added: readonly string[]; readonly removed: readonly string[] };

/** What makes `after` out of `before`, told without going through them; undefined when they do not share their bulk. */
export const differenceOf = (before: ReadonlySet<string>, after: ReadonlySet<string>): SetDifference | undefined => {
	if (before === after) return { added: [], removed: [] };
	const [from, to] = [layers(before), layers(after)];
	if (from.base !== to.base) return undefined;
	const added: string[] = [];
	const removed: string[] = [];
	for (const member of new Set([...from.changed.keys(), ...to.changed.keys()])) {
		const [was, is] = [before.has(member), after.has(member)];
		if (is && !was) added.push(member);
		else if (was && !is) removed.push(member);
	}
	return { added, removed };
};

/** The set that `set` differs from in few members, and those it has beyond it. */
export const bulkOf = (set: ReadonlySet<string>): { readonly base: ReadonlySet<string>; readonly added: string[] } => {
	const { base, changed } = layers(set);
	return { base, added: [...changed].filter(([, present]) => present).map(([member]) => member) };
};
