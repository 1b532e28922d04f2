import { type Kernel, metricOf, type Owner } from '../../src/kernel/kernel.ts';
import { familyOf } from '../../src/net/ip.ts';

/**
 * Routes of ours under a metric that is no longer ours: of a run with another `ipv4NormalRoutePriority`. They forward until those
 * that take their place are in the kernel.
 */

export type FormerRoutes = { readonly count: number; readonly owners: readonly Owner[] };

type FormerKernel = Pick<Kernel, 'routes' | 'listRoutes'>;

/** No route has it: in the family that an owner is not meant for. */
const nobodys = 0xffff_ffff;

export const findFormerRoutes = async (kernel: FormerKernel, current: Owner): Promise<FormerRoutes> => {
	const owners = new Map<string, Owner>();
	let count = 0;
	for (const { dst, protocol, metric } of await kernel.listRoutes()) {
		if (protocol !== current.protocol || metric === metricOf(current, dst)) continue;
		const family = familyOf(dst);
		owners.set(`${family} ${metric}`, {
			protocol,
			metric: family === 4 ? metric : nobodys,
			metric6: family === 6 ? metric : nobodys,
		});
		count++;
	}
	return { count, owners: [...owners.values()] };
};

/** The first error, or nothing. */
export const removeFormerRoutes = async (
	kernel: FormerKernel,
	owners: readonly Owner[],
): Promise<string | undefined> => {
	let problem: string | undefined;
	for (const owner of owners) {
		const routes = kernel.routes(owner);
		await routes.resync();
		routes.sweep(true);
		const { failed } = await routes.apply();
		problem ??= [...failed.values()][0]?.message;
	}
	return problem;
};
