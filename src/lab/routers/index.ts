import type { Lab, TorSoftware } from '../plan.ts';
import { birdRouter } from './bird.ts';
import { frrRouter } from './frr.ts';
import { gobgpRouter } from './gobgp.ts';
import type { Router } from './router.ts';

const routers: Readonly<Record<Exclude<TorSoftware, 'none'>, Router>> = {
	bird: birdRouter,
	frr: frrRouter,
	gobgp: gobgpRouter,
};

/** The BGP router at the top of the rack, or undefined: there is none, or in host-gw mode a plain router without BGP. */
export const routerOf = (lab: Pick<Lab, 'tor' | 'mode'>): Router | undefined =>
	lab.tor === 'none' || lab.mode === 'host-gw' ? undefined : routers[lab.tor];

/** Whether packets pass the router: GoBGP puts no route into the kernel. */
export const forwardsToPods = (lab: Pick<Lab, 'tor' | 'mode'>): boolean =>
	lab.tor !== 'none' && (lab.tor !== 'gobgp' || lab.mode === 'host-gw');
