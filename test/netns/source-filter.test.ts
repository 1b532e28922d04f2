/** The filter at a pod's veth, on the real kernel: what it lets in, and that it is kept. */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import type { Attachment } from '../../felix/attachment.ts';
import { createSourceGuard } from '../../felix/dataplane/source-guard.ts';
import { sourceFilterOf } from '../../felix/render/index.ts';
import type { Kernel } from '../../src/kernel/kernel.ts';
import { familyOf } from '../../src/net/ip.ts';
import { encodePacket } from '../conformance/raw-packets.ts';
import { openWire, type Wire } from '../conformance/raw-sockets.ts';
import { createTestNetns, type TestNetns, until } from './kernel-netns.ts';

const dev = 'manx00000000001';
const mac = 'ee:ee:ee:ee:ee:ee';
const own = ['10.244.1.2', 'fd00:244::2'];
const others = ['10.244.1.3', '10.244.1.1', '192.0.2.2', 'fd00:244::3', 'fd01:244::2', 'fd00:245::2', 'fe80::1'];
const attachment = { hostInterface: dev, addresses: own } as unknown as Attachment;

let node: TestNetns;
let pod: TestNetns;
let kernel: Kernel;
let wire: Wire;

before(() => {
	node = createTestNetns();
	pod = createTestNetns();
	node.ip(`link add ${dev} address ${mac} type veth peer name eth0 netns ${pod.name}`);
	node.ip(`link set ${dev} up`);
	pod.ip('link set eth0 up');
	for (const address of [...own, ...others]) {
		node.exec(
			familyOf(address) === 4 ? 'iptables-legacy' : 'ip6tables-legacy',
			...`-t raw -A PREROUTING -s ${address}`.split(' '),
		);
	}
	kernel = node.kernel();
	const { ifindex } = JSON.parse(pod.ip('-j link show eth0'))[0];
	wire = openWire(pod.path, 'eth0', ifindex, mac);
});
after(() => {
	wire?.close();
	node?.remove();
	pod?.remove();
});

/** Of all addresses, which came in: a packet is through, or gone, when the call that sends it returns, or soon after. */
const cameIn = async (addresses: readonly string[]): Promise<readonly string[]> => {
	const count = (): Map<string, number> =>
		new Map(
			['iptables', 'ip6tables'].flatMap((program) =>
				[...node.exec(`${program}-legacy-save`, '-c', '-t', 'raw').matchAll(/^\[(\d+):\d+\] .* -s ([^/\s]+)/gm)].map(
					([, packets, address]): [string, number] => [address as string, Number(packets)],
				),
			),
		);
	const before = count();
	const send = (source: string): void => {
		const destination = familyOf(source) === 4 ? '192.0.2.2' : 'fd00:2::2';
		const packet = { source, destination, protocol: 'UDP', sourcePort: 1, destinationPort: 2, number: 7 } as const;
		wire.send(encodePacket(packet), familyOf(source));
	};
	const came = (): string[] => {
		const now = count();
		return addresses.filter((address) => now.get(address) !== before.get(address));
	};
	// The last two are let in always: what was sent before them has been judged when they have.
	for (const address of [...addresses.filter((one) => !own.includes(one)), ...own]) send(address);
	await until(() => own.every((one) => came().includes(one)), `packets of the pod's own coming in`);
	return came();
};

test('without a filter everything comes in, with one what bears an address of the pod', async () => {
	assert.deepEqual(await cameIn([...own, ...others]), [...own, ...others]);
	assert.equal(kernel.setIngressFilter(sourceFilterOf(attachment)), undefined);
	assert.deepEqual(await cameIn([...own, ...others]), own);
	// Again, and for other addresses: replaced in place.
	assert.equal(
		kernel.setIngressFilter(sourceFilterOf({ ...attachment, addresses: [...own, '10.244.1.3'] })),
		undefined,
	);
	assert.deepEqual(await cameIn([...own, ...others]), [...own, '10.244.1.3']);
	assert.equal(kernel.setIngressFilter(sourceFilterOf(attachment)), undefined);
});

test('ARP goes on, other protocols do not', async () => {
	node.ip(`address add 169.254.1.1/32 dev ${dev}`);
	pod.ip('address add 10.244.1.2/32 dev eth0');
	pod.ip('route add 169.254.1.1 dev eth0 scope link');
	node.ip(`route add 10.244.1.2 dev ${dev}`);
	pod.exec('ping', '-c', '3', '-i', '0.2', '-W', '5', '169.254.1.1');
});

