import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Attachment } from '../../felix/attachment.ts';
import { answerVersion, parseNetconf, parsePodEnvironment } from '../../felix/cni/netconf.ts';
import { decodeRequest, encodeRequest } from '../../felix/cni/protocol.ts';
import { type AttachmentRecord, aliasOf, fromAlias, restoreAttachments } from '../../felix/cni/records.ts';
import { addResult, resultDiffers } from '../../felix/cni/result.ts';
import { hostInterfaceOf, hostStateOf, podMac, podStateOf } from '../../felix/cni/wiring.ts';
import type { Link } from '../../src/kernel/kernel.ts';

const containerID = 'c0ffee';
const attachment: Attachment = {
	containerID,
	ifname: 'eth0',
	netns: '/run/netns/x',
	podNamespace: 'default',
	podName: 'web',
	podUID: 'u1',
	addresses: ['10.244.1.7', 'fd00:1::7'],
	hostInterface: hostInterfaceOf(containerID, 'eth0'),
	mac: podMac(containerID, 'eth0'),
};

test('the host interface is manx and 11 hex digits, the MAC is unicast and locally administered', () => {
	assert.match(attachment.hostInterface, /^manx[0-9a-f]{11}$/);
	assert.match(attachment.mac, /^[0-9a-f][26ae](:[0-9a-f]{2}){5}$/);
	assert.notEqual(attachment.hostInterface, hostInterfaceOf(containerID, 'net1'));
});

test('the node reaches the pod by a route with its own address as source, and a permanent neighbour', () => {
	const dev = attachment.hostInterface;
	assert.deepEqual(hostStateOf(attachment, ['192.0.2.11']), {
		routes: [
			{
				dst: '10.244.1.7/32',
				type: 'unicast',
				scope: 'link',
				protocol: 173,
				metric: 173,
				prefSrc: '192.0.2.11',
				nextHops: [{ dev }],
			},
			{ dst: 'fd00:1::7/128', type: 'unicast', scope: 'universe', protocol: 173, metric: 173, nextHops: [{ dev }] },
		],
		neighbours: [
			{ dev, address: '10.244.1.7', lladdr: attachment.mac },
			{ dev, address: 'fd00:1::7', lladdr: attachment.mac },
		],
	});
});

test('in the pod the gateway is routed before the default route that needs it', () => {
	assert.deepEqual(
		podStateOf(attachment).routes.map(({ dst, nextHops }) => [dst, nextHops[0]?.via]),
		[
			['169.254.1.1/32', undefined],
			['0.0.0.0/0', '169.254.1.1'],
			['::/0', 'fe80::ecee:eeff:feee:eeee'],
		],
	);
});

for (const version of ['0.3.1', '0.4.0', '1.0.0', '1.1.0'] as const) {
	test(`a result of version ${version} has the fields of that version`, () => {
		const result = addResult(attachment, { cniVersion: version, dns: {} }, 1480);
		const old = version === '0.3.1' || version === '0.4.0';
		const mtu = version === '1.1.0' ? { mtu: 1480 } : {};
		assert.deepEqual(result, {
			cniVersion: version,
			interfaces: [
				{ name: attachment.hostInterface, mac: 'ee:ee:ee:ee:ee:ee', ...mtu },
				{ name: 'eth0', mac: attachment.mac, sandbox: '/run/netns/x', ...mtu },
			],
			ips: [
				{ ...(old && { version: '4' }), address: '10.244.1.7/32', gateway: '169.254.1.1', interface: 1 },
				{ ...(old && { version: '6' }), address: 'fd00:1::7/128', gateway: 'fe80::ecee:eeff:feee:eeee', interface: 1 },
			],
			routes: [
				{ dst: '0.0.0.0/0', gw: '169.254.1.1' },
				{ dst: '::/0', gw: 'fe80::ecee:eeff:feee:eeee' },
			],
			dns: {},
		});
		assert.equal(resultDiffers(result, attachment), undefined);
		assert.match(resultDiffers({ ...result, ips: [] }, attachment) ?? '', /lacks 10\.244\.1\.7\/32/);
	});
}

for (const [what, stdin, command, code] of [
	['no JSON', '{', 'ADD', 6],
	['no object', '[]', 'ADD', 6],
	['no version', '{"name":"n","type":"manx"}', 'ADD', 1],
	['an unknown version', '{"cniVersion":"2.0.0","name":"n","type":"manx"}', 'ADD', 1],
	['a CHECK of 0.3.1', '{"cniVersion":"0.3.1","name":"n","type":"manx"}', 'CHECK', 1],
	['a GC of 1.0.0', '{"cniVersion":"1.0.0","name":"n","type":"manx"}', 'GC', 1],
	['no name', '{"cniVersion":"1.0.0","type":"manx"}', 'ADD', 7],
	['a malformed list', '{"cniVersion":"1.1.0","name":"n","type":"manx","cni.dev/valid-attachments":[1]}', 'GC', 7],
] as const) {
	test(`a configuration with ${what} is refused with code ${code}`, () => {
		const parsed = parseNetconf(stdin, command);
		assert.ok(!parsed.ok);
		assert.equal(parsed.error.code, code);
	});
}

test('an incompatible version is answered with the list of those supported, in the version asked for', () => {
	const stdin = '{"cniVersion":"2.0.0","name":"n","type":"manx"}';
	const parsed = parseNetconf(stdin, 'ADD');
	assert.ok(!parsed.ok && parsed.error.details.includes('0.3.1, 0.4.0, 1.0.0, 1.1.0'));
	assert.equal(answerVersion(stdin), '2.0.0');
	assert.equal(answerVersion('{"cniVersion":"\\"evil"}'), '1.1.0');
});

