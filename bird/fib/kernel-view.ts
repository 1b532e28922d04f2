import type { InterfaceAddress, KernelEvent, Link, NextHop, Route, RouteBody } from '../../src/kernel/kernel.ts';
import { type Family, familyOf, formatCidr, hostCidr, parseAddress } from '../../src/net/ip.ts';

/**
 * The kernel's links, addresses and main table, own routes left out, kept by its notifications; pure.
 *
 * Notifications do not tell all: a replaced route looks like an added one, IPv6 tells of one next hop of several
 * (net/ipv6/route.c), IPv4 drops routes of a downed link or a removed source in silence (net/ipv4/fib_frontend.c).
 * What can be concluded is; where a notification leaves two readings, `reread` asks for a fresh dump.
 */

export type Touched = {
	/** Prefixes whose routes changed. */
	readonly prefixes: readonly string[];
	/** Links that went up, down, away or came. */
	readonly devs: readonly string[];
	readonly reread: boolean;
};

export type KernelView = {
	readonly load: (links: readonly Link[], addresses: readonly InterfaceAddress[], routes: readonly Route[]) => void;
	readonly apply: (event: KernelEvent) => Touched;
	/** Routes of the longest prefix that holds the address, lowest metric first; never a default route. */
	readonly lookup: (address: string) => readonly Route[];
	readonly exact: (prefix: string) => readonly Route[];
	/** Whether packets can leave by the link: up, with carrier. */
	readonly usable: (dev: string) => boolean;
	readonly isOurs: (address: string) => boolean;
	/** Global addresses on the link that holds this address of ours. */
	readonly addressesBeside: (address: string) => readonly string[];
	readonly routes: () => Iterable<Route>;
};

const untouched: Touched = { prefixes: [], devs: [], reread: false };
const noRoutes: readonly Route[] = [];

/** A text equal exactly for equal routes, whatever the order of their next hops. */
const routeText = (route: RouteBody): string => {
	const hops = route.nextHops.map(
		(hop) => `${hop.via ?? ''} ${hop.dev ?? ''} ${hop.weight ?? 1} ${hop.onlink === true ? 'onlink' : ''}`,
	);
	if (hops.length > 1) hops.sort();
	return `${route.type} ${route.protocol} ${route.metric} ${route.prefSrc ?? ''}|${hops.join('|')}`;
};

const sameHop = (a: NextHop, b: NextHop): boolean =>
	a.via === b.via &&
	a.dev === b.dev &&
	(a.weight ?? 1) === (b.weight ?? 1) &&
	(a.onlink ?? false) === (b.onlink ?? false);

/** Whether the kernel would treat them alike, their prefix aside; cheap for routes of one next hop, which most are. */
export const sameRoute = (a: RouteBody, b: RouteBody): boolean => {
	if (a === b) return true;
	const [hopA, ...moreA] = a.nextHops;
	const [hopB, ...moreB] = b.nextHops;
	if (hopA === undefined || hopB === undefined || moreA.length > 0 || moreB.length > 0) {
		return routeText(a) === routeText(b);
	}
	return (
		a.type === b.type &&
		a.protocol === b.protocol &&
		a.metric === b.metric &&
		a.prefSrc === b.prefSrc &&
		sameHop(hopA, hopB)
	);
};

const usesOnly = (route: Route, dev: string): boolean =>
	route.nextHops.length > 0 && route.nextHops.every((hop) => hop.dev === dev);

