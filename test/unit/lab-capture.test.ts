import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { parseSighting } from '../../src/lab/diagnose.ts';
import { createPcapReader, type Frame, isEncapsulated } from '../../src/lab/pcap.ts';
import { table } from '../../src/lab/table.ts';

const hex = (text: string): Buffer => Buffer.from(text.replaceAll(/\s/g, ''), 'hex');

const ethernet4 = `${'00'.repeat(12)} 0800`;
const ethernet6 = `${'00'.repeat(12)} 86dd`;
const echo4 = hex(`${ethernet4} 4500001c 00000000 4001 0000 0af40102 0af40203 0800 0000 0001 0001`);
const echo6 = hex(
	`${ethernet6} 60000000 0008 3a40 fd000244000000010000000000000002 fd000244000000020000000000000003 8000 0000 0001 0001`,
);
const ipip = hex(`${ethernet4} 45000030 00000000 4004 0000 c000020b c000020c 4500001c 00000000`);
const vxlan = hex(`${ethernet4} 45000030 00000000 4011 0000 c000020b c000020c e000 12b5 0010 0000`);
const arp = hex(`${'00'.repeat(12)} 0806 ${'00'.repeat(28)}`);

const pcap = (frames: readonly Buffer[]): Buffer =>
	Buffer.concat([
		Buffer.alloc(24),
		...frames.flatMap((frame) => {
			const header = Buffer.alloc(16);
			header.writeUInt32LE(frame.length, 8);
			return [header, frame];
		}),
	]);

const read = (file: Buffer, pieceSize: number): Frame[] => {
	const frames: Frame[] = [];
	const feed = createPcapReader((frame) => frames.push(frame));
	for (let at = 0; at < file.length; at += pieceSize) feed(file.subarray(at, at + pieceSize));
	return frames;
};

describe('frames of the fabric', () => {
	const file = pcap([echo4, arp, echo6, ipip, vxlan]);
	for (const pieceSize of [1, 7, 1000]) {
		it(`are read from pieces of ${pieceSize} bytes`, () => {
			const frames = read(file, pieceSize);
			assert.deepEqual(
				frames.map(({ src, dst, protocol, isEchoRequest }) => [src, dst, protocol, isEchoRequest]),
				[
					['10.244.1.2', '10.244.2.3', 1, true],
					['fd00:244:0:1::2', 'fd00:244:0:2::3', 58, true],
					['192.0.2.11', '192.0.2.12', 4, false],
					['192.0.2.11', '192.0.2.12', 17, false],
				],
			);
			assert.deepEqual(frames.map(isEncapsulated), [false, false, true, true]);
		});
	}
});

describe('a line of tcpdump -i any', () => {
	it('tells interface, direction and kind', () => {
		assert.deepEqual(
			parseSighting('12:00:00.123456 manx01 In  IP 10.244.1.2 > 10.244.2.2: ICMP echo request, id 1, seq 1, length 64'),
			{ dev: 'manx01', direction: 'In', kind: 'request' },
		);
		assert.deepEqual(parseSighting('12:00:00.1 eth0  Out IP6 fd00::1 > fd00::2: ICMP6, echo reply, id 1, seq 1'), {
			dev: 'eth0',
			direction: 'Out',
			kind: 'reply',
		});
		assert.equal(parseSighting('12:00:00.1 eth0  Out ARP, Request who-has 192.0.2.12'), undefined);
	});
});

describe('a table', () => {
	it('lines its columns up', () => {
		assert.equal(table(['A', 'B'], [['long', 'x'], ['✗']]), 'A     B\nlong  x\n✗');
	});
});
