import type { AsPathSegment, PathAttributes } from 'bgp-js-lite';
import { parseAddress } from '../../src/net/ip.ts';
import type { Decision, Path, PathSource } from './types.ts';

/**
 * The decision process of RFC 4271 §9.1.2 for one prefix, as the RFC words it: a set of paths from which every step
 * removes some. Since each step looks at the whole set, the order of arrival has no say, MED included (what other
 * implementations call deterministic MED).
 */

export type DecisionOptions = {
	readonly asNumber: number;
	/** Our BGP identifier: a path that we originated and that reflectors brought back is not used (RFC 4456 §8). */
	readonly routerId?: string;
	/** A path that passed through our cluster is not used (RFC 4456 §8). */
	readonly clusterId?: string;
	readonly maximumPaths: number;
	/** IGP metric of a next hop, undefined when it cannot be reached. */
	readonly metricOf: (nextHop: string) => number | undefined;
};

/** What became of one path, and why. */
export type Verdict = { readonly use: 'best' | 'multipath' | 'none'; readonly reason: string };

export type DecisionProcess = {
	readonly decide: Decide;
	readonly usable: (path: Path) => boolean;
	/** Attributes may have come out of use: what was worked out of them is forgotten. */
	readonly forget: () => void;
	/** For people. */
	readonly why: (paths: readonly Path[]) => ReadonlyMap<Path, Verdict>;
};

export type Decide = (paths: readonly Path[]) => Decision | undefined;

/** What the steps compare where there are several paths, worked out once per attributes object. */
type Facts = {
	readonly localPref: number;
	readonly pathLength: number;
	readonly origin: number;
	/** AS the path entered from: MEDs compare within one only; our own for paths born in our AS (§9.1.2.2 c). */
	readonly neighbourAS: number;
	readonly med: number;
	readonly clusterLength: number;
};

const DEFAULT_LOCAL_PREF = 100;
const originRank = { igp: 0, egp: 1, incomplete: 2 } as const;

const isConfed = (segment: AsPathSegment): boolean => segment.type === 'confedSequence' || segment.type === 'confedSet';

/** A set counts one, confederation segments nothing (RFC 4271 §9.1.2.2 a, RFC 5065 §5.3). */
const lengthOf = (asPath: readonly AsPathSegment[]): number => {
	let length = 0;
	for (const segment of asPath) {
		if (segment.type === 'sequence') length += segment.asNumbers.length;
		else if (segment.type === 'set') length += 1;
	}
	return length;
};

const neighbourOf = (asPath: readonly AsPathSegment[], asNumber: number): number => {
	const first = asPath.find((segment) => !isConfed(segment));
	return first?.type === 'sequence' ? (first.asNumbers[0] ?? asNumber) : asNumber;
};

const quadValue = (quad: string): number => {
	const address = parseAddress(quad);
	return address?.family === 4 ? Number(address.value) : 0;
};

/** Where the peer stands when all else is equal; parsed once per source. */
type Rank = { readonly identifier: number; readonly family: number; readonly address: bigint };

const rankOf = (source: PathSource): Rank => {
	const address = parseAddress(source.peerAddress);
	return {
		identifier: quadValue(source.bgpIdentifier),
		family: address?.family ?? 0,
		address: address?.value ?? 0n,
	};
};

/** The members whose rank is lowest; the array itself when that is all of them. */
const keepLowest = (paths: readonly Path[], rank: (path: Path) => number): readonly Path[] => {
	let lowest = Number.POSITIVE_INFINITY;
	let kept = 0;
	for (const path of paths) {
		const value = rank(path);
		if (value < lowest) {
			lowest = value;
			kept = 1;
		} else if (value === lowest) {
			kept++;
		}
	}
	return kept === paths.length ? paths : paths.filter((path) => rank(path) === lowest);
};

