/**
 * What the speaker needs of TCP, as a port: tests bring their own. One connection carries one BGP session.
 * Handlers are never called from within a call into the connection.
 */

export type ConnectionHandlers = {
	readonly data: (chunk: Uint8Array) => void;
	/** The connection is gone, by whatever cause but our own close; in words. Called once. */
	readonly closed: (reason: string) => void;
	/** Buffers have room again after `send` said they are full. */
	readonly drained: () => void;
};

export type Connection = {
	/** Canonical text, no zone, IPv4 never written as an IPv6 address. */
	readonly remoteAddress: string;
	readonly remotePort: number;
	readonly localAddress: string;
	readonly localPort: number;
	/** Interface of link-local addresses; '' for others. */
	readonly interface: string;
	/** Bytes are held back until somebody attaches. */
	readonly attach: (handlers: ConnectionHandlers) => void;
	/** False: buffers are full; what was given is sent all the same, but no more should be before `drained`. */
	readonly send: (messages: readonly Uint8Array[]) => boolean;
	/** Signs and checks with another password from now on; false: it cannot. Both ends must change before they give up. */
	readonly rekey?: (password: string) => boolean;
	/** Milliseconds for which the peer has acknowledged nothing of what waits for it; 0 when nothing does. */
	readonly unheardFor?: () => number;
	/** Sends what is buffered, then closes. What still comes in is thrown away. */
	readonly close: () => void;
	/** Closes at once. */
	readonly destroy: () => void;
};

export type DialTarget = {
	readonly address: string;
	readonly port: number;
	readonly localAddress?: string;
	/** Needed for a link-local address. */
	readonly interface?: string;
	/** Signs and checks every segment (RFC 2385). */
	readonly password?: string;
	/** Segments with a lower TTL are dropped (RFC 5082). */
	readonly minimumTtl?: number;
};
export type DialHandlers = {
	readonly connected: (connection: Connection) => void;
	readonly failed: (reason: string) => void;
};

export type ListenTarget = { readonly address: string; readonly port: number };
/** What the kernel asks of connections from a prefix before anybody hears of them. */
export type Protection = {
	/** Canonical, also for a single address. */
	readonly prefix: string;
	readonly password?: string;
	readonly minimumTtl?: number;
};
export type ListenHandlers = {
	readonly connection: (connection: Connection) => void;
	/** Listening began, or failed: it is tried again. */
	readonly listening: () => void;
	readonly failed: (reason: string) => void;
};
export type Listener = {
	/** Ends listening; connections made stay. */
	readonly close: () => Promise<void>;
	/** Replaces all protections; connections made keep theirs. */
	readonly protect: (protections: readonly Protection[]) => void;
};

export type Transport = {
	/** Returns what ends the dial; no handler is called after that. */
	readonly dial: (target: DialTarget, handlers: DialHandlers) => () => void;
	readonly listen: (target: ListenTarget, protections: readonly Protection[], handlers: ListenHandlers) => Listener;
};
