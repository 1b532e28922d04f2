import type { Applied, Kernel, KernelError, Neighbour, Route } from '../../src/kernel/kernel.ts';
import { owners } from '../../src/kernel/kernel.ts';
import type { Attachment } from '../attachment.ts';
import { hostStateOf } from '../cni/wiring.ts';

/**
 * The routes and neighbours of felix on the node: those of each pod whose rules are in force, those that belong to no pod, and
 * the fallbacks to other nodes. What is wanted is said here; the loop says when it is written.
 */

type NodeAddresses = { readonly 4?: string; readonly 6?: string };

export type NodeTables = {
	/** The pod's rules are in force: it gets its routes. Nothing to do when nothing about it is new. */
	readonly admit: (attachment: Attachment) => void;
	readonly isAdmitted: (hostInterface: string) => boolean;
	readonly dismiss: (hostInterface: string) => void;
	/** Replaces what belongs to no single pod. */
	readonly want: (routes: readonly Route[], fallback: readonly Route[]) => void;
	/** Writes what dismissed pods leave behind, before anything else of a pass. */
	readonly applyDepartures: () => Promise<void>;
	/** Writes everything, and takes away what is ours and not wanted; the first refusal, and those by pod. */
	readonly apply: () => Promise<{
		readonly error?: string;
		readonly refusalOf: (hostInterface: string) => string | undefined;
	}>;
	/** Reads the kernel again; what was found different. */
	readonly compare: () => Promise<readonly string[]>;
	readonly pending: () => number;
	/** What is wanted and not in the kernel, as far as known. */
	readonly missing: () => readonly string[];
	readonly figures: () => { readonly wanted: number; readonly programmed: number };
};

type HostState = {
	readonly attachment: Attachment;
	readonly nodeAddresses: NodeAddresses;
	readonly routes: readonly Route[];
	readonly neighbours: readonly Neighbour[];
};

const firstFailure = ({ failed }: Applied): string | undefined => failed.values().next().value?.message;

export const createNodeTables = (
	kernel: Pick<Kernel, 'routes' | 'neighbours'>,
	/** The same object as long as they are the same. */
	nodeAddresses: () => NodeAddresses,
): NodeTables => {
	const routes = kernel.routes(owners.felix);
	const fallback = kernel.routes(owners.fallback);
	const neighbours = kernel.neighbours('manx');
	const admitted = new Map<string, HostState>();
	const clusterRoutes = new Map<string, Route>();

	/** Takes a route back unless another pod has it by now. */
	const release = (route: Route): void => {
		for (const state of admitted.values()) if (state.routes.some((other) => other.dst === route.dst)) return;
		routes.delete(routes.keyOf(route));
		fallback.delete(fallback.keyOf(route));
	};

	const wantClusterRoutes = (wanted: readonly Route[]): void => {
		const keys = new Set(wanted.map(routes.keyOf));
		for (const key of clusterRoutes.keys()) {
			if (keys.has(key)) continue;
			routes.delete(key);
			clusterRoutes.delete(key);
		}
		for (const route of wanted) {
			clusterRoutes.set(routes.keyOf(route), route);
			routes.set(route);
		}
	};

	/** A change of mode moves routes from one metric to the other: what is added comes first, what goes comes last. */
	const applyRoutes = async (): Promise<Applied> => {
		fallback.sweep(false);
		const added = await fallback.apply();
		routes.sweep(true);
		const applied = await routes.apply();
		fallback.sweep(true);
		const deleted = fallback.pending() > 0 ? await fallback.apply() : added;
		return { ...applied, failed: new Map([...added.failed, ...deleted.failed, ...applied.failed]) };
	};

	return {
		admit: (attachment) => {
			const addresses = nodeAddresses();
			const old = admitted.get(attachment.hostInterface);
			if (old?.attachment === attachment && old.nodeAddresses === addresses) return;
			const state = {
				attachment,
				nodeAddresses: addresses,
				...hostStateOf(attachment, Object.values(addresses)),
			};
			admitted.set(attachment.hostInterface, state);
			for (const route of old?.routes ?? []) release(route);
			for (const route of state.routes) routes.set(route);
			for (const neighbour of state.neighbours) neighbours.set(neighbour);
		},
		isAdmitted: (name) => admitted.has(name),
		dismiss: (name) => {
			const state = admitted.get(name);
			admitted.delete(name);
			for (const route of state?.routes ?? []) release(route);
			for (const neighbour of state?.neighbours ?? []) neighbours.delete(neighbours.keyOf(neighbour));
		},
		want: (wanted, wantedFallback) => {
			wantClusterRoutes(wanted);
			// A route to a pod of ours only once its rules are in force, as that with our own metric.
			fallback.replace(
				wantedFallback.filter(({ nextHops: [hop] }) => hop?.via !== undefined || admitted.has(hop?.dev ?? '')),
			);
		},
		applyDepartures: async () => {
			await Promise.all([routes.apply(), fallback.apply(), neighbours.apply()]);
		},
		apply: async () => {
			neighbours.sweep(true);
			const [appliedRoutes, appliedNeighbours] = await Promise.all([applyRoutes(), neighbours.apply()]);
			const error = firstFailure(appliedRoutes) ?? firstFailure(appliedNeighbours);
			const refused = (failed: ReadonlyMap<string, KernelError>, keys: readonly string[]): string | undefined =>
				keys.map((key) => failed.get(key)?.message).find(Boolean);
			return {
				...(error !== undefined && { error }),
				refusalOf: (name) => {
					const state = admitted.get(name);
					if (state === undefined) return undefined;
					return (
						refused(appliedRoutes.failed, state.routes.map(routes.keyOf)) ??
						refused(appliedNeighbours.failed, state.neighbours.map(neighbours.keyOf))
					);
				},
			};
		},
		compare: async () => [
			...[...(await routes.resync()), ...(await fallback.resync())].map((key) => `route ${key}`),
			...(await neighbours.resync()).map((key) => `neighbour ${key}`),
		],
		pending: () => routes.pending() + fallback.pending() + neighbours.pending(),
		missing: () => [
			...[routes, fallback].flatMap(({ wanted, actual }) => {
				const there = actual();
				return [...wanted().keys()].filter((key) => !there.has(key)).map((key) => `route ${key}`);
			}),
			...[...neighbours.wanted().keys()]
				.filter((key) => !neighbours.actual().has(key))
				.map((key) => `neighbour ${key}`),
		],
		figures: () => {
			const figures = { wanted: 0, programmed: 0 };
			for (const { wanted, actual } of [routes, fallback]) {
				figures.wanted += wanted().size;
				for (const key of wanted().keys()) if (actual().has(key)) figures.programmed++;
			}
			return figures;
		},
	};
};
