import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { clusterRoutes } from '../../felix/cluster-routes.ts';
import { clusterOf } from '../../src/api/cluster.ts';
import type { BGPPeer, Node } from '../../src/api/objects.ts';
import { validate } from '../../src/api/validate.ts';
import { speakerConfigOf } from '../../src/daemon/speaker-config.ts';

const node = (name: string, podCIDRs: string[], addresses: string[], created = ''): Node => {
	const result = validate({
		apiVersion: 'v1',
		kind: 'Node',
		metadata: { name, creationTimestamp: created, labels: { rack: name } },
		spec: { podCIDRs },
		status: { addresses: addresses.map((address) => ({ type: 'InternalIP', address })) },
	});
	assert.ok(result.type === 'object' && result.object.kind === 'Node', JSON.stringify(result));
	return result.object;
};
const peer = (spec: object): BGPPeer => {
	const result = validate({ apiVersion: 'manx.dev/v1', kind: 'BGPPeer', metadata: { name: 'tor' }, spec });
	assert.ok(result.type === 'object' && result.object.kind === 'BGPPeer', JSON.stringify(result));
	return result.object;
};

const n1 = node('n1', ['10.1.0.0/24', 'fd00:1::/64'], ['192.0.2.11', '2001:db8::11']);
const n2 = node('n2', ['10.2.0.0/24', 'fd00:2::/64'], ['192.0.2.12', '2001:db8::12']);

describe('cluster', () => {
	it('keeps a pod network with the elder of two nodes that claim it, whatever the order they come in', () => {
		const young = node('a', ['10.1.0.0/25', '10.9.0.0/24'], ['192.0.2.13'], '2026-01-02T00:00:00Z');
		for (const nodes of [
			[n1, young],
			[young, n1],
		]) {
			const cluster = clusterOf(nodes);
			assert.deepEqual(cluster.nodes.get('n1')?.podCIDRs, n1.spec.podCIDRs);
			assert.deepEqual(cluster.nodes.get('a')?.podCIDRs, ['10.9.0.0/24']);
			assert.equal(cluster.problems.length, 1);
			assert.equal(cluster.problems[0]?.object, 'Node a');
			assert.equal(cluster.problems[0]?.field, 'spec.podCIDRs[0]');
			assert.match(cluster.problems[0]?.reason ?? '', /overlaps 10\.1\.0\.0\/24 of Node n1/);
		}
	});

	it('sees a wider network overlap a narrower one held before', () => {
		const wide = node('wide', ['10.0.0.0/8'], ['192.0.2.13'], '2026-01-02T00:00:00Z');
		assert.match(clusterOf([wide, n1]).problems[0]?.reason ?? '', /overlaps 10\.1\.0\.0\/24/);
	});

	it('names a node without addresses', () => {
		assert.equal(clusterOf([node('bare', [], [])]).problems[0]?.field, 'status.addresses');
	});
});