export const createKernelView = (ownProtocol: number): KernelView => {
	const links = new Map<string, Link>();
	const namesByIndex = new Map<number, string>();
	const addresses = new Map<string, number>();
	/** By `dev address/length`. */
	const addressKeys = new Map<string, InterfaceAddress>();
	const table = new Map<string, readonly Route[]>();
	/** How many prefixes of each length there are: the lengths a lookup has to try. */
	const lengths: Record<Family, Map<number, number>> = { 4: new Map(), 6: new Map() };

	const setRoutes = (dst: string, routes: readonly Route[]): void => {
		const had = table.has(dst);
		if (routes.length > 0) table.set(dst, routes);
		else table.delete(dst);
		if (had === routes.length > 0) return;
		const byLength = lengths[familyOf(dst)];
		const length = Number(dst.slice(dst.indexOf('/') + 1));
		const count = (byLength.get(length) ?? 0) + (had ? -1 : 1);
		if (count === 0) byLength.delete(length);
		else byLength.set(length, count);
	};

	const addRoute = (route: Route): void => {
		if (route.protocol === ownProtocol) return;
		setRoutes(
			route.dst,
			[...(table.get(route.dst) ?? noRoutes), route].sort((a, b) => a.metric - b.metric),
		);
	};

	const setLink = (link: Link): void => {
		links.set(link.name, link);
		namesByIndex.set(link.index, link.name);
	};

	const changeAddress = (held: InterfaceAddress, removed: boolean): void => {
		const { dev, address, length } = held;
		const key = `${dev} ${address}/${length}`;
		if (addressKeys.has(key) !== removed) return;
		const count = (addresses.get(address) ?? 0) + (removed ? -1 : 1);
		if (removed) addressKeys.delete(key);
		else addressKeys.set(key, held);
		if (count === 0) addresses.delete(address);
		else addresses.set(address, count);
	};

	/** The kernel drops what goes by a downed link only. */
	const dropRoutesOf = (dev: string): string[] => {
		const dropped: string[] = [];
		for (const [dst, routes] of table) {
			const kept = routes.filter((route) => !usesOnly(route, dev));
			if (kept.length === routes.length) continue;
			setRoutes(dst, kept);
			dropped.push(dst);
		}
		return dropped;
	};

	const applyLink = (link: Link, removed: boolean): Touched => {
		const before = links.get(link.name);
		const oldName = namesByIndex.get(link.index);
		if (removed) {
			links.delete(link.name);
			namesByIndex.delete(link.index);
			return { prefixes: dropRoutesOf(link.name), devs: [link.name], reread: false };
		}
		setLink(link);
		if (oldName !== undefined && oldName !== link.name) {
			links.delete(oldName);
			return { prefixes: [], devs: [oldName, link.name], reread: true };
		}
		if (before !== undefined && before.index === link.index && before.up === link.up) {
			return before.lowerUp === link.lowerUp ? untouched : { prefixes: [], devs: [link.name], reread: false };
		}
		const prefixes = before !== undefined && !link.up ? dropRoutesOf(link.name) : [];
		return { prefixes, devs: [link.name], reread: false };
	};

	const applyRoute = (route: Route, removed: boolean): Touched => {
		if (route.protocol === ownProtocol) return untouched;
		const held = table.get(route.dst) ?? noRoutes;
		const same = held.findIndex((other) => sameRoute(other, route));
		const rivals = held.filter((other) => other.metric === route.metric);
		if (removed) {
			if (same < 0) return rivals.length === 0 ? untouched : { ...untouched, reread: true };
			setRoutes(route.dst, held.toSpliced(same, 1));
			return { prefixes: [route.dst], devs: [], reread: false };
		}
		if (same >= 0) return untouched;
		// IPv6 holds one on-link route per link for the same prefix and metric (fe80::/64).
		const beside = rivals.every(
			(other) =>
				familyOf(route.dst) === 6 &&
				![...other.nextHops, ...route.nextHops].some((hop) => hop.via !== undefined) &&
				!other.nextHops.some((hop) => route.nextHops.some((mine) => mine.dev === hop.dev)),
		);
		if (!beside) {
			setRoutes(
				route.dst,
				held.filter((other) => other.metric !== route.metric),
			);
		}
		addRoute(route);
		return { prefixes: [route.dst], devs: [], reread: !beside };
	};

	return {
		load: (newLinks, newAddresses, routes) => {
			for (const map of [links, namesByIndex, addresses, addressKeys, table, lengths[4], lengths[6]]) map.clear();
			for (const link of newLinks) setLink(link);
			for (const address of newAddresses) changeAddress(address, false);
			for (const route of routes) addRoute(route);
		},
		apply: (event) => {
			if (event.type === 'link') return applyLink(event.link, event.removed);
			if (event.type === 'route') return applyRoute(event.route, event.removed);
			if (event.type === 'lost') return { ...untouched, reread: true };
			if (event.type !== 'address') return untouched;
			changeAddress(event.address, event.removed);
			const { address } = event.address;
			let reread = false;
			if (event.removed) {
				for (const routes of table.values()) reread ||= routes.some((route) => route.prefSrc === address);
			}
			return { prefixes: [hostCidr(address)], devs: [], reread };
		},
		lookup: (text) => {
			const address = parseAddress(text);
			if (address === undefined) return noRoutes;
			const { family, value } = address;
			const bits = family === 4 ? 32 : 128;
			for (const length of [...lengths[family].keys()].sort((a, b) => b - a)) {
				if (length === 0) break;
				const host = BigInt(bits - length);
				const routes = table.get(formatCidr({ family, value: (value >> host) << host, length }));
				if (routes !== undefined) return routes;
			}
			return noRoutes;
		},
		exact: (prefix) => table.get(prefix) ?? noRoutes,
		usable: (dev) => {
			const link = links.get(dev);
			return link?.up === true && link.lowerUp;
		},
		isOurs: (address) => addresses.has(address),
		addressesBeside: (address) => {
			const all = [...addressKeys.values()];
			const devs = new Set(all.filter((held) => held.address === address).map(({ dev }) => dev));
			return all.filter(({ dev, scope }) => scope === 'global' && devs.has(dev)).map((held) => held.address);
		},
		routes: function* () {
			for (const routes of table.values()) yield* routes;
		},
	};
};
