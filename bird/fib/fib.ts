import { type KernelEvent, type NextHop, owners, type Route } from '../../src/kernel/kernel.ts';
import { familyOf } from '../../src/net/ip.ts';
import { globMatcher } from '../policy/evaluate.ts';
import type { Decision } from '../rib/types.ts';
import { createKernelView, type Touched } from './kernel-view.ts';
import { type Change, createResolver, type Resolved } from './resolver.ts';
import { createRouteWriter } from './route-writer.ts';
import type { Fib, FibOptions, NextHopListener, PrefSrc, Timers } from './types.ts';

/**
 * The Loc-RIB in the kernel: decisions become routes of protocol 174, their next hops resolved over what else the main
 * table holds, and kept so while links, routes and addresses change. It reads before it writes, deletes nothing before
 * `converged`, and nothing because of an error: a daemon that stops, in whatever way, leaves forwarding as it was.
 *
 * A prefix for which the kernel has someone else's blackhole or on-link route is withheld: it is our own (podCIDR, pod)
 * or a connected subnet, which IPv6 gives metric 256, after ours (net/ipv6/addrconf.c). A route of felix by a gateway
 * (host-gw mode) does not withhold ours, so that a change of mode can add before it deletes.
 */

const own = owners.bird;
const DEFAULT_RESYNC_SECONDS = 90;
/** A dump costs milliseconds a thousand routes; bursts of doubtful notifications share one. */
const REREAD_PAUSE = 200;

const wallTimers: Timers = {
	set: (callback, milliseconds) => setTimeout(callback, milliseconds),
	clear: (timer) => clearTimeout(timer as NodeJS.Timeout | undefined),
};

const devsOf = (resolved: Resolved | undefined): readonly string[] =>
	[...new Set(resolved?.hops.flatMap(({ dev }) => dev ?? []))].sort();

