import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { CodecOptions, DecodeError, UpdateMessage } from 'bgp-js-lite';
import { compact, decodeWhole, EBGP, IBGP, message, toHex, updateBody } from './bgp-hex.ts';

const OLD: CodecOptions = { ...EBGP, fourOctetAs: false };
const ORIGIN = '400101 00';
const AS_PATH = '400206 0201 0000fde9';
const NEXT_HOP = '400304 c0000201';
const MANDATORY = `${ORIGIN}${AS_PATH}${NEXT_HOP}`;
const NLRI = '100a01';
const V4_NLRI = [{ prefix: '10.1.0.0/16' }];

const summary = (error: DecodeError): string => `${error.code}/${error.subcode} ${toHex(error.data)}`.trim();
const body = (attributes: string, nlri = NLRI): string => updateBody({ attributes: compact(attributes), nlri });

const decodeUpdate = (content: string, options: CodecOptions): UpdateMessage => {
	const decoded = decodeWhole(message(2, content), options);
	assert.ok(decoded.ok && decoded.value.type === 'UPDATE', JSON.stringify(decoded));
	for (const error of decoded.value.errors ?? []) assert.match(error.message, /^[A-Z].*\.$/s);
	return decoded.value;
};

/** `error`: code/subcode and the data. */
type Row = readonly [name: string, attributes: string, error: string, options?: CodecOptions];

/** An attribute in error with the mandatory ones that are not: its data is the whole attribute. */
const beside = (name: string, subcode: number, attribute: string, options: CodecOptions = EBGP): Row => [
	name,
	`${MANDATORY}${attribute}`,
	`3/${subcode} ${compact(attribute)}`,
	options,
];

const withdrawRows: readonly Row[] = [
	['ORIGIN of an unknown value', `400101 03 ${AS_PATH}${NEXT_HOP}`, '3/6 40010103'],
	['ORIGIN of two octets', `400102 0000 ${AS_PATH}${NEXT_HOP}`, '3/5 4001020000'],
	['ORIGIN flagged optional', `c00101 00 ${AS_PATH}${NEXT_HOP}`, '3/4 c0010100'],
	['ORIGIN flagged non-transitive', `000101 00 ${AS_PATH}${NEXT_HOP}`, '3/4 00010100'],
	['ORIGIN missing', `${AS_PATH}${NEXT_HOP}`, '3/3 01'],
	['AS_PATH missing', `${ORIGIN}${NEXT_HOP}`, '3/3 02'],
	['AS_PATH with a segment of an unknown type', `${ORIGIN}400206 0501 00000001 ${NEXT_HOP}`, '3/11'],
	['AS_PATH with an empty segment', `${ORIGIN}400202 0200 ${NEXT_HOP}`, '3/11'],
	['AS_PATH with a segment beyond its end', `${ORIGIN}400206 0202 00000001 ${NEXT_HOP}`, '3/11'],
	['AS_PATH with an octet too many', `${ORIGIN}400207 0201 00000001 02 ${NEXT_HOP}`, '3/11'],
	['AS_PATH with AS 0 (RFC 7607)', `${ORIGIN}400206 0201 00000000 ${NEXT_HOP}`, '3/11'],
	['AS_PATH with AS 0 of two octets', `${ORIGIN}400204 0201 0000 ${NEXT_HOP}`, '3/11', OLD],
	['AS_PATH with confederation segments from outside', `${ORIGIN}400206 0301 00000001 ${NEXT_HOP}`, '3/11'],
	['NEXT_HOP missing', `${ORIGIN}${AS_PATH}`, '3/3 03'],
	['NEXT_HOP of five octets', `${ORIGIN}${AS_PATH}400305 c000020100`, '3/5 400305c000020100'],
	['NEXT_HOP 0.0.0.0', `${ORIGIN}${AS_PATH}400304 00000000`, '3/8 40030400000000'],
	['NEXT_HOP 127.0.0.1', `${ORIGIN}${AS_PATH}400304 7f000001`, '3/8 4003047f000001'],
	['NEXT_HOP that is multicast', `${ORIGIN}${AS_PATH}400304 e0000001`, '3/8 400304e0000001'],
	beside('MULTI_EXIT_DISC of three octets', 5, '800403 000001'),
	beside('MULTI_EXIT_DISC flagged transitive', 4, 'c00404 00000001'),
	beside('LOCAL_PREF of three octets, internal', 5, '400503 000001', IBGP),
	beside('COMMUNITIES of five octets', 5, 'c00805 0000000100'),
	beside('COMMUNITIES without any', 5, 'c00800'),
	beside('ORIGINATOR_ID of five octets, internal', 5, '800905 0a00000100', IBGP),
	beside('CLUSTER_LIST of three octets, internal', 5, '800a03 0a0000', IBGP),
	beside('CLUSTER_LIST without any, internal', 5, '800a00', IBGP),
	beside('EXTENDED_COMMUNITIES of seven octets', 5, 'c01007 00000000000000'),
	beside('IPv6 Address Specific Extended Communities of nineteen octets', 5, `c01913 ${'00'.repeat(19)}`),
	beside('LARGE_COMMUNITY of eleven octets', 5, 'c0200b 0000000000000000000000'),
	beside('LARGE_COMMUNITY without any', 5, 'c02000'),
	beside('ATOMIC_AGGREGATE flagged optional', 4, 'c00600'),
	['half an attribute header at the end', `${MANDATORY}4001`, '3/1'],
	['an attribute longer than the list', `${MANDATORY}800405 00000001`, '3/1'],
	['an extended length cut off', `${MANDATORY}900400`, '3/1'],
];

