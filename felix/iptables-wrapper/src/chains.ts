/** Keeps the chains of one family and backend as wanted; contract in types.ts, the writing itself in plan.ts. */
import { findRefused } from './find-refused.ts';
import { hookLines } from './hooks.ts';
import { type Actual, actualOf, planOf, sameRules, splitKey } from './plan.ts';
import { explainRestore, type RestoreFailure, ruleOf } from './restore-error.ts';
import { parseSave, parseSaveSlowly } from './save.ts';
import { createSerial } from './serial.ts';
import { createTouched } from './touched.ts';
import type { ApplyResult, Backend, Chains, Family, Hook, Ruleset, Run, Table, ToolError } from './types.ts';

export type ChainsOptions = {
	readonly family: Family;
	readonly backend: Backend;
	/** Of the names of owned chains, e.g. `MANX-`. */
	readonly prefix: string;
	readonly run: Run;
	/** How long to wait for the xtables lock; 10 when absent. */
	readonly lockSeconds?: number;
	/** Lets others go on in the middle of a comparison. */
	readonly pause?: () => Promise<void>;
};

/** Rules compared before others go on. */
const lookedAtOnce = 256;

const sameTexts = (a: readonly string[], b: readonly string[]): boolean =>
	a.length === b.length && a.every((text, i) => text === b[i]);

const sameHooks = (a: readonly Hook[], b: readonly Hook[]): boolean =>
	a === b ||
	(a.length === b.length &&
		a.every((hook, i) => {
			const other = b[i] as Hook;
			return (
				hook.table === other.table &&
				hook.chain === other.chain &&
				hook.position === other.position &&
				hook.rule === other.rule
			);
		}));

/** A rule text with a line break would become two lines of the restore's input. */
const brokenRule = (wanted: Ruleset, applied: Ruleset | undefined, prefix: string): string | undefined => {
	for (const [key, rules] of wanted.chains) {
		if (applied?.chains.get(key) === rules) continue;
		const [table, chain] = splitKey(key);
		if (table === '' || !chain.startsWith(prefix) || /\s/.test(chain)) {
			return `chain "${key}" is not "TABLE ${prefix}NAME"`;
		}
		const broken = rules.find((rule) => rule.includes('\n'));
		if (broken !== undefined) return `a rule of ${key} holds a line break: ${JSON.stringify(broken)}`;
	}
	const hook = wanted.hooks.find(
		({ rule, chain }) => rule.includes('\n') || /\s/.test(chain) || chain.startsWith(prefix),
	);
	return hook && `the hook ${JSON.stringify(hook)} holds a line break or its chain is an owned one`;
};

