import type { Kernel, Owner } from '../../src/kernel/kernel.ts';
import type { Logger } from '../../src/logging.ts';
import type { Decision } from '../rib/types.ts';

/** Addresses of this node that learnt routes prefer as source. */
export type PrefSrc = { readonly 4?: string; readonly 6?: string };

export type Timers = {
	readonly set: (callback: () => void, milliseconds: number) => unknown;
	readonly clear: (timer: unknown) => void;
};

export type FibOptions = {
	readonly kernel: Pick<Kernel, 'routes' | 'listLinks' | 'listAddresses' | 'listRoutes' | 'watch'>;
	readonly log: Logger;
	readonly prefSrc: PrefSrc;
	/** Next hops of one route at most. */
	readonly maximumPaths: number;
	/** How often everything is read again although nothing seemed to happen; 90. */
	readonly resyncSeconds?: number;
	readonly timers?: Timers;
	/** Ours; bird's metric unless told otherwise. */
	readonly owner?: Owner;
	/** Where felix has a route to a node's pods, ours is left out. */
	readonly leaveToFelix?: boolean;
	/** Routes were written; the earliest `since` of the decisions that they come from. */
	readonly written?: (since: number) => void;
};

export type FibFailure = {
	readonly prefix: string;
	/** `ENETUNREACH`, … */
	readonly code: string;
	/** A full sentence. */
	readonly reason: string;
};

export type FibStatus = {
	/** Routes that should be in the kernel, and those of them that are. */
	readonly wanted: number;
	readonly programmed: number;
	/** Refused by the kernel; tried again with a growing pause, and with every other change. */
	readonly failed: readonly FibFailure[];
	/** Learnt prefixes left out since the kernel has a route of someone else for just that prefix that must win. */
	readonly withheld: readonly string[];
	/** Decided, but no next hop of it can be reached at the moment. */
	readonly unreachable: readonly string[];
	readonly converged: boolean;
};

/** `interfaces`: those it is reached by, sorted. */
export type NextHopListener = (nextHop: string, metric: number | undefined, interfaces?: readonly string[]) => void;

export type Fib = {
	/** What the RIB decided `since`; undefined: no path any more. Local and unreachable ones are not installed. */
	readonly update: (decisions: ReadonlyMap<string, Decision | undefined>, since?: number) => void;
	/** Reads the kernel; learnt routes of the last run are kept until `converged`. Rejects when the kernel cannot be read. */
	readonly start: () => Promise<void>;
	/** All expected End-of-RIBs came or the time is over: routes of the last run that nobody wants go. */
	readonly converged: () => void;
	/** Own routes found by `start`; 0 before. More than none means that forwarding state was kept (RFC 4724, F bit). */
	readonly found: number;
	/**
	 * Replaces the next hops watched. The listener hears at once about those that are new (when the kernel was read),
	 * then about every change; a next hop no longer watched is forgotten.
	 */
	readonly watchNextHops: (nextHops: Iterable<string>, onChange: NextHopListener) => void;
	/** Whether the kernel holds a route of ours for exactly this prefix. */
	readonly holds: (prefix: string) => boolean;
	/** Whether the kernel holds a blackhole route of felix for exactly this prefix. */
	readonly felixHolds: (prefix: string) => boolean;
	/** Global addresses on the link that holds this address of ours, both families. */
	readonly addressesBeside: (address: string) => readonly string[];
	/** Prefixes of single addresses on this node that felix wants announced: those it holds with the metric of fallbacks. */
	readonly felixHosts: () => readonly string[];
	/** Calls back when an answer of `felixHolds` or `felixHosts` changed; returns how to stop that. */
	readonly onFelixChange: (callback: () => void) => () => void;
	/** Next hops that are reached by a gateway, whatever the kernel says of them. */
	readonly setGateways: (gateways: ReadonlyMap<string, string>) => void;
	/** New preferred sources; routes are rewritten in place. */
	readonly setPrefSrc: (prefSrc: PrefSrc) => void;
	/** Interfaces whose routes lead to no next hop; `*` stands for any characters. */
	readonly setIgnoredInterfaces: (patterns: readonly string[]) => void;
	/** Returns when everything handed over is in the kernel, or refused by it; waits for `start`. */
	readonly flush: () => Promise<void>;
	/**
	 * Reads the kernel again and returns the prefixes found wrong or not yet written (`*`: it could not be read); they are
	 * then written. Empty: all is as it should be.
	 */
	readonly verify: () => Promise<readonly string[]>;
	readonly status: () => FibStatus;
	/** Stops. Routes stay. */
	readonly close: () => void;
};
