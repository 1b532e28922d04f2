import { attribute, message, TYPE, u32, update } from './build.ts';
import { BASE, type Case, NLRI, type Reaction, type SessionKind } from './cases.ts';

/** Bytes and the reaction to them: UPDATE, attribute by attribute (RFC 4271 §6.3 as RFC 7606 has it). */

const notification = (text: string): Reaction => ({ notification: text });
const ignored: Reaction = { ignored: true };

const ORIGIN = attribute(0x40, 1, '00');
const sequence = (...asNumbers: number[]): string =>
	`02${asNumbers.length.toString(16).padStart(2, '0')}${asNumbers.map(u32).join('')}`;
const path = (...asNumbers: number[]): string =>
	attribute(0x40, 2, asNumbers.length === 0 ? '' : sequence(...asNumbers));
const AS_PATH = path(65000);
const NEXT_HOP = attribute(0x40, 3, 'c0000202');
const LOCAL_PREF = attribute(0x40, 5, u32(100));

/** The mandatory attributes as each session has them. */
const MANDATORY: Readonly<Record<SessionKind, string>> = {
	eBGP: ORIGIN + AS_PATH + NEXT_HOP,
	'eBGP, long messages': ORIGIN + AS_PATH + NEXT_HOP,
	'eBGP, add-path': ORIGIN + AS_PATH + NEXT_HOP,
	'eBGP, customer': ORIGIN + AS_PATH + NEXT_HOP,
	'eBGP, 2-octet AS': ORIGIN + attribute(0x40, 2, '0201fde8') + NEXT_HOP,
	iBGP: ORIGIN + path() + NEXT_HOP + LOCAL_PREF,
};

/**
 * An error that withdraws: with a prefix announced before, which goes, and without any, which ends the session (RFC 7606
 * §5.2) by the NOTIFICATION given.
 */
const withdraws = (
	rfc: string,
	name: string,
	attributes: string,
	error: string,
	session: SessionKind = 'eBGP',
): Case[] => [
	{
		rfc,
		name,
		session,
		send: update({ attributes, nlri: NLRI.first }),
		expect: { withdrawn: [BASE.first] },
	},
	{
		rfc: `${rfc}, RFC 7606 §5.2`,
		name: `${name}, and no prefixes`,
		session,
		send: update({ attributes }),
		expect: notification(error),
	},
];
/** The attribute in error beside right ones: the NOTIFICATION carries it. */
const beside = (rfc: string, name: string, subcode: number, wrong: string, session: SessionKind = 'eBGP'): Case[] =>
	withdraws(rfc, name, MANDATORY[session] + wrong, `3/${subcode} ${wrong}`, session);
const missing = (name: string, attributes: string): Case => ({
	rfc: 'RFC 7606 §3 d',
	name: `${name} missing`,
	send: update({ attributes, nlri: NLRI.first }),
	expect: { withdrawn: [BASE.first] },
});
const discards = (
	rfc: string,
	name: string,
	wrong: string,
	code: number,
	session: SessionKind = 'eBGP',
	mandatory = MANDATORY[session],
): Case => ({
	rfc,
	name,
	session,
	send: update({ attributes: mandatory + wrong, nlri: NLRI.third }),
	expect: { announced: '10.3.0.0/16', without: [code] },
});
const resets = (rfc: string, name: string, send: string, error: string, session: SessionKind = 'eBGP'): Case => ({
	rfc,
	name,
	session,
	send,
	expect: notification(error),
});
/** Announced as it came, but for what is said. */
const passes = (
	rfc: string,
	name: string,
	more: string,
	attributes: Readonly<Record<number, string>> = {},
	session: SessionKind = 'eBGP',
	mandatory = MANDATORY[session],
): Case => ({
	rfc,
	name,
	session,
	send: update({ attributes: mandatory + more, nlri: NLRI.third }),
	expect: { announced: '10.3.0.0/16', attributes },
});

