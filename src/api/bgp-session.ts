import { z } from 'zod';
import { asNumber, routerAddress, seconds, secretPassword } from './bgp-fields.ts';

/**
 * What `spec` of a BGPPeer says about its session beyond who the peer is; all of it may be left out. Calico's names stand
 * beside ours where it has the field: one of both may be given.
 */

export const passwordFile = z
	.string()
	.regex(/^[A-Za-z0-9][A-Za-z0-9._-]{0,252}$/, "must be a file's name in the folder of the setting passwordDir");

const allowed = z.int().min(0, 'must be 0 to 10').max(10, 'must be 0 to 10').optional();
const restart = seconds(0, 4095).optional();

export const sessionShape = {
	passive: z.boolean().optional(),
	interface: z
		.string()
		.regex(/^[^/\s%]{1,15}$/, 'must be the name of an interface')
		.optional(),
	passwordFile: passwordFile.optional(),
	ttlSecurity: z.int().min(1, 'must be 1 to 254 hops').max(254, 'must be 1 to 254 hops').optional(),
	restartTime: restart,
	keepaliveTime: seconds(1, 21845).optional(),
	exportLearnt: z.boolean().optional(),
	routeReflectorClient: z.boolean().optional(),
	localAS: z
		.strictObject({ asNumber, noPrepend: z.boolean().default(false), replaceAS: z.boolean().default(false) })
		.optional(),
	allowOwnAS: allowed,
	asOverride: z.boolean().optional(),
	removePrivateAS: z.boolean().optional(),
	gracefulShutdown: z.boolean().optional(),
	role: z.enum(['provider', 'rs', 'rs-client', 'customer', 'peer']).optional(),
	strictRole: z.boolean().optional(),
	addPath: z
		.strictObject({
			receive: z.boolean().default(true),
			sendPaths: z.int().min(0, 'must be 0 to 64').max(64, 'must be 0 to 64').default(0),
		})
		.optional(),
	importPolicy: z.enum(['Accept', 'Reject']).optional(),
	exportPolicy: z.enum(['Accept', 'Reject']).optional(),
	prefixLimit: z
		.strictObject({
			maximum: z.int().min(1, 'must be at least 1'),
			warnPercent: z.int().min(1, 'must be 1 to 100').max(100, 'must be 1 to 100').default(75),
			action: z.enum(['warn', 'hold']).default('hold'),
			restartSeconds: z.int().min(1, 'must be at least 1').optional(),
		})
		.transform(({ restartSeconds, ...limit }) => ({
			...limit,
			...(restartSeconds !== undefined && { restartSeconds }),
		}))
		.optional(),
	shutdown: z.strictObject({ message: z.string().max(255, 'is longer than 255 characters').default('') }).optional(),
	filters: z.array(z.string().min(1, 'must not be empty')).max(32, 'are more than 32').optional(),
	password: secretPassword.optional(),
	reachableBy: routerAddress.optional(),
	bfdProfile: z.string().min(1, 'must not be empty').optional(),
	nextHopMode: z.enum(['Auto', 'Self', 'Keep']).optional(),
	/** The address of this node that the session is from: the node's own, or whichever the kernel chooses. */
	sourceAddress: z.enum(['UseNodeIP', 'None']).optional(),
} as const;

/** Names that Calico and Manx give the same thing; `convert` where it is not the very same value. */
export const calicoShape = {
	maxRestartTime: restart,
	numAllowedLocalASNumbers: allowed,
	localASNumber: asNumber.optional(),
	keepOriginalNextHop: z.boolean().optional(),
} as const;

type Infer<S extends Readonly<Record<string, z.ZodType>>> = { readonly [K in keyof S]?: z.infer<S[K]> | undefined };
type Shape = typeof sessionShape;
export type BgpSession = { readonly [K in keyof Shape]?: Exclude<z.infer<Shape[K]>, undefined> };

/** Calico's names as ours, or two names for one thing. */
export const withoutAliases = (
	given: Infer<Shape> & Infer<typeof calicoShape>,
): { readonly session: BgpSession } | { readonly twice: readonly [string, string] } => {
	const { maxRestartTime, numAllowedLocalASNumbers, localASNumber, keepOriginalNextHop, ...session } = given;
	const aliases = [
		['maxRestartTime', 'restartTime', maxRestartTime],
		['numAllowedLocalASNumbers', 'allowOwnAS', numAllowedLocalASNumbers],
		// BIRD's `local as`: neither what is told nor what is heard shows any other AS of ours.
		[
			'localASNumber',
			'localAS',
			localASNumber === undefined ? undefined : { asNumber: localASNumber, noPrepend: true, replaceAS: true },
		],
		['keepOriginalNextHop', 'nextHopMode', keepOriginalNextHop === true ? ('Keep' as const) : undefined],
	] as const;
	const merged: Record<string, unknown> = { ...session };
	for (const [theirs, ours, value] of aliases) {
		if (value === undefined) continue;
		if (merged[ours] !== undefined) return { twice: [theirs, ours] };
		merged[ours] = value;
	}
	const entries = Object.entries(merged).filter(([, value]) => value !== undefined);
	return { session: Object.fromEntries(entries) as BgpSession };
};
