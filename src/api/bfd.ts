import { z } from 'zod';
import { metadata } from './fields.ts';

/**
 * How a peer's path is watched by BFD (RFC 5880): `spec.bfd` of a BGPPeer, present, if only as `{}`, or a BFDProfile that
 * peers name by `spec.bfdProfile`. The fields of the profile are MetalLB's, and a few more.
 */

const interval = z.int().min(10, 'must be 10 to 60000 ms').max(60_000, 'must be 10 to 60000 ms').default(300);
const ttl = z.int().min(1, 'must be 1 to 255').max(255, 'must be 1 to 255').optional();

const shape = {
	/** Milliseconds. */
	transmitInterval: interval,
	receiveInterval: interval,
	detectMultiplier: z.int().min(1, 'must be 1 to 255').max(255, 'must be 1 to 255').default(3),
	multihop: z.boolean().default(false),
	minimumTtl: ttl,
	/** Without it the routes of a peer go when BFD goes down, even where graceful restart is agreed. */
	gracefulRestart: z.boolean().default(true),
};

export type Bfd = {
	/** Milliseconds. */
	readonly transmitInterval: number;
	readonly receiveInterval: number;
	readonly detectMultiplier: number;
	/** Silent until the peer speaks. */
	readonly passive: boolean;
	readonly multihop: boolean;
	/** Of packets over several hops. */
	readonly minimumTtl: number;
	/** BFD down without the peer's C bit is a restart where graceful restart is agreed (RFC 5882 §4.3). */
	readonly gracefulRestart: boolean;
};

const complete = (
	{ minimumTtl, ...bfd }: Omit<Bfd, 'minimumTtl'> & { readonly minimumTtl?: number | undefined },
	context: z.RefinementCtx,
): Bfd => {
	if (minimumTtl !== undefined && !bfd.multihop) {
		context.addIssue({
			code: 'custom',
			path: ['minimumTtl'],
			message: 'is for multihop: on one hop the TTL is always 255 (RFC 5881)',
		});
		return z.NEVER;
	}
	return { ...bfd, minimumTtl: minimumTtl ?? 1 };
};

export const bfdSchema = z.strictObject({ ...shape, passive: z.boolean().default(false) }).transform(complete);

export const bfdProfile = z.object({
	kind: z.literal('BFDProfile'),
	metadata: metadata('cluster'),
	spec: z
		.strictObject({
			...shape,
			passiveMode: z.boolean().default(false),
			echoMode: z.literal(false, 'must be false: echo packets (RFC 5880 §6.4) are not sent').optional(),
			/** Milliseconds; of echo packets alone. */
			echoInterval: z.int().min(10, 'must be 10 to 60000 ms').max(60_000, 'must be 10 to 60000 ms').optional(),
		})
		.prefault({})
		.transform(({ passiveMode, echoMode: _m, echoInterval: _i, ...bfd }, context) =>
			complete({ ...bfd, passive: passiveMode }, context),
		),
});
