import { canonicalAddress, contains, familyOf, formatCidr, overlaps, parseAddress, parseCidr } from '../net/ip.ts';
import { type Body, bodyAt, isBody, listAt, type Manifest, textAt, textsAt, titleOf } from './manifests.ts';
import { withFields } from './object-store.ts';
import * as plan from './plan.ts';
import { LabError } from './shell.ts';

/**
 * From `lab up`'s options and manifests to the lab's plan and the objects it starts with. What the manifests leave
 * out is filled in: nodes (when none is given), their addresses and podCIDRs, pods (when there are no manifests), the
 * Namespaces, and in bgp mode the BGPPeer objects of the top-of-rack router.
 */

export type UpOptions = {
	readonly name: string;
	readonly nodes: number | undefined;
	readonly pods: number | undefined;
	readonly outside: number;
	readonly mode: plan.Mode;
	readonly tor: plan.TorSoftware;
	readonly masquerade: boolean;
	readonly iptablesBackend: plan.Lab['iptablesBackend'];
	readonly logLevel: string;
	readonly manifests: readonly Manifest[] | undefined;
};

export type Topology = { readonly lab: plan.Lab; readonly objects: readonly Manifest[] };

const manifest = (apiVersion: string, kind: string, namespace: string, name: string, rest: Body): Manifest => ({
	kind,
	namespace,
	name,
	body: { apiVersion, kind, metadata: { name, ...(namespace === '' ? {} : { namespace }) }, ...rest },
});

const networkOf = (address: string, length: number): string => {
	const cidr = parseCidr(`${address}/${length}`);
	if (cidr === undefined) throw new LabError(`${address} is not an address.`);
	return formatCidr(cidr).replace(/\/\d+$/, '');
};

/** Addresses of type InternalIP in a Node object, canonical. Throws on one that is none: a machine needs it. */
export const internalAddresses = (node: Manifest): string[] =>
	listAt(bodyAt(node.body, 'status'), 'addresses')
		.filter(isBody)
		.filter((entry) => textAt(entry, 'type') === 'InternalIP')
		.map((entry) => {
			const text = textAt(entry, 'address');
			const address = canonicalAddress(text);
			if (address === undefined) {
				throw new LabError(`Node ${node.name}: "${text}" in status.addresses is not an IP address.`);
			}
			return address;
		});

const planMachines = (
	name: string,
	nodes: readonly Manifest[],
): { segments: readonly plan.Segment[]; machines: readonly plan.Machine[] } => {
	const segments: plan.Segment[] = [plan.firstSegment];
	const given = nodes.map(internalAddresses);
	const taken = new Set(given.flat());
	for (const segment of segments) taken.add(segment.ipv4.gateway);
	const segmentFor = (ipv4: string | undefined, ipv6: string | undefined): number => {
		const found = segments.findIndex((segment) =>
			ipv4 === undefined
				? ipv6 === undefined || segment.ipv6.prefix === `${networkOf(ipv6, 64)}/64`
				: segment.ipv4.prefix === `${networkOf(ipv4, 24)}/24`,
		);
		if (found >= 0) return found;
		const index = segments.length;
		segments.push(
			plan.segmentOf(
				index,
				ipv4 === undefined ? `203.0.113.0` : networkOf(ipv4, 24),
				ipv6 === undefined ? `2001:db8:0:${(2 + index).toString(16)}::` : networkOf(ipv6, 64),
			),
		);
		return index;
	};
	const machines = nodes.map((node, index): plan.Machine => {
		const own = given[index] ?? [];
		const [ipv4, ipv6] = ([4, 6] as const).map((family) => own.find((address) => familyOf(address) === family));
		const segment = segmentFor(ipv4, ipv6);
		const { prefix: prefix4 } = (segments[segment] as plan.Segment).ipv4;
		const { prefix: prefix6 } = (segments[segment] as plan.Segment).ipv6;
		// The next number free in both families: n1 gets .11 and ::11 unless somebody wrote those down for another.
		const numbers = Array.from({ length: 254 - 10 }, (_, n) => plan.hostNumber(((index + n) % 244) + 1));
		const addresses =
			own.length > 0
				? [...(ipv4 === undefined ? [] : [ipv4]), ...(ipv6 === undefined ? [] : [ipv6])]
				: numbers
						.map((number) => plan.hostAddresses(prefix4, prefix6, number))
						.find((pair) => pair.every((address) => !taken.has(address)));
		if (addresses === undefined) throw new LabError(`Node ${node.name}: no address is left on its segment.`);
		for (const address of addresses) taken.add(address);
		return {
			name: node.name,
			netns: plan.nodeNetns(name, node.name),
			segment,
			port: `port${index + 1}`,
			addresses,
			podCIDRs: [],
		};
	});
	return { segments, machines };
};

