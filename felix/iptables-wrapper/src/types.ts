/** Contract of the package; see README.md. Family, backend and names only: no word of Kubernetes or Manx here. */

export type Family = 4 | 6;
export type Backend = 'legacy' | 'nft';
export type Table = 'raw' | 'mangle' | 'nat' | 'filter';

/** Runs a program with text on stdin; `code` is its exit status. Injected, so tests and netns are the caller's matter. */
export type Run = (
	file: string,
	args: readonly string[],
	input?: string,
) => Promise<{ readonly code: number; readonly stdout: string; readonly stderr: string }>;

export type ToolError = {
	/** What was tried, what the tool said (the line and rule it named), what to do. */
	readonly message: string;
	readonly code: number;
	readonly stderr: string;
	/** The rule that was refused, where one is known. */
	readonly rule?: { readonly table: string; readonly chain: string; readonly body: string };
};

/** What a comparison with the kernel found. */
export type Resync = {
	readonly drifted: readonly string[];
	readonly error?: ToolError;
};

/** A rule that leads from a chain that is not ours into one that is; its text is a rule body like those of chains. */
export type Hook = {
	readonly table: Table;
	/** Built-in or foreign chain: FORWARD, PREROUTING ... */
	readonly chain: string;
	/**
	 * First rule of the chain (kept first); or last when it was appended (its place is not fought over); or kept before
	 * the first rule that rejects or drops everything, itself or by a jump to a chain that does (ufw, firewalld), and
	 * appended where there is none.
	 */
	readonly position: 'first' | 'append' | 'before-reject';
	readonly rule: string;
};

/** Everything wanted of one family: whole content of every chain that bears the owner's prefix, and the hooks. */
export type Ruleset = {
	/** Key `TABLE CHAIN`; rule bodies in order, e.g. `-i manx+ -m conntrack --ctstate ESTABLISHED -j ACCEPT`. */
	readonly chains: ReadonlyMap<string, readonly string[]>;
	readonly hooks: readonly Hook[];
};

export type ApplyResult = {
	/** `TABLE CHAIN` of chains written or deleted, `TABLE CHAIN hook` of hooks put back. Empty: nothing was to do. */
	readonly changed: readonly string[];
	readonly error?: ToolError;
	/** Sets that are not there, or are another's under a name of ours: no rule may rest on them. With the reason. */
	readonly unusable?: ReadonlyMap<string, string>;
	/** Sets that lack members they should have. With the reason. */
	readonly incomplete?: ReadonlyMap<string, string>;
	/** Whether `error` says no more than these two, and everything else was written. */
	readonly partial?: boolean;
};

/**
 * Keeps chains of one family and backend as wanted. Owned are all chains whose name begins with the prefix, and rules
 * elsewhere that jump to them. The first apply reads the kernel once (iptables-save); later ones write the difference
 * against what was written, without reading. One iptables-restore --noflush per apply, with only the changed chains.
 */
export type Chains = {
	readonly apply: (wanted: Ruleset) => Promise<ApplyResult>;
	/**
	 * Reads back; returns what differs from the last applied as `TABLE CHAIN`, so that the next apply mends it. No apply
	 * waits for it: what one writes meanwhile is not judged.
	 */
	readonly resync: () => Promise<Resync>;
	/** Packet and byte counters of one chain's rules, in order. */
	readonly counters: (
		table: Table,
		chain: string,
	) => Promise<readonly { readonly packets: number; readonly bytes: number }[]>;
	/** Deletes all that is owned, hooks first. */
	readonly remove: () => Promise<ToolError | undefined>;
};

export type SetType = 'hash:ip' | 'hash:net' | 'hash:ip,port' | 'hash:net,iface' | 'hash:net,port';

export type IpsetSpec = {
	readonly name: string;
	readonly type: SetType;
	readonly family: Family;
	/** Members as ipset prints them: `10.0.0.1`, `10.0.0.0/8`, `10.0.0.1,tcp:80`, `10.0.0.1,manx0123` . */
	readonly members: ReadonlySet<string>;
};

/**
 * Keeps sets as wanted. Owned are all sets whose name begins with the prefix. Rules need sets to exist first and to go
 * last: `applyAdditions` creates sets and adds members, `applyRemovals` deletes members and destroys sets.
 */
export type Ipsets = {
	/** Replaces what is wanted; no I/O. Costs work in proportion to the difference when the Set objects are the same. */
	readonly want: (sets: ReadonlyMap<string, IpsetSpec>) => void;
	/** `except`: sets that stay as they are for now, if they are there. */
	readonly applyAdditions: (except?: ReadonlySet<string>) => Promise<ApplyResult>;
	/** The first part of `applyRemovals`: the members, not the sets. `only`: of no other sets. */
	readonly removeMembers: (only?: ReadonlySet<string>) => Promise<ApplyResult>;
	readonly applyRemovals: () => Promise<ApplyResult>;
	/** As that of chains: no apply waits for it. */
	readonly resync: () => Promise<Resync>;
	readonly remove: () => Promise<ToolError | undefined>;
};

/*
 * What index.ts exports besides these types:
 *
 *   createChains({ family, backend, prefix: 'MANX-', run, lockSeconds? }): Chains
 *   createIpsets({ prefix: 'manx-', run }): Ipsets
 *   detectBackend(run, family, ownPrefix = 'MANX-'): Promise<{ backend: Backend, reason: string, mixed: boolean }>
 *       the one the host's other rules use; nft when there are none and both work
 *       rules and chains of the owner do not count
 *   parseSave(text): tables, chains, rules     normaliseRule(text): the canonical form two spellings of one rule share
 */
