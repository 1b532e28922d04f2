import type { Negotiated } from './open.ts';

/**
 * When a speaker that has just started knows enough (RFC 4724 §4.1): a value per peer, two questions to each of them.
 *
 * `selectable`: routes of others may be chosen and announced. Peers that are restarting themselves (R bit) are not waited
 * for, lest two restarting speakers wait for each other, nor those without graceful restart.
 * `complete`: what is in the kernel from an earlier run and was not learnt again may go. Here restarting peers count:
 * their own prefixes come at once, and removing them a moment before would lose packets.
 */

export type PeerProgress = {
	/** Families whose End-of-RIB is still to come; undefined while there is no session. */
	readonly awaited?: ReadonlySet<string>;
	/** The peer sent the R bit, or no capability at all. */
	readonly exempt: boolean;
};

export const noSession: PeerProgress = { exempt: false };

/** Awaited from peers without graceful restart instead of End-of-RIBs: that no UPDATE has come for a while. */
export const QUIET = 'quiet';

/** At session start. A family outside the peer's graceful restart capability has no End-of-RIB to wait for. */
export const sessionUp = ({ families, gracefulRestart }: Negotiated): PeerProgress =>
	gracefulRestart === undefined
		? { awaited: new Set([QUIET]), exempt: true }
		: {
				awaited: new Set([...families].filter((family) => gracefulRestart.families.has(family))),
				exempt: gracefulRestart.restartState,
			};

export const endOfRib = (progress: PeerProgress, family: string): PeerProgress => {
	const awaited = new Set(progress.awaited);
	return progress.awaited && awaited.delete(family) ? { ...progress, awaited } : progress;
};

export const isSelectable = ({ awaited, exempt }: PeerProgress): boolean =>
	awaited !== undefined && (exempt || awaited.size === 0);

export const isComplete = ({ awaited }: PeerProgress): boolean => awaited?.size === 0;
