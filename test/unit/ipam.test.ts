import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createIpam, type Ipam, maxReleased, quarantineMs } from '../../felix/cni/ipam.ts';

const setup = (...cidrs: readonly string[]) => {
	const time = { now: 1_000_000 };
	const ipam = createIpam({ clock: { now: () => time.now } });
	ipam.setPools(cidrs);
	return { ipam, time };
};

const take = (ipam: Ipam, owner: string): readonly string[] => {
	const result = ipam.allocate(owner);
	assert.ok(result.ok, result.ok ? '' : result.error);
	return result.addresses;
};

test('both families come together, in order, without network and broadcast address', () => {
	const { ipam } = setup('10.244.1.0/30', 'fd00:1::/64');
	assert.deepEqual(take(ipam, 'a'), ['10.244.1.1', 'fd00:1::1']);
	assert.deepEqual(take(ipam, 'b'), ['10.244.1.2', 'fd00:1::2']);
	assert.deepEqual(take(ipam, 'a'), ['10.244.1.1', 'fd00:1::1'], 'the same again for the same owner');
});

test('exhaustion names CIDR and counts, and takes nothing of the other family', () => {
	const { ipam } = setup('10.244.1.0/30', 'fd00:1::/64');
	take(ipam, 'a');
	take(ipam, 'b');
	const result = ipam.allocate('c');
	assert.ok(!result.ok);
	assert.match(result.error, /no free IPv4 address .* 2 of 2 addresses of 10\.244\.1\.0\/30 in use/);
	ipam.release('a');
	assert.deepEqual(take(ipam, 'c'), ['10.244.1.1', 'fd00:1::3']);
});

for (const [cidr, addresses] of [
	['10.0.0.0/31', ['10.0.0.0', '10.0.0.1']],
	['10.0.0.7/32', ['10.0.0.7']],
	['fd00::/127', ['fd00::', 'fd00::1']],
	['fd00::/126', ['fd00::1', 'fd00::2', 'fd00::3']],
] as const) {
	test(`${cidr} has exactly ${addresses.join(' ')}`, () => {
		const { ipam } = setup(cidr);
		for (const [index, address] of addresses.entries()) assert.deepEqual(take(ipam, String(index)), [address]);
		assert.ok(!ipam.allocate('one more').ok);
	});
}

test('never used first, then least recently released, then even one just released', () => {
	const { ipam, time } = setup('10.0.0.0/29');
	for (const owner of ['1', '2', '3', '4']) take(ipam, owner);
	ipam.release('2');
	time.now += quarantineMs;
	ipam.release('1');
	assert.deepEqual(take(ipam, 'a'), ['10.0.0.5']);
	assert.deepEqual(take(ipam, 'b'), ['10.0.0.6']);
	assert.deepEqual(take(ipam, 'c'), ['10.0.0.2']);
	assert.deepEqual(take(ipam, 'd'), ['10.0.0.1'], 'released this moment, but the only one');
});

test('a cancelled allocation is the next again', () => {
	const { ipam } = setup('10.0.0.0/24');
	take(ipam, 'a');
	take(ipam, 'b');
	ipam.cancel('a');
	assert.deepEqual(take(ipam, 'c'), ['10.0.0.1']);
	assert.deepEqual(take(ipam, 'd'), ['10.0.0.3']);
});

test('a pod keeps its address when the podCIDR changes, and nobody gets it when the CIDR is back', () => {
	const { ipam } = setup('10.0.0.0/30');
	take(ipam, 'a');
	ipam.setPools(['10.0.1.0/30']);
	assert.deepEqual(ipam.addressesOf('a'), ['10.0.0.1']);
	assert.deepEqual(take(ipam, 'a'), ['10.0.0.1']);
	assert.deepEqual(take(ipam, 'b'), ['10.0.1.1']);
	ipam.setPools(['10.0.0.0/30']);
	assert.deepEqual(take(ipam, 'c'), ['10.0.0.2']);
	assert.ok(!ipam.allocate('d').ok);
});

test('an address two veths claim stays the first one’s', () => {
	const { ipam } = setup('10.0.0.0/24');
	assert.deepEqual(ipam.restore('a', ['10.0.0.1']), []);
	assert.deepEqual(ipam.restore('b', ['10.0.0.1', '10.0.0.2']), ['10.0.0.1']);
	assert.deepEqual(ipam.release('b'), ['10.0.0.2']);
	assert.deepEqual(take(ipam, 'c'), ['10.0.0.3'], '.1 is in use, .2 cools down');
});

test('big pools cost no memory an address, and released addresses are bounded', () => {
	const { ipam, time } = setup('10.0.0.0/8', 'fd00::/64');
	for (let i = 0; i < 3 * maxReleased; i++) {
		take(ipam, 'x');
		ipam.release('x');
		time.now += quarantineMs;
	}
	assert.ok(ipam.released().length <= maxReleased + 2);
});

test('without a podCIDR nothing is handed out', () => {
	const { ipam } = setup();
	const result = ipam.allocate('a');
	assert.deepEqual(result, { ok: false, error: 'this node has no podCIDR yet' });
});
