/** The work of keeping sets: lines, and what is known once they are written. */
import type { Line } from './ipset-tool.ts';
import type { IpsetSpec } from './types.ts';

/** What one pass over the sets is to write, and what follows from it. */
export type Work = {
	readonly lines: Line[];
	readonly done: ((refused: ReadonlySet<string>) => void)[];
	readonly changed: Set<string>;
	readonly problems: string[];
};
export const newWork = (): Work => ({ lines: [], done: [], changed: new Set(), problems: [] });

/** Why a set cannot be made by that name, in words. */
export const specProblem = (prefix: string, name: string, spec: IpsetSpec): string | undefined => {
	if (name !== spec.name) return `Set ${name} is called ${spec.name} in its spec: use one name.`;
	if (!name.startsWith(prefix) || name.length > 31 || /[\s\0]/.test(name)) {
		return `Set ${name} was left out: a name begins with ${prefix}, has at most 31 characters and no blank.`;
	}
	return undefined;
};
