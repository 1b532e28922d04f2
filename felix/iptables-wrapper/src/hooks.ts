/**
 * Hooks: rules in chains that are not ours. They are told from others' by their text, or by leading to an owned chain.
 * Only they are ever written or deleted there.
 */
import { normaliseRule } from './normalise.ts';
import { targetOf } from './rule.ts';
import type { Hook } from './types.ts';

/** Rules by `TABLE CHAIN`. */
type Rules = ReadonlyMap<string, readonly string[]>;

/** Target of a rule without conditions, which every packet that comes that far meets. */
const unconditionalTarget = (text: string): string | undefined => {
	const form = normaliseRule(text).replace(/-m comment --comment (?:"(?:[^"\\]|\\.)*"|\S+) ?/g, '');
	return /^-[jg] (\S+)/.exec(form)?.[1];
};

const refuses = (target: string | undefined): boolean => target === 'REJECT' || target === 'DROP';

/** Whether no packet gets past a rule: a final REJECT or DROP, or a jump to a chain with one, such as ufw's. */
const endsHere = (text: string, rulesOf: (chain: string) => readonly string[]): boolean => {
	const target = unconditionalTarget(text);
	if (target === undefined) return false;
	if (refuses(target)) return true;
	return rulesOf(target).some((rule) => refuses(unconditionalTarget(rule)));
};

/** Index of the first rule that no packet gets past, -1 when there is none; `rulesOf` tells those of other chains. */
export const findEnd = (rules: readonly string[], rulesOf: (chain: string) => readonly string[]): number =>
	rules.findIndex((text) => endsHere(text, rulesOf));

export type HookRequest = {
	readonly table: string;
	readonly chain: string;
	/** Hooks wanted in this chain. */
	readonly wanted: readonly Hook[];
	/** Hooks wanted there earlier, which go even if they lead to no owned chain. */
	readonly dropped: readonly Hook[];
	readonly prefix: string;
};

/** Lines of a restore that bring the hooks of one foreign chain in order; none when they are. */
export const hookLines = ({ table, chain, wanted, dropped, prefix }: HookRequest, foreign: Rules): string[] => {
	const rules = foreign.get(`${table} ${chain}`) ?? [];
	// Most chains of others have nothing to do with us.
	if (wanted.length + dropped.length === 0 && !rules.some((text) => text.includes(prefix))) return [];
	const list = rules.map((text) => ({ text, form: normaliseRule(text) }));
	const rulesOf = (target: string): readonly string[] => foreign.get(`${table} ${target}`) ?? [];
	const lines: string[] = [];
	const indexOf = (form: string): number => list.findIndex((rule) => rule.form === form);
	// As the kernel does, deletes the first rule of that text.
	const drop = (form: string): void => {
		const at = indexOf(form);
		lines.push(`-D ${chain} ${list[at]?.text}`);
		list.splice(at, 1);
	};
	const insert = (at: number, text: string, form: string): void => {
		lines.push(at === list.length && at > 0 ? `-A ${chain} ${text}` : `-I ${chain} ${at + 1} ${text}`);
		list.splice(at, 0, { text, form });
	};

	const forms = wanted.map(({ rule, position }) => ({ rule, position, form: normaliseRule(rule) }));
	const isWanted = (form: string): boolean => forms.some((hook) => hook.form === form);
	const droppedForms = new Set(dropped.map(({ rule }) => normaliseRule(rule)));
	for (const { text, form } of [...list]) {
		const ours = targetOf(text)?.startsWith(prefix) || droppedForms.has(form);
		if (ours && !isWanted(form)) drop(form);
	}
	for (const { form } of forms) {
		for (let count = list.filter((rule) => rule.form === form).length; count > 1; count--) drop(form);
	}
	const firsts = forms.filter(({ position }) => position === 'first');
	if (!firsts.every(({ form }, i) => list[i]?.form === form)) {
		for (const { form } of firsts) if (indexOf(form) >= 0) drop(form);
		for (const [i, { rule, form }] of firsts.entries()) insert(i, rule, form);
	}
	for (const { rule, form, position } of forms) {
		if (position === 'append' && indexOf(form) < 0) insert(list.length, rule, form);
		if (position !== 'before-reject') continue;
		const end = (): number => list.findIndex(({ text, form: other }) => !isWanted(other) && endsHere(text, rulesOf));
		if (indexOf(form) >= 0) {
			if (end() < 0 || indexOf(form) < end()) continue;
			drop(form);
		}
		insert(end() < 0 ? list.length : end(), rule, form);
	}
	return lines;
};
