import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { renameSync, writeFileSync } from 'node:fs';
import { request } from 'node:http';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Kind } from '../../src/api/objects.ts';
import { keyOf, type ManxObject } from '../../src/api/objects.ts';
import { validate } from '../../src/api/validate.ts';
import type { Datastore, DatastoreStatus } from '../../src/datastore/datastore.ts';
import { createApiServer } from '../../src/datastore/kubernetes/api-server.ts';
import { createKubernetesClient } from '../../src/datastore/kubernetes/client.ts';
import { createCredentials } from '../../src/datastore/kubernetes/credentials.ts';
import { createKubernetesDatastore } from '../../src/datastore/kubernetes/kubernetes.ts';
import { objectPath, resources } from '../../src/datastore/kubernetes/resources.ts';
import type { Logger } from '../../src/logging.ts';
import { type DatastoreServer, poll, startDatastoreServer } from './datastore-server.ts';

/** One datastore lives through all of this; after each fault it must hold what the API server holds. */

const kinds: readonly Kind[] = ['Node', 'Pod', 'Namespace', 'NetworkPolicy', 'BGPConfiguration', 'BGPPeer'];

let server: DatastoreServer;
let store: Datastore;
let inSync = false;
let events = 0;
const mirror = new Map<string, ManxObject>();
const logged: string[] = [];
const note = (fields: object, message: string): void => {
	logged.push(`${message} ${JSON.stringify(fields)}`);
};
const log: Logger = { debug: () => {}, info: note, warn: note, error: note, child: () => log };

const status = (): DatastoreStatus => (store.status as () => DatastoreStatus)();

const create = async (kind: Kind, key: string, fields: object): Promise<void> => {
	const [name, namespace] = key.split('/').reverse();
	const { apiVersion } = resources[kind];
	const metadata = {
		name,
		...(namespace !== undefined && { namespace }),
		...(fields as { metadata?: object }).metadata,
	};
	const path = objectPath(resources[kind], key).replace(/\/[^/]+$/, '');
	const { code, body } = await server.api('POST', path, { apiVersion, kind, ...fields, metadata });
	assert.equal(code, 201, JSON.stringify(body));
};
const remove = async (kind: Kind, key: string): Promise<void> => {
	const { code } = await server.api('DELETE', `${objectPath(resources[kind], key)}?gracePeriodSeconds=0`);
	assert.equal(code, 200);
};
const label = async (kind: Kind, key: string, value: string): Promise<void> => {
	const body = { metadata: { labels: { v: value } } };
	const { code } = await server.api('PATCH', objectPath(resources[kind], key), body, 'application/merge-patch+json');
	assert.equal(code, 200);
};
const podSpec = { spec: { containers: [{ name: 'c', image: 'i', ports: [{ name: 'web', containerPort: 80 }] }] } };
const crd = (plural: string, kind: string) => ({
	apiVersion: 'apiextensions.k8s.io/v1',
	kind: 'CustomResourceDefinition',
	metadata: { name: `${plural}.manx.dev` },
	spec: {
		group: 'manx.dev',
		names: { kind, plural },
		scope: 'Cluster',
		versions: [
			{
				name: 'v1',
				served: true,
				storage: true,
				subresources: { status: {} },
				schema: { openAPIV3Schema: { type: 'object', 'x-kubernetes-preserve-unknown-fields': true } },
			},
		],
	},
});

/** What the API server holds, as we would read it. */
const truth = async (): Promise<Map<string, ManxObject>> => {
	const all = new Map<string, ManxObject>();
	for (const kind of kinds) {
		const { apiVersion, path } = resources[kind];
		const { body } = await server.api('GET', path);
		for (const item of (body.items ?? []) as { metadata: object }[]) {
			const metadata = { ...item.metadata, annotations: {} };
			const result = validate({ ...item, apiVersion, kind, metadata });
			if (result.type === 'object') all.set(`${kind} ${keyOf(result.object.metadata)}`, result.object);
		}
	}
	return all;
};

