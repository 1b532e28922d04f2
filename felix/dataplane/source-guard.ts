import type { Kernel } from '../../src/kernel/kernel.ts';
import type { Logger } from '../../src/logging.ts';
import type { Attachment } from '../attachment.ts';
import { isHostInterface } from '../cni/wiring.ts';
import { sourceFilterOf } from '../render/source-filter.ts';

/**
 * Each pod sends from its own addresses only: a filter at its veth says so. While a single one is not in force (the
 * kernel cannot do it, somebody has another kind of qdisc there, the pod's bandwidth is limited), a rule of the raw table
 * says it for all of them, which costs every packet more. A veth that nobody knows sends nothing at all. A filter goes with its veth and never before.
 */
export type SourceGuard = {
	readonly protect: (attachment: Attachment) => void;
	readonly release: (hostInterface: string) => void;
	/** Writes what is missing; whether every pod's filter is in force. */
	readonly apply: () => Promise<boolean>;
	/** Reads the kernel again; what was found different. */
	readonly compare: () => Promise<readonly string[]>;
	/** What somebody took away, as far as told, and is not known to be refused. */
	readonly missing: () => readonly string[];
	readonly pending: () => number;
};

export const createSourceGuard = (kernel: Pick<Kernel, 'ingressFilters' | 'listLinks'>, log: Logger): SourceGuard => {
	const filters = kernel.ingressFilters('manx');
	const protectedBy = new Map<string, Attachment>();
	/** Pods whose veth is left to the bandwidth plugin. */
	const shaped = new Set<string>();
	/** Not tried again in a hurry: what they lack, a rule does. */
	let refused: ReadonlySet<string> = new Set();
	let told = '';
	/** Veths that nobody knows: found once (one that is being wired is), and found again, which shuts them. */
	let unknown: ReadonlySet<string> = new Set();
	const shut = new Set<string>();

	const survey = async (): Promise<void> => {
		const links = (await kernel.listLinks()).map(({ name }) => name);
		const now = new Set(links.filter((name) => isHostInterface(name) && !protectedBy.has(name)));
		for (const dev of shut) {
			if (now.has(dev) || protectedBy.has(dev)) continue;
			shut.delete(dev);
			filters.delete(dev);
		}
		for (const dev of now) {
			if (!unknown.has(dev) || shut.has(dev)) continue;
			shut.add(dev);
			filters.set(sourceFilterOf({ hostInterface: dev, addresses: [] }));
		}
		unknown = now;
	};

	const text = (dev: string): string => `source filter of ${dev}`;

	return {
		protect: (attachment) => {
			if (protectedBy.get(attachment.hostInterface) === attachment) return;
			protectedBy.set(attachment.hostInterface, attachment);
			// One that was shut has the qdisc already: there is nothing to leave room for.
			const wasShut = shut.delete(attachment.hostInterface);
			if (attachment.shaped && !wasShut) shaped.add(attachment.hostInterface);
			else filters.set(sourceFilterOf(attachment));
		},
		release: (hostInterface) => {
			if (protectedBy.delete(hostInterface) && !shaped.delete(hostInterface)) filters.delete(hostInterface);
		},
		apply: async () => {
			if (filters.pending() === 0) return shaped.size === 0;
			const { failed } = await filters.apply();
			refused = new Set(failed.keys());
			const reason = failed.values().next().value?.message ?? '';
			if (reason !== told && reason !== '') {
				log.warn({ count: failed.size }, `${reason} Sources are checked by a rule of the raw table instead.`);
			}
			told = reason;
			return failed.size + shaped.size === 0;
		},
		compare: async () => {
			const found = (await filters.resync()).map(text);
			await survey();
			return found;
		},
		missing: () => {
			const there = filters.actual();
			return [...filters.wanted().keys()].filter((dev) => !there.has(dev) && !refused.has(dev)).map(text);
		},
		pending: () => Math.max(0, filters.pending() - refused.size),
	};
};
