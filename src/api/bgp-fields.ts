import { z } from 'zod';
import { contains, parseAddress, parseCidr } from '../net/ip.ts';
import { address, selector } from './fields.ts';
import { parseLabelExpression } from './label-expression.ts';

/** Fields that several BGP objects have, in the ways people write them. */

const highest = 4294967295;
const asRange = `must be 1 to ${highest}, or dotted as in 1.10`;

/** A number, its digits as text, or dotted (RFC 5396). */
export const asNumber = z.union([z.number(), z.string()], { error: asRange }).transform((given, context) => {
	const refuse = (message: string) => {
		context.addIssue(message);
		return z.NEVER;
	};
	// Bare 1.10 is the number 1.1 in YAML: nobody can tell them apart.
	if (typeof given === 'number' && !Number.isInteger(given)) return refuse(`${asRange}, in quotes`);
	const parts = String(given).split('.');
	if (parts.length > 2 || !parts.every((part) => /^\d{1,10}$/.test(part))) return refuse(asRange);
	const [high = 0, low] = parts.map(Number);
	if (low !== undefined && (high > 65535 || low > 65535)) return refuse(asRange);
	const value = low === undefined ? high : high * 65536 + low;
	if (value < 1 || value > highest) return refuse(asRange);
	// RFC 6793 §9: it stands for any AS of four octets, and is nobody's.
	return value === 23456 ? refuse('23456 is AS_TRANS, which no router has') : value;
});

const units = { h: 3600, m: 60, s: 1, ms: 0.001 } as const;

/** Seconds: a number, or a duration as Kubernetes writes them (`2m0s`). */
export const seconds = (least: number, most: number) => {
	const range = `must be ${least} to ${most} seconds, as a number or as in 90s or 1m30s`;
	return z.union([z.number(), z.string()], { error: range }).transform((given, context) => {
		const value =
			typeof given === 'number'
				? given
				: /^(\d+(\.\d+)?(h|ms|m|s))+$/.test(given)
					? [...given.matchAll(/(\d+(?:\.\d+)?)(h|ms|m|s)/g)].reduce(
							(sum, [, amount, unit]) => sum + Number(amount) * units[unit as keyof typeof units],
							0,
						)
					: Number.NaN;
		if (Number.isInteger(value) && value >= least && value <= most) return value;
		context.addIssue(range);
		return z.NEVER;
	});
};

export type SecretKeyRef = { readonly name: string; readonly key: string };

/** A key of a Secret in the namespace the daemons run in. */
export const secretPassword = z
	.strictObject({
		secretKeyRef: z.strictObject({
			name: z.string().regex(/^[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?$/, 'must be the name of a Secret'),
			key: z.string().regex(/^[-._a-zA-Z0-9]{1,253}$/, 'must be a key of the Secret'),
			optional: z.literal(false, 'may not be true: there is no session without its password').nullish(),
		}),
	})
	.transform(({ secretKeyRef: { name, key } }): SecretKeyRef => ({ name, key }));

const part = (most: number) => (text: string) => /^(0|[1-9]\d*)$/.test(text) && Number(text) <= most;

export const isCommunity = (text: string): boolean => {
	const parts = text.split(':');
	return (parts.length === 2 && parts.every(part(65535))) || (parts.length === 3 && parts.every(part(highest)));
};

export const community = z
	.string()
	.refine(isCommunity, 'must be aa:nn of two numbers up to 65535, or aa:nn:mm of three up to 4294967295');

/** By labels, or an expression in Calico's words. */
export const nodeSelector = z.unknown().transform((given, context) => {
	if (typeof given === 'string') {
		const parsed = parseLabelExpression(given);
		if (parsed.ok) return given;
		context.addIssue(parsed.error);
		return z.NEVER;
	}
	const result = selector.safeParse(given);
	if (result.success) return result.data;
	for (const { path, message } of result.error.issues) context.addIssue({ code: 'custom', path: [...path], message });
	return z.NEVER;
});

/** RFC 1122 §3.2.1.3, RFC 4291 §2.5.2 and §2.7: nobody's address, or everybody's. */
const unusable = ['0.0.0.0/8', '224.0.0.0/3', '::/128', 'ff00::/8'].flatMap((prefix) => parseCidr(prefix) ?? []);
export const routerAddress = address.refine((value) => {
	const parsed = parseAddress(value);
	return parsed !== undefined && !unusable.some((prefix) => contains(prefix, parsed));
}, 'must be the address of one router, not an unspecified, multicast or broadcast one');

/** Fields of Calico's for what Manx has not: refused by name, so that nobody waits for what does not come. */
export const notHere = (what: string) =>
	z
		.unknown()
		.optional()
		.transform((value, context) => {
			if (value !== undefined && value !== null && value !== '') context.addIssue(`does not apply: ${what}`);
			return undefined;
		});