for (const [name, attributes, error, options = EBGP] of withdrawRows) {
	test(`${name}: treated as withdrawn`, () => {
		const update = decodeUpdate(body(attributes), options);
		assert.deepEqual(update.withdrawn, [{ afi: 1, safi: 1, nlri: V4_NLRI }]);
		assert.deepEqual(update.announced, []);
		assert.equal(update.attributes, undefined);
		assert.ok(update.errors?.some((found) => found.action === 'treatAsWithdraw' && summary(found) === error));
	});

	test(`${name}, and no prefixes: the session ends (RFC 7606 §5.2)`, (t) => {
		const decoded = decodeWhole(message(2, body(attributes, '')), options);
		// Without prefixes no attribute is mandatory.
		if (error.startsWith('3/3')) return t.assert.ok(decoded.ok);
		assert.ok(!decoded.ok);
		assert.deepEqual([decoded.error.action, summary(decoded.error)], ['sessionReset', error]);
	});
}

const discardRows: readonly Row[] = [
	beside('ATOMIC_AGGREGATE with a value', 5, '400601 00'),
	beside('AGGREGATOR of seven octets', 5, 'c00707 000000010a0000'),
	beside('AGGREGATOR of two-octet form on a four-octet session', 5, 'c00706 fde90a000001'),
	beside('AGGREGATOR of four-octet form on a two-octet session', 5, 'c00708 0000fde90a000001', OLD),
	beside('AGGREGATOR with AS 0 (RFC 7607)', 9, 'c00708 000000000a000001'),
	beside('LOCAL_PREF from outside', 9, '400504 00000064'),
	beside('LOCAL_PREF from outside, malformed', 9, '400503 000064'),
	beside('ORIGINATOR_ID from outside', 9, '800904 0a000001'),
	beside('CLUSTER_LIST from outside', 9, '800a04 0a000001'),
	beside('AS4_PATH on a four-octet session', 9, 'c01106 0201 00011170'),
	beside('AS4_AGGREGATOR on a four-octet session', 9, 'c01208 00011170 0a000001'),
	beside('AS4_PATH that is malformed', 9, 'c01106 0202 00011170', OLD),
	beside('AS4_PATH with AS 0', 9, 'c01106 0201 00000000', OLD),
	beside('AS4_PATH without segments', 9, 'c01100', OLD),
	beside('AS4_AGGREGATOR of six octets', 5, 'c01206 fde90a000001', OLD),
	['a second ORIGIN', `${MANDATORY}400101 02`, '3/1'],
	['a second unknown attribute', `${MANDATORY}c0630101 c0630102`, '3/1'],
];

