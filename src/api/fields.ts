import { z } from 'zod';
import { canonicalAddress, formatCidr, parseAddress, parseCidr } from '../net/ip.ts';

/** Fields that objects of several kinds have: checks, defaults, canonical text. */

/** Kubernetes lists and maps may be absent or null; both mean empty. */
export const list = <T extends z.ZodType>(item: T) =>
	z
		.array(item)
		.nullish()
		.transform((value) => value ?? []);

export const stringMap = z
	.record(z.string(), z.string())
	.nullish()
	.transform((value) => value ?? {});

export const text = z
	.string()
	.nullish()
	.transform((value) => value ?? '');

export const dnsName = z
	.string()
	.min(1, 'must not be empty')
	.max(253, 'is longer than 253 characters')
	.regex(/^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$/, 'must be lower case letters, digits, - and . (RFC 1123)');

export const timestamp = z
	.union([z.string(), z.date()])
	.nullish()
	.transform((value) => (value instanceof Date ? value.toISOString() : (value ?? '')));

export const metadata = (scope: 'namespaced' | 'cluster') =>
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

export const address = z.string().transform((value, context) => {
	const canonical = canonicalAddress(value);
	if (canonical !== undefined) return canonical;
	context.addIssue(`'${value}' is not an IP address`);
	return z.NEVER;
});

export const cidr = (hostBits: 'refused' | 'cleared') =>
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

export const protocol = z
	.enum(['TCP', 'UDP', 'SCTP'])
	.nullish()
	.transform((value) => value ?? ('TCP' as const));
export const portNumber = z.int().min(1, 'must be 1 to 65535').max(65535, 'must be 1 to 65535');

export const requirement = z
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

export const selector = z
	.object({ matchLabels: stringMap, matchExpressions: list(requirement) })
	.nullable()
	.transform((value) => value ?? { matchLabels: {}, matchExpressions: [] });

/** Absent and null mean the same for a selector of a peer: it was not given. */
export const absent = <T extends z.ZodType>(schema: T) => schema.nullish().transform((value) => value ?? undefined);
