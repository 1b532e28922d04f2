import { z } from 'zod';

/** What `spec` of a BGPPeer says about its session beyond who the peer is; all of it may be left out. */

const asNumber = z.int().min(1, 'must be 1 to 4294967295').max(4294967295, 'must be 1 to 4294967295');

export const sessionShape = {
	passive: z.boolean().optional(),
	interface: z
		.string()
		.regex(/^[^/\s%]{1,15}$/, 'must be the name of an interface')
		.optional(),
	passwordFile: z
		.string()
		.regex(/^[A-Za-z0-9][A-Za-z0-9._-]{0,252}$/, "must be a file's name in the folder of the setting passwordDir")
		.optional(),
	ttlSecurity: z.int().min(1, 'must be 1 to 254 hops').max(254, 'must be 1 to 254 hops').optional(),
	restartTime: z.int().min(0, 'must be 0 to 4095 seconds').max(4095, 'must be 0 to 4095 seconds').optional(),
	exportLearnt: z.boolean().optional(),
	routeReflectorClient: z.boolean().optional(),
	localAS: z
		.strictObject({ asNumber, noPrepend: z.boolean().default(false), replaceAS: z.boolean().default(false) })
		.optional(),
	allowOwnAS: z.int().min(0, 'must be 0 to 10').max(10, 'must be 0 to 10').optional(),
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
} as const;

type Shape = typeof sessionShape;
export type BgpSession = { readonly [K in keyof Shape]?: Exclude<z.infer<Shape[K]>, undefined> };

/** Without what was left out. */
export const givenOnly = (session: { readonly [K in keyof Shape]?: z.infer<Shape[K]> | undefined }): BgpSession =>
	Object.fromEntries(Object.entries(session).filter(([, value]) => value !== undefined)) as BgpSession;
