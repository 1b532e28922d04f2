import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { clusterOf } from '../../src/api/cluster.ts';
import type { BFDProfile, BGPConfiguration, BGPFilter, BGPPeer, ManxObject, Node } from '../../src/api/objects.ts';
import { validate } from '../../src/api/validate.ts';
import { createBirdObjects } from '../../src/daemon/bird-objects.ts';
import { type SpeakerInput, speakerConfigOf } from '../../src/daemon/speaker-config.ts';

/** BGP objects, and what they make of a node's speaker. */

const read = <T extends ManxObject>(kind: T['kind'], name: string, spec: object, metadata: object = {}): T => {
	const apiVersion = kind === 'Node' ? 'v1' : 'manx.dev/v1';
	const status = 'status' in metadata ? { status: metadata.status } : {};
	const result = validate({ apiVersion, kind, metadata: { name, ...metadata }, spec, ...status });
	assert.ok(result.type === 'object', JSON.stringify(result));
	return result.object as T;
};
const refusal = (kind: string, spec: object): string => {
	const name = kind === 'BGPConfiguration' ? 'default' : 'x';
	const result = validate({ apiVersion: 'manx.dev/v1', kind, metadata: { name }, spec });
	assert.ok(result.type === 'refused', 'it is taken');
	return `${result.field} ${result.reason}`;
};
const peer = (spec: object, name = 'tor'): BGPPeer => read('BGPPeer', name, spec);
const configuration = (spec: object): BGPConfiguration => read('BGPConfiguration', 'default', spec);
const router = { peerIP: '192.0.2.1', asNumber: 65001 };

describe('fields of a BGPPeer', () => {
	const spec = (given: object) => peer({ ...router, ...given }).spec;
	it('AS numbers: numbers, digits, dotted, external', () => {
		const read = (asNumber: unknown): number => spec({ asNumber }).asNumber;
		assert.deepEqual([65001, '65001', '1.10', '0.65001', 'external'].map(read), [65001, 65001, 65546, 65001, 0]);
	});
	it('ports beside addresses', () => {
		const read = (peerIP: string) => [spec({ peerIP }).peerIP, spec({ peerIP }).peerPort];
		assert.deepEqual(read('192.0.2.1'), ['192.0.2.1', 0]);
		assert.deepEqual(read('192.0.2.1:1790'), ['192.0.2.1', 1790]);
		assert.deepEqual(read('2001:DB8::1'), ['2001:db8::1', 0]);
		assert.deepEqual(read('[2001:db8::1]:1790'), ['2001:db8::1', 1790]);
	});
	it('durations', () => {
		const { holdTime, session } = spec({ holdTime: '1m30s', keepaliveTime: '15s', maxRestartTime: '2m0s' });
		assert.deepEqual([holdTime, session.keepaliveTime, session.restartTime], [90, 15, 120]);
	});
	it("Calico's names for what has another here", () => {
		const { session } = spec({ numAllowedLocalASNumbers: 2, localASNumber: '1.1', keepOriginalNextHop: true });
		assert.deepEqual(session, {
			allowOwnAS: 2,
			localAS: { asNumber: 65537, noPrepend: true, replaceAS: true },
			nextHopMode: 'Keep',
		});
	});
	for (const [given, words] of [
		[{ peerIP: '192.0.2.1:0' }, /spec.peerIP .*port/],
		[{ peerIP: '192.0.2.1:1', peerPort: 2 }, /spec.peerPort stands in peerIP already/],
		[{ asNumber: '65536.1' }, /spec.asNumber must be 1 to 4294967295/],
		[{ asNumber: 1.5 }, /spec.asNumber must be/],
		[{ maxRestartTime: '5000s' }, /spec.maxRestartTime must be 0 to 4095 seconds/],
		[{ maxRestartTime: 'soon' }, /spec.maxRestartTime must be 0 to 4095 seconds/],
		[{ holdTime: 2 }, /spec.holdTime must be 0 or at least 3/],
		[{ holdTime: 30, keepaliveTime: 30 }, /spec.keepaliveTime must be less/],
		[{ numAllowedLocalASNumbers: 1, allowOwnAS: 1 }, /spec.numAllowedLocalASNumbers may not stand beside allowOwnAS/],
		[{ keepOriginalNextHop: true, nextHopMode: 'Self' }, /may not stand beside nextHopMode/],
		[{ password: { secretKeyRef: { name: 'A', key: 'b' } } }, /spec.password.secretKeyRef.name must be the name/],
		[
			{ password: { secretKeyRef: { name: 'a', key: 'b' } }, passwordFile: 'x' },
			/spec.passwordFile may not stand beside/,
		],
		[{ nodeSelector: "rack = 'r1'" }, /spec.nodeSelector cannot be read from '= 'r1'' on/],
		[{ reachableBy: '2001:db8::1' }, /spec.reachableBy is not of the family/],
		[{ reachableBy: '192.0.2.1' }, /spec.reachableBy is the peer itself/],
		[{ localWorkloadSelector: 'all()' }, /spec.localWorkloadSelector does not apply: there is no BGP with workloads/],
		[{ bfd: {}, bfdProfile: 'x' }, /spec.bfdProfile may not stand beside bfd/],
	] as const) {
		it(`refused: ${JSON.stringify(given)}`, () => assert.match(refusal('BGPPeer', { ...router, ...given }), words));
	}
});

