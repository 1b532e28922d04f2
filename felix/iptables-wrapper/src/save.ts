/** Reads what `iptables-save -c` and `ip6tables-save -c` print, of either backend. */

export type SavedRule = {
	/** Body as printed, without `-A CHAIN`. */
	readonly text: string;
	readonly packets: number;
	readonly bytes: number;
};

export type SavedChain = {
	/** ACCEPT or DROP of a built-in chain; undefined for a user-defined one. */
	readonly policy: string | undefined;
	readonly rules: readonly SavedRule[];
};

/** Chains by name, by table name. */
export type ParsedSave = ReadonlyMap<string, ReadonlyMap<string, SavedChain>>;

type Growing = { readonly policy: string | undefined; readonly rules: SavedRule[] };

/** Parses a whole save; lines it does not know (comments, warnings) are passed over. Counters are 0 without `-c`. */
export const parseSave = (text: string): ParsedSave => {
	const tables = new Map<string, Map<string, Growing>>();
	let chains = new Map<string, Growing>();
	for (const line of text.split('\n')) {
		const first = line.charCodeAt(0);
		if (first === 42 /* * */) {
			const name = line.slice(1).trim();
			chains = tables.get(name) ?? new Map();
			tables.set(name, chains);
		} else if (first === 58 /* : */) {
			const [name, policy] = line.slice(1).split(' ');
			if (name) chains.set(name, { policy: policy === '-' ? undefined : policy, rules: [] });
		} else if (first === 91 /* [ */ || first === 45 /* - */) {
			const match = /^(?:\[(\d+):(\d+)\] )?-A (\S+) ?(.*)$/.exec(line);
			if (match === null) continue;
			const [, packets = '0', bytes = '0', chain = '', body = ''] = match;
			let saved = chains.get(chain);
			if (saved === undefined) {
				saved = { policy: undefined, rules: [] };
				chains.set(chain, saved);
			}
			saved.rules.push({ text: body, packets: Number(packets), bytes: Number(bytes) });
		}
	}
	return tables;
};