test('a filter that is there is recognised and left alone; one that is taken away or changed comes back', async () => {
	const other = node.kernel();
	const guard = createSourceGuard(other, node.log);
	guard.protect(attachment);
	assert.equal(await guard.apply(), true);
	const { written } = await other.ingressFilters('manx').apply();
	assert.deepEqual(written, []);
	for (const [how, command] of [
		['the qdisc is gone', `qdisc del dev ${dev} ingress`],
		['the filter is gone', `filter del dev ${dev} ingress`],
		['another program', `filter replace dev ${dev} parent ffff: pref 1 handle 1 bpf da bytecode 1,6_0_0_0`],
	] as const) {
		node.exec('tc', ...command.split(' ').map((word) => word.replaceAll('_', ' ')));
		await until(() => guard.pending() > 0, `${how}: told`);
		assert.equal(await guard.apply(), true);
		assert.equal(guard.pending(), 0);
		assert.deepEqual(await cameIn([...own, ...others]), own, how);
	}
	node.exec('tc', 'qdisc', 'del', 'dev', dev, 'ingress');
	node.exec('tc', 'qdisc', 'add', 'dev', dev, 'clsact');
	await until(() => guard.pending() > 0, 'the other qdisc: told');
	assert.equal(await guard.apply(), false);
	assert.ok(node.logged.some((line) => line.includes('raw table instead')));
	assert.deepEqual([guard.pending(), guard.missing()], [0, []]);
	node.exec('tc', 'qdisc', 'del', 'dev', dev, 'clsact');
	assert.equal(await guard.apply(), true);
	assert.deepEqual(await guard.compare(), []);
});

test('a pod of limited bandwidth has no filter of ours, and the rule is wanted while it is there', async () => {
	const guard = createSourceGuard(node.kernel(), node.log);
	guard.protect({ ...attachment, shaped: true });
	assert.equal(await guard.apply(), false);
	assert.deepEqual([guard.pending(), guard.missing()], [0, []]);
	guard.release(dev);
	assert.equal(await guard.apply(), true);
	// Shut while nobody knew it, it is opened to its own.
	await guard.compare();
	await guard.compare();
	assert.equal(await guard.apply(), true);
	assert.match(node.exec('tc', 'filter', 'show', 'dev', dev, 'ingress'), /bytecode '8,/);
	guard.protect({ ...attachment, shaped: true });
	assert.equal(await guard.apply(), true);
	assert.deepEqual(await cameIn([...own, ...others]), own);
});

test('filters of others come after ours', async () => {
	assert.equal(node.kernel().setIngressFilter(sourceFilterOf(attachment)), undefined);
	const dropAll = `filter add dev ${dev} parent ffff: pref 9 protocol all bpf da bytecode`;
	node.exec('tc', ...dropAll.split(' '), '1,6 0 0 2');
	const dropped = (): number =>
		Number(/dropped (\d+)/.exec(node.exec('tc', '-s', 'qdisc', 'show', 'dev', dev, 'ingress'))?.[1]);
	const before = dropped();
	const packet = { source: '10.244.1.2', destination: '192.0.2.2', protocol: 'UDP', sourcePort: 1 } as const;
	wire.send(encodePacket({ ...packet, destinationPort: 2, number: 7 }), 4);
	await until(() => dropped() === before + 1, 'what ours let pass dropped by the next one');
	node.exec('tc', 'filter', 'del', 'dev', dev, 'ingress', 'pref', '9');
	assert.deepEqual(await cameIn(own), own);
});

test('what is found of an earlier run is known without being written again; a pod that left is not touched', async () => {
	const later = node.kernel();
	const guard = createSourceGuard(later, node.log);
	guard.protect(attachment);
	const filters = later.ingressFilters('manx');
	await filters.resync();
	assert.equal(filters.pending(), 0);
	guard.release(dev);
	assert.equal(await guard.apply(), true);
	assert.deepEqual(await cameIn([...own, ...others]), own);
	// Until its veth is found to be nobody's.
	await guard.compare();
	await guard.compare();
	assert.equal(await guard.apply(), true);
	assert.match(node.exec('tc', 'filter', 'show', 'dev', dev, 'ingress'), /bytecode '8,/);
	guard.protect(attachment);
	assert.equal(await guard.apply(), true);
	assert.deepEqual(await cameIn([...own, ...others]), own);
	guard.release(dev);
	node.ip(`link del ${dev}`);
	guard.protect(attachment);
	assert.equal(await guard.apply(), true);
});
