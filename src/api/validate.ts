import { z } from 'zod';
import { canonicalAddress, contains, formatCidr, isLinkLocal, parseAddress, parseCidr } from '../net/ip.ts';
import { bfdSchema } from './bfd.ts';
import { givenOnly, sessionShape } from './bgp-session.ts';
import type { Kind, ManxObject } from './objects.ts';
import { keyOf } from './objects.ts';

/**
 * Raw API objects to the total values of objects.ts: checks, defaults, canonical text, only the fields we use.
 * Nothing is thrown: an object is taken, not ours, or refused with the field and the reason.
 */

/** Kubernetes lists and maps may be absent or null; both mean empty. */
const list = <T extends z.ZodType>(item: T) =>
	z
		.array(item)
		.nullish()
		.transform((value) => value ?? []);

const stringMap = z
	.record(z.string(), z.string())
	.nullish()
	.transform((value) => value ?? {});

const text = z
	.string()
	.nullish()
	.transform((value) => value ?? '');

const dnsName = z
	.string()
	.min(1, 'must not be empty')
	.max(253, 'is longer than 253 characters')
	.regex(/^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$/, 'must be lower case letters, digits, - and . (RFC 1123)');

const timestamp = z
	.union([z.string(), z.date()])
	.nullish()
	.transform((value) => (value instanceof Date ? value.toISOString() : (value ?? '')));

const metadata = (scope: 'namespaced' | 'cluster') =>
	z
		.object({
			name: dnsName,
			namespace: scope === 'namespaced' ? dnsName.default('default') : z.string().nullish(),
			uid: text,
			creationTimestamp: timestamp,
			labels: stringMap,
			annotations: stringMap,
		})
		.transform((value) => ({
			...value,
			namespace: scope === 'namespaced' ? (value.namespace as string) : '',
			uid: value.uid === '' ? `${value.namespace ?? ''}/${value.name}` : value.uid,
		}));

const address = z.string().transform((value, context) => {
	const canonical = canonicalAddress(value);
	if (canonical !== undefined) return canonical;
	context.addIssue(`'${value}' is not an IP address`);
	return z.NEVER;
});

const cidr = (hostBits: 'refused' | 'cleared') =>
	z.string().transform((value, context) => {
		const parsed = parseCidr(value);
		if (parsed === undefined) {
			const why = parseAddress(value) === undefined ? '' : ' (the prefix length is missing)';
			context.addIssue(`'${value}' is not a CIDR such as 10.0.0.0/8 or fd00::/64${why}`);
			return z.NEVER;
		}
		if (parsed.hostBits && hostBits === 'refused') {
			context.addIssue(`'${value}' has host bits set; the prefix would be ${formatCidr(parsed)}`);
			return z.NEVER;
		}
		return formatCidr(parsed);
	});

