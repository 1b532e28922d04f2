import type { PathAttributes } from 'bgp-js-lite';
import { familyOf } from '../../src/net/ip.ts';
import { withCommunities } from '../policy/communities.ts';
import { asksForInterface, createFilters, sameFilter } from '../policy/filters.ts';
import { type AdjRibOut, createAdjRibOut } from './adj-rib-out.ts';
import { createAdjRibOutPaths } from './adj-rib-out-paths.ts';
import { createInterner } from './attributes.ts';
import { createDecision } from './decision.ts';
import { createExporters } from './export.ts';
import { createImports, createJudgeImport, type Imports, importAnswer, type JudgeImport } from './imports.ts';
import type { Decision, Path, PathSource, Rib, RibFamily, RibPeer } from './types.ts';

/**
 * The RIBs of one speaker (RFC 4271 §3.2), pure: what comes in marks prefixes, and whoever takes something out first
 * has the marked ones decided. Lists of paths are copied when they change, so a decision is a value that stays.
 *
 * Calls that name a peer never added, or removed, change nothing: a last UPDATE may be on its way from a session that
 * just ended. A decision counts as changed when its peers or attributes changed, not when a path only became stale.
 */

export type RibOptions = {
	readonly asNumber: number;
	/** At least 1. */
	readonly maximumPaths: number;
	/** Our BGP identifier, to know our own routes when reflectors bring them back (RFC 4456 §8). */
	readonly routerId?: string;
	/** As route reflector: the cluster our clients and we are (RFC 4456 §7). */
	readonly clusterId?: string;
	/** Called now and then while many prefixes are decided. */
	readonly pulse?: () => void;
};

/** Decisions between two pulses: some ten milliseconds of work. */
const PULSE = 4096;

type Entry = {
	readonly prefix: string;
	readonly family: RibFamily;
	paths: readonly Path[];
	decision: Decision | undefined;
	/** What the last take gave out. */
	delivered: Decision | undefined;
};

type Peer = {
	state: RibPeer;
	/** Adj-RIB-In. */
	readonly received: Readonly<Record<RibFamily, Map<string, Path>>>;
	readonly imports: Imports;
	judge: JudgeImport;
	/** How many of its paths go by each next hop. */
	readonly nextHops: Map<string, number>;
	out: AdjRibOut;
	/** Its session came up since its paths were last marked stale. */
	fresh: boolean;
};

const families = [4, 6] as const;
const localSource: PathSource = { peer: 'local', kind: 'local', bgpIdentifier: '', peerAddress: '' };
const localAttributes: PathAttributes = { origin: 'igp', asPath: [] };
const noPaths: readonly Path[] = [];

const samePath = (a: Path | undefined, b: Path | undefined): boolean =>
	a === b ||
	(a !== undefined &&
		b !== undefined &&
		a.attributes === b.attributes &&
		a.source.peer === b.source.peer &&
		a.source.kind === b.source.kind &&
		a.source.client === b.source.client);

const sameDecision = (a: Decision | undefined, b: Decision | undefined): boolean =>
	a === b ||
	(a !== undefined &&
		b !== undefined &&
		a.multipath.length === b.multipath.length &&
		samePath(a.best, b.best) &&
		a.multipath.every((path, i) => samePath(path, b.multipath[i])));

const sameSource = (a: PathSource, b: PathSource): boolean =>
	a.kind === b.kind && a.bgpIdentifier === b.bgpIdentifier && a.peerAddress === b.peerAddress && a.client === b.client;

const sameList = (a: readonly string[], b: readonly string[]): boolean =>
	a.length === b.length && a.every((one, i) => one === b[i]);

const sameImport = (a: RibPeer, b: RibPeer): boolean =>
	(a.rejectImport ?? false) === (b.rejectImport ?? false) && sameFilter(a.importFilter, b.importFilter);

