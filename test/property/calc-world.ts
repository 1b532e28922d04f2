/** Random clusters for the policy calculation, and a direct, slow reading of NetworkPolicy to hold it against. */
import fc from 'fast-check';
import type { LocalPod, PolicyCalc, PolicyState } from '../../felix/calc/types.ts';
import type { Packet } from '../../felix/calc/verdict.ts';
import type {
	LabelSelector,
	Labels,
	Namespace,
	NetworkPolicy,
	NetworkPolicyPeer,
	NetworkPolicyPort,
	NetworkPolicyRule,
	Pod,
	Protocol,
} from '../../src/api/objects.ts';
import { contains, familyOf, parseAddress, parseCidr } from '../../src/net/ip.ts';

export type World = {
	readonly namespaces: readonly Namespace[];
	readonly pods: readonly Pod[];
	readonly policies: readonly NetworkPolicy[];
	/** Each is in `pods` as well, unless a test wants it otherwise. */
	readonly local: readonly LocalPod[];
};

const metadata = (namespace: string, name: string, labels: Labels = {}) => ({
	name,
	namespace,
	uid: '',
	labels,
	annotations: {},
	creationTimestamp: '',
});

export const makeNamespace = (name: string, labels: Labels = {}): Namespace => ({
	kind: 'Namespace',
	metadata: metadata('', name, labels),
});

export const makePod = (
	key: string,
	labels: Labels = {},
	podIPs: readonly string[] = [],
	more: { phase?: Pod['status']['phase']; hostNetwork?: boolean; ports?: Pod['spec']['ports'] } = {},
): Pod => {
	const [namespace = '', name = ''] = key.split('/');
	return {
		kind: 'Pod',
		metadata: metadata(namespace, name, labels),
		spec: { nodeName: 'n1', hostNetwork: more.hostNetwork ?? false, ports: more.ports ?? [] },
		status: { phase: more.phase ?? 'Running', podIPs },
	};
};

export const selector = (
	matchLabels: Labels = {},
	matchExpressions: LabelSelector['matchExpressions'] = [],
): LabelSelector => ({ matchLabels, matchExpressions });

export const makePolicy = (key: string, spec: Partial<NetworkPolicy['spec']>): NetworkPolicy => {
	const [namespace = '', name = ''] = key.split('/');
	return {
		kind: 'NetworkPolicy',
		metadata: metadata(namespace, name),
		spec: { podSelector: selector(), policyTypes: ['Ingress'], ingress: [], egress: [], ...spec },
	};
};

export const fill = (calc: PolicyCalc, world: World): PolicyCalc => {
	for (const object of [...world.namespaces, ...world.pods, ...world.policies]) calc.set(object);
	for (const pod of world.local) calc.setLocalPod(pod);
	return calc;
};

/** A state as plain values, for comparison. */
export const plain = (state: PolicyState) => ({
	groups: state.groups,
	open: state.open,
	...Object.fromEntries(
		(['sets', 'mergedSets'] as const).map((field) => [
			field,
			[...state[field]]
				.sort(([a], [b]) => (a < b ? -1 : 1))
				.map(([name, spec]) => [name, { ...spec, members: [...spec.members].sort() }]),
		]),
	),
});

// --- random clusters -----------------------------------------------------------------------------------------------

const keys = ['app', 'tier'] as const;
const values = ['', 'a', 'b'] as const;
const labels = fc.dictionary(fc.constantFrom(...keys), fc.constantFrom(...values), { noNullPrototype: true });
export const addresses = [
	...[1, 2, 3, 4, 5, 6].map((i) => `10.0.0.${i}`),
	...[1, 2, 3, 4, 5, 6].map((i) => `fd00::${i}`),
];
export const outside = ['192.0.2.1', '198.51.100.7', '2001:db8::1', 'fd00:1::1'];
const blocks = [
	'0.0.0.0/0',
	'10.0.0.0/24',
	'10.0.0.0/29',
	'192.0.2.0/24',
	'::/0',
	'fd00::/64',
	'fd00::/125',
	'2001:db8::/32',
];
const excepts = ['10.0.0.2/32', '10.0.0.4/31', '192.0.2.1/32', '0.0.0.0/1', 'fd00::2/128', 'fd00::4/127'];

const labelSelector: fc.Arbitrary<LabelSelector> = fc.record({
	matchLabels: fc.oneof({ weight: 2, arbitrary: fc.constant({}) }, labels),
	matchExpressions: fc.array(
		fc.record({
			key: fc.constantFrom(...keys),
			operator: fc.constantFrom('In', 'NotIn', 'Exists', 'DoesNotExist'),
			values: fc.array(fc.constantFrom(...values), { minLength: 1, maxLength: 2 }),
		}),
		{ maxLength: 1 },
	),
});