export const createFib = (options: FibOptions): Fib => {
	const { kernel, log, maximumPaths, resyncSeconds = DEFAULT_RESYNC_SECONDS, timers = wallTimers } = options;
	const routes = kernel.routes(own);
	const view = createKernelView(own.protocol);
	let ignored: readonly ((dev: string) => boolean)[] = [];
	let gateways: ReadonlyMap<string, string> = new Map();
	const resolver = createResolver(
		view,
		maximumPaths,
		(dev) => ignored.some((matches) => matches(dev)),
		(nextHop) => gateways.get(nextHop),
	);
	const decisions = new Map<string, Decision>();
	const withheld = new Set<string>();
	const unreachable = new Set<string>();
	const felixListeners = new Set<() => void>();
	let prefSrc: PrefSrc = options.prefSrc;
	let onNextHop: NextHopListener = () => {};
	let watched: ReadonlySet<string> = new Set();
	let felixHeld: ReadonlyMap<string, 'network' | 'host'> = new Map();
	let found = 0;
	let loaded = false;
	let converged = false;
	let closed = false;
	let unwatch = (): void => {};
	let rereadTimer: unknown;
	let periodicTimer: unknown;
	/** Notifications that came while a dump was under way: told again after it, since it may be older than they are. */
	let meanwhile: KernelEvent[] | undefined;
	let reading: Promise<void> | undefined;

	const isOnLink = (route: Route): boolean =>
		route.type === 'blackhole' || route.nextHops.every((hop) => hop.via === undefined);

	const hopsOf = (decision: Decision): readonly NextHop[] => {
		const [first, second] = decision.multipath;
		// By far the most: one array for all routes by that next hop.
		if (second === undefined) return resolver.resolve(first?.attributes.nextHop ?? '')?.hops ?? [];
		const hops = new Map<string, NextHop>();
		for (const { attributes } of decision.multipath) {
			if (attributes.nextHop === undefined) continue;
			for (const hop of resolver.resolve(attributes.nextHop)?.hops ?? []) {
				if (hops.size < maximumPaths) hops.set(`${hop.via} ${hop.dev}`, hop);
			}
		}
		return [...hops.values()];
	};

	/** The route a decision makes now; undefined (and noted why) when there is to be none. */
	const routeOf = (prefix: string, decision: Decision): Route | undefined => {
		if (decision.best.source.kind === 'local') return undefined;
		if (view.exact(prefix).some(isOnLink)) {
			withheld.add(prefix);
			return undefined;
		}
		const nextHops = hopsOf(decision);
		if (nextHops.length === 0) {
			unreachable.add(prefix);
			return undefined;
		}
		const source = prefSrc[familyOf(prefix)];
		return {
			dst: prefix,
			type: 'unicast',
			scope: 'universe',
			protocol: own.protocol,
			metric: own.metric,
			...(source === undefined ? {} : { prefSrc: source }),
			nextHops,
		};
	};

	/** Makes one prefix wanted, or not, as it should be now. */
	const render = (prefix: string, decision = decisions.get(prefix)): void => {
		if (withheld.size > 0) withheld.delete(prefix);
		if (unreachable.size > 0) unreachable.delete(prefix);
		const route = decision && routeOf(prefix, decision);
		if (route === undefined) routes.delete(prefix);
		else routes.set(route);
	};

	const renderAll = (): void => {
		for (const prefix of decisions.keys()) render(prefix);
		writer.kick();
	};

	/** felix says by its routes what is to be announced: its blackholes, and on-link routes with the metric of fallbacks. */
	const heldAs = (route: Route): 'network' | 'host' | undefined => {
		if (route.protocol !== owners.felix.protocol) return undefined;
		if (route.type === 'blackhole') return 'network';
		return route.metric === owners.fallback.metric && isOnLink(route) ? 'host' : undefined;
	};

	const tellFelix = (): void => {
		const now = new Map<string, 'network' | 'host'>();
		for (const route of view.routes()) {
			const held = heldAs(route);
			if (held !== undefined) now.set(route.dst, held);
		}
		if (now.size === felixHeld.size && [...now].every(([prefix, held]) => felixHeld.get(prefix) === held)) return;
		felixHeld = now;
		for (const listener of [...felixListeners]) listener();
	};

	const tellNextHop = (nextHop: string): void => {
		const resolved = resolver.resolve(nextHop);
		onNextHop(nextHop, resolved?.metric, devsOf(resolved));
	};

	const follow = (changes: readonly Change[]): void => {
		if (changes.length === 0) return;
		const moved = new Set(changes.map((change) => change.nextHop));
		for (const [prefix, decision] of decisions) {
			if (decision.multipath.some((path) => moved.has(path.attributes.nextHop ?? ''))) render(prefix);
		}
		writer.kick();
		for (const { nextHop, before, now } of changes) {
			const same = before?.metric === now?.metric && String(devsOf(before)) === String(devsOf(now));
			if (watched.has(nextHop) && !same) onNextHop(nextHop, now?.metric, devsOf(now));
		}
	};

	/** One dump at a time; a call during another waits for that one and then reads again. */
	const readView = async (): Promise<void> => {
		while (reading !== undefined) await reading.catch(() => {});
		reading = (async () => {
			meanwhile = [];
			try {
				const [links, addresses, all] = await Promise.all([
					kernel.listLinks(),
					kernel.listAddresses(),
					kernel.listRoutes(own.protocol),
				]);
				view.load(links, addresses, all);
				loaded = true;
				for (const event of meanwhile) if (view.apply(event).reread) rereadSoon();
			} finally {
				meanwhile = undefined;
				reading = undefined;
			}
		})();
		await reading;
	};

	const reread = async (): Promise<void> => {
		await readView();
		follow(resolver.refresh());
		for (const prefix of [...withheld]) render(prefix);
		for (const route of view.routes()) if (decisions.has(route.dst)) render(route.dst);
		tellFelix();
	};

	const resync = async (): Promise<readonly string[]> => {
		await reread();
		return routes.resync();
	};

	const writer = createRouteWriter({
		routes,
		log,
		timers,
		resync: async () => {
			await resync();
		},
		...(options.written && { written: options.written }),
	});

	const rereadSoon = (): void => {
		if (closed || rereadTimer !== undefined) return;
		rereadTimer = timers.set(() => {
			rereadTimer = undefined;
			writer.resyncSoon();
		}, REREAD_PAUSE);
	};

	const react = (event: KernelEvent, touched: Touched): void => {
		const used = touched.devs.length > 0 && [...resolver.devs()].some((dev) => touched.devs.includes(dev));
		// IPv4 drops our routes of a downed link, or with a removed source, in silence (net/ipv4/fib_frontend.c).
		const source = event.type === 'address' && Object.values(prefSrc).includes(event.address.address);
		if (touched.reread || used || source) rereadSoon();
		follow(resolver.refresh(touched));
		const decided = touched.prefixes.filter((prefix) => decisions.has(prefix));
		for (const prefix of decided) render(prefix);
		if (decided.length > 0) writer.kick();
		if (event.type === 'route' && heldAs(event.route) !== undefined) tellFelix();
		// The kernel drops the routes of a link that goes without a word of them.
		else if (touched.prefixes.some((prefix) => felixHeld.get(prefix) === 'host')) tellFelix();
	};

	const onEvent = (event: KernelEvent): void => {
		if (event.type === 'neighbour') return;
		if (event.type !== 'route' || event.route.metric === own.metric) writer.lookSoon();
		if (event.type === 'route' && event.route.protocol === own.protocol) return;
		meanwhile?.push(event);
		if (loaded) react(event, view.apply(event));
	};

	const periodic = (): void => {
		if (closed) return;
		periodicTimer = timers.set(() => {
			writer.resyncSoon();
			periodic();
		}, resyncSeconds * 1000);
	};

	return {
		update: (changes, since) => {
			changes.forEach((decision, prefix) => {
				if (decision === undefined) decisions.delete(prefix);
				else decisions.set(prefix, decision);
				if (loaded) render(prefix, decision);
			});
			if (changes.size > 0) writer.kick(since);
		},
		start: async () => {
			unwatch = kernel.watch(onEvent);
			await reread();
			await routes.resync();
			found = routes.actual().size;
			// With nothing there of an earlier run, what is withdrawn can only be of this one.
			routes.sweep(found === 0);
			routes.replace([]);
			for (const nextHop of watched) tellNextHop(nextHop);
			for (const prefix of decisions.keys()) render(prefix);
			writer.start();
			periodic();
		},
		converged: () => {
			converged = true;
			routes.sweep(true);
			writer.kick();
		},
		get found() {
			return found;
		},
		watchNextHops: (nextHops, onChange) => {
			const before = watched;
			watched = new Set(nextHops);
			onNextHop = onChange;
			resolver.keep(watched);
			if (!loaded) return;
			for (const nextHop of watched) {
				if (!before.has(nextHop)) tellNextHop(nextHop);
			}
		},
		holds: (prefix) => routes.actual().has(prefix),
		felixHolds: (prefix) => felixHeld.get(prefix) === 'network',
		felixHosts: () => [...felixHeld].flatMap(([prefix, held]) => (held === 'host' ? [prefix] : [])),
		addressesBeside: (address) => view.addressesBeside(address),
		onFelixChange: (callback) => {
			felixListeners.add(callback);
			return () => felixListeners.delete(callback);
		},
		setIgnoredInterfaces: (patterns) => {
			ignored = patterns.map(globMatcher);
			if (loaded) follow(resolver.refresh());
		},
		setGateways: (next) => {
			gateways = next;
			if (loaded) follow(resolver.refresh());
		},
		setPrefSrc: (next) => {
			if (next[4] === prefSrc[4] && next[6] === prefSrc[6]) return;
			prefSrc = next;
			if (loaded) renderAll();
		},
		flush: () => writer.flush(),
		verify: async () => {
			const drifted = await resync();
			const wrong = [...new Set([...drifted, ...writer.differing(converged)])];
			const pending = routes.pending() > 0;
			if (pending) writer.kick();
			// Pending without a prefix: the routes could not be read.
			return pending && wrong.length === 0 ? ['*'] : wrong;
		},
		status: () => {
			const wanted = routes.wanted();
			return {
				wanted: wanted.size,
				programmed: wanted.size - writer.differing(false).length,
				failed: writer.failed(),
				withheld: [...withheld],
				unreachable: [...unreachable],
				converged,
			};
		},
		close: () => {
			closed = true;
			unwatch();
			timers.clear(rereadTimer);
			timers.clear(periodicTimer);
			writer.close();
		},
	};
};
