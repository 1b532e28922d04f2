/** A set in the kernel as it is remembered: its members shared with the caller's Set where they are the same. */
import { differenceOf } from './layered-set.ts';
import type { Family } from './types.ts';

/** Members a set made here may hold, unless it is said otherwise. */
export const maxelem = 1048576;

/** A set in the kernel. Its members are those of `base` and of `added`, which share none. */
export type Kept = {
	readonly type: string;
	readonly family: Family;
	readonly maxelem: number;
	base: ReadonlySet<string>;
	added: Set<string>;
	/** The caller's Set object whose members are all here, and the one with exactly whose members this is in line. */
	addedFor: ReadonlySet<string> | undefined;
	syncedFor: ReadonlySet<string> | undefined;
};

const holds = (kept: Kept, member: string): boolean => kept.base.has(member) || kept.added.has(member);
export const sizeOf = (kept: Kept): number => kept.base.size + kept.added.size;

/** Those of `members` the set has not. */
export const missingFrom = (kept: Kept | undefined, members: ReadonlySet<string>): string[] => {
	if (kept === undefined) return [...members];
	const difference = differenceOf(kept.base, members);
	if (difference !== undefined) return difference.added.filter((member) => !kept.added.has(member));
	const missing: string[] = [];
	for (const member of members) if (!holds(kept, member)) missing.push(member);
	return missing;
};

/** Members the set has beyond `members`. */
export const beyond = (kept: Kept, members: ReadonlySet<string>): string[] => {
	const difference = differenceOf(kept.base, members);
	const extra: string[] = [...(difference?.removed ?? [])];
	if (difference === undefined) for (const member of kept.base) if (!members.has(member)) extra.push(member);
	for (const member of kept.added) if (!members.has(member)) extra.push(member);
	return extra;
};

/** Line that makes a set with room for its first members. */
export const createText = (
	name: string,
	{ type, family }: { readonly type: string; readonly family: Family },
	members: number,
	most: number,
): string => {
	const hashsize = 2 ** Math.min(20, Math.max(6, Math.ceil(Math.log2(members + 1))));
	return `create ${name} ${type} family ${family === 4 ? 'inet' : 'inet6'} hashsize ${hashsize} maxelem ${most}`;
};

const createLine = /^create (\S+) (\S+) family (inet6?) hashsize (\d+) maxelem (\d+)$/;

/** A line of {@link createText} taken apart; undefined for another. */
export const parseCreate = (text: string) => {
	const [, set, type, family, hashsize, most] = createLine.exec(text) ?? [];
	if (set === undefined || type === undefined) return undefined;
	const numbers = { hashsize: Number(hashsize), maxelem: Number(most) };
	return { verb: 'create', set, type, family: family === 'inet' ? 4 : 6, ...numbers } as const;
};

/** What was last written of a set; `exact` once nothing else is left in it. */
export type Written = { readonly members: ReadonlySet<string>; readonly exact: boolean };

/** How a set in the kernel (undefined: it is not there) differs from what was written, in words. */
export const driftOf = (kept: Kept | undefined, { members, exact }: Written): string | undefined => {
	if (kept === undefined) return 'set missing';
	const parts: string[] = [];
	const missing = missingFrom(kept, members).length;
	const extra = exact ? beyond(kept, members).length : 0;
	if (missing > 0) parts.push(`${missing} ${missing === 1 ? 'member' : 'members'} missing`);
	if (extra > 0) parts.push(`${extra} ${extra === 1 ? 'member' : 'members'} not ours`);
	return parts.length === 0 ? undefined : parts.join(', ');
};
