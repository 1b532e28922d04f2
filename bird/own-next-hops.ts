import { familyOf, isLinkLocal } from '../src/net/ip.ts';
import type { SpeakerConfig } from './config.ts';
import type { Negotiated } from './session/open.ts';

/** Of the host itself: no other can send there. */
const isLoopback = (address: string): boolean => address.startsWith('127.') || address === '::1';

/**
 * What we give as next hop, by family. To an external peer the session's own address, which is the one it can surely reach
 * (RFC 4271 §5.1.3), for IPv4 too where IPv6 next hops are agreed for it; for the other family one on the same link, since
 * the node's address may be on another. Else the address of this node.
 */
export const ownNextHops = (
	{ ipv4, ipv6 }: SpeakerConfig['addresses'],
	localAddress: string,
	/** Other addresses on the link of the session. */
	besides: readonly string[],
	{ extendedNextHop, ibgp }: Pick<Negotiated, 'extendedNextHop' | 'ibgp'>,
): { readonly 4?: string; readonly 6?: string } => {
	const overV6 = localAddress.includes(':');
	const own = isLinkLocal(localAddress) || isLoopback(localAddress) ? undefined : localAddress;
	const other = overV6 ? 4 : 6;
	const node = overV6 ? ipv4 : ipv6;
	const onLink = ibgp || own === undefined ? [] : besides.filter((address) => familyOf(address) === other);
	const beside = node !== undefined && onLink.includes(node) ? node : (onLink.toSorted()[0] ?? node);
	const near = ibgp ? undefined : own;
	const six = (overV6 ? near : beside) ?? ipv6 ?? (overV6 ? localAddress : undefined);
	const four =
		overV6 && extendedNextHop
			? (own ?? six)
			: ((overV6 ? beside : near) ?? ipv4 ?? (overV6 ? undefined : localAddress));
	return { ...(four && { 4: four }), ...(six && { 6: six }) };
};
