import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
	type AfiSafi,
	type CodecOptions,
	encodeEndOfRib,
	encodeUpdates,
	type PathAttributes,
	type UpdateMessage,
	type UpdateToEncode,
} from 'bgp-js-lite';
import { compact, decodeWhole, EBGP, IBGP, message, toHex, updateBody } from './bgp-hex.ts';

const OLD: CodecOptions = { ...EBGP, fourOctetAs: false };
const V4: AfiSafi = { afi: 1, safi: 1 };
const V6: AfiSafi = { afi: 2, safi: 1 };
const BASE: PathAttributes = { origin: 'igp', asPath: [{ type: 'sequence', asNumbers: [65001] }] };
const ORIGIN = '400101 00';
const AS_PATH = '400206 0201 0000fde9';
const NEXT_HOP = '400304 c0000201';
const PREFIX = [{ prefix: '10.1.0.0/16' }];

const v4 = (attributes: PathAttributes): UpdateToEncode => ({
	attributes,
	announced: { ...V4, nextHop: '192.0.2.1', nlri: PREFIX },
});
/** The attributes `with` those every route has, announcing 10.1.0.0/16. */
const announces = (attributes: string): string => updateBody({ attributes: compact(attributes), nlri: '100a01' });

type Row = readonly [name: string, options: CodecOptions, update: UpdateToEncode, body: string];

/** Same both ways. */
const rows: readonly Row[] = [
	[
		'IPv4 withdrawn',
		EBGP,
		{
			withdrawn: {
				...V4,
				nlri: ['0.0.0.0/0', '10.0.0.0/8', '10.128.0.0/9', '192.0.2.1/32'].map((prefix) => ({ prefix })),
			},
		},
		updateBody({ withdrawn: compact('00 080a 090a80 20c0000201') }),
	],
	['IPv4 announced', EBGP, v4(BASE), announces(`${ORIGIN}${AS_PATH}${NEXT_HOP}`)],
	[
		'IPv6 withdrawn',
		EBGP,
		{
			withdrawn: { ...V6, nlri: ['::/0', '2001:db8::/32', 'fd00:0:0:1::/64', '::1/128'].map((prefix) => ({ prefix })) },
		},
		updateBody({
			attributes: compact('900f 0023 0002 01 00 2020010db8 40fd00000000000001 8000000000000000000000000000000001'),
		}),
	],
	[
		'IPv6 announced, with a global and a link-local next hop',
		EBGP,
		{
			attributes: BASE,
			announced: { ...V6, nextHop: '2001:db8::1', linkLocalNextHop: 'fe80::1', nlri: [{ prefix: 'fd00:1::/33' }] },
		},
		updateBody({
			attributes: compact(`900e 002b 0002 01 20 20010db8000000000000000000000001 fe800000000000000000000000000001 00
				21fd00000100 ${ORIGIN}${AS_PATH}`),
		}),
	],
	[
		'IPv4 announced with an IPv6 next hop (RFC 8950)',
		EBGP,
		{ attributes: BASE, announced: { ...V4, nextHop: 'fd00::1', nlri: PREFIX } },
		updateBody({
			attributes: compact(`900e 0018 0001 01 10 fd000000000000000000000000000001 00 100a01 ${ORIGIN}${AS_PATH}`),
		}),
	],
	[
		'every attribute of an internal session',
		IBGP,
		v4({
			origin: 'incomplete',
			asPath: [
				{ type: 'confedSequence', asNumbers: [1] },
				{ type: 'confedSet', asNumbers: [2] },
				{ type: 'sequence', asNumbers: [65001, 4200000000] },
				{ type: 'set', asNumbers: [3, 4] },
			],
			med: 4294967295,
			localPref: 200,
			atomicAggregate: true,
			aggregator: { asNumber: 4200000000, address: '10.0.0.9' },
			communities: [0xfde90001, 0xffffff01],
			originatorId: '10.0.0.1',
			clusterList: ['10.0.0.2', '10.0.0.3'],
			extendedCommunities: [0x0002fde900000064n, 0xffffffffffffffffn],
			largeCommunities: [[4200000000, 1, 2]],
			unknown: [
				{ flags: 0xe0, code: 26, value: Uint8Array.of(1, 2) },
				{ flags: 0xe0, code: 99, value: new Uint8Array(0) },
			],
		}),
		announces(`40010102
			400220 0301 00000001 0401 00000002 0202 0000fde9 fa56ea00 0102 00000003 00000004
			${NEXT_HOP} 800404 ffffffff 400504 000000c8 400600 c00708 fa56ea00 0a000009
			c00808 fde90001 ffffff01 800904 0a000001 800a08 0a000002 0a000003
			c01010 0002fde900000064 ffffffffffffffff e01a02 0102 c0200c fa56ea00 00000001 00000002 e06300`),
	],
	[
		'an empty AS_PATH',
		IBGP,
		v4({ origin: 'egp', asPath: [], localPref: 1 }),
		announces(`40010101 400200 ${NEXT_HOP} 40050400000001`),
	],
	[
		'4-octet AS numbers to a 2-octet speaker',
		OLD,
		v4({
			origin: 'igp',
			asPath: [{ type: 'sequence', asNumbers: [65001, 4200000000] }],
			aggregator: { asNumber: 4200000001, address: '10.0.0.9' },
		}),
		announces(`${ORIGIN} 400206 0202 fde9 5ba0 ${NEXT_HOP} c00706 5ba0 0a000009
			c0110a 0202 0000fde9 fa56ea00 c01208 fa56ea01 0a000009`),
	],
	['2-octet AS numbers to a 2-octet speaker', OLD, v4(BASE), announces(`${ORIGIN} 400204 0201 fde9 ${NEXT_HOP}`)],
	[
		'path ids (RFC 7911)',
		{ ...EBGP, addPathSend: new Set(['1/1', '2/1']), addPathReceive: new Set(['1/1', '2/1']) },
		{
			attributes: BASE,
			announced: { ...V4, nextHop: '192.0.2.1', nlri: [{ prefix: '10.1.0.0/16', pathId: 4294967295 }] },
		},
		updateBody({ attributes: compact(`${ORIGIN}${AS_PATH}${NEXT_HOP}`), nlri: 'ffffffff100a01' }),
	],
];

