import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createFramer, decodeMessage } from 'bgp-js-lite';
import { bytes, decodeWhole, EBGP, message, toHex } from './bgp-hex.ts';

type Row = readonly [name: string, whole: Uint8Array, code: number, subcode: number, data: string];

const MARKER = 'ffffffffffffffffffffffffffffffff';
const OPEN = '04 fc00 005a 0a000001';

const rows: readonly Row[] = [
	['a marker that is not all ones', bytes('ffffffffffffffffffffffffffffff7f 0013 04'), 1, 1, ''],
	['a length of 0', bytes(`${MARKER} 0000`), 1, 2, '0000'],
	['a length of 18', bytes(`${MARKER} 0012`), 1, 2, '0012'],
	['a length over the limit', bytes(`${MARKER} 1001`), 1, 2, '1001'],
	['an OPEN of 28', bytes(`${MARKER} 001c 01`), 1, 2, '001c'],
	['an UPDATE of 22', bytes(`${MARKER} 0016 02`), 1, 2, '0016'],
	['a NOTIFICATION of 20', bytes(`${MARKER} 0014 03`), 1, 2, '0014'],
	['a KEEPALIVE of 20', bytes(`${MARKER} 0014 04`), 1, 2, '0014'],
	['a ROUTE-REFRESH of 21', bytes(`${MARKER} 0015 05`), 1, 2, '0015'],
	['a ROUTE-REFRESH of 22', message(5, '0001 00'), 1, 2, '0016'],
	['a BoRR that is too short', message(5, '0001 01'), 7, 1, `${MARKER}001605000101`],
	['type 0', bytes(`${MARKER} 0013 00`), 1, 3, '00'],
	['type 6', bytes(`${MARKER} 0013 06`), 1, 3, '06'],
	['a ROUTE-REFRESH of subtype 0 that is too long', message(5, '0001 00 01 00'), 1, 2, '0018'],
	['a BoRR that is too long', message(5, '0001 01 01 aa'), 7, 1, `${MARKER}0018050001 0101aa`],
	['version 3', message(1, '03 fc00 005a 0a000001 00'), 2, 1, '0004'],
	['version 5', message(1, '05 fc00 005a 0a000001 00'), 2, 1, '0004'],
	['AS number 0', message(1, '04 0000 005a 0a000001 00'), 2, 2, ''],
	['AS number 0 in the capability', message(1, `${OPEN} 08 0206 4104 00000000`), 2, 2, ''],
	['a hold time of 1', message(1, '04 fc00 0001 0a000001 00'), 2, 6, ''],
	['a hold time of 2', message(1, '04 fc00 0002 0a000001 00'), 2, 6, ''],
	['identifier 0.0.0.0', message(1, '04 fc00 005a 00000000 00'), 2, 3, ''],
	['an optional parameter nobody knows', message(1, `${OPEN} 03 01 01 00`), 2, 4, ''],
	['parameters shorter than their length', message(1, `${OPEN} 05 0202 0200`), 2, 0, ''],
	['parameters longer than their length', message(1, `${OPEN} 03 0202 0200`), 2, 0, ''],
	['a parameter beyond the parameters', message(1, `${OPEN} 04 0203 0200`), 2, 0, ''],
	['a parameter without a length', message(1, `${OPEN} 05 0202 0200 02`), 2, 0, ''],
	['a capability beyond its parameter', message(1, `${OPEN} 04 0202 0201`), 2, 0, ''],
	['half a capability header', message(1, `${OPEN} 03 0201 02`), 2, 0, ''],
	['a multiprotocol capability of three octets', message(1, `${OPEN} 07 0205 0103 000100`), 2, 0, ''],
	['a 4-octet AS capability of three octets', message(1, `${OPEN} 07 0205 4103 000001`), 2, 0, ''],
	['a graceful restart capability of three octets', message(1, `${OPEN} 07 0205 4003 000000`), 2, 0, ''],
	['a route refresh capability with a value', message(1, `${OPEN} 05 0203 0201 00`), 2, 0, ''],
	['parameter type 255 that is not the first', message(1, `${OPEN} 05 0200 ff01 00`), 2, 4, ''],
	['extended parameters without a length', message(1, `${OPEN} ff ff 00`), 2, 0, ''],
	['extended parameters of the wrong length', message(1, `${OPEN} ff ff 0006 02 0002 0200`), 2, 0, ''],
];

for (const [name, whole, code, subcode, data] of rows) {
	test(`${name} is answered with ${code}/${subcode}`, () => {
		const decoded = decodeWhole(whole);
		assert.ok(!decoded.ok);
		const { error } = decoded;
		assert.deepEqual([error.code, error.subcode, toHex(error.data)], [code, subcode, data.replaceAll(' ', '')]);
		assert.equal(error.action, 'sessionReset');
		assert.match(error.message, /^[A-Z].*\.$/s);
	});
}

test('hold times 0 and 3 are accepted', () => {
	assert.ok(decodeWhole(message(1, '04 fc00 0000 0a000001 00')).ok);
	assert.ok(decodeWhole(message(1, '04 fc00 0003 0a000001 00')).ok);
});

test('garbage is refused at its first octet', () => {
	const framer = createFramer(4096);
	framer.push(Buffer.from('G'));
	const first = framer.next();
	assert.ok(first !== undefined && !first.ok);
	assert.deepEqual([first.error.code, first.error.subcode], [1, 1]);
});

test('after an error the framer gives that error for ever', () => {
	const framer = createFramer(4096);
	framer.push(bytes(`${MARKER} 0012 04`));
	const first = framer.next();
	framer.push(message(4, ''));
	assert.ok(first !== undefined && !first.ok);
	assert.equal(framer.next(), first);
});

test('messages before the error come out first', () => {
	const framer = createFramer(4096);
	framer.push(Buffer.concat([message(4, ''), bytes('00')]));
	assert.deepEqual(framer.next(), { ok: true, value: { type: 4, body: new Uint8Array(0) } });
	assert.equal(framer.next()?.ok, false);
});

test('a raised limit lets long UPDATEs through, and still no long OPEN (RFC 8654)', () => {
	const framer = createFramer(4096);
	framer.setMaxMessageLength(65535);
	const body = '0000 0000'.padEnd(20_000, '0');
	framer.push(message(2, body));
	assert.equal(framer.next()?.ok, true);
	framer.push(message(1, body));
	const refused = framer.next();
	assert.ok(refused !== undefined && !refused.ok);
	assert.deepEqual([refused.error.code, refused.error.subcode], [1, 2]);
});

test('bodies too short for their type are refused without a framer too', () => {
	for (const type of [1, 2, 3, 5]) {
		const decoded = decodeMessage(type, bytes('00'), EBGP);
		assert.ok(!decoded.ok);
		assert.deepEqual([decoded.error.code, decoded.error.subcode, toHex(decoded.error.data)], [1, 2, '0014']);
	}
	assert.equal(decodeMessage(4, bytes('00'), EBGP).ok, false);
	assert.equal(decodeMessage(77, bytes(''), EBGP).ok, false);
});
