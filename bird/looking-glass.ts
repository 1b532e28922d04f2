import type { PathAttributes } from 'bgp-js-lite';
import { canonicalCidr, contains, hostCidr, parseAddress, parseCidr } from '../src/net/ip.ts';
import type { NamedPath, Path, Rib } from './rib/types.ts';

/** The RIBs as plain values for people and their tools. */

export type RouteQuery = {
	/** `best`: what was chosen; `in` and `out`: what a peer told and was told; `all`: every path, and why it is used or not. */
	readonly table: 'best' | 'in' | 'out' | 'all';
	/** Name; needed for `in` and `out`. */
	readonly peer?: string;
	/** A prefix, or an address: then the routes that lead to it, the most specific first. */
	readonly prefix?: string;
};

export type RouteLine = {
	readonly prefix: string;
	/** Who told it, or who was told; `local` for our own. */
	readonly peer: string;
	readonly nextHop: string;
	/** As people write it: sets in braces. */
	readonly asPath: string;
	readonly origin: string;
	readonly localPref?: number;
	readonly med?: number;
	readonly communities: readonly string[];
	readonly originatorId?: string;
	readonly clusterList?: readonly string[];
	readonly stale: boolean;
	/** Only of `best` and `all`. */
	readonly use?: 'best' | 'multipath' | 'none';
	/** Only of `all`. */
	readonly reason?: string;
};

export type RouteAnswer =
	| { readonly ok: true; readonly routes: readonly RouteLine[] }
	| { readonly ok: false; readonly error: string };

const hex = (value: bigint): string => `0x${value.toString(16).padStart(16, '0')}`;

/** What a peer is called, by its name within. */
type Shown = (peer: string) => string;
const asItIs: Shown = (peer) => peer;

const lineOf = (prefix: string, peer: string, attributes: PathAttributes, stale: boolean): RouteLine => {
	const { localPref, med, originatorId, clusterList } = attributes;
	return {
		prefix,
		peer,
		nextHop: attributes.nextHop ?? '',
		asPath: attributes.asPath
			.map(({ type, asNumbers }) => (type === 'sequence' ? asNumbers.join(' ') : `{${asNumbers.join(',')}}`))
			.join(' '),
		origin: attributes.origin,
		...(localPref !== undefined && { localPref }),
		...(med !== undefined && { med }),
		communities: [
			...(attributes.communities ?? []).map((value) => `${value >>> 16}:${value & 0xffff}`),
			...(attributes.largeCommunities ?? []).map((parts) => parts.join(':')),
			...(attributes.extendedCommunities ?? []).map(hex),
		],
		...(originatorId !== undefined && { originatorId }),
		...(clusterList !== undefined && { clusterList }),
		stale,
	};
};
const pathLine = ({ prefix, source, attributes, stale }: NamedPath, shown: Shown): RouteLine =>
	lineOf(prefix, shown(source.peer), attributes, stale);

/** Whether a prefix is meant: by itself, or by an address in it. */
const chooser = (text: string | undefined): ((prefix: string) => boolean) | undefined => {
	if (text === undefined) return () => true;
	const cidr = canonicalCidr(text);
	if (cidr !== undefined) return (prefix) => prefix === cidr;
	const address = parseAddress(text) && parseCidr(hostCidr(text));
	if (address === undefined) return undefined;
	return (prefix) => {
		const outer = parseCidr(prefix);
		return outer !== undefined && contains(outer, address);
	};
};

export type ExplainAnswer =
	| {
			readonly ok: true;
			readonly prefixes: readonly {
				readonly prefix: string;
				/** What peers tell: whether it is taken, by what, and what became of it. */
				readonly imports: readonly PolicyLine[];
				/** What peers are told. */
				readonly exports: readonly PolicyLine[];
			}[];
	  }
	| { readonly ok: false; readonly error: string };

export type PolicyLine = {
	readonly peer: string;
	readonly accept: boolean;
	/** The rule of a filter that decides; absent where BGP itself or the session does. */
	readonly rule?: string;
	readonly reason: string;
	/** Of what was taken: whether it is used. */
	readonly use?: 'best' | 'multipath' | 'none';
	readonly useReason?: string;
	/** As told by the peer, or to it. */
	readonly route?: RouteLine;
};

/** Which rules decide on a prefix, or on those that lead to an address: in, between and out; of one peer alone if named. */
export const explainPolicy = (rib: Rib, prefix: string, peer?: string, shown = asItIs): ExplainAnswer => {
	const chosen = chooser(prefix);
	if (chosen === undefined) return { ok: false, error: `'${prefix}' is neither a prefix nor an address` };
	const concerns = (line: { readonly peer: string }): boolean => peer === undefined || line.peer === peer;
	const known = new Set([...rib.prefixes(), ...rib.rejected()].filter(chosen));
	const prefixes = [...known].map((one) => {
		const { imports, exports } = rib.policyOf(one);
		const uses = new Map(rib.explain(one).map(({ path, use, reason }) => [pathName(path), { use, useReason: reason }]));
		return {
			prefix: one,
			imports: imports.filter(concerns).map(({ path, ...line }) => ({
				...line,
				peer: shown(line.peer),
				...(line.accept && uses.get(pathName(path))),
				route: pathLine(path, shown),
			})),
			exports: exports
				.filter(concerns)
				.map(({ told, ...line }) => ({ ...line, peer: shown(line.peer), told }))
				.map(({ told, ...line }) => ({ ...line, ...(told && { route: lineOf(one, line.peer, told, false) }) })),
		};
	});
	return { ok: true, prefixes: prefixes.sort((a, b) => lengthOf(b) - lengthOf(a)) };
};

const pathName = ({ source, pathId }: Path): string => `${source.peer} ${pathId ?? ''}`;

const lengthOf = ({ prefix }: { readonly prefix: string }): number => Number(prefix.slice(prefix.indexOf('/') + 1));

export const lookAt = (rib: Rib, { table, peer, prefix }: RouteQuery, shown = asItIs): RouteAnswer => {
	const line = (path: NamedPath): RouteLine => pathLine(path, shown);
	const chosen = chooser(prefix);
	if (chosen === undefined) return { ok: false, error: `'${prefix}' is neither a prefix nor an address` };
	if ((table === 'in' || table === 'out') && peer === undefined) {
		return { ok: false, error: `the table '${table}' is that of a peer: name it` };
	}
	const routes = ((): RouteLine[] => {
		if (table === 'in')
			return rib
				.adjRibIn(peer ?? '')
				.filter((path) => chosen(path.prefix))
				.map(line);
		if (table === 'out') {
			return [...rib.adjRibOut(peer ?? '')]
				.map(([key, attributes]) => [key.split(' ')[0] ?? key, attributes] as const)
				.filter(([known]) => chosen(known))
				.map(([known, attributes]) => lineOf(known, shown(peer ?? ''), attributes, false));
		}
		if (table === 'best') {
			return [...rib.locRib()]
				.filter(([known]) => chosen(known))
				.flatMap(([known, { best, multipath }]) =>
					multipath.map((path) => ({
						...line({ prefix: known, ...path }),
						use: path === best ? ('best' as const) : ('multipath' as const),
					})),
				);
		}
		return [...rib.prefixes()]
			.filter(chosen)
			.flatMap((known) => rib.explain(known).map(({ path, use, reason }) => ({ ...line(path), use, reason })));
	})();
	// For an address: the route that is taken comes first.
	if (prefix !== undefined) routes.sort((a, b) => lengthOf(b) - lengthOf(a));
	return { ok: true, routes };
};