describe('fields of a BGPFilter', () => {
	for (const [rule, words] of [
		[{ cidr: '10.0.0.0/8' }, /spec.exportV4\[0\].matchOperator is missing/],
		[{ matchOperator: 'In' }, /spec.exportV4\[0\].cidr is missing/],
		[{ cidr: '10.0.0.1/8', matchOperator: 'In' }, /cidr '10.0.0.1\/8' has host bits set/],
		[{ cidr: 'fd00::/8', matchOperator: 'In' }, /cidr fd00::\/8 is not of IPv4/],
		[{ prefixLength: { min: 1 } }, /prefixLength needs a cidr/],
		[{ cidr: '10.0.0.0/8', matchOperator: 'In', prefixLength: { max: 4 } }, /min 8 is more than max 4/],
		[{ cidr: '10.0.0.0/8', matchOperator: 'In', prefixLength: { max: 33 } }, /prefixLength.max must be 0 to 32/],
		[{ action: 'Reject', operations: [{ setMED: { value: 1 } }] }, /operations are for action Accept/],
		[{ operations: [{ setMED: { value: 1 }, setLocalPref: { value: 1 } }] }, /names more than one operation/],
		[{ operations: [{ setNextHop: { address: 'fd00::1' } }] }, /next hop is not of IPv4/],
		[{ communities: { values: ['65536:1'] } }, /communities.values\[0\] must be aa:nn/],
		[{ unknown: 1 }, /unknown/i],
	] as const) {
		it(`refused: ${JSON.stringify(rule)}`, () =>
			assert.match(refusal('BGPFilter', { exportV4: [{ action: 'Accept', ...rule }] }), words));
	}
});

