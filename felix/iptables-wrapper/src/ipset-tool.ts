/** Speaks to ipset: reads `ipset save`, writes `ipset restore`, and goes on past lines that are refused. */
import type { Family, Run, ToolError } from './types.ts';

export type SavedSet = {
	readonly type: string;
	readonly family: Family;
	readonly maxelem: number;
	readonly members: ReadonlySet<string>;
};

/** Sets of `ipset save` whose name begins with the prefix. */
export const parseIpsetSave = (text: string, prefix: string): Map<string, SavedSet> => {
	const sets = new Map<string, SavedSet & { readonly members: Set<string> }>();
	const addOwned = `add ${prefix}`;
	const createOwned = `create ${prefix}`;
	for (const line of text.split('\n')) {
		if (line.startsWith(addOwned)) {
			const space = line.indexOf(' ', 4);
			const end = line.indexOf(' ', space + 1);
			sets.get(line.slice(4, space))?.members.add(line.slice(space + 1, end < 0 ? undefined : end));
		} else if (line.startsWith(createOwned)) {
			const [, name = '', type = ''] = line.split(' ');
			const family: Family = / family inet6(?: |$)/.test(line) ? 6 : 4;
			const maxelem = Number(/ maxelem (\d+)/.exec(line)?.[1] ?? 0);
			sets.set(name, { type, family, maxelem, members: new Set() });
		}
	}
	return sets;
};

/** One line of a restore: what it does, to which set. Hundreds of thousands at a start: those of members have no text. */
export type Line = { readonly verb: 'create' | 'other'; readonly set: string; readonly text: string } | MemberLine;

export type MemberLine = {
	readonly verb: 'add' | 'del';
	readonly set: string;
	/** The set's name for now. */
	readonly place: string;
	readonly family: Family;
	readonly member: string;
};

export const textOf = (line: Line): string =>
	'text' in line ? line.text : `${line.verb} ${line.place} ${line.member}`;

export type Refused = { readonly line: Line; readonly reason: string };

export type RestoreResult = {
	readonly refused: readonly Refused[];
	/** The tool failed in a way no line explains, or too many lines were refused: the kernel must be read again. */
	readonly error?: ToolError;
};

export type IpsetTool = {
	readonly save: () => Promise<{ readonly sets: Map<string, SavedSet>; readonly error?: ToolError }>;
	readonly restore: (lines: readonly Line[]) => Promise<RestoreResult>;
	/** References by rules of every set, by name. */
	readonly references: () => Promise<ReadonlyMap<string, number>>;
};

const maxRefused = 64;

export const createIpsetTool = (run: Run, prefix: string): IpsetTool => {
	const save: IpsetTool['save'] = async () => {
		const { code, stdout, stderr } = await run('ipset', ['save']);
		if (code === 0) return { sets: parseIpsetSave(stdout, prefix) };
		const message = `ipset save failed with status ${code}: ${stderr.trim()}. Check that ipset is installed and NET_ADMIN given.`;
		return { sets: new Map(), error: { message, code, stderr } };
	};

	/**
	 * ipset stops at the first line refused, and lines before it may not have been sent yet. With -exist every line may
	 * be repeated, so the rest is sent again without what was refused.
	 */
	const restore: IpsetTool['restore'] = async (all) => {
		const refused: Refused[] = [];
		let lines = all;
		while (lines.length > 0) {
			const input = `${lines.map(textOf).join('\n')}\n`;
			const { code, stderr } = await run('ipset', ['restore', '-exist'], input);
			if (code === 0) break;
			const match = /Error in line (\d+): ([^\n]*)/.exec(stderr);
			const line = match === null ? undefined : lines[Number(match[1]) - 1];
			if (match === null || line === undefined || refused.length >= maxRefused) {
				const more = refused.length >= maxRefused ? ` after ${maxRefused} lines were refused` : '';
				const message = `ipset restore failed with status ${code}${more}: ${stderr.trim()}. The sets are read again by the next apply.`;
				return { refused, error: { message, code, stderr } };
			}
			const reason = match[2] ?? '';
			refused.push({ line, reason });
			const wholeSet = line.verb === 'create' || / is full/.test(reason);
			lines = lines.filter((other) => other !== line && !(wholeSet && other.set === line.set));
		}
		return { refused };
	};

	const references: IpsetTool['references'] = async () => {
		const { stdout } = await run('ipset', ['list', '-terse']);
		const counts = new Map<string, number>();
		let name = '';
		for (const line of stdout.split('\n')) {
			if (line.startsWith('Name: ')) name = line.slice(6);
			else if (line.startsWith('References: ')) counts.set(name, Number(line.slice(12)));
		}
		return counts;
	};

	return { save, restore, references };
};
