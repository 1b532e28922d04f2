import type { PathAttributes } from 'bgp-js-lite';
import type { FilterVerdict, JudgeRoute } from '../policy/evaluate.ts';
import type { Filter } from '../policy/types.ts';
import type { Entry } from './entries.ts';
import type { InterfacesOf } from './imports.ts';
import { forEbgp, forIbgp, pathFor, reflected } from './rewrite.ts';
import type { Path, PathSource, PeerRules, PolicyAnswer, RibFamily, RibPeer } from './types.ts';

/**
 * What of the Loc-RIB a peer gets, and with which attributes (RFC 4271 §5, §9.1.3, §9.2; RFC 1997). Peers that would
 * get the same attributes form a class; attributes are rewritten once per class and shared by all its peers.
 *
 * What BGP itself forbids comes first, then the peer's filter, and what that leaves open goes by the session's own policy.
 */

/** RFC 1997 */
const NO_EXPORT = 0xffffff01;
const NO_ADVERTISE = 0xffffff02;
const NO_EXPORT_SUBCONFED = 0xffffff03;

const familyKey = { 4: '1/1', 6: '2/1' } as const;
type Prefix = Pick<Entry, 'prefix' | 'family'>;

export type Exporter = {
	/** Whether anything from there may go to such a peer; that it is its own is not looked at. */
	readonly hears: (source: PathSource) => boolean;
	/** The same for peers that hear of the same sources. */
	readonly audience: string;
	/** Whether the path goes to the peer at all: cheap, without rewriting. */
	readonly allows: (path: Path, entry: Prefix) => boolean;
	/** The attributes the peer gets, or undefined when it does not get the path. */
	readonly attributes: (path: Path, entry: Prefix) => PathAttributes | undefined;
	/** For people. */
	readonly why: (path: Path, entry: Prefix) => Omit<PolicyAnswer, 'peer'>;
};

export type ExportOptions = {
	readonly asNumber: number;
	readonly intern: (attributes: PathAttributes) => PathAttributes;
	readonly filterOf?: (filter: Filter | undefined) => JudgeRoute | undefined;
	readonly interfacesOf?: InterfacesOf;
	/** As route reflector. */
	readonly clusterId?: string;
};

export type Exporters = {
	readonly exporterOf: (peer: RibPeer) => Exporter;
	/** Forgets all rewritten attributes. */
	readonly clear: () => void;
};

/** RFC 9234 §5: what is for customers only goes neither to providers nor to peers. */
const upwards = (role: PeerRules['role']): boolean => role === 'customer' || role === 'peer' || role === 'rs-client';

/** Peers with the same rules share rewritten attributes; these two depend on its AS as well. */
const rulesKey = ({ rules, peerAS }: RibPeer): string =>
	rules === undefined
		? ''
		: ` ${JSON.stringify(rules)}${rules.asOverride === true || rules.removePrivateAS === true ? ` ${peerAS}` : ''}`;

/** No WeakMaps: the garbage collector pays for each of their entries at every turn. */
type Cache = Readonly<Record<RibFamily, Map<PathAttributes, PathAttributes>>>;

const nothing = (): undefined => undefined;
const nowhere = (): readonly string[] => [];

