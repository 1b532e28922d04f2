import type { ApplyResult, Chains, Ipsets, Ruleset, ToolError } from 'iptables-wrapper';
import type { Logger } from '../../src/logging.ts';
import type { Family } from '../../src/net/ip.ts';
import type { Desired } from './desired.ts';
import { type Policies, writeOrder } from './write-order.ts';

/**
 * Writes sets and rules. What the kernel refuses is left out by itself, and so that less is allowed, never more: a rule of
 * a group's chain is missing, and what it would let pass is dropped; a set that cannot be made takes the rules that rest
 * on it along. Everything else is written. What was left out is tried again from time to time.
 */

export type Refusal = {
	/** `namespace/name`, sorted. */
	readonly policies: readonly string[];
	readonly reason: string;
};

export type PolicyWriter = {
	/** An error: nothing can be said of what is in force. Refusals are no error. */
	readonly write: (wanted: Desired) => Promise<string | undefined>;
	/** What is left out at present. */
	readonly refusals: () => readonly Refusal[];
	/** What is waited for, in words. */
	readonly waiting: () => string | undefined;
	/** In how many milliseconds to write again, when something is left out. */
	readonly retryIn: () => number | undefined;
};

export type PolicyWriterDeps = {
	readonly chains: Readonly<Record<Family, Chains>>;
	readonly ipsets: Ipsets;
	readonly now: () => number;
	readonly log: Logger;
};

const families = [4, 6] as const;
/** Until what was refused is tried once more; a rule that iptables-legacy refuses takes it a dozen programs to find. */
const retryAfter = 10_000;
/** A runtime waits for minutes, but gets an answer: it tries again. */
const lockPatience = 30_000;
const lockHeld = 'another program holds the xtables lock';
/** Rules left out one after another in a pass; more than that is no single rule's fault. */
const mostRefused = 32;

/** Chains that let pass what their rules name and drop the rest: a rule may be missing there. */
const mayMiss = (key: string): boolean => /^filter MANX-(?:[EI]-|EGRESS$|INGRESS$)/.test(key);

/** Without the others there is no telling whose packet it is: nothing is written then. */
const isPolicySet = (name: string): boolean => /^manx-[46]-(?:open-|[a-z]-)/.test(name);

const setsIn = (rule: string): string[] => [...rule.matchAll(/--match-set (\S+)/g)].map((match) => match[1] as string);

