import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { bringUp, type Harness, idleDeployment, manxManifest, uninstallManifest } from './harness.ts';
import { differences, nodeSnapshot } from './node-snapshot.ts';

/**
 * From a cluster without a network to one that has it, and back to what it was. The yardstick for the pods is the
 * standard `ptp` plugin on the same cluster, before.
 */

const replicas = 30;
const manx = 'app.kubernetes.io/name=manx';

const ptpConfig = (podCIDR: string) => ({
	cniVersion: '0.4.0',
	name: 'ptp',
	plugins: [
		{
			type: 'ptp',
			ipam: { type: 'host-local', ranges: [[{ subnet: podCIDR }]], routes: [{ dst: '0.0.0.0/0' }] },
		},
	],
});

describe('installation', { timeout: 1_800_000 }, () => {
	let cluster: Harness;
	const nodes = (): readonly string[] => cluster.state.nodes.map(({ name }) => name);
	const snapshot = async (): Promise<Record<string, readonly string[]>> => {
		const found: Record<string, readonly string[]> = {};
		for (const node of nodes()) found[node] = await nodeSnapshot(cluster, node, ['/etc/cni', '/opt/cni', '/run/manx']);
		return found;
	};
	/** Seconds until as many idle pods are ready; they are gone again when it returns. */
	const rollOut = async (): Promise<number> => {
		const startedAt = performance.now();
		await cluster.api.apply([idleDeployment(replicas)]);
		await cluster.untilReady('default', 'app=idle', replicas, 180);
		const seconds = (performance.now() - startedAt) / 1000;
		await cluster.api.delete([idleDeployment(replicas)]);
		await cluster.eventually('the pods are gone', 120, async () => {
			const { items } = await cluster.api.json<{ items: unknown[] }>('GET', '/api/v1/namespaces/default/pods');
			return items.length === 0 ? undefined : `${items.length} are left`;
		});
		return seconds;
	};

	let pristine: Record<string, readonly string[]> = {};
	let ptpSeconds = 0;
	before(async () => {
		cluster = await bringUp('install');
		for (const node of nodes()) await cluster.output(node, 'ip', 'route'); // the machines answer
	});
	after(async () => cluster?.down());

	it('the yardstick: 30 pods with the ptp plugin', async () => {
		for (const node of nodes()) {
			let podCIDR = '';
			await cluster.eventually(`podCIDR of ${node}`, 60, async () => {
				type Node = { spec: { podCIDR?: string } };
				const path = `/api/v1/nodes/${node}`;
				podCIDR = (await cluster.api.json<Node>('GET', path).catch(() => ({ spec: {} }) as Node)).spec.podCIDR ?? '';
				return podCIDR === '' ? 'none yet' : undefined;
			});
			await cluster.output(
				node,
				'sh',
				'-c',
				'cp /usr/lib/cni/ptp /usr/lib/cni/host-local /usr/lib/cni/loopback /opt/cni/bin',
			);
			const text = JSON.stringify(ptpConfig(podCIDR));
			await cluster.output(node, 'sh', '-c', 'echo "$0" >/etc/cni/net.d/10-ptp.conflist', text);
		}
		await cluster.untilNodesReady();
		ptpSeconds = await rollOut();
		console.log(`${replicas} pods with ptp: ${ptpSeconds.toFixed(1)} s`);
		for (const node of nodes()) {
			// The runtime is still at the last DELs.
			await cluster.eventually(`no pod of ptp on ${node}`, 60, async () => {
				const links = await cluster.output(node, 'ip', '-o', 'link', 'show', 'type', 'veth');
				const left = links.split('\n').filter((line) => line !== '' && !/ eth0@/.test(line));
				return left.length === 0 ? undefined : left.join('\n');
			});
			await cluster.output(node, 'sh', '-c', 'rm -f /etc/cni/net.d/* /opt/cni/bin/*; rm -rf /var/lib/cni/*');
		}
		await cluster.eventually('the nodes have no network', 60, async () => {
			type Nodes = { items: { status: { conditions: { type: string; status: string }[] } }[] };
			const { items } = await cluster.api.json<Nodes>('GET', '/api/v1/nodes');
			const ready = items.some(({ status }) =>
				status.conditions.some((one) => one.type === 'Ready' && one.status === 'True'),
			);
			return ready ? 'a node is Ready' : undefined;
		});
		pristine = await snapshot();
	});

	it('one manifest gives every node its network', async () => {
		const startedAt = performance.now();
		await cluster.api.apply(manxManifest);
		await Promise.all(
			nodes().map((node) =>
				cluster.eventually(`CNI configuration on ${node}`, 60, async () => {
					const { ok } = await cluster.inNode(node, ['test', '-e', '/etc/cni/net.d/05-manx.conflist']);
					return ok ? undefined : 'not there';
				}),
			),
		);
		console.log(`CNI configuration on all nodes: ${((performance.now() - startedAt) / 1000).toFixed(1)} s after apply`);
		await cluster.untilNodesReady();
		console.log(`all nodes Ready: ${((performance.now() - startedAt) / 1000).toFixed(1)} s after apply`);
		const [first = ''] = nodes();
		const list = JSON.parse(await cluster.output(first, 'cat', '/etc/cni/net.d/05-manx.conflist')) as {
			cniVersion: string;
			plugins: { type: string }[];
		};
		assert.equal(list.cniVersion, '1.0.0');
		assert.deepEqual(
			list.plugins.map(({ type }) => type),
			['manx', 'portmap', 'bandwidth'],
		);
		const plugins = (await cluster.output(first, 'ls', '/opt/cni/bin')).trim().split('\n');
		assert.deepEqual(plugins, ['bandwidth', 'loopback', 'manx', 'portmap']);
		await cluster.untilReady('kube-system', manx, 3);
		type Conditions = { status: { conditions: { type: string; status: string; reason: string }[] } };
		for (const node of nodes()) {
			await cluster.eventually(`condition of ${node}`, 10, async () => {
				const { status } = await cluster.api.json<Conditions>('GET', `/api/v1/nodes/${node}`);
				const found = status.conditions.find(({ type }) => type === 'NetworkUnavailable');
				return found?.status === 'False' ? undefined : JSON.stringify(found);
			});
		}
	});

	it('30 pods roll out about as fast as with the ptp plugin', async () => {
		const seconds = await rollOut();
		console.log(`${replicas} pods with manx: ${seconds.toFixed(1)} s, with ptp ${ptpSeconds.toFixed(1)} s`);
		// The machine is shared: what decides is the figure above; this only catches a wait that should not be there.
		assert.ok(seconds < ptpSeconds * 10);
	});

	it('another network left in the folder is reported and left alone', async () => {
		const [first = ''] = nodes();
		await cluster.output(first, 'sh', '-c', 'echo "{}" >/etc/cni/net.d/10-flannel.conflist');
		await cluster.eventually('a warning', 20, async () => {
			const { text } = await cluster.manxStatus(first);
			return /warning: 10-flannel\.conflist of another network/.test(text) ? undefined : text;
		});
		await cluster.output(first, 'rm', '/etc/cni/net.d/10-flannel.conflist');
	});

	it('objects that break the schema are refused by the API server, with the field', async () => {
		const peer = (spec: object) => ({ apiVersion: 'manx.dev/v1', kind: 'BGPPeer', metadata: { name: 'bad' }, spec });
		const cases: readonly (readonly [object, RegExp])[] = [
			[peer({ asNumber: 64512 }), /spec/],
			[peer({ peerIP: '10.0.0.1' }), /spec\.asNumber: Required/],
			[peer({ peerIP: 10, asNumber: 64512 }), /spec\.peerIP/],
			[peer({ peerIP: '10.0.0.1', asNumber: 0 }), /spec\.asNumber/],
			[peer({ peerIP: '10.0.0.1', asNumber: 4294967296 }), /spec\.asNumber/],
			[peer({ peerIP: '10.0.0.1', asNumber: 1, holdTime: 'soon' }), /spec\.holdTime/],
			[peer({ peerIP: '10.0.0.1', asNumber: 1, peerPort: 70000 }), /spec\.peerPort/],
			[peer({ peerIP: '10.0.0.1', asNumber: 1, node: 'n1', nodeSelector: {} }), /spec/],
			[{ apiVersion: 'manx.dev/v1', kind: 'BGPConfiguration', metadata: { name: 'other' } }, /metadata\.name/],
		];
		for (const [object, reason] of cases) {
			await assert.rejects(cluster.api.apply([object]), reason, JSON.stringify(object));
		}
		const good = { ...peer({ peerIP: 'fd00::1', asNumber: 65000 }), metadata: { name: 'good' } };
		await cluster.api.apply([good]);
		type Peer = { spec: Record<'peerIP' | 'asNumber' | 'holdTime', unknown> };
		const { spec } = await cluster.api.json<Peer>('GET', '/apis/manx.dev/v1/bgppeers/good');
		const { peerIP, asNumber, holdTime } = spec;
		assert.deepEqual([peerIP, asNumber, holdTime], ['fd00::1', 65000, 90]);
		await cluster.api.delete([good]);
	});

	it('uninstalled, every node is what it was before', async () => {
		await cluster.api.delete(manxManifest);
		await cluster.eventually('the pods of Manx are gone', 60, async () => {
			const found = await cluster.api.json<{ items: unknown[] }>('GET', '/api/v1/namespaces/kube-system/pods');
			return found.items.length === 0 ? undefined : `${found.items.length} are left`;
		});
		await cluster.api.apply(uninstallManifest);
		await cluster.untilReady('kube-system', 'app.kubernetes.io/name=manx-cleanup', 3, 60);
		await cluster.api.delete(uninstallManifest);
		await cluster.eventually('the pods of the cleanup are gone', 60, async () => {
			const found = await cluster.api.json<{ items: unknown[] }>('GET', '/api/v1/namespaces/kube-system/pods');
			return found.items.length === 0 ? undefined : `${found.items.length} are left`;
		});
		const now = await snapshot();
		for (const node of nodes()) assert.deepEqual(differences(pristine[node] ?? [], now[node] ?? []), [], node);
	});
});
