import type { NextHop, RouteBody } from '../../src/kernel/kernel.ts';
import type { Family } from '../../src/net/ip.ts';
import type { Decision } from '../rib/types.ts';

/**
 * Ways: what decisions with the same BGP next hops come to in the kernel. There are few, however many prefixes there are: all
 * that go one way share its body, so what the kernel has of a prefix tells its way, and nothing else is kept of it.
 */

export type Way = {
	readonly family: Family;
	/** BGP next hops, the best's first. */
	readonly nextHops: readonly string[];
	/** Undefined: none of them can be reached. */
	readonly body: RouteBody | undefined;
};

export type Ways = {
	readonly of: (decision: Decision, family: Family) => Way;
	readonly byBody: (body: RouteBody | undefined) => Way | undefined;
	/** Works out again those concerned; returns them by what they were. */
	readonly renew: (concerns: (way: Way) => boolean) => ReadonlyMap<RouteBody, Way>;
	/** What is known of other next hops may be old when they come back. */
	readonly keep: (nextHops: ReadonlySet<string>) => void;
};

type OwnWay = { -readonly [K in keyof Way]: Way[K] };

const FIRST_SWEEP = 256;

export const createWays = (
	hopsOf: (nextHops: readonly string[]) => readonly NextHop[],
	bodyOf: (nextHops: readonly NextHop[], family: Family) => RouteBody,
	inUse: () => Iterable<Way>,
): Ways => {
	/** By their next hops. */
	const current: Record<Family, Map<string, OwnWay>> = { 4: new Map(), 6: new Map() };
	let all = new Set<OwnWay>();
	const bodies = new Map<RouteBody, OwnWay>();
	let sweepAt = FIRST_SWEEP;

	const workOut = (way: OwnWay): void => {
		const hops = hopsOf(way.nextHops);
		way.body = hops.length === 0 ? undefined : bodyOf(hops, way.family);
		if (way.body !== undefined) bodies.set(way.body, way);
	};

	const sweep = (): void => {
		const used = new Set<Way>(inUse());
		for (const byName of Object.values(current)) {
			for (const [name, way] of byName) if (!used.has(way)) byName.delete(name);
		}
		all = new Set([...all].filter((way) => used.has(way)));
		for (const [body, way] of bodies) if (!used.has(way)) bodies.delete(body);
		sweepAt = 2 * all.size + FIRST_SWEEP;
	};

	return {
		of: ({ multipath }, family) => {
			const only = multipath.length === 1 ? multipath[0]?.attributes.nextHop : undefined;
			const nextHops = only === undefined ? multipath.flatMap(({ attributes }) => attributes.nextHop ?? []) : [];
			const name = only ?? nextHops.join(' ');
			let way = current[family].get(name);
			if (way === undefined) {
				if (all.size >= sweepAt) sweep();
				way = { family, nextHops: only === undefined ? nextHops : [only], body: undefined };
				workOut(way);
				current[family].set(name, way);
				all.add(way);
			}
			return way;
		},
		byBody: (body) => (body === undefined ? undefined : bodies.get(body)),
		renew: (concerns) => {
			const before = new Map<RouteBody, Way>();
			for (const way of all) {
				if (!concerns(way)) continue;
				if (way.body !== undefined) {
					before.set(way.body, way);
					bodies.delete(way.body);
				}
				workOut(way);
			}
			return before;
		},
		keep: (nextHops) => {
			for (const byName of Object.values(current)) {
				for (const [name, way] of byName) if (way.nextHops.some((hop) => !nextHops.has(hop))) byName.delete(name);
			}
		},
	};
};
