import {
	bitsOf,
	type Cidr,
	contains,
	type Family,
	familyOf,
	formatAddress,
	formatCidr,
	parseAddress,
	parseCidr,
} from '../../src/net/ip.ts';

/**
 * Addresses for the node's pods, out of its podCIDRs, at most one a family and owner. Pure: the veths are the database
 * (allocations are restored from their aliases), release times come from and go to a file of the caller.
 *
 * Order: addresses never used, ascending; then the least recently released; one released within the last
 * {@link quarantineMs} only when nothing else is free. An address is never given out twice, whatever happens to the
 * podCIDRs: pods keep theirs when a CIDR goes. Memory is that of the addresses in use and of at most
 * {@link maxReleased} released ones (beyond that the oldest is taken before one never used), however big a CIDR is.
 */
export const quarantineMs = 60_000;
export const maxReleased = 4096;

export type Allocation =
	| { readonly ok: true; readonly addresses: readonly string[] }
	| { readonly ok: false; readonly error: string };

/** Epoch milliseconds at which an address became free. */
export type Released = { readonly address: string; readonly at: number };

export type PoolUsage = {
	readonly cidr: string;
	/** Addresses pods can have. */
	readonly size: bigint;
	readonly used: number;
};

export type Ipam = {
	/**
	 * The podCIDRs, canonical; may change at any time. Pods keep addresses outside of them. Addresses in `taken` are given
	 * to nobody: pods elsewhere have them.
	 */
	readonly setPools: (cidrs: readonly string[], taken?: ReadonlySet<string>) => void;
	/** Marks what an owner has. Returns those that another owner has already: they stay the other's. */
	readonly restore: (owner: string, addresses: readonly string[]) => readonly string[];
	/** One address of each family that has a CIDR; all or nothing. The same again for an owner that has them. */
	readonly allocate: (owner: string) => Allocation;
	/** Frees the owner's addresses as of now. */
	readonly release: (owner: string) => readonly string[];
	/** Takes back an allocation that nobody has seen: free at once, no quarantine. */
	readonly cancel: (owner: string) => void;
	/** Release times from before a restart. Ignored for addresses in use. */
	readonly restoreReleased: (entries: Iterable<Released>) => void;
	/** Oldest first. */
	readonly released: () => readonly Released[];
	readonly addressesOf: (owner: string) => readonly string[];
	readonly usage: () => readonly PoolUsage[];
};

type Pool = Cidr & {
	readonly text: string;
	/** First and last address a pod can have. */
	readonly first: bigint;
	readonly last: bigint;
	/** Everything usable below is in use or released. */
	next: bigint;
};

const makePool = (text: string): Pool | undefined => {
	const cidr = parseCidr(text);
	if (cidr === undefined) return undefined;
	const host = bitsOf(cidr.family) - cidr.length;
	// RFC 3021 and RFC 6164: in a prefix of two addresses or one, each is a host's.
	const first = host >= 2 ? cidr.value + 1n : cidr.value;
	const end = cidr.value + (1n << BigInt(host)) - 1n;
	return { ...cidr, text: formatCidr(cidr), first, last: cidr.family === 4 && host >= 2 ? end - 1n : end, next: first };
};

