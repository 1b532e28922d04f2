/**
 * Policy state as filter chains: one dispatch chain a direction and one chain a group.
 *
 * A pod is judged by a chain it is sent to with goto, so a RETURN there (allowed) leaves the dispatch chain as well, and
 * whoever reaches its end is a pod that nobody judged: dropped. Rule bodies are spelt as iptables-save prints them.
 */
import type { MergedRules, PolicyGroup, PolicyRule, PolicyState } from '../calc/types.ts';
import { chain, groupChain, logRule } from './chains.ts';

type Direction = PolicyGroup['direction'];

/** What the pod of a direction and its remote are called in a rule. */
const ends = { egress: { pod: 'src', remote: 'dst' }, ingress: { pod: 'dst', remote: 'src' } } as const;

/** XT_MAX_COMMENT_LEN is 256 with the closing NUL; names are ASCII. */
const comment = (text: string): string => `-m comment --comment "${text.slice(0, 255)}"`;

const slots = ([from, to]: readonly [number, number]): number => (from === to ? 1 : 2);

/** `--dports` lists of at most 15 slots, a range taking two (XT_MULTI_PORTS). */
export const multiportLists = (ranges: readonly (readonly [number, number])[]): string[] => {
	const lists: string[][] = [];
	let free = 0;
	for (const range of ranges) {
		if (slots(range) > free) {
			lists.push([]);
			free = 15;
		}
		free -= slots(range);
		const [from, to] = range;
		lists.at(-1)?.push(from === to ? `${from}` : `${from}:${to}`);
	}
	return lists.map((list) => list.join(','));
};

/** The rules of one way to pass: several when its ports need more than one list. */
const renderRule = (rule: PolicyRule, direction: Direction): string[] => {
	const { remote } = ends[direction];
	const before = rule.protocol === undefined ? [] : [`-p ${rule.protocol.toLowerCase()}`];
	const after: string[] = [];
	if (rule.peerSet !== undefined) after.push(`-m set --match-set ${rule.peerSet} ${remote}`);
	if (rule.exceptSet !== undefined) after.push(`-m set ! --match-set ${rule.exceptSet} ${remote}`);
	if (rule.destinationPortSet !== undefined) after.push(`-m set --match-set ${rule.destinationPortSet} dst,dst`);
	after.push(comment(rule.policy), '-j RETURN');
	const everyPort = rule.ports === undefined || rule.ports.length === 0;
	const whole = rule.ports?.some(([from, to]) => from === 0 && to === 65535);
	if (everyPort || whole) return [[...before, ...after].join(' ')];
	return multiportLists(rule.ports ?? []).map((list) =>
		[...before, `-m multiport --dports ${list}`, ...after].join(' '),
	);
};

/** Many rules as one: their policies are told by `manx explain`. */
const renderMerged = ({ set, kind }: MergedRules, direction: Direction): string => {
	const match = kind === 'pairs' ? `${ends[direction].remote},dst` : ends[direction].remote;
	return `-m set --match-set ${set} ${match} ${comment('many policies')} -j RETURN`;
};

/** The end of a chain: whoever comes here is dropped, and told of first where that is wanted. */
const drop = (name: string, logging: boolean): string[] => [...(logging ? [logRule(name)] : []), '-j DROP'];

const mergedRules = ({ merged }: PolicyGroup): number => merged.reduce((sum, { rules }) => sum + rules, 0);

/** What the kernel has in place of the rule of that index; undefined when it is a rule of its own. */
export const mergedWith = (group: PolicyGroup, rule: number): MergedRules | undefined => {
	let end = 0;
	return group.merged.find(({ rules }) => {
		end += rules;
		return rule < end;
	});
};

/** A group's rules change only with its object, so what was rendered is kept with it: without and with logging. */
const rendered = [false, true].map((logging) => ({ logging, groups: new WeakMap<PolicyGroup, readonly string[]>() }));

const renderGroup = (group: PolicyGroup, logging: boolean): readonly string[] => {
	const groups = rendered.find((one) => one.logging === logging)?.groups;
	const known = groups?.get(group);
	if (known) return known;
	const name = groupChain(group.direction, group.id);
	const { direction } = group;
	const rules = [
		...group.merged.map((one) => renderMerged(one, direction)),
		...group.rules.slice(mergedRules(group)).flatMap((rule) => renderRule(rule, direction)),
		...drop(name, logging),
	];
	groups?.set(group, rules);
	return rules;
};

/**
 * Index, in the group's chain, of the rule that a verdict names: by its place in the group's rules and, where one way to
 * pass takes several rules for its ports, by the port; that of the merged rule it is part of. Undefined `rule`: the DROP
 * at the end.
 */
export const indexInChain = (
	group: PolicyGroup,
	rule: number | undefined,
	port: number | undefined,
	logging: boolean,
): number => {
	if (rule === undefined) return renderGroup(group, logging).length - 1;
	const shared = mergedWith(group, rule);
	if (shared !== undefined) return group.merged.indexOf(shared);
	const singles = group.rules.slice(mergedRules(group), rule);
	const before = group.merged.length + singles.flatMap((one) => renderRule(one, group.direction)).length;
	const { ports = [] } = group.rules[rule] as PolicyRule;
	if (port === undefined || ports.length === 0) return before;
	const holds = (list: string): boolean =>
		list.split(',').some((range) => {
			const [from = 0, to = from] = range.split(':').map(Number);
			return from <= port && port <= to;
		});
	return before + Math.max(0, multiportLists(ports).findIndex(holds));
};

const dispatch = (state: PolicyState, direction: Direction, logging: boolean): string[] => [
	`-m set --match-set ${state.open[direction]} ${ends[direction].pod} -j RETURN`,
	...state.groups
		.filter((group) => group.direction === direction)
		.map(
			(group) => `-m set --match-set ${group.memberSet} ${ends[direction].pod} -g ${groupChain(direction, group.id)}`,
		),
	...drop(chain[direction], logging),
];

/** Chains of the filter table by name. */
export const renderPolicy = (
	state: PolicyState,
	logging = false,
): { readonly chains: ReadonlyMap<string, readonly string[]> } => {
	const chains = new Map<string, readonly string[]>([
		[chain.egress, dispatch(state, 'egress', logging)],
		[chain.ingress, dispatch(state, 'ingress', logging)],
	]);
	for (const group of state.groups) chains.set(groupChain(group.direction, group.id), renderGroup(group, logging));
	return { chains };
};
