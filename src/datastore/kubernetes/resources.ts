import type { Kind } from '../../api/objects.ts';

/** Where the API server keeps each kind. */

export type Resource = {
	readonly kind: Kind;
	readonly apiVersion: string;
	/** Of all namespaces, without a leading `/api...` of the server's own. */
	readonly path: string;
	/** One of our CRDs, which a cluster may not have (yet): then there are simply no objects of it. */
	readonly optional: boolean;
};

const resource = (kind: Kind, apiVersion: string, plural: string): Resource => ({
	kind,
	apiVersion,
	path: `${apiVersion === 'v1' ? '/api' : '/apis'}/${apiVersion}/${plural}`,
	optional: apiVersion.startsWith('manx.dev/'),
});

export const resources: Readonly<Record<Kind, Resource>> = {
	Node: resource('Node', 'v1', 'nodes'),
	Pod: resource('Pod', 'v1', 'pods'),
	Namespace: resource('Namespace', 'v1', 'namespaces'),
	NetworkPolicy: resource('NetworkPolicy', 'networking.k8s.io/v1', 'networkpolicies'),
	BGPConfiguration: resource('BGPConfiguration', 'manx.dev/v1', 'bgpconfigurations'),
	BGPPeer: resource('BGPPeer', 'manx.dev/v1', 'bgppeers'),
};

/** Path of one object; `key` is `namespace/name` or `name`, `''` gives that of all. */
export const objectPath = ({ path }: Resource, key: string): string => {
	if (key === '') return path;
	const [first = '', name] = key.split('/').map(encodeURIComponent);
	if (name === undefined) return `${path}/${first}`;
	const at = path.lastIndexOf('/');
	return `${path.slice(0, at)}/namespaces/${first}${path.slice(at)}/${name}`;
};