export const createIpam = ({ clock }: { readonly clock: { readonly now: () => number } }): Ipam => {
	let pools: readonly Pool[] = [];
	let taken: ReadonlySet<string> = new Set();
	const ownerOf = new Map<string, string>();
	const byOwner = new Map<string, readonly string[]>();
	/** Free addresses once used, in the order of their release. */
	const released = new Map<string, number>();
	/** Release times of addresses taken from `released`, should their allocation be cancelled. */
	const formerly = new Map<string, number>();

	const inPools = (address: string): boolean => {
		const parsed = parseAddress(address);
		return parsed !== undefined && pools.some((pool) => contains(pool, parsed) && usable(pool, parsed.value));
	};
	const usable = (pool: Pool, value: bigint): boolean => value >= pool.first && value <= pool.last;

	const neverUsed = (family: Family): string | undefined => {
		for (const pool of pools) {
			if (pool.family !== family) continue;
			for (; pool.next <= pool.last; pool.next++) {
				const address = formatAddress({ family, value: pool.next });
				if (ownerOf.has(address) || released.has(address)) continue;
				// Passed over now and not looked at again: once it is free it counts as released long ago.
				if (taken.has(address)) released.set(address, 0);
				else return address;
			}
		}
		return undefined;
	};

	const leastRecentlyReleased = (family: Family): Released | undefined => {
		const now = clock.now();
		for (const [address, at] of released) {
			if (taken.has(address)) continue;
			if (familyOf(address) === family && inPools(address)) return { address, at };
			// Of a CIDR that went: forget it once its quarantine is over. Should the CIDR return, it counts as never used.
			if (now - at >= quarantineMs && !inPools(address)) released.delete(address);
		}
		return undefined;
	};

	const pick = (family: Family): string | undefined => {
		if (released.size > maxReleased) {
			const oldest = leastRecentlyReleased(family);
			if (oldest !== undefined && clock.now() - oldest.at >= quarantineMs) return oldest.address;
		}
		return neverUsed(family) ?? leastRecentlyReleased(family)?.address;
	};

	const usage = (): PoolUsage[] =>
		pools.map((pool) => {
			let used = 0;
			for (const address of ownerOf.keys()) {
				const parsed = parseAddress(address);
				if (parsed !== undefined && contains(pool, parsed)) used++;
			}
			return { cidr: pool.text, size: pool.last - pool.first + 1n, used };
		});

	const exhausted = (family: Family): string => {
		const full = usage().filter((pool) => familyOf(pool.cidr) === family);
		const counts = full.map((pool) => `${pool.used} of ${pool.size} addresses of ${pool.cidr} in use`).join(', ');
		return `no free IPv${family} address on this node: ${counts}. Remove pods or give the node another podCIDR`;
	};

	const releasedAt = (entries: readonly (readonly [string, number])[]): void => {
		released.clear();
		for (const [address, at] of [...entries].sort((a, b) => a[1] - b[1])) released.set(address, at);
	};

	const forget = (owner: string): readonly string[] => {
		const addresses = byOwner.get(owner) ?? [];
		byOwner.delete(owner);
		for (const address of addresses) ownerOf.delete(address);
		return addresses;
	};

	return {
		setPools: (cidrs, takenElsewhere = taken) => {
			taken = takenElsewhere;
			const old = new Map(pools.map((pool) => [pool.text, pool]));
			pools = cidrs.flatMap((text) => {
				const pool = makePool(text);
				return pool === undefined ? [] : [old.get(pool.text) ?? pool];
			});
		},
		restore: (owner, addresses) => {
			const conflicts = addresses.filter((address) => (ownerOf.get(address) ?? owner) !== owner);
			const own = addresses.filter((address) => !conflicts.includes(address));
			for (const address of own) {
				ownerOf.set(address, owner);
				released.delete(address);
			}
			byOwner.set(owner, [...new Set([...(byOwner.get(owner) ?? []), ...own])]);
			return conflicts;
		},
		allocate: (owner) => {
			const had = byOwner.get(owner);
			if (had !== undefined && had.length > 0) return { ok: true, addresses: had };
			const families = ([4, 6] as const).filter((family) => pools.some((pool) => pool.family === family));
			if (families.length === 0) return { ok: false, error: 'this node has no podCIDR yet' };
			const addresses: string[] = [];
			for (const family of families) {
				const address = pick(family);
				if (address === undefined) return { ok: false, error: exhausted(family) };
				addresses.push(address);
			}
			for (const address of addresses) {
				ownerOf.set(address, owner);
				const at = released.get(address);
				if (at !== undefined) formerly.set(address, at);
				released.delete(address);
			}
			byOwner.set(owner, addresses);
			return { ok: true, addresses };
		},
		release: (owner) => {
			const addresses = forget(owner);
			for (const address of addresses) {
				formerly.delete(address);
				released.set(address, clock.now());
			}
			return addresses;
		},
		cancel: (owner) => {
			for (const address of forget(owner)) {
				const at = formerly.get(address);
				formerly.delete(address);
				if (at !== undefined) {
					releasedAt([...released, [address, at]]);
					continue;
				}
				const parsed = parseAddress(address);
				for (const pool of pools) {
					if (parsed === undefined || !contains(pool, parsed) || !usable(pool, parsed.value)) continue;
					if (parsed.value < pool.next) pool.next = parsed.value;
				}
			}
		},
		restoreReleased: (entries) => {
			const now = clock.now();
			const free = [...entries].filter(({ address }) => !ownerOf.has(address) && parseAddress(address) !== undefined);
			releasedAt([...released, ...free.map(({ address, at }) => [address, Math.min(at, now)] as const)]);
		},
		released: () => [...released].map(([address, at]) => ({ address, at })),
		addressesOf: (owner) => byOwner.get(owner) ?? [],
		usage,
	};
};
