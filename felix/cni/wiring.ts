import { createHash } from 'node:crypto';
import {
	type InterfaceAddress,
	type Kernel,
	type KernelError,
	type Link,
	type Neighbour,
	owners,
	type Reconciler,
	type Route,
} from '../../src/kernel/kernel.ts';
import type { Sysctls } from '../../src/kernel/sysctl.ts';
import { bitsOf, type Family, familyOf, hostCidr } from '../../src/net/ip.ts';
import type { Attachment } from '../attachment.ts';
import { sourceFilterOf } from '../render/source-filter.ts';

/**
 * One pod's veth pair and everything inside its netns. The node's own side (route to the pod, neighbour) is only
 * described here, by {@link hostStateOf}: the dataplane's reconcilers write it and keep it.
 *
 * In the pod: its addresses as /32 and /128, a gateway that exists nowhere but as a permanent neighbour with the MAC of
 * every veth's host end, and a default route through it. So a pod never resolves anything: no ARP, no neighbour
 * discovery, nothing to spoof.
 */

/** The MAC of the host end of every pod veth. */
export const hostMac = 'ee:ee:ee:ee:ee:ee';

/** The pod's gateway. IPv6: the EUI-64 address of {@link hostMac} (RFC 4291 appendix A). */
export const gateways: Readonly<Record<Family, string>> = { 4: '169.254.1.1', 6: 'fe80::ecee:eeff:feee:eeee' };

export const hostInterfacePrefix = 'manx';

const digestOf = (containerID: string, ifname: string): Buffer =>
	createHash('sha256').update(`${containerID}/${ifname}`).digest();

/** `manx` and 11 hex digits: 15 bytes, the longest name an interface can have. */
export const hostInterfaceOf = (containerID: string, ifname: string): string =>
	`${hostInterfacePrefix}${digestOf(containerID, ifname).toString('hex').slice(0, 11)}`;

export const isHostInterface = (name: string): boolean => /^manx[0-9a-f]{11}$/.test(name);

/**
 * The MAC of the pod's end: locally administered and derived, so that a felix which lost its records still knows it
 * (the pod's end is in another netns, and the host's neighbour entries need it).
 */
export const podMac = (containerID: string, ifname: string): string => {
	const bytes = digestOf(containerID, ifname).subarray(26, 32);
	bytes[0] = ((bytes[0] as number) & 0xfc) | 0x02;
	return [...bytes].map((byte) => byte.toString(16).padStart(2, '0')).join(':');
};

/** What the node itself needs to reach the pod; `nodeAddresses` are preferred sources, at most one a family. Pure. */
export const hostStateOf = (
	attachment: Attachment,
	nodeAddresses: readonly string[],
): { readonly routes: readonly Route[]; readonly neighbours: readonly Neighbour[] } => {
	const { hostInterface: dev, mac } = attachment;
	return {
		routes: attachment.addresses.map((address) => {
			const family = familyOf(address);
			const prefSrc = nodeAddresses.find((one) => familyOf(one) === family);
			return {
				dst: hostCidr(address),
				type: 'unicast',
				// IPv6 routes have no scope: the kernel tells universe of all (net/ipv6/route.c rt6_fill_node).
				scope: family === 4 ? 'link' : 'universe',
				...owners.felix,
				...(prefSrc !== undefined && { prefSrc }),
				nextHops: [{ dev }],
			};
		}),
		neighbours: attachment.addresses.map((address) => ({ dev, address, lladdr: mac })),
	};
};

/** What belongs into the pod's netns. Pure. */
export const podStateOf = (
	attachment: Attachment,
): {
	readonly addresses: readonly InterfaceAddress[];
	readonly routes: readonly Route[];
	readonly neighbours: readonly Neighbour[];
} => {
	const dev = attachment.ifname;
	const families = [...new Set(attachment.addresses.map(familyOf))];
	const route = (family: Family, dst: string, scope: 'link' | 'universe', via?: string): Route => ({
		dst,
		type: 'unicast',
		scope: family === 4 ? scope : 'universe',
		...owners.felix,
		nextHops: [{ dev, ...(via !== undefined && { via }) }],
	});
	return {
		addresses: attachment.addresses.map((address) => ({
			dev,
			address,
			length: bitsOf(familyOf(address)),
			scope: 'global',
		})),
		// The gateway's own route comes first: the default route's gateway must be reachable when it is added.
		routes: families.flatMap((family) => [
			...(family === 4 ? [route(4, hostCidr(gateways[4]), 'link')] : []),
			route(family, family === 4 ? '0.0.0.0/0' : '::/0', 'universe', gateways[family]),
		]),
		neighbours: families.map((family) => ({ dev, address: gateways[family], lladdr: hostMac })),
	};
};

/** Names as {@link Sysctls} has them: `ipv4/conf/eth0/rp_filter`. */
type Settings = readonly (readonly [path: string, value: string])[];