const of = MANDATORY.eBGP;
const oldPath = attribute(0x40, 2, '0202fde85ba0');
const old = ORIGIN + oldPath + NEXT_HOP;

export const attributeCases: readonly Case[] = [
	...withdraws('RFC 7606 §7.1', 'ORIGIN 3', attribute(0x40, 1, '03') + AS_PATH + NEXT_HOP, '3/6 40010103'),
	...withdraws(
		'RFC 7606 §7.1',
		'ORIGIN of two octets',
		attribute(0x40, 1, '0000') + AS_PATH + NEXT_HOP,
		'3/5 4001020000',
	),
	...withdraws('RFC 7606 §7.1', 'ORIGIN without a value', attribute(0x40, 1) + AS_PATH + NEXT_HOP, '3/5 400100'),
	...withdraws(
		'RFC 7606 §3 c',
		'ORIGIN flagged optional',
		attribute(0xc0, 1, '00') + AS_PATH + NEXT_HOP,
		'3/4 c0010100',
	),
	...withdraws(
		'RFC 7606 §3 c',
		'ORIGIN flagged non-transitive',
		attribute(0, 1, '00') + AS_PATH + NEXT_HOP,
		'3/4 00010100',
	),
	...withdraws(
		'RFC 7606 §3 c',
		'AS_PATH flagged optional',
		ORIGIN + attribute(0xc0, 2, sequence(65000)) + NEXT_HOP,
		'3/4 c0020602010000fde8',
	),
	...withdraws(
		'RFC 7606 §3 c',
		'NEXT_HOP flagged optional',
		ORIGIN + AS_PATH + attribute(0x80, 3, 'c0000202'),
		'3/4 800304c0000202',
	),
	passes(
		'RFC 4271 §4.3',
		'the Partial bit and the lower bits of the flags set',
		'',
		{},
		'eBGP',
		attribute(0x6f, 1, '00') + AS_PATH + NEXT_HOP,
	),
	passes(
		'RFC 4271 §4.3',
		'ORIGIN with an extended length',
		'',
		{},
		'eBGP',
		attribute(0x50, 1, '00') + AS_PATH + NEXT_HOP,
	),
	missing('ORIGIN', AS_PATH + NEXT_HOP),
	missing('AS_PATH', ORIGIN + NEXT_HOP),
	missing('NEXT_HOP', ORIGIN + AS_PATH),
	missing('every attribute', ''),

	...withdraws(
		'RFC 7606 §7.2',
		'AS_PATH with a segment of type 5',
		ORIGIN + attribute(0x40, 2, `0501${u32(65000)}`) + NEXT_HOP,
		'3/11',
	),
	...withdraws(
		'RFC 7606 §7.2',
		'AS_PATH with a segment of type 0',
		ORIGIN + attribute(0x40, 2, `0001${u32(65000)}`) + NEXT_HOP,
		'3/11',
	),
	...withdraws(
		'RFC 7606 §7.2',
		'AS_PATH with an empty segment',
		ORIGIN + attribute(0x40, 2, `${sequence(65000)}0200`) + NEXT_HOP,
		'3/11',
	),
	...withdraws(
		'RFC 7606 §7.2',
		'AS_PATH with a segment beyond its end',
		ORIGIN + attribute(0x40, 2, `0202${u32(65000)}`) + NEXT_HOP,
		'3/11',
	),
	...withdraws(
		'RFC 7606 §7.2',
		'AS_PATH with one octet left',
		ORIGIN + attribute(0x40, 2, `${sequence(65000)}02`) + NEXT_HOP,
		'3/11',
	),
	...withdraws(
		'RFC 7606 §7.2',
		'AS_PATH of two-octet numbers where four were agreed',
		ORIGIN + attribute(0x40, 2, '0201fde8') + NEXT_HOP,
		'3/11',
	),
	...withdraws('RFC 7607 §2', 'AS_PATH with AS 0', ORIGIN + path(65000, 0) + NEXT_HOP, '3/11'),
	...withdraws(
		'RFC 5065 §5',
		'AS_PATH with confederation segments from outside',
		ORIGIN + attribute(0x40, 2, `0301${u32(65000)}`) + NEXT_HOP,
		'3/11',
	),
	{
		rfc: 'RFC 4271 §6.3',
		name: 'AS_PATH that begins with another AS than the peer’s',
		send: update({ attributes: ORIGIN + path(65001) + NEXT_HOP, nlri: NLRI.first }),
		expect: { withdrawn: [BASE.first] },
	},
	{
		rfc: 'RFC 4271 §6.3',
		name: 'AS_PATH that begins with a set, from an external peer',
		send: update({ attributes: ORIGIN + attribute(0x40, 2, `0101${u32(65000)}`) + NEXT_HOP, nlri: NLRI.first }),
		expect: { withdrawn: [BASE.first] },
	},
	{
		rfc: 'RFC 4271 §6.3',
		name: 'AS_PATH that is empty, from an external peer',
		send: update({ attributes: ORIGIN + path() + NEXT_HOP, nlri: NLRI.first }),
		expect: { withdrawn: [BASE.first] },
	},
	passes('RFC 7606 §4', 'AS_PATH that is empty, from an internal peer', '', {}, 'iBGP'),

	...withdraws(
		'RFC 7606 §7.3',
		'NEXT_HOP of five octets',
		ORIGIN + AS_PATH + attribute(0x40, 3, 'c000020200'),
		'3/5 400305c000020200',
	),
	...withdraws(
		'RFC 4271 §6.3',
		'NEXT_HOP 0.0.0.0',
		ORIGIN + AS_PATH + attribute(0x40, 3, '00000000'),
		'3/8 40030400000000',
	),
	...withdraws(
		'RFC 4271 §6.3',
		'NEXT_HOP 224.0.0.1',
		ORIGIN + AS_PATH + attribute(0x40, 3, 'e0000001'),
		'3/8 400304e0000001',
	),
	...withdraws(
		'RFC 4271 §6.3',
		'NEXT_HOP 255.255.255.255',
		ORIGIN + AS_PATH + attribute(0x40, 3, 'ffffffff'),
		'3/8 400304ffffffff',
	),
	{
		rfc: 'RFC 4271 §5.1.3',
		name: 'NEXT_HOP that is our own address',
		send: update({ attributes: ORIGIN + AS_PATH + attribute(0x40, 3, 'c0000201'), nlri: NLRI.first }),
		expect: { withdrawn: [BASE.first] },
	},

	...beside('RFC 7606 §7.4', 'MULTI_EXIT_DISC of three octets', 5, attribute(0x80, 4, '000001')),
	...beside('RFC 7606 §3 c', 'MULTI_EXIT_DISC flagged transitive', 4, attribute(0xc0, 4, u32(1))),
	passes('RFC 7606 §7.5', 'LOCAL_PREF from an external peer', attribute(0x40, 5, u32(7)), { 5: `40 ${u32(100)}` }),
	passes('RFC 7606 §7.5', 'LOCAL_PREF of three octets from an external peer', attribute(0x40, 5, '000007'), {
		5: `40 ${u32(100)}`,
	}),
	...withdraws(
		'RFC 7606 §7.5',
		'LOCAL_PREF of three octets from an internal peer',
		ORIGIN + path() + NEXT_HOP + attribute(0x40, 5, '000007'),
		'3/5 400503000007',
		'iBGP',
	),
	discards('RFC 7606 §7.6', 'ATOMIC_AGGREGATE with a value', attribute(0x40, 6, '00'), 6),
	...beside('RFC 7606 §3 c', 'ATOMIC_AGGREGATE flagged optional', 4, attribute(0xc0, 6)),
	discards(
		'RFC 7606 §7.7',
		'AGGREGATOR of six octets where four-octet AS numbers were agreed',
		attribute(0xc0, 7, 'fde8c0000202'),
		7,
	),
	discards('RFC 7606 §7.7', 'AGGREGATOR of nine octets', attribute(0xc0, 7, `${u32(65000)}c000020200`), 7),
	discards(
		'RFC 7606 §7.7',
		'AGGREGATOR of eight octets where they were not',
		attribute(0xc0, 7, `${u32(65000)}c0000202`),
		7,
		'eBGP, 2-octet AS',
	),
	discards('RFC 7607 §2', 'AGGREGATOR of AS 0', attribute(0xc0, 7, `${u32(0)}c0000202`), 7),
	passes('RFC 6793 §4.1', 'AGGREGATOR of eight octets', attribute(0xc0, 7, `${u32(65000)}c0000202`), {
		7: `c0 ${u32(65000)}c0000202`,
	}),
	...beside('RFC 7606 §7.8', 'COMMUNITIES of five octets', 5, attribute(0xc0, 8, '0000000100')),
	...beside('RFC 7606 §7.8', 'COMMUNITIES without any', 5, attribute(0xc0, 8)),
	...beside('RFC 7606 §3 c', 'COMMUNITIES flagged non-transitive', 4, attribute(0x80, 8, u32(1))),
	passes('RFC 4271 §5', 'COMMUNITIES with the Partial bit', attribute(0xe0, 8, u32(0xfde80001)), {
		8: `e0 ${u32(0xfde80001)}`,
	}),
	discards('RFC 7606 §7.9', 'ORIGINATOR_ID from an external peer', attribute(0x80, 9, '0a000001'), 9),
	...beside(
		'RFC 7606 §7.9',
		'ORIGINATOR_ID of five octets from an internal peer',
		5,
		attribute(0x80, 9, '0a00000100'),
		'iBGP',
	),
	discards('RFC 7606 §7.10', 'CLUSTER_LIST from an external peer', attribute(0x80, 10, '0a000001'), 10),
	discards('RFC 7606 §7.10', 'CLUSTER_LIST without any from an external peer', attribute(0x80, 10), 10),
	...beside(
		'RFC 7606 §7.10',
		'CLUSTER_LIST of three octets from an internal peer',
		5,
		attribute(0x80, 10, '0a0000'),
		'iBGP',
	),
	...beside('RFC 7606 §7.10', 'CLUSTER_LIST without any from an internal peer', 5, attribute(0x80, 10), 'iBGP'),
	...beside('RFC 7606 §7.14', 'EXTENDED_COMMUNITIES of seven octets', 5, attribute(0xc0, 16, '00'.repeat(7))),
	...beside('RFC 7606 §7.14', 'EXTENDED_COMMUNITIES without any', 5, attribute(0xc0, 16)),
	passes('RFC 7606 §7.14', 'EXTENDED_COMMUNITIES of a type nobody knows', attribute(0xc0, 16, '3f3f000000000001'), {
		16: 'c0 3f3f000000000001',
	}),
	...beside(
		'RFC 7606 §7.15',
		'IPv6 address specific EXTENDED_COMMUNITIES of 19 octets',
		5,
		attribute(0xc0, 25, '00'.repeat(19)),
	),
	...beside('RFC 8092 §6', 'LARGE_COMMUNITY of eleven octets', 5, attribute(0xc0, 32, '00'.repeat(11))),
	...beside('RFC 8092 §6', 'LARGE_COMMUNITY without any', 5, attribute(0xc0, 32)),
	passes(
		'RFC 8092 §5',
		'LARGE_COMMUNITY given twice',
		attribute(0xc0, 32, `${'00000001'.repeat(3)}${'00000001'.repeat(3)}`),
		{ 32: `c0 ${'00000001'.repeat(3)}` },
	),
	...beside('RFC 9234 §5', 'ONLY_TO_CUSTOMER of three octets', 5, attribute(0xc0, 35, '000001')),
	passes('RFC 9234 §5', 'ONLY_TO_CUSTOMER where no role is configured', attribute(0xc0, 35, u32(65000)), {
		35: `c0 ${u32(65000)}`,
	}),

	discards('RFC 6793 §4.1', 'AS4_PATH where four-octet AS numbers were agreed', attribute(0xc0, 17, sequence(7)), 17),
	discards(
		'RFC 6793 §4.1',
		'AS4_AGGREGATOR where four-octet AS numbers were agreed',
		attribute(0xc0, 18, `${u32(7)}c0000202`),
		18,
	),
	...['', `0202${u32(70000)}`, `0501${u32(70000)}`, `0200`, sequence(0)].map((value) =>
		passes(
			'RFC 6793 §6',
			`AS4_PATH '${value}', which is malformed`,
			attribute(0xc0, 17, value),
			{ 2: '40 02020000fde800005ba0' },
			'eBGP, 2-octet AS',
			old,
		),
	),
	passes(
		'RFC 6793 §4.2.3',
		'AS4_PATH that is longer than AS_PATH',
		attribute(0xc0, 17, sequence(1, 2, 3)),
		{ 2: '40 02020000fde800005ba0' },
		'eBGP, 2-octet AS',
		old,
	),
	passes(
		'RFC 6793 §4.2.3',
		'AS4_PATH that fits',
		attribute(0xc0, 17, sequence(70000)),
		{ 2: '40 02020000fde800011170' },
		'eBGP, 2-octet AS',
		old,
	),
	passes(
		'RFC 6793 §6',
		'AS4_AGGREGATOR of six octets',
		attribute(0xc0, 7, '5ba0c0000202') + attribute(0xc0, 18, 'fde8c0000202'),
		{ 7: 'c0 00005ba0c0000202' },
		'eBGP, 2-octet AS',
	),
	passes(
		'RFC 6793 §4.2.3',
		'AS4_PATH beside an AGGREGATOR that is not AS_TRANS',
		attribute(0xc0, 7, 'fde8c0000202') + attribute(0xc0, 17, sequence(70000)),
		{ 2: '40 02020000fde800005ba0' },
		'eBGP, 2-octet AS',
		old,
	),

	resets(
		'RFC 4271 §6.3',
		'an unknown attribute flagged well-known',
		update({ attributes: of + attribute(0x40, 99, 'aa'), nlri: NLRI.first }),
		'3/2 406301aa',
	),
	passes('RFC 4271 §5', 'an unknown optional transitive attribute', attribute(0xc0, 99, 'aa'), { 99: 'e0 aa' }),
	discards('RFC 4271 §5', 'an unknown optional non-transitive attribute', attribute(0x80, 99, 'aa'), 99),
	passes('RFC 7606 §3 g', 'a second ORIGIN', attribute(0x40, 1, '02'), { 1: '40 00' }),
	passes('RFC 7606 §3 g', 'a second ORIGIN that is malformed', attribute(0x40, 1, '09'), { 1: '40 00' }),
	passes('RFC 7606 §3 g', 'a second unknown attribute', attribute(0xc0, 99, 'aa') + attribute(0xc0, 99, 'bb'), {
		99: 'e0 aa',
	}),
	...withdraws(
		'RFC 7606 §3 h',
		'an error that discards, and one that withdraws',
		of + attribute(0x40, 6, '00') + attribute(0x80, 4, '00'),
		'3/5 80040100',
	),
	...withdraws('RFC 7606 §4', 'an attribute longer than the attributes', of + attribute(0x80, 4, u32(1), 5), '3/1'),
	...withdraws('RFC 7606 §4', 'two octets left after the attributes', `${of}8004`, '3/1'),
	...withdraws('RFC 7606 §4', 'an extended length that is cut off', `${of}900400`, '3/1'),
	{
		rfc: 'RFC 7606 §5.2',
		name: 'an error that only discards, and no prefixes',
		send: update({ attributes: attribute(0x40, 6, '00') }),
		expect: ignored,
	},
	{
		rfc: 'RFC 7606 §5.2',
		name: 'right attributes, and no prefixes',
		send: update({ attributes: of }),
		expect: ignored,
	},
];

