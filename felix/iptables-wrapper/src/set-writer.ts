/** Lines of a restore by way of the faster writer, where it can do them all, else by the program. */
import type { IpsetTool, Line, RestoreResult } from './ipset-tool.ts';
import { parseCreate } from './kept-set.ts';
import type { Family } from './types.ts';

/** One thing done to a set; no matter if a member or a set to make is there, or a member gone, already. */
export type SetChange = { readonly set: string; readonly family: Family } & (
	| { readonly verb: 'add' | 'del'; readonly member: string }
	| { readonly verb: 'create'; readonly type: string; readonly hashsize: number; readonly maxelem: number }
	/** Not done while a rule uses it. */
	| { readonly verb: 'destroy' }
);

export type WriteMembers = (changes: readonly SetChange[]) => Promise<boolean>;

/** `has` tells whether a set is in the kernel. */
export const createSetWriter =
	(tool: IpsetTool, writeMembers: WriteMembers | undefined) =>
	async (lines: readonly Line[], has: (set: string) => boolean): Promise<RestoreResult> => {
		const changes: SetChange[] = [];
		const made = new Set<string>();
		for (const one of writeMembers === undefined ? [] : lines) {
			if ('member' in one) {
				if (one.place !== one.set || !(made.has(one.set) || has(one.set))) return tool.restore(lines);
				changes.push(one);
				continue;
			}
			const creation = one.verb === 'create' ? parseCreate(one.text) : undefined;
			if (creation?.set !== one.set) return tool.restore(lines);
			made.add(one.set);
			changes.push(creation);
		}
		if (changes.length > 0 && (await writeMembers?.(changes))) return { refused: [] };
		return tool.restore(lines);
	};