/** Of the veth's host end, before it is up. Nothing is learnt from a pod, nothing told to it. */
export const hostSysctls = (dev: string, families: readonly Family[]): Settings => [
	// The source filter does more, for less (net/ipv4/fib_frontend.c, __fib_validate_source).
	[`ipv4/conf/${dev}/rp_filter`, '0'],
	[`ipv4/conf/${dev}/forwarding`, '1'],
	...(families.includes(6)
		? ([
				[`ipv6/conf/${dev}/accept_ra`, '0'],
				[`ipv6/conf/${dev}/accept_dad`, '0'],
				// No link-local address: the gateway is a name for a MAC only, so no DAD, no MLD report for it.
				[`ipv6/conf/${dev}/addr_gen_mode`, '1'],
				[`ipv6/conf/${dev}/disable_ipv6`, '0'],
				[`ipv6/conf/${dev}/forwarding`, '1'],
			] as const)
		: ([[`ipv6/conf/${dev}/disable_ipv6`, '1']] as const)),
];

/** In the pod, before its end is up. DAD off: an address is usable at once, and nobody else can have it. */
export const podSysctls = (ifname: string, families: readonly Family[]): Settings => [
	[`ipv6/conf/${ifname}/accept_ra`, '0'],
	...(families.includes(6)
		? ([
				[`ipv6/conf/${ifname}/accept_dad`, '0'],
				['ipv6/conf/all/disable_ipv6', '0'],
				[`ipv6/conf/${ifname}/disable_ipv6`, '0'],
			] as const)
		: []),
];

export type WiringDeps = {
	/** Of the node's netns. */
	readonly kernel: Pick<Kernel, 'listLinks' | 'deleteLink' | 'setLink' | 'createPodLink' | 'setIngressFilter'>;
	/** A kernel of the netns at that path (without notifications); closed after use. Throws when the path is no netns. */
	readonly openKernelIn: (netns: string) => Kernel;
	/** The sysctls of the netns at that path, or of the node's (undefined). */
	readonly sysctlsIn: (netns: string | undefined) => Sysctls;
};

export type WireOptions = {
	readonly alias: string;
	readonly mtu: number;
	/** The pair is there: bring it in order instead of making it. */
	readonly existing: boolean;
	/** Called once the host end is up, the earliest a route can lead there; runs beside the work inside the pod. */
	readonly whenUp: () => Promise<string | undefined>;
};

/** What went wrong, and where: making the pair, setting it up, or in `whenUp`. */
export type WireFailure = { readonly stage: 'create' | 'wire' | 'program'; readonly error: string };

/**
 * Wires the pod, or repairs what is there: every step leaves alone what is right already. On failure it returns why,
 * with nothing of it going on any more; the caller undoes with {@link unwirePod}.
 */
export const wirePod = async (
	deps: WiringDeps,
	attachment: Attachment,
	options: WireOptions,
): Promise<WireFailure | undefined> => {
	const { hostInterface, ifname, netns } = attachment;
	const families = [...new Set(attachment.addresses.map(familyOf))];
	const { alias, mtu, existing } = options;
	if (!existing) {
		const error = await deps.kernel.createPodLink({
			hostName: hostInterface,
			hostLladdr: hostMac,
			alias,
			podName: ifname,
			podNetns: netns,
			mtu,
		});
		if (error !== undefined) return { stage: 'create', error: error.message };
	}
	// Refused, a rule does the same: the dataplane sees to it before the pod is let in (dataplane/source-guard.ts).
	if (!attachment.shaped) deps.kernel.setIngressFilter(sourceFilterOf(attachment));
	const failure =
		deps.sysctlsIn(undefined).writeAll(hostSysctls(hostInterface, families)) ??
		(await deps.kernel.setLink(hostInterface, { up: true, ...(existing && { alias, mtu, lladdr: hostMac }) }));
	if (failure !== undefined) return { stage: 'wire', error: failure.message };
	const [up, inside] = await Promise.all([
		options.whenUp().catch(String),
		wireInside(deps, attachment, options).catch(String),
	]);
	if (inside !== undefined) return { stage: 'wire', error: inside };
	return up === undefined ? undefined : { stage: 'program', error: up };
};

const wireInside = async (
	deps: WiringDeps,
	attachment: Attachment,
	{ mtu, existing }: WireOptions,
): Promise<string | undefined> => {
	const { ifname, netns, mac } = attachment;
	const families = [...new Set(attachment.addresses.map(familyOf))];
	const refused = deps.sysctlsIn(netns).writeAll(podSysctls(ifname, families));
	if (refused !== undefined) return refused.message;
	const pod = deps.openKernelIn(netns);
	try {
		const links = [
			{ name: 'lo', change: { up: true } },
			{ name: ifname, change: { lladdr: mac, up: true, ...(existing && { mtu }) } },
		];
		const wanted = podStateOf(attachment);
		if (!existing) return (await pod.install({ links, ...wanted }))?.message;
		for (const { name, change } of links) {
			const failure = await pod.setLink(name, change);
			if (failure !== undefined) return failure.message;
		}
		return (
			(await applyAll(pod.addresses(ifname), wanted.addresses)) ??
			(await applyAll(pod.neighbours(ifname), wanted.neighbours)) ??
			(await applyAll(pod.routes(owners.felix), wanted.routes))
		);
	} finally {
		pod.close();
	}
};

