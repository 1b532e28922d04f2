/**
 * The canonical form two spellings of one rule share: as a person writes it, and as iptables-save of either backend
 * prints it. Covers the matches and targets in the tables below; the options of others are kept as they are, so they
 * compare equal when written as iptables-save prints them.
 */
import { formatValue, parsePrefix } from './address.ts';
import { type Match, type Option, parseRule, printRule, type Rule } from './rule.ts';
import {
	addressTypes,
	canonicalProtocol,
	canonicalReject,
	ctStates,
	ctStatuses,
	icmp6Types,
	icmpTypes,
	orderWords,
	protocolNumber,
	tcpFlags,
} from './vocabulary.ts';

const plain = (name: string, ...values: string[]): Option => ({ negated: false, name, values });
const first = (option: Option): string => option.values[0] ?? '';
const withValue = (option: Option, ...values: string[]): Option => ({ ...option, values });

/** Sorts options by a table, those not in it last, in the order written. */
const inOrder = (options: readonly Option[], order: readonly string[]): Option[] => {
	const rank = (name: string): number => (order.includes(name) ? order.indexOf(name) : order.length);
	return [...options].sort((a, b) => rank(a.name) - rank(b.name));
};

/**
 * `80:80` is 80, an open end is 0 or 65535; undefined for all ports, which is no condition (libxt_tcp.c). All but a
 * range that touches an end is the range that is left, as iptables-nft prints it.
 */
const canonicalPorts = (option: Option): Option | undefined => {
	const text = first(option);
	if (!/^\d*:?\d*$/.test(text) || text === '') return option;
	const [lowText = '', highText] = text.split(':');
	let low = Number(lowText || 0);
	let high = highText === undefined ? low : Number(highText || 65535);
	let { negated } = option;
	if (negated && (low === 0) !== (high === 65535)) {
		[low, high] = low === 0 ? [high + 1, 65535] : [0, low - 1];
		negated = false;
	}
	if (low === 0 && high === 65535 && !negated) return undefined;
	return { negated, name: option.name, values: [low === high ? `${low}` : `${low}:${high}`] };
};

const canonicalFlags = (text: string): string => {
	const upper = text.toUpperCase();
	if (upper === 'NONE') return upper;
	return orderWords(upper === 'ALL' ? tcpFlags.join(',') : upper, tcpFlags);
};

const transport = (options: readonly Option[]): Option[] => {
	const out: Option[] = [];
	for (const option of options) {
		if (option.name === '--syn') {
			out.push({ negated: option.negated, name: '--tcp-flags', values: ['FIN,SYN,RST,ACK', 'SYN'] });
		} else if (option.name === '--tcp-flags') {
			out.push(withValue(option, ...option.values.map(canonicalFlags)));
		} else {
			const ports = option.name === '--dport' || option.name === '--sport' ? canonicalPorts(option) : option;
			if (ports !== undefined) out.push(ports);
		}
	}
	return inOrder(out, ['--sport', '--dport', '--tcp-option', '--tcp-flags']);
};

const multiport = (options: readonly Option[]): Option[] =>
	options.map((option) =>
		withValue(
			option,
			first(option)
				.split(',')
				.map((ports) => ports.replace(/^(\d+):\1$/, '$1'))
				.join(','),
		),
	);

const conntrackOrder = [
	'--ctstate',
	'--ctproto',
	'--ctorigsrc',
	'--ctorigdst',
	'--ctreplsrc',
	'--ctrepldst',
	'--ctorigsrcport',
	'--ctorigdstport',
	'--ctreplsrcport',
	'--ctrepldstport',
	'--ctstatus',
	'--ctexpire',
	'--ctdir',
];
const conntrack = (options: readonly Option[]): Option[] =>
	inOrder(
		options.map((option) => {
			if (option.name === '--ctstate') return withValue(option, orderWords(first(option), ctStates));
			if (option.name === '--ctstatus') return withValue(option, orderWords(first(option), ctStatuses));
			if (option.name === '--ctproto') return withValue(option, protocolNumber(first(option)));
			return option;
		}),
		conntrackOrder,
	);

const hex = (value: number): string => `0x${(value >>> 0).toString(16)}`;
const parseMark = (text: string): { value: number; mask: number | undefined } | undefined => {
	const match = /^(0x[0-9a-f]+|\d+)(?:\/(0x[0-9a-f]+|\d+))?$/i.exec(text);
	if (match === null) return undefined;
	return { value: Number(match[1]), mask: match[2] === undefined ? undefined : Number(match[2]) };
};
const mark = (options: readonly Option[]): Option[] =>
	options.map((option) => {
		const parsed = option.name === '--mark' ? parseMark(first(option)) : undefined;
		if (parsed === undefined) return option;
		const { value, mask } = parsed;
		return withValue(option, mask === undefined || mask === 0xffffffff ? hex(value) : `${hex(value)}/${hex(mask)}`);
	});

/** libxt_MARK.c, revision 2: every spelling is one of --set-xmark. */
const markTarget = (options: readonly Option[]): Option[] =>
	options.map((option) => {
		const parsed = parseMark(first(option));
		if (parsed === undefined) return option;
		const { value, mask = 0xffffffff } = parsed;
		const xmark = (v: number, m: number): Option => plain('--set-xmark', `${hex(v)}/${hex(m)}`);
		if (option.name === '--set-xmark') return xmark(value, mask);
		if (option.name === '--set-mark') return xmark(value, value | mask);
		if (option.name === '--or-mark') return xmark(value, value);
		if (option.name === '--and-mark') return xmark(0, ~value);
		if (option.name === '--xor-mark') return xmark(value, 0);
		return option;
	});