export const createChains = (options: ChainsOptions): Chains => {
	const { family, backend, prefix, run, lockSeconds = 10, pause = () => new Promise(setImmediate) } = options;
	const program = `${family === 4 ? 'iptables' : 'ip6tables'}-${backend}`;
	const serial = createSerial();
	let actual: Actual | undefined;
	/** The last ruleset written whole. */
	let applied: Ruleset | undefined;
	const touched = createTouched();
	/** Chains as they were read when they were as wanted: read in the same words again, they need no second thought. */
	let familiar = new Map<string, { readonly wanted: readonly string[]; readonly found: readonly string[] }>();

	const save = async (args: readonly string[]): Promise<{ text: string; error?: ToolError }> => {
		const { code, stdout, stderr } = await run(`${program}-save`, args);
		if (code === 0) return { text: stdout };
		const message = `${program}-save failed with status ${code}: ${stderr.trim()}. Check that it is installed and may be run.`;
		return { text: '', error: { message, code, stderr } };
	};

	const read = async (): Promise<ToolError | undefined> => {
		const { text, error } = await save([]);
		actual = error === undefined ? actualOf(parseSave(text), prefix) : undefined;
		return error;
	};

	const runRestore = (input: string): ReturnType<Run> =>
		run(`${program}-restore`, ['--noflush', '-w', `${lockSeconds}`], input);

	const restore = async (input: string): Promise<RestoreFailure | undefined> => {
		const result = await runRestore(input);
		return result.code === 0 ? undefined : explainRestore(`${program}-restore`, input, result);
	};

	/** Names the rule in an error that only names its table. */
	const refine = async (input: string, failure: RestoreFailure): Promise<ToolError> => {
		const { error, table, named, locked } = failure;
		if (named || locked || table === undefined) return error;
		const line = await findRefused(input, table, prefix, async (trial) => (await runRestore(trial)).code === 0);
		if (line === undefined) return error;
		return { ...error, message: `${error.message} It is this one: "${line}".`, ...ruleOf(table, line) };
	};

	const homelessError = (hooks: readonly Hook[]): ToolError | undefined => {
		const [hook] = hooks;
		if (hook === undefined) return undefined;
		const message =
			`The hook "${hook.rule}" has no place: table ${hook.table} has no chain ${hook.chain}. ` +
			'It is put there by the first apply after a resync that finds the chain.';
		return { message, code: 1, stderr: '' };
	};

	const apply = async (wanted: Ruleset): Promise<ApplyResult> => {
		// What is known of others' chains was read since: there may be something to mend.
		if (wanted === applied && actual !== undefined && actual.foreign === undefined) return { changed: [] };
		const broken = brokenRule(wanted, applied, prefix);
		if (broken !== undefined) {
			return { changed: [], error: { message: `Nothing was written: ${broken}.`, code: 2, stderr: '' } };
		}
		let fresh = false;
		if (actual === undefined || (actual.foreign === undefined && !sameHooks(wanted.hooks, applied?.hooks ?? []))) {
			const error = await read();
			if (error !== undefined) return { changed: [], error };
			fresh = true;
		}
		for (;;) {
			const known = actual as Actual;
			const plan = planOf(known, wanted, applied?.hooks ?? [], prefix);
			for (const { name } of plan.changed) touched.note(name);
			const failure = plan.input === '' ? undefined : await restore(plan.input);
			if (failure === undefined) {
				actual = { owned: new Map(wanted.chains), foreign: undefined };
				applied = wanted;
				const error = homelessError(plan.homeless);
				return { changed: plan.changed.map(({ name }) => name), ...(error && { error }) };
			}
			// What was known may have been overtaken by others: one more try from what is really there.
			actual = undefined;
			const changed = plan.changed.filter(({ table }) => failure.committed.includes(table)).map(({ name }) => name);
			if (fresh || failure.locked) return { changed, error: await refine(plan.input, failure) };
			const error = await read();
			if (error !== undefined) return { changed, error };
			fresh = true;
		}
	};

	const driftOf = async (now: Actual, wanted: Ruleset): Promise<string[]> => {
		const drifted: string[] = [];
		const before = familiar;
		familiar = new Map();
		let looked = 0;
		for (const [key, rules] of wanted.chains) {
			const found = now.owned.get(key);
			const known = before.get(key);
			const same =
				found !== undefined && ((known?.wanted === rules && sameTexts(known.found, found)) || sameRules(rules, found));
			if (!same) drifted.push(key);
			else familiar.set(key, { wanted: rules, found });
			looked += rules.length;
			if (looked < lookedAtOnce) continue;
			looked = 0;
			await pause();
		}
		for (const key of now.owned.keys()) if (!wanted.chains.has(key)) drifted.push(key);
		const foreign = now.foreign ?? new Map<string, readonly string[]>();
		for (const key of new Set([...foreign.keys(), ...wanted.hooks.map((hook) => `${hook.table} ${hook.chain}`)])) {
			const [table, chain] = splitKey(key);
			const hooks = wanted.hooks.filter((hook) => hook.table === table && hook.chain === chain);
			if (hookLines({ table, chain, wanted: hooks, dropped: [], prefix }, foreign).length > 0)
				drifted.push(`${key} hook`);
		}
		return drifted;
	};

	const compare = async (written: ReadonlySet<string>): ReturnType<Chains['resync']> => {
		const { text, error } = await save([]);
		if (error !== undefined) {
			actual = undefined;
			return { drifted: [], error };
		}
		const found = actualOf(await parseSaveSlowly(text, pause), prefix);
		const differing = applied === undefined ? [] : await driftOf(found, applied);
		const drifted = differing.filter((key) => !written.has(key));
		if (written.size === 0) {
			const asWanted = applied !== undefined && drifted.length === 0;
			actual = asWanted ? { owned: new Map(applied?.chains), foreign: undefined } : found;
		} else if (actual !== undefined && drifted.length > 0) {
			const owned = new Map(found.owned);
			for (const key of written) {
				const rules = actual.owned.get(key);
				if (rules === undefined) owned.delete(key);
				else owned.set(key, rules);
			}
			actual = { owned, foreign: [...written].some((key) => key.endsWith(' hook')) ? undefined : found.foreign };
		}
		return { drifted };
	};

	const resync: Chains['resync'] = async () => {
		// What was asked for before is done; what comes from now on does not wait.
		await serial(async () => {});
		const { names, end } = touched.begin();
		return compare(names).finally(end);
	};

	const remove = async (): Promise<ToolError | undefined> => {
		const error = await read();
		if (error !== undefined) return error;
		const plan = planOf(actual as Actual, { chains: new Map(), hooks: [] }, applied?.hooks ?? [], prefix);
		actual = undefined;
		applied = undefined;
		return plan.input === '' ? undefined : (await restore(plan.input))?.error;
	};

	const counters = async (table: Table, chain: string): ReturnType<Chains['counters']> => {
		const { text } = await save(['-c', '-t', table]);
		const rules = parseSave(text).get(table)?.get(chain)?.rules ?? [];
		return rules.map(({ packets, bytes }) => ({ packets, bytes }));
	};

	return {
		apply: (wanted) => serial(() => apply(wanted)),
		resync,
		counters,
		remove: () => serial(remove),
	};
};
