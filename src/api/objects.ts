import type { RouteRule } from '../net/route-rule.ts';
import type { Bfd } from './bfd.ts';
import type { SecretKeyRef } from './bgp-fields.ts';
import type { BgpSession } from './bgp-session.ts';

/**
 * The Kubernetes objects Manx reads, cut down to the fields it uses and made total: defaults are applied and text is
 * canonical when an object enters (see validate.ts), so nothing behind the datastore meets an absent list.
 */

export type Labels = Readonly<Record<string, string>>;

export type Metadata = {
	readonly name: string;
	/** '' for cluster-scoped kinds. */
	readonly namespace: string;
	readonly uid: string;
	/** RFC 3339, '' when the source gives none. */
	readonly creationTimestamp: string;
	readonly labels: Labels;
	readonly annotations: Labels;
};

export type Protocol = 'TCP' | 'UDP' | 'SCTP';

export type Node = {
	readonly kind: 'Node';
	readonly metadata: Metadata;
	/** Canonical prefixes, at most one a family in Kubernetes, more are allowed. */
	readonly spec: {
		readonly podCIDRs: readonly string[];
		/** Cordoned. */
		readonly unschedulable?: true;
	};
	/** Canonical addresses, in the object's order. */
	readonly status: { readonly addresses: readonly { readonly type: string; readonly address: string }[] };
};

export type ContainerPort = {
	readonly name: string;
	readonly containerPort: number;
	readonly protocol: Protocol;
};

export type Pod = {
	readonly kind: 'Pod';
	readonly metadata: Metadata;
	readonly spec: {
		/** '' when not scheduled yet. */
		readonly nodeName: string;
		readonly hostNetwork: boolean;
		/** Named ports of all containers (init containers that restart always included), flattened. */
		readonly ports: readonly ContainerPort[];
	};
	readonly status: {
		readonly phase: 'Pending' | 'Running' | 'Succeeded' | 'Failed' | 'Unknown';
		/** Canonical addresses. */
		readonly podIPs: readonly string[];
	};
};

export type Namespace = { readonly kind: 'Namespace'; readonly metadata: Metadata };

export type LabelSelectorRequirement = {
	readonly key: string;
	readonly operator: 'In' | 'NotIn' | 'Exists' | 'DoesNotExist';
	readonly values: readonly string[];
};

export type LabelSelector = {
	readonly matchLabels: Labels;
	readonly matchExpressions: readonly LabelSelectorRequirement[];
};

/** One element of from/to. Exactly: an ipBlock alone, or a podSelector and/or a namespaceSelector. */
export type NetworkPolicyPeer = {
	readonly podSelector?: LabelSelector;
	readonly namespaceSelector?: LabelSelector;
	/** Canonical prefixes (host bits cleared). */
	readonly ipBlock?: { readonly cidr: string; readonly except: readonly string[] };
};

export type NetworkPolicyPort = {
	readonly protocol: Protocol;
	/** A number, a container port's name, or absent: every port of the protocol. */
	readonly port?: number | string;
	/** Inclusive end of a range that begins at a numeric `port`. */
	readonly endPort?: number;
};

/** One rule of ingress or egress. Empty `peers`: anyone. Empty `ports`: everything, ICMP too. */
export type NetworkPolicyRule = {
	readonly peers: readonly NetworkPolicyPeer[];
	readonly ports: readonly NetworkPolicyPort[];
};

export type NetworkPolicy = {
	readonly kind: 'NetworkPolicy';
	readonly metadata: Metadata;
	readonly spec: {
		readonly podSelector: LabelSelector;
		/** Never empty: defaulted as the API server does (Ingress, plus Egress if there are egress rules). */
		readonly policyTypes: readonly ('Ingress' | 'Egress')[];
		readonly ingress: readonly NetworkPolicyRule[];
		readonly egress: readonly NetworkPolicyRule[];
	};
};

/** Labels of nodes: as Kubernetes asks for them, or an expression in Calico's words (label-expression.ts), which is valid. */
export type NodeSelector = LabelSelector | string;

