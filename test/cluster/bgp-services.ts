import assert from 'node:assert/strict';
import { it } from 'node:test';
import type { Harness, Pod } from './harness.ts';
import type { Rack } from './rack.ts';
import { agnhostImage } from './test-images.ts';
import { watchEndpoints } from './watch-endpoints.ts';

/** Addresses of Services as a client outside of the cluster meets them, through the router of the rack. */

export const ranges = {
	serviceClusterIPs: [{ cidr: '10.96.0.0/16' }],
	serviceExternalIPs: [{ cidr: '203.0.113.0/24' }],
	serviceLoadBalancerIPs: [{ cidr: '192.0.2.0/24' }],
};

/** One address of each kind, of a Service for all nodes (web) and of one for those with an endpoint (local). */
const addresses = {
	web: { clusterIP: '10.96.1.1', externalIP: '203.0.113.1', balanced: '192.0.2.1' },
	local: { clusterIP: '10.96.1.2', externalIP: '203.0.113.2', balanced: '192.0.2.2' },
} as const;
const localRoute = addresses.local.balanced;
const app = 'shop';

const service = (name: keyof typeof addresses, externalTrafficPolicy: 'Cluster' | 'Local') => ({
	apiVersion: 'v1',
	kind: 'Service',
	metadata: { name, namespace: 'default' },
	spec: {
		type: 'LoadBalancer',
		clusterIP: addresses[name].clusterIP,
		externalIPs: [addresses[name].externalIP],
		externalTrafficPolicy,
		selector: { app },
		ports: [{ name: 'http', protocol: 'TCP', port: 80, targetPort: 8080 }],
	},
});

/**
 * One pod a node of those in `on` within a generation; a pod that ends serves on until everybody has heard of it, as pods of a
 * Service should.
 */
const deployment = (replicas: number, on: readonly string[], generation: number) => {
	const labels = { app, generation: String(generation) };
	const here = { key: 'kubernetes.io/hostname', operator: 'In', values: on };
	return {
		apiVersion: 'apps/v1',
		kind: 'Deployment',
		metadata: { name: app, namespace: 'default' },
		spec: {
			replicas,
			selector: { matchLabels: { app } },
			strategy: { rollingUpdate: { maxSurge: '100%', maxUnavailable: 0 } },
			template: {
				metadata: { labels },
				spec: {
					terminationGracePeriodSeconds: 20,
					affinity: {
						nodeAffinity: {
							requiredDuringSchedulingIgnoredDuringExecution: { nodeSelectorTerms: [{ matchExpressions: [here] }] },
						},
						podAntiAffinity: {
							requiredDuringSchedulingIgnoredDuringExecution: [
								{ topologyKey: here.key, labelSelector: { matchLabels: labels } },
							],
						},
					},
					containers: [
						{
							name: 'web',
							image: agnhostImage,
							args: ['netexec', '--http-port=8080'],
							readinessProbe: { httpGet: { path: '/hostname', port: 8080 }, periodSeconds: 1 },
							lifecycle: { preStop: { exec: { command: ['/bin/sleep', '10'] } } },
						},
					],
				},
			},
		},
	};
};

