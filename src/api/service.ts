import { z } from 'zod';
import { canonicalAddress } from '../net/ip.ts';
import { list, metadata, text } from './fields.ts';

/**
 * Services and where they run, as far as their addresses are announced; and Secrets. Endpoints is the older form of
 * EndpointSlice, which clusters have that do not know the newer one.
 */

/** Addresses; whatever else stands there ('None', host names) is left out. */
const addresses = (values: readonly (string | null | undefined)[]): string[] => [
	...new Set(values.flatMap((value) => (value ? (canonicalAddress(value) ?? []) : []))),
];

const serviceLabel = 'kubernetes.io/service-name';
const policy = z
	.enum(['Cluster', 'Local'])
	.nullish()
	.transform((value) => value ?? ('Cluster' as const));

export const service = z.object({
	kind: z.literal('Service'),
	metadata: metadata('namespaced'),
	spec: z
		.object({
			type: text,
			clusterIP: z.string().nullish(),
			clusterIPs: list(z.string()),
			externalIPs: list(z.string()),
			externalTrafficPolicy: policy,
		})
		.nullish()
		.transform((spec) => ({
			type: spec?.type || 'ClusterIP',
			clusterIPs: addresses([spec?.clusterIP, ...(spec?.clusterIPs ?? [])]),
			externalIPs: addresses(spec?.externalIPs ?? []),
			externalTrafficPolicy: spec?.externalTrafficPolicy ?? ('Cluster' as const),
		})),
	status: z
		.object({ loadBalancer: z.object({ ingress: list(z.object({ ip: z.string().nullish() })) }).nullish() })
		.nullish()
		.transform((status) => ({ loadBalancerIPs: addresses((status?.loadBalancer?.ingress ?? []).map(({ ip }) => ip)) })),
});

const unique = (names: readonly (string | null | undefined)[]): string[] =>
	[...new Set(names.flatMap((name) => name || []))].sort();

export const endpointSlice = z
	.object({
		kind: z.literal('EndpointSlice'),
		metadata: metadata('namespaced'),
		endpoints: list(
			z.object({
				conditions: z.object({ ready: z.boolean().nullish() }).nullish(),
				nodeName: z.string().nullish(),
				// v1beta1 has the node here.
				topology: z.record(z.string(), z.string()).nullish(),
			}),
		),
	})
	.transform(({ kind, metadata: meta, endpoints }) => ({
		kind,
		metadata: meta,
		service: meta.labels[serviceLabel] === undefined ? '' : `${meta.namespace}/${meta.labels[serviceLabel]}`,
		readyOn: unique(
			endpoints
				// Absent means unknown, which the API asks to take for ready.
				.filter(({ conditions }) => conditions?.ready !== false)
				.map(({ nodeName, topology }) => nodeName ?? topology?.['kubernetes.io/hostname']),
		),
	}));

export const endpoints = z
	.object({
		kind: z.literal('Endpoints'),
		metadata: metadata('namespaced'),
		subsets: list(z.object({ addresses: list(z.object({ nodeName: z.string().nullish() })) })),
	})
	.transform(({ metadata: meta, subsets }) => ({
		kind: 'EndpointSlice' as const,
		metadata: meta,
		service: `${meta.namespace}/${meta.name}`,
		readyOn: unique(subsets.flatMap((subset) => subset.addresses.map(({ nodeName }) => nodeName))),
	}));

export const secret = z
	.object({
		kind: z.literal('Secret'),
		metadata: metadata('namespaced'),
		data: z.record(z.string(), z.string()).nullish(),
		stringData: z.record(z.string(), z.string()).nullish(),
	})
	.transform(({ kind, metadata: meta, data, stringData }) => ({
		kind,
		metadata: { ...meta, annotations: {}, labels: {} },
		values: {
			...Object.fromEntries(Object.entries(data ?? {}).map(([key, value]) => [key, decode(value)])),
			...stringData,
		},
	}));

const decode = (base64: string): string => {
	try {
		return new TextDecoder().decode(Uint8Array.from(atob(base64), (char) => char.charCodeAt(0)));
	} catch {
		return '';
	}
};