/** manx.dev/v1 BGPConfiguration, named `default`. */
export type BGPConfiguration = {
	readonly kind: 'BGPConfiguration';
	readonly metadata: Metadata;
	readonly spec: {
		/** Of bird, instead of the setting logLevel. */
		readonly logSeverityScreen?: 'debug' | 'info' | 'warn' | 'error';
		readonly asNumber: number;
		readonly nodeToNodeMeshEnabled: boolean;
		readonly listenPort: number;
		/** `NodeIP`: bird listens on the node's own addresses alone. */
		readonly bindMode: 'None' | 'NodeIP';
		/** Password of the sessions between nodes: a key of a Secret, or (`meshPasswordFile`) a file in passwordDir; '' for none. */
		readonly nodeMeshPassword?: SecretKeyRef;
		readonly meshPasswordFile: string;
		/** Seconds. */
		readonly nodeMeshMaxRestartTime: number;
		/** Of route reflectors (RFC 4456 §7); 0.0.0.0: each node's own identifier. */
		readonly clusterID: string;
		/** RFC 8212: an external peer without importPolicy or exportPolicy is told nothing, or not believed. */
		readonly ebgpRequiresPolicy: boolean;
		/** What a cordoned node tells its peers carries GRACEFUL_SHUTDOWN (RFC 8326). */
		readonly drainCordonedNodes: boolean;
		/** Metrics of learnt routes in the kernel, where another than ours is wanted. */
		readonly routePriorities: { readonly ipv4?: number; readonly ipv6?: number };
		/** False: routes to pods of other nodes are felix's, where it has any. */
		readonly programClusterRoutes: boolean;
		/** Canonical prefixes: what addresses of Services may be announced. */
		readonly serviceClusterIPs: readonly string[];
		readonly serviceExternalIPs: readonly string[];
		readonly serviceLoadBalancerIPs: readonly string[];
		/** False: of serviceLoadBalancerIPs single addresses alone are announced, and not the range. */
		readonly serviceLoadBalancerAggregation: boolean;
		/** Communities, as values, of what is announced within the prefixes. */
		readonly prefixAdvertisements: readonly { readonly cidr: string; readonly communities: readonly string[] }[];
		/** `*` stands for any characters. */
		readonly ignoredInterfaces: readonly string[];
	};
};

/** manx.dev/v1 BGPPeer: a router outside the mesh, or nodes among one another. */
export type BGPPeer = {
	readonly kind: 'BGPPeer';
	readonly metadata: Metadata;
	readonly spec: {
		/** Canonical address; '' with peerRange or peerSelector. */
		readonly peerIP: string;
		/** Canonical prefix from which anybody may connect that is what the rest says, else ''. */
		readonly peerRange: string;
		/** The nodes that are peers. */
		readonly peerSelector?: NodeSelector;
		/** Sessions of a peerRange at a time. */
		readonly peerLimit: number;
		/** 0: that of BGPConfiguration when the peer is a node, else 179. */
		readonly peerPort: number;
		/** 0 stands for `external`: any but ours. With peerSelector, nodes have their own. */
		readonly asNumber: number;
		/** What was given of src/api/bgp-session.ts, which stands flat in the object. */
		readonly session: BgpSession;
		/** Only this node; '' for every node the selector takes. */
		readonly node: string;
		/** Nodes by label; absent means all. */
		readonly nodeSelector?: NodeSelector;
		/** Seconds, 90 unless given; 0 or at least 3. */
		readonly holdTime: number;
		/** `Auto`: a node that is the peer has the session back, without an object for it. */
		readonly reversePeering: 'Auto' | 'Manual';
		/** Absent: no BFD, unless by session.bfdProfile. */
		readonly bfd?: Bfd;
	};
};

/** manx.dev/v1 BGPFilter: rules in order, the first that matches decides. */
export type BGPFilter = {
	readonly kind: 'BGPFilter';
	readonly metadata: Metadata;
	readonly spec: {
		readonly importV4: readonly RouteRule[];
		readonly importV6: readonly RouteRule[];
		readonly exportV4: readonly RouteRule[];
		readonly exportV6: readonly RouteRule[];
	};
};

/** manx.dev/v1 BFDProfile: how paths to peers that name it are watched. */
export type BFDProfile = { readonly kind: 'BFDProfile'; readonly metadata: Metadata; readonly spec: Bfd };

/** As far as its addresses are announced. */
export type Service = {
	readonly kind: 'Service';
	readonly metadata: Metadata;
	readonly spec: {
		readonly type: string;
		/** Canonical addresses. */
		readonly clusterIPs: readonly string[];
		readonly externalIPs: readonly string[];
		readonly externalTrafficPolicy: 'Cluster' | 'Local';
	};
	readonly status: { readonly loadBalancerIPs: readonly string[] };
};

/** An EndpointSlice of any version, or what Endpoints say. */
export type EndpointSlice = {
	readonly kind: 'EndpointSlice';
	readonly metadata: Metadata;
	/** Key of its Service; '' for none. */
	readonly service: string;
	/** Names of nodes with an endpoint that is ready, sorted. */
	readonly readyOn: readonly string[];
};

/** Only those that peers name. `values` must never be logged or shown. */
export type Secret = {
	readonly kind: 'Secret';
	readonly metadata: Metadata;
	readonly values: Readonly<Record<string, string>>;
};

export type ManxObject =
	| Node
	| Pod
	| Namespace
	| NetworkPolicy
	| BGPConfiguration
	| BGPPeer
	| BGPFilter
	| BFDProfile
	| Service
	| EndpointSlice
	| Secret;
export type Kind = ManxObject['kind'];

/** `namespace/name`, or `name` alone for cluster-scoped kinds. */
export const keyOf = (metadata: Metadata): string =>
	metadata.namespace === '' ? metadata.name : `${metadata.namespace}/${metadata.name}`;
