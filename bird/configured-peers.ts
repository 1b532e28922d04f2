import { contains, hostCidr, parseAddress, parseCidr } from '../src/net/ip.ts';
import type { DynamicPeers, PeerConfig, SpeakerConfig } from './config.ts';
import type { Protection } from './transport/transport.ts';

/** What a configuration says of an address: the peer it is, or may become. Pure. */

/** RFC 5082 §3: sent with 255, every hop takes one away. */
export const minimumTtlOf = (hops: number): number => 256 - hops;

/** What listening sockets must know of the peers, since it holds from the first segment on. */
export const protectionsOf = ({ peers, dynamicPeers = [] }: SpeakerConfig): Protection[] =>
	[
		...peers.filter(({ address }) => address !== '').map((peer) => ({ ...peer, prefix: hostCidr(peer.address) })),
		...dynamicPeers.map((range) => ({ ...range.peer, prefix: range.prefix })),
	]
		.filter(({ password, ttlSecurity }) => password !== undefined || ttlSecurity !== undefined)
		.map(({ prefix, password, ttlSecurity }) => ({
			prefix,
			...(password !== undefined && { password }),
			...(ttlSecurity !== undefined && { minimumTtl: minimumTtlOf(ttlSecurity) }),
		}));

/** The narrowest range an address is in. */
export const rangeOf = (address: string, ranges: readonly DynamicPeers[] = []): DynamicPeers | undefined => {
	const parsed = parseAddress(address);
	if (parsed === undefined) return undefined;
	return ranges
		.flatMap((range) => {
			const cidr = parseCidr(range.prefix);
			return cidr !== undefined && contains(cidr, parsed) ? [{ range, length: cidr.length }] : [];
		})
		.toSorted((a, b) => b.length - a.length)[0]?.range;
};

/** A neighbour that came from a range: never dialled, gone when it is gone. */
export const dynamicPeer = (range: DynamicPeers, address: string): PeerConfig => ({
	...range.peer,
	name: `${range.name}/${address}`,
	address,
	passive: true,
});