export const createExporters = ({
	asNumber,
	intern,
	clusterId,
	filterOf = nothing,
	interfacesOf = nowhere,
}: ExportOptions): Exporters => {
	const classes = new Map<string, Cache>();
	/** How often rewritten attributes were forgotten. */
	let sweeps = 0;

	/** Of each class, by the identifier of the peer that routes are from: the whole key is long to put together for each. */
	const bySource = new Map<string, Map<string, Cache>>();
	const reflectedOf = (own: string): Map<string, Cache> => {
		const known = bySource.get(own) ?? new Map<string, Cache>();
		bySource.set(own, known);
		return known;
	};

	const cacheOf = (key: string): Cache => {
		let cache = classes.get(key);
		if (cache === undefined) {
			cache = { 4: new Map(), 6: new Map() };
			classes.set(key, cache);
		}
		return cache;
	};

	const exporterOf = (peer: RibPeer): Exporter => {
		const { linkLocalSelf } = peer;
		const own = `${peer.source.kind} ${peer.nextHopSelf[4] ?? ''} ${peer.nextHopSelf[6] ?? ''} ${linkLocalSelf ?? ''}${rulesKey(peer)}`;
		const { rules = {} } = peer;
		const plain = cacheOf(own);
		const fromReflected = reflectedOf(own);
		const reflectedFrom = (bgpIdentifier: string): Cache => {
			const cache = fromReflected.get(bgpIdentifier) ?? cacheOf(`${own} ${bgpIdentifier}`);
			fromReflected.set(bgpIdentifier, cache);
			return cache;
		};
		const external = peer.source.kind === 'ebgp';

		/** Within the AS, from one internal peer to another: the reflector's part (RFC 4456 §6). */
		const isReflected = (source: PathSource): boolean => source.kind === 'ibgp' && !external;
		const hasReflector = (source: PathSource): boolean =>
			clusterId !== undefined && (source.client === true || peer.source.client === true);
		const mayReflect = (path: Path): boolean =>
			hasReflector(path.source) &&
			(path.attributes.originatorId ?? path.source.bgpIdentifier) !== peer.source.bgpIdentifier;

		const filter = filterOf(peer.exportFilter);
		const judge = ({ source, attributes }: Path, { prefix, family }: Prefix): FilterVerdict | undefined =>
			filter?.({
				prefix,
				family,
				attributes,
				local: source.kind === 'local',
				peerType: external ? 'eBGP' : 'iBGP',
				interfaces: () => interfacesOf(attributes.nextHop),
			});

		/** Next hops that mean nothing to the peer are replaced by ours: those on a link, and IPv6 ones of IPv4 prefixes. */
		const nextHopFor = ({ source, attributes: { nextHop } }: Path, family: RibFamily): string | undefined => {
			const keep = rules.nextHop === 'keep' || (!external && rules.nextHop !== 'self');
			if (!keep || source.kind === 'local' || nextHop === undefined) return peer.nextHopSelf[family];
			const meaningless =
				nextHop.includes('%') || (family === 4 && nextHop.includes(':') && peer.extendedNextHop !== true);
			return meaningless ? peer.nextHopSelf[family] : nextHop;
		};

		/** What BGP forbids whatever a filter says; undefined: nothing. */
		const forbids = (path: Path, family: RibFamily): string | undefined => {
			const { source, attributes } = path;
			if (source.peer === peer.source.peer) return 'it is from this peer';
			if (!peer.families.has(familyKey[family])) return 'the family is not agreed on the session';
			if (isReflected(source) && !mayReflect(path)) {
				return 'it is from another internal peer, and neither is a client of ours (RFC 4456)';
			}
			for (const community of attributes.communities ?? []) {
				if (community === NO_ADVERTISE) return 'its community is NO_ADVERTISE';
				if (external && (community === NO_EXPORT || community === NO_EXPORT_SUBCONFED)) {
					return 'its community is NO_EXPORT';
				}
			}
			// It would drop the path for the loop (§9.1.2).
			if (external && !rules.asOverride) {
				const path = rules.removePrivateAS ? pathFor(attributes, peer, asNumber) : attributes.asPath;
				if (path.some((segment) => segment.asNumbers.includes(peer.peerAS))) return "the peer's AS is in its path";
			}
			return external && attributes.onlyToCustomer !== undefined && upwards(rules.role)
				? 'it is for customers only (RFC 9234)'
				: undefined;
		};

		/** What holds where no filter says anything. */
		const withholds = (source: PathSource): string | undefined => {
			if (rules.reject) return 'nothing is told to it that no filter accepts (exportPolicy, RFC 8212)';
			return source.kind !== 'local' && !peer.exportLearnt
				? 'routes of others are told only where a filter accepts them, or with exportLearnt'
				: undefined;
		};

		const refuses = (path: Path, family: RibFamily, verdict: FilterVerdict | undefined): string | undefined => {
			const forbidden = forbids(path, family);
			if (forbidden !== undefined) return forbidden;
			if (verdict === undefined) {
				const withheld = withholds(path.source);
				if (withheld !== undefined) return withheld;
			} else if (!verdict.accept) {
				return `${verdict.rule} rejects it`;
			}
			const nextHop = verdict?.explicit?.nextHop ?? nextHopFor(path, family);
			if (nextHop === undefined) return 'there is no address of ours of its family';
			// §5.1.3: no peer is given its own address as next hop.
			return nextHop === peer.source.peerAddress ? 'the peer itself is its next hop' : undefined;
		};

		const attributesFor = (path: Path, entry: Prefix): PathAttributes | undefined => {
			const { family } = entry;
			const verdict = judge(path, entry);
			if (refuses(path, family, verdict) !== undefined) return undefined;
			const reflects = isReflected(path.source);
			const cache = (reflects ? reflectedFrom(path.source.bgpIdentifier) : plain)[family];
			const judged = verdict?.attributes ?? path.attributes;
			const known = cache.get(judged);
			if (known !== undefined) return known;
			const explicit = verdict?.explicit;
			const nextHop = explicit?.nextHop ?? (nextHopFor(path, family) as string);
			const attributes = reflects && clusterId !== undefined ? reflected(judged, path.source, clusterId) : judged;
			const second =
				linkLocalSelf !== undefined && nextHop === peer.nextHopSelf[family] && nextHop.includes(':')
					? { linkLocalNextHop: linkLocalSelf }
					: {};
			const told = external ? forEbgp(attributes, asNumber, nextHop, peer) : forIbgp(attributes, nextHop, peer);
			const rewritten = intern({ ...told, ...second, ...(explicit?.med !== undefined && { med: explicit.med }) });
			cache.set(judged, rewritten);
			return rewritten;
		};

		/** Prefixes come in runs that have all in common but themselves, and without a filter nobody asks for those. */
		let last: { source: PathSource; attributes: PathAttributes; family: RibFamily; sweeps: number } | undefined;
		let lastTold: PathAttributes | undefined;
		const attributes: Exporter['attributes'] = (path, entry) => {
			const { family } = entry;
			if (filter !== undefined) return attributesFor(path, entry);
			const known = last?.attributes === path.attributes && last.source === path.source;
			if (known && last?.family === family && last.sweeps === sweeps) return lastTold;
			lastTold = attributesFor(path, entry);
			last = { source: path.source, attributes: path.attributes, family, sweeps };
			return lastTold;
		};

		return {
			hears: (source) =>
				(!isReflected(source) || hasReflector(source)) && (filter !== undefined || withholds(source) === undefined),
			audience: [external, peer.source.client, filter !== undefined, rules.reject, peer.exportLearnt].join(' '),
			allows: (path, entry) =>
				filter === undefined
					? attributes(path, entry) !== undefined
					: refuses(path, entry.family, judge(path, entry)) === undefined,
			attributes,
			why: (path, entry) => {
				const verdict = judge(path, entry);
				const refused = refuses(path, entry.family, verdict);
				return {
					accept: refused === undefined,
					...(verdict && { rule: verdict.rule }),
					reason: refused ?? (verdict ? `${verdict.rule} accepts it` : 'no rule of a filter says otherwise'),
				};
			},
		};
	};

	return {
		exporterOf,
		clear: () => {
			sweeps++;
			for (const cache of classes.values()) {
				cache[4].clear();
				cache[6].clear();
			}
		},
	};
};
