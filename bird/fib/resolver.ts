import type { NextHop } from '../../src/kernel/kernel.ts';
import { type Cidr, contains, parseAddress, parseCidr } from '../../src/net/ip.ts';
import type { KernelView, Touched } from './kernel-view.ts';

/**
 * How BGP next hops are reached (RFC 4271 §9.1.2.1): by the longest matching route of the main table, not a default
 * route and not one of ours (a next hop must not be reached by what it made reachable). One step is enough: every
 * gateway in the kernel is itself on a link (fib_check_nh in net/ipv4/fib_semantics.c).
 *
 * Where a gateway to it is configured, that one is looked for in its stead.
 *
 * A link-local next hop is reached by the interface it comes with (`fe80::1%eth0`). One without, or an address of this
 * node, cannot be used.
 */

export type Resolved = {
	/** 0 for an address on a link of ours, else 1 + the metric of the route to it. */
	readonly metric: number;
	/** Gateways on a link, each with `via` and `dev`; at most `maximumPaths`. */
	readonly hops: readonly NextHop[];
};

/** A next hop whose way changed. */
export type Change = {
	readonly nextHop: string;
	readonly before: Resolved | undefined;
	readonly now: Resolved | undefined;
};

export type Resolver = {
	/** How the next hop is reached; from now on it is followed, until `keep` leaves it out. */
	readonly resolve: (nextHop: string) => Resolved | undefined;
	readonly keep: (nextHops: ReadonlySet<string>) => void;
	/** Looks again at those that a change of the kernel concerns; all without `touched`. */
	readonly refresh: (touched?: Touched) => readonly Change[];
	/** Links that followed next hops go by. */
	readonly devs: () => ReadonlySet<string>;
};

const linkLocal = parseCidr('fe80::/10') as Cidr;

const textOf = (resolved: Resolved | undefined): string =>
	resolved === undefined
		? ''
		: `${resolved.metric}|${resolved.hops.map((hop) => `${hop.via} ${hop.dev} ${hop.onlink ?? ''} ${hop.weight ?? 1}`).join('|')}`;

type Followed = { resolved: Resolved | undefined; text: string; devs: readonly string[] };

export const createResolver = (
	view: KernelView,
	maximumPaths: number,
	isIgnored: (dev: string) => boolean = () => false,
	gatewayOf: (nextHop: string) => string | undefined = () => undefined,
): Resolver => {
	const followed = new Map<string, Followed>();

	const onLink = (via: string, dev: string): Followed => {
		const resolved: Resolved | undefined = view.usable(dev) ? { metric: 0, hops: [{ via, dev }] } : undefined;
		return { resolved, text: textOf(resolved), devs: [dev] };
	};

	const look = (nextHop: string): Followed => {
		const gateway = gatewayOf(nextHop);
		return gateway === undefined ? lookUp(nextHop) : lookUp(gateway);
	};

	const lookUp = (nextHop: string): Followed => {
		const zone = nextHop.indexOf('%');
		if (zone >= 0) return onLink(nextHop.slice(0, zone), nextHop.slice(zone + 1));
		const address = parseAddress(nextHop);
		const none = (devs: readonly string[]): Followed => ({ resolved: undefined, text: '', devs });
		if (address === undefined || contains(linkLocal, address) || view.isOurs(nextHop)) return none([]);
		const devs: string[] = [];
		for (const route of view.lookup(nextHop)) {
			const hops: NextHop[] = [];
			let connected = true;
			for (const { via, dev, onlink, weight } of route.nextHops) {
				if (dev === undefined) continue;
				devs.push(dev);
				if (!view.usable(dev) || isIgnored(dev) || hops.length >= maximumPaths) continue;
				connected &&= via === undefined;
				hops.push({
					via: via ?? nextHop,
					dev,
					...(onlink === true ? { onlink } : {}),
					...(weight === undefined || weight === 1 ? {} : { weight }),
				});
			}
			if (hops.length === 0) {
				// A blackhole means no; a route that has lost its link leaves the choice to the next metric.
				if (route.type === 'blackhole') break;
				continue;
			}
			const resolved = { metric: connected ? 0 : 1 + route.metric, hops };
			return { resolved, text: textOf(resolved), devs };
		}
		return none(devs);
	};

	const concerned = (touched: Touched): ((nextHop: string, entry: Followed) => boolean) => {
		const prefixes = touched.prefixes.map(parseCidr).filter((cidr) => cidr !== undefined);
		return (nextHop, entry) => {
			if (entry.devs.some((dev) => touched.devs.includes(dev))) return true;
			const address = parseAddress(gatewayOf(nextHop) ?? nextHop);
			return address !== undefined && prefixes.some((prefix) => contains(prefix, address));
		};
	};

	return {
		resolve: (nextHop) => {
			let entry = followed.get(nextHop);
			if (entry === undefined) {
				entry = look(nextHop);
				followed.set(nextHop, entry);
			}
			return entry.resolved;
		},
		keep: (nextHops) => {
			for (const nextHop of followed.keys()) if (!nextHops.has(nextHop)) followed.delete(nextHop);
		},
		refresh: (touched) => {
			if (touched !== undefined && touched.prefixes.length === 0 && touched.devs.length === 0) return [];
			const isConcerned = touched === undefined ? () => true : concerned(touched);
			const changes: Change[] = [];
			for (const [nextHop, entry] of followed) {
				if (!isConcerned(nextHop, entry)) continue;
				const before = entry.resolved;
				const now = look(nextHop);
				followed.set(nextHop, now);
				if (now.text !== entry.text) changes.push({ nextHop, before, now: now.resolved });
			}
			return changes;
		},
		devs: () => new Set([...followed.values()].flatMap((entry) => [...entry.devs])),
	};
};
