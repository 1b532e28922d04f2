/** Keeps sets as wanted; contract in types.ts. What the kernel holds is remembered, so an apply writes without reading. */
import { explain, stillUsed, summary } from './ipset-errors.ts';
import {
	createIpsetTool,
	type Line,
	type ReadSets,
	type Refused,
	type RestoreResult,
	type SavedSet,
	textOf,
} from './ipset-tool.ts';
import { beyond, createText, driftOf, type Kept, maxelem, missingFrom, sizeOf, type Written } from './kept-set.ts';
import { canonicalMembers } from './members.ts';
import { createSerial } from './serial.ts';
import { newWork, specProblem, type Work } from './set-work.ts';
import { createSetWriter, type WriteMembers } from './set-writer.ts';
import { createTouched } from './touched.ts';
import type { ApplyResult, IpsetSpec, Ipsets, Run, ToolError } from './types.ts';

export type IpsetsOptions = {
	/** Of the names of owned sets, e.g. `manx-`. */
	readonly prefix: string;
	readonly run: Run;
	/**
	 * A faster way than a program (netlink). Answers false when not all was done; then the program is asked, which may
	 * repeat any of it and tells why.
	 */
	readonly writeMembers?: WriteMembers;
	/** A faster way than a program to read them. */
	readonly readSets?: ReadSets;
	/** A set may hold so many, 1048576 unless given; those beyond are left out and named. */
	readonly maxMembers?: number;
	/** Waits; given by tests. iptables-nft frees what a deleted rule used a moment after it returned. */
	readonly delay?: (milliseconds: number) => Promise<void>;
};

const line = (verb: 'create' | 'other', set: string, text: string): Line => ({ verb, set, text });
const lost = (refused: readonly Refused[]): boolean =>
	refused.some(({ reason }) => /does not exist|already exists/.test(reason));

