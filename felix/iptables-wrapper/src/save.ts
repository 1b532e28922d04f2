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

/** Takes a save line by line; lines it does not know (comments, warnings) are passed over. */
const createReader = () => {
	const tables = new Map<string, Map<string, Growing>>();
	let chains = new Map<string, Growing>();
	const take = (line: string): void => {
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
			if (match === null) return;
			const [, packets = '0', bytes = '0', chain = '', body = ''] = match;
			let saved = chains.get(chain);
			if (saved === undefined) {
				saved = { policy: undefined, rules: [] };
				chains.set(chain, saved);
			}
			saved.rules.push({ text: body, packets: Number(packets), bytes: Number(bytes) });
		}
	};
	return { tables, take };
};

/** Parses a whole save. Counters are 0 without `-c`. */
export const parseSave = (text: string): ParsedSave => {
	const { tables, take } = createReader();
	for (const line of text.split('\n')) take(line);
	return tables;
};

const linesAtOnce = 1024;

/** The same, letting others go on in between. */
export const parseSaveSlowly = async (text: string, pause: () => Promise<void>): Promise<ParsedSave> => {
	const { tables, take } = createReader();
	let from = 0;
	for (let count = 1; from < text.length; count++) {
		const at = text.indexOf('\n', from);
		const end = at < 0 ? text.length : at;
		take(text.slice(from, end));
		from = end + 1;
		if (count % linesAtOnce === 0) await pause();
	}
	return tables;
};