/** podCIDRs for the nodes that say nothing about theirs; a text that is no prefix is left for the daemons to refuse. */
const planPodCIDRs = (nodes: readonly Manifest[]): readonly (readonly string[])[] => {
	const given = nodes.map((node) => {
		const spec = bodyAt(node.body, 'spec');
		return 'podCIDRs' in spec ? textsAt(spec, 'podCIDRs') : 'podCIDR' in spec ? [textAt(spec, 'podCIDR')] : undefined;
	});
	const taken = given
		.flatMap((cidrs) => cidrs ?? [])
		.map(parseCidr)
		.filter((cidr) => cidr !== undefined);
	let next = 1;
	return given.map((cidrs) => {
		if (cidrs !== undefined) return cidrs;
		for (; next <= 255; next++) {
			const pair = plan.podCIDRsOf(next);
			const free = pair.every((text) => {
				const cidr = parseCidr(text);
				return cidr !== undefined && !taken.some((other) => overlaps(cidr, other));
			});
			if (free) {
				next++;
				return pair;
			}
		}
		throw new LabError('No podCIDR of 10.244.0.0/16 is left for the nodes that have none.');
	});
};

const checkNodeNames = (nodes: readonly Manifest[]): void => {
	for (const { name } of nodes) {
		if (!plan.isObjectName(name)) {
			throw new LabError(`Node "${name}": not a name Kubernetes allows (lower-case letters, digits, "-" and ".").`);
		}
		if (plan.isReservedNodeName(name)) {
			throw new LabError(`Node "${name}": the lab uses that name for itself. Call the node something else.`);
		}
	}
};

const asNumberOf = (objects: readonly Manifest[]): number => {
	const configuration = objects.find((object) => object.kind === 'BGPConfiguration' && object.name === 'default');
	const asNumber = configuration && bodyAt(configuration.body, 'spec').asNumber;
	return typeof asNumber === 'number' && Number.isInteger(asNumber) ? asNumber : plan.defaultAsNumber;
};

const peersFor = (machines: readonly plan.Machine[], segments: readonly plan.Segment[]): Manifest[] => {
	const peer = (name: string, segment: plan.Segment, node: string) =>
		manifest('manx.dev/v1', 'BGPPeer', '', name, {
			spec: { peerIP: segment.ipv4.gateway, asNumber: plan.torAsNumber, ...(node === '' ? {} : { node }) },
		});
	// One router for all, unless it is reached at different addresses.
	if (segments.length === 1) return [peer('tor', segments[0] as plan.Segment, '')];
	return machines.map((machine) =>
		peer(`tor-${machine.name}`, segments[machine.segment] as plan.Segment, machine.name),
	);
};

const demoPods = (count: number, nodes: readonly Manifest[]): Manifest[] =>
	Array.from({ length: count }, (_, index) => {
		const name = `p${index + 1}`;
		const pod = manifest('v1', 'Pod', 'default', name, {
			spec: { nodeName: nodes[index % nodes.length]?.name ?? '', containers: [{ name: 'main' }] },
		});
		return { ...pod, body: withFields(pod.body, 'metadata', { labels: { app: name } }) };
	});

/** Gives each Pod without nodeName the node that has the fewest; those of a node nobody has stay as they are. */
export const schedule = (
	pods: readonly Manifest[],
	nodes: readonly string[],
	already: readonly string[],
): Manifest[] => {
	const load = new Map(nodes.map((node) => [node, 0]));
	const count = (node: string) => {
		if (load.has(node)) load.set(node, (load.get(node) ?? 0) + 1);
	};
	for (const node of already) count(node);
	for (const pod of pods) count(textAt(bodyAt(pod.body, 'spec'), 'nodeName'));
	return pods.map((pod) => {
		if (textAt(bodyAt(pod.body, 'spec'), 'nodeName') !== '') return pod;
		const [node] = [...load.entries()].reduce<readonly [string, number]>(
			(least, entry) => (entry[1] < least[1] ? entry : least),
			['', Number.POSITIVE_INFINITY],
		);
		count(node);
		return { ...pod, body: withFields(pod.body, 'spec', { nodeName: node }) };
	});
};

