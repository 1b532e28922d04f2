import type { RouteRule } from '../../src/net/route-rule.ts';

/**
 * Filters of one session as values: made by src/daemon of BGPFilter objects, judged by evaluate.ts. Rules are looked at in
 * order, the first that matches decides; what none matches is left to what the session says otherwise.
 */

export type { PrefixMatch, RouteOperation as Operation } from '../../src/net/route-rule.ts';

export type Rule = RouteRule & {
	/** For people: object and field. */
	readonly name: string;
};

export type Filter = { readonly 4: readonly Rule[]; readonly 6: readonly Rule[] };
