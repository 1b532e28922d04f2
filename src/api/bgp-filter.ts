import { z } from 'zod';
import { bitsOf, type Family, familyOf, parseCidr } from '../net/ip.ts';
import type { RouteOperation, RouteRule } from '../net/route-rule.ts';
import { asNumber, community, routerAddress } from './bgp-fields.ts';
import { cidr, list, metadata } from './fields.ts';

/** manx.dev/v1 BGPFilter: what a peer is believed, and told. The fields and their meaning are Calico's, and a few more. */

const priority = z.int().min(1, 'must be 1 to 2147483646').max(2147483646, 'must be 1 to 2147483646');
const u32 = z.int().min(0, 'must be 0 to 4294967295').max(4294967295, 'must be 0 to 4294967295');

const operation = z
	.strictObject({
		addCommunity: z.strictObject({ value: community }).optional(),
		removeCommunity: z.strictObject({ value: community }).optional(),
		setCommunities: z.strictObject({ values: z.array(community).max(32) }).optional(),
		prependASPath: z.strictObject({ prefix: z.array(asNumber).min(1).max(10) }).optional(),
		setLocalPref: z.strictObject({ value: u32 }).optional(),
		setMED: z.strictObject({ value: u32 }).optional(),
		setNextHop: z.strictObject({ address: routerAddress }).optional(),
		setPriority: z.strictObject({ value: priority }).optional(),
	})
	.transform((given, context): RouteOperation => {
		const { addCommunity, removeCommunity, setCommunities, prependASPath } = given;
		const { setLocalPref, setMED, setNextHop, setPriority } = given;
		const found: RouteOperation[] = [];
		if (addCommunity) found.push({ type: 'addCommunity', ...addCommunity });
		if (removeCommunity) found.push({ type: 'removeCommunity', ...removeCommunity });
		if (setCommunities) found.push({ type: 'setCommunities', ...setCommunities });
		if (prependASPath) found.push({ type: 'prependASPath', asNumbers: prependASPath.prefix });
		if (setLocalPref) found.push({ type: 'setLocalPref', ...setLocalPref });
		if (setMED) found.push({ type: 'setMed', ...setMED });
		if (setNextHop) found.push({ type: 'setNextHop', ...setNextHop });
		if (setPriority) found.push({ type: 'setPriority', ...setPriority });
		const [only] = found;
		if (only !== undefined && found.length === 1) return only;
		context.addIssue(
			found.length === 0 ? 'names no operation' : 'names more than one operation; make it several entries',
		);
		return z.NEVER;
	});

const rule = (family: Family) => {
	const lengths = `must be 0 to ${bitsOf(family)}`;
	const length = z.int().min(0, lengths).max(bitsOf(family), lengths).optional();
	return z
		.strictObject({
			cidr: cidr('refused').optional(),
			matchOperator: z.enum(['Equal', 'NotEqual', 'In', 'NotIn']).optional(),
			prefixLength: z.strictObject({ min: length, max: length }).optional(),
			source: z.literal('RemotePeers').optional(),
			interface: z
				.string()
				.regex(/^[^/\s]{1,15}$/, 'must be the name of an interface, * standing for any characters')
				.optional(),
			peerType: z.enum(['eBGP', 'iBGP']).optional(),
			communities: z.strictObject({ values: z.array(community).min(1).max(32) }).optional(),
			asPathPrefix: z.array(asNumber).min(1).max(32).optional(),
			priority: priority.optional(),
			action: z.enum(['Accept', 'Reject']),
			operations: z.array(operation).max(10, 'are more than 10').optional(),
		})
		.transform((given, context): RouteRule => {
			const { matchOperator, prefixLength, source, communities, action, operations = [] } = given;
			const refuse = (path: string, message: string) => {
				context.addIssue({ code: 'custom', path: [path], message });
				return z.NEVER;
			};
			if ((given.cidr === undefined) !== (matchOperator === undefined)) {
				return refuse(
					given.cidr === undefined ? 'cidr' : 'matchOperator',
					'is missing: cidr and matchOperator go together',
				);
			}
			if (given.cidr !== undefined && familyOf(given.cidr) !== family) {
				return refuse('cidr', `${given.cidr} is not of IPv${family}, which the rules of this list are for`);
			}
			if (prefixLength !== undefined && given.cidr === undefined) return refuse('prefixLength', 'needs a cidr');
			const { min = parseCidr(given.cidr ?? '')?.length ?? 0, max = bitsOf(family) } = prefixLength ?? {};
			if (min > max) return refuse('prefixLength', `min ${min} is more than max ${max}: no prefix has such a length`);
			if (operations.length > 0 && action === 'Reject') {
				return refuse('operations', 'are for action Accept: what is rejected is not changed');
			}
			const foreign = operations.findIndex((one) => one.type === 'setNextHop' && familyOf(one.address) !== family);
			if (foreign >= 0) return refuse('operations', `(${foreign}) the next hop is not of IPv${family}`);
			return {
				...(given.cidr !== undefined &&
					matchOperator !== undefined && {
						prefix: {
							cidr: given.cidr,
							operator: matchOperator,
							...(prefixLength?.min !== undefined && { minLength: prefixLength.min }),
							...(prefixLength?.max !== undefined && { maxLength: prefixLength.max }),
						},
					}),
				...(source && { remoteOnly: true }),
				...(given.interface !== undefined && { interface: given.interface }),
				...(given.peerType && { peerType: given.peerType }),
				...(communities && { communities: communities.values }),
				...(given.asPathPrefix && { asPathPrefix: given.asPathPrefix }),
				...(given.priority !== undefined && { priority: given.priority }),
				action,
				...(operations.length > 0 && { operations }),
			};
		});
};

export const bgpFilter = z.object({
	kind: z.literal('BGPFilter'),
	metadata: metadata('cluster'),
	spec: z
		.strictObject({
			importV4: list(rule(4)),
			importV6: list(rule(6)),
			exportV4: list(rule(4)),
			exportV6: list(rule(6)),
		})
		.prefault({}),
});
