import type { PathAttributes } from 'bgp-js-lite';
import { bitsOf, type Cidr, contains, type Family, parseCidr } from '../../src/net/ip.ts';
import {
	addCommunity,
	type Community,
	hasCommunity,
	parseCommunity,
	removeCommunity,
	setCommunities,
} from './communities.ts';
import type { Filter, Operation, PrefixMatch, Rule } from './types.ts';

/**
 * What a filter makes of a route: the first rule that matches accepts it, with other attributes perhaps, or rejects it.
 * Pure. What a rule makes of attributes is worked out once and shared, so that routes with equal attributes keep sharing
 * them behind the filter.
 *
 * A priority is Calico's: the lower the better, carried as LOCAL_PREF 2147483647 - priority; a route without LOCAL_PREF, or
 * with the usual 100, has the normal one.
 */

export type FilterRoute = {
	readonly prefix: string;
	readonly family: Family;
	readonly attributes: PathAttributes;
	/** One of ours. */
	readonly local: boolean;
	readonly peerType: 'eBGP' | 'iBGP';
	/** Interfaces its next hop is reached by; asked for only by rules that name one. */
	readonly interfaces: () => readonly string[];
};

/** Values that hold on whatever kind of session, and after all that BGP itself does to attributes. */
export type Explicit = { readonly med?: number; readonly nextHop?: string };

export type FilterVerdict = {
	readonly rule: string;
	readonly accept: boolean;
	/** The very object that was judged when the rule changes nothing. */
	readonly attributes: PathAttributes;
	readonly explicit?: Explicit;
};

/** Undefined: no rule matches. */
export type JudgeRoute = (route: FilterRoute) => FilterVerdict | undefined;

const highestLocalPref = 2147483647;
const defaultLocalPref = 100;
export const normalPriority = 1024;
/** AS numbers in a segment (RFC 4271 §4.3). */
const segmentLimit = 255;

const priorityOf = ({ localPref }: PathAttributes): number =>
	localPref === undefined || localPref === defaultLocalPref ? normalPriority : highestLocalPref - localPref;

const prefixMatcher = (match: PrefixMatch, family: Family): ((prefix: Cidr) => boolean) => {
	const cidr = parseCidr(match.cidr);
	const { operator, minLength = cidr?.length ?? 0, maxLength = bitsOf(family) } = match;
	const equal = operator === 'Equal' || operator === 'NotEqual';
	const wanted = operator === 'Equal' || operator === 'In';
	return (prefix) => {
		const inside = cidr !== undefined && contains(cidr, prefix) && (equal ? prefix.length === cidr.length : true);
		return (inside && prefix.length >= minLength && prefix.length <= maxLength) === wanted;
	};
};

/** `*` stands for any characters, `?` for one. */
export const globMatcher = (pattern: string): ((text: string) => boolean) => {
	const source = pattern
		.replace(/[.+^${}()|[\]\\]/g, '\\$&')
		.replaceAll('*', '.*')
		.replaceAll('?', '.');
	const expression = new RegExp(`^${source}$`);
	return (text) => expression.test(text);
};

const startsWith = ({ asPath }: PathAttributes, wanted: readonly number[]): boolean => {
	const sequence = asPath[0]?.type === 'sequence' ? asPath[0].asNumbers : [];
	// A sequence longer than a segment goes on in the next one.
	const all = sequence.length === segmentLimit ? asPath.flatMap(({ asNumbers }) => asNumbers) : sequence;
	return wanted.every((asNumber, i) => all[i] === asNumber);
};

const prepend = (attributes: PathAttributes, asNumbers: readonly number[]): PathAttributes => {
	const [first, ...rest] = attributes.asPath;
	const joined = first?.type === 'sequence' && first.asNumbers.length + asNumbers.length <= segmentLimit;
	return {
		...attributes,
		asPath: joined
			? [{ type: 'sequence', asNumbers: [...asNumbers, ...first.asNumbers] }, ...rest]
			: [{ type: 'sequence', asNumbers }, ...attributes.asPath],
	};
};

