import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { EndpointSlice, Node, Service } from '../../src/api/objects.ts';
import { validate } from '../../src/api/validate.ts';
import { createServiceRoutes, type ServiceRanges } from '../../src/daemon/service-routes.ts';

const read = <T>(raw: object): T => {
	const result = validate(raw);
	assert.ok(result.type === 'object', JSON.stringify(result));
	return result.object as T;
};
const service = (name: string, spec: object, ingress: readonly string[] = []): Service =>
	read({
		apiVersion: 'v1',
		kind: 'Service',
		metadata: { name, namespace: 'ns' },
		spec,
		status: { loadBalancer: { ingress: ingress.map((ip) => ({ ip })) } },
	});
const slice = (name: string, of: string, endpoints: readonly object[], version = 'v1'): EndpointSlice =>
	read({
		apiVersion: `discovery.k8s.io/${version}`,
		kind: 'EndpointSlice',
		metadata: { name, namespace: 'ns', labels: { 'kubernetes.io/service-name': of } },
		addressType: 'IPv4',
		endpoints,
	});
const ranges: ServiceRanges = {
	serviceClusterIPs: ['10.96.0.0/12', 'fd00:10::/112'],
	serviceExternalIPs: ['203.0.113.0/24'],
	serviceLoadBalancerIPs: ['198.51.100.0/24'],
	serviceLoadBalancerAggregation: true,
};
const aggregates = ['10.96.0.0/12', '198.51.100.0/24', '203.0.113.0/24', 'fd00:10::/112'];
const local = { type: 'LoadBalancer', externalTrafficPolicy: 'Local' };

describe('prefixes of Services', () => {
	const make = (...objects: (Service | EndpointSlice)[]) => {
		const routes = createServiceRoutes();
		for (const object of objects) routes.set(object);
		const on = (nodeName: string, given: Partial<ServiceRanges> = {}, node?: Node) =>
			routes.prefixes({ ...ranges, ...given }, node, nodeName);
		return { routes, on };
	};

	it('are none without ranges', () => {
		const nothing = { serviceClusterIPs: [], serviceExternalIPs: [], serviceLoadBalancerIPs: [] };
		assert.deepEqual(make(service('a', { clusterIP: '10.96.0.1' })).on('n1', nothing), []);
	});

	it('are the ranges on every node', () => {
		assert.deepEqual(make(service('a', { clusterIP: '10.96.0.1' })).on('n1'), aggregates);
	});

	it('are single addresses within the ranges of Local Services, where an endpoint is ready', () => {
		const { routes, on } = make(
			service('a', { ...local, clusterIPs: ['10.96.0.7', 'fd00:10::7'], externalIPs: ['203.0.113.7', '192.0.2.7'] }, [
				'198.51.100.7',
			]),
			slice('a-1', 'a', [
				{ addresses: ['10.244.1.2'], nodeName: 'n1', conditions: { ready: true } },
				{ addresses: ['10.244.2.2'], nodeName: 'n2', conditions: { ready: false } },
			]),
			slice('a-2', 'a', [{ addresses: ['10.244.3.2'], nodeName: 'n3' }]),
		);
		const single = ['10.96.0.7/32', '198.51.100.7/32', '203.0.113.7/32', 'fd00:10::7/128'];
		const all = [...aggregates, ...single].sort();
		assert.deepEqual(on('n1'), all);
		assert.deepEqual(on('n2'), aggregates);
		assert.deepEqual(on('n3'), all);
		routes.set(slice('a-2', 'a', []));
		assert.deepEqual(on('n3'), aggregates);
		routes.delete('EndpointSlice', 'ns/a-1');
		assert.deepEqual(on('n1'), aggregates);
		routes.delete('Service', 'ns/a');
		assert.deepEqual(on('n1'), aggregates);
	});

	it('of load balancers are single ones without aggregation, of any policy', () => {
		const given = { serviceLoadBalancerAggregation: false };
		const { on } = make(
			service('a', { type: 'LoadBalancer' }, ['198.51.100.7']),
			service('b', local, ['198.51.100.8']),
			slice('b-1', 'b', [{ addresses: [], nodeName: 'n1' }]),
		);
		const without = aggregates.filter((prefix) => prefix !== '198.51.100.0/24');
		assert.deepEqual(on('n1', given), [...without, '198.51.100.7/32', '198.51.100.8/32'].sort());
		assert.deepEqual(on('n2', given), [...without, '198.51.100.7/32'].sort());
	});

	it('know where v1beta1 and Endpoints have the node', () => {
		const older = slice('a-1', 'a', [{ addresses: [], topology: { 'kubernetes.io/hostname': 'n1' } }], 'v1beta1');
		const oldest = read<EndpointSlice>({
			apiVersion: 'v1',
			kind: 'Endpoints',
			metadata: { name: 'a', namespace: 'ns' },
			subsets: [
				{
					addresses: [{ ip: '10.244.1.2', nodeName: 'n2' }],
					notReadyAddresses: [{ ip: '10.244.1.3', nodeName: 'n3' }],
				},
			],
		});
		const { on } = make(service('a', local, ['198.51.100.7']), older, oldest);
		assert.deepEqual(
			['n1', 'n2', 'n3'].map((name) => on(name).includes('198.51.100.7/32')),
			[true, true, false],
		);
	});

	it('are not announced by nodes that balancers are to leave out', () => {
		const node = read<Node>({
			apiVersion: 'v1',
			kind: 'Node',
			metadata: { name: 'n1', labels: { 'node.kubernetes.io/exclude-from-external-load-balancers': '' } },
		});
		assert.deepEqual(make().on('n1', {}, node), []);
	});
});
