/**
 * From what the kernel has and what is wanted to the input of one `iptables-restore --noflush`. Pure.
 *
 * Within a table: chains to write are declared first (which makes or flushes them), then stale chains are flushed, hooks
 * taken out and put in, rules appended, and stale chains deleted last, when nothing leads to them any more. A table is
 * committed as a whole by both backends, so no packet sees a step in between.
 */
import { hookLines } from './hooks.ts';
import { normaliseRule } from './normalise.ts';
import type { ParsedSave } from './save.ts';
import type { Hook, Ruleset, Table } from './types.ts';

/** `TABLE CHAIN` */
export type ChainKey = string;

/** What is known of the kernel. Rules are texts, as printed or as we wrote them. */
export type Actual = {
	readonly owned: ReadonlyMap<ChainKey, readonly string[]>;
	/** Rules of chains that are not ours; undefined when only our own writes are known. */
	readonly foreign: ReadonlyMap<ChainKey, readonly string[]> | undefined;
};

export type Plan = {
	/** Empty when nothing is to do. */
	readonly input: string;
	readonly changed: readonly { readonly table: string; readonly name: string }[];
	/** Hooks that cannot be placed, as their chain does not exist. */
	readonly homeless: readonly Hook[];
};

const tableOrder: readonly Table[] = ['raw', 'mangle', 'nat', 'filter'];
const builtin: Readonly<Record<Table, readonly string[]>> = {
	raw: ['PREROUTING', 'OUTPUT'],
	mangle: ['PREROUTING', 'INPUT', 'FORWARD', 'OUTPUT', 'POSTROUTING'],
	nat: ['PREROUTING', 'INPUT', 'OUTPUT', 'POSTROUTING'],
	filter: ['INPUT', 'FORWARD', 'OUTPUT'],
};

export const splitKey = (key: ChainKey): readonly [string, string] => {
	const space = key.indexOf(' ');
	return [key.slice(0, space), key.slice(space + 1)];
};

/** Splits a save into owned chains and the rest. */
export const actualOf = (saved: ParsedSave, prefix: string): Actual => {
	const owned = new Map<ChainKey, readonly string[]>();
	const foreign = new Map<ChainKey, readonly string[]>();
	for (const [table, chains] of saved) {
		for (const [name, chain] of chains) {
			const rules = chain.rules.map((rule) => rule.text);
			(name.startsWith(prefix) ? owned : foreign).set(`${table} ${name}`, rules);
		}
	}
	return { owned, foreign };
};

export const sameRule = (a: string, b: string): boolean => a === b || normaliseRule(a) === normaliseRule(b);

/** Number of rules at the end that two chains share, no more than `most`. */
const sharedEnd = (a: readonly string[], b: readonly string[], most: number): number => {
	let i = 0;
	while (i < most && sameRule(a[a.length - 1 - i] as string, b[b.length - 1 - i] as string)) i++;
	return i;
};

/** Number of leading rules two chains share. */
const sharedStart = (a: readonly string[], b: readonly string[]): number => {
	let i = 0;
	while (i < a.length && i < b.length && sameRule(a[i] as string, b[i] as string)) i++;
	return i;
};

export const sameRules = (a: readonly string[], b: readonly string[]): boolean =>
	a === b || (a.length === b.length && sharedStart(a, b) === a.length);

const groupHooks = (hooks: readonly Hook[]): Map<ChainKey, Hook[]> => {
	const groups = new Map<ChainKey, Hook[]>();
	for (const hook of hooks) {
		const key = `${hook.table} ${hook.chain}`;
		const group = groups.get(key);
		if (group === undefined) groups.set(key, [hook]);
		else group.push(hook);
	}
	return groups;
};

type TableLines = {
	readonly declare: string[];
	readonly hooks: string[];
	readonly rules: string[];
	readonly drop: string[];
};

/**
 * What to write so that `actual` becomes `wanted`. `before` are the hooks of the ruleset applied last: those no longer
 * wanted are taken out even if they lead to no owned chain. Without `actual.foreign` hooks are taken to be in place.
 */
export const planOf = (actual: Actual, wanted: Ruleset, before: readonly Hook[], prefix: string): Plan => {
	const tables = new Map<string, TableLines>();
	const linesOf = (table: string): TableLines => {
		let lines = tables.get(table);
		if (lines === undefined) {
			lines = { declare: [], hooks: [], rules: [], drop: [] };
			tables.set(table, lines);
		}
		return lines;
	};
	const changed: { table: string; name: string }[] = [];

	for (const [key, rules] of wanted.chains) {
		const have = actual.owned.get(key);
		if (have === rules) continue;
		const shared = have === undefined ? 0 : sharedStart(have, rules);
		if (have !== undefined && shared === have.length && shared === rules.length) continue;
		const [table, chain] = splitKey(key);
		const lines = linesOf(table);
		changed.push({ table, name: key });
		// Rules put in or taken out at one place leave the others, their counters and (nothing deleted, nft) an RCU grace
		// period alone. Taken out by their text: were the chain not what we know, a number could hit another rule.
		const common = Math.min(have?.length ?? 0, rules.length);
		const tail = have === undefined ? 0 : sharedEnd(have, rules, common - shared);
		if (have !== undefined && have.length > 0 && shared + tail === common) {
			for (let i = shared; i < have.length - tail; i++) lines.rules.push(`-D ${chain} ${have[i]}`);
			for (let i = shared; i < rules.length - tail; i++) {
				lines.rules.push(tail === 0 ? `-A ${chain} ${rules[i]}` : `-I ${chain} ${i + 1} ${rules[i]}`);
			}
			continue;
		}
		if (have === undefined || have.length > 0) lines.declare.push(`:${chain} - [0:0]`);
		for (const rule of rules) lines.rules.push(`-A ${chain} ${rule}`);
	}
	for (const key of actual.owned.keys()) {
		if (wanted.chains.has(key)) continue;
		const [table, chain] = splitKey(key);
		const lines = linesOf(table);
		changed.push({ table, name: key });
		lines.declare.push(`:${chain} - [0:0]`);
		lines.drop.push(`-X ${chain}`);
	}

	const homeless: Hook[] = [];
	if (actual.foreign !== undefined) {
		const hooks = groupHooks(wanted.hooks);
		const gone = groupHooks(before.filter((hook) => !wanted.hooks.includes(hook)));
		for (const key of new Set([...hooks.keys(), ...actual.foreign.keys()])) {
			const [table, chain] = splitKey(key);
			const group = hooks.get(key) ?? [];
			const rules = actual.foreign.get(key);
			if (rules === undefined && !builtin[table as Table]?.includes(chain)) {
				homeless.push(...group);
				continue;
			}
			const lines = hookLines({ table, chain, wanted: group, dropped: gone.get(key) ?? [], prefix }, actual.foreign);
			if (lines.length === 0) continue;
			linesOf(table).hooks.push(...lines);
			changed.push({ table, name: `${key} hook` });
		}
	}

	const rank = (table: string): number => tableOrder.indexOf(table as Table);
	const input = [...tables]
		.sort(([a], [b]) => rank(a) - rank(b))
		.map(([table, { declare, hooks, rules, drop }]) =>
			[`*${table}`, ...declare, ...rules, ...hooks, ...drop, 'COMMIT', ''].join('\n'),
		)
		.join('');
	return { input, changed, homeless };
};
