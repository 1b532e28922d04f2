import type { Pod } from '../../src/api/objects.ts';
import type { Kernel } from '../../src/kernel/kernel.ts';
import type { Logger } from '../../src/logging.ts';
import type { Attachment } from '../attachment.ts';
import type { LastKnown } from '../calc/types.ts';
import type { WiringDeps } from './wiring.ts';

/** What the CNI verbs are handed: kernel, clock, the datastore's knowledge and the dataplane loop. */
export type CniDeps = WiringDeps & {
	/** Of the node's netns; `watch` tells of veths that vanish. */
	readonly kernel: WiringDeps['kernel'] & Pick<Kernel, 'listRoutes' | 'neighbours' | 'deleteConntrack' | 'watch'>;
	readonly runDir: string;
	readonly log: Logger;
	readonly clock: { readonly now: () => number };
	/** Whether the datastore has delivered all that existed at start. */
	readonly inSync: () => boolean;
	/** The node's podCIDRs, canonical. */
	readonly podCIDRs: () => readonly string[];
	/** Addresses among them that pods on other nodes have, from when the network was those nodes'. None unless given. */
	readonly takenElsewhere?: () => ReadonlySet<string>;
	/** For new pods. */
	readonly mtu: () => number;
	/**
	 * Waits until the datastore is in sync and has this pod on this node (with this uid, unless ''), at most so long.
	 */
	readonly waitForPod: (namespace: string, name: string, uid: string, timeoutMs: number) => Promise<Pod | undefined>;
	/** What is known of a pod (`namespace/name`) now: goes into its record. */
	readonly lastKnown: (key: string) => LastKnown | undefined;
	/**
	 * Wants everything of the attachment in the kernel (routes, neighbours, anti-spoof and policy set members) and
	 * returns when it is there; an error in words when it is not. Called again for an attachment it must replace it.
	 */
	readonly programmed: (attachment: Attachment) => Promise<string | undefined>;
	/** Wants nothing of it any more, routes first, set members after, and returns when that is so. Unknown: no matter. */
	readonly detach: (attachment: Attachment) => Promise<void>;
};
