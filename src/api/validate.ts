import { z } from 'zod';
import { canonicalAddress, contains, parseCidr } from '../net/ip.ts';
import { bfdProfile } from './bfd.ts';
import { bgpConfiguration } from './bgp-configuration.ts';
import { bgpFilter } from './bgp-filter.ts';
import { bgpPeer } from './bgp-peer.ts';
import { absent, address, cidr, list, metadata, portNumber, protocol, selector, text } from './fields.ts';
import type { Kind, ManxObject } from './objects.ts';
import { keyOf } from './objects.ts';
import { quickPod } from './quick-pod.ts';
import { endpointSlice, endpoints, secret, service } from './service.ts';

/**
 * Raw API objects to the total values of objects.ts: checks, defaults, canonical text, only the fields we use.
 * Nothing is thrown: an object is taken, not ours, or refused with the field and the reason.
 */

const node = z.object({
	kind: z.literal('Node'),
	metadata: metadata('cluster'),
	spec: z
		.object({
			podCIDR: z.string().nullish(),
			podCIDRs: z.array(cidr('refused')).nullish(),
			unschedulable: z.boolean().nullish(),
		})
		.nullish()
		.transform((spec, context) => {
			const rest = spec?.unschedulable === true ? { unschedulable: true as const } : {};
			if (spec?.podCIDRs && spec.podCIDRs.length > 0) return { ...rest, podCIDRs: spec.podCIDRs };
			if (!spec?.podCIDR) return { ...rest, podCIDRs: [] };
			const only = cidr('refused').safeParse(spec.podCIDR);
			if (only.success) return { ...rest, podCIDRs: [only.data] };
			context.addIssue(`podCIDR: ${only.error.issues[0]?.message}`);
			return z.NEVER;
		}),
	status: z
		.object({
			// Host names stand in the same list; only what is an address is of use.
			addresses: list(z.object({ type: z.string(), address: z.string() })).transform((addresses) =>
				addresses.flatMap((entry) => {
					const canonical = canonicalAddress(entry.address);
					return canonical === undefined ? [] : [{ type: entry.type, address: canonical }];
				}),
			),
		})
		.nullish()
		.transform((status) => status ?? { addresses: [] }),
});

const container = z.object({
	restartPolicy: z.string().nullish(),
	ports: list(z.object({ name: text, containerPort: portNumber, protocol })),
});

/** What it makes of the usual pod, quick-pod.ts makes too. */
export const podSchema = z.object({
	kind: z.literal('Pod'),
	metadata: metadata('namespaced'),
	spec: z
		.object({
			nodeName: text,
			hostNetwork: z
				.boolean()
				.nullish()
				.transform((value) => value ?? false),
			containers: list(container),
			initContainers: list(container),
		})
		.nullish()
		.transform((spec) => ({
			nodeName: spec?.nodeName ?? '',
			hostNetwork: spec?.hostNetwork ?? false,
			ports: [
				...(spec?.containers ?? []),
				...(spec?.initContainers ?? []).filter((init) => init.restartPolicy === 'Always'),
			].flatMap((one) => one.ports.filter((port) => port.name !== '')),
		})),
	status: z
		.object({
			phase: z.enum(['Pending', 'Running', 'Succeeded', 'Failed', 'Unknown']).nullish(),
			podIP: z.string().nullish(),
			podIPs: list(z.object({ ip: address })),
		})
		.nullish()
		.transform((status) => {
			const single = status?.podIP ? canonicalAddress(status.podIP) : undefined;
			const podIPs = (status?.podIPs ?? []).map((entry) => entry.ip);
			return {
				phase: status?.phase ?? ('Pending' as const),
				podIPs: podIPs.length === 0 && single !== undefined ? [single] : podIPs,
			};
		}),
});

const namespace = z.object({
	kind: z.literal('Namespace'),
	// The API server sets this label on every namespace; a directory need not.
	metadata: metadata('cluster').transform((value) => ({
		...value,
		labels: { 'kubernetes.io/metadata.name': value.name, ...value.labels },
	})),
});

