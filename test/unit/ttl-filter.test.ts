import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { rangeOf } from '../../bird/configured-peers.ts';
import { createTtlFilter } from '../../bird/transport/ttl-filter.ts';
import { addressToBytes, parseCidr } from '../../src/net/ip.ts';

/** Runs the program as the kernel would, on a packet of which only TTL and source matter. */
const passes = (program: Buffer, source: string, ttl: number): boolean => {
	const v6 = source.includes(':');
	const packet = Buffer.alloc(40);
	packet.writeUInt8(ttl, v6 ? 7 : 8);
	packet.set(addressToBytes(source) ?? [], v6 ? 8 : 12);
	let a = 0;
	for (let at = 0; ; ) {
		const [code, jt, jf, k] = [
			program.readUInt16LE(8 * at),
			program.readUInt8(8 * at + 2),
			program.readUInt8(8 * at + 3),
			program.readUInt32LE(8 * at + 4),
		];
		at++;
		if (code === 0x20) a = packet.readUInt32BE(k - 0xfff00000);
		else if (code === 0x30) a = packet.readUInt8(k - 0xfff00000);
		else if (code === 0x54) a = (a & k) >>> 0;
		else if (code === 0x15) at += a === k ? jt : jf;
		else if (code === 0x35) at += a >= k ? jt : jf;
		else if (code === 0x06) return k !== 0;
		else assert.fail(`unknown instruction ${code}`);
	}
};
const rule = (prefix: string, minimumTtl: number) => {
	const cidr = parseCidr(prefix);
	assert.ok(cidr);
	return { cidr, minimumTtl };
};

describe('TTL filter of a listener (RFC 5082)', () => {
	const four = createTtlFilter(4, [rule('192.0.2.2/32', 255), rule('198.51.100.0/25', 253), rule('0.0.0.0/0', 100)]);
	const six = createTtlFilter(6, [rule('2001:db8::2/128', 255), rule('2001:db8:1:8000::/49', 250)]);
	for (const [program, source, ttl, expected] of [
		[four, '192.0.2.2', 255, true],
		[four, '192.0.2.2', 254, false],
		[four, '192.0.2.3', 254, true],
		[four, '192.0.2.3', 99, false],
		[four, '198.51.100.127', 253, true],
		[four, '198.51.100.127', 252, false],
		[four, '198.51.100.128', 252, true],
		[six, '2001:db8::2', 254, false],
		[six, '2001:db8::2', 255, true],
		[six, '2001:db8::3', 1, true],
		[six, '2001:db8:1:8001::1', 249, false],
		[six, '2001:db8:1:8001::1', 250, true],
		[six, '2001:db8:1:7fff::1', 1, true],
	] as const) {
		it(`${source} with TTL ${ttl} ${expected ? 'passes' : 'is dropped'}`, () => {
			assert.equal(passes(program, source, ttl), expected);
		});
	}
});

it('the narrowest range of neighbours decides', () => {
	const peer = {
		port: 179,
		asNumber: 1,
		holdTime: 90,
		restartTime: 120,
		passive: true,
		families: [],
		exportLearnt: false,
	};
	const ranges = ['10.0.0.0/8', '10.1.0.0/16', 'fd00::/8'].map((prefix) => ({ name: prefix, prefix, limit: 1, peer }));
	assert.deepEqual(
		['10.1.2.3', '10.2.2.3', 'fd00::1', '192.0.2.1'].map((address) => rangeOf(address, ranges)?.name),
		['10.1.0.0/16', '10.0.0.0/8', 'fd00::/8', undefined],
	);
});