for (const [name, options, update, body] of rows) {
	test(`${name}: encodes to its bytes and decodes from them`, () => {
		const expected = toHex(message(2, body));
		assert.deepEqual(encodeUpdates(update, options).map(toHex), [expected]);
		const value: UpdateMessage = {
			type: 'UPDATE',
			withdrawn: update.withdrawn ? [update.withdrawn] : [],
			announced: update.announced ? [update.announced] : [],
			...(update.attributes ? { attributes: update.attributes } : {}),
		};
		assert.deepEqual(decodeWhole(message(2, body), options), { ok: true, value });
	});
}

const decoded = (body: string, options: CodecOptions = EBGP): UpdateMessage => {
	const result = decodeWhole(message(2, body), options);
	assert.ok(result.ok && result.value.type === 'UPDATE', JSON.stringify(result));
	return result.value;
};

test('withdrawn and announced prefixes, of both families, are read from one message', () => {
	const attributes = compact(`900f 0006 0002 01 08fd 00 ${ORIGIN}${AS_PATH}${NEXT_HOP}`);
	assert.deepEqual(decoded(updateBody({ withdrawn: '100a02', attributes, nlri: '100a01' })), {
		type: 'UPDATE',
		withdrawn: [
			{ ...V4, nlri: [{ prefix: '10.2.0.0/16' }] },
			{ ...V6, nlri: [{ prefix: 'fd00::/8' }, { prefix: '::/0' }] },
		],
		announced: [{ ...V4, nextHop: '192.0.2.1', nlri: [{ prefix: '10.1.0.0/16' }] }],
		attributes: BASE,
	});
});

test('the Partial bit of a known attribute stays as it came (RFC 4271 §5)', () => {
	const partial = compact(`${ORIGIN}${AS_PATH}${NEXT_HOP} e00804 fde90001 c0200c 000000010000000200000003`);
	const update = decoded(updateBody({ attributes: partial, nlri: '100a01' }));
	assert.deepEqual(update.attributes?.partial, [8]);
	const [announced] = update.announced;
	assert.deepEqual(encodeUpdates({ attributes: update.attributes, announced }, EBGP).map(toHex), [
		toHex(message(2, updateBody({ attributes: partial, nlri: '100a01' }))),
	]);
});

