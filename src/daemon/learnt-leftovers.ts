import { findFormerRoutes, removeFormerRoutes } from '../../bird/index.ts';
import { clusterRoutes } from '../../felix/cluster-routes.ts';
import type { Cluster } from '../api/cluster.ts';
import { type InterfaceAddress, type Kernel, owners } from '../kernel/kernel.ts';
import type { Logger } from '../logging.ts';

/**
 * What bird does in host-gw mode: it takes away the routes that it learnt in bgp mode, once felix has its own to every
 * other node in the kernel, so that no packet is without a route meanwhile. Then it has nothing more to do.
 */

export type LearntLeftovers = {
	/** What the Node objects and interfaces say now. */
	readonly review: (cluster: Cluster, interfaces: readonly InterfaceAddress[]) => void;
	/** What is still in the way, in words; empty when nothing of bird is left in the kernel. */
	readonly unsettled: () => Promise<readonly string[]>;
	readonly close: () => void;
};

export type LearntLeftoversDeps = {
	readonly nodeName: string;
	readonly kernel: Pick<Kernel, 'routes' | 'listRoutes' | 'watch'>;
	readonly log: Logger;
};

/** Milliseconds: notifications come in bursts. */
const settle = 100;
/** Milliseconds between tries without a notification. */
const again = 5000;

export const createLearntLeftovers = ({ nodeName, kernel, log }: LearntLeftoversDeps): LearntLeftovers => {
	const routes = kernel.routes(owners.bird);
	let awaited: readonly string[] | undefined;
	let reason = 'the objects have not been read yet';
	let done = false;
	let timer: NodeJS.Timeout | undefined;
	let working: Promise<void> | undefined;

	const work = async (): Promise<void> => {
		if (done || awaited === undefined) return;
		await routes.resync();
		// Under a metric of BGPConfiguration's.
		const former = await findFormerRoutes(kernel, owners.bird);
		const count = routes.actual().size + former.count;
		const there = new Set(
			(await kernel.listRoutes())
				.filter(({ protocol, metric }) => protocol === owners.felix.protocol && metric === owners.felix.metric)
				.map(({ dst }) => dst),
		);
		const missing = awaited.filter((dst) => !there.has(dst));
		if (count > 0 && missing.length > 0) {
			reason = `${count} routes learnt by BGP stay until felix has its own to ${missing.slice(0, 5).join(', ')}`;
			return;
		}
		routes.sweep(true);
		const { deleted, failed } = await routes.apply();
		const [refusal] = failed.values();
		const problem = refusal?.message ?? (await removeFormerRoutes(kernel, former.owners));
		if (problem !== undefined) {
			reason = problem;
			return;
		}
		const removed = deleted.length + former.count;
		if (removed > 0) log.info({ routes: removed }, `${removed} routes learnt by BGP are removed: felix has its own`);
		done = true;
		close();
	};
	const look = async (): Promise<void> => {
		while (working !== undefined) await working;
		working = work()
			.catch((error: Error) => log.error({}, `routes learnt by BGP cannot be removed: ${error.message}`))
			.finally(() => {
				working = undefined;
			});
		await working;
	};
	const soon = (): void => {
		if (done || timer !== undefined) return;
		timer = setTimeout(() => {
			timer = undefined;
			void look();
		}, settle);
		timer.unref();
	};
	const unwatch = kernel.watch((event) => {
		if (event.type === 'route' && event.route.protocol === owners.felix.protocol) soon();
	});
	const repeated = setInterval(soon, again);
	repeated.unref();
	const close = (): void => {
		unwatch();
		clearInterval(repeated);
		clearTimeout(timer);
	};

	return {
		review: (cluster, interfaces) => {
			// A Node object that is gone for a moment, or all of them, says nothing of routes.
			if (!cluster.nodes.has(nodeName)) return;
			const wanted = clusterRoutes({
				nodeName,
				cluster,
				mode: 'host-gw',
				mesh: true,
				nodeAddresses: {},
				interfaces,
			});
			awaited = wanted.routes.map(({ dst }) => dst);
			soon();
		},
		unsettled: async () => {
			if (!done) await look();
			return done ? [] : [reason];
		},
		close,
	};
};
