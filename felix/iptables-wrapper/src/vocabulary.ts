/** Words iptables-save writes in one way only, whatever way they were written: numbers, orders, defaults. */

/** IPPROTO names as iptables-save prints them (/etc/protocols of Debian); numbers otherwise. */
const protocolNames: Readonly<Record<number, readonly string[]>> = {
	1: ['icmp'],
	2: ['igmp'],
	4: ['ipencap', 'ip-encap', 'ipip'],
	6: ['tcp'],
	17: ['udp'],
	33: ['dccp'],
	41: ['ipv6'],
	44: ['ipv6-frag'],
	47: ['gre'],
	50: ['esp', 'ipsec-esp'],
	51: ['ah', 'ipsec-ah'],
	58: ['ipv6-icmp', 'icmpv6', 'icmp6'],
	88: ['eigrp'],
	89: ['ospf', 'ospfigp'],
	94: ['ipip'],
	103: ['pim'],
	112: ['vrrp'],
	132: ['sctp'],
	135: ['mobility-header', 'ipv6-mh', 'mh'],
	136: ['udplite'],
};

const protocolByWord = new Map<string, string>();
for (const [number, names] of Object.entries(protocolNames)) {
	for (const word of [number, ...names]) if (!protocolByWord.has(word)) protocolByWord.set(word, names[0] as string);
}
// /etc/protocols gives "ipip" to number 94; the names above that are shared keep iptables-save's reading.
protocolByWord.set('ipip', 'ipip');

/** Canonical name of a protocol; undefined for any protocol. */
export const canonicalProtocol = (text: string): string | undefined => {
	const word = text.toLowerCase();
	if (word === 'all' || word === '0' || word === 'ip') return undefined;
	return protocolByWord.get(word) ?? word;
};

export const protocolNumber = (text: string): string => {
	const name = canonicalProtocol(text);
	return Object.entries(protocolNames).find(([, names]) => names[0] === name)?.[0] ?? text;
};

export const tcpFlags = ['FIN', 'SYN', 'RST', 'PSH', 'ACK', 'URG'] as const;
/** libxt_conntrack.c, print_state. */
export const ctStates = ['INVALID', 'NEW', 'RELATED', 'ESTABLISHED', 'UNTRACKED', 'SNAT', 'DNAT'] as const;
export const ctStatuses = ['NONE', 'EXPECTED', 'SEEN_REPLY', 'ASSURED', 'CONFIRMED'] as const;
/** libxt_addrtype.c, rtn_names. */
export const addressTypes = [
	'UNSPEC',
	'UNICAST',
	'LOCAL',
	'BROADCAST',
	'ANYCAST',
	'MULTICAST',
	'BLACKHOLE',
	'UNREACHABLE',
	'PROHIBIT',
	'THROW',
	'NAT',
	'XRESOLVE',
] as const;

export const icmpTypes: Readonly<Record<string, string>> = {
	any: 'any',
	'echo-reply': '0',
	pong: '0',
	'destination-unreachable': '3',
	'network-unreachable': '3/0',
	'host-unreachable': '3/1',
	'protocol-unreachable': '3/2',
	'port-unreachable': '3/3',
	'fragmentation-needed': '3/4',
	'source-quench': '4',
	redirect: '5',
	'echo-request': '8',
	ping: '8',
	'router-advertisement': '9',
	'router-solicitation': '10',
	'time-exceeded': '11',
	'ttl-exceeded': '11',
	'ttl-zero-during-transit': '11/0',
	'parameter-problem': '12',
	'timestamp-request': '13',
	'timestamp-reply': '14',
};

export const icmp6Types: Readonly<Record<string, string>> = {
	'destination-unreachable': '1',
	'no-route': '1/0',
	'communication-prohibited': '1/1',
	'address-unreachable': '1/3',
	'port-unreachable': '1/4',
	'packet-too-big': '2',
	'time-exceeded': '3',
	'ttl-exceeded': '3',
	'ttl-zero-during-transit': '3/0',
	'parameter-problem': '4',
	'bad-header': '4/0',
	'echo-request': '128',
	ping: '128',
	'echo-reply': '129',
	pong: '129',
	'router-solicitation': '133',
	'router-advertisement': '134',
	'neighbour-solicitation': '135',
	'neighbor-solicitation': '135',
	'neighbour-advertisement': '136',
	'neighbor-advertisement': '136',
	redirect: '137',
};

const rejectNames: Readonly<Record<string, string>> = {
	'icmp-net-prohibited': 'icmp-net-prohibited',
	'net-unreach': 'icmp-net-unreachable',
	'host-unreach': 'icmp-host-unreachable',
	'proto-unreach': 'icmp-proto-unreachable',
	'port-unreach': 'icmp-port-unreachable',
	'net-prohib': 'icmp-net-prohibited',
	'host-prohib': 'icmp-host-prohibited',
	'admin-prohib': 'icmp-admin-prohibited',
	'tcp-rst': 'tcp-reset',
	'no-route': 'icmp6-no-route',
	'adm-prohibited': 'icmp6-adm-prohibited',
	'addr-unreach': 'icmp6-addr-unreachable',
};
export const canonicalReject = (text: string): string => rejectNames[text] ?? text;

/** Orders a comma list by a table and drops doubles; words not in the table stay, last. */
export const orderWords = (text: string, order: readonly string[]): string => {
	const words = [...new Set(text.toUpperCase().split(','))];
	const rank = (word: string): number => (order.includes(word) ? order.indexOf(word) : order.length);
	return words.sort((a, b) => rank(a) - rank(b)).join(',');
};