const environment = (changes: Record<string, string>): ReadonlyMap<string, string> =>
	new Map(
		Object.entries({
			CNI_CONTAINERID: 'abc',
			CNI_IFNAME: 'eth0',
			CNI_NETNS: '/run/netns/x',
			CNI_ARGS: 'IgnoreUnknown=1;K8S_POD_NAMESPACE=ns;K8S_POD_NAME=pod',
			...changes,
		}),
	);

for (const changes of [
	{ CNI_CONTAINERID: '' },
	{ CNI_CONTAINERID: '../x' },
	{ CNI_CONTAINERID: 'a/b' },
	{ CNI_CONTAINERID: 'a'.repeat(181) },
	{ CNI_IFNAME: '' },
	{ CNI_IFNAME: '..' },
	{ CNI_IFNAME: 'a:b' },
	{ CNI_IFNAME: 'a b' },
	{ CNI_IFNAME: 'sixteen-bytes-xx' },
	{ CNI_NETNS: '' },
	{ CNI_NETNS: 'relative' },
	{ CNI_ARGS: 'K8S_POD_NAME=pod' },
]) {
	test(`the environment ${JSON.stringify(changes).slice(0, 60)} is refused with code 4`, () => {
		const parsed = parsePodEnvironment(environment(changes), 'ADD');
		assert.ok(!parsed.ok);
		assert.equal(parsed.error.code, 4);
	});
}

test('a DEL needs neither netns nor pod names', () => {
	const parsed = parsePodEnvironment(environment({ CNI_NETNS: '', CNI_ARGS: '' }), 'DEL');
	assert.ok(parsed.ok);
	assert.deepEqual([parsed.value.containerID, parsed.value.netns, parsed.value.podName], ['abc', '', '']);
});

test('a request survives the wire in any pieces, and garbage is refused', () => {
	const request = { env: new Map([['CNI_COMMAND', 'ADD']]), stdin: '{"name":"ünï"}' };
	const bytes = encodeRequest(request);
	for (let i = 0; i < bytes.length; i++) assert.equal(decodeRequest(bytes.subarray(0, i)).type, 'incomplete');
	assert.deepEqual(decodeRequest(bytes), { type: 'request', request });
	assert.equal(decodeRequest(Buffer.concat([bytes, Buffer.of(0)])).type, 'malformed');
	assert.equal(decodeRequest(Buffer.from('GET / HTTP/1.1\r\n\r\n')).type, 'malformed');
	const huge = Buffer.from(bytes);
	huge.writeUInt32BE(0xffffffff, 8);
	assert.equal(decodeRequest(huge).type, 'malformed');
});

const link = (name: string, alias: string): Link => ({
	index: 5,
	name,
	alias,
	kind: 'veth',
	mtu: 1500,
	up: true,
	lowerUp: true,
	lladdr: 'ee:ee:ee:ee:ee:ee',
	master: 0,
	peerIndex: 2,
	peerNetnsId: 0,
});

test('the alias tells the whole attachment but the pod’s names', () => {
	const alias = aliasOf(attachment);
	assert.equal(alias, 'c0ffee eth0 10.244.1.7 fd00:1::7');
	const names = { netns: '', podNamespace: '', podName: '', podUID: '' };
	assert.deepEqual(fromAlias(attachment.hostInterface, alias), { ...attachment, ...names });
	assert.equal(fromAlias('manx00000000000', alias), undefined, 'an alias on another interface');
	assert.equal(fromAlias(attachment.hostInterface, 'c0ffee eth0 10.244.1.300'), undefined);
	assert.equal(fromAlias(attachment.hostInterface, ''), undefined);
});

test('a longest container ID still fits the alias of 255 bytes', () => {
	const longest = {
		...attachment,
		containerID: 'a'.repeat(180),
		ifname: 'fifteen-bytes-x',
		addresses: ['255.255.255.255', 'ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff'],
	};
	assert.ok(aliasOf(longest).length <= 255);
});

test('restoring tells apart: recorded, unrecorded, stale, unfinished, foreign', () => {
	const record: AttachmentRecord = { attachment, network: 'n', netnsId: '4:1', mtu: 1500, result: {} };
	const other = { containerID: 'other', ifname: 'eth0' };
	const otherName = hostInterfaceOf('other', 'eth0');
	const gone = { ...attachment, containerID: 'gone', hostInterface: hostInterfaceOf('gone', 'eth0') };
	const restored = restoreAttachments(
		[
			link(attachment.hostInterface, aliasOf(attachment)),
			link(otherName, 'other eth0 10.244.1.8'),
			link('manxfffffffffff', ''),
			link('manx0', ''),
			{ ...link('manxeeeeeeeeeee', ''), kind: 'bridge' },
		],
		[record, { ...record, attachment: gone }],
	);
	assert.deepEqual(restored.recorded, [record]);
	assert.deepEqual(
		restored.unrecorded.map(({ containerID, ifname, addresses }) => ({ containerID, ifname, addresses })),
		[{ ...other, addresses: ['10.244.1.8'] }],
	);
	assert.deepEqual(restored.stale, [{ ...record, attachment: gone }]);
	assert.deepEqual(restored.unfinished, ['manxfffffffffff']);
});
