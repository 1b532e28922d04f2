import type { Lab } from '../plan.ts';

/** A BGP implementation the lab runs as top-of-rack router. */
export type Router = {
	/** Programs it needs, as src/lab/system-packages.ts knows them. */
	readonly programs: readonly string[];
	/** As `lab status` tells it. */
	readonly software: string;
	/** Path and text of its configuration; `folder` is its own. */
	readonly files: (lab: Lab, folder: string) => readonly (readonly [path: string, text: string])[];
	/** What runs in the router's namespace, in the foreground. */
	readonly processes: (
		lab: Lab,
		folder: string,
	) => readonly { readonly name: string; readonly argv: readonly string[] }[];
};