export const createIpsets = (options: IpsetsOptions): Ipsets => {
	const {
		prefix,
		run,
		maxMembers = maxelem,
		delay = (ms) => new Promise((resolve) => setTimeout(resolve, ms)),
	} = options;
	const tool = createIpsetTool(run, prefix, options.readSets);
	const writeLines = createSetWriter(tool, options.writeMembers);
	const serial = createSerial();
	let wanted: ReadonlyMap<string, IpsetSpec> = new Map();
	let kernel: Map<string, Kept> | undefined;
	/** Names of wanted sets that may not be as wanted: a change looks at these only. */
	let unsettled = new Set<string>();
	const written = new Map<string, Written>();
	let temporaries = 0;
	const touched = createTouched();
	/** Sets that could not be destroyed last time, as rules use them. */
	let stuck: ReadonlySet<string> = new Set();

	/** What a set is believed, or at a start wished, to hold. */
	const expected = (name: string): ReadonlySet<string> | undefined => {
		const kept = kernel?.get(name);
		if (kept !== undefined) return kept.added.size === 0 ? kept.base : undefined;
		const spec = wanted.get(name);
		return spec && canonicalMembers(spec.members, spec.type, spec.family).members;
	};

	/** `written`: of these, what is remembered is newer than what was read. */
	const take = (sets: ReadonlyMap<string, SavedSet>, written: ReadonlySet<string> = new Set()): void => {
		const before = kernel;
		kernel = new Map();
		unsettled = new Set(wanted.keys());
		for (const name of written) {
			const kept = before?.get(name);
			if (kept !== undefined) kernel.set(name, kept);
		}
		for (const [name, saved] of sets) {
			if (written.has(name)) continue;
			const fresh: Kept = {
				type: saved.type,
				family: saved.family,
				maxelem: saved.maxelem,
				base: saved.members,
				added: new Set(),
				addedFor: undefined,
				syncedFor: undefined,
			};
			const old = before?.get(name);
			const same =
				old?.syncedFor !== undefined &&
				old.type === saved.type &&
				old.family === saved.family &&
				old.maxelem === saved.maxelem &&
				sizeOf(old) === saved.members.size &&
				missingFrom(fresh, old.base).length === 0;
			kernel.set(name, same ? old : fresh);
		}
	};

	const read = async (): Promise<ToolError | undefined> => {
		const { sets, error } = await tool.save(expected);
		if (error === undefined) take(sets);
		else kernel = undefined;
		return error;
	};

	const planAddition = (sets: Map<string, Kept>, name: string, spec: IpsetSpec, work: Work): void => {
		const known = sets.get(name);
		const sameKind = known?.type === spec.type && known.family === spec.family;
		if (known?.addedFor === spec.members && sameKind) return;
		const problem = specProblem(prefix, name, spec);
		if (problem !== undefined) {
			work.problems.push(problem);
			return;
		}
		const { members, refused } = canonicalMembers(spec.members, spec.type, spec.family);
		for (const text of refused) {
			work.problems.push(
				`Set ${name}: "${text}" is no member of a ${spec.type} of IPv${spec.family}; the rest was written.`,
			);
		}
		let kept = known;
		let place = name;
		const add = (member: string): number =>
			work.lines.push({ verb: 'add', set: name, place, family: spec.family, member });
		if (known !== undefined && sameKind && known.maxelem >= maxMembers) {
			for (const member of missingFrom(known, members)) add(member);
		} else {
			// A set that rules use cannot be destroyed, but one of the same type and family can take its place
			// (ip_set_core.c, ip_set_swap). Its old members come along: taking some out is for applyRemovals.
			const old = known !== undefined && sameKind ? beyond(known, members) : undefined;
			if (old !== undefined) place = `${prefix}tmp${++temporaries}`;
			else if (known !== undefined) work.lines.push(line('create', name, `destroy ${name}`));
			touched.note(place);
			work.lines.push(line('create', name, createText(place, spec, members.size, maxMembers)));
			for (const member of members) add(member);
			for (const member of old ?? []) add(member);
			if (old !== undefined) {
				work.lines.push(line('other', name, `swap ${name} ${place}`), line('other', name, `destroy ${place}`));
			}
			kept = {
				type: spec.type,
				family: spec.family,
				maxelem: maxMembers,
				base: new Set(old),
				added: new Set(),
				addedFor: undefined,
				syncedFor: undefined,
			};
		}
		const target = kept as Kept;
		work.done.push((refusedLines) => {
			if (refusedLines.has(`create ${name}`)) return;
			if (sets.get(name) !== target) work.changed.add(name);
			sets.set(name, target);
			if (refusedLines.size === 0 && beyond(target, members).length === 0) {
				if (missingFrom(target, members).length > 0) work.changed.add(name);
				target.base = members;
				target.added = new Set();
			}
			for (const member of missingFrom(target, members)) {
				if (refusedLines.has(`add ${place} ${member}`)) continue;
				target.added.add(member);
				work.changed.add(name);
			}
			const complete = missingFrom(target, members).length === 0;
			target.addedFor = complete && refused.length === 0 ? spec.members : undefined;
			target.syncedFor = undefined;
			settle(name, target, spec, members);
		});
	};

	/** Once a set holds exactly what is wanted, it and the caller share one Set. */
	const settle = (name: string, kept: Kept, spec: IpsetSpec, members: ReadonlySet<string>): void => {
		const exact = sizeOf(kept) === members.size && missingFrom(kept, members).length === 0;
		if (exact) {
			kept.base = members;
			kept.added = new Set();
			if (kept.addedFor === spec.members) kept.syncedFor = spec.members;
		}
		written.set(name, { members, exact });
	};

	const planDestruction = (sets: Map<string, Kept>, name: string, work: Work): void => {
		work.lines.push(line('other', name, `destroy ${name}`));
		work.done.push((refusedLines) => {
			if (refusedLines.has(`other ${name}`)) return;
			sets.delete(name);
			written.delete(name);
			work.changed.add(name);
		});
	};

	const planRemoval = (name: string, kept: Kept, spec: IpsetSpec, work: Work): void => {
		if (kept.syncedFor === spec.members || spec.type !== kept.type || spec.family !== kept.family) return;
		const { members } = canonicalMembers(spec.members, spec.type, spec.family);
		const extra = beyond(kept, members);
		for (const member of extra) {
			work.lines.push({ verb: 'del', set: name, place: name, family: spec.family, member });
		}
		work.done.push((refusedLines) => {
			const gone = new Set(extra.filter((member) => !refusedLines.has(`del ${name} ${member}`)));
			if (gone.size > 0 && gone.size === extra.length && missingFrom(kept, members).length === 0) {
				kept.base = members;
				kept.added = new Set();
				work.changed.add(name);
			} else if (gone.size > 0) {
				kept.base = new Set([...kept.base, ...kept.added].filter((member) => !gone.has(member)));
				kept.added = new Set();
				work.changed.add(name);
			}
			settle(name, kept, spec, members);
		});
	};

	const restore = (lines: readonly Line[]): Promise<RestoreResult> => {
		for (const { set } of lines) touched.note(set);
		return writeLines(lines, (set) => kernel?.has(set) === true);
	};

	/** Writes the work planned; when the kernel turns out to be other than known, reads it and plans once more. */
	const perform = async (plan: (sets: Map<string, Kept>) => Work): Promise<ApplyResult> => {
		let fresh = false;
		for (;;) {
			if (kernel === undefined) {
				const error = await read();
				if (error !== undefined) return { changed: [], error };
				fresh = true;
			}
			const work = plan(kernel as unknown as Map<string, Kept>);
			const { refused, error } = await restore(work.lines);
			if (error !== undefined || (lost(refused) && !fresh)) {
				kernel = undefined;
				if (fresh) return { changed: [], ...(error && { error }) };
				continue;
			}
			const refusedLines = new Set<string>();
			for (const { line: at } of refused) {
				refusedLines.add('member' in at ? textOf(at) : `${at.verb} ${at.set}`);
			}
			for (const done of work.done) done(refusedLines);
			// Which members found room in a full set only the kernel knows.
			if (refused.some(({ reason }) => / is full/.test(reason))) kernel = undefined;
			const problem = summary([...work.problems, ...refused.map((one) => explain(one, maxMembers))]);
			const unusable = new Map<string, string>();
			const incomplete = new Map<string, string>();
			for (const one of refused) {
				if (one.line.verb === 'create') unusable.set(one.line.set, explain(one, maxMembers));
				else if (one.line.verb === 'add') incomplete.set(one.line.set, explain(one, maxMembers));
			}
			const partial =
				work.problems.length === 0 && refused.every(({ line: at }) => at.verb === 'create' || at.verb === 'add');
			return {
				changed: [...work.changed],
				...(problem && { error: problem, partial }),
				...(unusable.size > 0 && { unusable }),
				...(incomplete.size > 0 && { incomplete }),
			};
		}
	};

	const applyAdditions = (except: ReadonlySet<string> = new Set()): Promise<ApplyResult> =>
		perform((sets) => {
			const work = newWork();
			for (const name of unsettled) {
				if (except.has(name) && sets.has(name)) continue;
				const spec = wanted.get(name);
				if (spec !== undefined) planAddition(sets, name, spec, work);
			}
			return work;
		});

	/** Destroys what it can at once without a program, and forgets it; waits a little for rules deleted a moment ago. */
	const destroyAtOnce = async (unwanted: readonly string[]): Promise<string[]> => {
		const { writeMembers } = options;
		const gone: string[] = [];
		if (writeMembers === undefined) return gone;
		for (const pause of [0, 5, 20]) {
			if (pause > 0) await delay(pause);
			for (const set of unwanted) {
				const kept = kernel?.get(set);
				touched.note(set);
				if (kept === undefined || !(await writeMembers([{ set, verb: 'destroy', family: kept.family }]))) continue;
				kernel?.delete(set);
				written.delete(set);
				gone.push(set);
			}
			if (unwanted.every((set) => !kernel?.has(set) || stuck.has(set))) break;
		}
		return gone;
	};

	/** Those of the sets that rules use, after waiting briefly for any that were not found in use before. */
	const inUse = async (unwanted: readonly string[]): Promise<ReadonlySet<string>> => {
		let used = new Set<string>();
		for (const pause of [0, 5, 10, 20, 40, 80, 160]) {
			if (pause > 0) await delay(pause);
			const references = await tool.references();
			used = new Set(unwanted.filter((name) => (references.get(name) ?? 0) > 0));
			if ([...used].every((name) => stuck.has(name))) break;
		}
		stuck = used;
		return used;
	};

	const removeMembers = async (only?: ReadonlySet<string>): Promise<ApplyResult> => {
		const result = await perform((sets) => {
			const work = newWork();
			for (const name of only ?? unsettled) {
				if (!unsettled.has(name)) continue;
				const [kept, spec] = [sets.get(name), wanted.get(name)];
				if (kept !== undefined && spec !== undefined) planRemoval(name, kept, spec, work);
			}
			return work;
		});
		for (const name of unsettled) {
			const spec = wanted.get(name);
			if (spec === undefined || kernel?.get(name)?.syncedFor === spec.members) unsettled.delete(name);
		}
		return result;
	};

	const applyRemovals = async (): Promise<ApplyResult> => {
		const removed = await removeMembers();
		if (unsettled.size === 0 && kernel?.size === wanted.size && written.size === wanted.size) return removed;
		for (const name of written.keys()) if (!wanted.has(name) && !kernel?.has(name)) written.delete(name);
		const notWanted = (): string[] => [...(kernel?.keys() ?? [])].filter((name) => !wanted.has(name));
		const gone = await destroyAtOnce(notWanted());
		const unwanted = notWanted();
		if (unwanted.length === 0) return { ...removed, changed: [...removed.changed, ...gone] };
		const used = await inUse(unwanted);
		const destroyed = await perform((sets) => {
			const work = newWork();
			for (const name of sets.keys()) if (!wanted.has(name) && !used.has(name)) planDestruction(sets, name, work);
			work.problems.push(...[...used].map(stillUsed));
			return work;
		});
		const problem = removed.error ?? destroyed.error;
		return { changed: [...removed.changed, ...gone, ...destroyed.changed], ...(problem && { error: problem }) };
	};

	const compare = async (touchedNames: ReadonlySet<string>): ReturnType<Ipsets['resync']> => {
		const started = written.size > 0;
		const { sets, error } = await tool.save(expected);
		if (error !== undefined) {
			kernel = undefined;
			return { drifted: [], error };
		}
		take(sets, touchedNames);
		const drifted: string[] = [];
		for (const [name, last] of written) {
			const drift = touchedNames.has(name) ? undefined : driftOf(kernel?.get(name), last);
			if (drift !== undefined) drifted.push(`${name}: ${drift}`);
		}
		for (const name of started ? (kernel?.keys() ?? []) : []) {
			if (!written.has(name) && !wanted.has(name) && !touchedNames.has(name)) drifted.push(`${name}: set not wanted`);
		}
		return { drifted };
	};

	const resync: Ipsets['resync'] = async () => {
		// What was asked for before is done; what comes from now on does not wait.
		await serial(async () => {});
		const { names, end } = touched.begin();
		return compare(names).finally(end);
	};

	const remove = async (): Promise<ToolError | undefined> => {
		wanted = new Map();
		const error = await read();
		return error ?? (await applyRemovals()).error;
	};

	return {
		want: (sets) => {
			for (const [name, spec] of sets) {
				const before = wanted.get(name);
				if (before?.members !== spec.members || before.type !== spec.type || before.family !== spec.family) {
					unsettled.add(name);
				}
			}
			wanted = sets;
		},
		applyAdditions: (except) => serial(() => applyAdditions(except)),
		removeMembers: (only) => serial(() => removeMembers(only)),
		applyRemovals: () => serial(applyRemovals),
		resync,
		remove: () => serial(remove),
	};
};
