import type { Family } from '../net/ip.ts';

/**
 * What felix and bird are handed to speak to the kernel: values in, values out, no Kubernetes word.
 * Addresses and prefixes are canonical text (src/net/ip.ts). The implementation is in this folder; felix and bird
 * import types only from here.
 */

/** Route protocol numbers and metrics, both the owner's mark (docs/design/kernel.md). */
export const owners = {
	felix: { protocol: 173, metric: 173 },
	bird: { protocol: 174, metric: 174 },
	/** felix's routes to other nodes in bgp mode, for as long as bird has none: after both. */
	fallback: { protocol: 173, metric: 175 },
} as const;
export type Owner = {
	readonly protocol: number;
	readonly metric: number;
	/** Of IPv6, where it is another. */
	readonly metric6?: number;
};

export const metricOf = ({ metric, metric6 = metric }: Owner, dst: string): number =>
	dst.includes(':') ? metric6 : metric;

/** An errno the kernel answered with. */
export type KernelError = {
	/** Positive errno. */
	readonly errno: number;
	/** `EEXIST`, `ENETUNREACH`, ... */
	readonly code: string;
	/** What was tried, what the kernel said, what to do: a full sentence. */
	readonly message: string;
};

export type NextHop = {
	/** Gateway; absent for an on-link route. May be of the other family (RFC 8950). */
	readonly via?: string;
	/** Interface name; always present in routes read from the kernel, may be absent when wanted with `via`. */
	readonly dev?: string;
	readonly onlink?: boolean;
	/** 1..256, 1 when absent. */
	readonly weight?: number;
};

/** A route of the main table. Key: family, dst, metric. */
export type Route = {
	/** Canonical prefix. */
	readonly dst: string;
	readonly type: 'unicast' | 'blackhole';
	readonly scope: 'universe' | 'link';
	readonly protocol: number;
	/** IPv6 metric 0 is read back as 1024 (net/ipv6/route.c). */
	readonly metric: number;
	/** Preferred source address. */
	readonly prefSrc?: string;
	/** Empty for blackhole. Order does not matter. */
	readonly nextHops: readonly NextHop[];
};
/** What many routes have in common. */
export type RouteBody = Omit<Route, 'dst'>;

/** A permanent neighbour on a link. Key: dev, address. */
export type Neighbour = { readonly dev: string; readonly address: string; readonly lladdr: string };

/**
 * Judges what comes in by a link before anything else of the host sees it (cls_bpf at the ingress qdisc). `program` is
 * classic BPF as `tc` writes it, `COUNT,CODE JT JF K,…`; it begins at the MAC header and returns 0: goes on, 2: dropped.
 * Key: dev.
 */
export type IngressFilter = { readonly dev: string; readonly program: string };

/** A policy routing rule. */
export type RoutingRule = {
	readonly family: Family;
	readonly priority: number;
	readonly src?: string;
	readonly dst?: string;
	readonly iif?: string;
	readonly fwmark?: { readonly value: number; readonly mask: number };
	readonly table: number;
	readonly protocol: number;
};

export type Link = {
	readonly index: number;
	readonly name: string;
	/** '' when unset. */
	readonly alias: string;
	/** `veth`, `bridge`, ... or '' for hardware. */
	readonly kind: string;
	readonly mtu: number;
	readonly up: boolean;
	readonly lowerUp: boolean;
	readonly lladdr: string;
	readonly master: number;
	/** Index of the peer, and the id of its netns when it lies in another. */
	readonly peerIndex: number;
	readonly peerNetnsId: number;
};

/** Address of an interface. Key: dev, address, length. */
export type InterfaceAddress = {
	readonly dev: string;
	readonly address: string;
	readonly length: number;
	readonly scope: 'global' | 'link' | 'host';
};

export type Applied = {
	/** Keys written (added or replaced) and keys deleted in this pass. */
	readonly written: readonly string[];
	readonly deleted: readonly string[];
	/** Keys the kernel refused; they stay pending and are tried again by the next apply. */
	readonly failed: ReadonlyMap<string, KernelError>;
};

/**
 * Desired against actual for one kind of resource of one owner. `set`/`delete` change what is wanted and do no I/O.
 * `apply` writes the difference only, in batches. Nothing is deleted before `sweep(true)`: objects of ours found in the
 * kernel that nobody wants are kept while what is wanted is not fully known yet (start, mark and sweep).
 * One apply or resync at a time: a call made during another waits for it.
 */
export type Reconciler<V extends B, B = V> = {
	readonly set: (value: V) => void;
	/** As `set`, of a value that may stand for many keys. */
	readonly put: (key: string, value: B) => void;
	readonly delete: (key: string) => void;
	/** Replaces everything wanted by `values`; writes nothing. */
	readonly replace: (values: Iterable<V>) => void;
	readonly keyOf: (value: V) => string;
	readonly wanted: () => ReadonlyMap<string, B>;
	/** What the kernel has of ours, as far as known from the last read, our writes and its notifications. */
	readonly actual: () => ReadonlyMap<string, B>;
	/** Whether to delete owned objects that are not wanted; false at first. */
	readonly sweep: (on: boolean) => void;
	/**
	 * Number of keys where wanted and actual differ (those kept because sweeping is off not counted), and one more
	 * when notifications say that the kernel must be read again; so 0 means that an apply would do nothing.
	 */
	readonly pending: () => number;
	/** Reads the kernel first when it was never read, or notifications were lost. */
	readonly apply: () => Promise<Applied>;
	/** Reads the kernel again in one dump; the next apply writes what differs. Returns the keys found to have drifted. */
	readonly resync: () => Promise<readonly string[]>;
};