/** API servers since 1.21 take leading zeros, and mean decimal numbers (k8s.io/utils/net ParseCIDRSloppy). */
const blockCidr = z
	.string()
	.transform((text) => (text.includes(':') ? text : text.replace(/(^|[./])0+(?=\d)/g, '$1')))
	.pipe(cidr('cleared'));

const ipBlock = z.object({ cidr: blockCidr, except: list(blockCidr) }).superRefine((block, context) => {
	const outer = parseCidr(block.cidr);
	block.except.forEach((exception, i) => {
		const inner = parseCidr(exception);
		if (outer && inner && contains(outer, inner) && inner.length > outer.length) return;
		context.addIssue({
			code: 'custom',
			path: ['except', i],
			message: `'${exception}' must lie within ${block.cidr} and be smaller`,
		});
	});
});

const peer = z
	.object({ podSelector: absent(selector), namespaceSelector: absent(selector), ipBlock: absent(ipBlock) })
	.transform((value, context) => {
		const { podSelector, namespaceSelector, ipBlock: block } = value;
		if (block !== undefined && (podSelector ?? namespaceSelector) !== undefined) {
			context.addIssue('ipBlock may not stand beside podSelector or namespaceSelector');
			return z.NEVER;
		}
		if (block === undefined && podSelector === undefined && namespaceSelector === undefined) {
			context.addIssue('must have podSelector, namespaceSelector or ipBlock');
			return z.NEVER;
		}
		return {
			...(podSelector && { podSelector }),
			...(namespaceSelector && { namespaceSelector }),
			...(block && { ipBlock: block }),
		};
	});

const policyPort = z
	.object({
		protocol,
		port: absent(z.union([portNumber, z.string().regex(/^(?=.{1,15}$)(?=.*[a-z])[a-z0-9]+(-[a-z0-9]+)*$/)])),
		endPort: absent(portNumber),
	})
	.transform((value, context) => {
		if (value.endPort !== undefined && (typeof value.port !== 'number' || value.endPort < value.port)) {
			context.addIssue({ code: 'custom', path: ['endPort'], message: 'needs a numeric port that is not greater' });
			return z.NEVER;
		}
		return {
			protocol: value.protocol,
			...(value.port !== undefined && { port: value.port }),
			...(value.endPort !== undefined && { endPort: value.endPort }),
		};
	});

const networkPolicy = z.object({
	kind: z.literal('NetworkPolicy'),
	metadata: metadata('namespaced'),
	// What is left out is empty, as with the API server: without a spec at all the policy isolates its namespace.
	spec: z
		.object({
			podSelector: selector.optional().transform((value) => value ?? { matchLabels: {}, matchExpressions: [] }),
			policyTypes: list(z.enum(['Ingress', 'Egress'])),
			ingress: list(z.object({ from: list(peer), ports: list(policyPort) })),
			egress: list(z.object({ to: list(peer), ports: list(policyPort) })),
		})
		.prefault({})
		.transform((spec) => ({
			podSelector: spec.podSelector,
			policyTypes:
				spec.policyTypes.length > 0
					? spec.policyTypes
					: spec.egress.length > 0
						? (['Ingress', 'Egress'] as const)
						: (['Ingress'] as const),
			ingress: spec.ingress.map((rule) => ({ peers: rule.from, ports: rule.ports })),
			egress: spec.egress.map((rule) => ({ peers: rule.to, ports: rule.ports })),
		})),
});

const schemas = {
	Node: { apiVersion: 'v1', schema: node },
	Pod: { apiVersion: 'v1', schema: podSchema },
	Namespace: { apiVersion: 'v1', schema: namespace },
	NetworkPolicy: { apiVersion: 'networking.k8s.io/v1', schema: networkPolicy },
	BGPConfiguration: { apiVersion: 'manx.dev/v1', schema: bgpConfiguration },
	BGPPeer: { apiVersion: 'manx.dev/v1', schema: bgpPeer },
	BGPFilter: { apiVersion: 'manx.dev/v1', schema: bgpFilter },
	BFDProfile: { apiVersion: 'manx.dev/v1', schema: bfdProfile },
	Service: { apiVersion: 'v1', schema: service },
	EndpointSlice: { apiVersion: 'discovery.k8s.io/v1', older: 'discovery.k8s.io/v1beta1', schema: endpointSlice },
	Secret: { apiVersion: 'v1', schema: secret },
	Endpoints: { apiVersion: 'v1', schema: endpoints },
} as const satisfies Record<Kind | 'Endpoints', { apiVersion: string; older?: string; schema: z.ZodType<ManxObject> }>;

