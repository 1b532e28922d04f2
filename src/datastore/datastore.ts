import type { Kind, ManxObject } from '../api/objects.ts';

/**
 * The one stream of typed changes everything else lives on, whatever its source (directory or kubernetes).
 * Changes arrive in batches; a batch is applied as one.
 */

export type Change =
	| { readonly type: 'set'; readonly object: ManxObject }
	| { readonly type: 'delete'; readonly kind: Kind; readonly key: string };

/** An object or file that was refused. The last good version of the object stays in force. */
export type Refusal = {
	/** File path, or the API's resource path. */
	readonly source: string;
	/** `Kind namespace/name`, or '' when the text could not be read that far. */
	readonly object: string;
	/** Path of the field, `spec.podCIDRs[0]`, or ''. */
	readonly field: string;
	readonly reason: string;
};

export type DatastoreEvent = {
	readonly changes: readonly Change[];
	/** True from the first moment on at which everything that existed at start has been delivered. */
	readonly inSync: boolean;
	/** Every object written before generation N was declared is in this or an earlier event (directory only; else 0). */
	readonly generation: number;
};

/** How a source that can go away is doing. */
export type DatastoreStatus = {
	/** Everything has been read, and nothing keeps it from staying up to date. */
	readonly connected: boolean;
	/** RFC 3339; '' before the first answer. */
	readonly lastContact: string;
	/** Seconds since the source was last heard, by kind. */
	readonly ages: Readonly<Partial<Record<Kind, number>>>;
	/** Why it is not connected; '' when it is. */
	readonly lastError: string;
};

export type Datastore = {
	/** Starts delivery; the first event with `inSync` comes even if there is no object at all. */
	readonly start: (listener: (event: DatastoreEvent) => void) => void;
	readonly refusals: () => readonly Refusal[];
	readonly status?: () => DatastoreStatus;
	readonly close: () => Promise<void>;
};
