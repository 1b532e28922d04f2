/** Links, addresses and a main table in memory, behind the real reconciler; and timers that the test turns by hand. */
import { isDeepStrictEqual } from 'node:util';
import type { FibOptions, Timers } from '../../bird/fib/types.ts';
import {
	type InterfaceAddress,
	type KernelError,
	type KernelEvent,
	type Link,
	owners,
	type Route,
	type RouteBody,
} from '../../src/kernel/kernel.ts';
import { createReconciler } from '../../src/kernel/reconciler.ts';
import type { Logger } from '../../src/logging.ts';

export type MemoryKernel = FibOptions['kernel'] & {
	readonly table: () => readonly Route[];
	readonly own: () => readonly Route[];
	/** What was written and deleted, in order: `+ PREFIX`, `- PREFIX`. */
	readonly writes: string[];
	/** Errors by prefix that the kernel answers writes with. */
	readonly refusals: Map<string, KernelError>;
	readonly setRoute: (route: Route) => void;
	readonly removeRoute: (route: Route) => void;
	readonly setLink: (name: string, change: Partial<Link>) => void;
	readonly setAddress: (address: InterfaceAddress, removed?: boolean) => void;
	/** Forgets a route without a notification. */
	readonly lose: (dst: string) => void;
	/** While set, dumps are refused. */
	broken: boolean;
	readonly lost: () => void;
};

const link = (index: number, name: string): Link => ({
	index,
	name,
	alias: '',
	kind: '',
	mtu: 1500,
	up: true,
	lowerUp: true,
	lladdr: '',
	master: 0,
	peerIndex: 0,
	peerNetnsId: -1,
});

export const onLink = (dst: string, dev: string, metric = 0): Route => ({
	dst,
	type: 'unicast',
	scope: 'link',
	protocol: 2,
	metric,
	nextHops: [{ dev }],
});
export const via = (dst: string, gateway: string, dev: string, metric = 0, protocol = 3): Route => ({
	dst,
	type: 'unicast',
	scope: 'universe',
	protocol,
	metric,
	nextHops: [{ via: gateway, dev }],
});
export const blackhole = (dst: string): Route => ({
	dst,
	type: 'blackhole',
	scope: 'universe',
	protocol: owners.felix.protocol,
	metric: owners.felix.metric,
	nextHops: [],
});

const same = (a: RouteBody, b: RouteBody): boolean => isDeepStrictEqual({ ...a, dst: '' }, { ...b, dst: '' });

export const silent: Logger = {
	debug: () => {},
	info: () => {},
	warn: () => {},
	error: () => {},
	child: () => silent,
};

export const createMemoryKernel = (log: Logger = silent): MemoryKernel => {
	const links = new Map<string, Link>();
	let addresses: readonly InterfaceAddress[] = [];
	let table: readonly Route[] = [];
	const listeners = new Set<(event: KernelEvent) => void>();
	const writes: string[] = [];
	const refusals = new Map<string, KernelError>();
	const isOwn = (route: Route): boolean =>
		route.protocol === owners.bird.protocol && route.metric === owners.bird.metric;
	const without = (dst: string, metric: number): readonly Route[] =>
		table.filter((route) => route.dst !== dst || route.metric !== metric);
	const error: KernelError = { errno: 5, code: 'EIO', message: 'broken' };

	const feed = createReconciler<Route, RouteBody>(
		{
			name: 'routes',
			keyOf: (route) => route.dst,
			equal: same,
			read: async () => (kernel.broken ? error : new Map(kernel.own().map((route) => [route.dst, route]))),
			write: async (changes) =>
				changes.map(({ key, wanted }) => {
					const refusal = refusals.get(key);
					if (refusal !== undefined && wanted !== undefined) return refusal;
					table = without(key, owners.bird.metric);
					if (wanted !== undefined) table = [...table, { ...wanted, dst: key }];
					writes.push(`${wanted === undefined ? '-' : '+'} ${key}`);
					return undefined;
				}),
		},
		log,
	);
	const tell = (event: KernelEvent): void => {
		if (event.type === 'route' && isOwn(event.route)) {
			feed.observe(event.route.dst, event.removed ? undefined : event.route);
		}
		if (event.type === 'lost') feed.doubt();
		for (const listener of listeners) listener(event);
	};
	const readable = async <T>(value: () => T): Promise<T> => {
		if (kernel.broken) throw new Error('broken');
		return value();
	};

	const kernel: MemoryKernel = {
		broken: false,
		writes,
		refusals,
		table: () => table,
		own: () => table.filter(isOwn),
		routes: () => feed.reconciler,
		listLinks: () => readable(() => [...links.values()]),
		listAddresses: () => readable(() => addresses),
		listRoutes: () => readable(() => table),
		watch: (listener) => {
			listeners.add(listener);
			return () => listeners.delete(listener);
		},
		setRoute: (route) => {
			table = [...without(route.dst, route.metric), route];
			tell({ type: 'route', removed: false, route });
		},
		removeRoute: (route) => {
			table = table.filter((other) => other.dst !== route.dst || !same(other, route));
			tell({ type: 'route', removed: true, route });
		},
		setLink: (name, change) => {
			const before = links.get(name) ?? link(links.size + 1, name);
			const now = { ...before, ...change };
			links.set(name, now);
			// As IPv4 does it: in silence.
			if (!now.up) table = table.filter((route) => !route.nextHops.some((hop) => hop.dev === name));
			tell({ type: 'link', removed: false, link: now });
		},
		setAddress: (address, removed = false) => {
			addresses = [...addresses.filter((other) => other.address !== address.address), ...(removed ? [] : [address])];
			tell({ type: 'address', removed, address });
		},
		lose: (dst) => {
			table = table.filter((route) => route.dst !== dst);
		},
		lost: () => tell({ type: 'lost' }),
	};
	return kernel;
};

export type HandTimers = Timers & { readonly advance: (milliseconds: number) => void };

export const createHandTimers = (): HandTimers => {
	let now = 0;
	const due = new Map<object, { readonly at: number; readonly callback: () => void }>();
	return {
		set: (callback, milliseconds) => {
			const timer = {};
			due.set(timer, { at: now + milliseconds, callback });
			return timer;
		},
		clear: (timer) => {
			due.delete(timer as object);
		},
		advance: (milliseconds) => {
			now += milliseconds;
			for (const [timer, { at, callback }] of [...due].sort(([, a], [, b]) => a.at - b.at)) {
				if (at <= now && due.delete(timer)) callback();
			}
		},
	};
};
