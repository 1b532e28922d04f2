import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { type ControlPacket, decodeControl, encodeControl } from '../../bird/bfd/packet.ts';

const hex = (text: string): Uint8Array => Uint8Array.from(Buffer.from(text.replaceAll(/\s/g, ''), 'hex'));
const changed = (at: number, value: number): Uint8Array => hex(up).with(at, value);

/** As FRR sends it: Up, Poll, multiplier 3, 300 ms both ways. */
const up = '20e00318 00000001 89abcdef 000493e0 000493e0 00000000';
const packet: ControlPacket = {
	diagnostic: 0,
	state: 'Up',
	poll: true,
	final: false,
	controlPlaneIndependent: false,
	demand: false,
	detectMultiplier: 3,
	myDiscriminator: 1,
	yourDiscriminator: 0x89abcdef,
	desiredMinTx: 300_000,
	requiredMinRx: 300_000,
	requiredMinEchoRx: 0,
};

describe('BFD control packets (RFC 5880 §4.1)', () => {
	it('bytes to values and back', () => {
		assert.deepEqual(decodeControl(hex(up)), { ok: true, packet });
		assert.deepEqual(encodeControl(packet), hex(up));
	});

	it('every flag, state and diagnostic', () => {
		const other: ControlPacket = {
			...packet,
			diagnostic: 7,
			state: 'AdminDown',
			poll: false,
			final: true,
			controlPlaneIndependent: true,
			demand: true,
		};
		assert.deepEqual(encodeControl(other).subarray(0, 2), hex('271a'));
		assert.deepEqual(decodeControl(encodeControl(other)), { ok: true, packet: other });
	});

	it('what follows the length is ignored', () => {
		assert.deepEqual(decodeControl(hex(`${up} ffff`)), { ok: true, packet });
	});

	for (const [what, bytes, error] of [
		['too short', hex(up).subarray(0, 23), /23 bytes/],
		['nothing', new Uint8Array(0), /0 bytes/],
		['another version', changed(0, 0x40), /version 2/],
		['a length below 24', changed(3, 23), /length 23/],
		['a length beyond the datagram', changed(3, 25), /length 25/],
		['multiplier 0', changed(2, 0), /multiplier 0/],
		['multipoint', changed(1, 0xe1), /multipoint/],
		['authenticated', changed(1, 0xe4), /authenticated/],
		['My Discriminator 0', changed(7, 0), /My Discriminator 0/],
		['Your Discriminator 0 in Up', hex(up).fill(0, 8, 12), /Your Discriminator 0 in state Up/],
	] as const) {
		it(`refused (§6.8.6): ${what}`, () => {
			const result = decodeControl(bytes);
			assert.ok(!result.ok);
			assert.match(result.error, error);
		});
	}

	it('Your Discriminator 0 is fine in Down and AdminDown', () => {
		for (const state of ['Down', 'AdminDown'] as const) {
			assert.ok(decodeControl(encodeControl({ ...packet, state, yourDiscriminator: 0 })).ok);
		}
	});
});
