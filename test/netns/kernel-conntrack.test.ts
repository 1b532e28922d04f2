import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { createTestNetns, type TestNetns } from './kernel-netns.ts';

let space: TestNetns;
before(() => {
	space = createTestNetns();
});
after(() => space?.remove());

const insert = (...args: string[]): void => {
	space.exec('conntrack', '-I', '-t', '300', ...args);
};
const udp = (src: string, dst: string, port: number, ...more: string[]): void => {
	insert('-p', 'udp', '-s', src, '-d', dst, '--sport', String(port), '--dport', '53', ...more);
};
const sources = (family: string): string[] =>
	[...space.exec('conntrack', '-L', '-f', family).matchAll(/sport=(\d+) dport=53 /g)]
		.map((match) => match[1] as string)
		.sort();

test('entries that name the address on any side, behind NAT as well, are deleted and counted; others stay', async () => {
	const kernel = space.kernel({ watch: false });
	udp('10.0.0.7', '10.0.0.9', 1001);
	udp('10.0.0.9', '10.0.0.7', 1002);
	udp('203.0.113.5', '10.96.0.10', 1003, '--dst-nat', '10.0.0.7');
	udp('10.0.0.7', '203.0.113.5', 1004, '--src-nat', '192.0.2.2');
	udp('10.0.0.8', '10.0.0.9', 1005);
	udp('10.0.0.70', '10.0.0.9', 1006);
	udp('fd00::7', 'fd00::9', 1007);
	udp('fd00::8', 'fd00::7', 1008);
	udp('fd00::8', 'fd00::9', 1009);
	assert.equal(await kernel.deleteConntrack('10.0.0.7'), 4);
	assert.deepEqual(sources('ipv4'), ['1005', '1006']);
	assert.deepEqual(sources('ipv6'), ['1007', '1008', '1009']);
	assert.equal(await kernel.deleteConntrack('fd00::7'), 2);
	assert.deepEqual(sources('ipv6'), ['1009']);
	assert.equal(await kernel.deleteConntrack('10.0.0.7'), 0);
	assert.equal(await kernel.deleteConntrack('fish'), 0);
});

test('many entries at once go in batches', async () => {
	const kernel = space.kernel({ watch: false });
	space.exec(
		'sh',
		'-c',
		'i=1; while [ $i -le 600 ]; do conntrack -I -t 300 -p udp -s 10.7.0.1 -d 10.7.0.2 --sport $i --dport 99 2>&1; i=$((i+1)); done',
	);
	assert.equal(await kernel.deleteConntrack('10.7.0.1'), 600);
});