for (const [name, attributes, error, options = EBGP] of discardRows) {
	test(`${name}: the attribute is discarded, the route stays`, () => {
		const mandatory = options.fourOctetAs ? attributes : attributes.replace(AS_PATH, '400204 0201 fde9');
		const update = decodeUpdate(body(mandatory), options);
		assert.deepEqual(update.announced, [{ afi: 1, safi: 1, nlri: V4_NLRI, nextHop: '192.0.2.1' }]);
		assert.deepEqual(update.withdrawn, []);
		const { unknown, ...rest } = update.attributes ?? {};
		assert.deepEqual(rest, { origin: 'igp', asPath: [{ type: 'sequence', asNumbers: [65001] }] });
		assert.deepEqual(unknown?.map(({ value }) => toHex(value)) ?? [], attributes.includes('c063') ? ['01'] : []);
		assert.deepEqual(
			update.errors?.map((found) => [found.action, summary(found)]),
			[['attributeDiscard', error]],
		);
	});
}

const REACH = '800e1a 0002 01 10 fd000000000000000000000000000001 00 20fd000001';
const UNREACH = '800f08 0002 01 20fd000001';
const attributesOnly = (attributes: string): string => body(attributes, '');

const resetRows: readonly (readonly [name: string, content: string, error: string, options?: CodecOptions])[] = [
	['withdrawn routes beyond the message', '0003 080a 0000', '3/1'],
	['withdrawn routes that leave no room for a length', '0001 00 00', '3/1'],
	['path attributes beyond the message', '0000 0001', '3/1'],
	['an IPv4 prefix length of 33', body(MANDATORY, '210a00000000'), '3/10'],
	['an IPv4 prefix beyond the message', body(MANDATORY, '180a01'), '3/10'],
	['a withdrawn IPv4 prefix length of 33', updateBody({ withdrawn: '210a00000000' }), '3/10'],
	['a withdrawn IPv4 prefix beyond its field', updateBody({ withdrawn: '180a01' }), '3/10'],
	['a path id without a prefix', body(MANDATORY, '00000001'), '3/10', { ...EBGP, addPathReceive: new Set(['1/1']) }],
	['an unknown attribute flagged well-known', body(`${MANDATORY}406301aa`), '3/2 406301aa'],
	['two MP_REACH_NLRI', attributesOnly(`${REACH}${REACH}${ORIGIN}${AS_PATH}`), '3/1'],
	['two MP_UNREACH_NLRI', attributesOnly(`${UNREACH}${UNREACH}`), '3/1'],
	['MP_REACH_NLRI of four octets', attributesOnly('800e04 0002 01 00'), '3/9 800e0400020100'],
	['MP_REACH_NLRI with a next hop beyond its end', attributesOnly('800e05 0002 01 10 fd'), '3/9 800e0500020110fd'],
	[
		'an IPv6 next hop of 4 octets',
		attributesOnly('800e0b 0002 01 04 c0000201 00 08fd'),
		'3/9 800e0b00020104c00002010008fd',
	],
	['an IPv6 prefix length of 129', attributesOnly(`${UNREACH.replace('20fd', '81fd')}`), '3/9 800f0800020181fd000001'],
	['an IPv6 prefix beyond MP_UNREACH_NLRI', attributesOnly('800f05 0002 01 20fd'), '3/9 800f0500020120fd'],
	[
		'an IPv6 prefix beyond MP_REACH_NLRI',
		attributesOnly(REACH.replace('20fd', '28fd')),
		`3/9 ${compact(REACH.replace('20fd', '28fd'))}`,
	],
	['MP_UNREACH_NLRI of two octets', attributesOnly('800f02 0002'), '3/9 800f020002'],
	[
		'MP_REACH_NLRI flagged transitive',
		attributesOnly(`${REACH.replace('800e', 'c00e')}${ORIGIN}${AS_PATH}`),
		`3/4 ${compact(REACH.replace('800e', 'c00e'))}`,
	],
	[
		'MP_UNREACH_NLRI flagged well-known',
		attributesOnly(UNREACH.replace('800f', '400f')),
		`3/4 ${compact(UNREACH.replace('800f', '400f'))}`,
	],
	['MP_REACH_NLRI beyond the attributes', body(`${MANDATORY}800e10 0002 01`), '3/1'],
	['MP_UNREACH_NLRI beyond the attributes', body(`${MANDATORY}800f10 0002 01`), '3/1'],
];

