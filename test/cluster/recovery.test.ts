import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { commandLineOf, endProcesses, processesIn, recordOf } from '../../src/lab/processes.ts';
import { bringUp, type Harness, type Pod, webDaemonSet } from './harness.ts';
import { paths } from './state.ts';

/** What a cluster comes back from: nodes that come and go, leftovers of a bad end, an API server that forgot. */

const manx = 'app.kubernetes.io/name=manx';

const pod = (name: string, node: string, namespace: string) => ({
	apiVersion: 'v1',
	kind: 'Pod',
	metadata: { name, namespace, labels: { app: name } },
	spec: { ...webDaemonSet.spec.template.spec, nodeName: node, containers: [server] },
});
const [{ ports: _, ...container }] = webDaemonSet.spec.template.spec.containers;
const server = { ...container, ports: [{ name: 'web', containerPort: 8080 }] };

describe('a cluster recovers', { timeout: 1_800_000 }, () => {
	let cluster: Harness;
	let web: readonly Pod[] = [];

	before(async () => {
		cluster = await bringUp('recovery', { nodes: 2 });
		await cluster.installManx();
		await cluster.untilNodesReady();
		await cluster.api.apply([webDaemonSet]);
		web = await cluster.untilReady('default', 'app=web', 2);
	});
	after(async () => cluster?.down());

	/** All of them, with nothing of pods that are gone left behind. */
	const allReachAll = async (): Promise<void> => {
		const count = cluster.state.nodes.length;
		await cluster.untilNodesReady(180);
		await cluster.untilReady('kube-system', manx, count, 180);
		web = await cluster.untilReady('default', 'app=web', count, 180);
		await cluster.eventually('all pods reach each other', 60, async () => {
			for (const from of web) {
				for (const to of web) {
					const [answer = ''] = await cluster.dial(from, to.ip, 8080);
					if (answer !== to.name) return `${from.node} to ${to.node}: ${answer}`;
				}
			}
			return undefined;
		});
	};
	const felixOf = (node: string): readonly number[] =>
		processesIn([paths(cluster.state.name).netns(node)]).filter((pid) => / felix$/.test(commandLineOf(pid)));
	const kill = async (pids: readonly number[]): Promise<void> => {
		const left = await endProcesses(pids.flatMap((pid) => recordOf(pid) ?? []));
		assert.deepEqual(left, []);
	};
	const untilServing = (node: string): Promise<void> =>
		cluster.eventually(`felix of ${node} is ready`, 120, async () => {
			const { stdout } = await cluster.inNode(node, ['curl', '-s', '-m', '20', 'http://127.0.0.1:9473/readyz']);
			return /^ok|^ready/.test(stdout) ? undefined : stdout;
		});
	const recordsOf = async (node: string): Promise<readonly string[]> =>
		(await cluster.output(node, 'ls', '/run/manx/attachments')).split('\n').filter((line) => line !== '');
	const vethsOf = async (node: string): Promise<readonly string[]> =>
		[...(await cluster.output(node, 'ip', '-o', 'link')).matchAll(/: (manx[0-9a-f]{11})@/g)].map(
			([, name = '']) => name,
		);

	it('a node that is added', async () => {
		await cluster.addNode([process.env.TEST_IMAGE ?? '']);
		await allReachAll();
	});

	it('a node that is rebooted', async () => {
		const node = 'n2';
		await cluster.reboot(node);
		await cluster.eventually('its pods run again', 180, async () => {
			const own = (await cluster.pods('default', 'app=web')).filter((one) => one.node === node);
			return own.some(({ ready, restarts }) => ready && restarts > 0) ? undefined : JSON.stringify(own);
		});
		await allReachAll();
		assert.equal((await vethsOf(node)).length, 1);
		assert.equal((await recordsOf(node)).length, 1);
	});

	it('leftovers of a felix that died, and of a pod whose network namespace ended with it, are swept', async () => {
		const node = 'n1';
		const victim = web.find((one) => one.node === node) as Pod;
		const sh = (script: string): Promise<string> => cluster.output(node, 'bash', '-euc', script, victim.ip);
		const [record = ''] = await recordsOf(node);
		const backend = (await sh('iptables-nft-save | grep -q MANX- && echo nft || echo legacy')).trim();
		await cluster.stop(`kubelet-${node}`);
		await kill(felixOf(node));
		await cluster.stop(`containerd-${node}`);
		const processes = (
			await sh(`
			f=$(for f in /run/netns/*; do nsenter --net=$f ip -br address | grep -q " $0/" && echo $f; done; true)
			for p in /proc/[0-9]*; do [ $p/ns/net -ef $f ] && echo \${p#/proc/}; done; true`)
		)
			.trim()
			.split('\n');
		await kill(processes.map(Number));
		await sh(
			'for f in /run/netns/*; do nsenter --net=$f ip -br address | grep -q " $0/" && umount $f && rm $f; done; true',
		);
		await cluster.eventually('its veth is gone', 10, async () =>
			(await vethsOf(node)).length === 0 ? undefined : 'not yet',
		);
		const stray = victim.ip.replace(/\d+$/, '250');
		await sh(`
			cd /run/manx/attachments
			ip link add manx0123456789a type veth peer name stray0
			ip route add ${stray}/32 dev eth0 proto 173 metric 173
			ip route add blackhole 10.77.0.0/24 proto 173 metric 173
			ipset create manx-4-stray hash:ip
			ipset add manx-4-stray ${stray}
			ipset add manx-4-open-ingress ${stray}
			ipset add manx-4-src ${stray},eth0
			iptables-${backend} -N MANX-E-STRAY
			iptables-${backend} -A MANX-E-STRAY -m set --match-set manx-4-stray src -j DROP
			iptables-${backend} -I MANX-FORWARD -j MANX-E-STRAY`);
		cluster.start(`containerd-${node}`);
		cluster.start(`kubelet-${node}`);
		await untilServing(node);
		await cluster.eventually('all of it is gone', 60, async () => {
			const found = await sh(`
				ip -o link show type veth; ip route; ipset save; iptables-${backend}-save; ls /run/manx/attachments`);
			const rest = found
				.split('\n')
				.filter(
					(line) => /manx0123456789a|10\.77\.0|stray|STRAY/.test(line) || line.includes(stray) || line === record,
				);
			return rest.length === 0 ? undefined : rest.join('\n');
		});
		await allReachAll();
		assert.equal((await vethsOf(node)).length, 1);
	});

	it('pods that a restored API server does not know keep wiring and policies, over a restart of felix too', async () => {
		const node = 'n1';
		const namespace = 'shop';
		const policy = (name: string, from: string) => ({
			apiVersion: 'networking.k8s.io/v1',
			kind: 'NetworkPolicy',
			metadata: { name, namespace },
			spec: {
				podSelector: { matchLabels: { app: 'server' } },
				ingress: [
					{
						from: [
							{ namespaceSelector: { matchLabels: { team: 'shop' } }, podSelector: { matchLabels: { app: from } } },
						],
						ports: [{ port: 'web' }],
					},
				],
			},
		});
		const labelled = { name: namespace, labels: { team: 'shop' } };
		await cluster.api.apply([{ apiVersion: 'v1', kind: 'Namespace', metadata: labelled }]);
		await cluster.eventually('the service account is there', 60, async () => {
			const { status } = await cluster.api.request('GET', `/api/v1/namespaces/${namespace}/serviceaccounts/default`);
			return status === 200 ? undefined : `${status}`;
		});
		await cluster.api.apply([policy('clients', 'client')]);
		await cluster.backUp();
		const names = ['server', 'client', 'stranger'] as const;
		await cluster.api.apply(names.map((name) => pod(name, node, namespace)));
		const found = new Map<string, Pod>();
		for (const name of names) {
			const [one] = await cluster.untilReady(namespace, `app=${name}`, 1);
			found.set(name, one as Pod);
		}
		const reaches = async (from: string): Promise<boolean> => {
			const [answer = ''] = await cluster.dial(found.get(from) as Pod, found.get('server')?.ip ?? '', 8080);
			return answer === 'server';
		};
		const until = (what: string, client: boolean, stranger: boolean): Promise<void> =>
			cluster.eventually(what, 60, async () => {
				const is = [await reaches('client'), await reaches('stranger')];
				return is[0] === client && is[1] === stranger ? undefined : `client ${is[0]}, stranger ${is[1]}`;
			});
		await until('the policy is in force', true, false);
		const wired = (await vethsOf(node)).length;

		// It would end what the API does not know.
		await cluster.stop(`kubelet-${node}`);
		await cluster.restoreBackup();
		for (const name of names) {
			const { status } = await cluster.api.request('GET', `/api/v1/namespaces/${namespace}/pods/${name}`);
			assert.equal(status, 404, name);
		}
		await until('the same without the pods', true, false);
		const more = policy('strangers', 'stranger');
		await cluster.api.apply([more]);
		await until('felix follows the restored API server', true, true);
		await cluster.api.delete([more]);
		await until('as before', true, false);

		const ctr = (...args: string[]) => cluster.inNode(node, ['ctr', '-n', 'k8s.io', ...args]);
		const filter = 'labels."io.kubernetes.container.name"==felix';
		const ids = (await ctr('containers', 'list', '--quiet', filter)).stdout.trim().split('\n');
		await kill(felixOf(node));
		// The kubelet would start another container; without it, containerd starts this one once more.
		await cluster.eventually('felix is started again', 60, async () => {
			if (felixOf(node).length > 0) return undefined;
			const tried = await Promise.all(ids.map((id) => ctr('tasks', 'start', '--detach', '--null-io', id)));
			return tried.map(({ stderr }) => stderr).join('\n');
		});
		await untilServing(node);
		await until('the same after a restart of felix', true, false);
		assert.equal((await vethsOf(node)).length, wired);
		await cluster.api.apply([more]);
		await until('what was known of the pods is still known', true, true);
		await cluster.api.delete([more]);
		await until('as before the restart', true, false);

		await kill(felixOf(node));
		for (const id of ids) await ctr('tasks', 'delete', '--force', id);
		cluster.start(`kubelet-${node}`);
		await cluster.eventually('the kubelet ends the pods, and nothing of them is left', 180, async () => {
			const left = [(await vethsOf(node)).length, (await recordsOf(node)).length];
			return left.every((count) => count === wired - names.length) ? undefined : left.join();
		});
		await allReachAll();
	});
});