describe('cluster routes', () => {
	const input = {
		nodeName: 'n1',
		cluster: clusterOf([n1, n2]),
		mesh: true,
		nodeAddresses: { 4: '192.0.2.11', 6: '2001:db8::11' },
		interfaces: [
			{ dev: 'eth0', address: '192.0.2.11', length: 24, scope: 'global' as const },
			{ dev: 'eth0', address: '2001:db8::11', length: 64, scope: 'global' as const },
		],
	};

	it('are blackholes of the own networks in bgp mode', () => {
		const { routes } = clusterRoutes({ ...input, mode: 'bgp' });
		assert.deepEqual(
			routes.map((route) => `${route.type} ${route.dst}`),
			['blackhole 10.1.0.0/24', 'blackhole fd00:1::/64'],
		);
	});

	it('lead to every other node in host-gw mode, both families', () => {
		const { routes, fallback, problems } = clusterRoutes({ ...input, mode: 'host-gw' });
		assert.deepEqual(problems, []);
		assert.deepEqual(fallback, []);
		assert.deepEqual(
			routes.slice(2).map((route) => [route.dst, route.nextHops[0], route.prefSrc]),
			[
				['10.2.0.0/24', { via: '192.0.2.12', dev: 'eth0' }, '192.0.2.11'],
				['fd00:2::/64', { via: '2001:db8::12', dev: 'eth0' }, '2001:db8::11'],
			],
		);
	});

	it('lead to others as a fallback in bgp mode, where the segment is shared', () => {
		const far = node('far', ['10.3.0.0/24'], ['198.51.100.3']);
		const { fallback, problems } = clusterRoutes({ ...input, cluster: clusterOf([n1, n2, far]), mode: 'bgp' });
		assert.deepEqual(
			fallback.map(({ dst, metric }) => [dst, metric]),
			[
				['10.2.0.0/24', 175],
				['fd00:2::/64', 175],
			],
		);
		assert.deepEqual(problems, []);
	});

	it('are no fallback where learnt routes are behind it', () => {
		const { fallback } = clusterRoutes({ ...input, cluster: clusterOf([n1, n2]), mode: 'bgp', withoutFallback: [4] });
		assert.deepEqual(
			fallback.filter(({ dst }) => !dst.includes(':')),
			[],
		);
	});

	it('are no fallback without a mesh, but for what an earlier run left', () => {
		const without = { ...input, mode: 'bgp', mesh: false } as const;
		assert.deepEqual(clusterRoutes(without).fallback, []);
		const { fallback } = clusterRoutes({ ...without, retiring: new Set(['10.2.0.0/24', '10.99.0.0/24']) });
		assert.deepEqual(
			fallback.map(({ dst }) => dst),
			['10.2.0.0/24'],
		);
	});

	it('refuse a node on another segment, and only that one', () => {
		const far = node('far', ['10.3.0.0/24'], ['198.51.100.3']);
		const { routes, problems } = clusterRoutes({ ...input, cluster: clusterOf([n1, n2, far]), mode: 'host-gw' });
		assert.equal(routes.length, 4);
		assert.equal(problems[0]?.object, 'Node far');
		assert.match(problems[0]?.reason ?? '', /not on a segment of this node/);
	});
});

