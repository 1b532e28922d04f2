import type { Nlri, PathAttributes, UpdateMessage } from 'bgp-js-lite';
import { isLinkLocal } from '../../src/net/ip.ts';
import { GRACEFUL_SHUTDOWN } from '../rib/rewrite.ts';
import type { RibFamily } from '../rib/types.ts';
import type { Negotiated, Role } from './open.ts';

/**
 * What of an UPDATE enters the Adj-RIB-In. Checks here need to know the session (RFC 4271 §6.3, §5.1.3, RFC 7606 §7.2):
 * the first AS of an eBGP path and the next hop. A route that fails is withdrawn (RFC 7606 "treat as withdraw"), so that
 * what the peer announced before does not stay. Loops are the decision process's business (bird/rib/decision.ts).
 */

export type RibChange = {
	readonly family: RibFamily;
	/** Followed by a blank and the path identifier where the session has them. */
	readonly prefixes: readonly string[];
	/** Absent: withdrawn. */
	readonly attributes?: PathAttributes;
};

export type Imported = {
	readonly changes: readonly RibChange[];
	/** Why routes were refused: a clause each. */
	readonly refused: readonly string[];
};

const pathKey = ({ prefix, pathId }: Nlri): string => (pathId === undefined ? prefix : `${prefix} ${pathId}`);

export const ribFamilyOf = (key: string): RibFamily | undefined => (key === '1/1' ? 4 : key === '2/1' ? 6 : undefined);

/** RFC 4271 §5.1.3. That it is some host's address the codec has checked. */
const badNextHop = (nextHop: string, ownAddresses: ReadonlySet<string>): string | undefined =>
	ownAddresses.has(nextHop) ? `next hop ${nextHop} is our own address` : undefined;

/** RFC 4271 §6.3: prefixes no unicast packet goes to are ignored: multicast, loopback, link-local. */
export const isUnroutable = (prefix: string): boolean => {
	const end = prefix.indexOf(':');
	if (end < 0) {
		const first = Number(prefix.slice(0, prefix.indexOf('.')));
		return first === 127 || (first >= 224 && first < 240);
	}
	return prefix === '::1/128' || (end === 4 && /^f(f|e[89ab])/.test(prefix));
};

/** The address to send to: with its interface when only that tells where it is. On an unnumbered link there is no other. */
const usableNextHop = (nextHop: string, linkLocal: string | undefined, link: string): string => {
	const local = isLinkLocal(nextHop) ? nextHop : linkLocal;
	return link !== '' && local !== undefined ? `${local}%${link}` : nextHop;
};

/** RFC 4271 §6.3: a peer of another AS puts its own in front; a path that begins otherwise was not sent by it. */
const badFirstAS = (attributes: PathAttributes, negotiated: Negotiated): string | undefined => {
	if (negotiated.ibgp) return undefined;
	const first = attributes.asPath[0];
	const asNumber = first?.type === 'sequence' ? first.asNumbers[0] : undefined;
	return asNumber === negotiated.peerAS
		? undefined
		: `AS_PATH begins with ${asNumber === undefined ? 'no AS number' : `AS ${asNumber}`} instead of the peer's AS ${negotiated.peerAS}`;
};

export type ImportRules = {
	readonly ownAddresses: ReadonlySet<string>;
	/** Our identifier: routes of ours that a reflector brings back are ignored (RFC 4456 §8), and nothing to complain of. */
	readonly routerId?: string;
	/** Interface of a session between link-local addresses, else ''. */
	readonly link?: string;
	/** The AS number we are to the peer, put in front of its paths. */
	readonly localAS?: number;
	/** What we are to it (RFC 9234). */
	readonly role?: Role;
};

/** RFC 9234 §5: a route for customers only that came from where no such route can come from. */
const leak = ({ onlyToCustomer }: PathAttributes, { peerAS, ibgp }: Negotiated, role: Role | undefined) => {
	if (ibgp || onlyToCustomer === undefined || role === undefined) return undefined;
	if (role === 'provider' || role === 'rs') return `it is for customers of AS ${onlyToCustomer} only: a route leak`;
	return role === 'peer' && onlyToCustomer !== peerAS
		? `it is for customers of AS ${onlyToCustomer} only, and the peer is AS ${peerAS}: a route leak`
		: undefined;
};

/** What the session makes of attributes before anybody sees them. */
const adapted = (
	attributes: PathAttributes,
	{ ibgp, peerAS }: Negotiated,
	{ localAS, role }: Pick<ImportRules, 'localAS' | 'role'>,
): PathAttributes => {
	if (ibgp) return attributes;
	const forCustomers = role === 'customer' || role === 'peer' || role === 'rs-client';
	return {
		...attributes,
		// RFC 8326 §4.1: any other way is better.
		...(attributes.communities?.includes(GRACEFUL_SHUTDOWN) && { localPref: 0 }),
		...(forCustomers && attributes.onlyToCustomer === undefined && { onlyToCustomer: peerAS }),
		...(localAS !== undefined && { asPath: [{ type: 'sequence', asNumbers: [localAS] }, ...attributes.asPath] }),
	};
};

const others = (count: number): string => (count > 1 ? ` and ${count - 1} more` : '');

export const importUpdate = (
	update: UpdateMessage,
	negotiated: Negotiated,
	{ ownAddresses, routerId, link = '', localAS, role }: ImportRules,
): Imported => {
	const changes: RibChange[] = [];
	const refused: string[] = [];
	const familyOf = (afi: number, safi: number): RibFamily | undefined => {
		const key = `${afi}/${safi}`;
		return negotiated.families.has(key) ? ribFamilyOf(key) : undefined;
	};
	for (const { afi, safi, nlri } of update.withdrawn) {
		const family = familyOf(afi, safi);
		if (family !== undefined) changes.push({ family, prefixes: nlri.map(pathKey) });
	}
	for (const { afi, safi, nlri, nextHop, linkLocalNextHop } of update.announced) {
		const family = familyOf(afi, safi);
		if (family === undefined || update.attributes === undefined) continue;
		const routable = nlri.some(({ prefix }) => isUnroutable(prefix))
			? nlri.filter(({ prefix }) => !isUnroutable(prefix))
			: nlri;
		if (routable !== nlri) {
			const first = nlri.find(({ prefix }) => isUnroutable(prefix))?.prefix;
			refused.push(`${first}${others(nlri.length - routable.length)}: no unicast packet goes there`);
		}
		if (routable.length === 0) continue;
		const prefixes = routable.map(pathKey);
		const why =
			badFirstAS(update.attributes, negotiated) ??
			badNextHop(nextHop, ownAddresses) ??
			leak(update.attributes, negotiated, role);
		if (why === undefined) {
			const rules = { ...(localAS !== undefined && { localAS }), ...(role && { role }) };
			const attributes = {
				...adapted(update.attributes, negotiated, rules),
				nextHop: usableNextHop(nextHop, linkLocalNextHop, link),
			};
			changes.push({ family, prefixes, attributes });
		} else {
			const ours = update.attributes.originatorId !== undefined && update.attributes.originatorId === routerId;
			if (!ours) refused.push(`${prefixes[0] ?? ''}${others(prefixes.length)}: ${why}`);
			changes.push({ family, prefixes });
		}
	}
	return { changes, refused };
};
