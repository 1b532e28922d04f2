import type { PathAttributes } from 'bgp-js-lite';
import type { AdjRibOut } from './adj-rib-out.ts';
import type { Entry } from './entries.ts';
import type { Exporter } from './export.ts';
import { createOutgoingGroups } from './outgoing-groups.ts';
import type { Path, RibPeer } from './types.ts';

/**
 * Adj-RIB-Out of a peer that gets several paths to a prefix (RFC 7911). As adj-rib-out.ts, but a path is known by prefix and
 * identifier; the identifier stands for where we have the path from, so that it stays the same while the path changes.
 */

const familyKey = { 4: '1/1', 6: '2/1' } as const;

export const createAdjRibOutPaths = (
	first: Exporter,
	/** Those that can be used, the best first. */
	pathsOf: (entry: Entry) => readonly Path[],
	idOf: (path: Path) => number,
	/** In other families than these the peer gets the best alone. */
	{ families, paths: most }: NonNullable<RibPeer['addPath']>,
	/** Something became pending where nothing was. */
	wake: () => void = () => {},
): AdjRibOut => {
	let exporter = first;
	let sending = false;
	const sent = new Map<string, PathAttributes>();
	/** Keys in `sent` of one prefix. */
	const keysOf = new Map<Entry, Set<string>>();
	const pending = new Set<Entry>();
	const again = new Set<Entry>();

	const wait = (entry: Entry): void => {
		if (pending.size === 0) wake();
		pending.add(entry);
	};

	const clear = (): void => {
		sent.clear();
		keysOf.clear();
		pending.clear();
		again.clear();
	};

	const wanted = (entry: Entry): Map<string, PathAttributes> => {
		const found = new Map<string, PathAttributes>();
		const several = families.has(familyKey[entry.family]);
		for (const path of several ? pathsOf(entry) : pathsOf(entry).slice(0, 1)) {
			if (found.size >= most) break;
			const attributes = exporter.attributes(path, entry);
			if (attributes !== undefined) found.set(several ? `${entry.prefix} ${idOf(path)}` : entry.prefix, attributes);
		}
		return found;
	};

	const differs = (entry: Entry): boolean => {
		const want = wanted(entry);
		const have = keysOf.get(entry) ?? new Set();
		return want.size !== have.size || [...want].some(([key, attributes]) => sent.get(key) !== attributes);
	};

	const put = (entry: Entry, key: string, attributes: PathAttributes | undefined): void => {
		const keys = keysOf.get(entry) ?? new Set();
		if (attributes === undefined) {
			sent.delete(key);
			keys.delete(key);
		} else {
			sent.set(key, attributes);
			keys.add(key);
		}
		if (keys.size === 0) keysOf.delete(entry);
		else keysOf.set(entry, keys);
	};
	const changed = (entry: Entry): void => {
		if (sending) wait(entry);
	};

	return {
		sent: () => sent,
		size: () => sent.size,
		sending: () => sending,
		start: (entries) => {
			sending = true;
			clear();
			for (const entry of entries) wait(entry);
		},
		stop: () => {
			sending = false;
			clear();
		},
		changed,
		pathsChanged: changed,
		review: (next, entries) => {
			exporter = next;
			if (!sending) return;
			for (const entry of entries) wait(entry);
			for (const entry of keysOf.keys()) wait(entry);
		},
		resend: (family) => {
			for (const entry of keysOf.keys()) {
				if (entry.family !== family) continue;
				wait(entry);
				again.add(entry);
			}
		},
		take: (limit) => {
			if (pending.size === 0) return [];
			const groups = createOutgoingGroups();
			let taken = 0;
			for (const entry of pending) {
				if (taken >= limit) break;
				pending.delete(entry);
				const forced = again.delete(entry);
				const want = wanted(entry);
				const tell = (key: string, attributes: PathAttributes | undefined): void => {
					put(entry, key, attributes);
					groups.add(entry.family, attributes, key);
					taken++;
				};
				for (const key of [...(keysOf.get(entry) ?? [])]) if (!want.has(key)) tell(key, undefined);
				for (const [key, attributes] of want) if (forced || sent.get(key) !== attributes) tell(key, attributes);
			}
			return groups.list();
		},
		pending: () => {
			for (const entry of pending) {
				if (again.has(entry) || differs(entry)) return true;
				pending.delete(entry);
			}
			return false;
		},
		holds: (entry) => pending.has(entry) || keysOf.has(entry),
	};
};
