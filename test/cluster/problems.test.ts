import assert from 'node:assert/strict';
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { parseAllDocuments } from 'yaml';
import type { Kind } from '../../src/api/objects.ts';
import { validate } from '../../src/api/validate.ts';
import { createProblemReporter } from '../../src/daemon/problem-reporter.ts';
import { createApiServer } from '../../src/datastore/kubernetes/api-server.ts';
import { createKubernetesClient } from '../../src/datastore/kubernetes/client.ts';
import { createCredentials } from '../../src/datastore/kubernetes/credentials.ts';
import { objectPath, resources } from '../../src/datastore/kubernetes/resources.ts';
import type { Logger } from '../../src/logging.ts';
import { type DatastoreServer, poll, startDatastoreServer } from './datastore-server.ts';

/**
 * Objects that make no sense, before both daemons and a real API server, with the CRDs and the rights of the manifest:
 * what is wrong stands on the object, once, and nothing else suffers.
 */

const root = join(import.meta.dirname, '../..');
const mergePatch = 'application/merge-patch+json';
const quiet: Logger = { debug: () => {}, info: () => {}, warn: () => {}, error: () => {}, child: () => quiet };

let server: DatastoreServer;

type Status = {
	readonly conditions?: readonly { type: string; status: string; reason: string; message: string }[];
	readonly problems?: readonly { node?: string; reason: string; message: string }[];
};

const create = async (kind: Kind, key: string, fields: object): Promise<number> => {
	const [name, namespace] = key.split('/').reverse();
	const { apiVersion } = resources[kind];
	const metadata = { name, ...(namespace !== undefined && { namespace }) };
	const path = objectPath(resources[kind], key).replace(/\/[^/]+$/, '');
	return (await server.api('POST', path, { apiVersion, kind, metadata, ...fields })).code;
};
const createPeer = (name: string, peerIP: string): Promise<number> =>
	create('BGPPeer', name, { spec: { peerIP, asNumber: 64600 } });
const setPeerIP = async (name: string, peerIP: string): Promise<void> => {
	const path = objectPath(resources.BGPPeer, name);
	const { code, body } = await server.api('PATCH', path, { spec: { peerIP } }, mergePatch);
	assert.equal(code, 200, JSON.stringify(body));
};
const createNode = async (name: string, podCIDR: string, address: string): Promise<void> => {
	assert.equal(await create('Node', name, { spec: { podCIDR, podCIDRs: [podCIDR] } }), 201);
	const status = { addresses: [{ type: 'InternalIP', address }] };
	const path = `/api/v1/nodes/${name}/status`;
	await server.api('PATCH', path, { status }, 'application/strategic-merge-patch+json');
};
const read = async (kind: Kind, key: string): Promise<{ metadata: { resourceVersion: string }; status?: Status }> =>
	(await server.api('GET', objectPath(resources[kind], key))).body as never;
const accepted = async (name: string, kind: Kind = 'BGPPeer'): Promise<string> => {
	const { status } = await read(kind, name);
	const one = status?.conditions?.find(({ type }) => type === 'Accepted');
	return one === undefined ? 'none' : `${one.status} ${one.reason}`;
};
const until = (name: string, wanted: string, kind: Kind = 'BGPPeer'): Promise<void> =>
	poll(`${kind} ${name} is ${wanted}`, async () => (await accepted(name, kind)) === wanted, 30_000);
/** `Kind namespace/name: reason: message` of every Event of ours. */
const events = async (): Promise<readonly string[]> => {
	const { body } = await server.api('GET', '/api/v1/events');
	type Event = {
		readonly involvedObject: { kind: string; namespace?: string; name: string; uid: string };
		readonly reason: string;
		readonly message: string;
		readonly source: { component?: string };
	};
	return (body.items as readonly Event[])
		.filter(({ source }) => source.component?.startsWith('manx-'))
		.map(({ involvedObject: { kind, namespace, name, uid }, reason, message }) => {
			assert.match(uid, /^[0-9a-f-]{36}$/);
			return `${kind} ${namespace === undefined ? '' : `${namespace}/`}${name}: ${reason}: ${message}`;
		})
		.sort();
};

