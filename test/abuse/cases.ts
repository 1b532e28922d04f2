/** What the tables of bytes are made of: see table-messages.ts and table-updates.ts. */

/** Who the peer is: its configuration and what it says in its OPEN is in sessions.ts. */
export type SessionKind =
	| 'eBGP'
	| 'iBGP'
	| 'eBGP, 2-octet AS'
	| 'eBGP, add-path'
	| 'eBGP, long messages'
	| 'eBGP, customer';

/** Where our state machine is when the bytes come. */
export type State = 'OpenSent' | 'OpenConfirm' | 'Established';

export type Reaction =
	/** The session ends with this NOTIFICATION, `code/subcode` and its data in hex, and all its routes go. */
	| { readonly notification: string }
	/** It ends, and no NOTIFICATION is sent. */
	| { readonly closed: true }
	/** The OPEN is answered by a KEEPALIVE. */
	| { readonly accepted: true }
	/** These prefixes go, the session and all other routes stay (RFC 7606 "treat as withdraw"). */
	| { readonly withdrawn: readonly string[] }
	/**
	 * The prefix is there, without these attributes (RFC 7606 "attribute discard"), or with them as given; the session and all
	 * other routes stay. Attributes are those we tell an internal peer.
	 */
	| {
			readonly announced: string;
			readonly without?: readonly number[];
			readonly attributes?: Readonly<Record<number, string>>;
	  }
	/** All stays as it was. */
	| { readonly ignored: true };

export type Case = {
	/** RFC and section that say so. */
	readonly rfc: string;
	readonly name: string;
	readonly session?: SessionKind;
	/** Established unless given. */
	readonly state?: State;
	/** Hex, headers included. */
	readonly send: string;
	readonly expect: Reaction;
};

/** Announced before every case in Established, where the session has the family. */
export const BASE = { first: '10.1.0.0/16', second: '10.2.0.0/16', ipv6: '2001:db8:a::/48' } as const;
/** The same as NLRI. */
export const NLRI = { first: '100a01', second: '100a02', third: '100a03', ipv6: '3020010db8000a' } as const;
