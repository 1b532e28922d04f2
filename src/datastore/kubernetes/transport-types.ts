import type { Failure } from './failure.ts';

/** What a reflector needs of the network: one resource's list and watch. Nothing is called after `Cancel`. */

export type Cancel = () => void;

export type ListQuery = {
	/** `0`: from the server's cache, however old; a version: from the cache, not older; `''`: what is true now. */
	readonly resourceVersion: string;
	readonly limit?: number;
	readonly continue?: string;
};

/** `continue` is '' on the last page. */
export type ListEnd = { readonly resourceVersion: string; readonly continue: string };

export type ListHandlers = {
	/** Something came. */
	readonly alive: () => void;
	readonly item: (raw: unknown) => void;
	readonly done: (end: ListEnd) => void;
	readonly failed: (failure: Failure) => void;
};

export type WatchQuery = { readonly resourceVersion: string; readonly timeoutSeconds: number };

export type WatchHandlers = {
	readonly alive: () => void;
	/** The server has accepted the watch. */
	readonly opened: () => void;
	readonly event: (raw: unknown) => void;
	/** The server has ended it in good order. */
	readonly ended: () => void;
	readonly failed: (failure: Failure) => void;
};

export type Transport = {
	readonly list: (query: ListQuery, handlers: ListHandlers) => Cancel;
	readonly watch: (query: WatchQuery, handlers: WatchHandlers) => Cancel;
};

export type Clock = {
	/** Milliseconds, never going back. */
	readonly now: () => number;
	readonly after: (milliseconds: number, run: () => void) => Cancel;
	/** In [0, 1). */
	readonly random: () => number;
};