describe('speaker configuration', () => {
	const base = { nodeName: 'n1', cluster: clusterOf([n1, n2]), configuration: undefined, peers: [] };
	const addresses = { 4: '192.0.2.11', 6: '2001:db8::11' };

	it('is a mesh by default', () => {
		const { config } = speakerConfigOf({ ...base, addresses });
		assert.equal(config?.asNumber, 64512);
		assert.equal(config?.routerId, '192.0.2.11');
		assert.deepEqual(
			config?.peers.map(({ name, address, asNumber }) => ({ name, address, asNumber })),
			[{ name: 'mesh/n2', address: '192.0.2.12', asNumber: 64512 }],
		);
		assert.deepEqual(config?.originate, n1.spec.podCIDRs);
	});

	it('takes peers for this node by name or label, and not those for others', () => {
		const mine = peer({ peerIP: '192.0.2.1', asNumber: 64513, nodeSelector: { matchLabels: { rack: 'n1' } } });
		const other = peer({ peerIP: '192.0.2.2', asNumber: 64513, node: 'n2' });
		const { config } = speakerConfigOf({ ...base, addresses, peers: [mine, other] });
		assert.deepEqual(
			config?.peers.map((one) => one.address),
			['192.0.2.12', '192.0.2.1'],
		);
	});

	it('refuses a peer at the address of a mesh node', () => {
		const { config, problems } = speakerConfigOf({
			...base,
			addresses,
			peers: [peer({ peerIP: '192.0.2.12', asNumber: 1 })],
		});
		assert.equal(config?.peers.length, 1);
		assert.equal(problems[0]?.field, 'spec.peerIP');
	});

	it('refuses peers at the own address and at that of an elder BGPPeer, in the same words on every node', () => {
		const named = (name: string, created: string, spec: object): BGPPeer => {
			const made = peer({ asNumber: 1, ...spec });
			return { ...made, metadata: { ...made.metadata, name, creationTimestamp: created } };
		};
		const general = validate({
			apiVersion: 'manx.dev/v1',
			kind: 'BGPConfiguration',
			metadata: { name: 'default' },
			spec: { nodeToNodeMeshEnabled: false },
		});
		assert.ok(general.type === 'object' && general.object.kind === 'BGPConfiguration');
		const configuration = general.object;
		const peers = [
			named('self', '', { peerIP: '192.0.2.11', nodeSelector: { matchLabels: { rack: 'n1' } } }),
			named('reflector', '', { peerIP: '192.0.2.11', node: 'n2' }),
			named('young', '2026-01-02T00:00:00Z', { peerIP: '192.0.2.1' }),
			named('elder', '2026-01-01T00:00:00Z', { peerIP: '192.0.2.1', node: 'n1' }),
			named('link1', '', { peerIP: 'fe80::1', interface: 'eth0' }),
			named('link2', '', { peerIP: 'fe80::1', interface: 'eth1' }),
		];
		const on = (nodeName: string, address: string) =>
			speakerConfigOf({ ...base, configuration, nodeName, addresses: { 4: address }, peers: peers.reverse() });
		const [first, second] = [on('n1', '192.0.2.11'), on('n2', '192.0.2.12')];
		assert.deepEqual(first.problems, second.problems);
		assert.deepEqual(
			first.problems.map(({ object, code, node: here }) => [object, code, here]),
			[
				['BGPPeer self', 'PeerIsSelf', undefined],
				['BGPPeer young', 'DuplicatePeer', undefined],
			],
		);
		const names = ({ config }: typeof first) => config?.peers.map(({ name }) => name);
		assert.deepEqual(names(first), ['peer/elder', 'peer/link1', 'peer/link2']);
		assert.deepEqual(names(second), ['peer/link1', 'peer/link2', 'peer/reflector', 'peer/young']);
	});

	it('refuses a peer at the address of the setting nodeAddress, as a finding of this node', () => {
		const { config, problems } = speakerConfigOf({
			...base,
			addresses: { 4: '198.51.100.1' },
			peers: [peer({ peerIP: '198.51.100.1', asNumber: 1 })],
		});
		assert.deepEqual(
			config?.peers.map(({ name }) => name),
			['mesh/n2'],
		);
		assert.deepEqual(
			problems.map(({ code, node: here }) => [code, here]),
			[['PeerIsSelf', 'n1']],
		);
	});

	for (const spec of [
		{ peerIP: '224.0.0.5' },
		{ peerIP: '0.0.0.0' },
		{ peerIP: '255.255.255.255' },
		{ peerIP: 'ff02::1' },
		{ peerIP: '::' },
		{ peerIP: '192.0.2.1', asNumber: 23456 },
		{ peerIP: '192.0.2.1', asNumber: 0 },
	]) {
		it(`refuses ${JSON.stringify(spec)}`, () => {
			const raw = { apiVersion: 'manx.dev/v1', kind: 'BGPPeer', metadata: { name: 'tor' } };
			assert.equal(validate({ ...raw, spec: { asNumber: 1, ...spec } }).type, 'refused');
		});
	}

	it('is none while the node is unknown', () => {
		const { config, problems } = speakerConfigOf({ ...base, nodeName: 'nx', addresses });
		assert.equal(config, undefined);
		assert.equal(problems[0]?.object, 'Node nx');
	});

	it('takes what a BGPPeer says of its session, its password from a file', () => {
		const tor = peer({
			peerIP: '192.0.2.1',
			asNumber: 64513,
			passwordFile: 'tor',
			ttlSecurity: 1,
			localAS: { asNumber: 65000 },
			prefixLimit: { maximum: 10 },
			routeReflectorClient: true,
			importPolicy: 'Reject',
			shutdown: {},
		});
		const passwordOf = (file: string) => (file === 'tor' ? { password: 's3cret' } : { error: 'no such file' });
		const { config, problems } = speakerConfigOf({ ...base, addresses, peers: [tor], passwordOf });
		assert.deepEqual(problems, []);
		const found = config?.peers.find((one) => one.name === 'peer/tor');
		assert.deepEqual(
			{ ...found, families: undefined },
			{
				name: 'peer/tor',
				address: '192.0.2.1',
				localAddress: '192.0.2.11',
				port: 179,
				asNumber: 64513,
				holdTime: 90,
				restartTime: 120,
				passive: false,
				families: undefined,
				exportLearnt: true,
				routeReflectorClient: true,
				password: 's3cret',
				ttlSecurity: 1,
				localAS: { asNumber: 65000, noPrepend: false, replaceAS: false },
				prefixLimit: { maximum: 10, warnPercent: 75, action: 'hold' },
				rejectImport: true,
				shutdown: { message: '' },
			},
		);
	});

	it('has no session whose password cannot be read, and says so', () => {
		const tor = peer({ peerIP: '192.0.2.1', asNumber: 64513, passwordFile: 'gone' });
		const passwordOf = () => ({ error: '/etc/manx/passwords/gone cannot be read (ENOENT)' });
		const { config, problems } = speakerConfigOf({ ...base, addresses, peers: [tor], passwordOf });
		assert.deepEqual(
			config?.peers.map((one) => one.name),
			['mesh/n2'],
		);
		assert.equal(problems[0]?.field, 'spec.passwordFile');
		assert.match(problems[0]?.reason ?? '', /gone cannot be read/);
	});

	it('takes neighbours by prefix, and listens for link-local ones', () => {
		const rack = peer({ peerRange: '192.0.2.128/25', asNumber: 'external', peerLimit: 4 });
		const link = peer({ peerIP: 'fe80::1', interface: 'eth1', asNumber: 64513 });
		const { config } = speakerConfigOf({ ...base, addresses, peers: [rack, link] });
		const [range] = config?.dynamicPeers ?? [];
		assert.deepEqual(
			[range?.name, range?.prefix, range?.limit, range?.peer.asNumber],
			['peer/tor', '192.0.2.128/25', 4, 0],
		);
		const peerOfLink = config?.peers.find((one) => one.address === 'fe80::1');
		assert.equal(peerOfLink?.interface, 'eth1');
		assert.equal(peerOfLink?.localAddress, undefined);
		assert.ok(config?.listen.some(({ address }) => address === '::'));
	});

	it('with ebgpRequiresPolicy external peers need theirs (RFC 8212)', () => {
		const result = validate({
			apiVersion: 'manx.dev/v1',
			kind: 'BGPConfiguration',
			metadata: { name: 'default' },
			spec: { ebgpRequiresPolicy: true, clusterID: '1.2.3.4' },
		});
		assert.ok(result.type === 'object' && result.object.kind === 'BGPConfiguration');
		const configuration = result.object;
		const rejects = (spec: object): unknown => {
			const { config } = speakerConfigOf({
				...base,
				configuration,
				addresses,
				peers: [peer({ peerIP: '192.0.2.1', ...spec })],
			});
			assert.equal(config?.clusterId, '1.2.3.4');
			const one = config?.peers.find(({ name }) => name === 'peer/tor');
			return [one?.rejectImport, one?.rejectExport];
		};
		assert.deepEqual(rejects({ asNumber: 64513 }), [true, true]);
		assert.deepEqual(rejects({ asNumber: 64513, exportPolicy: 'Accept' }), [true, undefined]);
		assert.deepEqual(rejects({ asNumber: 64512 }), [undefined, undefined]);
	});

	for (const [spec, field] of [
		[{ asNumber: 1 }, 'spec.peerIP'],
		[{ asNumber: 1, peerIP: '192.0.2.1', peerRange: '192.0.2.0/24' }, 'spec.peerIP'],
		[{ asNumber: 1, peerIP: 'fe80::1' }, 'spec.interface'],
		[{ asNumber: 1, peerIP: '192.0.2.1', passwordFile: '../shadow' }, 'spec.passwordFile'],
		[{ asNumber: 1, peerIP: '192.0.2.1', ttlSecurity: 255 }, 'spec.ttlSecurity'],
		[{ asNumber: 1, peerIP: '192.0.2.1', role: 'boss' }, 'spec.role'],
		[{ asNumber: 1, peerIP: '192.0.2.1', prefixLimit: {} }, 'spec.prefixLimit.maximum'],
	] as const) {
		it(`refuses ${JSON.stringify(spec)} for its ${field}`, () => {
			const result = validate({ apiVersion: 'manx.dev/v1', kind: 'BGPPeer', metadata: { name: 'tor' }, spec });
			assert.equal(result.type === 'refused' && result.field, field);
		});
	}
});
