import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { writeAddressBytes } from '../../src/kernel/write-address.ts';
import { addressFromBytes, addressToBytes } from '../../src/net/ip.ts';

const agree = (text: string): void => {
	const buffer = new Uint8Array(24).fill(0xaa);
	const length = writeAddressBytes(buffer, 4, `${text}/12`, text.length);
	const expected = addressToBytes(text);
	assert.equal(length, expected?.length ?? 0, text);
	if (expected !== undefined) assert.deepEqual([...buffer.subarray(4, 4 + length)], [...expected], text);
	assert.deepEqual([...buffer.subarray(0, 4), ...buffer.subarray(20)], new Array(8).fill(0xaa));
};

test('every address is written as the strict parser reads it', () => {
	const byte = fc.oneof(fc.constant(0), fc.integer({ min: 0, max: 255 }));
	fc.assert(
		fc.property(fc.array(byte, { minLength: 16, maxLength: 16 }), (bytes) =>
			agree(addressFromBytes(Uint8Array.from(bytes), 6)),
		),
	);
	fc.assert(
		fc.property(fc.array(byte, { minLength: 4, maxLength: 4 }), (bytes) =>
			agree(addressFromBytes(Uint8Array.from(bytes), 4)),
		),
	);
});

test('text that looks like an address is taken or refused as by the strict parser', () => {
	const unit = fc.constantFrom(
		'0',
		'1',
		'9',
		'10',
		'255',
		'256',
		'a',
		'F',
		'ffff',
		'12345',
		'.',
		':',
		'::',
		' ',
		'g',
		'1.2.3.4',
	);
	fc.assert(
		fc.property(fc.array(unit, { maxLength: 17 }), (parts) => agree(parts.join(''))),
		{ numRuns: 20_000 },
	);
	for (const text of ['::', '1::', '::1', '1:2:3:4:5:6:7::', '::2:3:4:5:6:7:8', '1:2:3:4:5:6:7:8', ':', '1:', ':1'])
		agree(text);
	for (const text of ['1:2:3:4:5:6:7:8:9', '1::2::3', '01.2.3.4', '1.2.3', '::ffff:1.2.3.4', 'FD00::1', '00001::'])
		agree(text);
});