export const createDecision = ({
	asNumber,
	routerId,
	clusterId,
	maximumPaths,
	metricOf,
}: DecisionOptions): DecisionProcess => {
	// No WeakMap: the garbage collector pays for each of its entries at every turn.
	const factsByAttributes = new Map<PathAttributes, Facts>();
	const ranks = new WeakMap<PathSource, Rank>();

	const factsOf = (attributes: PathAttributes): Facts => {
		const known = factsByAttributes.get(attributes);
		if (known !== undefined) return known;
		const { asPath } = attributes;
		const facts: Facts = {
			localPref: attributes.localPref ?? DEFAULT_LOCAL_PREF,
			pathLength: lengthOf(asPath),
			origin: originRank[attributes.origin],
			neighbourAS: neighbourOf(asPath, asNumber),
			med: attributes.med ?? 0,
			clusterLength: attributes.clusterList?.length ?? 0,
		};
		factsByAttributes.set(attributes, facts);
		return facts;
	};

	const sourceRank = (source: PathSource): Rank => {
		let rank = ranks.get(source);
		if (rank === undefined) {
			rank = rankOf(source);
			ranks.set(source, rank);
		}
		return rank;
	};

	const metric = (path: Path): number | undefined =>
		path.attributes.nextHop === undefined ? undefined : metricOf(path.attributes.nextHop);

	/** How often our AS is in AS_PATH (§9.1.2). */
	const ownCount = ({ asPath }: PathAttributes): number => {
		let count = 0;
		for (const { asNumbers } of asPath) for (const one of asNumbers) if (one === asNumber) count++;
		return count;
	};
	/** Our identifier in ORIGINATOR_ID or our cluster in CLUSTER_LIST. */
	const loops = ({ originatorId, clusterList }: PathAttributes): boolean =>
		(originatorId !== undefined && originatorId === routerId) ||
		(clusterId !== undefined && clusterList?.includes(clusterId) === true);

	/** Why a path cannot be used at all. */
	const unusable = (path: Path): string | undefined => {
		if (path.source.kind === 'local') return undefined;
		if (loops(path.attributes)) return 'it began with us or went through our cluster';
		if (ownCount(path.attributes) > (path.source.allowOwnAS ?? 0)) return `our AS ${asNumber} is in its path`;
		return metric(path) === undefined ? `next hop ${path.attributes.nextHop} cannot be reached` : undefined;
	};
	const usable = (path: Path): boolean => unusable(path) === undefined;

	/** §9.1.2.2 c: a path goes when another of the same neighbour AS has a lower MED. */
	const withoutHigherMed = (paths: readonly Path[]): readonly Path[] => {
		const lowest = new Map<number, number>();
		for (const { attributes } of paths) {
			const { neighbourAS, med } = factsOf(attributes);
			const known = lowest.get(neighbourAS);
			if (known === undefined || med < known) lowest.set(neighbourAS, med);
		}
		return paths.filter(({ attributes }) => {
			const { neighbourAS, med } = factsOf(attributes);
			return med === lowest.get(neighbourAS);
		});
	};

	/** §9.1.2.2 f and g, with RFC 4456 §9 between them; the name last, so that no two paths are equal. */
	const byIdentity = (a: Path, b: Path): number => {
		const rankA = sourceRank(a.source);
		const rankB = sourceRank(b.source);
		const idA = a.attributes.originatorId === undefined ? rankA.identifier : quadValue(a.attributes.originatorId);
		const idB = b.attributes.originatorId === undefined ? rankB.identifier : quadValue(b.attributes.originatorId);
		if (idA !== idB) return idA - idB;
		const clusters = factsOf(a.attributes).clusterLength - factsOf(b.attributes).clusterLength;
		if (clusters !== 0) return clusters;
		if (rankA.family !== rankB.family) return rankA.family - rankB.family;
		if (rankA.address !== rankB.address) return rankA.address < rankB.address ? -1 : 1;
		if (a.source.peer === b.source.peer) return (a.pathId ?? 0) - (b.pathId ?? 0);
		return a.source.peer < b.source.peer ? -1 : 1;
	};

	/** §9.1.1 and §9.1.2.2, each with what it says of the paths it takes away. */
	const steps: readonly { readonly lost: string; readonly keep: (paths: readonly Path[]) => readonly Path[] }[] = [
		{
			lost: 'there is one of our own',
			keep: (paths) => keepLowest(paths, (path) => (path.source.kind === 'local' ? 0 : 1)),
		},
		// Before all preference: what leads nowhere, perhaps, is better than nothing only.
		{ lost: 'its peer may be dead (BFD)', keep: (paths) => keepLowest(paths, (path) => (path.doubtful ? 1 : 0)) },
		{
			lost: 'another has a higher LOCAL_PREF',
			keep: (paths) => keepLowest(paths, (path) => -factsOf(path.attributes).localPref),
		},
		{
			lost: 'another has a shorter AS_PATH',
			keep: (paths) => keepLowest(paths, (path) => factsOf(path.attributes).pathLength),
		},
		{
			lost: 'another has a better ORIGIN',
			keep: (paths) => keepLowest(paths, (path) => factsOf(path.attributes).origin),
		},
		{
			lost: 'another of the same neighbour AS has a lower MED',
			keep: (paths) => (paths.length > 1 ? withoutHigherMed(paths) : paths),
		},
		{
			lost: 'another is of an external peer',
			keep: (paths) => keepLowest(paths, (path) => (path.source.kind === 'ebgp' ? 0 : 1)),
		},
		{
			lost: 'the next hop of another is nearer',
			keep: (paths) => keepLowest(paths, (path) => metric(path) ?? Number.POSITIVE_INFINITY),
		},
	];

	const decide: Decide = (paths) => {
		const only = paths.length === 1 ? paths[0] : undefined;
		if (only !== undefined) return usable(only) ? { best: only, multipath: paths } : undefined;
		let left: readonly Path[] = paths.filter(usable);
		for (const step of steps) {
			if (left.length < 2) break;
			left = step.keep(left);
		}
		if (left.length > 1) left = left.toSorted(byIdentity);
		const best = left[0];
		if (best === undefined) return undefined;
		if (best.source.kind === 'local') return { best, multipath: [best] };
		const nextHops = new Set<string | undefined>();
		const multipath: Path[] = [];
		for (const path of left) {
			if (multipath.length >= Math.max(1, maximumPaths)) break;
			if (nextHops.has(path.attributes.nextHop)) continue;
			nextHops.add(path.attributes.nextHop);
			multipath.push(path);
		}
		return { best, multipath };
	};

	const why = (paths: readonly Path[]): ReadonlyMap<Path, Verdict> => {
		const verdicts = new Map<Path, Verdict>();
		for (const path of paths) {
			const reason = unusable(path);
			if (reason !== undefined) verdicts.set(path, { use: 'none', reason });
		}
		let left: readonly Path[] = paths.filter(usable);
		for (const { lost, keep } of steps) {
			const kept = keep(left);
			for (const path of left) if (!kept.includes(path)) verdicts.set(path, { use: 'none', reason: lost });
			if (kept.length === 1 && left.length > 1)
				verdicts.set(kept[0] as Path, { use: 'best', reason: `of all others: ${lost}` });
			left = kept;
		}
		const decision = decide(paths);
		for (const path of left) {
			if (path !== decision?.best) {
				const parallel = decision?.multipath.includes(path) === true;
				const reason = parallel
					? 'as good as the best but for its router'
					: 'it has the next hop of another, or there are enough';
				verdicts.set(path, { use: parallel ? 'multipath' : 'none', reason });
			} else if (!verdicts.has(path)) {
				const reason =
					left.length > 1 ? 'of equal ones the router with the lowest identifier' : 'the only one that can be used';
				verdicts.set(path, { use: 'best', reason });
			}
		}
		return verdicts;
	};

	return { decide, why, usable, forget: () => factsByAttributes.clear() };
};

export const createDecide = (options: DecisionOptions): Decide => createDecision(options).decide;