/** As raw objects have it: Endpoints become EndpointSlices. */
const isRead = (kind: string): kind is keyof typeof schemas => Object.hasOwn(schemas, kind);
const clusterScoped: ReadonlySet<string> = new Set([
	'Node',
	'Namespace',
	'BGPConfiguration',
	'BGPPeer',
	'BGPFilter',
	'BFDProfile',
]);

export type Validated =
	| { readonly type: 'object'; readonly object: ManxObject }
	/** A kind Manx does not read. */
	| { readonly type: 'foreign'; readonly kind: string }
	| {
			readonly type: 'refused';
			/** Kind and key as far as they could be read. */
			readonly kind: string;
			readonly key: string;
			readonly field: string;
			readonly reason: string;
	  };

const fieldPath = (path: readonly PropertyKey[]): string =>
	path.reduce<string>((out, step) => {
		if (typeof step === 'number') return `${out}[${step}]`;
		return out === '' ? String(step) : `${out}.${String(step)}`;
	}, '');

/** `Kind` and key of a raw object, '' where they cannot be told. */
const identify = (raw: unknown): { kind: string; key: string; apiVersion: string } => {
	const object = (typeof raw === 'object' && raw !== null ? raw : {}) as Record<string, unknown>;
	const meta = (typeof object.metadata === 'object' && object.metadata !== null ? object.metadata : {}) as Record<
		string,
		unknown
	>;
	const kind = typeof object.kind === 'string' ? object.kind : '';
	const name = typeof meta.name === 'string' ? meta.name : '';
	const namespaced = isRead(kind) && !clusterScoped.has(kind);
	const namespaceName = typeof meta.namespace === 'string' ? meta.namespace : 'default';
	const apiVersion = typeof object.apiVersion === 'string' ? object.apiVersion : '';
	return { kind, key: name === '' ? '' : namespaced ? `${namespaceName}/${name}` : name, apiVersion };
};

/** Checks one raw object as it came from YAML or JSON. */
export const validate = (raw: unknown): Validated => {
	const { kind, key, apiVersion } = identify(raw);
	const refused = (field: string, reason: string): Validated => ({ type: 'refused', kind, key, field, reason });
	if (typeof raw !== 'object' || raw === null || Array.isArray(raw)) return refused('', 'is not an object');
	if (kind === '') return refused('kind', 'is missing');
	if (!isRead(kind)) {
		if (!apiVersion.startsWith('manx.dev/')) return { type: 'foreign', kind };
		return refused('kind', `${kind} is not known; manx.dev/v1 has BGPConfiguration, BGPPeer, BGPFilter and BFDProfile`);
	}
	const entry = schemas[kind];
	if (apiVersion !== entry.apiVersion && !('older' in entry && apiVersion === entry.older)) {
		return refused('apiVersion', `is '${apiVersion}', but ${kind} is read as ${entry.apiVersion}`);
	}
	const quick = kind === 'Pod' ? quickPod(raw) : undefined;
	if (quick !== undefined) return { type: 'object', object: quick };
	const result = entry.schema.safeParse(raw);
	if (!result.success) {
		const issue = result.error.issues[0];
		return refused(fieldPath(issue?.path ?? []), issue?.message ?? 'is not valid');
	}
	const object: ManxObject = result.data;
	if (kind === 'BGPConfiguration' && keyOf(object.metadata) !== 'default') {
		return refused('metadata.name', "must be 'default': there is one BGPConfiguration");
	}
	return { type: 'object', object };
};