/** Waits until the datastore is connected and holds what the API server holds. */
const settled = async (): Promise<void> => {
	await poll('connected', () => status().connected);
	const wanted = await truth();
	const same = (): boolean => {
		try {
			assert.deepEqual(new Map([...mirror].sort()), new Map([...wanted].sort()));
			return true;
		} catch {
			return false;
		}
	};
	await poll('the same objects', same).catch(() => {
		assert.deepEqual([...mirror.keys()].sort(), [...wanted.keys()].sort(), logged.slice(-10).join('\n'));
		assert.deepEqual(new Map([...mirror].sort()), new Map([...wanted].sort()));
	});
	assert.ok(inSync, 'in sync once, in sync for good');
};

/** What the tested one asked for meanwhile. */
const asked = async (during: () => Promise<unknown>): Promise<readonly string[]> => {
	server.requests.length = 0;
	await during();
	return [...server.requests];
};

let serial = 0;
/** A little of everything happens: something comes, changes and goes. */
const churn = async (): Promise<void> => {
	const n = ++serial;
	await create('Pod', `default/p${n}`, podSpec);
	await create('Pod', `default/q${n}`, podSpec);
	await create('Node', `n${n}`, { spec: { podCIDRs: [`10.${n}.0.0/24`] } });
	await label('Pod', `default/p${n}`, 'changed');
	await remove('Pod', `default/q${n}`);
	if (n > 1) await remove('Node', `n${n - 1}`);
};

const serviceAccountToken = async (secret: string): Promise<string> => {
	await server.api('POST', '/api/v1/namespaces/kube-system/secrets', { metadata: { name: secret } });
	const { body: holder } = await server.api('GET', `/api/v1/namespaces/kube-system/secrets/${secret}`);
	const { uid } = holder.metadata as { uid: string };
	const { code, body } = await server.api('POST', '/api/v1/namespaces/kube-system/serviceaccounts/manx/token', {
		apiVersion: 'authentication.k8s.io/v1',
		kind: 'TokenRequest',
		spec: { boundObjectRef: { kind: 'Secret', apiVersion: 'v1', name: secret, uid } },
	});
	assert.equal(code, 201, JSON.stringify(body));
	return (body.status as { token: string }).token;
};
const useToken = (token: string): void => {
	writeFileSync(`${server.tokenFile}.new`, `${token}\n`);
	renameSync(`${server.tokenFile}.new`, server.tokenFile);
};