const peer: fc.Arbitrary<NetworkPolicyPeer> = fc.oneof(
	fc.record({ podSelector: labelSelector }),
	fc.record({ namespaceSelector: labelSelector }),
	fc.record({ podSelector: labelSelector, namespaceSelector: labelSelector }),
	fc.record({
		ipBlock: fc.record({ cidr: fc.constantFrom(...blocks), except: fc.subarray(excepts, { maxLength: 2 }) }),
	}),
);

const protocol: fc.Arbitrary<Protocol> = fc.constantFrom('TCP', 'UDP', 'SCTP');
const port: fc.Arbitrary<NetworkPolicyPort> = fc.oneof(
	fc.record({ protocol }),
	fc.record({ protocol, port: fc.oneof(fc.constantFrom(80, 81, 443), fc.constantFrom('http', 'dns')) }),
	fc.record({ protocol, port: fc.constant(80), endPort: fc.constantFrom(80, 81, 500) }),
);
const rule: fc.Arbitrary<NetworkPolicyRule> = fc.record({
	peers: fc.array(peer, { maxLength: 3 }),
	ports: fc.array(port, { maxLength: 3 }),
});

const policyKeys = ['x/p', 'x/q', 'y/p', 'y/q', 'z/r'] as const;
export const policyArbitrary: fc.Arbitrary<NetworkPolicy> = fc
	.record({
		key: fc.constantFrom(...policyKeys),
		podSelector: labelSelector,
		policyTypes: fc.subarray(['Ingress', 'Egress'] as const, { minLength: 1 }),
		ingress: fc.array(rule, { maxLength: 2 }),
		egress: fc.array(rule, { maxLength: 2 }),
	})
	.map(({ key, ...spec }) => makePolicy(key, spec));

const podKeys = ['x/1', 'x/2', 'y/1', 'y/2', 'z/1', 'z/2'] as const;
const podIPs = fc.subarray(addresses, { maxLength: 2 });
export const podArbitrary: fc.Arbitrary<Pod> = fc
	.record({
		key: fc.constantFrom(...podKeys),
		labels,
		podIPs,
		phase: fc.constantFrom('Running', 'Running', 'Running', 'Pending', 'Succeeded', 'Failed'),
		hostNetwork: fc.integer({ min: 0, max: 9 }).map((n) => n === 0),
		ports: fc.array(
			fc.record({
				name: fc.constantFrom('http', 'dns'),
				containerPort: fc.constantFrom(80, 81, 443),
				protocol: fc.constantFrom<Protocol>('TCP', 'UDP'),
			}),
			{ maxLength: 2 },
		),
	})
	.map(({ key, labels, podIPs, ...more }) => makePod(key, labels, podIPs, more));

export const namespaceArbitrary: fc.Arbitrary<Namespace> = fc
	.record({ name: fc.constantFrom('x', 'y', 'z'), labels })
	.map((found) => makeNamespace(found.name, found.labels));

export const localArbitrary: fc.Arbitrary<LocalPod> = fc.record({
	key: fc.constantFrom(...podKeys),
	addresses: podIPs,
});

const byKey = <T extends Namespace | Pod | NetworkPolicy>(list: readonly T[]): T[] => [
	...new Map(list.map((object) => [`${object.metadata.namespace}/${object.metadata.name}`, object])).values(),
];

export const worldArbitrary: fc.Arbitrary<World> = fc
	.record({
		namespaces: fc.array(namespaceArbitrary, { maxLength: 5 }),
		pods: fc.array(podArbitrary, { minLength: 2, maxLength: 8 }),
		policies: fc.array(policyArbitrary, { minLength: 1, maxLength: 5 }),
		local: fc.array(localArbitrary, { maxLength: 4 }),
	})
	.map((world) => ({
		namespaces: byKey(world.namespaces),
		pods: byKey(world.pods),
		policies: byKey(world.policies),
		local: [...new Map(world.local.map((pod) => [pod.key, pod])).values()].filter(({ key }) =>
			world.pods.some(({ metadata }) => `${metadata.namespace}/${metadata.name}` === key),
		),
	}));

// --- the direct reading --------------------------------------------------------------------------------------------

const keyOfPod = (pod: Pod): string => `${pod.metadata.namespace}/${pod.metadata.name}`;

const selects = ({ matchLabels, matchExpressions }: LabelSelector, found: Labels | undefined): boolean => {
	if (Object.keys(matchLabels).length + matchExpressions.length === 0) return true;
	if (found === undefined) return false;
	return (
		Object.entries(matchLabels).every(([key, value]) => found[key] === value) &&
		matchExpressions.every(({ key, operator, values }) => {
			const value = found[key];
			if (operator === 'Exists') return value !== undefined;
			if (operator === 'DoesNotExist') return value === undefined;
			const listed = value !== undefined && values.includes(value);
			return operator === 'In' ? listed : !listed;
		})
	);
};

