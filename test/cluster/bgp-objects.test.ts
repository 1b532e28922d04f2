import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { parseAllDocuments } from 'yaml';
import type { ManxObject } from '../../src/api/objects.ts';
import { validate } from '../../src/api/validate.ts';
import type { Datastore } from '../../src/datastore/datastore.ts';
import { createApiServer } from '../../src/datastore/kubernetes/api-server.ts';
import { createKubernetesClient } from '../../src/datastore/kubernetes/client.ts';
import { createCredentials } from '../../src/datastore/kubernetes/credentials.ts';
import { clock, createKubernetesDatastore } from '../../src/datastore/kubernetes/kubernetes.ts';
import { createSecretSource } from '../../src/datastore/kubernetes/secrets.ts';
import type { Logger } from '../../src/logging.ts';
import { type DatastoreServer, poll, startDatastoreServer } from './datastore-server.ts';

/**
 * The CRDs as a real API server takes them, and what bird reads and writes besides, by the account of the manifests: the status
 * of objects, EndpointSlices of an older version, one Secret.
 */

const log: Logger = { debug: () => {}, info: () => {}, warn: () => {}, error: () => {}, child: () => log };
const manifest = join(import.meta.dirname, '../../manifests/manx.yaml');
const places: Readonly<Record<string, string>> = {
	ServiceAccount: '/api/v1/namespaces/kube-system/serviceaccounts',
	ClusterRole: '/apis/rbac.authorization.k8s.io/v1/clusterroles',
	ClusterRoleBinding: '/apis/rbac.authorization.k8s.io/v1/clusterrolebindings',
	Role: '/apis/rbac.authorization.k8s.io/v1/namespaces/kube-system/roles',
	RoleBinding: '/apis/rbac.authorization.k8s.io/v1/namespaces/kube-system/rolebindings',
	CustomResourceDefinition: '/apis/apiextensions.k8s.io/v1/customresourcedefinitions',
};
type Raw = {
	readonly kind: string;
	readonly spec: { readonly names: { readonly kind: string; readonly plural: string } };
};

