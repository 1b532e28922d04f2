import type { Logger } from '../logging.ts';
import { readAddress, readNeighbour } from './address-codec.ts';
import { ingressFilterResource } from './ingress-filter.ts';
import {
	type IngressFilter,
	type InterfaceAddress,
	type Kernel,
	type KernelEvent,
	metricOf,
	type Neighbour,
	type NextHop,
	type Owner,
	type Reconciler,
	type Route,
	type RouteBody,
	type RoutingRule,
} from './kernel.ts';
import { readLink } from './link-codec.ts';
import type { LinkTable } from './link-table.ts';
import * as nl from './netlink-constants.ts';
import type { NetlinkSocket } from './netlink-socket.ts';
import { createReconciler, type Feed, type Resource } from './reconciler.ts';
import { readRoute } from './route-codec.ts';
import { anyDevice, routeResource } from './route-resource.ts';
import { readRule } from './rule-codec.ts';
import {
	addressKey,
	addressResource,
	neighbourKey,
	neighbourResource,
	ruleKey,
	ruleResource,
} from './simple-resources.ts';
import { openWatchSocket, type WatchSocket } from './watch-socket.ts';

/**
 * The reconcilers of one kernel and the notifications that keep them true. The kernel does not tell everything: IPv4
 * routes lost with a link or with their preferred source go in silence (fib_sync_down_dev, fib_sync_down_addr), so
 * such events make what is believed of the routes doubtful, and the next pass reads them again.
 */
export type Feeds = Pick<
	Kernel,
	'routes' | 'neighbours' | 'addresses' | 'rules' | 'ingressFilters' | 'watch' | 'close'
> & {
	/** A filter was set past its reconciler. */
	readonly noteIngressFilter: (filter: IngressFilter) => void;
	/** Whether notifications come in. */
	readonly watching: () => boolean;
};

export type FeedsOptions = {
	readonly socket: NetlinkSocket;
	readonly links: LinkTable;
	readonly inside: <T>(run: () => T) => T;
	readonly log: Logger;
	readonly watch: boolean;
	readonly watchBufferBytes: number;
};

const sameGateway = (a: NextHop, b: NextHop): boolean => a.via === b.via && (b.dev === undefined || a.dev === b.dev);

