/**
 * A rule of a filter for routes as a value: what BGPFilter objects say, and what the speaker's filters judge by. All that is
 * given of a rule must match; the first that matches decides.
 */

/** `minLength` is the CIDR's own and `maxLength` that of a host unless given; a Not turns the whole around. */
export type PrefixMatch = {
	/** Canonical. */
	readonly cidr: string;
	readonly operator: 'Equal' | 'NotEqual' | 'In' | 'NotIn';
	readonly minLength?: number;
	readonly maxLength?: number;
};

/** Communities are `aa:nn` (RFC 1997) or `aa:nn:mm` (RFC 8092). */
export type RouteOperation =
	| { readonly type: 'addCommunity'; readonly value: string }
	| { readonly type: 'removeCommunity'; readonly value: string }
	/** Instead of all there are, of both kinds. */
	| { readonly type: 'setCommunities'; readonly values: readonly string[] }
	/** The path then begins with these. */
	| { readonly type: 'prependASPath'; readonly asNumbers: readonly number[] }
	| { readonly type: 'setLocalPref'; readonly value: number }
	| { readonly type: 'setMed'; readonly value: number }
	| { readonly type: 'setNextHop'; readonly address: string }
	| { readonly type: 'setPriority'; readonly value: number };

export type RouteRule = {
	readonly prefix?: PrefixMatch;
	/** Only what came from peers, not what is ours. */
	readonly remoteOnly?: boolean;
	/** Interface of the next hop; `*` stands for any characters, `?` for one. */
	readonly interface?: string;
	readonly peerType?: 'eBGP' | 'iBGP';
	/** Each of them. */
	readonly communities?: readonly string[];
	/** What the path begins with. */
	readonly asPathPrefix?: readonly number[];
	readonly priority?: number;
	readonly action: 'Accept' | 'Reject';
	/** In order. */
	readonly operations?: readonly RouteOperation[];
};
