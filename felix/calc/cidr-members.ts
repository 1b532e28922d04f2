/** Prefixes as members of hash:net sets. */
import { bitsOf, type Family, parseCidr } from '../../src/net/ip.ts';

/**
 * The members that stand for `cidr`, as ipset prints them: a host without its length, and `/0`, which hash:net cannot
 * hold (ip_set_hash_net.c refuses a length of 0), as its two halves. Empty when `cidr` is not of `family`.
 */
export const netMembers = (family: Family, cidr: string): readonly string[] => {
	const parsed = parseCidr(cidr);
	if (parsed?.family !== family) return [];
	if (parsed.length === 0) return family === 4 ? ['0.0.0.0/1', '128.0.0.0/1'] : ['::/1', '8000::/1'];
	return [parsed.length === bitsOf(family) ? cidr.slice(0, cidr.indexOf('/')) : cidr];
};
