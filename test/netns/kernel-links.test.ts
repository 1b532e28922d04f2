import assert from 'node:assert/strict';
import { readlinkSync } from 'node:fs';
import { after, before, test } from 'node:test';
import { type KernelEvent, owners, type PodLink } from '../../src/kernel/kernel.ts';
import { inNetns } from '../../src/kernel/netns.ts';
import { openKernel } from '../../src/kernel/open-kernel.ts';
import { openSysctls } from '../../src/kernel/sysctl.ts';
import { createTestNetns, route, type TestNetns, until } from './kernel-netns.ts';

let node: TestNetns;
let pod: TestNetns;
before(() => {
	node = createTestNetns();
	pod = createTestNetns();
});
after(() => {
	node?.remove();
	pod?.remove();
});

const podLink = (more: Partial<PodLink> = {}): PodLink => ({
	hostName: 'manx0123456789a',
	hostLladdr: 'ee:ee:ee:ee:ee:ee',
	alias: 'c0ffee eth0 10.0.0.7 fd00::7',
	podName: 'eth0',
	podNetns: pod.path,
	mtu: 1400,
	...more,
});

test('a pod link is made in one go: both names, MTU, alias and peer in the pod', async () => {
	const kernel = node.kernel();
	assert.equal(await kernel.createPodLink(podLink()), undefined);
	const link = (await kernel.listLinks()).find((one) => one.name === 'manx0123456789a');
	assert.deepEqual(
		{ ...link, index: 0, peerIndex: 0, peerNetnsId: 0 },
		{
			index: 0,
			name: 'manx0123456789a',
			alias: 'c0ffee eth0 10.0.0.7 fd00::7',
			kind: 'veth',
			mtu: 1400,
			up: false,
			lowerUp: false,
			lladdr: 'ee:ee:ee:ee:ee:ee',
			master: 0,
			peerIndex: 0,
			peerNetnsId: 0,
		},
	);
	const inPod = pod.kernel({ watch: false });
	const peer = (await inPod.listLinks()).find((one) => one.name === 'eth0');
	assert.equal(peer?.index, link?.peerIndex);
	assert.equal(peer?.mtu, 1400);
	assert.ok((link?.peerNetnsId ?? -1) >= 0);
	assert.equal(await inPod.setLink('eth0', { up: true, lladdr: '02:00:00:00:00:07' }), undefined);
	assert.equal(await kernel.setLink('manx0123456789a', { up: true, mtu: 1300 }), undefined);
	const changed = (await kernel.listLinks()).find((one) => one.name === 'manx0123456789a');
	assert.deepEqual([changed?.up, changed?.mtu], [true, 1300]);
	assert.equal(await kernel.deleteLink('manx0123456789a'), undefined);
	assert.equal(await kernel.deleteLink('manx0123456789a'), undefined, 'deleting what is gone is done');
	assert.equal(
		(await inPod.listLinks()).some((one) => one.name === 'eth0'),
		false,
	);
});

test('a pod link that cannot be made says why and leaves nothing', async () => {
	const kernel = node.kernel();
	const names = async (): Promise<string[]> => (await kernel.listLinks()).map((link) => link.name);
	const before = await names();
	const cases: readonly (readonly [Partial<PodLink>, RegExp])[] = [
		[{ podNetns: '/run/netns/manxt-nosuch' }, /ENOENT.*network namespace cannot be opened/],
		[{ hostLladdr: 'fish' }, /"fish" is not a link-layer address/],
		[{ hostName: 'a-name-that-is-too-long' }, /is not an interface name/],
		[{ alias: 'x'.repeat(256) }, /256 bytes/],
		[{ hostName: 'up0' }, /EEXIST/],
		[{ podName: 'up0' }, /EEXIST/],
	];
	for (const [more, reason] of cases) {
		const error = await kernel.createPodLink(podLink(more));
		assert.match(error?.message ?? '', reason);
	}
	assert.deepEqual(await names(), before);
	const error = await kernel.setLink('nosuch', { up: true });
	assert.equal(error?.code, 'ENODEV');
});

