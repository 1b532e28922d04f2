/**
 * Members of sets as ipset prints them, so that what is wanted and what is read compare as text. Host names and ranges,
 * which `ipset add` would resolve or expand, are no members here.
 */
import { formatValue, type ParsedPrefix, parsePrefix } from './address.ts';
import { bulkOf } from './layered-set.ts';
import type { Family, SetType } from './types.ts';

/** An IPv4 address as ipset prints it: the common case, taken without parsing. */
const plainV4 = /^(?:(?:25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)\.){3}(?:25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)$/;

const bitsOf = (family: Family): number => (family === 4 ? 32 : 128);

const prefixText = (prefix: ParsedPrefix): string =>
	prefix.length === bitsOf(prefix.family) ? formatValue(prefix) : `${formatValue(prefix)}/${prefix.length}`;

const canonicalPort = (text: string): string | undefined => {
	const match = /^(?:([a-z]+):)?(\d{1,5})$/i.exec(text);
	if (match === null || Number(match[2]) > 65535) return undefined;
	return `${(match[1] ?? 'tcp').toLowerCase()}:${Number(match[2])}`;
};

/**
 * Canonical members for one wanted: one as a rule; two halves where the kernel's type takes no prefix of length 0
 * (net/netfilter/ipset/ip_set_hash_net.c); undefined when the text is no member of such a set.
 */
export const canonicalMember = (text: string, type: SetType, family: Family): readonly string[] | undefined => {
	if (type === 'hash:ip' && family === 4 && text !== '0.0.0.0' && plainV4.test(text)) return [text];
	const comma = text.indexOf(',');
	const needsRest = type === 'hash:ip,port' || type === 'hash:net,port' || type === 'hash:net,iface';
	if (comma >= 0 !== needsRest) return undefined;
	const prefix = parsePrefix(comma < 0 ? text : text.slice(0, comma));
	if (prefix === undefined || prefix.family !== family) return undefined;
	if (type.startsWith('hash:ip') && prefix.length !== bitsOf(family)) return undefined;
	// The kernel takes no unspecified address there (ip_set_hash_ip.c), and no packet has a use for it.
	if (type.startsWith('hash:ip') && prefix.value === 0n) return undefined;
	let rest = '';
	if (needsRest) {
		const given = text.slice(comma + 1);
		const canonical =
			type === 'hash:net,iface' ? (/^[^\s,]{1,15}$/.test(given) ? given : undefined) : canonicalPort(given);
		if (canonical === undefined) return undefined;
		rest = `,${canonical}`;
	}
	if (prefix.length === 0 && type !== 'hash:net,iface') {
		const upper = { ...prefix, length: 1, value: 1n << BigInt(bitsOf(family) - 1) };
		return [`${prefixText({ ...prefix, length: 1 })}${rest}`, `${prefixText(upper)}${rest}`];
	}
	return [`${prefixText(prefix)}${rest}`];
};

export type CanonicalMembers = { readonly members: ReadonlySet<string>; readonly refused: readonly string[] };

/** Sets found canonical, with the kind of set they are for: they are asked about again and again. */
const canonical = new WeakMap<ReadonlySet<string>, string>();

/** Canonical form of a whole set; `members` is the given Set itself when it is canonical already. */
export const canonicalMembers = (given: ReadonlySet<string>, type: SetType, family: Family): CanonicalMembers => {
	const kind = `${type} ${family}`;
	const isCanonical = (text: string): boolean => {
		const found = canonicalMember(text, type, family);
		return found !== undefined && found.length === 1 && found[0] === text;
	};
	const { base, added } = bulkOf(given);
	if (canonical.get(base) === kind && (base === given || added.every(isCanonical)))
		return { members: given, refused: [] };
	const result = canonicalise(given, type, family);
	if (result.members === given) canonical.set(given, kind);
	return result;
};

const canonicalise = (given: ReadonlySet<string>, type: SetType, family: Family): CanonicalMembers => {
	let members: Set<string> | undefined;
	const refused: string[] = [];
	let done = 0;
	for (const text of given) {
		const canonical = canonicalMember(text, type, family);
		const same = canonical !== undefined && canonical.length === 1 && canonical[0] === text;
		if (members === undefined && !same) {
			members = new Set();
			let copied = 0;
			for (const earlier of given) {
				if (copied++ === done) break;
				members.add(earlier);
			}
		}
		if (canonical === undefined) refused.push(text);
		else if (members !== undefined) for (const member of canonical) members.add(member);
		done++;
	}
	return { members: members ?? given, refused };
};
