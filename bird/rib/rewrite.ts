import type { AsPathSegment, PathAttributes } from 'bgp-js-lite';
import type { PathSource, RibPeer } from './types.ts';

/** Attributes as a peer gets them (RFC 4271 §5, RFC 4456 §8, RFC 8326, RFC 9234). Pure. */

/** An AS_PATH segment counts its AS numbers in one octet (RFC 4271 §4.3). */
const SEGMENT_LIMIT = 255;
const DEFAULT_LOCAL_PREF = 100;
/** RFC 8326 §5. */
export const GRACEFUL_SHUTDOWN = 0xffff0000;

const prepend = (asPath: readonly AsPathSegment[], asNumber: number): readonly AsPathSegment[] => {
	const outside = asPath.filter((segment) => segment.type === 'sequence' || segment.type === 'set');
	const [first, ...rest] = outside;
	if (first?.type === 'sequence' && first.asNumbers.length < SEGMENT_LIMIT) {
		return [{ type: 'sequence', asNumbers: [asNumber, ...first.asNumbers] }, ...rest];
	}
	return [{ type: 'sequence', asNumbers: [asNumber] }, ...outside];
};

/** RFC 6996 and the reserved ends beside its ranges. */
const isPrivate = (asNumber: number): boolean =>
	(asNumber >= 64512 && asNumber <= 65535) || (asNumber >= 4_200_000_000 && asNumber <= 4_294_967_295);

const mapPath = (
	asPath: readonly AsPathSegment[],
	change: (asNumbers: readonly number[]) => readonly number[],
): readonly AsPathSegment[] =>
	asPath.flatMap(({ type, asNumbers }) => {
		const changed = change(asNumbers);
		return changed.length === 0 ? [] : [{ type, asNumbers: changed }];
	});

/** What is in the path before our own AS comes in front. */
export const pathFor = ({ asPath }: PathAttributes, peer: RibPeer, own: number): readonly AsPathSegment[] => {
	const { removePrivateAS, asOverride } = peer.rules ?? {};
	let path = asPath;
	if (removePrivateAS) path = mapPath(path, (numbers) => numbers.filter((n) => !isPrivate(n) || n === peer.peerAS));
	if (asOverride) path = mapPath(path, (numbers) => numbers.map((n) => (n === peer.peerAS ? own : n)));
	return path;
};

/** Our AS as the peer sees it, and before it (for the others) the real one where both are shown. */
const withOurAS = (path: readonly AsPathSegment[], asNumber: number, { localAS }: NonNullable<RibPeer['rules']>) => {
	if (localAS === undefined) return prepend(path, asNumber);
	return prepend(localAS.replaceAS ? path : prepend(path, asNumber), localAS.asNumber);
};

/** Non-transitive ones stay inside the AS (RFC 4360 §6). */
const acrossBorder = (communities: readonly bigint[]): readonly bigint[] =>
	communities.filter((community) => ((community >> 62n) & 1n) === 0n);

/** RFC 9234 §5: what a customer, peer or client of ours gets goes to customers only from there. */
const markedBy = ({ role }: NonNullable<RibPeer['rules']>): boolean =>
	role === 'provider' || role === 'peer' || role === 'rs';

/** RFC 8326 §4.2: others are to find another way before this one goes. */
const leaving = (attributes: PathAttributes): PathAttributes => {
	const communities = attributes.communities ?? [];
	return communities.includes(GRACEFUL_SHUTDOWN)
		? attributes
		: { ...attributes, communities: [...communities, GRACEFUL_SHUTDOWN] };
};

/** To another AS: MED, LOCAL_PREF and what reflectors wrote stay inside ours (RFC 4271 §5.1.4, §5.1.5; RFC 4456 §8). */
export const forEbgp = (
	attributes: PathAttributes,
	asNumber: number,
	nextHop: string,
	peer: RibPeer,
): PathAttributes => {
	const { med: _m, localPref: _l, originatorId: _o, clusterList: _c, linkLocalNextHop: _n, ...kept } = attributes;
	const { extendedCommunities, ...rest } = kept;
	const rules = peer.rules ?? {};
	const told: PathAttributes = {
		...rest,
		...(extendedCommunities && { extendedCommunities: acrossBorder(extendedCommunities) }),
		...(markedBy(rules) && attributes.onlyToCustomer === undefined && { onlyToCustomer: asNumber }),
		asPath: withOurAS(pathFor(attributes, peer, rules.localAS?.asNumber ?? asNumber), asNumber, rules),
		nextHop,
	};
	return rules.gracefulShutdown ? leaving(told) : told;
};

/** Within our AS: next hop unchanged unless the route is ours (RFC 4271 §5.1.3), LOCAL_PREF always there (§5.1.5). */
export const forIbgp = (attributes: PathAttributes, nextHop: string, peer: RibPeer): PathAttributes => {
	const { linkLocalNextHop: _n, ...kept } = attributes;
	const told = { ...kept, localPref: attributes.localPref ?? DEFAULT_LOCAL_PREF, nextHop };
	return peer.rules?.gracefulShutdown ? { ...leaving(told), localPref: 0 } : told;
};

/** RFC 4456 §8: whoever brought it into the AS, and the clusters it went through, ours first. */
export const reflected = (attributes: PathAttributes, from: PathSource, clusterId: string): PathAttributes => ({
	...attributes,
	originatorId: attributes.originatorId ?? from.bgpIdentifier,
	clusterList: [clusterId, ...(attributes.clusterList ?? [])],
});