test('one-shot work in a pod: addresses, routes over the link-local gateway and a permanent neighbour', async () => {
	const kernel = node.kernel();
	assert.equal(await kernel.createPodLink(podLink()), undefined);
	const inPod = openKernel({ log: node.log, netns: pod.path, watch: false });
	await inPod.setLink('eth0', { up: true });
	await kernel.setLink('manx0123456789a', { up: true });
	const addresses = inPod.addresses('eth0');
	addresses.set({ dev: 'eth0', address: '10.0.0.7', length: 32, scope: 'global' });
	addresses.set({ dev: 'eth0', address: 'fd00::7', length: 128, scope: 'global' });
	assert.deepEqual((await addresses.apply()).written, ['eth0 10.0.0.7/32', 'eth0 fd00::7/128']);
	const routes = inPod.routes(owners.felix);
	routes.set(route(owners.felix, '0.0.0.0/0 via 169.254.1.1 dev eth0'));
	routes.set(route(owners.felix, '169.254.1.1/32 dev eth0'));
	routes.set(route(owners.felix, '::/0 via fe80::1 dev eth0'));
	assert.deepEqual([...(await routes.apply()).failed.values()], []);
	const neighbours = inPod.neighbours('eth0');
	neighbours.set({ dev: 'eth0', address: '169.254.1.1', lladdr: 'ee:ee:ee:ee:ee:ee' });
	neighbours.set({ dev: 'eth0', address: 'fe80::1', lladdr: 'ee:ee:ee:ee:ee:ee' });
	assert.equal((await neighbours.apply()).written.length, 2);
	inPod.close();
	assert.match(pod.ip('address show eth0'), /10\.0\.0\.7\/32[\s\S]*fd00::7\/128 scope global/);
	assert.doesNotMatch(pod.ip('-6 address show eth0'), /fd00::7\/128.*tentative/);
	assert.match(pod.ip('route'), /default via 169\.254\.1\.1 dev eth0/);
	assert.match(pod.ip('neigh show'), /169\.254\.1\.1 dev eth0 lladdr ee:ee:ee:ee:ee:ee PERMANENT/);
	await kernel.deleteLink('manx0123456789a');
});

test('links and addresses are told as they come, change and go', async () => {
	const kernel = node.kernel();
	const events: KernelEvent[] = [];
	const stop = kernel.watch((event) => events.push(event));
	const saw = (type: string, removed: boolean, name: string): boolean =>
		events.some(
			(event) =>
				event.type === type &&
				'removed' in event &&
				event.removed === removed &&
				(event.type === 'link'
					? event.link.name === name
					: event.type === 'address'
						? event.address.address === name
						: event.type === 'neighbour' && event.neighbour.address === name),
		);
	node.ip('link add ev0 type veth peer name ev1');
	node.ip('address add 10.5.0.1/24 dev ev0');
	node.ip('neigh add 10.5.0.2 lladdr 02:00:00:00:00:02 dev ev0 nud permanent');
	node.ip('neigh delete 10.5.0.2 dev ev0');
	node.ip('address delete 10.5.0.1/24 dev ev0');
	node.ip('link delete ev0');
	await until(() => saw('link', true, 'ev0'), 'the link is told as gone');
	for (const removed of [false, true]) {
		assert.ok(saw('link', removed, 'ev0'));
		assert.ok(saw('address', removed, '10.5.0.1'));
		assert.ok(saw('neighbour', removed, '10.5.0.2'));
	}
	stop();
});

test('neighbours on our links are kept, those on others left alone', async () => {
	const kernel = node.kernel();
	node.ip('link add manxn0 type veth peer name n1');
	node.ip('link set manxn0 up');
	node.ip('link set n1 up');
	node.ip('neigh add 192.0.2.77 lladdr 02:00:00:00:00:77 dev up0 nud permanent');
	node.ip('neigh add 10.0.0.9 lladdr 02:00:00:00:00:99 dev manxn0 nud permanent');
	const neighbours = kernel.neighbours('manx');
	const wanted = { dev: 'manxn0', address: '10.0.0.7', lladdr: '02:00:00:00:00:07' };
	neighbours.set(wanted);
	neighbours.set({ dev: 'manxn0', address: 'fd00::7', lladdr: '02:00:00:00:00:07' });
	assert.equal((await neighbours.apply()).written.length, 2);
	assert.equal(neighbours.actual().size, 3);
	neighbours.sweep(true);
	assert.deepEqual((await neighbours.apply()).deleted, ['manxn0 10.0.0.9']);
	neighbours.set({ ...wanted, lladdr: '02:00:00:00:00:08' });
	assert.deepEqual((await neighbours.apply()).written, ['manxn0 10.0.0.7']);
	node.ip('neigh delete 10.0.0.7 dev manxn0');
	await until(() => neighbours.pending() > 0, 'the deletion is noticed');
	assert.deepEqual((await neighbours.apply()).written, ['manxn0 10.0.0.7']);
	node.ip('link set manxn0 down');
	node.ip('link set manxn0 up');
	await until(() => neighbours.pending() > 0, 'the loss with the link is noticed');
	assert.equal((await neighbours.apply()).failed.size, 0);
	assert.match(node.ip('neigh show dev manxn0'), /10\.0\.0\.7 lladdr 02:00:00:00:00:08 PERMANENT/);
	assert.match(node.ip('neigh show dev manxn0'), /fd00::7 lladdr 02:00:00:00:00:07 PERMANENT/);
	assert.deepEqual(await neighbours.resync(), []);
	neighbours.delete('manxn0 10.0.0.7');
	node.ip('link delete manxn0');
	await until(() => neighbours.pending() > 0, 'the loss of the link is noticed');
	const { failed } = await neighbours.apply();
	assert.deepEqual([...failed.keys()], ['manxn0 fd00::7']);
	assert.equal(failed.get('manxn0 fd00::7')?.code, 'ENODEV');
	assert.match(node.ip('neigh show dev up0'), /192\.0\.2\.77/);
});

