/** Bodies as BIRD 2.0.12, FRR 8.4 and GoBGP 3.10 sent them to a peer with AS 65002. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { UpdateMessage } from 'bgp-js-lite';
import { captures } from './bgp-captures.ts';
import { decodeWhole, EBGP, message } from './bgp-hex.ts';

const opens: readonly (readonly [name: string, body: string, holdTime: number, capabilities: readonly number[]])[] = [
	[
		'BIRD',
		'045ba000f0c00002012602240104000100010104000200010200400a007800010100000201004104fa56ea0146004700',
		240,
		[1, 1, 2, 64, 65, 70, 71],
	],
	[
		'FRR',
		`045ba000b4c00002015b0206010400010001020601040002000102028000020202000202460002064104fa56ea0102020600020a4508
		000101010002010102054903017400020c400ac07800010100000201000210470e0001018000000000020180000000`,
		180,
		[1, 1, 128, 2, 70, 65, 6, 69, 73, 64, 71],
	],
	[
		'GoBGP',
		'045ba0005ac00002012402220200490402766d000104000100010104000200014104fa56ea010506000100010002',
		90,
		[2, 73, 1, 1, 65, 5],
	],
];
for (const [name, body, holdTime, capabilities] of opens) {
	test(`an OPEN of ${name}`, () => {
		const decoded = decodeWhole(message(1, body));
		assert.ok(decoded.ok && decoded.value.type === 'OPEN');
		const open = decoded.value;
		assert.deepEqual([open.asNumber, open.holdTime, open.bgpIdentifier], [23456, holdTime, '192.0.2.1']);
		assert.deepEqual(
			open.capabilities.map((capability) => capability.code),
			capabilities,
		);
		assert.deepEqual(
			open.capabilities.find((capability) => capability.code === 65),
			{ code: 65, asNumber: 4200000001 },
		);
	});
}

const own = { type: 'sequence', asNumbers: [4200000001] } as const;

const updates: readonly (readonly [name: string, body: string, value: Omit<UpdateMessage, 'type' | 'withdrawn'>])[] = [
	[
		'BIRD, IPv4 with three kinds of communities',
		captures.birdIpv4,
		{
			announced: [{ afi: 1, safi: 1, nlri: [{ prefix: '10.1.0.0/16' }], nextHop: '192.0.2.1' }],
			attributes: {
				origin: 'igp',
				asPath: [own],
				communities: [0xfde90007],
				extendedCommunities: [0x0002fde900000009n],
				largeCommunities: [[65001, 1, 2]],
			},
		},
	],
	[
		'BIRD, IPv6',
		captures.birdIpv6,
		{
			announced: [
				{
					afi: 2,
					safi: 1,
					nlri: [{ prefix: '2001:db8::/33' }, { prefix: 'fd01::/48' }],
					nextHop: 'fd00::1',
				},
			],
			attributes: { origin: 'igp', asPath: [own] },
		},
	],
	[
		'FRR, IPv6 over IPv4, everything passed on, an extended length where none is needed',
		captures.frrIpv6,
		{
			announced: [
				{
					afi: 2,
					safi: 1,
					nlri: [{ prefix: 'fd02::/47' }, { prefix: 'fd03::1/128' }],
					nextHop: '::ffff:c000:201',
				},
			],
			attributes: {
				origin: 'egp',
				asPath: [
					{ type: 'sequence', asNumbers: [4200000001, 65002, 4200000009, 7] },
					{ type: 'set', asNumbers: [8, 9] },
				],
				atomicAggregate: true,
				aggregator: { asNumber: 4200000009, address: '10.9.9.9' },
				communities: [0xfdea0001],
				extendedCommunities: [0x0002fdea00000064n],
				largeCommunities: [[65002, 3, 4]],
				unknown: [{ flags: 0xe0, code: 99, value: Uint8Array.of(1, 2, 3) }],
			},
		},
	],
	[
		'GoBGP, MP_REACH_NLRI last',
		captures.gobgpIpv6,
		{
			announced: [{ afi: 2, safi: 1, nlri: [{ prefix: 'fd05::/48' }], nextHop: 'fd00::1' }],
			attributes: { origin: 'incomplete', asPath: [own] },
		},
	],
	['BIRD, End-of-RIB', captures.birdEndOfRib, { announced: [], endOfRib: { afi: 2, safi: 1 } }],
];
for (const [name, body, value] of updates) {
	test(`an UPDATE of ${name}`, () => {
		assert.deepEqual(decodeWhole(message(2, body), EBGP), {
			ok: true,
			value: { type: 'UPDATE', withdrawn: [], ...value },
		});
	});
}
