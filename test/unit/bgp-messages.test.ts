import assert from 'node:assert/strict';
import { test } from 'node:test';
import { encodeMessage, type Message, type UpdateMessage } from 'bgp-js-lite';
import { bytes, compact, decodeWhole, message, toHex } from './bgp-hex.ts';

type Row = readonly [name: string, hex: string, value: Exclude<Message, UpdateMessage>];

const MARKER = 'ffffffff ffffffff ffffffff ffffffff';

/** Same both ways. */
const rows: readonly Row[] = [
	['KEEPALIVE', `${MARKER} 0013 04`, { type: 'KEEPALIVE' }],
	[
		'OPEN without parameters',
		`${MARKER} 001d 01 04 fc00 005a 0a000001 00`,
		{ type: 'OPEN', version: 4, asNumber: 64512, holdTime: 90, bgpIdentifier: '10.0.0.1', capabilities: [] },
	],
	[
		'OPEN with every capability known',
		`${MARKER} 004f 01 04 5ba0 0000 c0000201 32
		 02 30 0104 0001 00 01 0104 0002 00 01 0200 0506 0001 0001 0002 0600
		 400a c078 0001 01 80 0002 01 00 4104 fffffffe 4600 4902 0161`,
		{
			type: 'OPEN',
			version: 4,
			asNumber: 23456,
			holdTime: 0,
			bgpIdentifier: '192.0.2.1',
			capabilities: [
				{ code: 1, afi: 1, safi: 1 },
				{ code: 1, afi: 2, safi: 1 },
				{ code: 2 },
				{ code: 5, tuples: [{ afi: 1, safi: 1, nextHopAfi: 2 }] },
				{ code: 6 },
				{
					code: 64,
					restartState: true,
					notification: true,
					restartTime: 120,
					families: [
						{ afi: 1, safi: 1, forwardingState: true },
						{ afi: 2, safi: 1, forwardingState: false },
					],
				},
				{ code: 65, asNumber: 4294967294 },
				{ code: 70 },
				{ code: 73, unknown: true, value: bytes('0161') },
			],
		},
	],
	[
		'graceful restart without families',
		`${MARKER} 0023 01 04 fc00 00f0 0a000001 06 02 04 4002 0fff`,
		{
			type: 'OPEN',
			version: 4,
			asNumber: 64512,
			holdTime: 240,
			bgpIdentifier: '10.0.0.1',
			capabilities: [{ code: 64, restartState: false, notification: false, restartTime: 4095, families: [] }],
		},
	],
	[
		'NOTIFICATION with data',
		`${MARKER} 0017 03 06 02 0141`,
		{ type: 'NOTIFICATION', code: 6, subcode: 2, data: bytes('0141') },
	],
	[
		'NOTIFICATION without data',
		`${MARKER} 0015 03 04 00`,
		{ type: 'NOTIFICATION', code: 4, subcode: 0, data: bytes('') },
	],
	['ROUTE-REFRESH', `${MARKER} 0017 05 0002 00 01`, { type: 'ROUTE_REFRESH', afi: 2, safi: 1, subtype: 0 }],
	[
		'beginning of route refresh',
		`${MARKER} 0017 05 0001 01 01`,
		{ type: 'ROUTE_REFRESH', afi: 1, safi: 1, subtype: 1 },
	],
	['end of route refresh', `${MARKER} 0017 05 0001 02 01`, { type: 'ROUTE_REFRESH', afi: 1, safi: 1, subtype: 2 }],
];

for (const [name, hex, value] of rows) {
	test(`${name}: encodes to its bytes and decodes from them`, () => {
		assert.equal(toHex(encodeMessage(value)), compact(hex));
		assert.deepEqual(decodeWhole(bytes(hex)), { ok: true, value });
	});
}

const open = (parameters: string) => decodeWhole(message(1, `04 fc00 005a 0a000001 ${parameters}`));
const capabilitiesOf = (parameters: string): unknown => {
	const decoded = open(parameters);
	return decoded.ok && decoded.value.type === 'OPEN' ? decoded.value.capabilities : decoded;
};

test('capabilities may come one to a parameter', () => {
	assert.deepEqual(capabilitiesOf('08 0202 0200 0202 4600'), [{ code: 2 }, { code: 70 }]);
});

test('extended optional parameters are read, whatever the classic length says (RFC 9072 §2)', () => {
	for (const length of ['ff', '04']) {
		assert.deepEqual(capabilitiesOf(`${length} ff 0005 02 0002 0200`), [{ code: 2 }]);
	}
});

test('an OPEN with more capabilities than classic parameters hold takes the extended form, and comes back', () => {
	const value: Message = {
		type: 'OPEN',
		version: 4,
		asNumber: 1,
		holdTime: 3,
		bgpIdentifier: '0.0.0.1',
		capabilities: [1, 2].map((code) => ({ code: 200 + code, unknown: true, value: new Uint8Array(200).fill(code) })),
	};
	const encoded = encodeMessage(value);
	assert.equal(toHex(encoded.subarray(28, 32)), 'ffff0197');
	assert.deepEqual(decodeWhole(encoded), { ok: true, value });
});

test('values that do not fit their fields are refused by the encoder', () => {
	const good = {
		type: 'OPEN',
		version: 4,
		asNumber: 1,
		holdTime: 90,
		bgpIdentifier: '10.0.0.1',
		capabilities: [],
	} as const;
	assert.throws(() => encodeMessage({ ...good, asNumber: 65536 }), RangeError);
	assert.throws(() => encodeMessage({ ...good, holdTime: -1 }), RangeError);
	assert.throws(() => encodeMessage({ ...good, bgpIdentifier: '10.0.0' }), RangeError);
	assert.throws(() => encodeMessage({ ...good, bgpIdentifier: '::1' }), RangeError);
	const restart = { code: 64, restartState: false, notification: false, restartTime: 4096, families: [] } as const;
	assert.throws(() => encodeMessage({ ...good, capabilities: [restart] }), RangeError);
});
