import type { PathAttributes } from 'bgp-js-lite';
import { forEbgp, forIbgp, pathFor, reflected } from './rewrite.ts';
import type { Path, PathSource, PeerRules, RibFamily, RibPeer } from './types.ts';

/**
 * What of the Loc-RIB a peer gets, and with which attributes (RFC 4271 §5, §9.1.3, §9.2; RFC 1997). Peers that would
 * get the same attributes form a class; attributes are rewritten once per class and shared by all its peers.
 */

/** RFC 1997 */
const NO_EXPORT = 0xffffff01;
const NO_ADVERTISE = 0xffffff02;
const NO_EXPORT_SUBCONFED = 0xffffff03;

const familyKey = { 4: '1/1', 6: '2/1' } as const;
export type Exporter = {
	/** Whether the path goes to the peer at all: cheap, without rewriting. */
	readonly allows: (path: Path, family: RibFamily) => boolean;
	/** The attributes the peer gets, or undefined when it does not get the path. */
	readonly attributes: (path: Path, family: RibFamily) => PathAttributes | undefined;
};

export type ExportOptions = {
	readonly asNumber: number;
	readonly intern: (attributes: PathAttributes) => PathAttributes;
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

type Cache = { 4: WeakMap<PathAttributes, PathAttributes>; 6: WeakMap<PathAttributes, PathAttributes> };

export const createExporters = ({ asNumber, intern, clusterId }: ExportOptions): Exporters => {
	const classes = new Map<string, Cache>();

	const cacheOf = (key: string): Cache => {
		let cache = classes.get(key);
		if (cache === undefined) {
			cache = { 4: new WeakMap(), 6: new WeakMap() };
			classes.set(key, cache);
		}
		return cache;
	};

	const exporterOf = (peer: RibPeer): Exporter => {
		const { linkLocalSelf } = peer;
		const own = `${peer.source.kind} ${peer.nextHopSelf[4] ?? ''} ${peer.nextHopSelf[6] ?? ''} ${linkLocalSelf ?? ''}${rulesKey(peer)}`;
		const { rules = {} } = peer;
		const plain = cacheOf(own);
		const external = peer.source.kind === 'ebgp';

		/** Within the AS, from one internal peer to another: the reflector's part (RFC 4456 §6). */
		const isReflected = (source: PathSource): boolean => source.kind === 'ibgp' && !external;
		const mayReflect = (path: Path): boolean =>
			clusterId !== undefined &&
			(path.source.client === true || peer.source.client === true) &&
			(path.attributes.originatorId ?? path.source.bgpIdentifier) !== peer.source.bgpIdentifier;

		/** Next hops that mean nothing to the peer are replaced by ours: those on a link, and IPv6 ones of IPv4 prefixes. */
		const nextHopFor = ({ source, attributes: { nextHop } }: Path, family: RibFamily): string | undefined => {
			if (external || source.kind === 'local' || nextHop === undefined) return peer.nextHopSelf[family];
			const meaningless =
				nextHop.includes('%') || (family === 4 && nextHop.includes(':') && peer.extendedNextHop !== true);
			return meaningless ? peer.nextHopSelf[family] : nextHop;
		};

		const allows = (path: Path, family: RibFamily): boolean => {
			const { source, attributes } = path;
			if (source.peer === peer.source.peer || !peer.families.has(familyKey[family])) return false;
			if (rules.reject || (source.kind !== 'local' && !peer.exportLearnt)) return false;
			if (isReflected(source) && !mayReflect(path)) return false;
			for (const community of attributes.communities ?? []) {
				if (community === NO_ADVERTISE) return false;
				if (external && (community === NO_EXPORT || community === NO_EXPORT_SUBCONFED)) return false;
			}
			// It would drop the path for the loop (§9.1.2).
			if (external && !rules.asOverride) {
				const path = rules.removePrivateAS ? pathFor(attributes, peer, asNumber) : attributes.asPath;
				if (path.some((segment) => segment.asNumbers.includes(peer.peerAS))) return false;
			}
			if (external && attributes.onlyToCustomer !== undefined && upwards(rules.role)) return false;
			const nextHop = nextHopFor(path, family);
			// §5.1.3: no peer is given its own address as next hop.
			return nextHop !== undefined && nextHop !== peer.source.peerAddress;
		};

		return {
			allows,
			attributes: (path, family) => {
				if (!allows(path, family)) return undefined;
				const reflects = isReflected(path.source);
				const cache = (reflects ? cacheOf(`${own} ${path.source.bgpIdentifier}`) : plain)[family];
				const known = cache.get(path.attributes);
				if (known !== undefined) return known;
				const nextHop = nextHopFor(path, family) as string;
				const attributes =
					reflects && clusterId !== undefined ? reflected(path.attributes, path.source, clusterId) : path.attributes;
				const second =
					linkLocalSelf !== undefined && nextHop === peer.nextHopSelf[family] && nextHop.includes(':')
						? { linkLocalNextHop: linkLocalSelf }
						: {};
				const told = external ? forEbgp(attributes, asNumber, nextHop, peer) : forIbgp(attributes, nextHop, peer);
				const rewritten = intern({ ...told, ...second });
				cache.set(path.attributes, rewritten);
				return rewritten;
			},
		};
	};

	return {
		exporterOf,
		clear: () => {
			for (const cache of classes.values()) {
				cache[4] = new WeakMap();
				cache[6] = new WeakMap();
			}
		},
	};
};
