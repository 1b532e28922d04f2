import type { Kernel } from '../../src/kernel/kernel.ts';
import type { Logger } from '../../src/logging.ts';
import type { Family } from '../../src/net/ip.ts';
import { isEnded, tightenedPods } from '../calc/ended-connections.ts';
import type { PolicyState } from '../calc/types.ts';

/**
 * Ends connections that policies no longer allow, once the rules are in the kernel: what the rules let pass as
 * established is deleted from conntrack, and MANX-RESET keeps it from coming back. The first change is acted on at
 * once; under churn what has gathered is looked at no more than once a second, and for no more than a tenth of the time.
 */

export type Policies = Readonly<Record<Family, PolicyState>>;

export type ConnectionEnderDeps = {
	readonly endConnections: Kernel['endConnections'];
	readonly isNode: (address: string) => boolean;
	/** Calls back after so many milliseconds. */
	readonly later: (milliseconds: number, action: () => void) => void;
	readonly now: () => number;
	readonly log: Logger;
};

export type ConnectionEnder = {
	/** These policies are in force in the kernel, all of them. */
	readonly inForce: (policies: Policies) => void;
	/** Pods came whose connections nobody has judged: all are looked at when policies are in force next. */
	readonly forget: () => void;
	/** Connections that may have to end are not looked at yet. */
	readonly pending: () => boolean;
	readonly status: () => { readonly ended: number };
	readonly close: () => Promise<void>;
};

const shortestPause = 1000;
const families = [4, 6] as const;

export const createConnectionEnder = (deps: ConnectionEnderDeps): ConnectionEnder => {
	const { endConnections, isNode, later, now, log } = deps;
	let current: Policies | undefined;
	/** The state in force says nothing about what was allowed before. */
	let unknown = true;
	const tightened: Record<Family, Set<string>> = { 4: new Set(), 6: new Set() };
	let running: Promise<void> | undefined;
	let scheduled = false;
	let notBefore = 0;
	let ended = 0;
	let closed = false;
	let lastError = '';

	const look = async (family: Family, state: PolicyState): Promise<void> => {
		const addresses = tightened[family];
		if (addresses.size === 0) return;
		// What tightens from here on is looked at again.
		tightened[family] = new Set();
		const result = await endConnections(family, addresses, (one) => isEnded(state, one, isNode)).catch(
			(error: Error) => ({ looked: 0, ended: 0, error }),
		);
		ended += result.ended;
		if (result.ended > 0) {
			log.info(
				{ ended: result.ended, looked: result.looked },
				`ended ${result.ended} IPv${family} connections that policies no longer allow`,
			);
		}
		if (result.error === undefined) return;
		for (const address of addresses) tightened[family].add(address);
		throw new Error(result.error.message);
	};

	const round = async (policies: Policies): Promise<void> => {
		const started = now();
		try {
			for (const family of families) await look(family, policies[family]);
			lastError = '';
		} catch (error) {
			const { message } = error as Error;
			if (message !== lastError) log.error({}, `connections that policies no longer allow may go on: ${message}`);
			lastError = message;
		}
		notBefore = started + Math.max(shortestPause, 10 * (now() - started));
	};

	const schedule = (): void => {
		const waiting = families.some((family) => tightened[family].size > 0);
		if (closed || scheduled || running !== undefined || current === undefined || !waiting) return;
		const pause = notBefore - now();
		if (pause > 0) {
			scheduled = true;
			later(pause, () => {
				scheduled = false;
				schedule();
			});
			return;
		}
		running = round(current).finally(() => {
			running = undefined;
			schedule();
		});
	};

	return {
		inForce: (policies) => {
			for (const family of families) {
				const before = unknown ? undefined : current?.[family];
				for (const address of tightenedPods(before, policies[family])) tightened[family].add(address);
			}
			current = policies;
			unknown = false;
			schedule();
		},
		forget: () => {
			unknown = true;
		},
		pending: () => running !== undefined || families.some((family) => tightened[family].size > 0),
		status: () => ({ ended }),
		close: async () => {
			closed = true;
			await running;
		},
	};
};
