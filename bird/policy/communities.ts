import type { PathAttributes } from 'bgp-js-lite';

/** Communities by their text, `aa:nn` (RFC 1997) or `aa:nn:mm` (RFC 8092), in the attributes of a route. Pure. */

export type Community =
	| { readonly kind: 'standard'; readonly value: number }
	| { readonly kind: 'large'; readonly value: readonly [number, number, number] };

export const parseCommunity = (text: string): Community | undefined => {
	const parts = text.split(':');
	if (!parts.every((part) => /^(0|[1-9]\d{0,9})$/.test(part))) return undefined;
	const [a, b, c] = parts.map(Number) as [number, number, number];
	if (parts.length === 2) {
		return a <= 0xffff && b <= 0xffff ? { kind: 'standard', value: ((a << 16) | b) >>> 0 } : undefined;
	}
	const inRange = parts.length === 3 && [a, b, c].every((part) => part <= 0xffffffff);
	return inRange ? { kind: 'large', value: [a, b, c] } : undefined;
};

const sameLarge = (a: readonly number[], b: readonly number[]): boolean => a.every((part, i) => part === b[i]);

export const hasCommunity = (attributes: PathAttributes, community: Community): boolean =>
	community.kind === 'standard'
		? attributes.communities?.includes(community.value) === true
		: attributes.largeCommunities?.some((large) => sameLarge(large, community.value)) === true;

export const addCommunity = (attributes: PathAttributes, community: Community): PathAttributes => {
	if (hasCommunity(attributes, community)) return attributes;
	return community.kind === 'standard'
		? { ...attributes, communities: [...(attributes.communities ?? []), community.value] }
		: { ...attributes, largeCommunities: [...(attributes.largeCommunities ?? []), community.value] };
};

/** An empty list is an absent attribute. */
export const removeCommunity = (attributes: PathAttributes, community: Community): PathAttributes => {
	if (!hasCommunity(attributes, community)) return attributes;
	if (community.kind === 'standard') {
		const { communities = [], ...rest } = attributes;
		const left = communities.filter((value) => value !== community.value);
		return left.length === 0 ? rest : { ...rest, communities: left };
	}
	const { largeCommunities = [], ...rest } = attributes;
	const left = largeCommunities.filter((value) => !sameLarge(value, community.value));
	return left.length === 0 ? rest : { ...rest, largeCommunities: left };
};

export const setCommunities = (attributes: PathAttributes, communities: readonly Community[]): PathAttributes => {
	const { communities: _s, largeCommunities: _l, ...rest } = attributes;
	return communities.reduce<PathAttributes>(addCommunity, rest);
};

/** With these too; unreadable ones are left out. */
export const withCommunities = (attributes: PathAttributes, texts: readonly string[]): PathAttributes =>
	texts.flatMap((text) => parseCommunity(text) ?? []).reduce<PathAttributes>(addCommunity, attributes);
