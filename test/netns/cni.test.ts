import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { existsSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, afterEach, before, beforeEach, describe, test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import type { LastKnown } from '../../felix/calc/types.ts';
import { buildShim } from '../../felix/cni/build-shim.ts';
import { hostInterfaceOf, hostMac, podMac } from '../../felix/cni/wiring.ts';
import { findProgram } from '../../src/lab/system-packages.ts';
import { createNode, ip, type NodeHarness, nodeAddresses, type Outcome, shimDirectory } from './cni-harness.ts';

const shim = join(shimDirectory(), 'manx');
let node: NodeHarness;

before(() => {
	const built = buildShim(shim);
	assert.ok(built.ok, built.ok ? '' : built.error);
});
after(() => rmSync(shimDirectory(), { recursive: true }));
beforeEach(() => {
	node = createNode(shim);
});
afterEach(() => node.cleanUp());

const resultOf = (outcome: Outcome) => {
	assert.equal(outcome.code, 0, outcome.stdout);
	return JSON.parse(outcome.stdout);
};
const errorOf = (outcome: Outcome): { code: number; msg: string; details: string; cniVersion: string } => {
	assert.equal(outcome.code, 1, outcome.stdout);
	return JSON.parse(outcome.stdout);
};
const done = (outcome: Outcome): void => assert.deepEqual(outcome, { code: 0, stdout: '' });
const addressesOf = (result: { ips: { address: string }[] }): string[] =>
	result.ips.map(({ address }) => address.replace(/\/.*/, ''));

const until = async (what: string, condition: () => boolean): Promise<void> => {
	for (let i = 0; i < 500; i++) {
		if (condition()) return;
		await delay(10);
	}
	assert.fail(`not within 5 s: ${what}`);
};

const reaches = (netns: string, address: string): boolean => {
	try {
		execFileSync('ip', ['netns', 'exec', netns, 'ping', '-c', '1', '-W', '2', address], { stdio: 'pipe' });
		return true;
	} catch {
		return false;
	}
};
const nodeLinks = (): string[] =>
	JSON.parse(ip('-j', '-n', node.netns, 'link')).map((link: { ifname: string }) => link.ifname);
const nodeRoutes = (): string => ip('-n', node.netns, 'route') + ip('-6', '-n', node.netns, 'route');
const records = (): string[] => readdirSync(join(node.runDir, 'attachments'));

const addPod = async (name: string): Promise<{ netns: string; path: string; addresses: string[] }> => {
	const path = node.addPodNetns(name);
	const result = resultOf(await node.call('ADD', { id: name, netns: path }));
	return { netns: path.slice('/run/netns/'.length), path, addresses: addressesOf(result) };
};

describe('ADD', () => {
	beforeEach(() => node.start());

	test('wires pods that reach the node and each other, both families', async () => {
		const a = await addPod('a');
		const b = await addPod('b');
		assert.deepEqual(a.addresses, ['10.244.1.1', 'fd00:1::1']);
		assert.deepEqual(b.addresses, ['10.244.1.2', 'fd00:1::2']);
		for (const address of [...nodeAddresses, ...b.addresses]) assert.ok(reaches(a.netns, address), address);
		for (const address of a.addresses) assert.ok(reaches(node.netns, address), `node to ${address}`);
	});

	test('leaves exactly what the design says', async () => {
		const { netns } = await addPod('a');
		const host = hostInterfaceOf('a', 'eth0');
		const pod = (...args: string[]): string => ip('-n', netns, ...args).replace(/ +$/gm, '');
		assert.equal(
			pod('route'),
			'default via 169.254.1.1 dev eth0 proto 173 metric 173\n169.254.1.1 dev eth0 proto 173 scope link metric 173\n',
		);
		assert.match(
			pod('-6', 'route'),
			/^default via fe80::ecee:eeff:feee:eeee dev eth0 proto 173 metric 173 pref medium$/m,
		);
		assert.match(pod('neigh'), /^169\.254\.1\.1 dev eth0 lladdr ee:ee:ee:ee:ee:ee PERMANENT$/m);
		assert.match(pod('neigh'), /^fe80::ecee:eeff:feee:eeee dev eth0 lladdr ee:ee:ee:ee:ee:ee PERMANENT$/m);
		const [eth0] = JSON.parse(ip('-j', '-n', netns, 'addr', 'show', 'eth0'));
		assert.equal(eth0.address, podMac('a', 'eth0'));
		assert.equal(eth0.mtu, 1480);
		assert.ok(pod('link', 'show', 'lo').includes('UP'));
		assert.ok(!pod('addr').includes('tentative'));
		const [link] = JSON.parse(ip('-j', '-n', node.netns, 'addr', 'show', host));
		assert.match(ip('-n', node.netns, 'link', 'show', host), /alias a eth0 10\.244\.1\.1 fd00:1::1$/m);
		assert.equal(link.address, hostMac);
		assert.equal(link.mtu, 1480);
		assert.deepEqual(link.addr_info, [], 'the host end has no address at all');
		assert.match(
			nodeRoutes(),
			new RegExp(`^10\\.244\\.1\\.1 dev ${host} proto 173 scope link src 192\\.0\\.2\\.11 metric 173 *$`, 'm'),
		);
		assert.match(nodeRoutes(), new RegExp(`^fd00:1::1 dev ${host} proto 173 src 2001:db8::11 metric 173`, 'm'));
		assert.deepEqual(records(), ['a:eth0.json']);
		assert.deepEqual(node.cni().attachments()[0]?.podName, 'a');
	});

	test('leaves the veth of a pod of limited bandwidth to the plugin for that', async () => {
		const qdiscs = (id: string): string =>
			execFileSync('tc', ['-n', node.netns, 'qdisc', 'show', 'dev', hostInterfaceOf(id, 'eth0')], { encoding: 'utf8' });
		await addPod('free');
		assert.match(qdiscs('free'), /ingress/);

		const path = node.addPodNetns('slow');
		// As containerd writes them.
		const limits = { IngressRate: 8_000_000, IngressBurst: 80_000, EgressRate: 8_000_000, EgressBurst: 80_000 };
		const conf = { runtimeConfig: { bandwidth: limits } };
		const prevResult = resultOf(await node.call('ADD', { id: 'slow', netns: path, cniVersion: '1.0.0', conf }));
		assert.doesNotMatch(qdiscs('slow'), /ingress/);
		const input = JSON.stringify({ cniVersion: '1.0.0', name: 'manx', type: 'bandwidth', ...conf, prevResult });
		const plugin = findProgram('bandwidth') ?? '';
		const env = { CNI_COMMAND: 'ADD', CNI_CONTAINERID: 'slow', CNI_NETNS: path, CNI_IFNAME: 'eth0', CNI_PATH: '/' };
		const chained = execFileSync('nsenter', [`--net=/run/netns/${node.netns}`, plugin], {
			input,
			env,
			encoding: 'utf8',
		});
		assert.deepEqual(JSON.parse(chained).ips, prevResult.ips);
		assert.match(qdiscs('slow'), /ingress/);
	});

	test('again for the same container gives the same result, and repairs', async () => {
		const path = node.addPodNetns('a');
		const first = resultOf(await node.call('ADD', { id: 'a', netns: path }));
		assert.deepEqual(resultOf(await node.call('ADD', { id: 'a', netns: path })), first);
		const netns = path.slice('/run/netns/'.length);
		ip('-n', netns, 'route', 'flush', 'proto', '173');
		ip('-n', netns, 'link', 'set', 'eth0', 'down');
		ip('-n', node.netns, 'link', 'set', hostInterfaceOf('a', 'eth0'), 'alias', 'x');
		assert.deepEqual(resultOf(await node.call('ADD', { id: 'a', netns: path })), first);
		done(await node.call('CHECK', { id: 'a', netns: path, conf: { prevResult: first } }));
		assert.ok(reaches(netns, nodeAddresses[0]));
		assert.ok(reaches(netns, nodeAddresses[1]));
	});

	test('again whose programming fails leaves the running pod as it is', async () => {
		const a = await addPod('a');
		const index = (): string | undefined => ip('-n', a.netns, '-o', 'link', 'show', 'eth0').split(':')[0];
		const before = index();
		ip('-n', a.netns, 'route', 'flush', 'proto', '173');
		let calls = 0;
		node.world.programming = () => `no, for the ${++calls}. time`;
		assert.match(errorOf(await node.call('ADD', { id: 'a', netns: a.path })).details, /no, for the 1\. time/);
		assert.equal(calls, 1);
		assert.equal(index(), before);
		assert.ok(reaches(a.netns, nodeAddresses[0]), 'what could be repaired was');
		assert.equal(node.cni().usage()[0]?.used, 1);
	});

	test('for the same container in a new netns moves the pod with its addresses', async () => {
		const first = await addPod('a');
		const path = node.addPodNetns('other');
		assert.deepEqual(addressesOf(resultOf(await node.call('ADD', { id: 'a', netns: path }))), first.addresses);
		assert.ok(reaches(path.slice('/run/netns/'.length), nodeAddresses[0]));
		assert.ok(!ip('-n', first.netns, 'link').includes('eth0'));
	});

	for (const version of ['0.3.1', '0.4.0', '1.0.0', '1.1.0']) {
		test(`answers in version ${version}`, async () => {
			const path = node.addPodNetns('a');
			const result = resultOf(await node.call('ADD', { id: 'a', netns: path, cniVersion: version }));
			assert.equal(result.cniVersion, version);
			assert.equal('version' in result.ips[0], version < '1');
			assert.equal(result.interfaces[1].mtu, version === '1.1.0' ? 1480 : undefined);
			assert.equal(result.interfaces[1].sandbox, path);
		});
	}

	test('of an unknown version is refused with those supported', async () => {
		const error = errorOf(await node.call('ADD', { netns: '/run/netns/x', cniVersion: '0.2.0' }));
		assert.equal(error.code, 1);
		assert.match(error.details, /0\.3\.1, 0\.4\.0, 1\.0\.0, 1\.1\.0/);
	});

	test('into a netns that is none is refused and takes no address', async () => {
		const unknown = errorOf(await node.call('ADD', { netns: '/run/netns/manxt-nowhere' }));
		assert.deepEqual([unknown.code, unknown.msg], [3, 'unknown network namespace']);
		assert.equal(errorOf(await node.call('ADD', { netns: '/etc/hostname' })).code, 4);
		assert.match(errorOf(await node.call('ADD', { netns: '/proc/self/ns/net' })).details, /node's own/);
		assert.equal(node.cni().usage()[0]?.used, 0);
	});

	test('where the pod has such an interface already is undone', async () => {
		const path = node.addPodNetns('a');
		ip('-n', path.slice('/run/netns/'.length), 'link', 'add', 'eth0', 'type', 'bridge');
		const error = errorOf(await node.call('ADD', { id: 'a', netns: path }));
		assert.equal(error.code, 100);
		assert.match(error.details, /EEXIST/);
		assert.deepEqual(
			nodeLinks().filter((name) => name.startsWith('manx')),
			[],
		);
		assert.equal(node.cni().usage()[0]?.used, 0);
	});

	test('whose programming fails is undone, and its address cools down', async () => {
		const path = node.addPodNetns('a');
		let calls = 0;
		node.world.programming = () => {
			calls++;
			return 'iptables-restore said no';
		};
		const error = errorOf(await node.call('ADD', { id: 'a', netns: path }));
		assert.match(error.details, /default\/a: iptables-restore said no/);
		assert.equal(calls, 1);
		assert.deepEqual(
			nodeLinks().filter((name) => name.startsWith('manx')),
			[],
		);
		assert.ok(!nodeRoutes().includes('10.244.1.1'));
		assert.deepEqual(records(), []);
		node.world.programming = () => undefined;
		assert.deepEqual((await addPod('b')).addresses, ['10.244.1.2', 'fd00:1::2']);
	});

	test('of a pod nobody knows, before sync, or without podCIDR: try again later', async () => {
		const netns = node.addPodNetns('a');
		node.world.knows = () => false;
		const unknown = errorOf(await node.call('ADD', { id: 'a', netns }));
		assert.equal(unknown.code, 11);
		assert.match(unknown.details, /no pod default\/a/);
		node.world.knows = () => true;
		node.world.inSync = false;
		assert.equal(errorOf(await node.call('ADD', { id: 'a', netns })).code, 11);
		assert.equal(errorOf(await node.call('STATUS')).code, 50);
		node.world.inSync = true;
		node.world.podCIDRs = [];
		assert.equal(errorOf(await node.call('ADD', { id: 'a', netns })).code, 11);
		assert.equal(errorOf(await node.call('STATUS')).code, 50);
		node.world.podCIDRs = ['10.244.1.0/24'];
		done(await node.call('STATUS'));
		assert.deepEqual(addressesOf(resultOf(await node.call('ADD', { id: 'a', netns }))), ['10.244.1.1']);
		assert.ok(reaches(netns.slice('/run/netns/'.length), nodeAddresses[0]), 'IPv4 alone works');
	});

	test('that waits for its pod ends with the DEL of its container', async () => {
		const netns = node.addPodNetns('a');
		let waiting = false;
		node.world.arrival = () => {
			waiting = true;
			return new Promise(() => {});
		};
		const adding = node.call('ADD', { id: 'a', netns });
		await until('the ADD waits', () => waiting);
		done(await node.call('DEL', { id: 'a', netns }));
		assert.equal(errorOf(await adding).code, 11);
		assert.equal(node.cni().usage()[0]?.used, 0);
	});

	test('in a /30: two pods, then a clear error, then the freed address', async () => {
		node.world.podCIDRs = ['10.244.1.0/30'];
		const a = await addPod('a');
		await addPod('b');
		const netns = node.addPodNetns('c');
		const error = errorOf(await node.call('ADD', { id: 'c', netns }));
		assert.equal(error.code, 101);
		assert.match(error.details, /2 of 2 addresses of 10\.244\.1\.0\/30 in use/);
		done(await node.call('DEL', { id: 'a', netns: a.path }));
		assert.deepEqual(addressesOf(resultOf(await node.call('ADD', { id: 'c', netns }))), a.addresses);
	});

	test('thirty at once: all different, all working', async () => {
		const names = Array.from({ length: 30 }, (_, i) => `p${i}`);
		const pods = await Promise.all(names.map(addPod));
		assert.equal(new Set(pods.flatMap((pod) => pod.addresses)).size, 60);
		for (const pod of pods) assert.ok(reaches(pod.netns, nodeAddresses[1]), pod.netns);
		await Promise.all(names.map(async (id) => done(await node.call('DEL', { id }))));
		assert.deepEqual(nodeLinks(), ['lo']);
		assert.deepEqual(records(), []);
	});
});

describe('DEL', () => {
	beforeEach(() => node.start());

	test('removes everything; again, and for what never was, is fine', async () => {
		const { path } = await addPod('a');
		done(await node.call('DEL', { id: 'a', netns: path }));
		assert.deepEqual(nodeLinks(), ['lo']);
		assert.ok(!nodeRoutes().includes('10.244.1.1'));
		assert.deepEqual(records(), []);
		assert.equal(node.cni().usage()[0]?.used, 0);
		done(await node.call('DEL', { id: 'a', netns: path }));
		done(await node.call('DEL', { id: 'never' }));
	});

	test('works when the netns is gone, and when the veth is', async () => {
		const a = await addPod('a');
		await addPod('b');
		node.deletePodNetns('a');
		done(await node.call('DEL', { id: 'a', netns: a.path }));
		ip('-n', node.netns, 'link', 'del', hostInterfaceOf('b', 'eth0'));
		done(await node.call('DEL', { id: 'b' }));
		await until('all is gone', () => records().length === 0 && node.cni().usage()[0]?.used === 0);
	});

	test('deletes the conntrack entries of the addresses', async () => {
		const { addresses } = await addPod('a');
		const conntrack = (...args: string[]): string =>
			execFileSync('ip', ['netns', 'exec', node.netns, 'conntrack', ...args], {
				encoding: 'utf8',
				stdio: ['ignore', 'pipe', 'ignore'],
			});
		const [v4, v6] = addresses as [string, string];
		conntrack(
			'-I',
			'-s',
			v4,
			'-d',
			'198.51.100.1',
			'-p',
			'tcp',
			'--sport',
			'1',
			'--dport',
			'2',
			'--state',
			'ESTABLISHED',
			'-t',
			'600',
		);
		conntrack(
			'-I',
			'-s',
			'198.51.100.1',
			'-d',
			'198.51.100.2',
			'-p',
			'tcp',
			'--sport',
			'1',
			'--dport',
			'2',
			'--state',
			'ESTABLISHED',
			'-t',
			'600',
		);
		conntrack(
			'-I',
			'-s',
			'2001:db8::5',
			'-d',
			v6,
			'-p',
			'tcp',
			'--sport',
			'1',
			'--dport',
			'2',
			'--state',
			'ESTABLISHED',
			'-t',
			'600',
		);
		done(await node.call('DEL', { id: 'a' }));
		assert.match(conntrack('-L'), /198\.51\.100\.2/);
		assert.ok(!conntrack('-L').includes(v4));
		assert.ok(!conntrack('-L', '-f', 'ipv6').includes(v6));
	});

	test('without felix is remembered and done when felix is back', async () => {
		await addPod('a');
		const b = await addPod('b');
		await node.stop();
		done(await node.call('DEL', { id: 'a' }));
		assert.equal(errorOf(await node.call('ADD', { id: 'c', netns: b.path })).code, 11);
		assert.ok(nodeLinks().includes(hostInterfaceOf('a', 'eth0')));
		await node.start();
		assert.ok(!nodeLinks().includes(hostInterfaceOf('a', 'eth0')));
		assert.deepEqual(records(), ['b:eth0.json']);
		assert.deepEqual(readdirSync(join(node.runDir, 'pending-dels')), []);
		assert.ok(reaches(b.netns, nodeAddresses[0]));
	});

	test('remembered while felix comes up is done when it appears', async () => {
		await addPod('a');
		await node.stop();
		done(await node.call('DEL', { id: 'a' }));
		const file = join(node.runDir, 'pending-dels', 'a:eth0');
		const bytes = execFileSync('cat', [file]);
		rmSync(file);
		await node.start();
		assert.ok(nodeLinks().includes(hostInterfaceOf('a', 'eth0')));
		writeFileSync(`${join(node.runDir, 'pending-dels')}/.1.tmp`, bytes);
		execFileSync('mv', [`${join(node.runDir, 'pending-dels')}/.1.tmp`, file]);
		await until('the DEL is done', () => !existsSync(file));
		assert.ok(!nodeLinks().includes(hostInterfaceOf('a', 'eth0')));
	});
});

describe('restart', () => {
	beforeEach(() => node.start());

	test('finds every pod again and hands no address out twice', async () => {
		const a = await addPod('a');
		const before = node.cni().attachments();
		await node.stop();
		const found = await node.start();
		assert.deepEqual(found, before);
		assert.deepEqual((await addPod('b')).addresses, ['10.244.1.2', 'fd00:1::2']);
		assert.ok(reaches(a.netns, '10.244.1.2'));
	});

	test('without records goes by the veths, and the pod is named again', async () => {
		const a = await addPod('a');
		await node.stop();
		rmSync(join(node.runDir, 'attachments'), { recursive: true });
		const [found] = await node.start();
		assert.ok(found);
		assert.deepEqual(
			[found.containerID, found.podName, found.netns, found.addresses, found.mac],
			['a', '', '', a.addresses, podMac('a', 'eth0')],
		);
		const metadata = { name: 'a', namespace: 'default', uid: 'u', labels: {}, annotations: {}, creationTimestamp: '' };
		const spec = { nodeName: 'n1', hostNetwork: false, ports: [] };
		node.cni().adopt(found, { kind: 'Pod', metadata, spec, status: { phase: 'Running', podIPs: [] } });
		assert.equal(node.cni().attachments()[0]?.podName, 'a');
		assert.deepEqual((await addPod('b')).addresses, ['10.244.1.2', 'fd00:1::2']);
		const index = ip('-n', a.netns, '-o', 'link', 'show', 'eth0').split(':')[0];
		resultOf(await node.call('ADD', { id: 'a', netns: a.path }));
		assert.equal(ip('-n', a.netns, '-o', 'link', 'show', 'eth0').split(':')[0], index, 'a repeated ADD keeps its veth');
		done(await node.call('DEL', { id: 'a' }));
		assert.deepEqual(records(), ['b:eth0.json']);
	});

	test('what is known of a pod is in its record, follows changes, and is there after the restart', async () => {
		const known = new Map<string, LastKnown>();
		node.world.lastKnown = (key) => known.get(key);
		const file = join(node.runDir, 'attachments', 'a:eth0.json');
		const written = (): unknown => (JSON.parse(readFileSync(file, 'utf8')) as { lastKnown: unknown }).lastKnown;
		const ports = [{ name: 'http', containerPort: 80, protocol: 'TCP' }] as const;
		known.set('default/a', { uid: 'u', labels: { app: 'a' }, ports, phase: 'Pending' });
		await addPod('a');
		assert.deepEqual(written(), known.get('default/a'));
		known.set('default/a', { uid: 'u', labels: { app: 'b' }, ports, phase: 'Running', namespaceLabels: { team: 'x' } });
		node.cni().remember('other');
		node.cni().remember('default', 'b');
		assert.notDeepEqual(written(), known.get('default/a'));
		node.cni().remember('default');
		assert.deepEqual(written(), known.get('default/a'));
		const before = statSync(file);
		node.cni().remember('default', 'a');
		assert.equal(statSync(file).ino, before.ino, 'nothing new, nothing written');
		const last = known.get('default/a');
		known.set('default/a', { uid: 'another', labels: {}, ports: [], phase: 'Running' });
		node.cni().remember('default', 'a');
		known.clear();
		node.cni().remember('default', 'a');
		await node.stop();
		const [found] = await node.start();
		assert.ok(found);
		assert.deepEqual(node.cni().lastKnown(found), last);
		writeFileSync(file, JSON.stringify({ ...JSON.parse(readFileSync(file, 'utf8')), lastKnown: { labels: [1] } }));
		await node.stop();
		const [again] = await node.start();
		assert.equal(again?.podName, 'a', 'the record counts without what is not understood');
		assert.equal(node.cni().lastKnown(found), undefined);
	});

	test('sweeps records without a veth; their addresses cool down', async () => {
		await addPod('a');
		await addPod('b');
		await node.stop();
		node.deletePodNetns('a');
		await until('the veth is gone', () => !nodeLinks().includes(hostInterfaceOf('a', 'eth0')));
		await node.start();
		assert.deepEqual(records(), ['b:eth0.json']);
		assert.deepEqual((await addPod('c')).addresses, ['10.244.1.3', 'fd00:1::3']);
	});

	test('remembers across it which address was released last', async () => {
		node.world.podCIDRs = ['10.244.1.0/29'];
		for (const id of ['1', '2', '3', '4', '5', '6']) await addPod(id);
		done(await node.call('DEL', { id: '4' }));
		await node.stop();
		await node.start();
		done(await node.call('DEL', { id: '2' }));
		assert.deepEqual((await addPod('x')).addresses, ['10.244.1.4']);
		assert.deepEqual((await addPod('y')).addresses, ['10.244.1.2']);
	});

	test('after a death half-way through an ADD: the leftover is removed or made whole', async () => {
		await node.stop();
		const path = node.addPodNetns('a');
		const pair = (id: string, ...alias: string[]): void => {
			const host = hostInterfaceOf(id, 'eth0');
			ip(
				'-n',
				node.netns,
				'link',
				'add',
				host,
				'type',
				'veth',
				'peer',
				'name',
				'eth0',
				'netns',
				path.slice('/run/netns/'.length),
			);
			if (alias.length > 0) ip('-n', node.netns, 'link', 'set', host, 'alias', alias.join(' '));
		};
		pair('a');
		await node.start();
		assert.deepEqual(nodeLinks(), ['lo'], 'without an alias it belongs to nobody');
		await node.stop();
		pair('a', 'a', 'eth0', '10.244.1.1', 'fd00:1::1');
		await node.start();
		assert.deepEqual((await addPod('b')).addresses, ['10.244.1.2', 'fd00:1::2']);
		assert.deepEqual(addressesOf(resultOf(await node.call('ADD', { id: 'a', netns: path }))), [
			'10.244.1.1',
			'fd00:1::1',
		]);
		assert.ok(reaches(path.slice('/run/netns/'.length), '10.244.1.2'));
	});
});

describe('a veth that vanishes', () => {
	beforeEach(() => node.start());

	test('with its netns frees the addresses without a DEL', async () => {
		await addPod('a');
		node.deletePodNetns('a');
		await until('the record is gone', () => records().length === 0);
		assert.equal(node.cni().usage()[0]?.used, 0);
	});

	test('under a living pod is made anew', async () => {
		const a = await addPod('a');
		ip('-n', node.netns, 'link', 'del', hostInterfaceOf('a', 'eth0'));
		await until('the pod is back', () => reaches(a.netns, nodeAddresses[0]));
		done(await node.call('CHECK', { id: 'a', netns: a.path }));
	});
});

describe('CHECK', () => {
	const breakages: readonly (readonly [string, (pod: string, host: string) => void, RegExp])[] = [
		['the veth deleted', (pod) => ip('-n', pod, 'link', 'del', 'eth0'), /eth0|manx/],
		['the host end down', (_pod, host) => ip('-n', node.netns, 'link', 'set', host, 'down'), /is down/],
		['another alias', (_pod, host) => ip('-n', node.netns, 'link', 'set', host, 'alias', 'x'), /alias/],
		['another MAC in the pod', (pod) => ip('-n', pod, 'link', 'set', 'eth0', 'address', '02:00:00:00:00:01'), /MAC/],
		['the pod’s end down', (pod) => ip('-n', pod, 'link', 'set', 'eth0', 'down'), /down in the pod/],
		[
			'an address less',
			(pod) => ip('-n', pod, 'addr', 'del', '10.244.1.1/32', 'dev', 'eth0'),
			/lacks the address 10\.244/,
		],
		[
			'an IPv6 address less',
			(pod) => ip('-n', pod, 'addr', 'del', 'fd00:1::1/128', 'dev', 'eth0'),
			/lacks the address fd00/,
		],
		['no default route', (pod) => ip('-n', pod, 'route', 'del', 'default'), /0\.0\.0\.0\/0 via 169\.254\.1\.1/],
		['no IPv6 default route', (pod) => ip('-6', '-n', pod, 'route', 'del', 'default'), /::\/0 via fe80/],
		[
			'no gateway neighbour',
			(pod) => ip('-n', pod, 'neigh', 'del', '169.254.1.1', 'dev', 'eth0'),
			/neighbour 169\.254/,
		],
		[
			'no host route',
			() => ip('-n', node.netns, 'route', 'del', '10.244.1.1'),
			/route 10\.244\.1\.1\/32 .* from the node/,
		],
		[
			'no host neighbour',
			(_pod, host) => ip('-n', node.netns, 'neigh', 'del', 'fd00:1::1', 'dev', host),
			/neighbour fd00:1::1/,
		],
	];

	for (const [what, breakIt, expected] of breakages) {
		test(`tells of ${what}`, async () => {
			await node.start();
			const a = await addPod('a');
			done(await node.call('CHECK', { id: 'a', netns: a.path }));
			breakIt(a.netns, hostInterfaceOf('a', 'eth0'));
			const outcome = await node.call('CHECK', { id: 'a', netns: a.path });
			// A deleted veth may have been made anew before the CHECK came: that is as good.
			if (what === 'the veth deleted' && outcome.code === 0) return;
			const error = errorOf(outcome);
			assert.ok(error.code >= 100);
			assert.match(error.details, expected);
		});
	}

	test('compares the cached result, and knows what it does not know', async () => {
		await node.start();
		const path = node.addPodNetns('a');
		const prevResult = resultOf(await node.call('ADD', { id: 'a', netns: path }));
		done(await node.call('CHECK', { id: 'a', netns: path, conf: { prevResult } }));
		const other = { ...prevResult, ips: [{ address: '10.244.1.99/32' }] };
		assert.match(
			errorOf(await node.call('CHECK', { id: 'a', netns: path, conf: { prevResult: other } })).details,
			/prevResult/,
		);
		assert.equal(errorOf(await node.call('CHECK', { id: 'never', netns: path })).code, 102);
		assert.equal(errorOf(await node.call('CHECK', { id: 'a', netns: path, cniVersion: '0.3.1' })).code, 1);
	});
});

describe('GC', () => {
	beforeEach(() => node.start());

	test('deletes what is not listed, and leftovers, and nothing else', async () => {
		const a = await addPod('a');
		await addPod('b');
		const stray = node.addPodNetns('stray');
		ip(
			'-n',
			node.netns,
			'link',
			'add',
			hostInterfaceOf('s', 'eth0'),
			'type',
			'veth',
			'peer',
			'name',
			'eth0',
			'netns',
			stray.slice(11),
		);
		const conf = { 'cni.dev/valid-attachments': [{ containerID: 'a', ifname: 'eth0' }] };
		done(await node.call('GC', { conf: { ...conf, name: 'another' } }));
		assert.equal(records().length, 2, 'attachments of another network are not its business');
		done(await node.call('GC', { conf }));
		assert.deepEqual(records(), ['a:eth0.json']);
		assert.deepEqual(
			nodeLinks().filter((name) => name.startsWith('manx')),
			[hostInterfaceOf('a', 'eth0')],
		);
		assert.ok(reaches(a.netns, nodeAddresses[0]));
		assert.equal(errorOf(await node.call('GC')).code, 7, 'without a list nothing is deleted');
		assert.equal(records().length, 1);
	});
});