export const serviceTests = (get: () => { readonly cluster: Harness; readonly rack: Rack }): void => {
	const all = ['n1', 'n2', 'n3'];
	let last: { readonly replicas: number; readonly on: readonly string[]; readonly generation: number } | undefined;
	const deploy = (replicas: number, on = all): Promise<void> => {
		// More pods are a new generation: those on their way out would keep them from their nodes for a while.
		const same = last !== undefined && String(last.on) === String(on) && last.replicas >= replicas;
		last = { replicas, on, generation: (last?.generation ?? 0) + (same ? 0 : 1) };
		return get().cluster.api.apply([deployment(replicas, on, last.generation)]);
	};
	/** The pods, once they are where they should be and the router has the way to just their nodes. */
	const settled = async (count: number, on?: readonly string[]): Promise<readonly Pod[]> => {
		const { cluster, rack } = get();
		let pods: readonly Pod[] = [];
		await cluster.eventually(`${count} pods, and the router knows where`, 60, async () => {
			pods = await cluster.pods('default', `app=${app}`);
			const nodes = [...new Set(pods.map(({ node }) => node))].sort();
			const routed = await rack.nodesOf(`${localRoute}/32`);
			const ready = pods.length === count && pods.every((pod) => pod.ready);
			const wanted = on ?? nodes;
			const right = String(nodes) === String(wanted) && String(routed) === String(wanted);
			return ready && right ? undefined : `${nodes} of ${pods.length} pods, the router has ${routed}`;
		});
		return pods;
	};

	/** kube-proxy learns of pods some time after the API server calls them ready; until then it refuses. */
	const untilServed = async (pods: readonly Pod[]): Promise<void> => {
		const { cluster, rack } = get();
		const names = pods.map(({ name }) => name);
		for (const address of [...Object.values(addresses.web), ...Object.values(addresses.local)]) {
			await cluster.eventually(`${address} leads to all pods`, 60, async () => {
				const answers = await rack.getOften(24, address);
				const strange = answers.filter((answer) => !names.includes(answer));
				const missing = names.filter((one) => !answers.includes(one));
				return strange.length + missing.length === 0 ? undefined : `${strange[0] ?? ''}, nothing of ${missing}`;
			});
		}
	};

	it('an outside client reaches ClusterIP, external and load balancer addresses by all nodes', async () => {
		const { cluster, rack } = get();
		await deploy(3);
		for (const [name, policy] of [
			['web', 'Cluster'],
			['local', 'Local'],
		] as const) {
			await cluster.api.apply([service(name, policy)]);
			const status = { loadBalancer: { ingress: [{ ip: addresses[name].balanced }] } };
			const path = `/api/v1/namespaces/default/services/${name}/status`;
			await cluster.api.json('PATCH', path, { status }, 'application/merge-patch+json');
		}
		const pods = await settled(3, all);
		for (const range of ['10.96.0.0/16', '203.0.113.0/24', '192.0.2.0/24']) {
			assert.deepEqual(await rack.nodesOf(range), all, range);
		}
		const nodeAddresses = cluster.state.nodes.map(({ address }) => address);
		await untilServed(pods);
		// The node that took it stands for the client; that is how the nodes are told apart here.
		for (const address of Object.values(addresses.web)) {
			const seen = await rack.getOften(40, address, '/clientip');
			const by = new Set(seen.map((answer) => answer.split(':')[0]));
			assert.deepEqual([...by].sort(), nodeAddresses, `${address} by all nodes`);
		}
	});

	it('with externalTrafficPolicy Local pods see the address of the client', async () => {
		const { rack } = get();
		for (const address of [addresses.local.externalIP, addresses.local.balanced]) {
			const seen = await rack.getOften(20, address, '/clientip');
			for (const answer of seen) assert.match(answer, /^198\.51\.100\.10:/, address);
		}
		assert.match(await rack.get(addresses.local.clusterIP, '/clientip'), /^172\.30\.0\./, 'the node, by its ClusterIP');
	});

	it('nodes and pods reach every Service; what nobody has ends at the node, without a loop', async () => {
		const { cluster, rack } = get();
		const pods = await cluster.pods('default', `app=${app}`);
		const names = pods.map((pod) => pod.name);
		for (const address of [...Object.values(addresses.web), ...Object.values(addresses.local)]) {
			for (const node of all) {
				const answer = await cluster.output(node, 'curl', '-s', '-m', '20', `http://${address}/hostname`);
				assert.ok(names.includes(answer), `${address} from ${node}: ${answer}`);
			}
			for (const from of pods) {
				const [answer = ''] = await cluster.dial(from, address, 80);
				assert.ok(names.includes(answer), `${address} from a pod of ${from.node}: ${answer}`);
			}
		}
		for (const unused of ['10.96.200.200', '203.0.113.200', '192.0.2.200']) {
			const { stdout } = await rack.client('ping', '-n', '-c', '3', '-i', '0.2', '-W', '1', unused);
			assert.match(stdout, / 0 received/, unused);
			assert.doesNotMatch(stdout, /exceeded|unreachable|redirect/i, unused);
		}
	});

	it('scaling and moving pods moves the announcement', async () => {
		const { cluster, rack } = get();
		const slices = watchEndpoints(cluster.api, 'default', 'local');
		const routes = rack.watchRoutes();
		try {
			await cluster.eventually('the watch is there', 20, async () => (slices.changes().length > 0 ? undefined : 'no'));
			await deploy(1);
			await settled(1);
			await deploy(1, ['n2']);
			await settled(1, ['n2']);
			await deploy(1, ['n3']);
			await settled(1, ['n3']);
			await deploy(0);
			await settled(0, []);
			assert.deepEqual(await rack.nodesOf('192.0.2.0/24'), all, 'the range is announced without endpoints');
			await deploy(3);
			await settled(3, all);
		} finally {
			slices.close();
			routes.close();
		}
		const hops = (line: string): string =>
			line.startsWith('Deleted ') ? '' : [...line.matchAll(/via 172\.30\.0\.1(\d)/g)].map(([, n]) => `n${n}`).join();
		const seen = routes.changes().filter(({ line }) => new RegExp(`(^| )${localRoute} `).test(line));
		const times = slices.changes().flatMap(({ at, readyOn }, index) => {
			if (index === 0) return [];
			const until = slices.changes()[index + 1]?.at ?? Number.POSITIVE_INFINITY;
			const found = seen.find((one) => one.at > at - 50 && one.at < until && hops(one.line) === String(readyOn));
			return [`${readyOn.join('+') || 'nobody'} ${found === undefined ? '-' : Math.round(found.at - at)}`];
		});
		console.log(`ms from the EndpointSlice to the router's kernel: ${times.join(', ')}`);
	});

	it('no new connection fails while pods come, go and move, and their node is drained', async () => {
		const { cluster, rack } = get();
		const targets = [...Object.values(addresses.web), addresses.local.externalIP, addresses.local.balanced];
		await untilServed(await settled(3, all));
		const connecting = await rack.keepConnecting(
			40,
			targets.map((address) => `${address}:80`),
		);
		let seen: Awaited<ReturnType<typeof connecting.finish>> = {};
		try {
			await deploy(2, ['n1', 'n2']);
			await settled(2, ['n1', 'n2']);
			await deploy(2, ['n2', 'n3']);
			await settled(2, ['n2', 'n3']);
			await deploy(1, ['n1']);
			await settled(1, ['n1']);
			await deploy(2);
			const [, other] = await settled(2);
			assert.ok(other);
			// kubectl drain: cordon, then evict.
			const cordon = (unschedulable: boolean): Promise<unknown> =>
				cluster.api.json(
					'PATCH',
					`/api/v1/nodes/${other.node}`,
					{ spec: { unschedulable } },
					'application/merge-patch+json',
				);
			await cordon(true);
			const eviction = {
				apiVersion: 'policy/v1beta1',
				kind: 'Eviction',
				metadata: { name: other.name, namespace: 'default' },
			};
			await cluster.api.json('POST', `/api/v1/namespaces/default/pods/${other.name}/eviction`, eviction);
			await settled(
				2,
				all.filter((node) => node !== other.node),
			);
			await cordon(false);
		} finally {
			seen = await connecting.finish();
		}
		for (const [target, { failures, broken, ...counts }] of Object.entries(seen)) {
			console.log(`${target}: ${JSON.stringify({ ...counts, failed: failures.length, broken: broken.length })}`);
		}
		for (const [target, { started, failures, broken }] of Object.entries(seen)) {
			assert.ok(started > 50, `${target} was hardly tried`);
			assert.deepEqual(failures, [], target);
			// A connection that another node takes over between two of its packets is none that this node knows of.
			assert.ok(broken.length <= 3 + started / 20, `${target}: ${broken.join('; ')}`);
		}
	});

	it('a node whose Node is deleted is left out at once', async () => {
		const { cluster, rack } = get();
		await deploy(3);
		await settled(3, all);
		const at = Date.now();
		await cluster.api.json('DELETE', '/api/v1/nodes/n3');
		for (const prefix of [`${localRoute}/32`, '10.96.0.0/16', '203.0.113.0/24', '192.0.2.0/24']) {
			await cluster.eventually(`${prefix} by the others`, 20, async () => {
				const nodes = String(await rack.nodesOf(prefix));
				return nodes === 'n1,n2' ? undefined : nodes;
			});
		}
		console.log(`${Date.now() - at} ms from the deletion of the Node to the router's kernel, at most`);
		for (const address of [addresses.local.externalIP, addresses.local.balanced]) {
			assert.match(await rack.get(address), /^shop-/, address);
		}
	});
};