const applyAll = async <V>(
	reconciler: {
		readonly replace: (values: Iterable<V>) => void;
		readonly apply: () => Promise<{ readonly failed: ReadonlyMap<string, KernelError> }>;
	},
	values: readonly V[],
): Promise<string | undefined> => {
	reconciler.replace(values);
	const { failed } = await reconciler.apply();
	const [first] = failed.values();
	return first?.message;
};

/** Removes the pair, which takes addresses, routes and neighbours of both ends with it. Fine when it is gone already. */
export const unwirePod = async (deps: WiringDeps, hostInterface: string): Promise<string | undefined> => {
	const error = await deps.kernel.deleteLink(hostInterface);
	return error?.message;
};

export type Inspection = {
	/** Whether both ends are there and belong together, so that the rest can be repaired. */
	readonly paired: boolean;
	/** What is not as it should be, in words; empty when all is well. */
	readonly problems: readonly string[];
};

/** Looks at the pair and inside the netns. */
export const inspectPod = async (deps: WiringDeps, attachment: Attachment, alias: string): Promise<Inspection> => {
	const { hostInterface, ifname, netns } = attachment;
	const host = (await deps.kernel.listLinks()).find((link) => link.name === hostInterface);
	if (host === undefined) return { paired: false, problems: [`the interface ${hostInterface} is gone from the node`] };
	const problems: string[] = [];
	if (host.alias !== alias) problems.push(`${hostInterface} has the alias "${host.alias}" instead of "${alias}"`);
	if (!host.up) problems.push(`${hostInterface} is down`);
	if (host.lladdr !== hostMac) problems.push(`${hostInterface} has the MAC ${host.lladdr} instead of ${hostMac}`);
	const pod = deps.openKernelIn(netns);
	try {
		const own = (await pod.listLinks()).find((link) => link.name === ifname);
		if (own === undefined || !isPeer(host, own)) {
			const what = own === undefined ? `is gone from ${netns}` : `in ${netns} is not the other end of ${hostInterface}`;
			return { paired: false, problems: [...problems, `the interface ${ifname} ${what}`] };
		}
		if (!own.up) problems.push(`${ifname} is down in the pod`);
		if (own.lladdr !== attachment.mac)
			problems.push(`${ifname} has the MAC ${own.lladdr} instead of ${attachment.mac}`);
		const wanted = podStateOf(attachment);
		const addresses = (await pod.listAddresses()).filter(({ dev }) => dev === ifname);
		for (const { address, length } of wanted.addresses) {
			if (!addresses.some((one) => one.address === address && one.length === length)) {
				problems.push(`${ifname} lacks the address ${address}/${length} in the pod`);
			}
		}
		const routes = await pod.listRoutes();
		for (const route of wanted.routes) {
			if (!routes.some((one) => sameRoute(one, route))) {
				const via = route.nextHops[0]?.via;
				problems.push(
					`the route ${route.dst}${via === undefined ? '' : ` via ${via}`} dev ${ifname} is gone from the pod`,
				);
			}
		}
		problems.push(
			...(await missingNeighbours(pod.neighbours(ifname), wanted.neighbours)).map((text) => `${text} in the pod`),
		);
		return { paired: true, problems };
	} finally {
		pod.close();
	}
};

const isPeer = (host: Link, pod: Link): boolean => host.peerIndex === pod.index && pod.peerIndex === host.index;

/** Whether a route read is the one wanted, as far as a packet sees it. */
export const sameRoute = (read: Route, wanted: Route): boolean =>
	read.dst === wanted.dst &&
	read.type === wanted.type &&
	read.metric === wanted.metric &&
	wanted.nextHops.every((hop) => read.nextHops.some((one) => one.dev === hop.dev && one.via === hop.via));

/** Neighbours that are absent or have another MAC, in words. Reads the kernel. */
export const missingNeighbours = async (
	reconciler: Pick<Reconciler<Neighbour>, 'resync' | 'actual' | 'keyOf'>,
	wanted: readonly Neighbour[],
): Promise<readonly string[]> => {
	await reconciler.resync();
	return wanted
		.filter((one) => reconciler.actual().get(reconciler.keyOf(one))?.lladdr !== one.lladdr)
		.map(({ dev, address, lladdr }) => `the neighbour ${address} lladdr ${lladdr} is gone from ${dev}`);
};
