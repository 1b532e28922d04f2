/** Keeps the chains of one family and backend as wanted; contract in types.ts, the writing itself in plan.ts. */
import { findRefused } from './find-refused.ts';
import { hookLines } from './hooks.ts';
import { type Actual, actualOf, planOf, sameRules, splitKey } from './plan.ts';
import { explainRestore, type RestoreFailure, ruleOf } from './restore-error.ts';
import { parseSave } from './save.ts';
import { createSerial } from './serial.ts';
import type { ApplyResult, Backend, Chains, Family, Hook, Ruleset, Run, Table, ToolError } from './types.ts';

export type ChainsOptions = {
	readonly family: Family;
	readonly backend: Backend;
	/** Of the names of owned chains, e.g. `MANX-`. */
	readonly prefix: string;
	readonly run: Run;
	/** How long to wait for the xtables lock; 10 when absent. */
	readonly lockSeconds?: number;
};

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
	const { family, backend, prefix, run, lockSeconds = 10 } = options;
	const program = `${family === 4 ? 'iptables' : 'ip6tables'}-${backend}`;
	const serial = createSerial();
	let actual: Actual | undefined;
	/** The last ruleset written whole. */
	let applied: Ruleset | undefined;

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

	const driftOf = (now: Actual, wanted: Ruleset): string[] => {
		const drifted: string[] = [];
		for (const [key, rules] of wanted.chains) {
			const found = now.owned.get(key);
			if (found === undefined || !sameRules(rules, found)) drifted.push(key);
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

	const resync: Chains['resync'] = async () => {
		const error = await read();
		if (error !== undefined) return { drifted: [], error };
		return { drifted: applied === undefined ? [] : driftOf(actual as Actual, applied) };
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
		resync: () => serial(resync),
		counters,
		remove: () => serial(remove),
	};
};