export const createFeeds = (options: FeedsOptions): Feeds => {
	const { socket, links, log } = options;
	const routes = new Map<string, { readonly owner: Owner; readonly feed: Feed<Route, RouteBody> }>();
	const neighbours = new Map<string, Feed<Neighbour>>();
	const addresses = new Map<string, Feed<InterfaceAddress>>();
	const rules = new Map<number, Feed<RoutingRule>>();
	const filters = new Map<string, Feed<IngressFilter>>();
	const listeners = new Set<(event: KernelEvent) => void>();
	let watchSocket: WatchSocket | undefined;
	let closed = false;

	const tell = (event: KernelEvent): void => {
		for (const listener of [...listeners]) {
			try {
				listener(event);
			} catch (error) {
				log.error({ error, event: event.type }, 'a listener of kernel events failed; the others go on');
			}
		}
	};
	const doubtAll = (): void => {
		for (const { feed } of routes.values()) feed.doubt();
		for (const map of [neighbours, addresses, rules, filters]) for (const feed of map.values()) feed.doubt();
	};

	const observeFilter = (dev: string, filter: IngressFilter | undefined): void => {
		for (const [prefix, feed] of filters) if (dev.startsWith(prefix)) feed.observe(dev, filter);
	};
	/** Qdiscs and filters, ours told no less than others': what somebody did to a link's ingress is not said, but asked. */
	const onTrafficControl = (data: Buffer, start: number): void => {
		if (data.readUInt32LE(start - 4) === socket.port) return;
		const dev = links.nameOf(data.readInt32LE(start + 4));
		if (filters.size === 0) return;
		for (const feed of filters.values()) feed.doubtTagged(dev);
		tell({ type: 'ingress', dev });
	};
	const onLink = (removed: boolean, data: Buffer, start: number, end: number): void => {
		const link = readLink(data, start, end);
		if (link === undefined) return;
		const before = links.nameOf(link.index);
		if (!removed && before !== link.name) doubtAll();
		if (removed || !link.up) {
			for (const { feed } of routes.values()) {
				feed.doubtTagged(link.name);
				feed.doubtTagged(anyDevice);
			}
			for (const feed of neighbours.values()) feed.doubtTagged(link.name);
			if (removed) {
				addresses.get(link.name)?.doubt();
				observeFilter(link.name, undefined);
			}
		}
		links.learn(link, removed);
		tell({ type: 'link', removed, link });
	};
	const onAddress = (removed: boolean, data: Buffer, start: number, end: number): void => {
		const address = readAddress(data, start, end, links.nameOf);
		if (address === undefined) return;
		addresses.get(address.dev)?.observe(addressKey(address), removed ? undefined : address);
		if (removed) {
			for (const { feed } of routes.values()) feed.doubtTagged(address.address);
		}
		tell({ type: 'address', removed, address });
	};
	const feedRoute = (
		{ owner, feed }: { owner: Owner; feed: Feed<Route, RouteBody> },
		removed: boolean,
		route: Route,
	): void => {
		if (route.metric !== metricOf(owner, route.dst)) return;
		const known = feed.reconciler.actual().get(route.dst);
		if (route.protocol !== owner.protocol) {
			// Replaced by somebody with our metric: the kernel tells of the new route only.
			if (!removed && known !== undefined) feed.doubt();
			return;
		}
		if (!route.dst.includes(':')) {
			feed.observe(route.dst, removed ? undefined : route);
			return;
		}
		// IPv6 tells of single next hops of a multipath route, and several routes may share prefix and metric.
		const hops = known?.nextHops ?? [];
		if (removed) {
			const left = hops.filter((hop) => !route.nextHops.some((gone) => sameGateway(gone, hop)));
			feed.observe(route.dst, known === undefined || left.length === 0 ? undefined : { ...known, nextHops: left });
			if (left.length > 0) feed.doubt();
		} else {
			feed.observe(route.dst, route);
			if (known !== undefined) feed.doubt();
		}
	};
	const onRoute = (removed: boolean, data: Buffer, start: number, end: number): void => {
		const route = readRoute(data, start, end, links.nameOf);
		if (route === undefined) return;
		for (const entry of routes.values()) feedRoute(entry, removed, route);
		if (listeners.size > 0) tell({ type: 'route', removed, route });
	};
	const onNeighbour = (removed: boolean, data: Buffer, start: number, end: number): void => {
		const entry = readNeighbour(data, start, end, links.nameOf);
		if (entry === undefined) return;
		const { neighbour } = entry;
		const there = !removed && entry.permanent;
		for (const [prefix, feed] of neighbours) {
			if (neighbour.dev.startsWith(prefix)) feed.observe(neighbourKey(neighbour), there ? neighbour : undefined);
		}
		if (removed || there) tell({ type: 'neighbour', removed, neighbour });
	};
	const onRule = (removed: boolean, data: Buffer, start: number, end: number): void => {
		const rule = readRule(data, start, end);
		const feed = rule && rules.get(rule.protocol);
		if (rule !== undefined) feed?.observe(ruleKey(rule), removed ? undefined : rule);
	};

	const onMessage = (type: number, _flags: number, data: Buffer, start: number, end: number): void => {
		if (type === nl.RTM_NEWROUTE || type === nl.RTM_DELROUTE) onRoute(type === nl.RTM_DELROUTE, data, start, end);
		else if (type === nl.RTM_NEWLINK || type === nl.RTM_DELLINK) onLink(type === nl.RTM_DELLINK, data, start, end);
		else if (type === nl.RTM_NEWADDR || type === nl.RTM_DELADDR) onAddress(type === nl.RTM_DELADDR, data, start, end);
		else if (type === nl.RTM_NEWNEIGH || type === nl.RTM_DELNEIGH) {
			onNeighbour(type === nl.RTM_DELNEIGH, data, start, end);
		} else if (type === nl.RTM_NEWRULE || type === nl.RTM_DELRULE) onRule(type === nl.RTM_DELRULE, data, start, end);
		else if (type >= nl.RTM_NEWQDISC && type <= nl.RTM_DELTFILTER) onTrafficControl(data, start);
	};
	const onLost = (reason: string, broken: boolean): void => {
		if (closed) return;
		log.warn({ reason }, 'kernel notifications were lost; everything is read again');
		if (broken) {
			watchSocket = undefined;
			// Subscribed again first, then read: no gap between the two.
			startWatching();
		}
		links.clear();
		doubtAll();
		tell({ type: 'lost' });
	};
	const startWatching = (): void => {
		if (!options.watch || watchSocket !== undefined || closed) return;
		watchSocket = openWatchSocket({
			inside: options.inside,
			ownPort: socket.port,
			bufferBytes: options.watchBufferBytes,
			onMessage,
			onLost,
		});
		// Names learnt before notifications came in may be old.
		links.clear();
	};

	/** Without notifications nobody tells of a link made anew: names are asked for again at each pass. */
	const unwatched = <V extends B, B>(resource: Resource<V, B>): Resource<V, B> =>
		options.watch
			? resource
			: {
					...resource,
					read: (believed) => {
						links.clear();
						return resource.read(believed);
					},
				};
	const settled = async (): Promise<void> => {
		await watchSocket?.settled();
	};
	const feedOf = <K, V>(map: Map<K, Feed<V>>, key: K, resource: () => Resource<V>): Reconciler<V> => {
		startWatching();
		let feed = map.get(key);
		if (feed === undefined) {
			feed = createReconciler(unwatched(resource()), log, settled);
			map.set(key, feed);
		}
		return feed.reconciler;
	};

	return {
		routes: (owner) => {
			startWatching();
			const key = `${owner.protocol} ${owner.metric} ${owner.metric6 ?? owner.metric}`;
			let entry = routes.get(key);
			if (entry === undefined) {
				entry = { owner, feed: createReconciler(unwatched(routeResource(socket, links, owner)), log, settled) };
				routes.set(key, entry);
			}
			return entry.feed.reconciler;
		},
		neighbours: (devPrefix) => feedOf(neighbours, devPrefix, () => neighbourResource(socket, links, devPrefix)),
		addresses: (dev) => feedOf(addresses, dev, () => addressResource(socket, links, dev)),
		ingressFilters: (devPrefix) => feedOf(filters, devPrefix, () => ingressFilterResource(socket, links, devPrefix)),
		noteIngressFilter: (filter) => observeFilter(filter.dev, filter),
		rules: (protocol) => feedOf(rules, protocol, () => ruleResource(socket, protocol)),
		watching: () => watchSocket !== undefined,
		watch: (listener) => {
			if (!options.watch) throw new Error('This kernel was opened with watch: false.');
			startWatching();
			listeners.add(listener);
			return () => {
				listeners.delete(listener);
			};
		},
		close: () => {
			closed = true;
			watchSocket?.close();
			watchSocket = undefined;
			listeners.clear();
		},
	};
};
