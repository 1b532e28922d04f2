import type { TtlRule } from './ttl-filter.ts';

/** What BFD needs of UDP, as a port. Nothing throws; what fails says why in words. */

export const SINGLE_HOP_PORT = 3784;
export const MULTIHOP_PORT = 4784;

export type Endpoint = {
	readonly localAddress: string;
	/** Bound to it. */
	readonly interface?: string;
};

export type Opened<T> = { readonly ok: true; readonly socket: T } | { readonly ok: false; readonly error: string };

export type Listener = {
	/** Who may send, and with which TTL at least. */
	readonly allow: (rules: readonly TtlRule[]) => void;
	readonly close: () => void;
};

export type Sender = {
	/** With TTL 255, always from the same port (RFC 5881 §4). `failed`: later, in words. */
	readonly send: (bytes: Uint8Array, failed: (reason: string) => void) => void;
	readonly close: () => void;
};

export type BfdSockets = {
	/** `source` is canonical text without a zone. */
	readonly listen: (
		at: Endpoint & { readonly port: number },
		received: (bytes: Uint8Array, source: string) => void,
	) => Opened<Listener>;
	readonly sender: (from: Endpoint & { readonly address: string; readonly port: number }) => Opened<Sender>;
};