/** A notification of the kernel. `lost`: the socket overran (ENOBUFS): everything must be read again. */
export type KernelEvent =
	| { readonly type: 'link'; readonly removed: boolean; readonly link: Link }
	| { readonly type: 'address'; readonly removed: boolean; readonly address: InterfaceAddress }
	| { readonly type: 'route'; readonly removed: boolean; readonly route: Route }
	| { readonly type: 'neighbour'; readonly removed: boolean; readonly neighbour: Neighbour }
	/** Somebody changed what judges a link's packets. */
	| { readonly type: 'ingress'; readonly dev: string }
	| { readonly type: 'lost' };

/** Parameters of a pod's veth pair, made in one go; see felix/cni. */
export type PodLink = {
	readonly hostName: string;
	readonly hostLladdr: string;
	readonly alias: string;
	readonly podName: string;
	readonly podNetns: string;
	readonly mtu: number;
};

/** A tracked connection as FORWARD, INPUT or OUTPUT met its first packet: before SNAT, after DNAT. */
export type Connection = {
	readonly family: Family;
	/** IP protocol number. */
	readonly protocol: number;
	/** Who opened it: source of the original tuple. */
	readonly source: string;
	/** Source of the reply tuple. */
	readonly destination: string;
	/** Absent where the protocol has no ports. */
	readonly destinationPort?: number;
};

export type LinkChange = {
	readonly up?: boolean;
	readonly mtu?: number;
	readonly lladdr?: string;
	readonly alias?: string;
};

export type Kernel = {
	/** Routes of one owner (its protocol and metric) in the main table, both families. Keys: `DST` of the route. */
	readonly routes: (owner: Owner) => Reconciler<Route, RouteBody>;
	/** Permanent neighbours on links whose name begins with `devPrefix`. Keys: `DEV ADDRESS`. */
	readonly neighbours: (devPrefix: string) => Reconciler<Neighbour>;
	/** Filters of links whose name begins with `devPrefix`; gone with their link. Keys: `DEV`. */
	readonly ingressFilters: (devPrefix: string) => Reconciler<IngressFilter>;
	/** Addresses of the named interface that the reconciler put there or that it is told to own. Keys: `DEV ADDRESS/LENGTH`. */
	readonly addresses: (dev: string) => Reconciler<InterfaceAddress>;
	/** Policy routing rules of one protocol number. Keys: `FAMILY PRIORITY`. */
	readonly rules: (protocol: number) => Reconciler<RoutingRule>;

	readonly listLinks: () => Promise<readonly Link[]>;
	readonly listAddresses: () => Promise<readonly InterfaceAddress[]>;
	/** Every route of the main table whoever owns it, but for one protocol: `dst` 0.0.0.0/0 and ::/0 for defaults. */
	readonly listRoutes: (except?: number) => Promise<readonly Route[]>;
	readonly deleteLink: (name: string) => Promise<KernelError | undefined>;
	readonly setLink: (name: string, change: LinkChange) => Promise<KernelError | undefined>;
	/** Sets a filter at once, without what {@link ingressFilters} would read first; that takes notice of it. */
	readonly setIngressFilter: (filter: IngressFilter) => KernelError | undefined;
	/** Makes a pod's veth pair: host end here (down, alias set), peer in `podNetns` (down). All of it or nothing. */
	readonly createPodLink: (link: PodLink) => Promise<KernelError | undefined>;

	/**
	 * Writes into a namespace that has none of it yet, in one batch and in this order; the first refusal, after which
	 * some of the rest may be there. Much quicker than reconcilers, which read first.
	 */
	readonly install: (what: {
		readonly links: readonly { readonly name: string; readonly change: LinkChange }[];
		readonly addresses: readonly InterfaceAddress[];
		readonly neighbours: readonly Neighbour[];
		readonly routes: readonly Route[];
	}) => Promise<KernelError | undefined>;

	/**
	 * Deletes conntrack entries with the address at either end, NAT undone. Calls made while one is under way are done
	 * together; returns how many were deleted in all of them.
	 */
	readonly deleteConntrack: (address: string) => Promise<number>;

	/**
	 * Looks at every tracked connection of `family` with an end in `addresses`, in one dump, and deletes those that
	 * `unwanted` picks. One that is related to another (a helper's) is judged by that other's tuple.
	 */
	readonly endConnections: (
		family: Family,
		addresses: ReadonlySet<string>,
		unwanted: (connection: Connection) => boolean,
	) => Promise<{ readonly looked: number; readonly ended: number; readonly error?: KernelError }>;

	/**
	 * Subscribes to links, addresses, routes (main table) and neighbours; events also feed the reconcilers above. What
	 * this kernel's own reconcilers did to routes and neighbours is not told.
	 */
	readonly watch: (listener: (event: KernelEvent) => void) => () => void;
	readonly close: () => void;
};
