import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { type Instruction, ttlFilter } from '../../bird/bfd/ttl-filter.ts';
import { addressToBytes, type Family } from '../../src/net/ip.ts';

/** Runs a program over an IP header: how many bytes of the packet are let in. */
const run = (program: readonly Instruction[], header: Uint8Array): number => {
	const view = new DataView(header.buffer);
	let accumulator = 0;
	for (let at = 0; ; at++) {
		const [code, whenTrue, whenFalse, value] = program[at] as Instruction;
		const offset = value + 0x100000;
		if (code === 0x30) accumulator = view.getUint8(offset);
		else if (code === 0x20) accumulator = view.getUint32(offset);
		else if (code === 0x15) at += accumulator === value ? whenTrue : whenFalse;
		else if (code === 0x35) at += accumulator >= value ? whenTrue : whenFalse;
		else return value;
	}
};

const takes = (family: Family, program: readonly Instruction[], source: string, ttl: number): boolean => {
	const header = new Uint8Array(family === 4 ? 20 : 40);
	header[family === 4 ? 8 : 7] = ttl;
	header.set(addressToBytes(source) ?? [], family === 4 ? 12 : 8);
	return run(program, header) > 0;
};

describe('TTL filter', () => {
	for (const [family, a, b, stranger] of [
		[4, '192.0.2.1', '203.0.113.200', '192.0.2.9'],
		[6, '2001:db8::1', '2001:db8:ffff::1', '2001:db8::2'],
	] as const) {
		it(`IPv${family}, one hop: 255 and nothing less`, () => {
			const program = ttlFilter(family, [{ address: a, minimumTtl: 255 }]);
			assert.ok(takes(family, program, a, 255));
			assert.ok(!takes(family, program, a, 254));
		});

		it(`IPv${family}, several hops: to each its own`, () => {
			const program = ttlFilter(family, [
				{ address: a, minimumTtl: 254 },
				{ address: b, minimumTtl: 250 },
			]);
			assert.ok(takes(family, program, a, 254));
			assert.ok(!takes(family, program, a, 253));
			assert.ok(takes(family, program, b, 250));
			assert.ok(!takes(family, program, b, 249));
			assert.ok(!takes(family, program, stranger, 255));
		});
	}
});
