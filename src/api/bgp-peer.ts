import { z } from 'zod';
import { canonicalAddress, familyOf, isLinkLocal } from '../net/ip.ts';
import { bfdSchema } from './bfd.ts';
import { asNumber, nodeSelector, notHere, routerAddress, seconds } from './bgp-fields.ts';
import { calicoShape, sessionShape, withoutAliases } from './bgp-session.ts';
import { absent, cidr, metadata, portNumber, text } from './fields.ts';

/** manx.dev/v1 BGPPeer: who a peer is, and on which nodes. */

/** `external`: any AS but ours. */
const peerAS = z.unknown().transform((value, context) => {
	if (value === undefined || value === null) return undefined;
	if (value === 'external') return 0;
	const result = asNumber.safeParse(value);
	if (result.success) return result.data;
	context.addIssue(`${result.error.issues[0]?.message}, or external`);
	return z.NEVER;
});

/** `192.0.2.1`, `192.0.2.1:1790`, `[2001:db8::1]:1790`. */
const peerIP = z.string().transform((value, context) => {
	const [, v6, v4, port] = /^(?:\[([^\]]+)\]|([^:]+))(?::(\d{1,5}))?$/.exec(value) ?? [];
	const plain = canonicalAddress(value) === undefined ? (v6 ?? v4 ?? value) : value;
	const parsed = routerAddress.safeParse(plain);
	if (!parsed.success) {
		context.addIssue(parsed.error.issues[0]?.message ?? 'is not an address');
		return z.NEVER;
	}
	if (port !== undefined && (Number(port) < 1 || Number(port) > 65535)) {
		context.addIssue(`'${value}' has a port that is not 1 to 65535`);
		return z.NEVER;
	}
	return { address: parsed.data, ...(port !== undefined && { port: Number(port) }) };
});

export const bgpPeer = z.object({
	kind: z.literal('BGPPeer'),
	metadata: metadata('cluster'),
	spec: z
		.strictObject({
			peerIP: peerIP.optional(),
			peerRange: cidr('cleared').optional(),
			peerSelector: absent(nodeSelector.optional()),
			peerLimit: z.int().min(1, 'must be at least 1').default(64),
			peerPort: portNumber.optional(),
			asNumber: peerAS.optional(),
			node: text,
			nodeSelector: absent(nodeSelector.optional()),
			holdTime: seconds(0, 65535)
				.refine((value) => value === 0 || value >= 3, 'must be 0 or at least 3 seconds')
				.default(90),
			reversePeering: z.enum(['Auto', 'Manual']).default('Auto'),
			bfd: absent(bfdSchema),
			failureDetection: z.enum(['None', 'BFDIfDirectlyConnected']).optional(),
			localWorkloadSelector: notHere('there is no BGP with workloads'),
			...sessionShape,
			...calicoShape,
		})
		.transform((given, context) => {
			const { peerIP: peer, peerRange = '', peerSelector, peerLimit, peerPort, asNumber: as, node } = given;
			const {
				holdTime,
				nodeSelector: nodes,
				reversePeering,
				bfd,
				failureDetection,
				localWorkloadSelector: _,
				...rest
			} = given;
			const {
				peerIP: _1,
				peerRange: _2,
				peerSelector: _3,
				peerLimit: _4,
				peerPort: _5,
				asNumber: _6,
				node: _7,
				...options
			} = rest;
			const refuse = (field: string, message: string) => {
				context.addIssue({ code: 'custom', path: [field], message });
				return z.NEVER;
			};
			const whom = [peer && 'peerIP', peerRange && 'peerRange', peerSelector !== undefined && 'peerSelector'].filter(
				(one) => typeof one === 'string' && one !== '',
			) as string[];
			if (whom.length > 1) return refuse(whom[0] ?? '', `may not stand beside ${whom[1]}`);
			if (whom.length === 0 && options.interface === undefined) {
				return refuse(
					'peerIP',
					'is missing (or peerRange, or peerSelector, or interface alone: whoever is the router there)',
				);
			}
			const aliased = withoutAliases(options);
			if ('twice' in aliased)
				return refuse(aliased.twice[0], `may not stand beside ${aliased.twice[1]}, which is the same`);
			const { session } = aliased;
			if (peerSelector === undefined && as === undefined) return refuse('asNumber', 'is missing, or external');
			if (peerSelector !== undefined && as !== undefined) {
				return refuse('asNumber', 'may not stand beside peerSelector: nodes have their own');
			}
			const address = peer?.address ?? '';
			if (isLinkLocal(address) && session.interface === undefined) {
				return refuse('interface', `must be given: ${address} may be on any link`);
			}
			if (nodes !== undefined && node !== '') return refuse('node', 'may not stand beside nodeSelector');
			if (peer?.port !== undefined && peerPort !== undefined) return refuse('peerPort', 'stands in peerIP already');
			if (session.password !== undefined && session.passwordFile !== undefined) {
				return refuse('passwordFile', 'may not stand beside password: one password');
			}
			if (session.reachableBy !== undefined) {
				if (address === '') return refuse('reachableBy', 'is for a peerIP');
				if (familyOf(session.reachableBy) !== familyOf(address)) {
					return refuse('reachableBy', `is not of the family of ${address}`);
				}
				if (session.reachableBy === address) return refuse('reachableBy', 'is the peer itself');
			}
			if (session.keepaliveTime !== undefined && holdTime !== 0 && session.keepaliveTime >= holdTime) {
				return refuse('keepaliveTime', `must be less than the hold time, ${holdTime} seconds`);
			}
			const watched = bfd ?? (failureDetection === 'BFDIfDirectlyConnected' ? bfdSchema.parse({}) : undefined);
			if (watched !== undefined && session.bfdProfile !== undefined) {
				return refuse('bfdProfile', `may not stand beside ${bfd === undefined ? 'failureDetection' : 'bfd'}`);
			}
			return {
				peerIP: address,
				peerRange,
				...(peerSelector !== undefined && { peerSelector }),
				peerLimit,
				peerPort: peer?.port ?? peerPort ?? 0,
				asNumber: as ?? 0,
				session,
				node,
				...(nodes !== undefined && { nodeSelector: nodes }),
				holdTime,
				reversePeering,
				...(watched && { bfd: watched }),
			};
		}),
});