describe('fields of BGPConfiguration', () => {
	it('communities by name or value', () => {
		const { prefixAdvertisements } = configuration({
			communities: [{ name: 'rack', value: '64512:1:2' }],
			prefixAdvertisements: [{ cidr: '10.244.0.0/16', communities: ['rack', '64512:3'] }],
		}).spec;
		assert.deepEqual(prefixAdvertisements, [{ cidr: '10.244.0.0/16', communities: ['64512:1:2', '64512:3'] }]);
	});
	it('metrics of learnt routes, and who has routes to other nodes', () => {
		const { routePriorities, programClusterRoutes } = configuration({
			ipv4NormalRoutePriority: 1024,
			programClusterRoutes: 'Disabled',
		}).spec;
		assert.deepEqual([routePriorities, programClusterRoutes], [{ ipv4: 1024 }, false]);
		assert.equal(configuration({ programClusterRoutes: 'Enabled' }).spec.programClusterRoutes, true);
	});
	for (const [spec, words] of [
		[{ prefixAdvertisements: [{ cidr: '10.0.0.0/8', communities: ['x'] }] }, /communities\[0\] 'x' is neither/],
		[{ programClusterRoutes: 'EnabledIPIPOnly' }, /programClusterRoutes must be Enabled, .*no encapsulation/],
		[{ ipv4NormalRoutePriority: 0 }, /ipv4NormalRoutePriority must be 1 to 2147483646/],
		[{ localWorkloadPeeringIPV4: '192.0.2.1' }, /does not apply: there is no BGP with workloads/],
		[{ serviceClusterIPs: [{ cidr: '10.96.0.1/12' }] }, /serviceClusterIPs\[0\].cidr .*host bits/],
		[{ logSeverityScreen: 'Loud' }, /logSeverityScreen/],
	] as const) {
		it(`refused: ${JSON.stringify(spec)}`, () => assert.match(refusal('BGPConfiguration', spec), words));
	}
});

const node = (name: string, annotations: object = {}, labels: object = {}): Node =>
	read(
		'Node',
		name,
		{ podCIDRs: [`10.244.${name.slice(1)}.0/24`] },
		{ annotations, labels, status: { addresses: [{ type: 'InternalIP', address: `192.0.2.1${name.slice(1)}` }] } },
	);

