import { createHash } from 'node:crypto';

/**
 * The lab's plan as plain values: names, addresses and what `lab.json` holds. Nothing here does I/O.
 *
 *     out1 --- outside0 [ tor ] fabric0 --- br0 [ fabric ] --- eth0 [ n1 ] --- pods
 *
 * Every box is a network namespace `manx-LAB-NAME`. Links are made inside them: the machine's own namespace gets no
 * link, route or sysctl. Addresses are those reserved for documentation (RFC 5737, RFC 3849) and for private use.
 */

export type Mode = 'bgp' | 'host-gw';
export type TorSoftware = 'bird' | 'frr' | 'gobgp' | 'none';

/** One L2 segment of the fabric: a bridge, with the top-of-rack router as its gateway. */
export type Segment = {
	readonly bridge: string;
	/** The router's interface on it. */
	readonly torInterface: string;
	/** Prefix and the router's address in it, by family. */
	readonly ipv4: { readonly prefix: string; readonly gateway: string };
	readonly ipv6: { readonly prefix: string; readonly gateway: string };
};

/** A node's machine. */
export type Machine = {
	readonly name: string;
	readonly netns: string;
	/** Index into `segments`. */
	readonly segment: number;
	/** Its port on the bridge. */
	readonly port: string;
	/** Canonical, IPv4 first. */
	readonly addresses: readonly string[];
	/** What it was given at the start; the Node object may say otherwise since. */
	readonly podCIDRs: readonly string[];
};

export type OutsideHost = { readonly name: string; readonly netns: string; readonly addresses: readonly string[] };

/** A pod's sandbox, as a container runtime would remember it. */
export type Sandbox = {
	readonly namespace: string;
	readonly name: string;
	readonly uid: string;
	readonly node: string;
	readonly netns: string;
	/** 64 hex digits. */
	readonly containerID: string;
	/** Empty until the CNI plugin's ADD has answered. */
	readonly ips: readonly string[];
};

export type Lab = {
	readonly version: 1;
	readonly name: string;
	readonly mode: Mode;
	readonly tor: TorSoftware;
	readonly masquerade: boolean;
	readonly iptablesBackend: 'auto' | 'legacy' | 'nft';
	readonly logLevel: string;
	/** AS of the nodes. */
	readonly asNumber: number;
	readonly segments: readonly Segment[];
	readonly machines: readonly Machine[];
	readonly outside: readonly OutsideHost[];
	readonly sandboxes: readonly Sandbox[];
	/** False until `lab up` has come to its end. */
	readonly complete: boolean;
};

export const torAsNumber = 64513;
export const defaultAsNumber = 64512;

export const outside = {
	bridge: 'outside0',
	ipv4: { prefix: '198.51.100.0/24', gateway: '198.51.100.1' },
	ipv6: { prefix: '2001:db8:64::/64', gateway: '2001:db8:64::1' },
} as const;

/** No dash: so `manx-a-...` of lab `a` is never mistaken for one of a lab `a-b`. */
export const isLabName = (name: string): boolean => /^[a-z0-9_]{1,32}$/.test(name);

export const netnsPrefix = (lab: string): string => `manx-${lab}-`;
export const fabricNetns = (lab: string): string => `${netnsPrefix(lab)}fabric`;
export const torNetns = (lab: string): string => `${netnsPrefix(lab)}tor`;

/** RFC 1123 subdomain, as Kubernetes wants names of nodes and pods. */
export const isObjectName = (name: string): boolean =>
	name.length <= 253 && /^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$/.test(name);

/** Names a node cannot have, because the lab's own namespaces bear them. */
export const isReservedNodeName = (name: string): boolean => /^(fabric|tor|out\d+|pod-.*)$/.test(name);

/** A namespace's file name holds 255 bytes and is typed by people: long ones end in a hash. */
const shortened = (text: string, most: number): string =>
	text.length <= most
		? text
		: `${text.slice(0, most - 9)}-${createHash('sha256').update(text).digest('hex').slice(0, 8)}`;

export const nodeNetns = (lab: string, node: string): string => `${netnsPrefix(lab)}${shortened(node, 80)}`;
export const podNetns = (lab: string, namespace: string, name: string): string =>
	`${netnsPrefix(lab)}pod-${shortened(`${namespace}.${name}`, 80)}`;

/** The first segment, or one made for a node whose address lies elsewhere. */
export const segmentOf = (index: number, ipv4Network: string, ipv6Network: string): Segment => ({
	bridge: `br${index}`,
	torInterface: `fabric${index}`,
	ipv4: { prefix: `${ipv4Network}/24`, gateway: ipv4Network.replace(/\d+$/, '1') },
	ipv6: { prefix: `${ipv6Network}/64`, gateway: `${ipv6Network}1` },
});

export const firstSegment: Segment = segmentOf(0, '192.0.2.0', '2001:db8:0:2::');

export const mostNodes = 200;
export const mostOutside = 200;

/** Host number of the N-th (1-based) node or outside host: .11 and ::11 is the first. */
export const hostNumber = (n: number): number => 10 + n;

/** Address `n` of an IPv4 /24 and an IPv6 /64; the same decimal digits are used in both, for people to recognise. */
export const hostAddresses = (
	ipv4Prefix: string,
	ipv6Prefix: string,
	n: number,
): readonly [ipv4: string, ipv6: string] => [
	ipv4Prefix.replace(/\d+\/24$/, String(n)),
	ipv6Prefix.replace(/\/64$/, String(n)),
];

export const podCIDRsOf = (n: number): readonly [ipv4: string, ipv6: string] => [
	`10.244.${n}.0/24`,
	`fd00:244:0:${n}::/64`,
];