test('End-of-RIB of IPv4 is an empty UPDATE, of other families an empty MP_UNREACH_NLRI', () => {
	assert.equal(toHex(encodeEndOfRib(V4)), toHex(message(2, '0000 0000')));
	assert.equal(toHex(encodeEndOfRib(V6)), toHex(message(2, '0000 0007 900f 0003 0002 01')));
	for (const family of [V4, V6, { afi: 25, safi: 70 }]) {
		const value = { type: 'UPDATE', withdrawn: [], announced: [], endOfRib: family };
		assert.deepEqual(decodeWhole(encodeEndOfRib(family)), { ok: true, value });
	}
	assert.deepEqual(decoded('0000 0006 800f03 0002 01').endOfRib, V6);
});

test('an empty MP_UNREACH_NLRI beside something else is no End-of-RIB', () => {
	const empty = '800f03000201';
	assert.equal(decoded(updateBody({ withdrawn: '080a', attributes: empty })).endOfRib, undefined);
	assert.equal(decoded(announces(`${empty}${ORIGIN}${AS_PATH}${NEXT_HOP}`)).endOfRib, undefined);
	assert.equal(decoded(updateBody({ attributes: compact(`${empty}${ORIGIN}`) })).endOfRib, undefined);
});

test('bits beyond the prefix length are cleared', () => {
	const update = decoded(
		updateBody({
			withdrawn: '090aff',
			attributes: compact('800f0c 0002 01 21 20010db8ff 03ff ffff').replace('ffff', '').replace('800f0c', '800f0b'),
		}),
	);
	assert.deepEqual(
		update.withdrawn.map((part) => part.nlri),
		[[{ prefix: '10.128.0.0/9' }], [{ prefix: '2001:db8:8000::/33' }, { prefix: 'e000::/3' }]],
	);
});

test('one UPDATE may announce in both families, each with its own next hop', () => {
	const reach = '800e 1a 0002 01 10 fd000000000000000000000000000001 00 20fd000001';
	const update = decoded(announces(`${reach}${ORIGIN}${AS_PATH}${NEXT_HOP}`));
	assert.deepEqual(update.announced, [
		{ ...V4, nlri: PREFIX, nextHop: '192.0.2.1' },
		{ ...V6, nlri: [{ prefix: 'fd00:1::/32' }], nextHop: 'fd00::1' },
	]);
	assert.deepEqual(update.attributes, BASE);
});

test('IPv4 in MP_REACH_NLRI needs no NEXT_HOP', () => {
	const attributes = compact(`800e 0c 0001 01 04 c0000207 00 100a01 ${ORIGIN}${AS_PATH}`);
	assert.deepEqual(decoded(updateBody({ attributes })).announced, [{ ...V4, nlri: PREFIX, nextHop: '192.0.2.7' }]);
});

const nextHops: readonly (readonly [name: string, nextHop: string, expected: object])[] = [
	[
		'a second next hop that is not link-local is left out',
		'20 fd000000000000000000000000000001 fd000000000000000000000000000002',
		{ nextHop: 'fd00::1' },
	],
	[
		'`::` before a link-local next hop stands for none',
		'20 00000000000000000000000000000000 fe800000000000000000000000000002',
		{ nextHop: 'fe80::2', linkLocalNextHop: 'fe80::2' },
	],
	['a link-local next hop alone is taken', '10 fe800000000000000000000000000002', { nextHop: 'fe80::2' }],
];
for (const [name, nextHop, expected] of nextHops) {
	test(name, () => {
		const value = compact(`0002 01 ${nextHop} 00 08fd`);
		const length = (value.length / 2).toString(16).padStart(2, '0');
		const update = decoded(updateBody({ attributes: compact(`800e${length}${value}${ORIGIN}${AS_PATH}`) }));
		assert.deepEqual(update.announced, [{ ...V6, nlri: [{ prefix: 'fd00::/8' }], ...expected }]);
	});
}

test('prefixes of a family the codec does not know are passed over, the others kept', () => {
	const vpn = '800e0c 0001 80 04 c0000201 00 180a0b0c';
	const unreach = '800f05 0019 46 0102';
	const update = decoded(announces(`${vpn.replace('0c', '0d')}${unreach}${ORIGIN}${AS_PATH}${NEXT_HOP}`));
	assert.deepEqual(update.announced, [{ ...V4, nlri: PREFIX, nextHop: '192.0.2.1' }]);
	assert.deepEqual(update.withdrawn, []);
	assert.equal(update.errors, undefined);
});

