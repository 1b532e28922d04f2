import type { PathAttributes } from 'bgp-js-lite';
import { familyOf } from '../../src/net/ip.ts';
import type { AdjRibOut } from './adj-rib-out.ts';
import type { Exporter } from './export.ts';
import { createOutgoingGroups } from './outgoing-groups.ts';
import type { Path, RibPeer } from './types.ts';

/**
 * Adj-RIB-Out of a peer that gets several paths to a prefix (RFC 7911). As adj-rib-out.ts, but a path is known by prefix and
 * identifier; the identifier stands for where we have the path from, so that it stays the same while the path changes.
 */

const familyKey = { 4: '1/1', 6: '2/1' } as const;

const prefixOf = (key: string): string => {
	const blank = key.indexOf(' ');
	return blank < 0 ? key : key.slice(0, blank);
};

export const createAdjRibOutPaths = (
	first: Exporter,
	/** Those that can be used, the best first. */
	pathsOf: (prefix: string) => readonly Path[],
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
	const keysOf = new Map<string, Set<string>>();
	const pending = new Set<string>();
	const again = new Set<string>();

	const wait = (prefix: string): void => {
		if (pending.size === 0) wake();
		pending.add(prefix);
	};

	const clear = (): void => {
		sent.clear();
		keysOf.clear();
		pending.clear();
		again.clear();
	};

	const wanted = (prefix: string): Map<string, PathAttributes> => {
		const found = new Map<string, PathAttributes>();
		const family = familyOf(prefix);
		const several = families.has(familyKey[family]);
		for (const path of several ? pathsOf(prefix) : pathsOf(prefix).slice(0, 1)) {
			if (found.size >= most) break;
			const attributes = exporter.attributes(path, family);
			if (attributes !== undefined) found.set(several ? `${prefix} ${idOf(path)}` : prefix, attributes);
		}
		return found;
	};

	const differs = (prefix: string): boolean => {
		const want = wanted(prefix);
		const have = keysOf.get(prefix) ?? new Set();
		return want.size !== have.size || [...want].some(([key, attributes]) => sent.get(key) !== attributes);
	};

	const put = (key: string, attributes: PathAttributes | undefined): void => {
		const prefix = prefixOf(key);
		const keys = keysOf.get(prefix) ?? new Set();
		if (attributes === undefined) {
			sent.delete(key);
			keys.delete(key);
		} else {
			sent.set(key, attributes);
			keys.add(key);
		}
		if (keys.size === 0) keysOf.delete(prefix);
		else keysOf.set(prefix, keys);
	};

	return {
		sent: () => sent,
		sending: () => sending,
		start: (prefixes) => {
			sending = true;
			clear();
			for (const prefix of prefixes) wait(prefix);
		},
		stop: () => {
			sending = false;
			clear();
		},
		changed: (prefix) => {
			if (sending) wait(prefix);
		},
		pathsChanged: (prefix) => {
			if (sending) wait(prefix);
		},
		review: (next, prefixes) => {
			exporter = next;
			if (!sending) return;
			for (const prefix of prefixes) wait(prefix);
			for (const prefix of keysOf.keys()) wait(prefix);
		},
		resend: (family) => {
			for (const prefix of keysOf.keys()) {
				if (familyOf(prefix) !== family) continue;
				wait(prefix);
				again.add(prefix);
			}
		},
		take: (limit) => {
			if (pending.size === 0) return [];
			const groups = createOutgoingGroups();
			let taken = 0;
			for (const prefix of pending) {
				if (taken >= limit) break;
				pending.delete(prefix);
				const forced = again.delete(prefix);
				const want = wanted(prefix);
				const family = familyOf(prefix);
				const tell = (key: string, attributes: PathAttributes | undefined): void => {
					put(key, attributes);
					groups.add(family, attributes, key);
					taken++;
				};
				for (const key of [...(keysOf.get(prefix) ?? [])]) if (!want.has(key)) tell(key, undefined);
				for (const [key, attributes] of want) if (forced || sent.get(key) !== attributes) tell(key, attributes);
			}
			return groups.list();
		},
		pending: () => {
			for (const prefix of pending) {
				if (again.has(prefix) || differs(prefix)) return true;
				pending.delete(prefix);
			}
			return false;
		},
	};
};
