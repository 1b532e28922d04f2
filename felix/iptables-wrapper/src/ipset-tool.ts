/** Speaks to ipset: reads `ipset save`, writes `ipset restore`, and goes on past lines that are refused. */
import type { Family, Run, ToolError } from './types.ts';

export type SavedSet = {
	readonly type: string;
	readonly family: Family;
	readonly maxelem: number;
	readonly members: ReadonlySet<string>;
};

/** Told what sets there are, one after the other. */
export type SetSink = {
	readonly set: (name: string, type: string, family: Family, maxelem: number) => void;
	/** Of the set told last, as ipset prints it. */
	readonly member: (text: string) => void;
};

/**
 * Tells the sets whose names begin with the prefix, with the event loop free between. `begin` is called again when all was
 * in vain so far. False when it cannot be done.
 */
export type ReadSets = (prefix: string, begin: () => SetSink) => Promise<boolean>;

/** Tells the sets of `ipset save` whose name begins with the prefix. */
const tellSaved = (text: string, prefix: string, sink: SetSink): void => {
	const addOwned = `add ${prefix}`;
	const createOwned = `create ${prefix}`;
	for (let from = 0, end = 0; from < text.length; from = end + 1) {
		end = text.indexOf('\n', from);
		if (end < 0) end = text.length;
		if (text.startsWith(addOwned, from)) {
			const space = text.indexOf(' ', from + 4);
			const behind = text.indexOf(' ', space + 1);
			sink.member(text.slice(space + 1, behind < 0 || behind > end ? end : behind));
		} else if (text.startsWith(createOwned, from)) {
			const line = text.slice(from, end);
			const [, name = '', type = ''] = line.split(' ');
			const family: Family = / family inet6(?: |$)/.test(line) ? 6 : 4;
			sink.set(name, type, family, Number(/ maxelem (\d+)/.exec(line)?.[1] ?? 0));
		}
	}
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
	/** All sets. Of a large one that holds what is `expected` of it, `members` is that very Set. */
	readonly save: (
		expected: (name: string) => ReadonlySet<string> | undefined,
	) => Promise<{ readonly sets: Map<string, SavedSet>; readonly error?: ToolError }>;
	readonly restore: (lines: readonly Line[]) => Promise<RestoreResult>;
	/** References by rules of every set, by name. */
	readonly references: () => Promise<ReadonlyMap<string, number>>;
};

const maxRefused = 64;

/** Members from which on a set is compared as it is read, and read once more only if it is another than expected. */
const large = 1000;

type Reading = Omit<SavedSet, 'members'> & {
	readonly members: Set<string>;
	expected: ReadonlySet<string> | undefined;
	found: number;
	others: boolean;
};

const isAsExpected = ({ expected, found, others }: Reading): boolean => !others && found === expected?.size;

export const createIpsetTool = (run: Run, prefix: string, readSets?: ReadSets): IpsetTool => {
	/** Every set of the prefix to a sink. */
	const tell = async (begin: () => SetSink): Promise<ToolError | undefined> => {
		if (await readSets?.(prefix, begin)) return undefined;
		const { code, stdout, stderr } = await run('ipset', ['save']);
		const message = `ipset save failed with status ${code}: ${stderr.trim()}. Check that ipset is installed and NET_ADMIN given.`;
		if (code !== 0) return { message, code, stderr };
		tellSaved(stdout, prefix, begin());
		return undefined;
	};

	const save: IpsetTool['save'] = async (expected) => {
		let sets = new Map<string, Reading>();
		const differing = (): Set<string> =>
			new Set([...sets].filter(([, set]) => set.expected && !isAsExpected(set)).map(([name]) => name));
		const read = async (only: ReadonlySet<string> | undefined): Promise<ToolError | undefined> => {
			const before = sets;
			return tell(() => {
				let now: Reading | undefined;
				sets = new Map(before);
				return {
					set: (name, type, family, maxelem) => {
						now = undefined;
						if (only !== undefined && !only.has(name)) return;
						const all = only === undefined ? expected(name) : undefined;
						now = { type, family, maxelem, members: new Set(), expected: undefined, found: 0, others: false };
						if (all !== undefined && all.size >= large) now.expected = all;
						sets.set(name, now);
					},
					member: (text) => {
						if (now === undefined) return;
						if (now.expected === undefined) now.members.add(text);
						else if (now.expected.has(text)) now.found++;
						else now.others = true;
					},
				};
			});
		};
		let error = await read(undefined);
		const others = differing();
		if (error === undefined && others.size > 0) error = await read(others);
		if (error !== undefined) return { sets: new Map(), error };
		// One that went between the two readings is not there.
		for (const name of differing()) sets.delete(name);
		return { sets: new Map([...sets].map(([name, set]) => [name, { ...set, members: set.expected ?? set.members }])) };
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
