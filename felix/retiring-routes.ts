import { type Kernel, owners } from '../src/kernel/kernel.ts';
import { type Cidr, contains, parseCidr } from '../src/net/ip.ts';

/**
 * Routes to other nodes that a felix in host-gw mode left in the kernel, after a change to bgp mode: each is wanted until
 * bird has learnt one that leads there, or for as long as BGP may take to converge.
 */

export type RetiringRoutes = {
	/** Reads what is there; `changed` is called whenever there are fewer. */
	readonly start: (changed: () => void) => Promise<void>;
	readonly prefixes: () => ReadonlySet<string>;
	readonly close: () => void;
};

/** Milliseconds: a restarting speaker waits for its peers at most 120 s. */
const patience = 150_000;

export const createRetiringRoutes = (kernel: Pick<Kernel, 'listRoutes' | 'watch'>): RetiringRoutes => {
	const left = new Map<string, Cidr>();
	let stop = (): void => {};

	/** Whether the route of bird leads to some that were left. */
	const learnt = (dst: string): boolean => {
		const cidr = parseCidr(dst);
		const covered = [...left].filter(([, one]) => cidr !== undefined && contains(cidr, one));
		for (const [prefix] of covered) left.delete(prefix);
		return covered.length > 0;
	};

	return {
		start: async (changed) => {
			// Before the table is read, so that none is missed.
			const seen: string[] = [];
			const unwatch = kernel.watch((event) => {
				if (event.type !== 'route' || event.removed || event.route.protocol !== owners.bird.protocol) return;
				seen.push(event.route.dst);
				if (!learnt(event.route.dst)) return;
				if (left.size === 0) stop();
				changed();
			});
			const routes = await kernel.listRoutes();
			for (const { protocol, dst, nextHops } of routes) {
				const cidr = parseCidr(dst);
				if (protocol !== owners.felix.protocol || cidr === undefined) continue;
				if (nextHops.some(({ via }) => via !== undefined)) left.set(dst, cidr);
			}
			for (const { protocol, dst } of routes) if (protocol === owners.bird.protocol) learnt(dst);
			for (const dst of seen) learnt(dst);
			const timer = setTimeout(() => {
				unwatch();
				left.clear();
				changed();
			}, patience);
			timer.unref();
			stop = () => {
				unwatch();
				clearTimeout(timer);
			};
			if (left.size === 0) stop();
		},
		prefixes: () => new Set(left.keys()),
		close: () => stop(),
	};
};
