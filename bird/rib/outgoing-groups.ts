import type { PathAttributes } from 'bgp-js-lite';
import type { Outgoing, RibFamily } from './types.ts';

/** What a peer is to be told, gathered by family and attributes, so that prefixes of the same attributes share messages. */
export type OutgoingGroups = {
	/** `prefix` with an identifier behind a blank where the peer gets several paths; no attributes: withdrawn. */
	readonly add: (family: RibFamily, attributes: PathAttributes | undefined, prefix: string) => void;
	/** IPv4 first. */
	readonly list: () => readonly Outgoing[];
};

export const createOutgoingGroups = (): OutgoingGroups => {
	const groups = {
		4: new Map<PathAttributes | undefined, string[]>(),
		6: new Map<PathAttributes | undefined, string[]>(),
	};
	return {
		add: (family, attributes, prefix) => {
			const group = groups[family].get(attributes);
			if (group === undefined) groups[family].set(attributes, [prefix]);
			else group.push(prefix);
		},
		list: () => {
			const outgoing: Outgoing[] = [];
			for (const family of [4, 6] as const) {
				for (const [attributes, prefixes] of groups[family]) {
					outgoing.push(attributes === undefined ? { family, prefixes } : { family, attributes, prefixes });
				}
			}
			return outgoing;
		},
	};
};