export const createPolicyWriter = ({ chains, ipsets, now, log }: PolicyWriterDeps): PolicyWriter => {
	let inForce: Policies | undefined;
	let unusable: ReadonlyMap<string, string> = new Map();
	/** Rules the kernel refused, by family and text. */
	let refusedRules = new Map<string, { readonly family: Family; readonly rule: string; readonly reason: string }>();
	let triedAt = 0;
	let heldSince: number | undefined;
	let refusals: readonly Refusal[] = [];
	let told = '[]';

	/** The same object as before where the same is left out. */
	const cut = new Map<Family, { from: Ruleset; without: string; result: Ruleset }>();
	const without = (family: Family, ruleset: Ruleset): Ruleset => {
		const rules = new Set([...refusedRules.values()].filter((one) => one.family === family).map(({ rule }) => rule));
		if (rules.size === 0 && unusable.size === 0) return ruleset;
		const key = JSON.stringify([[...rules], [...unusable.keys()]]);
		const known = cut.get(family);
		if (known?.from === ruleset && known.without === key) return known.result;
		const kept = (rule: string): boolean => !rules.has(rule) && !setsIn(rule).some((name) => unusable.has(name));
		const result = {
			...ruleset,
			chains: new Map(
				[...ruleset.chains].map(([name, own]) => [name, mayMiss(name) && !own.every(kept) ? own.filter(kept) : own]),
			),
		};
		cut.set(family, { from: ruleset, without: key, result });
		return result;
	};

	/** Waits while another program holds the xtables lock, and says so; gives up in time for those who wait for an answer. */
	const applyUnlocked = async (family: Family, ruleset: Ruleset): Promise<ApplyResult> => {
		const since = now();
		for (;;) {
			const result = await chains[family].apply(ruleset);
			const locked = /xtables lock/.test(result.error?.stderr ?? '');
			if (!locked) {
				if (heldSince !== undefined) log.info({}, 'the xtables lock is free again');
				heldSince = undefined;
				return result;
			}
			if (heldSince === undefined) log.warn({}, `${lockHeld}; waiting for it`);
			heldSince ??= since;
			if (now() - since > lockPatience) return result;
		}
	};

	const applyChains = async (family: Family, ruleset: Ruleset): Promise<ToolError | undefined> => {
		for (let left = mostRefused; ; left--) {
			const { error } = await applyUnlocked(family, without(family, ruleset));
			const { table, chain, body } = error?.rule ?? {};
			if (error === undefined || body === undefined || left === 0) return error;
			const key = `${family} ${body}`;
			if (!mayMiss(`${table} ${chain}`) || refusedRules.has(key)) return error;
			refusedRules.set(key, { family, rule: body, reason: error.message });
			triedAt = now();
		}
	};

	/** Whose rules rest on a set, or who is judged by it. */
	const policiesOf = (name: string, { 4: v4, 6: v6 }: Policies): string[] =>
		[v4, v6].flatMap(({ groups }) =>
			groups.flatMap(({ memberSet, policies, rules, merged }) => {
				if (memberSet === name) return [...policies];
				let from = 0;
				const found: string[] = [];
				for (const one of merged) {
					if (one.set === name) found.push(...rules.slice(from, from + one.rules).map(({ policy }) => policy));
					from += one.rules;
				}
				const named = rules.filter(
					({ peerSet, exceptSet, destinationPortSet }) =>
						peerSet === name || exceptSet === name || destinationPortSet === name,
				);
				return [...found, ...named.map(({ policy }) => policy)];
			}),
		);

	const report = (policies: Policies, incomplete: ReadonlyMap<string, string>): void => {
		const found: Refusal[] = [];
		const add = (names: readonly string[], reason: string): void => {
			found.push({ policies: [...new Set(names)].sort(), reason });
		};
		for (const [name, reason] of [...unusable, ...incomplete]) add(policiesOf(name, policies), reason);
		for (const { rule, reason } of refusedRules.values()) {
			const named = /--comment "?([^" ]+)"?/.exec(rule)?.[1];
			add(named === undefined ? [] : [named], reason);
		}
		refusals = found;
		const text = JSON.stringify(found);
		if (text === told) return;
		for (const one of found) {
			const whose = one.policies.length > 0 ? `of ${one.policies.join(', ')} ` : '';
			log.error({ ...one }, `part ${whose}is not in force, and what it would allow is dropped: ${one.reason}`);
		}
		if (found.length === 0) log.info({}, 'everything that was refused is in force now');
		told = text;
	};

	const write = async (wanted: Desired): Promise<string | undefined> => {
		if (refusedRules.size > 0 && now() - triedAt >= retryAfter) refusedRules = new Map();
		ipsets.want(wanted.sets);
		const { peers, homes, leaveFirst } = writeOrder(inForce, wanted.policies);
		const lost = new Map<string, string>();
		const short = new Map<string, string>();
		let problem: string | undefined;
		const sets = async (result: Promise<ApplyResult>): Promise<void> => {
			const { error, partial, unusable: gone, incomplete } = await result;
			for (const [name, reason] of gone ?? []) lost.set(name, reason);
			for (const [name, reason] of incomplete ?? []) short.set(name, reason);
			const rests = [...lost.keys()].some((name) => !isPolicySet(name));
			if (error !== undefined && (partial !== true || rests)) problem ??= error.message;
		};
		if (peers.size > 0) await sets(ipsets.removeMembers(peers));
		await sets(ipsets.applyAdditions(leaveFirst ? new Set([...peers, ...homes]) : peers));
		if (leaveFirst) await sets(ipsets.removeMembers(homes));
		unusable = lost;
		if (problem !== undefined) return problem;
		// Two programs side by side: most of their time is waiting for the kernel.
		const failed = await Promise.all(families.map((family) => applyChains(family, wanted.rulesets[family])));
		const error = failed.find((one) => one !== undefined);
		if (error !== undefined) return error.message;
		if (leaveFirst) await sets(ipsets.applyAdditions(peers));
		if (homes.size > 0) await sets(ipsets.removeMembers(homes));
		if (peers.size > 0) await sets(ipsets.applyAdditions());
		await sets(ipsets.removeMembers());
		if (problem === undefined) inForce = wanted.policies;
		report(wanted.policies, short);
		return problem;
	};

	return {
		write,
		refusals: () => refusals,
		waiting: () =>
			heldSince === undefined
				? undefined
				: `rules wait since ${Math.round((now() - heldSince) / 1000)} s: ${lockHeld} (fuser -v /run/xtables.lock tells which)`,
		retryIn: () => (refusals.length === 0 ? undefined : retryAfter),
	};
};