describe('BGP objects on a real API server', { timeout: 240_000 }, () => {
	let server: DatastoreServer;
	const plurals = new Map<string, string>();

	before(async () => {
		server = await startDatastoreServer();
		for (const document of parseAllDocuments(readFileSync(manifest, 'utf8'))) {
			const object = document.toJS() as Raw;
			const place = places[object.kind];
			if (place === undefined) continue;
			const { code, body } = await server.api('POST', place, object);
			assert.equal(code, 201, JSON.stringify(body));
			if (object.kind !== 'CustomResourceDefinition') continue;
			const { kind, plural } = object.spec.names;
			plurals.set(kind, plural);
			await poll(
				`${kind} is served`,
				async () => (await server.api('GET', `/apis/manx.dev/v1/${plural}`)).code === 200,
			);
		}
	});
	before(async () => {
		const path = '/api/v1/namespaces/kube-system/serviceaccounts/manx/token';
		const request = { apiVersion: 'authentication.k8s.io/v1', kind: 'TokenRequest', spec: {} };
		const { code, body } = await server.api('POST', path, request);
		assert.equal(code, 201, JSON.stringify(body));
		writeFileSync(server.tokenFile, (body.status as { token: string }).token);
	});
	after(() => server.stop());

	it('all kinds have structural schemas', async () => {
		for (const plural of plurals.values()) {
			const path = `/apis/apiextensions.k8s.io/v1/customresourcedefinitions/${plural}.manx.dev`;
			const { status } = (await server.api('GET', path)).body as { status: { conditions: { type: string }[] } };
			assert.deepEqual(status.conditions.map(({ type }) => type).sort(), ['Established', 'NamesAccepted']);
		}
	});

	const peer = (spec: object): [string, object] => ['BGPPeer', spec];
	const configuration = (spec: object): [string, object] => ['BGPConfiguration', spec];
	const filter = (spec: object): [string, object] => ['BGPFilter', spec];
	const profile = (spec: object): [string, object] => ['BFDProfile', spec];
	const router = { peerIP: '192.0.2.1', asNumber: 65001 };
	const secretKeyRef = { name: 'bgp-passwords', key: 'tor' };
	const all = {
		cidr: '10.0.0.0/8',
		matchOperator: 'In',
		prefixLength: { min: 16, max: 24 },
		source: 'RemotePeers',
		interface: 'eth*',
		peerType: 'eBGP',
		communities: { values: ['65000:1'] },
		asPathPrefix: [65000, '1.1'],
		priority: 512,
		action: 'Accept',
		operations: [
			{ addCommunity: { value: '65000:1:2' } },
			{ removeCommunity: { value: '1:1' } },
			{ setCommunities: { values: ['1:1'] } },
			{ prependASPath: { prefix: [65000] } },
			{ setPriority: { value: 512 } },
			{ setMED: { value: 5 } },
			{ setLocalPref: { value: 5 } },
			{ setNextHop: { address: '192.0.2.1' } },
		],
	};
	const table: readonly [string, readonly [string, object], boolean][] = [
		['a router', peer(router), true],
		['a port', peer({ ...router, peerIP: '[2001:db8::1]:1790' }), true],
		['a dotted AS', peer({ ...router, asNumber: '1.10' }), true],
		['any AS', peer({ ...router, asNumber: 'external' }), true],
		['an AS of letters', peer({ ...router, asNumber: 'x' }), false],
		['AS 0', peer({ ...router, asNumber: 0 }), false],
		['nodes by an expression', peer({ ...router, nodeSelector: "rack == 'r1'" }), true],
		['nodes by labels', peer({ ...router, nodeSelector: { matchLabels: { rack: 'r1' } } }), true],
		['nodes twice', peer({ ...router, nodeSelector: 'all()', node: 'n1' }), false],
		['reflectors', peer({ peerSelector: 'has(reflector)' }), true],
		['reflectors with an AS', peer({ peerSelector: 'has(reflector)', asNumber: 1 }), false],
		['nobody', peer({ asNumber: 1 }), false],
		['a range', peer({ peerRange: '192.0.2.0/24', asNumber: 1 }), true],
		[
			"Calico's fields",
			peer({
				...router,
				keepaliveTime: '30s',
				maxRestartTime: '2m0s',
				password: { secretKeyRef },
				filters: ['a'],
				nextHopMode: 'Self',
				numAllowedLocalASNumbers: 1,
				localASNumber: 65010,
				ttlSecurity: 1,
				sourceAddress: 'None',
				reachableBy: '192.0.2.254',
				reversePeering: 'Manual',
				failureDetection: 'BFDIfDirectlyConnected',
			}),
			true,
		],
		['a filter of everything', filter({ exportV4: [all], importV6: [{ action: 'Reject' }] }), true],
		['a rule without action', filter({ exportV4: [{}] }), false],
		['an operation of nothing', filter({ exportV4: [{ action: 'Accept', operations: [{}] }] }), false],
		['a community of letters', filter({ exportV4: [{ action: 'Accept', communities: { values: ['x'] } }] }), false],
		['a configuration of defaults', configuration({}), true],
		[
			'a configuration of everything',
			configuration({
				asNumber: '64512',
				logSeverityScreen: 'Info',
				bindMode: 'NodeIP',
				nodeMeshPassword: { secretKeyRef },
				nodeMeshMaxRestartTime: '60s',
				serviceClusterIPs: [{ cidr: '10.96.0.0/12' }],
				serviceExternalIPs: [{ cidr: '203.0.113.0/24' }],
				serviceLoadBalancerIPs: [{ cidr: '198.51.100.0/24' }],
				serviceLoadBalancerAggregation: 'Disabled',
				communities: [{ name: 'a', value: '1:1' }],
				prefixAdvertisements: [{ cidr: '10.0.0.0/8', communities: ['a', '2:2'] }],
				ignoredInterfaces: ['docker*'],
			}),
			true,
		],
		['a BFD profile', profile({ passiveMode: true, echoMode: false }), true],
		['echo', profile({ echoMode: true }), false],
	];
	for (const [name, [kind, spec], good] of table) {
		it(`${good ? 'taken' : 'refused'} by the server and by us: ${name}`, async () => {
			const object = {
				apiVersion: 'manx.dev/v1',
				kind,
				metadata: { name: kind === 'BGPConfiguration' ? 'default' : 'x' },
				spec,
			};
			const { code, body } = await server.api('POST', `/apis/manx.dev/v1/${plurals.get(kind)}?dryRun=All`, object);
			assert.equal(code, good ? 201 : 422, JSON.stringify(body));
			// With the server's defaults as well as with our own.
			for (const raw of good ? [object, body] : [object]) {
				const result = validate(raw);
				assert.equal(result.type, good ? 'object' : 'refused', JSON.stringify(result));
			}
		});
	}

	it('each node writes its own part of the status of a BGPPeer', async () => {
		const path = '/apis/manx.dev/v1/bgppeers';
		const object = { apiVersion: 'manx.dev/v1', kind: 'BGPPeer', metadata: { name: 'tor' }, spec: router };
		assert.equal((await server.api('POST', path, object)).code, 201);
		const client = createKubernetesClient({
			api: createApiServer(createCredentials(server.kubeconfig)),
			component: 'manx-bird',
			nodeName: 'n1',
		});
		const entry = { state: 'Established', since: '2026-01-01T00:00:00Z', received: 1, advertised: 2 };
		const nodes = async (): Promise<unknown> => {
			const { body } = await server.api('GET', `${path}/tor`);
			return (body.status as { nodes?: unknown } | undefined)?.nodes;
		};
		for (const part of [
			{ n1: { ...entry, lastError: null } },
			{ n2: { ...entry, state: 'Active', lastError: 'refused' } },
		]) {
			const written = await client.patchStatus('BGPPeer', 'tor', { nodes: part });
			assert.ok(written.ok, JSON.stringify(written));
		}
		assert.deepEqual(await nodes(), { n1: entry, n2: { ...entry, state: 'Active', lastError: 'refused' } });
		assert.ok((await client.patchStatus('BGPPeer', 'tor', { nodes: { n1: null } })).ok);
		assert.deepEqual(Object.keys((await nodes()) as object), ['n2']);
	});

	it('EndpointSlices are read in the version that the server has', async () => {
		const found = new Map<string, ManxObject>();
		const api = createApiServer(createCredentials(server.kubeconfig));
		const store: Datastore = createKubernetesDatastore({ api, kinds: ['Service', 'EndpointSlice'], log });
		let inSync = false;
		store.start((event) => {
			inSync = event.inSync;
			for (const change of event.changes) {
				if (change.type === 'set') found.set(`${change.object.kind} ${change.object.metadata.name}`, change.object);
				else found.delete(`${change.kind} ${change.key.split('/')[1]}`);
			}
		});
		await poll('in sync', () => inSync);
		const path = '/apis/discovery.k8s.io/v1beta1/namespaces/default/endpointslices';
		const slice = {
			apiVersion: 'discovery.k8s.io/v1beta1',
			kind: 'EndpointSlice',
			metadata: { name: 'web-1', labels: { 'kubernetes.io/service-name': 'web' } },
			addressType: 'IPv4',
			endpoints: [
				{ addresses: ['10.244.1.2'], conditions: { ready: true }, topology: { 'kubernetes.io/hostname': 'n1' } },
				{ addresses: ['10.244.2.2'], conditions: { ready: false }, topology: { 'kubernetes.io/hostname': 'n2' } },
			],
			ports: [],
		};
		assert.equal((await server.api('POST', path, slice)).code, 201);
		await poll('the slice', () => found.has('EndpointSlice web-1'));
		const object = found.get('EndpointSlice web-1');
		assert.ok(object?.kind === 'EndpointSlice');
		assert.deepEqual([object.service, object.readyOn], ['default/web', ['n1']]);
		assert.equal((await server.api('DELETE', `${path}/web-1`)).code, 200);
		await poll('it is gone', () => !found.has('EndpointSlice web-1'));
		await store.close();
	});

	it('a Secret is read by its name alone, and again when it changes', async () => {
		let changes = 0;
		const api = createApiServer(createCredentials(server.kubeconfig));
		const changed = (): void => {
			changes++;
		};
		const source = createSecretSource({ api, namespace: 'kube-system', log, clock, changed });
		source.follow(['bgp-passwords']);
		assert.equal(source.get('bgp-passwords', 'tor').state, 'reading');
		const answer = (): string => JSON.stringify(source.get('bgp-passwords', 'tor'));
		await poll('it is known not to be there', () => /does not exist/.test(answer()));
		const path = '/api/v1/namespaces/kube-system/secrets';
		const secret = (name: string, value: string) => ({
			apiVersion: 'v1',
			kind: 'Secret',
			metadata: { name },
			stringData: { tor: value },
		});
		assert.equal((await server.api('POST', path, secret('others', 'x'))).code, 201);
		assert.equal((await server.api('POST', path, secret('bgp-passwords', 'first'))).code, 201);
		await poll('its value', () => /"known","value":"first"/.test(answer()));
		const { code } = await server.api(
			'PATCH',
			`${path}/bgp-passwords`,
			{ stringData: { tor: 'second' } },
			'application/merge-patch+json',
		);
		assert.equal(code, 200);
		await poll('its next value', () => /"second"/.test(answer()));
		assert.match(JSON.stringify(source.get('bgp-passwords', 'other')), /has no key other/);
		assert.ok(changes >= 3);
		source.follow(['others']);
		const refused = (): string => JSON.stringify(source.get('others', 'tor'));
		await poll('no other one may be read', () => /cannot be read: .*forbidden/.test(refused()));
		source.close();
	});
});