const asPaths: readonly (readonly [name: string, asPath: string, as4Path: string, merged: PathAttributes['asPath']])[] =
	[
		[
			'the head of a longer AS_PATH is put before AS4_PATH',
			'400208 0203 0001 5ba0 5ba0',
			'c0110a 0202 00011170 00011171',
			[{ type: 'sequence', asNumbers: [1, 70000, 70001] }],
		],
		[
			'a longer AS4_PATH is not trusted',
			'400204 0201 0001',
			'c0110a 0202 00011170 00011171',
			[{ type: 'sequence', asNumbers: [1] }],
		],
		[
			'a set counts as one',
			'40020a 0102 0001 0002 0201 5ba0',
			'c01106 0201 00011170',
			[
				{ type: 'set', asNumbers: [1, 2] },
				{ type: 'sequence', asNumbers: [70000] },
			],
		],
		[
			'confederation segments in AS4_PATH are dropped',
			'400204 0201 5ba0',
			'c0110c 0301 00000009 0201 00011170',
			[{ type: 'sequence', asNumbers: [70000] }],
		],
	];
for (const [name, asPath, as4Path, merged] of asPaths) {
	test(`from a 2-octet speaker, ${name} (RFC 6793 §4.2.3)`, () => {
		assert.deepEqual(decoded(announces(`${ORIGIN}${asPath}${NEXT_HOP}${as4Path}`), OLD).attributes?.asPath, merged);
	});
}

test('leading confederation segments stay before a merged AS4_PATH', () => {
	const asPath = '400208 0301 0009 0201 5ba0';
	const update = decoded(announces(`${ORIGIN}${asPath}${NEXT_HOP}400504 00000064 c01106 0201 00011170`), {
		...OLD,
		ibgp: true,
	});
	assert.deepEqual(update.attributes?.asPath, [
		{ type: 'confedSequence', asNumbers: [9] },
		{ type: 'sequence', asNumbers: [70000] },
	]);
});

test('an AGGREGATOR that is not AS_TRANS makes AS4_PATH and AS4_AGGREGATOR void (RFC 6793 §4.2.3)', () => {
	const attributes = (as: string): string =>
		`${ORIGIN}400204 0201 5ba0 ${NEXT_HOP} c00706 ${as} 0a000001 c01106 0201 00011170 c01208 00011170 0a000002`;
	assert.deepEqual(decoded(announces(attributes('fde9')), OLD).attributes, {
		origin: 'igp',
		asPath: [{ type: 'sequence', asNumbers: [23456] }],
		aggregator: { asNumber: 65001, address: '10.0.0.1' },
	});
	assert.deepEqual(decoded(announces(attributes('5ba0')), OLD).attributes, {
		origin: 'igp',
		asPath: [{ type: 'sequence', asNumbers: [70000] }],
		aggregator: { asNumber: 70000, address: '10.0.0.2' },
	});
});

test('unknown attributes: transitive ones are kept and marked partial, others forgotten', () => {
	const update = decoded(announces(`${ORIGIN}${AS_PATH}${NEXT_HOP} c06301aa 806401bb d0650001cc`));
	assert.deepEqual(update.attributes?.unknown, [
		{ flags: 0xe0, code: 99, value: Uint8Array.of(0xaa) },
		{ flags: 0xe0, code: 101, value: Uint8Array.of(0xcc) },
	]);
});

test('nothing decoded shares memory with what was received', () => {
	const whole = message(2, announces(`${ORIGIN}${AS_PATH}${NEXT_HOP} c06301aa`));
	const body = Buffer.from(whole.subarray(19));
	const result = decodeWhole(whole);
	body.fill(0);
	whole.fill(0);
	assert.ok(result.ok && result.value.type === 'UPDATE');
	assert.deepEqual(result.value.attributes?.unknown?.[0]?.value, Uint8Array.of(0xaa));
});

test('a large community given twice counts once (RFC 8092 §5)', () => {
	const one = '000000010000000200000003';
	const update = decoded(announces(`${ORIGIN}${AS_PATH}${NEXT_HOP} c02018 ${one}${one}`));
	assert.deepEqual(update.attributes?.largeCommunities, [[1, 2, 3]]);
});