export const createRib = ({ asNumber, maximumPaths, routerId, clusterId, pulse }: RibOptions): Rib => {
	const entries = new Map<string, Entry>();
	const peers = new Map<string, Peer>();
	const metrics = new Map<string, number>();
	/** What we originate. */
	let local: ReadonlyMap<string, Path> = new Map();
	/** Interfaces next hops are reached by. */
	const interfaces = new Map<string, readonly string[]>();
	const interfacesOf = (nextHop: string | undefined): readonly string[] => interfaces.get(nextHop ?? '') ?? [];
	const filters = createFilters();
	/** Entries whose paths, or whose next hops, changed since they were decided. */
	const undecided = new Set<Entry>();
	/** Entries whose decision may differ from the one delivered. */
	const changed = new Set<Entry>();
	let nextHopSet: ReadonlySet<string> | undefined;

	const {
		decide: decidePrefix,
		why,
		usable,
	} = createDecision({
		asNumber,
		maximumPaths,
		metricOf: (nextHop) => metrics.get(nextHop),
		...(routerId === undefined ? {} : { routerId }),
		...(clusterId === undefined ? {} : { clusterId }),
	});

	function* liveAttributes(): Iterable<PathAttributes> {
		for (const entry of entries.values()) {
			for (const path of entry.paths) yield path.attributes;
			for (const path of entry.decision?.multipath ?? noPaths) yield path.attributes;
			for (const path of entry.delivered?.multipath ?? noPaths) yield path.attributes;
		}
		for (const { out, imports } of peers.values()) {
			yield* out.sent().values();
			yield* imports.told();
		}
	}
	const interner = createInterner(liveAttributes, () => exporters.clear());
	const exporters = createExporters({
		asNumber,
		intern: interner.intern,
		filterOf: filters.compiled,
		interfacesOf,
		...(clusterId === undefined ? {} : { clusterId }),
	});
	/** Path identifiers we give, by where a path is from; never given twice. */
	const pathIds = new Map<string, number>();
	const idOf = ({ source, pathId }: Path): number => {
		const key = `${source.peer} ${pathId ?? ''}`;
		let id = pathIds.get(key);
		if (id === undefined) {
			id = pathIds.size + 1;
			pathIds.set(key, id);
		}
		return id;
	};
	const pathsOf = (prefix: string): readonly Path[] => {
		const entry = entries.get(prefix);
		const chosen = entry?.decision?.multipath ?? noPaths;
		const best = entry?.decision?.best;
		const first = best === undefined ? chosen : [best, ...chosen.filter((path) => path !== best)];
		return [...first, ...(entry?.paths ?? noPaths).filter((path) => !first.includes(path) && usable(path))];
	};
	const outOf = (state: RibPeer): AdjRibOut => {
		const exporter = exporters.exporterOf(state);
		return state.addPath === undefined
			? createAdjRibOut(exporter, bestOf)
			: createAdjRibOutPaths(exporter, pathsOf, idOf, state.addPath);
	};
	const judgeOf = (state: RibPeer): JudgeImport =>
		createJudgeImport(state, filters.compiled(state.importFilter), interfacesOf);
	const bestOf = (prefix: string): Path | undefined => entries.get(prefix)?.decision?.best;

	const entryOf = (prefix: string, family: RibFamily): Entry => {
		let entry = entries.get(prefix);
		if (entry === undefined) {
			entry = { prefix, family, paths: noPaths, decision: undefined, delivered: undefined };
			entries.set(prefix, entry);
		}
		return entry;
	};

	const replacePath = (entry: Entry, old: Path | undefined, path: Path | undefined): void => {
		if (old === undefined) entry.paths = path === undefined ? entry.paths : [...entry.paths, path];
		else if (path === undefined) entry.paths = entry.paths.filter((other) => other !== old);
		else entry.paths = entry.paths.map((other) => (other === old ? path : other));
		undecided.add(entry);
	};

	const countNextHop = (peer: Peer, nextHop: string | undefined, by: 1 | -1): void => {
		if (nextHop === undefined) return;
		const count = (peer.nextHops.get(nextHop) ?? 0) + by;
		if (count === 0) peer.nextHops.delete(nextHop);
		else peer.nextHops.set(nextHop, count);
		if (count === 0 || (count === 1 && by === 1)) nextHopSet = undefined;
	};

	/** `key`: prefix, and path identifier where the session has them. */
	const put = (peer: Peer, family: RibFamily, key: string, path: Path | undefined): void => {
		const told = peer.received[family].get(key);
		if (told === undefined && path === undefined) return;
		const { before, now } = peer.imports.put(family, key, path);
		// Those of paths as told too: by which interface they are reached may be what a filter asks.
		const hops = [told, before === told ? undefined : before].map((one) => one?.attributes.nextHop);
		const nextHops = [path, now === path ? undefined : now].map((one) => one?.attributes.nextHop);
		if (hops[0] !== nextHops[0] || hops[1] !== nextHops[1]) {
			for (const hop of nextHops) countNextHop(peer, hop, 1);
			for (const hop of hops) countNextHop(peer, hop, -1);
		}
		const prefix = (path ?? told)?.prefix;
		if (before !== now && prefix !== undefined) replacePath(entryOf(prefix, family), before, now);
	};

	/** The peer's filters changed, or what they ask: its paths are judged again. */
	const judgeAgain = (peer: Peer): void => {
		for (const family of families) {
			for (const [key, path] of peer.received[family]) put(peer, family, key, path);
		}
	};

	/** A prefix that came and went leaves nothing behind. */
	const forget = (entry: Entry): void => {
		if (entry.paths.length > 0 || entry.decision !== undefined || entry.delivered !== undefined) return;
		if (entries.get(entry.prefix) === entry) entries.delete(entry.prefix);
	};

	const decide = (): void => {
		if (undecided.size === 0) return;
		const outs = [...peers.values()].map((peer) => peer.out).filter((out) => out.sending());
		let done = 0;
		for (const entry of undecided) {
			if (++done % PULSE === 0) pulse?.();
			const before = entry.decision;
			const decision = decidePrefix(entry.prefix, entry.paths);
			entry.decision = decision;
			for (const out of outs) out.pathsChanged?.(entry.prefix);
			if (sameDecision(before, decision)) {
				forget(entry);
				continue;
			}
			changed.add(entry);
			if (samePath(before?.best, decision?.best)) continue;
			for (const out of outs) out.changed(entry.prefix, entry.family, decision?.best);
		}
		undecided.clear();
	};

	const clearPeer = (peer: Peer, family: RibFamily, goes: (path: Path) => boolean): void => {
		for (const [prefix, path] of peer.received[family]) if (goes(path)) put(peer, family, prefix, undefined);
	};

	return {
		addPeer: (state) => {
			const exporter = exporters.exporterOf(state);
			const known = peers.get(state.source.peer);
			if (known === undefined) {
				const received = { 4: new Map<string, Path>(), 6: new Map<string, Path>() };
				const peer: Peer = {
					state,
					received,
					imports: createImports(received, () => peer.judge, interner.intern),
					judge: judgeOf(state),
					nextHops: new Map(),
					out: outOf(state),
					fresh: true,
				};
				peers.set(state.source.peer, peer);
				return;
			}
			const moved = !sameSource(known.state.source, state.source);
			const before = known.state;
			known.state = state;
			known.fresh = true;
			if ((before.addPath?.paths ?? 0) === (state.addPath?.paths ?? 0)) known.out.review(exporter, entries.keys());
			else {
				// Only with a new session, which starts sending anew.
				known.out = outOf(state);
			}
			known.judge = judgeOf(state);
			if (!moved) {
				if (!sameImport(before, state)) judgeAgain(known);
				return;
			}
			for (const family of families) {
				for (const [prefix, path] of known.received[family]) {
					put(known, family, prefix, { ...path, source: state.source });
				}
			}
		},

		announce: (name, family, prefixes, attributes) => {
			const peer = peers.get(name);
			if (peer === undefined) return;
			const shared = interner.intern(attributes);
			const { source } = peer.state;
			for (const key of prefixes) {
				const old = peer.received[family].get(key);
				if (old !== undefined && old.attributes === shared && !old.stale) continue;
				const blank = key.indexOf(' ');
				const path = { source, attributes: shared, stale: false };
				if (blank < 0) put(peer, family, key, { prefix: key, ...path });
				else put(peer, family, key, { prefix: key.slice(0, blank), ...path, pathId: Number(key.slice(blank + 1)) });
			}
		},

		withdraw: (name, family, prefixes) => {
			const peer = peers.get(name);
			if (peer === undefined) return;
			for (const prefix of prefixes) put(peer, family, prefix, undefined);
		},

		markStale: (name, kept, doubtful = false) => {
			const peer = peers.get(name);
			if (peer === undefined) return;
			peer.out.stop();
			for (const family of families) {
				if (!kept.includes(family)) {
					clearPeer(peer, family, () => true);
					continue;
				}
				// RFC 4724 §4.2: what is stale since an earlier restart does not stay for another one.
				if (peer.fresh) clearPeer(peer, family, (path) => path.stale);
				for (const [prefix, path] of peer.received[family]) {
					if (!path.stale) put(peer, family, prefix, { ...path, stale: true, ...(doubtful && { doubtful }) });
				}
			}
			peer.fresh = false;
		},

		expectAgain: (name, family) => {
			const peer = peers.get(name);
			if (peer === undefined) return;
			for (const [prefix, path] of peer.received[family]) {
				if (!path.stale) put(peer, family, prefix, { ...path, stale: true });
			}
		},

		sweepStale: (name, family) => {
			const peer = peers.get(name);
			if (peer !== undefined) clearPeer(peer, family, (path) => path.stale);
		},

		removePeer: (name) => {
			const peer = peers.get(name);
			if (peer === undefined) return;
			for (const family of families) clearPeer(peer, family, () => true);
			peers.delete(name);
			nextHopSet = undefined;
		},

		setLocal: (prefixes, communities = {}) => {
			const next = new Map<string, Path>();
			for (const prefix of prefixes) {
				const attributes = interner.intern(withCommunities(localAttributes, communities[prefix] ?? []));
				next.set(prefix, { prefix, source: localSource, attributes, stale: false });
			}
			for (const [prefix, path] of local) {
				if (!next.has(prefix)) replacePath(entryOf(prefix, familyOf(prefix)), path, undefined);
			}
			for (const [prefix, path] of next) {
				const before = local.get(prefix);
				if (before?.attributes === path.attributes) next.set(prefix, before);
				else replacePath(entryOf(prefix, familyOf(prefix)), before, path);
			}
			local = next;
		},

		setNextHop: (nextHop, metric, devs = []) => {
			if (!sameList(interfacesOf(nextHop), devs)) {
				if (devs.length === 0) interfaces.delete(nextHop);
				else interfaces.set(nextHop, devs);
				for (const peer of peers.values()) {
					const { importFilter, exportFilter } = peer.state;
					if (importFilter && asksForInterface(importFilter)) judgeAgain(peer);
					if (exportFilter && asksForInterface(exportFilter)) {
						peer.out.review(exporters.exporterOf(peer.state), entries.keys());
					}
				}
			}
			if (metrics.get(nextHop) === metric) return;
			if (metric === undefined) metrics.delete(nextHop);
			else metrics.set(nextHop, metric);
			for (const peer of peers.values()) {
				if (!peer.nextHops.has(nextHop)) continue;
				for (const family of families) {
					for (const [key, told] of peer.received[family]) {
						const path = peer.imports.of(family, key, told);
						if (path?.attributes.nextHop === nextHop) undecided.add(entryOf(path.prefix, family));
					}
				}
			}
		},

		nextHops: () => {
			if (nextHopSet === undefined) {
				nextHopSet = new Set([...peers.values()].flatMap((peer) => [...peer.nextHops.keys()]));
			}
			return nextHopSet;
		},

		takeDecisions: () => {
			decide();
			const taken = new Map<string, Decision | undefined>();
			for (const entry of changed) {
				if (!sameDecision(entry.delivered, entry.decision)) {
					taken.set(entry.prefix, entry.decision);
					entry.delivered = entry.decision;
				}
				forget(entry);
			}
			changed.clear();
			return taken;
		},

		startSending: (name) => {
			decide();
			peers.get(name)?.out.start(entries.keys());
		},
		takeOutgoing: (name, limit) => {
			decide();
			return peers.get(name)?.out.take(limit) ?? [];
		},
		hasOutgoing: (name) => {
			decide();
			return peers.get(name)?.out.pending() ?? false;
		},
		resend: (name, family) => peers.get(name)?.out.resend(family),

		adjRibIn: (name) => families.flatMap((family) => [...(peers.get(name)?.received[family].values() ?? [])]),
		adjRibOut: (name) => new Map(peers.get(name)?.out.sent()),
		locRib: () => {
			decide();
			const table = new Map<string, Decision>();
			for (const { prefix, decision } of entries.values()) if (decision !== undefined) table.set(prefix, decision);
			return table;
		},
		prefixes: () => entries.keys(),
		explain: (prefix) => {
			decide();
			const entry = entries.get(prefix);
			if (entry === undefined) return [];
			const verdicts = why(prefix, entry.paths);
			return entry.paths.map((path) => ({ path, ...(verdicts.get(path) ?? { use: 'none', reason: '' }) }));
		},
		policyOf: (prefix) => {
			decide();
			const family = familyOf(prefix);
			const listed = [...peers.values()].filter(({ state }) => state.families.size > 0);
			return {
				imports: listed.flatMap(({ received, judge, state }) =>
					[...received[family].values()]
						.filter((path) => path.prefix === prefix)
						.map((path) => ({ peer: state.source.peer, path, ...importAnswer(judge(path, family)) })),
				),
				exports: listed.map(({ state }) => {
					const best = bestOf(prefix);
					const exporter = exporters.exporterOf(state);
					const told = best && exporter.attributes(best, family);
					const answer =
						best === undefined ? { accept: false, reason: 'no path to it is used' } : exporter.why(best, family);
					return { peer: state.source.peer, ...answer, ...(told && { told }) };
				}),
			};
		},
		counts: (name) => {
			const peer = peers.get(name);
			const byFamily = { 4: peer?.received[4].size ?? 0, 6: peer?.received[6].size ?? 0 };
			return {
				received: byFamily[4] + byFamily[6],
				receivedByFamily: byFamily,
				advertised: peer?.out.sent().size ?? 0,
			};
		},
	};
};