const node = z.object({
	kind: z.literal('Node'),
	metadata: metadata('cluster'),
	spec: z
		.object({ podCIDR: z.string().nullish(), podCIDRs: z.array(cidr('refused')).nullish() })
		.nullish()
		.transform((spec, context) => {
			if (spec?.podCIDRs && spec.podCIDRs.length > 0) return { podCIDRs: spec.podCIDRs };
			if (!spec?.podCIDR) return { podCIDRs: [] };
			const only = cidr('refused').safeParse(spec.podCIDR);
			if (only.success) return { podCIDRs: [only.data] };
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

const protocol = z
	.enum(['TCP', 'UDP', 'SCTP'])
	.nullish()
	.transform((value) => value ?? ('TCP' as const));
const portNumber = z.int().min(1, 'must be 1 to 65535').max(65535, 'must be 1 to 65535');

const container = z.object({
	restartPolicy: z.string().nullish(),
	ports: list(z.object({ name: text, containerPort: portNumber, protocol })),
});

const pod = z.object({
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

const requirement = z
	.object({ key: z.string(), operator: z.enum(['In', 'NotIn', 'Exists', 'DoesNotExist']), values: list(z.string()) })
	.superRefine((value, context) => {
		const needsValues = value.operator === 'In' || value.operator === 'NotIn';
		if (needsValues && value.values.length === 0) {
			context.addIssue({ code: 'custom', path: ['values'], message: `must not be empty for ${value.operator}` });
		}
		if (!needsValues && value.values.length > 0) {
			context.addIssue({ code: 'custom', path: ['values'], message: `must be empty for ${value.operator}` });
		}
	});

const selector = z
	.object({ matchLabels: stringMap, matchExpressions: list(requirement) })
	.nullable()
	.transform((value) => value ?? { matchLabels: {}, matchExpressions: [] });

const ipBlock = z.object({ cidr: cidr('cleared'), except: list(cidr('cleared')) }).superRefine((block, context) => {
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

/** Absent and null mean the same for a selector of a peer: it was not given. */
const absent = <T extends z.ZodType>(schema: T) => schema.nullish().transform((value) => value ?? undefined);

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
	spec: z
		.object({
			podSelector: selector,
			policyTypes: list(z.enum(['Ingress', 'Egress'])),
			ingress: list(z.object({ from: list(peer), ports: list(policyPort) })),
			egress: list(z.object({ to: list(peer), ports: list(policyPort) })),
		})
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

const asNumber = z
	.int()
	.min(1, 'must be 1 to 4294967295')
	.max(4294967295, 'must be 1 to 4294967295')
	// RFC 6793 §9: it stands for any AS of four octets, and is nobody's.
	.refine((value) => value !== 23456, '23456 is AS_TRANS, which no router has');

/** RFC 1122 §3.2.1.3, RFC 4291 §2.5.2 and §2.7: nobody's address, or everybody's. */
const unusable = ['0.0.0.0/8', '224.0.0.0/3', '::/128', 'ff00::/8'].flatMap((prefix) => parseCidr(prefix) ?? []);
const routerAddress = address.refine((value) => {
	const parsed = parseAddress(value);
	return parsed !== undefined && !unusable.some((prefix) => contains(prefix, parsed));
}, 'must be the address of one router, not an unspecified, multicast or broadcast one');

const bgpConfiguration = z.object({
	kind: z.literal('BGPConfiguration'),
	metadata: metadata('cluster'),
	spec: z
		.strictObject({
			asNumber: asNumber.default(64512),
			nodeToNodeMeshEnabled: z.boolean().default(true),
			listenPort: portNumber.default(179),
			meshPasswordFile: sessionShape.passwordFile.default(''),
			clusterID: z
				.string()
				.refine((value) => parseAddress(value)?.family === 4, 'must be written like an IPv4 address')
				.default('0.0.0.0'),
			ebgpRequiresPolicy: z.boolean().default(false),
		})
		.prefault({}),
});

/** `external`: any AS but ours. */
const peerAS = z.unknown().transform((value, context) => {
	if (value === 'external') return 0;
	const result = asNumber.safeParse(value);
	if (result.success) return result.data;
	context.addIssue(`${result.error.issues[0]?.message}, or external`);
	return z.NEVER;
});

const bgpPeer = z.object({
	kind: z.literal('BGPPeer'),
	metadata: metadata('cluster'),
	spec: z
		.strictObject({
			peerIP: routerAddress.optional(),
			peerRange: cidr('cleared').optional(),
			peerLimit: z.int().min(1, 'must be at least 1').default(64),
			peerPort: portNumber.default(179),
			asNumber: peerAS,
			node: text,
			nodeSelector: absent(selector),
			holdTime: z
				.int()
				.max(65535)
				.refine((value) => value === 0 || value >= 3, 'must be 0 or at least 3 seconds')
				.default(90),
			bfd: absent(bfdSchema),
			...sessionShape,
		})
		.transform((given, context) => {
			const {
				peerIP = '',
				peerRange = '',
				peerLimit,
				peerPort,
				asNumber,
				node,
				holdTime,
				nodeSelector,
				bfd,
				...session
			} = given;
			const spec = { peerIP, peerRange, peerLimit, peerPort, asNumber, node, holdTime, session: givenOnly(session) };
			const problem = (field: string, message: string): undefined => {
				context.addIssue({ code: 'custom', path: [field], message });
			};
			if ((peerIP === '') === (peerRange === '')) {
				problem('peerIP', peerIP === '' ? 'is missing (or peerRange is)' : 'may not stand beside peerRange');
				return z.NEVER;
			}
			if (isLinkLocal(peerIP) && session.interface === undefined) {
				problem('interface', `must be given: ${peerIP} may be on any link`);
				return z.NEVER;
			}
			if (nodeSelector !== undefined && spec.node !== '') {
				context.addIssue({ code: 'custom', path: ['node'], message: 'may not stand beside nodeSelector' });
				return z.NEVER;
			}
			return { ...spec, ...(nodeSelector && { nodeSelector }), ...(bfd && { bfd }) };
		}),
});

const schemas = {
	Node: { apiVersion: 'v1', schema: node },
	Pod: { apiVersion: 'v1', schema: pod },
	Namespace: { apiVersion: 'v1', schema: namespace },
	NetworkPolicy: { apiVersion: 'networking.k8s.io/v1', schema: networkPolicy },
	BGPConfiguration: { apiVersion: 'manx.dev/v1', schema: bgpConfiguration },
	BGPPeer: { apiVersion: 'manx.dev/v1', schema: bgpPeer },
} as const satisfies Record<Kind, { apiVersion: string; schema: z.ZodType<ManxObject> }>;

export const isKind = (kind: string): kind is Kind => Object.hasOwn(schemas, kind);

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
	const namespaced = kind === 'Pod' || kind === 'NetworkPolicy';
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
	if (!isKind(kind)) {
		if (!apiVersion.startsWith('manx.dev/')) return { type: 'foreign', kind };
		return refused('kind', `${kind} is not known; manx.dev/v1 has BGPConfiguration and BGPPeer`);
	}
	const entry = schemas[kind];
	if (apiVersion !== entry.apiVersion) {
		return refused('apiVersion', `is '${apiVersion}', but ${kind} is read as ${entry.apiVersion}`);
	}
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
