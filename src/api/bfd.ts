import { z } from 'zod';

/** `spec.bfd` of a BGPPeer: present, if only as `{}`, means that the peer's path is watched by BFD (RFC 5880). */

const interval = z.int().min(10, 'must be 10 to 60000 ms').max(60_000, 'must be 10 to 60000 ms').default(300);

export const bfdSchema = z
	.strictObject({
		/** Milliseconds. */
		transmitInterval: interval,
		receiveInterval: interval,
		detectMultiplier: z.int().min(1, 'must be 1 to 255').max(255, 'must be 1 to 255').default(3),
		passive: z.boolean().default(false),
		multihop: z.boolean().default(false),
		minimumTtl: z.int().min(1, 'must be 1 to 255').max(255, 'must be 1 to 255').optional(),
		/** Without it the routes of a peer go when BFD goes down, even where graceful restart is agreed. */
		gracefulRestart: z.boolean().default(true),
	})
	.transform(({ minimumTtl, ...bfd }, context) => {
		if (minimumTtl !== undefined && !bfd.multihop) {
			context.addIssue({
				code: 'custom',
				path: ['minimumTtl'],
				message: 'is for multihop: on one hop the TTL is always 255 (RFC 5881)',
			});
			return z.NEVER;
		}
		return { ...bfd, minimumTtl: minimumTtl ?? 1 };
	});

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