type Daemon = { readonly name: string; readonly child: ChildProcess; readonly output: () => string };
const daemons: Daemon[] = [];
const start = (name: 'felix' | 'bird', settings: string): void => {
	const args = [join(root, 'src/main.ts'), name, '--config', settings];
	const child = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'pipe'] });
	const output: Buffer[] = [];
	for (const stream of [child.stdout, child.stderr]) stream?.on('data', (data: Buffer) => output.push(data));
	daemons.push({ name, child, output: () => Buffer.concat(output).toString('utf8') });
};
const startBoth = async (): Promise<void> => {
	const settings = join(server.folder, 'settings.yaml');
	const datastore = { kind: 'kubernetes', kubeconfig: server.kubeconfig };
	const runDir = join(server.folder, 'run');
	writeFileSync(settings, JSON.stringify({ nodeName: 'here', runDir, cniConfDir: '', datastore }));
	for (const name of ['felix', 'bird'] as const) start(name, settings);
	for (const { name, output } of daemons) {
		const read = poll(`${name} has read everything`, () => output().includes('all objects have been read'), 60_000);
		await read.catch((error: Error) => assert.fail(`${error.message}\n${output()}`));
	}
};
const stopBoth = async (): Promise<void> => {
	for (const { child } of daemons.splice(0)) {
		if (child.exitCode !== null || child.signalCode !== null) continue;
		const exited = new Promise((resolve) => child.once('exit', resolve));
		child.kill('SIGTERM');
		await exited;
	}
};

