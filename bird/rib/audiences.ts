import type { AdjRibOut } from './adj-rib-out.ts';
import type { Exporter } from './export.ts';
import type { Path, PathSource } from './types.ts';

/**
 * The peers that are sent to, grouped by whose routes they are told at all: of what nobody in a group hears nobody in it is
 * asked. In a mesh of a thousand sessions that is every route of every peer.
 */

export type Audiences = {
	readonly join: (out: AdjRibOut, exporter: Exporter) => void;
	readonly leave: (out: AdjRibOut) => void;
	/** Those told of every path to a prefix (RFC 7911). */
	readonly ofAllPaths: () => Iterable<AdjRibOut>;
	/** Those to whom it may matter that one best path gave way to another. */
	readonly of: (before: Path | undefined, now: Path | undefined) => Iterable<AdjRibOut>;
	readonly empty: () => boolean;
};

type Audience = { readonly hears: (source: PathSource) => boolean; readonly outs: Set<AdjRibOut> };

export const createAudiences = (): Audiences => {
	const groups = new Map<string, Audience>();
	const groupOf = new Map<AdjRibOut, string>();
	const several = new Set<AdjRibOut>();

	const leave = (out: AdjRibOut): void => {
		const key = groupOf.get(out);
		if (key === undefined) return;
		groupOf.delete(out);
		several.delete(out);
		const group = groups.get(key);
		group?.outs.delete(out);
		if (group?.outs.size === 0) groups.delete(key);
	};

	return {
		join: (out, { audience, hears }) => {
			leave(out);
			groupOf.set(out, audience);
			if (out.pathsChanged !== undefined) several.add(out);
			const group = groups.get(audience);
			if (group === undefined) groups.set(audience, { hears, outs: new Set([out]) });
			else group.outs.add(out);
		},
		leave,
		ofAllPaths: () => several,
		of: function* (before, now) {
			for (const { hears, outs } of groups.values()) {
				if ((before !== undefined && hears(before.source)) || (now !== undefined && hears(now.source))) yield* outs;
			}
		},
		empty: () => groupOf.size === 0,
	};
};