const known = (texts: readonly string[]): Community[] => texts.flatMap((text) => parseCommunity(text) ?? []);

const applied = (attributes: PathAttributes, operation: Operation): PathAttributes => {
	switch (operation.type) {
		case 'addCommunity':
			return known([operation.value]).reduce<PathAttributes>(addCommunity, attributes);
		case 'removeCommunity':
			return known([operation.value]).reduce<PathAttributes>(removeCommunity, attributes);
		case 'setCommunities':
			return setCommunities(attributes, known(operation.values));
		case 'prependASPath':
			return prepend(attributes, operation.asNumbers);
		case 'setLocalPref':
			return { ...attributes, localPref: operation.value };
		case 'setMed':
			return { ...attributes, med: operation.value };
		case 'setNextHop': {
			const { linkLocalNextHop: _, ...rest } = attributes;
			return { ...rest, nextHop: operation.address };
		}
		case 'setPriority':
			return { ...attributes, localPref: highestLocalPref - operation.value };
	}
};

const explicitOf = (operations: readonly Operation[]): Explicit | undefined => {
	const explicit: { med?: number; nextHop?: string } = {};
	for (const operation of operations) {
		if (operation.type === 'setMed') explicit.med = operation.value;
		if (operation.type === 'setNextHop') explicit.nextHop = operation.address;
	}
	return explicit.med === undefined && explicit.nextHop === undefined ? undefined : explicit;
};

type CompiledRule = {
	readonly matches: (route: FilterRoute, prefix: () => Cidr | undefined) => boolean;
	readonly verdict: (attributes: PathAttributes) => FilterVerdict;
};

const compileRule = (rule: Rule, family: Family): CompiledRule => {
	const { name, action, operations = [], asPathPrefix, priority, peerType, remoteOnly } = rule;
	const prefixMatches = rule.prefix && prefixMatcher(rule.prefix, family);
	const interfaceMatches = rule.interface === undefined ? undefined : globMatcher(rule.interface);
	const communities = known(rule.communities ?? []);
	// A community nobody can have is in no route.
	const impossible = communities.length < (rule.communities?.length ?? 0);
	const explicit = explicitOf(operations);
	const verdicts = new WeakMap<PathAttributes, FilterVerdict>();
	return {
		matches: (route, prefix) => {
			const { attributes } = route;
			if (impossible || (remoteOnly && route.local)) return false;
			if (peerType !== undefined && peerType !== route.peerType) return false;
			if (priority !== undefined && priorityOf(attributes) !== priority) return false;
			if (!communities.every((community) => hasCommunity(attributes, community))) return false;
			if (asPathPrefix !== undefined && !startsWith(attributes, asPathPrefix)) return false;
			if (prefixMatches !== undefined) {
				const cidr = prefix();
				if (cidr === undefined || !prefixMatches(cidr)) return false;
			}
			return interfaceMatches === undefined || route.interfaces().some(interfaceMatches);
		},
		verdict: (attributes) => {
			let verdict = verdicts.get(attributes);
			if (verdict === undefined) {
				const accept = action === 'Accept';
				verdict = {
					rule: name,
					accept,
					attributes: accept ? operations.reduce(applied, attributes) : attributes,
					...(accept && explicit && { explicit }),
				};
				verdicts.set(attributes, verdict);
			}
			return verdict;
		},
	};
};

export const compileFilter = (filter: Filter): JudgeRoute => {
	const rules = {
		4: filter[4].map((rule) => compileRule(rule, 4)),
		6: filter[6].map((rule) => compileRule(rule, 6)),
	};
	return (route) => {
		let parsed: Cidr | undefined;
		const prefix = (): Cidr | undefined => {
			parsed ??= parseCidr(route.prefix);
			return parsed;
		};
		for (const rule of rules[route.family]) if (rule.matches(route, prefix)) return rule.verdict(route.attributes);
		return undefined;
	};
};
