import { type Backend, detectBackend, type Run, removeLeftovers } from 'iptables-wrapper';
import type { Logger } from '../../src/logging.ts';

/** Which iptables felix writes its rules with, and what became of those in the other. */

export type BackendChoice = {
	readonly backend: Backend;
	/** A sentence. */
	readonly reason: string;
	/** Others have rules in both. */
	readonly mixed: boolean;
};

export const chooseBackend = async (run: Run, setting: 'auto' | Backend, log: Logger): Promise<BackendChoice> => {
	const detected = await detectBackend(run, 4);
	const choice = setting === 'auto' ? detected : { backend: setting, reason: 'by setting', mixed: detected.mixed };
	if (choice.mixed) log.warn({}, `rules stand in both iptables backends: ${detected.reason}`);
	log.info({ backend: choice.backend }, `iptables backend ${choice.backend}: ${choice.reason}`);
	return choice;
};

/**
 * Rules of ours in the backend that is not used, of a felix that chose otherwise: they hold until those in the other are in
 * force, and then go, since nobody would change them any more. Sets are the same for both.
 */
export const sweepOtherBackend = async (run: Run, used: Backend, log: Logger): Promise<void> => {
	const backend = used === 'nft' ? 'legacy' : 'nft';
	for (const family of [4, 6] as const) {
		const { found, error } = await removeLeftovers({ family, backend, prefix: 'MANX-', run });
		if (error !== undefined) log.error({}, `IPv${family} rules of ours in iptables-${backend} stay: ${error.message}`);
		else if (found)
			log.info({}, `IPv${family} rules of ours in iptables-${backend}, of an earlier choice, are removed`);
	}
};
