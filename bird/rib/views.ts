import type { AdjRibIn } from './adj-rib-in.ts';
import type { AdjRibOut } from './adj-rib-out.ts';
import type { DecisionProcess } from './decision.ts';
import type { Entries } from './entries.ts';
import type { Exporter } from './export.ts';
import { importAnswer, type JudgeImport } from './imports.ts';
import type { Decision, Rib, RibPeer } from './types.ts';

/** What the RIBs hold, for those who look in. */

export type PeerView = {
	readonly state: RibPeer;
	readonly in: AdjRibIn;
	readonly judge: JudgeImport;
	readonly out: AdjRibOut;
};

export type ViewPorts = {
	readonly peers: ReadonlyMap<string, PeerView>;
	readonly entries: Entries;
	readonly decision: Pick<DecisionProcess, 'why'>;
	readonly decide: () => void;
	readonly exporterOf: (peer: RibPeer) => Exporter;
};

type Views = Pick<
	Rib,
	'adjRibIn' | 'adjRibOut' | 'locRib' | 'prefixes' | 'size' | 'rejected' | 'explain' | 'policyOf' | 'counts'
>;

export const createViews = ({ peers, entries, decision, decide, exporterOf }: ViewPorts): Views => ({
	adjRibIn: (name) =>
		[...(peers.get(name)?.in.received.entries() ?? [])].map(([{ prefix }, , path]) => ({ prefix, ...path })),
	adjRibOut: (name) => new Map(peers.get(name)?.out.sent()),
	locRib: () => {
		decide();
		const table = new Map<string, Decision>();
		for (const { prefix, decision } of entries.all()) if (decision !== undefined) table.set(prefix, decision);
		return table;
	},
	prefixes: function* () {
		for (const { prefix } of entries.all()) yield prefix;
	},
	size: () => {
		const sizes = { 4: 0, 6: 0 };
		for (const { family } of entries.all()) sizes[family]++;
		return sizes;
	},
	rejected: () => [...peers.values()].flatMap((peer) => [...peer.in.rejected()]),
	explain: (prefix) => {
		decide();
		const entry = entries.find(prefix);
		if (entry === undefined) return [];
		const verdicts = decision.why(entry.paths);
		return entry.paths.map((path) => ({
			path: { prefix, ...path },
			...(verdicts.get(path) ?? { use: 'none', reason: '' }),
		}));
	},
	policyOf: (prefix) => {
		decide();
		const entry = entries.of(prefix);
		const { family } = entry;
		const best = entry.decision?.best;
		const listed = [...peers.values()].filter(({ state }) => state.families.size > 0);
		const answer = {
			imports: listed.flatMap(({ in: { received }, judge, state }) =>
				[...received.of(entry)].map((path) => ({
					peer: state.source.peer,
					path: { prefix, ...path },
					...importAnswer(judge(path, prefix, family)),
				})),
			),
			exports: listed.map(({ state }) => {
				const exporter = exporterOf(state);
				const told = best && exporter.attributes(best, entry);
				const why = best && exporter.why(best, entry);
				const peer = { peer: state.source.peer };
				return { ...peer, ...(why ?? { accept: false, reason: 'no path to it is used' }), ...(told && { told }) };
			}),
		};
		entries.retire(entry);
		return answer;
	},
	counts: (name) => {
		const peer = peers.get(name);
		const byFamily = { 4: peer?.in.received.size(4) ?? 0, 6: peer?.in.received.size(6) ?? 0 };
		return {
			received: byFamily[4] + byFamily[6],
			receivedByFamily: byFamily,
			advertised: peer?.out.size() ?? 0,
		};
	},
});