describe('the Kubernetes datastore against a real API server', { timeout: 1_800_000 }, () => {
	before(async () => {
		server = await startDatastoreServer();
		await server.api('POST', '/api/v1/namespaces/kube-system/serviceaccounts', { metadata: { name: 'manx' } });
		const groups = ['', 'networking.k8s.io', 'manx.dev'];
		const plurals = ['nodes', 'pods', 'namespaces', 'networkpolicies', 'bgpconfigurations', 'bgppeers'];
		await server.api('POST', '/apis/rbac.authorization.k8s.io/v1/clusterroles', {
			metadata: { name: 'manx' },
			rules: [{ apiGroups: groups, resources: plurals, verbs: ['list', 'watch'] }],
		});
		await server.api('POST', '/apis/rbac.authorization.k8s.io/v1/clusterrolebindings', {
			metadata: { name: 'manx' },
			roleRef: { apiGroup: 'rbac.authorization.k8s.io', kind: 'ClusterRole', name: 'manx' },
			subjects: [{ kind: 'ServiceAccount', name: 'manx', namespace: 'kube-system' }],
		});
		useToken(await serviceAccountToken('first'));
		await churn();
		const api = createApiServer(createCredentials(server.kubeconfig));
		store = createKubernetesDatastore({ api, kinds, log });
		store.start((event) => {
			events++;
			inSync = event.inSync;
			assert.equal(event.generation, 0);
			for (const change of event.changes) {
				if (change.type === 'delete') mirror.delete(`${change.kind} ${change.key}`);
				else mirror.set(`${change.object.kind} ${keyOf(change.object.metadata)}`, change.object);
			}
		});
	});
	after(async () => {
		await store?.close();
		await server?.stop();
	});

	it('is in sync without our CRDs, and follows what changes', async () => {
		await poll('in sync', () => inSync);
		await settled();
		await churn();
		await settled();
		assert.ok(mirror.size >= 6, [...mirror.keys()].join());
		assert.deepEqual(store.refusals(), []);
	});

	it('says nothing when only what we do not read changes', async () => {
		const before = events;
		await server.api(
			'PATCH',
			`/api/v1/nodes/n${serial}/status`,
			{ status: { conditions: [{ type: 'Ready', status: 'True', lastHeartbeatTime: '2026-01-01T00:00:00Z' }] } },
			'application/strategic-merge-patch+json',
		);
		await create('Namespace', 'marker', {});
		await poll('the marker', () => mirror.has('Namespace marker'));
		assert.equal(events, before + 1);
	});

	it('finds our CRDs when they come, and refuses a senseless object by itself', async () => {
		const path = '/apis/apiextensions.k8s.io/v1/customresourcedefinitions';
		for (const one of [crd('bgppeers', 'BGPPeer'), crd('bgpconfigurations', 'BGPConfiguration')]) {
			assert.equal((await server.api('POST', path, one)).code, 201);
		}
		for (const { path: ours } of [resources.BGPPeer, resources.BGPConfiguration]) {
			await poll('served', async () => (await server.api('GET', ours)).code === 200);
		}
		await create('BGPPeer', 'good', { spec: { peerIP: '192.0.2.1', asNumber: 65000 } }).catch((error: Error) =>
			// vendor/github.com/modern-go/reflect2 before 1.0.2 walks maps by a runtime function whose signature Go 1.18 changed.
			assert.fail(`${error.message}: a 1.20 API server built by Go 1.18 or later with reflect2 before 1.0.2 crashes on
				every custom object. Build it with reflect2 1.0.2, or point KUBEBUILDER_ASSETS at one that works.`),
		);
		await create('BGPPeer', 'bad', { spec: { peerIP: 'nonsense', asNumber: 65000 } });
		await poll('the peer', () => mirror.has('BGPPeer good') && store.refusals().length > 0);
		assert.deepEqual(
			store.refusals().map(({ source, object, field }) => ({ source, object, field })),
			[{ source: '/apis/manx.dev/v1/bgppeers/bad', object: 'BGPPeer bad', field: 'spec.peerIP' }],
		);
		const patch = { spec: { asNumber: 0 } };
		await server.api('PATCH', '/apis/manx.dev/v1/bgppeers/good', patch, 'application/merge-patch+json');
		await poll('both refused', () => store.refusals().length === 2);
		const kept = mirror.get('BGPPeer good');
		assert.ok(kept?.kind === 'BGPPeer' && kept.spec.asNumber === 65000, 'the last good version stays');
		const again = { spec: { asNumber: 65001 } };
		await server.api('PATCH', '/apis/manx.dev/v1/bgppeers/good', again, 'application/merge-patch+json');
		await remove('BGPPeer', 'bad');
		await poll('nothing refused', () => store.refusals().length === 0);
		await settled();
	});

	it('lives through an API server killed and started again', async () => {
		await server.killApiServer();
		await poll('noticed', () => !status().connected);
		assert.match(status().lastError, /API server/);
		const before = new Map(mirror);
		const requests = await asked(() => sleep(10_000));
		assert.ok(requests.length <= kinds.length * 10, `${requests.length} requests in 10 s of silence`);
		assert.deepEqual(mirror, before, 'nothing changes while it is away');
		await server.startApiServer();
		await churn();
		await settled();
		assert.equal(status().lastError, '');
	});

	it('lives through an API server stopped in good order', async () => {
		await server.killApiServer('SIGTERM');
		await server.startApiServer();
		await churn();
		await settled();
	});

	it('finds what it missed when etcd was compacted meanwhile', async () => {
		server.faults.answer = 503;
		server.cutWatches();
		await poll('noticed', () => !status().connected);
		const gone = `Node n${serial}`;
		assert.ok(mirror.has(gone));
		await churn();
		await server.compact();
		await server.killApiServer();
		await server.startApiServer();
		const requests = await asked(async () => {
			server.faults.answer = undefined;
			await settled();
		});
		assert.ok(!mirror.has(gone), 'what was deleted meanwhile is deleted');
		assert.ok(requests.filter((one) => one === 'LIST /api/v1/pods').length >= 1, requests.join('\n'));
	});

	it('lives with an API server that takes two seconds for everything', async () => {
		server.faults.delay = 2000;
		server.cutWatches();
		await churn();
		await settled();
		server.faults.delay = 0;
	});

	it('keeps up while watches are cut every second, without turning hot', async () => {
		server.faults.cutWatchesAfter = 1000;
		server.cutWatches();
		const requests = await asked(async () => {
			for (const deadline = Date.now() + 20_000; Date.now() < deadline; ) {
				await churn();
				await sleep(1000);
			}
		});
		// A cut every second or slower, each followed by a question for the version and a watch.
		const pods = requests.filter((one) => one.endsWith('/pods')).length;
		console.log(`watches cut every second: ${pods} requests for pods in 20 s, ${requests.length} in all`);
		assert.ok(pods <= 40, requests.join('\n'));
		server.faults.cutWatchesAfter = undefined;
		await settled();
	});

	it('does not turn hot when watches end as soon as they begin', async () => {
		server.faults.endWatches = true;
		server.cutWatches();
		const requests = await asked(() => sleep(20_000));
		const pods = requests.filter((one) => one.endsWith('/pods')).length;
		console.log(`watches ended at once: ${pods} requests for pods in 20 s`);
		assert.ok(pods >= 3 && pods <= 20, `${pods} requests for pods`);
		await churn();
		server.faults.endWatches = false;
		await settled();
	});

	it('reads anew after a line of garbage, and after a line without end', async () => {
		await settled();
		for (const line of ['{"type":"ADDED","object":{"kind":\n', 'x'.repeat(17 * 1024 * 1024)]) {
			const requests = await asked(async () => {
				assert.ok(server.inject(line) >= kinds.length);
				await poll('lists', () => kinds.every((kind) => server.requests.includes(`LIST ${resources[kind].path}`)));
				await churn();
				await settled();
			});
			assert.ok(requests.length <= kinds.length * 6, requests.join('\n'));
		}
		assert.ok(logged.some((line) => /not JSON/.test(line)));
		assert.ok(logged.some((line) => /line without end/.test(line)));
	});

	it('takes a token that was rotated', async () => {
		const next = await serviceAccountToken('second');
		await deleteAt('/api/v1/namespaces/kube-system/secrets/first');
		// The API server remembers a token's good standing for ten seconds.
		await poll('the old token is refused', async () => {
			server.cutWatches();
			await sleep(500);
			return /credentials/.test(status().lastError);
		});
		useToken(next);
		await churn();
		await settled();
	});

	it('takes a certificate and an authority that were rotated', async () => {
		server.rotateCertificate();
		const connected = server.cutWatches();
		assert.ok(connected >= kinds.length);
		await churn();
		await settled();
	});

	it('gives up a server that accepts connections and says nothing', async () => {
		server.faults.mute = true;
		server.cutWatches();
		await poll('noticed', () => /nothing was heard/.test(status().lastError));
		server.faults.mute = false;
		await churn();
		await settled();
	});

	it('takes the state of a store restored from an old backup, and goes on from there', async () => {
		await server.backup();
		await settled();
		await churn();
		await churn();
		await settled();
		const lost = `Pod default/p${serial}`;
		assert.ok(mirror.has(lost));
		await server.restore();
		serial += 10;
		await create('Pod', 'default/after-restore', podSpec);
		await settled();
		assert.ok(!mirror.has(lost) && mirror.has('Pod default/after-restore'));
		await create('Pod', 'default/still-heard', podSpec);
		await settled();
	});

	it('writes a node condition once and an event once, patches the status of our objects', async () => {
		writeFileSync(server.tokenFile, 'admin-token');
		const api = createApiServer(createCredentials(server.kubeconfig));
		const client = createKubernetesClient({ api, component: 'manx-felix', nodeName: 'writer' });
		await create('Node', 'writer', {});
		await server.api(
			'PATCH',
			'/api/v1/nodes/writer/status',
			{ status: { conditions: [{ type: 'Ready', status: 'True' }] } },
			'application/strategic-merge-patch+json',
		);
		const condition = { type: 'NetworkUnavailable', status: 'False', reason: 'ManxIsUp', message: 'm' } as const;
		assert.deepEqual(await client.patchNodeStatus('writer', condition), { ok: true, changed: true });
		assert.deepEqual(await client.patchNodeStatus('writer', condition), { ok: true, changed: false });
		const { body: node } = await server.api('GET', '/api/v1/nodes/writer');
		const { conditions } = node.status as { conditions: { type: string; status: string }[] };
		assert.deepEqual(conditions.map((one) => `${one.type}=${one.status}`).sort(), [
			'NetworkUnavailable=False',
			'Ready=True',
		]);
		const missing = await client.patchNodeStatus('nobody', condition);
		assert.ok(!missing.ok && missing.failure.code === 404);

		const event = { kind: 'Node', key: 'writer', uid: 'u', type: 'Warning', reason: 'Odd', message: 'look' } as const;
		assert.deepEqual(await client.createEvent(event), { ok: true, changed: true });
		assert.deepEqual(await client.createEvent(event), { ok: true, changed: false });
		const { body: list } = await server.api('GET', '/api/v1/namespaces/default/events');
		const found = (list.items as { reason: string }[]).filter((one) => one.reason === 'Odd');
		assert.equal(found.length, 1);

		const patched = await client.patchStatus('BGPPeer', 'good', {
			conditions: [{ type: 'Accepted', status: 'False' }],
		});
		assert.deepEqual(patched, { ok: true, changed: true });
		const { body: peer } = await server.api('GET', '/apis/manx.dev/v1/bgppeers/good');
		assert.ok(peer.status !== undefined);
	});

	it('serves both daemons, and felix tells the node that its network is there', async () => {
		await create('Node', 'here', { spec: { podCIDRs: ['10.99.0.0/24'] } });
		await server.api(
			'PATCH',
			'/api/v1/nodes/here/status',
			{ status: { addresses: [{ type: 'InternalIP', address: '192.0.2.77' }] } },
			'application/strategic-merge-patch+json',
		);
		const settings = join(server.folder, 'settings.yaml');
		const runDir = join(server.folder, 'run');
		const { kubeconfig } = server;
		const datastore = { kind: 'kubernetes', kubeconfig };
		writeFileSync(settings, JSON.stringify({ nodeName: 'here', runDir, cniConfDir: '', datastore }));
		const main = join(import.meta.dirname, '../../src/main.ts');
		const daemons = (['felix', 'bird'] as const).map((name) => {
			const child = spawn(process.execPath, [main, name, '--config', settings], { stdio: ['ignore', 'pipe', 'pipe'] });
			const output: Buffer[] = [];
			for (const stream of [child.stdout, child.stderr]) stream.on('data', (data: Buffer) => output.push(data));
			return { name, child, output: () => Buffer.concat(output).toString('utf8') };
		});
		try {
			for (const { name, output } of daemons) {
				const answered = poll(`${name} connected`, async () => {
					const answer = await statusOf(join(runDir, `${name}.sock`));
					return answer?.inSync === true && answer.datastore?.connected === true;
				});
				await answered.catch((error: Error) => assert.fail(`${error.message}\n${output()}`));
			}
			await poll('the condition', async () => {
				const { body } = await server.api('GET', '/api/v1/nodes/here');
				const { conditions = [] } = body.status as { conditions?: { type: string; status: string; reason: string }[] };
				return conditions.some(
					(one) => `${one.type} ${one.status} ${one.reason}` === 'NetworkUnavailable False ManxIsUp',
				);
			});
		} finally {
			for (const { child } of daemons) {
				const exited = new Promise((resolve) => child.once('exit', resolve));
				if (child.exitCode !== null || !child.kill('SIGTERM')) continue;
				await exited;
			}
		}
	});
});

type Answer = { readonly inSync?: boolean; readonly datastore?: DatastoreStatus };

const statusOf = (socketPath: string): Promise<Answer | undefined> =>
	new Promise((resolve) => {
		const asked = request({ socketPath, path: '/status' }, (response) => {
			const chunks: Buffer[] = [];
			response.on('data', (chunk: Buffer) => chunks.push(chunk));
			response.on('end', () => resolve(JSON.parse(Buffer.concat(chunks).toString('utf8')) as Answer));
		});
		asked.on('error', () => resolve(undefined));
		asked.end();
	});

const deleteAt = async (path: string): Promise<void> => {
	const { code } = await server.api('DELETE', path);
	assert.equal(code, 200);
};
