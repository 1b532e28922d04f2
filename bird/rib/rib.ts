import type { PathAttributes } from 'bgp-js-lite';
import { withCommunities } from '../policy/communities.ts';
import { asksForInterface, createFilters, sameFilter } from '../policy/filters.ts';
import { createAdjRibIn } from './adj-rib-in.ts';
import { type AdjRibOut, createAdjRibOut } from './adj-rib-out.ts';
import { createAdjRibOutPaths } from './adj-rib-out-paths.ts';
import { createInterner } from './attributes.ts';
import { createAudiences } from './audiences.ts';
import { createDecision } from './decision.ts';
import { type Entry, noPaths } from './entries.ts';
import { createExporters, type Exporter } from './export.ts';
import { createJudgeImport, type JudgeImport } from './imports.ts';
import { createLocRib } from './loc-rib.ts';
import { createPathIds } from './path-ids.ts';
import type { Path, PathSource, Rib, RibPeer } from './types.ts';
import { createViews, type PeerView } from './views.ts';

/**
 * The RIBs of one speaker (RFC 4271 §3.2), pure: what comes in marks prefixes, and whoever takes something out first
 * has the marked ones decided. Lists of paths are copied when they change, so a decision is a value that stays. Prefixes
 * that come in a run with the same attributes share path, list and decision: of a prefix there is its entry, and no more.
 *
 * Calls that name a peer never added, or removed, change nothing: a last UPDATE may be on its way from a session that
 * just ended.
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

type Peer = PeerView & {
	state: RibPeer;
	judge: JudgeImport;
	out: AdjRibOut;
	/** Its session came up since its paths were last marked stale. */
	fresh: boolean;
};

const families = [4, 6] as const;
const localSource: PathSource = { peer: 'local', kind: 'local', bgpIdentifier: '', peerAddress: '' };
const localAttributes: PathAttributes = { origin: 'igp', asPath: [] };

const sameSource = (a: PathSource, b: PathSource): boolean =>
	a.kind === b.kind &&
	a.bgpIdentifier === b.bgpIdentifier &&
	a.peerAddress === b.peerAddress &&
	a.client === b.client &&
	a.allowOwnAS === b.allowOwnAS;

const sameList = (a: readonly string[], b: readonly string[]): boolean =>
	a.length === b.length && a.every((one, i) => one === b[i]);

const sameImport = (a: RibPeer, b: RibPeer): boolean =>
	(a.rejectImport ?? false) === (b.rejectImport ?? false) && sameFilter(a.importFilter, b.importFilter);

/** A prefix, perhaps with an identifier behind a blank. */
const named = <E>(
	key: string,
	of: (prefix: string) => E,
): { readonly entry: E; readonly pathId: number | undefined } => {
	const blank = key.indexOf(' ');
	if (blank < 0) return { entry: of(key), pathId: undefined };
	return { entry: of(key.slice(0, blank)), pathId: Number(key.slice(blank + 1)) };
};

