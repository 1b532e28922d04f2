import { isBgpAnnotation } from '../../api/node-bgp.ts';
import type { Kind } from '../../api/objects.ts';
import type { Keep } from './json-cut.ts';

/** Where the API server keeps each kind, and what is read of it. */

export type Resource = {
	readonly kind: Kind;
	readonly apiVersion: string;
	/** Of all namespaces, without a leading `/api...` of the server's own. */
	readonly path: string;
	/** One of our CRDs, which a cluster may not have (yet): then there are simply no objects of it. */
	readonly optional: boolean;
	/** As objects say it, where it is another; and one of few objects by a query. */
	readonly rawKind?: string;
	readonly query?: Readonly<Record<string, string>>;
	/** Where the same is kept in clusters that do not have this. */
	readonly instead?: Resource;
	/** What `validate` looks at; the rest of a list's items is passed over. */
	readonly keep: Keep;
};

const metadata: Keep = {
	name: true,
	namespace: true,
	uid: true,
	resourceVersion: true,
	creationTimestamp: true,
	labels: true,
	// kubectl's last-applied-configuration is as long as the object.
	annotations: (name) => name.startsWith('manx.dev/') || isBgpAnnotation(name),
};
const container: Keep = { restartPolicy: true, ports: true };
const kept: Partial<Record<Kind, Keep>> = {
	Node: { spec: { podCIDR: true, podCIDRs: true, unschedulable: true }, status: { addresses: true } },
	Pod: {
		spec: { nodeName: true, hostNetwork: true, containers: container, initContainers: container },
		status: { phase: true, podIP: true, podIPs: true },
	},
	Namespace: {},
	NetworkPolicy: { spec: true },
	Service: {
		spec: { type: true, clusterIP: true, clusterIPs: true, externalIPs: true, externalTrafficPolicy: true },
		status: { loadBalancer: true },
	},
	EndpointSlice: { endpoints: true },
};

const resource = (kind: Kind, apiVersion: string, plural: string): Resource => ({
	kind,
	apiVersion,
	keep: kept[kind] === undefined ? true : { apiVersion: true, kind: true, metadata, ...(kept[kind] as object) },
	path: `${apiVersion === 'v1' ? '/api' : '/apis'}/${apiVersion}/${plural}`,
	optional: apiVersion.startsWith('manx.dev/'),
});

/** They are as long as all endpoints of a Service, and written whenever one changes: the last resort. */
const endpoints: Resource = {
	...resource('EndpointSlice', 'v1', 'endpoints'),
	keep: { apiVersion: true, kind: true, metadata, subsets: true },
	rawKind: 'Endpoints',
};

export const resources: Readonly<Record<Kind, Resource>> = {
	Node: resource('Node', 'v1', 'nodes'),
	Pod: resource('Pod', 'v1', 'pods'),
	Namespace: resource('Namespace', 'v1', 'namespaces'),
	NetworkPolicy: resource('NetworkPolicy', 'networking.k8s.io/v1', 'networkpolicies'),
	BGPConfiguration: resource('BGPConfiguration', 'manx.dev/v1', 'bgpconfigurations'),
	BGPPeer: resource('BGPPeer', 'manx.dev/v1', 'bgppeers'),
	BGPFilter: resource('BGPFilter', 'manx.dev/v1', 'bgpfilters'),
	BFDProfile: resource('BFDProfile', 'manx.dev/v1', 'bfdprofiles'),
	Service: resource('Service', 'v1', 'services'),
	EndpointSlice: {
		...resource('EndpointSlice', 'discovery.k8s.io/v1', 'endpointslices'),
		instead: { ...resource('EndpointSlice', 'discovery.k8s.io/v1beta1', 'endpointslices'), instead: endpoints },
	},
	Secret: resource('Secret', 'v1', 'secrets'),
};

/** Path of one object; `key` is `namespace/name` or `name`, `''` gives that of all. */
export const objectPath = ({ path }: Resource, key: string): string => {
	if (key === '') return path;
	const [first = '', name] = key.split('/').map(encodeURIComponent);
	if (name === undefined) return `${path}/${first}`;
	const at = path.lastIndexOf('/');
	return `${path.slice(0, at)}/namespaces/${first}${path.slice(at)}/${name}`;
};