/** libxt_limit.c: a period in units of 1/10000 s, printed in the largest unit that keeps it. */
const limitUnits = [
	['day', 864_000_000],
	['hour', 36_000_000],
	['min', 600_000],
	['sec', 10_000],
] as const;
const canonicalRate = (text: string): string => {
	const match = /^(\d+)(?:\/([a-z]+))?$/i.exec(text);
	const word = (match?.[2] ?? 'second').toLowerCase();
	const unit = limitUnits.find(([name]) =>
		(name === 'sec' ? 'second' : name === 'min' ? 'minute' : name).startsWith(word),
	);
	if (match === null || unit === undefined || Number(match[1]) === 0) return text;
	const period = Math.floor(unit[1] / Number(match[1]));
	let i = 1;
	for (; i < limitUnits.length; i++) {
		const scale = (limitUnits[i] as (typeof limitUnits)[number])[1];
		if (period > scale || Math.floor(scale / period) < scale % period) break;
	}
	const [name, scale] = limitUnits[i - 1] as (typeof limitUnits)[number];
	return `${Math.floor(scale / period)}/${name}`;
};
const limit = (options: readonly Option[]): Option[] => {
	const rate = options.find((option) => option.name === '--limit');
	const burst = options.find((option) => option.name === '--limit-burst');
	const out = [plain('--limit', canonicalRate(rate === undefined ? '3/hour' : first(rate)))];
	if (burst !== undefined && first(burst) !== '5') out.push(burst);
	return out;
};

const addrtype = (options: readonly Option[]): Option[] =>
	inOrder(
		options.map((option) =>
			option.name.endsWith('-type') ? withValue(option, orderWords(first(option), addressTypes)) : option,
		),
		['--src-type', '--dst-type', '--limit-iface-in', '--limit-iface-out'],
	);

const typeNames =
	(names: Readonly<Record<string, string>>) =>
	(options: readonly Option[]): Option[] =>
		options.map((option) => withValue(option, names[first(option).toLowerCase()] ?? first(option)));

type Canonical = (options: readonly Option[]) => readonly Option[];

const matchForms: Readonly<Record<string, Canonical>> = {
	tcp: transport,
	udp: transport,
	sctp: transport,
	multiport,
	conntrack,
	mark,
	limit,
	addrtype,
	icmp: typeNames(icmpTypes),
	icmp6: typeNames(icmp6Types),
	set: (options) => inOrder(options, ['--match-set', '--return-nomatch']),
	rpfilter: (options) => inOrder(options, ['--loose', '--validmark', '--accept-local', '--invert']),
};

const targetForms: Readonly<Record<string, Canonical>> = {
	MARK: markTarget,
	// The default differs by family; leaving it out is the one form both share.
	REJECT: (options) =>
		options
			.map((option) => withValue(option, canonicalReject(first(option))))
			.filter((option) => !/^icmp6?-port-unreachable$/.test(first(option))),
	NFLOG: (options) =>
		inOrder(
			options.filter(
				(option) =>
					!(option.name === '--nflog-group' && first(option) === '0') &&
					!(option.name === '--nflog-threshold' && first(option) === '1'),
			),
			['--nflog-prefix', '--nflog-group', '--nflog-size', '--nflog-threshold'],
		),
	MASQUERADE: (options) => inOrder(options, ['--to-ports', '--random', '--random-fully']),
};

const canonicalAddress = (option: Option): Option | undefined => {
	const prefix = parsePrefix(first(option));
	if (prefix === undefined) return option;
	if (prefix.length === 0 && !option.negated) return undefined;
	return withValue(option, `${formatValue(prefix)}/${prefix.length}`);
};

const canonicalBase = (base: Rule['base']): Map<string, Option> => {
	const out = new Map<string, Option>();
	for (const [name, option] of base) {
		let canonical: Option | undefined = option;
		if (name === '-s' || name === '-d') canonical = canonicalAddress(option);
		else if ((name === '-i' || name === '-o') && first(option) === '+' && !option.negated) canonical = undefined;
		else if (name === '-p') {
			const protocol = canonicalProtocol(first(option));
			canonical = protocol === undefined ? undefined : withValue(option, protocol);
		}
		if (canonical !== undefined) out.set(name, canonical);
	}
	return out;
};

const transports = new Set(['tcp', 'udp', 'sctp']);
const emptiable = new Set(['tcp', 'udp', 'sctp', 'icmp', 'icmp6']);

const canonicalMatches = (matches: readonly Match[]): Match[] => {
	const out: Match[] = [];
	for (const match of matches) {
		const options = matchForms[match.name]?.(match.options) ?? match.options;
		if (options.length === 0 && emptiable.has(match.name)) continue;
		// iptables-nft prints `-m tcp A -m tcp B` as one match.
		const last = out.at(-1);
		if (last?.name === match.name && transports.has(match.name)) {
			out[out.length - 1] = { name: match.name, options: transport([...last.options, ...options]) };
		} else {
			out.push({ name: match.name, options });
		}
	}
	return out;
};

/** Canonical form of a rule body; itself a body iptables-restore takes, meaning the same. */
export const normaliseRule = (text: string): string => {
	const { base, matches, target } = parseRule(text);
	return printRule({
		base: canonicalBase(base),
		matches: canonicalMatches(matches),
		target: target && { ...target, options: targetForms[target.name]?.(target.options) ?? target.options },
	});
};