const reach = (next: string, nlri: string, family = '000201', reserved = '00'): string =>
	attribute(0x80, 14, family + (next.length / 2).toString(16).padStart(2, '0') + next + reserved + nlri);
const unreach = (nlri: string, family = '000201'): string => attribute(0x80, 15, family + nlri);
const six = '20010db8000000000000000000000002';
const BASIC = ORIGIN + AS_PATH;
const multi = (name: string, attributes: string, error: string, rfc = 'RFC 7606 §5.3'): Case =>
	resets(rfc, name, update({ attributes }), error);
const withdrawsV6 = (rfc: string, name: string, next: string): Case => ({
	rfc,
	name,
	send: update({ attributes: reach(next, NLRI.ipv6) + BASIC }),
	expect: { withdrawn: [BASE.ipv6] },
});
const wrongReach = (value: string): string => attribute(0x80, 14, value);

export const multiprotocolCases: readonly Case[] = [
	multi('MP_REACH_NLRI of four octets', wrongReach('00020100') + BASIC, `3/9 ${wrongReach('00020100')}`),
	multi('MP_REACH_NLRI without a value', wrongReach('') + BASIC, `3/9 ${wrongReach('')}`),
	multi('MP_UNREACH_NLRI of two octets', attribute(0x80, 15, '0002'), `3/9 ${attribute(0x80, 15, '0002')}`),
	multi(
		'MP_REACH_NLRI flagged transitive',
		`c0${reach(six, NLRI.ipv6).slice(2)}${BASIC}`,
		`3/4 c0${reach(six, NLRI.ipv6).slice(2)}`,
	),
	multi(
		'MP_UNREACH_NLRI flagged well-known',
		`40${unreach(NLRI.ipv6).slice(2)}`,
		`3/4 40${unreach(NLRI.ipv6).slice(2)}`,
	),
	multi(
		'a next hop of 4 octets for IPv6',
		reach('c0000202', NLRI.ipv6) + BASIC,
		`3/9 ${reach('c0000202', NLRI.ipv6)}`,
		'RFC 7606 §7.11',
	),
	multi('a next hop of 0 octets', reach('', NLRI.ipv6) + BASIC, `3/9 ${reach('', NLRI.ipv6)}`, 'RFC 7606 §7.11'),
	multi(
		'a next hop of 24 octets',
		reach(six + six.slice(16), NLRI.ipv6) + BASIC,
		`3/9 ${reach(six + six.slice(16), NLRI.ipv6)}`,
		'RFC 7606 §7.11',
	),
	multi(
		'a next hop of 48 octets',
		reach(six.repeat(3), NLRI.ipv6) + BASIC,
		`3/9 ${reach(six.repeat(3), NLRI.ipv6)}`,
		'RFC 7606 §7.11',
	),
	multi(
		'a next hop beyond MP_REACH_NLRI',
		wrongReach(`000201ff${six}`) + BASIC,
		`3/9 ${wrongReach(`000201ff${six}`)}`,
		'RFC 7606 §7.11',
	),
	multi(
		'a prefix length of 129 in MP_REACH_NLRI',
		reach(six, `81${'20'.repeat(17)}`) + BASIC,
		`3/9 ${reach(six, `81${'20'.repeat(17)}`)}`,
	),
	multi(
		'a prefix length of 129 in MP_UNREACH_NLRI',
		unreach(`81${'20'.repeat(17)}`),
		`3/9 ${unreach(`81${'20'.repeat(17)}`)}`,
	),
	multi(
		'a prefix length of 33 for IPv4 in MP_UNREACH_NLRI',
		unreach('210a00000000', '000101'),
		`3/9 ${unreach('210a00000000', '000101')}`,
	),
	multi('a prefix beyond MP_REACH_NLRI', reach(six, '3020010db8') + BASIC, `3/9 ${reach(six, '3020010db8')}`),
	multi('a prefix beyond MP_UNREACH_NLRI', unreach('3020010db8'), `3/9 ${unreach('3020010db8')}`),
	multi('MP_REACH_NLRI twice', reach(six, NLRI.ipv6) + reach(six, NLRI.ipv6) + BASIC, '3/1', 'RFC 7606 §3 g'),
	multi('MP_UNREACH_NLRI twice', unreach(NLRI.ipv6) + unreach(NLRI.ipv6), '3/1', 'RFC 7606 §3 g'),
	multi(
		'MP_REACH_NLRI longer than the attributes',
		BASIC + attribute(0x80, 14, `00020110${six}`, 40),
		'3/1',
		'RFC 7606 §4',
	),
	multi('MP_UNREACH_NLRI longer than the attributes', attribute(0x80, 15, '000201', 9), '3/1', 'RFC 7606 §4'),
	withdrawsV6('RFC 7606 §7.11', 'an IPv6 next hop of zeros', '00'.repeat(16)),
	withdrawsV6('RFC 7606 §7.11', 'an IPv6 next hop that is the loopback address', `${'00'.repeat(15)}01`),
	withdrawsV6('RFC 7606 §7.11', 'an IPv6 next hop that is multicast', `ff02${'00'.repeat(13)}01`),
	{
		rfc: 'RFC 7606 §3 e',
		name: 'one malformed attribute with prefixes of both families',
		send: update({
			attributes: reach(six, NLRI.ipv6) + attribute(0x40, 1, '09') + AS_PATH + NEXT_HOP,
			nlri: NLRI.first,
		}),
		expect: { withdrawn: [BASE.first, BASE.ipv6] },
	},
	{
		rfc: 'RFC 7606 §5.1',
		name: 'MP_REACH_NLRI behind all others, its reserved octet set',
		send: update({ attributes: BASIC + reach(six, '3020010db8000b', '000201', 'ff') }),
		expect: { announced: '2001:db8:b::/48' },
	},
	{
		rfc: 'RFC 4760 §3',
		name: 'a NEXT_HOP that makes no sense beside MP_REACH_NLRI',
		send: update({ attributes: BASIC + attribute(0x40, 3, '00000000') + reach(six, '3020010db8000b') }),
		expect: { announced: '2001:db8:b::/48' },
	},
	{
		rfc: 'RFC 2545 §3',
		name: 'a next hop of a global and a link-local address',
		send: update({ attributes: reach(`${six}fe80${'00'.repeat(13)}02`, '3020010db8000b') + BASIC }),
		expect: { announced: '2001:db8:b::/48' },
	},
	{
		rfc: 'RFC 4760 §7',
		name: 'prefixes of a family that was not agreed',
		send: update({ attributes: reach('c0000202', '180a0101', '000102') + BASIC }),
		expect: ignored,
	},
	{
		rfc: 'RFC 4724 §2',
		name: 'End-of-RIB of IPv4: an empty UPDATE',
		send: update({}),
		expect: ignored,
	},
	{ rfc: 'RFC 4724 §2', name: 'End-of-RIB of IPv6', send: update({ attributes: unreach('') }), expect: ignored },
	{
		rfc: 'RFC 4724 §2',
		name: 'End-of-RIB of IPv4 in the form of other families',
		send: update({ attributes: unreach('', '000101') }),
		expect: ignored,
	},
	{
		rfc: 'RFC 4724 §2',
		name: 'End-of-RIB of a family that was not agreed',
		send: update({ attributes: unreach('', '001946') }),
		expect: ignored,
	},
	{
		rfc: 'RFC 4760 §4',
		name: 'a withdrawal in MP_UNREACH_NLRI',
		send: update({ attributes: unreach(NLRI.ipv6) }),
		expect: { withdrawn: [BASE.ipv6] },
	},
];