describe('objects that make no sense', { timeout: 1_800_000 }, () => {
	before(async () => {
		server = await startDatastoreServer();
		const manifest = parseAllDocuments(readFileSync(join(root, 'manifests/manx.yaml'), 'utf8'));
		const paths: Readonly<Record<string, string>> = {
			CustomResourceDefinition: '/apis/apiextensions.k8s.io/v1/customresourcedefinitions',
			ServiceAccount: '/api/v1/namespaces/kube-system/serviceaccounts',
			ClusterRole: '/apis/rbac.authorization.k8s.io/v1/clusterroles',
			ClusterRoleBinding: '/apis/rbac.authorization.k8s.io/v1/clusterrolebindings',
		};
		for (const document of manifest) {
			const object = document.toJS() as { kind: string };
			const path = paths[object.kind];
			if (path === undefined) continue;
			const { code, body } = await server.api('POST', path, object);
			assert.equal(code, 201, JSON.stringify(body));
		}
		const token = await server.api('POST', `${paths.ServiceAccount}/manx/token`, {
			apiVersion: 'authentication.k8s.io/v1',
			kind: 'TokenRequest',
			spec: {},
		});
		assert.equal(token.code, 201, JSON.stringify(token.body));
		writeFileSync(server.tokenFile, (token.body.status as { token: string }).token);
		for (const kind of ['BGPPeer', 'BGPConfiguration'] as const) {
			await poll('served', async () => (await server.api('GET', resources[kind].path)).code === 200);
		}
		execFileSync('ip', ['address', 'add', '192.0.2.77/24', 'dev', 'lo']);
		await createNode('here', '10.99.0.0/24', '192.0.2.77');
		await createNode('far', '10.98.0.0/24', '192.0.2.78');
		assert.equal(await createPeer('good', '192.0.2.1'), 201);
		await startBoth();
	});
	after(async () => {
		await stopBoth();
		await server?.stop();
	});

	it('are refused by the API server where the schema can tell', async () => {
		assert.equal(await create('BGPPeer', 'none', { spec: { peerIP: 192, asNumber: 64600 } }), 422);
		for (const asNumber of [0, -1, 4294967296, 'internal']) {
			assert.equal(await create('BGPPeer', 'none', { spec: { peerIP: '192.0.2.1', asNumber } }), 422, String(asNumber));
		}
		assert.equal(await create('BGPConfiguration', 'other', { spec: {} }), 422);
		assert.equal(await create('BGPConfiguration', 'default', { spec: { asNumber: 0 } }), 422);
	});

	it('carry a condition and an Event, and the others are accepted', async () => {
		await until('good', 'True Accepted');
		assert.equal(await create('BGPConfiguration', 'default', { spec: { asNumber: 64512 } }), 201);
		await until('default', 'True Accepted', 'BGPConfiguration');
		assert.equal(await createPeer('self', '192.0.2.77'), 201);
		assert.equal(await createPeer('multicast', '224.0.0.5'), 201);
		assert.equal(await createPeer('twice', '192.0.2.1'), 201);
		await until('self', 'False PeerIsNode');
		await until('multicast', 'False Refused');
		await until('twice', 'False DuplicatePeer');
		assert.equal(await create('BGPPeer', 'anyone', { spec: { peerIP: '192.0.2.5', asNumber: 'external' } }), 201);
		await until('anyone', 'True Accepted');
		const { status } = await read('BGPPeer', 'self');
		assert.match(status?.conditions?.[0]?.message ?? '', /^spec\.peerIP 192\.0\.2\.77 is the address of Node here/);
		const asNumber = { spec: { asNumber: 23456 } };
		const path = objectPath(resources.BGPConfiguration, 'default');
		assert.equal((await server.api('PATCH', path, asNumber, mergePatch)).code, 200);
		await until('default', 'False Refused', 'BGPConfiguration');
		assert.equal(await accepted('good'), 'True Accepted');
	});

	it('carry an Event where they have no condition: NetworkPolicies, Nodes with overlapping pod networks', async () => {
		// To the API server an IPv4-mapped prefix lies within the IPv4 one.
		const ipBlock = { cidr: '10.0.0.0/8', except: ['::ffff:10.1.0.0/112'] };
		const spec = { podSelector: {}, policyTypes: ['Egress'], egress: [{ to: [{ ipBlock }] }] };
		assert.equal(await create('NetworkPolicy', 'default/odd', { spec }), 201);
		await createNode('late', '10.99.0.128/25', '192.0.2.79');
		await poll('the Events', async () => (await events()).length >= 6, 30_000);
		const found = await events();
		assert.deepEqual(
			found.map((one) => one.split(': ').slice(0, 2).join(' ')),
			[
				'BGPConfiguration default Refused',
				'BGPPeer multicast Refused',
				'BGPPeer self PeerIsNode',
				'BGPPeer twice DuplicatePeer',
				'NetworkPolicy default/odd Refused',
				'Node late OverlappingPodCIDR',
			],
		);
		assert.match(found[4] ?? '', /spec\.egress\[0\]\.to\[0\]\.ipBlock\.except\[0\]/);
	});

	it('are told of once: not again while they last, nor by daemons that are restarted', async () => {
		const [told, peer] = [await events(), await read('BGPPeer', 'self')];
		server.requests.length = 0;
		await createNode('later', '10.97.0.0/24', '192.0.2.80');
		await sleep(5000);
		// How the sessions of peers that are in use are doing is told beside, when it changes.
		const sessions = /^PATCH .*\/bgppeers\/(good|anyone)\/status$/;
		const written = (): readonly string[] =>
			server.requests.filter((one) => /^(POST|PATCH)/.test(one) && !sessions.test(one));
		assert.deepEqual(written(), []);
		await stopBoth();
		await startBoth();
		const asked = (): number => server.requests.filter((one) => one.endsWith('/bgppeers/self')).length;
		await poll('looked at again', () => asked() > 0);
		await poll('said again', () => written().filter((one) => one.endsWith('/events')).length >= told.length);
		assert.deepEqual(await events(), told);
		assert.equal((await read('BGPPeer', 'self')).metadata.resourceVersion, peer.metadata.resourceVersion);
		assert.ok(!written().some((one) => one.startsWith('PATCH') && one.includes('/bgppeers/')));
	});

	it('are accepted once they are corrected', async () => {
		await setPeerIP('self', '192.0.2.2');
		await setPeerIP('multicast', '192.0.2.3');
		await setPeerIP('good', '192.0.2.4');
		for (const name of ['self', 'multicast', 'good', 'twice']) await until(name, 'True Accepted');
		assert.deepEqual((await read('BGPPeer', 'self')).status?.problems, []);
	});

	it('stand beside what becomes of sessions: a BGPPeer says it of each node, and which filter it misses', async () => {
		type Nodes = { readonly status?: { readonly nodes?: Record<string, { state: string; lastError?: string }> } };
		const nodes = async () => ((await read('BGPPeer', 'good')) as Nodes).status?.nodes ?? {};
		await poll('the state of its session', async () => (await nodes()).here !== undefined, 30_000);
		assert.deepEqual(Object.keys(await nodes()), ['here']);
		assert.notEqual((await nodes()).here?.state, 'Established');
		const path = objectPath(resources.BGPPeer, 'good');
		assert.equal((await server.api('PATCH', path, { spec: { filters: ['no-such'] } }, mergePatch)).code, 200);
		await until('good', 'False NoFilter');
		assert.equal(await create('BGPFilter', 'no-such', { spec: {} }), 201);
		await until('good', 'True Accepted');
		await until('no-such', 'True Accepted', 'BGPFilter');
	});

	it('have one condition of many nodes that write it at the same time', async () => {
		assert.equal(await createPeer('many', '192.0.2.9'), 201);
		await until('many', 'True Accepted');
		await stopBoth();
		const names = Array.from({ length: 8 }, (_, n) => `m${n}`);
		const api = createApiServer(createCredentials(server.kubeconfig));
		const object = 'BGPPeer many';
		let wrong = true;
		const reporters = names.map((nodeName) => {
			const client = createKubernetesClient({ api, component: 'manx-bird', nodeName });
			const here = { object, field: 'spec.passwordFile', code: 'NoPassword', reason: 'cannot be read', node: nodeName };
			const everywhere = { object, field: 'spec.peerIP', code: 'PeerIsNode', reason: 'is the address of a node' };
			const problems = () => (wrong ? [here, everywhere] : []);
			return createProblemReporter({ client, nodeName, kinds: ['BGPPeer'], problems, log: quiet });
		});
		const raw = names.map((name) => ({ apiVersion: 'v1', kind: 'Node', metadata: { name } }));
		const peer = { apiVersion: 'manx.dev/v1', kind: 'BGPPeer', metadata: { name: 'many' } };
		const changes = [...raw, { ...peer, spec: { peerIP: '192.0.2.9', asNumber: 1 } }].map((one) => {
			const result = validate(one);
			assert.ok(result.type === 'object');
			return { type: 'set', object: result.object } as const;
		});
		try {
			for (const one of reporters) one.onEvent({ changes, inSync: true, generation: 0 });
			const nodes = async () => (await read('BGPPeer', 'many')).status?.problems?.map(({ node }) => node ?? '*') ?? [];
			await poll('all are heard', async () => (await nodes()).length === 9, 60_000);
			assert.deepEqual(await nodes(), ['*', ...names]);
			assert.equal((await events()).filter((one) => one.includes(' many: PeerIsNode')).length, 1);
			wrong = false;
			await poll('all take it back', async () => (await nodes()).length === 0, 60_000);
			assert.equal(await accepted('many'), 'True Accepted');
		} finally {
			for (const one of reporters) one.close();
		}
	});
});
