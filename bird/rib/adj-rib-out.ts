import type { PathAttributes } from 'bgp-js-lite';
import { familyOf } from '../../src/net/ip.ts';
import type { Exporter } from './export.ts';
import { createOutgoingGroups } from './outgoing-groups.ts';
import type { Outgoing, Path, RibFamily } from './types.ts';

/**
 * What one peer was sent, and the prefixes that may have to be sent. Only the last state of a prefix counts: it is
 * looked up when it is taken, and compared with what the peer has.
 */
export type AdjRibOut = {
	readonly sent: () => ReadonlyMap<string, PathAttributes>;
	readonly sending: () => boolean;
	readonly start: (prefixes: Iterable<string>) => void;
	readonly stop: () => void;
	/** The best path of the prefix changed. */
	readonly changed: (prefix: string, family: RibFamily, best: Path | undefined) => void;
	/** Any of its paths did; for peers that get more than the best. */
	readonly pathsChanged?: (prefix: string) => void;
	/** All prefixes are to be looked at again, since the rules towards the peer changed. */
	readonly review: (exporter: Exporter, prefixes: Iterable<string>) => void;
	readonly resend: (family: RibFamily) => void;
	readonly take: (limit: number) => readonly Outgoing[];
	readonly pending: () => boolean;
};

const nothing: readonly Outgoing[] = [];

export const createAdjRibOut = (
	first: Exporter,
	bestOf: (prefix: string) => Path | undefined,
	/** Something became pending where nothing was. */
	wake: () => void = () => {},
): AdjRibOut => {
	let exporter = first;
	let sending = false;
	const sent = new Map<string, PathAttributes>();
	let pending = new Set<string>();
	/** Where the last take stopped; a set is not cheap to begin anew when its first members are gone. */
	let cursor: Iterator<string> | undefined;
	/** Pending even when the peer has just that. */
	const again = new Set<string>();

	const wait = (prefix: string): void => {
		if (pending.size === 0) wake();
		pending.add(prefix);
	};

	const drop = (): void => {
		again.clear();
		pending = new Set();
		cursor = undefined;
	};

	/** The next one pending, which then is not any more. */
	const next = (): string | undefined => {
		while (pending.size > 0) {
			cursor ??= pending.values();
			const { value, done } = cursor.next();
			if (done) cursor = undefined;
			else {
				pending.delete(value);
				return value;
			}
		}
		return undefined;
	};
	/** All that is pending where no more than `limit` are, else one after the other. */
	function* takable(limit: number): Iterable<string> {
		if (pending.size <= limit) {
			const all = pending;
			pending = new Set();
			cursor = undefined;
			yield* all;
			return;
		}
		for (let prefix = next(); prefix !== undefined; prefix = next()) yield prefix;
	}

	const wanted = (prefix: string, family: RibFamily): PathAttributes | undefined => {
		const best = bestOf(prefix);
		return best && exporter.attributes(best, family);
	};

	return {
		sent: () => sent,
		sending: () => sending,
		start: (prefixes) => {
			sending = true;
			sent.clear();
			drop();
			for (const prefix of prefixes) wait(prefix);
		},
		stop: () => {
			sending = false;
			sent.clear();
			drop();
		},
		changed: (prefix, family, best) => {
			if (!sending) return;
			if ((best !== undefined && exporter.allows(best, family)) || sent.has(prefix)) wait(prefix);
		},
		review: (next, prefixes) => {
			exporter = next;
			if (!sending) return;
			for (const prefix of prefixes) wait(prefix);
			for (const prefix of sent.keys()) wait(prefix);
		},
		resend: (family) => {
			for (const prefix of sent.keys()) {
				if (familyOf(prefix) !== family) continue;
				wait(prefix);
				again.add(prefix);
			}
		},
		take: (limit) => {
			if (pending.size === 0) return nothing;
			const groups = createOutgoingGroups();
			let taken = 0;
			for (const prefix of takable(limit)) {
				const family = familyOf(prefix);
				const attributes = wanted(prefix, family);
				const had = sent.get(prefix);
				const forced = again.size > 0 && again.delete(prefix);
				if (attributes === had && (attributes === undefined || !forced)) continue;
				if (attributes === undefined) sent.delete(prefix);
				else sent.set(prefix, attributes);
				groups.add(family, attributes, prefix);
				if (++taken >= limit) break;
			}
			return groups.list();
		},
		pending: () => {
			for (let prefix = next(); prefix !== undefined; prefix = next()) {
				if (!again.has(prefix) && wanted(prefix, familyOf(prefix)) === sent.get(prefix)) continue;
				// Back to where the others wait: the order in which prefixes are told means nothing.
				pending.add(prefix);
				return true;
			}
			return false;
		},
	};
};
