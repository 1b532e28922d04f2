import {
	type KernelEvent,
	metricOf,
	type NextHop,
	type Owner,
	owners,
	type Route,
	type RouteBody,
} from '../../src/kernel/kernel.ts';
import { type Family, familyOf } from '../../src/net/ip.ts';
import { globMatcher } from '../policy/evaluate.ts';
import { type FormerRoutes, findFormerRoutes, removeFormerRoutes } from './former-routes.ts';
import { createKernelView, type Touched } from './kernel-view.ts';
import { type Change, createResolver, type Resolved } from './resolver.ts';
import { createRouteWriter } from './route-writer.ts';
import type { Fib, FibOptions, NextHopListener, PrefSrc, Timers } from './types.ts';
import { createWays, type Way } from './ways.ts';

/**
 * The Loc-RIB in the kernel: decisions become routes of protocol 174, their next hops resolved over what else the main
 * table holds, and kept so while links, routes and addresses change. It reads before it writes, deletes nothing before
 * `converged`, and nothing because of an error: a daemon that stops, in whatever way, leaves forwarding as it was.
 *
 * A prefix for which the kernel has someone else's blackhole or on-link route is withheld: it is our own (podCIDR, pod)
 * or a connected subnet, which IPv6 gives metric 256, after ours (net/ipv6/addrconf.c). A route of felix by a gateway
 * (host-gw mode) does not withhold ours, so that a change of mode can add before it deletes, unless we are told to leave such to it.
 */

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
	const {
		kernel,
		log,
		maximumPaths,
		owner: own = owners.bird as Owner,
		leaveToFelix = false,
		resyncSeconds = DEFAULT_RESYNC_SECONDS,
		timers = wallTimers,
	} = options;
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
	/** Decided, and not wanted in the kernel. */
	const withheld = new Map<string, Way>();
	const unreachable = new Map<string, Way>();
	const felixListeners = new Set<() => void>();
	let prefSrc: PrefSrc = options.prefSrc;
	let onNextHop: NextHopListener = () => {};
	let watched: ReadonlySet<string> = new Set();
	let felixHeld: ReadonlyMap<string, 'network' | 'host'> = new Map();
	let found = 0;
	let former: FormerRoutes = { count: 0, owners: [] };
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

	const hopsOf = (nextHops: readonly string[]): readonly NextHop[] => {
		const [first, ...more] = nextHops;
		if (more.length === 0) return resolver.resolve(first ?? '')?.hops ?? [];
		const hops = new Map<string, NextHop>();
		for (const nextHop of nextHops) {
			for (const hop of resolver.resolve(nextHop)?.hops ?? []) {
				if (hops.size < maximumPaths) hops.set(`${hop.via} ${hop.dev}`, hop);
			}
		}
		return [...hops.values()];
	};

	const bodyOf = (nextHops: readonly NextHop[], family: Family): RouteBody => {
		const source = prefSrc[family];
		return {
			type: 'unicast',
			scope: 'universe',
			protocol: own.protocol,
			metric: family === 6 ? (own.metric6 ?? own.metric) : own.metric,
			...(source === undefined ? {} : { prefSrc: source }),
			nextHops,
		};
	};

	function* waysInUse(): Iterable<Way> {
		yield* withheld.values();
		yield* unreachable.values();
		for (const body of routes.wanted().values()) {
			const way = ways.byBody(body);
			if (way !== undefined) yield way;
		}
	}
	const ways = createWays(hopsOf, bodyOf, waysInUse);

	/** Of a prefix that is decided. */
	const wayOf = (prefix: string): Way | undefined =>
		ways.byBody(routes.wanted().get(prefix)) ?? withheld.get(prefix) ?? unreachable.get(prefix);

	const isLeft = ({ protocol }: Route): boolean => leaveToFelix && protocol === owners.felix.protocol;

	/** Makes one prefix wanted, or not, as it should be now. */
	const render = (prefix: string, way: Way | undefined): void => {
		if (withheld.size > 0) withheld.delete(prefix);
		if (unreachable.size > 0) unreachable.delete(prefix);
		const ours = way !== undefined && view.exact(prefix).some((route) => isOnLink(route) || isLeft(route));
		if (way?.body !== undefined && !ours) {
			routes.put(prefix, way.body);
			return;
		}
		routes.delete(prefix);
		if (ours) withheld.set(prefix, way);
		else if (way !== undefined) unreachable.set(prefix, way);
	};

	/** Something else about it changed; false: it is not decided. */
	const renderAgain = (prefix: string): boolean => {
		const way = wayOf(prefix);
		if (way !== undefined) render(prefix, way);
		return way !== undefined;
	};

	const renew = (concerns: (way: Way) => boolean): void => {
		const before = ways.renew(concerns);
		for (const [prefix, body] of routes.wanted()) {
			const way = before.get(body);
			if (way !== undefined) render(prefix, way);
		}
		for (const [prefix, way] of [...unreachable]) if (concerns(way)) render(prefix, way);
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
		renew((way) => way.nextHops.some((nextHop) => moved.has(nextHop)));
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
		for (const [prefix, way] of [...withheld]) render(prefix, way);
		for (const { dst } of view.routes()) renderAgain(dst);
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
		if (touched.prefixes.filter(renderAgain).length > 0) writer.kick();
		if (event.type === 'route' && heldAs(event.route) !== undefined) tellFelix();
		// The kernel drops the routes of a link that goes without a word of them.
		else if (touched.prefixes.some((prefix) => felixHeld.get(prefix) === 'host')) tellFelix();
	};

	const onEvent = (event: KernelEvent): void => {
		if (event.type === 'neighbour') return;
		if (event.type !== 'route' || event.route.metric === metricOf(own, event.route.dst)) writer.lookSoon();
		if (event.type === 'route' && event.route.protocol === own.protocol) return;
		meanwhile?.push(event);
		if (loaded) react(event, view.apply(event));
	};

	const replaceFormer = async (): Promise<void> => {
		await writer.flush();
		if (closed) return;
		const problem = await removeFormerRoutes(kernel, former.owners).catch((error: Error) => error.message);
		const what = `${former.count} routes with the metric they had before`;
		if (problem === undefined) log.info({}, `${what} are removed`);
		else log.error({}, `${what} cannot be removed, the next start of bird tries again: ${problem}`);
		former = { count: 0, owners: [] };
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
				const local = decision === undefined || decision.best.source.kind === 'local';
				render(prefix, local ? undefined : ways.of(decision, familyOf(prefix)));
			});
			if (changes.size > 0) writer.kick(since);
		},
		start: async () => {
			unwatch = kernel.watch(onEvent);
			await reread();
			await routes.resync();
			found = routes.actual().size;
			// All routes are looked at only where ours are missing, as after a change of the metric.
			const families = new Set<Family>();
			for (const prefix of routes.actual().keys()) if (families.add(familyOf(prefix)).size === 2) break;
			if (families.size < 2) former = await findFormerRoutes(kernel, own);
			found += former.count;
			// With nothing there of an earlier run, what is withdrawn can only be of this one.
			routes.sweep(found === 0);
			routes.replace([]);
			for (const nextHop of watched) tellNextHop(nextHop);
			renew(() => true);
			writer.start();
			periodic();
		},
		converged: () => {
			converged = true;
			routes.sweep(true);
			writer.kick();
			if (former.count > 0) void replaceFormer();
		},
		get found() {
			return found;
		},
		watchNextHops: (nextHops, onChange) => {
			const before = watched;
			watched = new Set(nextHops);
			onNextHop = onChange;
			resolver.keep(watched);
			ways.keep(watched);
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
			if (loaded) renew(() => true);
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
				withheld: [...withheld.keys()],
				unreachable: [...unreachable.keys()],
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