const classic = (name: string, send: string, error: string, rfc: string, session: SessionKind = 'eBGP'): Case =>
	resets(rfc, name, send, error, session);

export const fieldCases: readonly Case[] = [
	classic(
		'withdrawn routes longer than the message',
		update({ withdrawn: NLRI.first, withdrawnLength: 6 }),
		'3/1',
		'RFC 7606 §3 b',
	),
	classic('withdrawn routes that leave no room for a length', message(TYPE.UPDATE, '00010000'), '3/1', 'RFC 7606 §3 b'),
	classic(
		'attributes longer than the message',
		update({ attributes: of, attributesLength: 99 }),
		'3/1',
		'RFC 7606 §3 b',
	),
	classic('a prefix length of 33', update({ attributes: of, nlri: '210a00000000' }), '3/10', 'RFC 7606 §5.3'),
	classic('a prefix length of 255', update({ attributes: of, nlri: 'ff0a0000' }), '3/10', 'RFC 7606 §5.3'),
	classic(
		'a prefix beyond the message',
		update({ attributes: of, nlri: `${NLRI.third}180a01` }),
		'3/10',
		'RFC 7606 §5.3',
	),
	classic('a withdrawn prefix length of 33', update({ withdrawn: '210a00000000' }), '3/10', 'RFC 7606 §3 i'),
	classic('a withdrawn prefix beyond its field', update({ withdrawn: `${NLRI.first}180a01` }), '3/10', 'RFC 7606 §3 i'),
	classic(
		'attributes one octet shorter than they are',
		update({ attributes: of, attributesLength: of.length / 2 - 1, nlri: NLRI.first }),
		'3/10',
		'RFC 7606 §3 j',
	),
	classic(
		'a path identifier without a prefix',
		update({ attributes: of, nlri: '00000001' }),
		'3/10',
		'RFC 7911 §3',
		'eBGP, add-path',
	),
	{
		rfc: 'RFC 4271 §6.3',
		name: 'prefixes no unicast packet goes to: multicast, loopback',
		send: update({ attributes: of, nlri: `04e0${'087f'}${NLRI.third}` }),
		expect: { announced: '10.3.0.0/16' },
	},
	{
		rfc: 'RFC 4271 §4.3',
		name: 'host bits in a prefix',
		send: update({ attributes: of, nlri: '0c0a3f' }),
		expect: { announced: '10.48.0.0/12' },
	},
	{
		rfc: 'RFC 4271 §4.3',
		name: 'a prefix both withdrawn and announced',
		send: update({ withdrawn: NLRI.third, attributes: of, nlri: NLRI.third }),
		expect: { announced: '10.3.0.0/16' },
	},
	{
		rfc: 'RFC 4271 §3.1',
		name: 'a withdrawal of what was never announced',
		send: update({ withdrawn: '100a63' }),
		expect: ignored,
	},
	{
		rfc: 'RFC 4271 §4.3',
		name: 'a withdrawal',
		send: update({ withdrawn: NLRI.second }),
		expect: { withdrawn: [BASE.second] },
	},
	{
		rfc: 'RFC 8654 §4',
		name: 'an UPDATE of 5000 octets where long messages are agreed',
		session: 'eBGP, long messages',
		send: update({ attributes: of + attribute(0xd0, 99, 'aa'.repeat(4900)), nlri: NLRI.third }),
		expect: { announced: '10.3.0.0/16', attributes: { 99: `e0 ${'aa'.repeat(4900)}` } },
	},
	{
		rfc: 'RFC 7911 §3',
		name: 'the same path twice in one message',
		session: 'eBGP, add-path',
		send: update({ attributes: of, nlri: `00000007${NLRI.third}00000007${NLRI.third}` }),
		expect: { announced: '10.3.0.0/16' },
	},
	{
		rfc: 'RFC 7911 §3',
		name: 'a withdrawal of a path that was never announced',
		session: 'eBGP, add-path',
		send: update({ withdrawn: `00000063${NLRI.first}` }),
		expect: ignored,
	},
	{
		rfc: 'RFC 7911 §3',
		name: 'a malformed attribute withdraws the one path it is about',
		session: 'eBGP, add-path',
		send: update({ attributes: attribute(0x40, 1, '09') + AS_PATH + NEXT_HOP, nlri: `00000001${NLRI.first}` }),
		expect: { withdrawn: [BASE.first] },
	},
];
