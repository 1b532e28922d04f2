import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
	decodeShutdownMessage,
	describeNotification,
	encodeShutdownMessage,
	hardReset,
	notificationFor,
} from 'bgp-js-lite';
import { bytes, toHex } from './bgp-hex.ts';

const text = (value: string): string => toHex(new TextEncoder().encode(value));

const rows: readonly (readonly [code: number, subcode: number, data: string, words: string])[] = [
	[1, 1, '', 'Message Header Error, Connection Not Synchronized'],
	[1, 2, '0012', 'Message Header Error, Bad Message Length: length 18'],
	[1, 3, '09', 'Message Header Error, Bad Message Type: type 9'],
	[2, 0, '', 'OPEN Message Error'],
	[2, 1, '0004', 'OPEN Message Error, Unsupported Version Number: version 4 is supported'],
	[2, 2, '', 'OPEN Message Error, Bad Peer AS'],
	[2, 2, 'fde9', 'OPEN Message Error, Bad Peer AS: data fd e9'],
	[2, 3, '', 'OPEN Message Error, Bad BGP Identifier'],
	[2, 4, '', 'OPEN Message Error, Unsupported Optional Parameter'],
	[2, 6, '', 'OPEN Message Error, Unacceptable Hold Time'],
	[2, 7, '010400020001', 'OPEN Message Error, Unsupported Capability: capability 1'],
	[2, 11, '', 'OPEN Message Error, Role Mismatch'],
	[3, 3, '02', 'UPDATE Message Error, Missing Well-known Attribute: AS_PATH'],
	[3, 5, '400102', 'UPDATE Message Error, Attribute Length Error: ORIGIN, data 40 01 02'],
	[3, 9, '806300', 'UPDATE Message Error, Optional Attribute Error: Attribute 99, data 80 63 00'],
	[3, 11, '', 'UPDATE Message Error, Malformed AS_PATH'],
	[4, 0, '', 'Hold Timer Expired'],
	[5, 0, '', 'Finite State Machine Error'],
	[5, 1, '02', 'Finite State Machine Error, Receive Unexpected Message in OpenSent State: message type 2'],
	[5, 2, '02', 'Finite State Machine Error, Receive Unexpected Message in OpenConfirm State: message type 2'],
	[5, 3, '01', 'Finite State Machine Error, Receive Unexpected Message in Established State: message type 1'],
	[6, 1, '000201000003e8', 'Cease, Maximum Number of Prefixes Reached: AFI 2, SAFI 1, at most 1000'],
	[6, 2, '', 'Cease, Administrative Shutdown'],
	[6, 2, '00', 'Cease, Administrative Shutdown'],
	[6, 2, `0d${text('back at noon!')}`, 'Cease, Administrative Shutdown: "back at noon!"'],
	[6, 4, `07${text('größe')}`, 'Cease, Administrative Reset: "größe"'],
	[6, 2, `07${text('a"\n\u202eb')}`, 'Cease, Administrative Shutdown: "a\\"\\n\\u{202e}b"'],
	[6, 2, '02c328', 'Cease, Administrative Shutdown: data 02 c3 28'],
	[6, 2, '0541', 'Cease, Administrative Shutdown: data 05 41'],
	[6, 3, '', 'Cease, Peer De-configured'],
	[6, 5, '', 'Cease, Connection Rejected'],
	[6, 6, '', 'Cease, Other Configuration Change'],
	[6, 7, '', 'Cease, Connection Collision Resolution'],
	[6, 8, '', 'Cease, Out of Resources'],
	[6, 9, '0400', 'Cease, Hard Reset: reason: Hold Timer Expired'],
	[6, 10, '', 'Cease, BFD Down'],
	[7, 1, '', 'ROUTE-REFRESH Message Error, Invalid Message Length'],
	[8, 0, '', 'Send Hold Timer Expired'],
	[99, 3, '01', 'error code 99, subcode 3: data 01'],
	[6, 99, '', 'Cease, subcode 99'],
];

for (const [code, subcode, data, words] of rows) {
	test(`${code}/${subcode} ${data} reads: ${JSON.stringify(words)}`, () => {
		assert.equal(describeNotification(code, subcode, bytes(data)), words);
	});
}

test('long data is cut', () => {
	assert.match(
		describeNotification(3, 0, new Uint8Array(100)),
		/^UPDATE Message Error: data (00 ){32}… \(100 octets\)$/,
	);
});

test('a hard reset within a hard reset is not followed', () => {
	const nested = new Uint8Array(4000).map((_, i) => (i % 2 === 0 ? 6 : 9));
	assert.ok(describeNotification(6, 9, nested).length < 1000);
});

test('a shutdown message is cut to 255 octets between characters, and reads back', () => {
	assert.equal(toHex(encodeShutdownMessage('')), '00');
	assert.equal(decodeShutdownMessage(encodeShutdownMessage('maintenance')), 'maintenance');
	const long = encodeShutdownMessage('€'.repeat(100));
	assert.equal(long.length, 256);
	assert.equal(decodeShutdownMessage(long), '€'.repeat(85));
	assert.equal(encodeShutdownMessage(`${'a'.repeat(254)}€`)[0], 254);
});

test('the NOTIFICATION for an error, and as a hard reset (RFC 8538)', () => {
	const error = { code: 3, subcode: 3, data: bytes('02') };
	assert.deepEqual(notificationFor(error), { type: 'NOTIFICATION', ...error });
	assert.deepEqual(hardReset(error), { type: 'NOTIFICATION', code: 6, subcode: 9, data: bytes('030302') });
});