/** Namespaces that `objects` live in and that nobody wrote down. */
export const missingNamespaces = (objects: readonly Manifest[], known: ReadonlySet<string>): Manifest[] => {
	const there = new Set([...known, ...objects.filter((object) => object.kind === 'Namespace').map(({ name }) => name)]);
	const wanted = new Set(objects.map(({ namespace }) => namespace).filter((namespace) => namespace !== ''));
	return [...wanted].filter((name) => !there.has(name)).map((name) => manifest('v1', 'Namespace', '', name, {}));
};

export const planTopology = (options: UpOptions): Topology => {
	const given = options.manifests ?? [];
	const ofKind = (kind: string) => given.filter((object) => object.kind === kind);
	const demo = options.manifests === undefined;
	const count = options.nodes ?? 3;
	const nodesGiven = ofKind('Node');
	const nodes =
		nodesGiven.length > 0
			? nodesGiven
			: Array.from({ length: count }, (_, index) => manifest('v1', 'Node', '', `n${index + 1}`, {}));
	if (nodesGiven.length > 0 && options.nodes !== undefined && options.nodes !== nodesGiven.length) {
		throw new LabError(`-f describes ${nodesGiven.length} nodes, --nodes says ${options.nodes}. Leave --nodes out.`);
	}
	if (nodes.length > plan.mostNodes) throw new LabError(`${nodes.length} nodes: a lab has ${plan.mostNodes} at most.`);
	checkNodeNames(nodes);
	const { segments, machines: bare } = planMachines(options.name, nodes);
	const podCIDRs = planPodCIDRs(nodes);
	const machines = bare.map((machine, index) => ({ ...machine, podCIDRs: podCIDRs[index] ?? [] }));
	const nodeObjects = nodes.map((node, index): Manifest => {
		const machine = machines[index] as plan.Machine;
		const spec = bodyAt(node.body, 'spec');
		let body = node.body;
		if (!('podCIDRs' in spec) && !('podCIDR' in spec)) {
			body = withFields(body, 'spec', { podCIDR: machine.podCIDRs[0], podCIDRs: machine.podCIDRs });
		}
		if (internalAddresses(node).length === 0) {
			const addresses = machine.addresses.map((address) => ({ type: 'InternalIP', address }));
			const others = listAt(bodyAt(body, 'status'), 'addresses');
			body = withFields(body, 'status', {
				addresses: [...addresses, ...(others.length > 0 ? others : [{ type: 'Hostname', address: node.name }])],
			});
		}
		return { ...node, body };
	});
	const hosts = options.tor === 'none' ? 0 : options.outside;
	if (hosts > plan.mostOutside) throw new LabError(`${hosts} outside hosts: a lab has ${plan.mostOutside} at most.`);
	const pods = [
		...ofKind('Pod'),
		...demoPods(options.pods ?? (demo ? nodes.length * 2 : 0), nodes).filter(
			(pod) => !given.some((object) => titleOf(object) === titleOf(pod)),
		),
	];
	const others = given.filter((object) => object.kind !== 'Node' && object.kind !== 'Pod');
	const peers =
		options.mode === 'bgp' && options.tor !== 'none'
			? peersFor(machines, segments).filter((peer) => !others.some((object) => titleOf(object) === titleOf(peer)))
			: [];
	const objects = [
		...others,
		...nodeObjects,
		...peers,
		...schedule(
			pods,
			nodes.map(({ name }) => name),
			[],
		),
	];
	return {
		lab: {
			version: 1,
			name: options.name,
			mode: options.mode,
			tor: options.tor,
			masquerade: options.masquerade,
			iptablesBackend: options.iptablesBackend,
			logLevel: options.logLevel,
			asNumber: asNumberOf(objects),
			segments,
			machines,
			outside: Array.from({ length: hosts }, (_, index) => ({
				name: `out${index + 1}`,
				netns: `${plan.netnsPrefix(options.name)}out${index + 1}`,
				addresses: plan.hostAddresses(plan.outside.ipv4.prefix, plan.outside.ipv6.prefix, plan.hostNumber(index + 1)),
			})),
			sandboxes: [],
			complete: false,
		},
		objects: [
			...missingNamespaces([...objects, { kind: '', namespace: 'default', name: '', body: {} }], new Set()),
			...objects,
		],
	};
};

/** Whether an address lies in the lab's outside networks. */
export const isOutside = (address: string): boolean => {
	const parsed = parseAddress(address);
	return (
		parsed !== undefined &&
		[plan.outside.ipv4.prefix, plan.outside.ipv6.prefix].some((prefix) => {
			const cidr = parseCidr(prefix);
			return cidr !== undefined && contains(cidr, parsed);
		})
	);
};