export const createRib = ({ asNumber, maximumPaths, routerId, clusterId, pulse }: RibOptions): Rib => {
	const peers = new Map<string, Peer>();
	const metrics = new Map<string, number>();
	/** What we originate. */
	let local: ReadonlyMap<string, Path> = new Map();
	/** Interfaces next hops are reached by. */
	const interfaces = new Map<string, readonly string[]>();
	const interfacesOf = (nextHop: string | undefined): readonly string[] => interfaces.get(nextHop ?? '') ?? [];
	const filters = createFilters();
	let nextHopSet: ReadonlySet<string> | undefined;
	/** Attributes of theirs may be in nobody's use any more. */
	let peersGone = false;
	const audiences = createAudiences();
	/** Peers for whom something became pending. */
	let waiting = new Set<string>();

	const decision = createDecision({
		asNumber,
		maximumPaths,
		metricOf: (nextHop) => metrics.get(nextHop),
		...(routerId === undefined ? {} : { routerId }),
		...(clusterId === undefined ? {} : { clusterId }),
	});
	const locRib = createLocRib({
		decide: decision.decide,
		audiences,
		isHeld: (entry) => {
			for (const peer of peers.values()) if (peer.in.holds(entry) || peer.out.holds(entry)) return true;
			return false;
		},
		...(pulse && { pulse }),
	});
	const { entries, decide, replacePath } = locRib;

	function* liveAttributes(): Iterable<PathAttributes> {
		yield* locRib.attributes();
		for (const peer of peers.values()) {
			for (const [, attributes] of peer.out.sent()) yield attributes;
			yield* peer.in.told();
		}
	}
	const interner = createInterner(liveAttributes, () => {
		exporters.clear();
		decision.forget();
	});
	const exporters = createExporters({
		asNumber,
		intern: interner.intern,
		filterOf: filters.compiled,
		interfacesOf,
		...(clusterId === undefined ? {} : { clusterId }),
	});
	function* livePaths(): Iterable<Path> {
		for (const entry of entries.all()) yield* entry.paths;
	}
	const idOf = createPathIds(livePaths);
	const pathsOf = ({ paths, decision: chosen }: Entry): readonly Path[] => {
		const best = chosen?.best;
		const used = chosen?.multipath ?? noPaths;
		const first = best === undefined ? used : [best, ...used.filter((path) => path !== best)];
		return [...first, ...paths.filter((path) => !first.includes(path) && decision.usable(path))];
	};
	const outOf = (state: RibPeer): AdjRibOut => {
		const exporter = exporters.exporterOf(state);
		const wake = (): void => {
			waiting.add(state.source.peer);
		};
		return state.addPath === undefined
			? createAdjRibOut(exporter, entries, wake)
			: createAdjRibOutPaths(exporter, pathsOf, idOf, state.addPath, wake);
	};
	/** What a peer may be told: no more than there is of those it hears of. All of it is looked at for a new session. */
	const tellable = (name: string, { hears }: Exporter): Iterable<Entry> => {
		const heard = [...peers.values()].filter(({ state: { source } }) => source.peer !== name && hears(source));
		const received = heard.map((peer) => peer.in.received);
		const count = received.reduce((sum, { size }) => sum + size(4) + size(6), local.size);
		if (count >= entries.size()) return entries.all();
		const told = [...(hears(localSource) ? local.keys() : [])].map(entries.of);
		for (const paths of received) for (const [entry] of paths.entries()) told.push(entry);
		return told;
	};
	const judgeOf = (state: RibPeer): JudgeImport =>
		createJudgeImport(state, filters.compiled(state.importFilter), interfacesOf);
	return {
		addPeer: (state) => {
			const exporter = exporters.exporterOf(state);
			const known = peers.get(state.source.peer);
			if (known === undefined) {
				const adjRibIn = createAdjRibIn({
					judge: () => peer.judge,
					intern: interner.intern,
					table: entries,
					replacePath,
					nextHopsChanged: () => {
						nextHopSet = undefined;
					},
				});
				const peer: Peer = { state, in: adjRibIn, judge: judgeOf(state), out: outOf(state), fresh: true };
				peers.set(state.source.peer, peer);
				return;
			}
			const moved = !sameSource(known.state.source, state.source);
			const before = known.state;
			known.state = state;
			known.fresh = true;
			if ((before.addPath?.paths ?? 0) === (state.addPath?.paths ?? 0)) {
				if (known.out.sending()) audiences.join(known.out, exporter);
				known.out.review(exporter, known.out.sending() ? tellable(state.source.peer, exporter) : []);
			} else {
				// Only with a new session, which starts sending anew.
				audiences.leave(known.out);
				known.out = outOf(state);
			}
			known.judge = judgeOf(state);
			if (!moved) {
				if (!sameImport(before, state)) known.in.judgeAgain();
				return;
			}
			for (const family of families) known.in.change(family, (path) => ({ ...path, source: state.source }));
		},

		announce: (name, _family, prefixes, attributes) => {
			const peer = peers.get(name);
			if (peer === undefined) return;
			const shared = interner.intern(attributes);
			const { source } = peer.state;
			const path: Path = { source, attributes: shared, stale: false };
			for (const key of prefixes) {
				const { entry, pathId } = named(key, entries.of);
				const old = peer.in.received.get(entry, pathId);
				if (old !== undefined && old.attributes === shared && !old.stale) continue;
				peer.in.put(entry, pathId, pathId === undefined ? path : { ...path, pathId }, old);
			}
		},

		withdraw: (name, _family, prefixes) => {
			const peer = peers.get(name);
			if (peer === undefined) return;
			for (const key of prefixes) {
				const { entry, pathId } = named(key, entries.find);
				if (entry !== undefined) peer.in.put(entry, pathId, undefined, peer.in.received.get(entry, pathId));
			}
		},

		markStale: (name, kept, doubtful = false) => {
			const peer = peers.get(name);
			if (peer === undefined) return;
			peer.out.stop();
			audiences.leave(peer.out);
			for (const family of families) {
				if (!kept.includes(family)) {
					peer.in.clear(family, () => true);
					continue;
				}
				// RFC 4724 §4.2: what is stale since an earlier restart does not stay for another one.
				if (peer.fresh) peer.in.clear(family, (path) => path.stale);
				peer.in.change(family, (path) =>
					path.stale ? undefined : { ...path, stale: true, ...(doubtful && { doubtful }) },
				);
			}
			peer.fresh = false;
		},

		expectAgain: (name, family) => {
			peers.get(name)?.in.change(family, (path) => (path.stale ? undefined : { ...path, stale: true }));
		},

		sweepStale: (name, family) => {
			peers.get(name)?.in.clear(family, (path) => path.stale);
		},

		removePeer: (name) => {
			const peer = peers.get(name);
			if (peer === undefined) return;
			for (const family of families) peer.in.clear(family, () => true);
			audiences.leave(peer.out);
			peers.delete(name);
			nextHopSet = undefined;
			peersGone = true;
		},

		setLocal: (prefixes, communities = {}) => {
			const next = new Map<string, Path>();
			for (const prefix of prefixes) {
				const attributes = interner.intern(withCommunities(localAttributes, communities[prefix] ?? []));
				next.set(prefix, { source: localSource, attributes, stale: false });
			}
			for (const [prefix, path] of local) {
				if (!next.has(prefix)) replacePath(entries.of(prefix), path, undefined);
			}
			for (const [prefix, path] of next) {
				const before = local.get(prefix);
				if (before?.attributes === path.attributes) next.set(prefix, before);
				else replacePath(entries.of(prefix), before, path);
			}
			local = next;
		},

		setNextHop: (nextHop, metric, devs = []) => {
			if (!sameList(interfacesOf(nextHop), devs)) {
				if (devs.length === 0) interfaces.delete(nextHop);
				else interfaces.set(nextHop, devs);
				for (const peer of peers.values()) {
					const { importFilter, exportFilter } = peer.state;
					if (importFilter && asksForInterface(importFilter)) peer.in.judgeAgain();
					if (exportFilter && asksForInterface(exportFilter)) {
						const exporter = exporters.exporterOf(peer.state);
						peer.out.review(exporter, tellable(peer.state.source.peer, exporter));
					}
				}
			}
			if (metrics.get(nextHop) === metric) return;
			if (metric === undefined) metrics.delete(nextHop);
			else metrics.set(nextHop, metric);
			for (const peer of peers.values()) {
				if (!peer.in.nextHops.has(nextHop)) continue;
				for (const entry of peer.in.by(nextHop)) locRib.touch(entry);
			}
		},

		nextHops: () => {
			if (nextHopSet === undefined) {
				const used = new Set([...peers.values()].flatMap((peer) => [...peer.in.nextHops.keys()]));
				// The resolver follows these alone, and tells the metric of one that comes back.
				for (const nextHop of metrics.keys()) if (!used.has(nextHop)) metrics.delete(nextHop);
				nextHopSet = used;
			}
			return nextHopSet;
		},

		takeDecisions: (limit) => {
			const taken = locRib.take(limit);
			if (peersGone && !locRib.inPortions()) {
				peersGone = false;
				interner.shrink(2 * entries.size());
			}
			return taken;
		},
		undecided: locRib.inPortions,

		startSending: (name) => {
			decide();
			const peer = peers.get(name);
			if (peer === undefined) return;
			const exporter = exporters.exporterOf(peer.state);
			audiences.join(peer.out, exporter);
			peer.out.start(tellable(name, exporter));
		},
		takeOutgoing: (name, limit) => {
			if (!locRib.inPortions()) decide();
			return peers.get(name)?.out.take(limit) ?? [];
		},
		hasOutgoing: (name) => {
			if (!locRib.inPortions()) decide();
			const pending = peers.get(name)?.out.pending() ?? false;
			if (!pending) entries.tidy();
			return pending;
		},
		takeWaiting: () => {
			const taken = waiting;
			if (taken.size > 0) waiting = new Set();
			return taken;
		},
		resend: (name, family) => peers.get(name)?.out.resend(family),

		...createViews({ peers, entries, decision, decide, exporterOf: exporters.exporterOf }),
	};
};