for (const [name, content, error, options = EBGP] of resetRows) {
	test(`${name}: the session ends`, () => {
		const decoded = decodeWhole(message(2, content), options);
		assert.ok(!decoded.ok, JSON.stringify(decoded));
		assert.deepEqual([decoded.error.action, summary(decoded.error)], ['sessionReset', error]);
		assert.match(decoded.error.message, /^[A-Z].*\.$/s);
	});
}

const V6_NLRI = [{ prefix: 'fd00:1::/32' }];

for (const [name, reach, subcode] of [
	['an unspecified IPv6 next hop', REACH.replace('fd000000000000000000000000000001', '00'.repeat(16)), 9],
	['a loopback IPv6 next hop', REACH.replace('fd000000000000000000000000000001', `${'00'.repeat(15)}01`), 9],
	['a multicast IPv6 next hop', REACH.replace('fd000000000000000000000000000001', `ff${'02'.repeat(15)}`), 9],
] as const) {
	test(`${name}: its prefixes are treated as withdrawn`, () => {
		const update = decodeUpdate(attributesOnly(`${reach}${ORIGIN}${AS_PATH}`), EBGP);
		assert.deepEqual(update.withdrawn, [{ afi: 2, safi: 1, nlri: V6_NLRI }]);
		assert.deepEqual(update.announced, []);
		assert.deepEqual(update.errors?.map(summary), [`3/${subcode} ${compact(reach)}`]);
	});
}

test('one error withdraws the prefixes of both families', () => {
	const update = decodeUpdate(body(`${REACH}400101 07 ${AS_PATH}${NEXT_HOP}`), EBGP);
	assert.deepEqual(update.withdrawn, [
		{ afi: 1, safi: 1, nlri: V4_NLRI },
		{ afi: 2, safi: 1, nlri: V6_NLRI },
	]);
});

test('what an UPDATE withdraws by itself comes before what its errors withdraw', () => {
	const content = updateBody({ withdrawn: '080b', attributes: compact(`${UNREACH}${ORIGIN}${NEXT_HOP}`), nlri: NLRI });
	assert.deepEqual(
		decodeUpdate(content, EBGP).withdrawn.map((part) => part.nlri),
		[[{ prefix: '11.0.0.0/8' }], V6_NLRI, V4_NLRI],
	);
});

test('several errors are all told, and the strongest decides', () => {
	const update = decodeUpdate(body(`400101 07 ${AS_PATH}${NEXT_HOP} 400601 00 800403 000000`), EBGP);
	assert.deepEqual(
		update.errors?.map((error) => error.action),
		['treatAsWithdraw', 'attributeDiscard', 'treatAsWithdraw'],
	);
	assert.deepEqual(update.announced, []);
});

test('attributes in error that only lead to a discard leave an UPDATE without prefixes alone', () => {
	const update = decodeUpdate(attributesOnly('400504 00000064'), EBGP);
	assert.equal(update.errors?.length, 1);
	assert.deepEqual([update.announced, update.withdrawn, update.endOfRib], [[], [], undefined]);
});

test('the Partial bit and the lower flag bits are no error', () => {
	assert.equal(decodeUpdate(body(`6f0101 00 ${AS_PATH}${NEXT_HOP}`), EBGP).errors?.length, undefined);
});

test('a NEXT_HOP that is no host is ignored where no prefix is for it (RFC 4760 §3)', () => {
	const update = decodeUpdate(attributesOnly(`${REACH}${ORIGIN}${AS_PATH}400304 00000000`), EBGP);
	assert.deepEqual([update.withdrawn, update.announced.length, update.errors], [[], 1, undefined]);
});

test('IPv6 Address Specific Extended Communities of the right length are passed on', () => {
	const update = decodeUpdate(body(`${MANDATORY}c01914 ${'00'.repeat(20)}`), EBGP);
	assert.deepEqual(
		update.attributes?.unknown?.map(({ code, value }) => [code, value.length]),
		[[25, 20]],
	);
});
