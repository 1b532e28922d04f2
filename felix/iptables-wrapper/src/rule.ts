/**
 * A rule body taken apart: base conditions, matches with their options, target. Says nothing of what options mean,
 * except how many words follow those whose value may look like an option, and which match an option loads by itself.
 */
import { quoteWord, splitWords } from './words.ts';

export type Option = { readonly negated: boolean; readonly name: string; readonly values: readonly string[] };

export type Match = { readonly name: string; readonly options: readonly Option[] };

export type Rule = {
	/** -s -d -i -o -p -f, by these names. */
	readonly base: ReadonlyMap<string, Option>;
	readonly matches: readonly Match[];
	readonly target: { readonly goto: boolean; readonly name: string; readonly options: readonly Option[] } | undefined;
};

export const baseOrder = ['-s', '-d', '-i', '-o', '-p', '-f'] as const;

const aliases: Readonly<Record<string, string>> = {
	'--source': '-s',
	'--src': '-s',
	'--destination': '-d',
	'--dst': '-d',
	'--in-interface': '-i',
	'--out-interface': '-o',
	'--protocol': '-p',
	'--proto': '-p',
	'--fragment': '-f',
	'--match': '-m',
	'--jump': '-j',
	'--goto': '-g',
	'--source-port': '--sport',
	'--destination-port': '--dport',
	'--source-ports': '--sports',
	'--destination-ports': '--dports',
};

/** Options that take this many words whatever those look like. */
const wordsTaken: Readonly<Record<string, number>> = {
	'-s': 1,
	'-d': 1,
	'-i': 1,
	'-o': 1,
	'-p': 1,
	'-f': 0,
	'--comment': 1,
	'--nflog-prefix': 1,
	'--log-prefix': 1,
	'--syn': 0,
	'--tcp-flags': 2,
	'--match-set': 2,
};

const portProtocols = new Set(['tcp', 'udp', 'sctp', 'udplite', 'dccp']);

/** Match that an option loads without `-m`, given the rule's protocol (iptables/xshared.c, load_proto). */
const impliedMatch = (option: string, protocol: string | undefined): string | undefined => {
	if (option === '--icmp-type') return 'icmp';
	if (option === '--icmpv6-type') return 'icmp6';
	if (option === '--syn' || option === '--tcp-flags' || option === '--tcp-option') return 'tcp';
	if (option === '--chunk-types') return 'sctp';
	if (option !== '--dport' && option !== '--sport') return undefined;
	return protocol !== undefined && portProtocols.has(protocol) ? protocol : undefined;
};

const numberedProtocols: Readonly<Record<string, string>> = { '6': 'tcp', '17': 'udp', '132': 'sctp' };

/** Takes a rule body apart. Any text gives a rule: what iptables would refuse is for iptables to refuse. */
export const parseRule = (text: string): Rule => {
	const words = splitWords(text);
	const base = new Map<string, Option>();
	const matches: { name: string; options: Option[] }[] = [];
	let target: { goto: boolean; name: string; options: Option[] } | undefined;
	let current: Option[] | undefined;
	let negated = false;
	for (let i = 0; i < words.length; i++) {
		const word = words[i] as string;
		if (word === '!') {
			negated = true;
			continue;
		}
		const name = aliases[word] ?? word;
		if (name === '-m' || name === '-j' || name === '-g') {
			const value = words[++i] ?? '';
			if (name === '-m') {
				const match = { name: value, options: [] };
				matches.push(match);
				current = match.options;
			} else {
				target = { goto: name === '-g', name: value, options: [] };
				current = target.options;
			}
			negated = false;
			continue;
		}
		const values: string[] = [];
		const count = wordsTaken[name];
		while (i + 1 < words.length && (count === undefined || values.length < count)) {
			const next = words[i + 1] as string;
			if (count === undefined && (next === '!' || /^--?[a-z]/i.test(next))) break;
			values.push(next);
			i++;
		}
		const option = { negated, name, values };
		negated = false;
		if ((baseOrder as readonly string[]).includes(name)) {
			base.set(name, option);
			continue;
		}
		const protocol = base.get('-p')?.values[0]?.toLowerCase();
		const implied = impliedMatch(name, protocol && (numberedProtocols[protocol] ?? protocol));
		if (implied !== undefined) {
			let match = matches.findLast((candidate) => candidate.name === implied);
			if (match === undefined) {
				match = { name: implied, options: [] };
				matches.push(match);
			}
			match.options.push(option);
		} else if (current !== undefined) {
			current.push(option);
		} else {
			base.set(name, option);
		}
	}
	return { base, matches, target };
};

const printOption = (option: Option): string =>
	`${option.negated ? '! ' : ''}${[option.name, ...option.values.map(quoteWord)].join(' ')}`;

export const printRule = (rule: Rule): string => {
	const parts: string[] = [];
	const rank = (name: string): number => {
		const at = (baseOrder as readonly string[]).indexOf(name);
		return at < 0 ? baseOrder.length : at;
	};
	for (const option of [...rule.base.values()].sort((a, b) => rank(a.name) - rank(b.name))) {
		parts.push(printOption(option));
	}
	for (const match of rule.matches) parts.push('-m', quoteWord(match.name), ...match.options.map(printOption));
	if (rule.target) {
		const { goto, name, options } = rule.target;
		parts.push(goto ? '-g' : '-j', quoteWord(name), ...options.map(printOption));
	}
	return parts.join(' ');
};

/** Chain or target a rule jumps or goes to, or undefined. Quick, for finding the rules that lead to owned chains. */
export const targetOf = (text: string): string | undefined => {
	const plain = text.includes('"') ? text.replace(/"(?:[^"\\]|\\.)*"/g, '_') : text;
	return /(?:^|\s)(?:-j|-g|--jump|--goto)\s+(\S+)/.exec(plain)?.[1];
};