/** The pod an address stands for, if selectors may take it. */
const podAt = (world: World, address: string): Pod | undefined => {
	const rank = (pod: Pod): number => {
		const counts = !pod.spec.hostNetwork && pod.status.phase !== 'Succeeded' && pod.status.phase !== 'Failed';
		const wired = world.local.find(({ key }) => key === keyOfPod(pod));
		if (!(wired ? wired.addresses : counts ? pod.status.podIPs : []).includes(address)) return 0;
		return 1 + (counts ? 4 : 0) + (wired ? 2 : 0) + (pod.status.phase === 'Running' ? 1 : 0);
	};
	const [best] = [...world.pods].sort((a, b) => rank(b) - rank(a) || (keyOfPod(a) < keyOfPod(b) ? -1 : 1));
	return best && rank(best) > 0 ? best : undefined;
};
const counts = (pod: Pod): boolean =>
	!pod.spec.hostNetwork && pod.status.phase !== 'Succeeded' && pod.status.phase !== 'Failed';

const inBlock = (cidr: string, address: string): boolean => {
	const outer = parseCidr(cidr);
	const inner = parseAddress(address);
	return outer !== undefined && inner !== undefined && contains(outer, inner);
};

const peerTakes = (world: World, policy: NetworkPolicy, peer: NetworkPolicyPeer, address: string): boolean => {
	if (peer.ipBlock) {
		return (
			familyOf(peer.ipBlock.cidr) === familyOf(address) &&
			inBlock(peer.ipBlock.cidr, address) &&
			!peer.ipBlock.except.some((except) => inBlock(except, address))
		);
	}
	const pod = podAt(world, address);
	if (!pod || !counts(pod)) return false;
	const { namespace } = pod.metadata;
	const inNamespace = peer.namespaceSelector
		? selects(peer.namespaceSelector, world.namespaces.find((one) => one.metadata.name === namespace)?.metadata.labels)
		: namespace === policy.metadata.namespace;
	return inNamespace && (peer.podSelector === undefined || selects(peer.podSelector, pod.metadata.labels));
};

const portTakes = (world: World, port: NetworkPolicyPort, packet: Packet): boolean => {
	if (port.protocol !== packet.protocol) return false;
	if (port.port === undefined) return true;
	const wanted = packet.destinationPort;
	if (wanted === undefined) return false;
	if (typeof port.port === 'number') return port.port <= wanted && wanted <= (port.endPort ?? port.port);
	const target = podAt(world, packet.destination);
	if (!target || !counts(target)) return false;
	return target.spec.ports.some(
		({ name, protocol, containerPort }) =>
			name === port.port && protocol === packet.protocol && containerPort === wanted,
	);
};

const directionAllows = (world: World, type: 'Ingress' | 'Egress', packet: Packet): boolean => {
	const [own, remote] = type === 'Egress' ? [packet.source, packet.destination] : [packet.destination, packet.source];
	const pod = podAt(world, own);
	if (!pod || !counts(pod) || !world.local.some(({ key }) => key === keyOfPod(pod))) return true;
	const policies = world.policies.filter(
		(policy) =>
			policy.metadata.namespace === pod.metadata.namespace &&
			policy.spec.policyTypes.includes(type) &&
			selects(policy.spec.podSelector, pod.metadata.labels),
	);
	if (policies.length === 0) return true;
	return policies.some((policy) =>
		policy.spec[type === 'Egress' ? 'egress' : 'ingress'].some(
			({ peers, ports }) =>
				(peers.length === 0 || peers.some((one) => peerTakes(world, policy, one, remote))) &&
				(ports.length === 0 || ports.some((one) => portTakes(world, one, packet))),
		),
	);
};

export const naiveVerdict = (world: World, packet: Packet): boolean =>
	packet.source === packet.destination ||
	(directionAllows(world, 'Egress', packet) && directionAllows(world, 'Ingress', packet));

/** Every packet worth trying in these small worlds. */
export const probes: readonly Packet[] = [...addresses, ...outside].flatMap((source) =>
	[...addresses, ...outside]
		.filter((destination) => familyOf(source) === familyOf(destination))
		.flatMap((destination): Packet[] => [
			{ source, destination, protocol: 'ICMP' },
			...[80, 81, 443, 501].flatMap((destinationPort) =>
				(['TCP', 'UDP', 'SCTP'] as const).map(
					(protocol): Packet => ({ source, destination, protocol, destinationPort }),
				),
			),
		]),
);
