import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { execInPod, podLog, portForward } from './exec.ts';
import { bringUp, type Harness, type Pod, webDaemonSet, webService } from './harness.ts';

/** Every kind of connection a cluster lives on, on three nodes with the manifest as it is. */

describe('traffic in a cluster of three nodes', { timeout: 1_800_000 }, () => {
	let cluster: Harness;
	let web: readonly Pod[] = [];
	let serviceAddress = '';
	const nodeAddress = (name: string): string => cluster.node(name).address;

	before(async () => {
		cluster = await bringUp('traffic');
		await cluster.installManx();
		await cluster.untilNodesReady();
		await cluster.api.apply([webDaemonSet, webService]);
		web = await cluster.untilReady('default', 'app=web', 3);
		type Service = { spec: { clusterIP: string } };
		const path = '/api/v1/namespaces/default/services/web';
		serviceAddress = (await cluster.api.json<Service>('GET', path)).spec.clusterIP;
		// kube-proxy learns of the pods some time after the API server calls them ready.
		const names = web.map(({ name }) => name);
		await cluster.eventually('the Service leads to all pods on all nodes', 60, async () => {
			for (const from of web) {
				const answers = await cluster.dial(from, serviceAddress, 80, { tries: 30 });
				const missing = names.filter((name) => !answers.includes(name));
				if (missing.length > 0) return `${missing.join(', ')} from ${from.node}`;
			}
			return undefined;
		});
	});
	after(async () => cluster?.down());

	it('pods reach pods with their own addresses', async () => {
		for (const from of web) {
			for (const to of web) {
				const [seen = ''] = await cluster.dial(from, to.ip, 8080, { request: 'clientip' });
				assert.match(seen, new RegExp(`^${from.ip}:`), `${from.node} to ${to.node}`);
			}
		}
	});

	it('nodes reach pods, and pods nodes', async () => {
		for (const { name, address } of cluster.state.nodes) {
			for (const to of web) {
				const seen = await cluster.output(name, 'curl', '-s', '-m', '20', `http://${to.ip}:8080/clientip`);
				assert.match(seen, new RegExp(`^${address}:`), `${name} to ${to.node}`);
			}
			for (const from of web) {
				// kube-proxy's health check, which every node has on all of its addresses.
				const [answer = ''] = await cluster.dial(from, address, 10256, { request: 'healthz' });
				assert.match(answer, /lastUpdated/, `${from.node} to ${name}`);
			}
		}
	});

	it('a Service spreads over its pods, from pods and nodes alike', async () => {
		const names = new Set(web.map(({ name }) => name));
		for (const from of web) {
			const answers = await cluster.dial(from, serviceAddress, 80, { tries: 30 });
			assert.equal(answers.length, 30);
			assert.deepEqual(new Set(answers), names, `from ${from.node}`);
		}
		for (const { name } of cluster.state.nodes) {
			const answer = await cluster.output(name, 'curl', '-s', '-m', '20', `http://${serviceAddress}/hostname`);
			assert.ok(names.has(answer), answer);
		}
	});

	it('a pod reaches itself through its Service', async () => {
		for (const from of web) {
			const answers = await cluster.dial(from, serviceAddress, 80, { tries: 30 });
			assert.ok(answers.includes(from.name), `${from.name} never met itself`);
		}
	});

	it('a UDP Service answers as DNS does', async () => {
		const names = new Set(web.map(({ name }) => name));
		for (const from of web) {
			const answers = await cluster.dial(from, serviceAddress, 53, { protocol: 'udp', tries: 30 });
			assert.deepEqual(new Set(answers), names, `from ${from.node}`);
		}
	});

	it('a pod of limited bandwidth is limited by the bandwidth plugin, and reached as others are', async () => {
		const { spec } = webDaemonSet.spec.template;
		const annotations = { 'kubernetes.io/ingress-bandwidth': '20M', 'kubernetes.io/egress-bandwidth': '20M' };
		const metadata = { name: 'slow', namespace: 'default', labels: { app: 'slow' }, annotations };
		const containers = spec.containers.map(({ ports: _hostPort, ...container }) => container);
		const pod = { apiVersion: 'v1', kind: 'Pod', metadata, spec: { ...spec, containers } };
		await cluster.api.apply([pod]);
		const [slow] = await cluster.untilReady('default', 'app=slow', 1);
		assert.ok(slow !== undefined);
		const qdiscs = await cluster.output(
			slow.node,
			'sh',
			'-c',
			'tc qdisc show dev $(ip -o route get $0 | grep -o "manx[0-9a-f]*")',
			slow.ip,
		);
		assert.match(qdiscs, /^qdisc tbf .*^qdisc ingress /ms);
		for (const from of web) {
			const [seen = ''] = await cluster.dial(from, slow.ip, 8080, { request: 'clientip' });
			assert.match(seen, new RegExp(`^${from.ip}:`), from.node);
		}
		await cluster.api.delete([pod]);
	});

	it('a hostPort leads to the pod of its node, from pods and from other nodes', async () => {
		for (const to of web) {
			for (const from of web) {
				assert.deepEqual(
					await cluster.dial(from, nodeAddress(to.node), 18080),
					[to.name],
					`${from.node} to ${to.node}`,
				);
			}
			for (const { name } of cluster.state.nodes) {
				const url = `http://${nodeAddress(to.node)}:18080/hostname`;
				const answer = await cluster.output(name, 'curl', '-s', '-m', '20', url);
				assert.equal(answer, to.name, `${name} to ${to.node}`);
			}
		}
	});

	it('exec, logs and port-forward work on every node', async () => {
		for (const pod of web) {
			const { code, stdout } = await execInPod(cluster.api, `default/${pod.name}`, ['/bin/busybox', 'hostname']);
			assert.deepEqual({ code, stdout: stdout.trim() }, { code: 0, stdout: pod.name });
			assert.match(await podLog(cluster.api, `default/${pod.name}`), /GET \/hostname/);
			const request = 'GET /hostname HTTP/1.0\r\nConnection: close\r\n\r\n';
			const answer = await portForward(cluster.api, `default/${pod.name}`, 8080, request);
			assert.ok(answer.endsWith(pod.name), answer);
		}
	});

	it('manx status says on every node that all is well', async () => {
		for (const { name } of cluster.state.nodes) {
			const { code, text } = await cluster.manxStatus(name);
			assert.equal(code, 0, text);
			assert.match(text, /all is well/);
		}
	});

	it('the daemons run without privileges they do not need', async () => {
		const script = 'grep -h -e CapEff -e NoNewPrivs -e Seccomp: /proc/1/status; touch /x 2>&1';
		for (const [container, wanted] of [
			// CAP_NET_ADMIN 12, NET_RAW 13, SYS_ADMIN 21; NET_BIND_SERVICE 10.
			['felix', (1n << 12n) | (1n << 13n) | (1n << 21n)],
			['bird', (1n << 12n) | (1n << 10n)],
		] as const) {
			const [pod] = await cluster.pods('kube-system', 'app.kubernetes.io/name=manx');
			const { stdout } = await execInPod(cluster.api, `kube-system/${pod?.name}/${container}`, ['sh', '-c', script]);
			assert.equal(BigInt(`0x${/CapEff:\s*(\w+)/.exec(stdout)?.[1]}`), wanted, stdout);
			assert.match(stdout, /NoNewPrivs:\s*1/);
			assert.match(stdout, /Seccomp:\s*2/);
			assert.match(stdout, /Read-only file system/);
		}
	});
});