describe('the speaker of a node', () => {
	const on = (nodeName: string, nodes: readonly Node[], given: Partial<SpeakerInput> = {}) => {
		const cluster = clusterOf(nodes);
		const addresses = cluster.nodes.get(nodeName)?.addresses ?? {};
		return speakerConfigOf({ nodeName, cluster, configuration: undefined, peers: [], addresses, ...given });
	};
	const names = (result: ReturnType<typeof on>): string[] => result.config?.peers.map(({ name }) => name) ?? [];
	const three = [node('n1'), node('n2'), node('n3')];

	it('takes AS number, router ID and address from annotations, ours before those of Calico', () => {
		const nodes = [
			node('n1', {
				'projectcalico.org/ASNumber': '65100',
				'manx.dev/as-number': '1.1',
				'manx.dev/router-id': '10.0.0.1',
				'projectcalico.org/IPv4Address': '198.51.100.1/24',
			}),
			node('n2', { 'projectcalico.org/ASNumber': '65100' }),
			node('n3', { 'manx.dev/as-number': 'many' }),
		];
		const { config } = on('n1', nodes);
		assert.deepEqual([config?.asNumber, config?.routerId, config?.addresses.ipv4], [65537, '10.0.0.1', '198.51.100.1']);
		assert.deepEqual(
			config?.peers.map(({ asNumber }) => asNumber),
			[65100, 64512],
		);
		assert.equal(on('n2', nodes).config?.peers[0]?.address, '198.51.100.1');
		assert.deepEqual(
			clusterOf(nodes).problems.map(({ object, field, code }) => [object, field, code]),
			[['Node n3', 'metadata.annotations.manx.dev/as-number', 'BadAnnotation']],
		);
	});

	it('listens everywhere, or with bindMode NodeIP on its own address', () => {
		const listen = (spec: object) => on('n1', three, { configuration: configuration(spec) }).config?.listen;
		assert.deepEqual(listen({}), [{ address: '0.0.0.0', port: 179 }]);
		assert.deepEqual(listen({ bindMode: 'NodeIP', listenPort: 1790 }), [{ address: '192.0.2.11', port: 1790 }]);
	});

	const reflectors = [
		node('n1', { 'manx.dev/route-reflector-cluster-id': '244.0.0.1' }, { reflector: 'yes' }),
		node('n2'),
		node('n3'),
	];
	const byLabel = { nodeSelector: '!has(reflector)', peerSelector: 'has(reflector)' };
	it('reflectors have no part in the mesh, but sessions by peerSelector from both ends', () => {
		const mesh = { configuration: configuration({}) };
		assert.deepEqual(names(on('n1', reflectors, mesh)), []);
		assert.deepEqual(names(on('n2', reflectors, mesh)), ['mesh/n3']);
		const peers = [peer(byLabel, 'rr')];
		const at = (name: string) =>
			on(name, reflectors, { peers, configuration: configuration({ nodeToNodeMeshEnabled: false }) });
		assert.deepEqual(names(at('n1')), ['peer/rr/n2', 'peer/rr/n3']);
		assert.deepEqual(names(at('n2')), ['peer/rr/n1']);
		const [client] = at('n1').config?.peers ?? [];
		assert.deepEqual(
			[client?.routeReflectorClient, client?.exportLearnt, client?.address, client?.asNumber],
			[true, true, '192.0.2.12', 64512],
		);
		assert.equal(at('n1').config?.clusterId, '244.0.0.1');
		const [up] = at('n2').config?.peers ?? [];
		assert.deepEqual([up?.routeReflectorClient, up?.exportLearnt], [undefined, false]);
		const manual = { peers: [peer({ ...byLabel, reversePeering: 'Manual' }, 'rr')] };
		assert.deepEqual(names(on('n1', reflectors, { ...mesh, ...manual })), []);
	});

	it('a reflector leads external peers to the nodes themselves', () => {
		const tor = peer({ peerIP: '192.0.2.1', asNumber: 65001 }, 'tor');
		const byItself = peer({ peerIP: '192.0.2.2', asNumber: 65001, nextHopMode: 'Self' }, 'tor2');
		const nextHops = (name: string) => {
			const { config } = on(name, reflectors, { peers: [peer(byLabel, 'rr'), tor, byItself] });
			return Object.fromEntries((config?.peers ?? []).map((one) => [one.name, one.nextHop]));
		};
		assert.deepEqual(nextHops('n1'), {
			...{ 'peer/rr/n2': undefined, 'peer/rr/n3': undefined },
			...{ 'peer/tor': 'keep', 'peer/tor2': 'self' },
		});
		assert.deepEqual([nextHops('n2')['peer/tor'], nextHops('n2')['peer/tor2']], [undefined, 'self']);
	});

	it('reflectors of one cluster are no clients of each other', () => {
		const id = { 'manx.dev/route-reflector-cluster-id': '244.0.0.1' };
		const nodes = [node('n1', id, { reflector: '' }), node('n2', id, { reflector: '' }), node('n3')];
		const { config } = on('n1', nodes, { peers: [peer({ peerSelector: 'has(reflector)' }, 'rr')] });
		assert.deepEqual(
			config?.peers.map(({ name, routeReflectorClient, exportLearnt }) => [name, routeReflectorClient, exportLearnt]),
			[
				['peer/rr/n2', undefined, true],
				['peer/rr/n3', true, true],
			],
		);
	});

	it('next hops, sources, gateways and keepalives of a peer', () => {
		const given = { nextHopMode: 'Self', sourceAddress: 'None', reachableBy: '192.0.2.254', keepaliveTime: 10 };
		const { config } = on('n1', [node('n1')], { peers: [peer({ ...router, ...given })] });
		const [found] = config?.peers ?? [];
		assert.deepEqual(
			[found?.nextHop, found?.localAddress, found?.keepaliveTime, config?.reachable],
			['self', undefined, 10, [{ prefix: '192.0.2.1/32', via: '192.0.2.254' }]],
		);
	});

	const accept: BGPFilter = read('BGPFilter', 'accept', {
		importV4: [{ action: 'Accept' }],
		exportV6: [{ action: 'Reject' }],
	});
	it('filters by name, in order; one that is missing lets nothing through', () => {
		const peers = [peer({ ...router, filters: ['accept', 'missing'] })];
		const { config, problems } = on('n1', [node('n1')], { peers, filters: new Map([['accept', accept]]) });
		const { importFilter, exportFilter } = config?.peers[0] ?? {};
		const shown = (rules: readonly { name: string; action: string }[] = []) =>
			rules.map(({ name, action }) => `${name} ${action}`);
		const last = 'BGPFilter missing, which does not exist, Reject';
		assert.deepEqual(shown(importFilter?.[4]), ['BGPFilter accept importV4[0] Accept', last]);
		assert.deepEqual(shown(importFilter?.[6]), [last]);
		assert.deepEqual(shown(exportFilter?.[4]), [last]);
		assert.deepEqual(shown(exportFilter?.[6]), ['BGPFilter accept exportV6[0] Reject', last]);
		assert.deepEqual(
			problems.map(({ field, code, node: here }) => [field, code, here]),
			[['spec.filters[1]', 'NoFilter', undefined]],
		);
	});

	it('a filter deleted while it is named holds as it last was', () => {
		const objects = createBirdObjects();
		const set = (object: ManxObject) => objects.take([{ type: 'set', object }]);
		set(accept);
		set(peer({ ...router, filters: ['accept'] }));
		objects.take([{ type: 'delete', kind: 'BGPFilter', key: 'accept' }]);
		const result = on('n1', [node('n1')], {
			peers: objects.peers.values(),
			filters: objects.filters,
			lostFilters: objects.lostFilters,
		});
		assert.equal(result.config?.peers[0]?.importFilter?.[4][0]?.name, 'BGPFilter accept importV4[0]');
		assert.match(result.problems[0]?.reason ?? '', /not? BGPFilter accept any more: what it last said holds/);
		set(peer(router));
		assert.equal(objects.lostFilters.size, 0);
	});

	it('passwords from Secrets, for a peer and for the mesh', () => {
		const ref = (name: string) => ({ secretKeyRef: { name, key: 'k' } });
		const given: Partial<SpeakerInput> = {
			peers: [
				peer({ ...router, password: ref('known') }),
				peer({ ...router, peerIP: '192.0.2.2', password: ref('no') }, 'b'),
			],
			configuration: configuration({ nodeMeshPassword: ref('mesh'), nodeMeshMaxRestartTime: '60s' }),
			secretOf: ({ name }) => (name === 'no' ? { error: 'Secret no does not exist' } : { password: name }),
		};
		const { config, problems } = on('n1', three, given);
		assert.deepEqual(
			config?.peers.map(({ name, password, restartTime }) => [name, password, restartTime]),
			[
				['mesh/n2', 'mesh', 60],
				['mesh/n3', 'mesh', 60],
				['peer/tor', 'known', 120],
			],
		);
		assert.deepEqual(
			problems.map(({ object, field, code, node: here }) => [object, field, code, here]),
			[['BGPPeer b', 'spec.password', 'NoPassword', 'n1']],
		);
	});

	it('BFD by a profile, and its absence told', () => {
		const profile: BFDProfile = read('BFDProfile', 'fast', { transmitInterval: 50, passiveMode: true });
		const peers = [
			peer({ ...router, bfdProfile: 'fast' }),
			peer({ ...router, peerIP: '192.0.2.2', bfdProfile: 'no' }, 'b'),
		];
		const { config, problems } = on('n1', [node('n1')], { peers, profiles: new Map([['fast', profile]]) });
		const [second, first] = config?.peers ?? [];
		assert.deepEqual([first?.bfd?.profile.transmitInterval, first?.bfd?.profile.passive], [50, true]);
		assert.equal(second?.bfd, undefined);
		assert.deepEqual(
			problems.map(({ code }) => code),
			['NoBFDProfile'],
		);
	});

	it('communities by every advertisement that a prefix lies in', () => {
		const { config } = on('n1', [node('n1')], {
			services: ['10.96.0.0/12'],
			configuration: configuration({
				prefixAdvertisements: [
					{ cidr: '10.0.0.0/8', communities: ['1:1'] },
					{ cidr: '10.244.0.0/16', communities: ['1:2', '1:1'] },
				],
			}),
		});
		assert.deepEqual(config?.communities, { '10.244.1.0/24': ['1:1', '1:2'], '10.96.0.0/12': ['1:1'] });
		assert.deepEqual(config?.services, ['10.96.0.0/12']);
	});
});
