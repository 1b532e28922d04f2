import type { PeerConfig } from '../../bird/config.ts';
import type { Filter, Rule } from '../../bird/policy/types.ts';
import type { BGPFilter } from '../api/objects.ts';
import type { RouteRule } from '../net/route-rule.ts';

/** BGPFilters that a BGPPeer names, in its order, as the filters of a session. Pure. */

export type FilterSource = {
	readonly filters: ReadonlyMap<string, BGPFilter>;
	/** Deleted while peers name them: what they last said holds for these. */
	readonly lost: ReadonlyMap<string, BGPFilter>;
};

export type SessionFilters = {
	readonly filters: Pick<PeerConfig, 'importFilter' | 'exportFilter'>;
	/** Names without a BGPFilter. */
	readonly missing: readonly string[];
};

const named = (name: string, list: string, rules: readonly RouteRule[]): Rule[] =>
	rules.map((rule, i) => ({ name: `BGPFilter ${name} ${list}[${i}]`, ...rule }));

/** Nobody knows what a filter that was never there was to keep out. */
const nothing = (name: string): Rule[] => [{ name: `BGPFilter ${name}, which does not exist,`, action: 'Reject' }];

export const createSessionFilters = ({
	filters,
	lost,
}: FilterSource): ((names: readonly string[]) => SessionFilters) => {
	/** Peers with the same filters share them, so that they are compared and compiled once. */
	const known = new Map<string, SessionFilters>();
	return (names) => {
		const key = JSON.stringify(names);
		const before = known.get(key);
		if (before !== undefined) return before;
		const rules = (list: 'importV4' | 'importV6' | 'exportV4' | 'exportV6'): Rule[] =>
			names.flatMap((name) => {
				const spec = (filters.get(name) ?? lost.get(name))?.spec;
				return spec === undefined ? nothing(name) : named(name, list, spec[list]);
			});
		const filter = (direction: 'import' | 'export'): Filter => ({
			4: rules(`${direction}V4`),
			6: rules(`${direction}V6`),
		});
		const made: SessionFilters = {
			filters: names.length === 0 ? {} : { importFilter: filter('import'), exportFilter: filter('export') },
			missing: names.filter((name) => !filters.has(name)),
		};
		known.set(key, made);
		return made;
	};
};