test('addresses: only those once wanted are ours', async () => {
	const addresses = node.kernel().addresses('up0');
	addresses.sweep(true);
	const vip = { dev: 'up0', address: '198.51.100.7', length: 32, scope: 'global' } as const;
	const own = { dev: 'up0', address: '192.0.2.2', length: 24, scope: 'global' } as const;
	addresses.set(vip);
	addresses.set(own);
	assert.deepEqual((await addresses.apply()).written, ['up0 198.51.100.7/32']);
	node.ip('address delete 198.51.100.7/32 dev up0');
	await until(() => addresses.pending() > 0, 'the deletion is noticed');
	assert.deepEqual((await addresses.apply()).written, ['up0 198.51.100.7/32']);
	addresses.delete(addresses.keyOf(vip));
	assert.deepEqual((await addresses.apply()).deleted, ['up0 198.51.100.7/32']);
	assert.match(node.ip('address show up0'), /192\.0\.2\.2\/24[\s\S]*fd00:2::2\/64/);
});

test('rules of our protocol are added, changed without a gap, swept; others stay', async () => {
	const rules = node.kernel().rules(173);
	node.ip('rule add priority 500 from 10.9.0.0/16 lookup 77 protocol 4');
	node.ip('rule add priority 600 from 10.9.0.0/16 lookup 77 protocol 173');
	rules.set({ family: 4, priority: 700, src: '10.0.0.0/8', table: 300, protocol: 173 });
	rules.set({ family: 6, priority: 700, dst: 'fd00::/8', iif: 'up0', table: 42, protocol: 173 });
	rules.set({ family: 4, priority: 701, fwmark: { value: 0x10, mask: 0xf0 }, table: 254, protocol: 173 });
	assert.deepEqual([...(await rules.apply()).failed.values()], []);
	assert.match(node.ip('rule'), /600:.*\n700:\s+from 10\.0\.0\.0\/8 lookup 300 proto 173\n701:.*fwmark 0x10\/0xf0/);
	rules.sweep(true);
	assert.deepEqual((await rules.apply()).deleted, ['4 600']);
	rules.set({ family: 4, priority: 700, src: '10.0.0.0/9', table: 300, protocol: 173 });
	assert.deepEqual((await rules.apply()).written, ['4 700']);
	assert.equal(node.ip('rule').match(/^700:/gm)?.length, 1);
	assert.deepEqual(await rules.resync(), []);
	node.ip('rule delete priority 701');
	await until(() => rules.pending() > 0, 'the deletion is noticed');
	assert.deepEqual((await rules.apply()).written, ['4 701']);
	rules.replace([]);
	assert.equal((await rules.apply()).deleted.length, 3);
	assert.match(node.ip('rule'), /^500:/m);
});

test('sysctls are read and written in the namespace named', () => {
	const here = readlinkSync('/proc/thread-self/ns/net');
	const inside = openSysctls({ netns: node.path });
	assert.equal(inside.write('ipv4/conf/up0/forwarding', '1'), undefined);
	assert.equal(inside.read('ipv4/conf/up0/forwarding'), '1');
	assert.equal(openSysctls({ netns: pod.path }).read('ipv4/conf/up0/forwarding'), '0');
	assert.equal(openSysctls().read('ipv4/conf/up0/forwarding'), undefined);
	assert.match(inside.write('ipv4/conf/nosuch/forwarding', '1')?.message ?? '', /ENOENT/);
	assert.match(inside.write('ipv4/conf/up0/forwarding', 'fish')?.message ?? '', /EINVAL/);
	assert.equal(readlinkSync('/proc/thread-self/ns/net'), here);
});

test('after work in another namespace the thread is back home, also when the work throws', () => {
	const here = readlinkSync('/proc/thread-self/ns/net');
	const there = inNetns(node.path, () => readlinkSync('/proc/thread-self/ns/net'));
	assert.notEqual(there, here);
	assert.equal(readlinkSync('/proc/thread-self/ns/net'), here);
	assert.throws(() => inNetns(node.path, () => assert.fail('on purpose')), /on purpose/);
	assert.equal(readlinkSync('/proc/thread-self/ns/net'), here);
	assert.throws(() => inNetns('/etc/hostname', () => {}), /EINVAL/);
	assert.throws(() => openKernel({ log: node.log, netns: '/run/netns/manxt-nosuch' }), /ENOENT/);
});
