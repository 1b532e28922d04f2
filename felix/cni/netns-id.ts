import { statfsSync, statSync } from 'node:fs';
import { type CniError, cniCodes, cniError } from './errors.ts';

/** NSFS_MAGIC of linux/magic.h. */
const nsfsMagic = 0x6e736673;

/**
 * `dev:inode` of the netns behind a path, which no other netns has as long as it lives; an error when the path is none,
 * or is the node's own (wiring that would take the node off its network).
 */
export const identifyNetns = (path: string): string | CniError => {
	try {
		if (statfsSync(path).type === nsfsMagic) {
			const { dev, ino } = statSync(path);
			const own = statSync('/proc/self/ns/net');
			if (dev !== own.dev || ino !== own.ino) return `${dev}:${ino}`;
			return cniError(
				cniCodes.invalidEnvironment,
				'invalid environment',
				`${path} is the node's own network namespace`,
			);
		}
		const details = `CNI_NETNS ${path} is not a network namespace`;
		return cniError(cniCodes.invalidEnvironment, 'invalid environment', details);
	} catch (error) {
		const why = error instanceof Error ? error.message : String(error);
		return cniError(
			cniCodes.unknownContainer,
			'unknown network namespace',
			`CNI_NETNS ${path} cannot be opened: ${why}`,
		);
	}
};
