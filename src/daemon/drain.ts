import { existsSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Done } from '../../bird/index.ts';
import type { BGPConfiguration, Node } from '../api/objects.ts';

/**
 * Whether this node is announced with graceful shutdown (RFC 8326): by hand, or since it is cordoned, where
 * BGPConfiguration asks for that. By hand is a file in runDir: it outlives the daemon and its upgrade, not the boot of the
 * node, after which nothing is left to be kept away from.
 */

export type Drain = {
	/** '' when not; else why, in words. */
	readonly why: (configuration: BGPConfiguration | undefined, node: Node | undefined) => string;
	readonly byHand: (on: boolean) => Done;
};

export const createDrain = (runDir: string): Drain => {
	const file = join(runDir, 'draining');
	return {
		why: (configuration, node) => {
			if (existsSync(file)) return 'by hand (manx bgp undrain ends it)';
			const cordoned = configuration?.spec.drainCordonedNodes === true && node?.spec.unschedulable === true;
			return cordoned ? 'the node is cordoned (spec.drainCordonedNodes of BGPConfiguration)' : '';
		},
		byHand: (on) => {
			try {
				if (on) writeFileSync(file, `${new Date().toISOString()}\n`);
				else rmSync(file, { force: true });
				return { ok: true };
			} catch (error) {
				return { ok: false, error: `${file} cannot be ${on ? 'written' : 'removed'}: ${(error as Error).message}` };
			}
		},
	};
};
