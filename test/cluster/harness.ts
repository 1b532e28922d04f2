import assert from 'node:assert/strict';
import { type ChildProcessWithoutNullStreams, spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { until } from '../../src/lab/shell.ts';
import { type Cluster, openCluster } from './cluster.ts';
import { execInPod } from './exec.ts';
import { inNode } from './node.ts';
import { agnhostImage } from './test-images.ts';
import { up } from './up.ts';

/** What the cluster tests share: a cluster each with Manx's image in it, and questions about its pods. */

const patience = 3;
const root = join(import.meta.dirname, '../..');
export const manxManifest = readFileSync(join(root, 'manifests/manx.yaml'), 'utf8');
export const uninstallManifest = readFileSync(join(root, 'manifests/uninstall.yaml'), 'utf8');

export type Pod = {
	readonly namespace: string;
	readonly name: string;
	readonly node: string;
	readonly ip: string;
	readonly ready: boolean;
	readonly restarts: number;
};

type RawPod = {
	readonly metadata: { readonly namespace: string; readonly name: string; readonly deletionTimestamp?: string };
	readonly spec: { readonly nodeName?: string };
	readonly status: {
		readonly podIP?: string;
		readonly conditions?: readonly { readonly type: string; readonly status: string }[];
		readonly containerStatuses?: readonly { readonly restartCount: number }[];
	};
};

export type Program = {
	/** Ends its input (or interrupts it) and returns all it printed. */
	readonly finish: (how?: 'interrupt') => Promise<string>;
};

export type Harness = Cluster & {
	readonly pods: (namespace: string, label: string) => Promise<readonly Pod[]>;
	/** Returns when that many pods with the label exist and all are ready. */
	readonly untilReady: (namespace: string, label: string, count: number, seconds?: number) => Promise<readonly Pod[]>;
	/**
	 * Polls until the question is answered by undefined; fails the test with the last answer otherwise. `seconds` is
	 * plenty on a quiet machine; a busy one is given three times that.
	 */
	readonly eventually: (what: string, seconds: number, ask: () => Promise<string | undefined>) => Promise<void>;
	readonly installManx: () => Promise<void>;
	readonly untilNodesReady: (seconds?: number) => Promise<void>;
	/** Output of a command in a node, which has to succeed. */
	readonly output: (node: string, ...argv: string[]) => Promise<string>;
	/** Asks a netexec pod to reach a target, from its own network; the answers, or the errors. */
	readonly dial: (from: Pod, host: string, port: number, how?: DialOptions) => Promise<readonly string[]>;
	/** Starts a program of the machine in a pod's network namespace; returns once it has printed a line. */
	readonly startInPod: (pod: Pod, ...argv: string[]) => Promise<Program>;
	readonly manxStatus: (node: string) => Promise<{ readonly code: number; readonly text: string }>;
};

export type DialOptions = { readonly protocol?: 'http' | 'udp'; readonly request?: string; readonly tries?: number };

export const bringUp = async (
	use: string,
	options: { readonly nodes?: number; readonly kubeletArgs?: readonly string[] } = {},
): Promise<Harness> => {
	// For work on a test: one that was brought up by cli.ts, with its image, and stays.
	const standing = process.env.TEST_CLUSTER;
	if (standing !== undefined) return { ...harnessOf(openCluster(standing)), down: async () => {} };
	const image = process.env.TEST_IMAGE;
	assert.ok(image, 'TEST_IMAGE is not set: run these tests by npm run test:cluster');
	const name = `t${process.pid}${use}`;
	const { nodes = 3, kubeletArgs = [] } = options;
	await up({ name, nodes, kubeletArgs });
	const cluster = openCluster(name);
	await cluster.loadImage(image);
	return harnessOf(cluster);
};

const harnessOf = (cluster: Cluster): Harness => {
	const { api } = cluster;
	const pods: Harness['pods'] = async (namespace, label) => {
		const path = `/api/v1/namespaces/${namespace}/pods?labelSelector=${encodeURIComponent(label)}`;
		const { items } = await api.json<{ items: readonly RawPod[] }>('GET', path);
		return items
			.filter(({ metadata }) => metadata.deletionTimestamp === undefined)
			.map(({ metadata, spec, status }) => ({
				namespace: metadata.namespace,
				name: metadata.name,
				node: spec.nodeName ?? '',
				ip: status.podIP ?? '',
				ready: status.conditions?.some((one) => one.type === 'Ready' && one.status === 'True') ?? false,
				restarts: status.containerStatuses?.reduce((sum, one) => sum + one.restartCount, 0) ?? 0,
			}))
			.sort((a, b) => (a.node + a.name < b.node + b.name ? -1 : 1));
	};
	const eventually: Harness['eventually'] = async (what, seconds, ask) => {
		const reason = await until(seconds * patience * 1000, ask, 100);
		assert.equal(reason, undefined, `${what}: not within ${seconds * patience} s`);
	};
	const untilReady: Harness['untilReady'] = async (namespace, label, count, seconds = 120) => {
		let found: readonly Pod[] = [];
		await eventually(`${count} pods ${label} ready`, seconds, async () => {
			found = await pods(namespace, label);
			const ready = found.filter((pod) => pod.ready).length;
			return found.length === count && ready === count ? undefined : `${ready} of ${found.length} ready`;
		});
		return found;
	};
	const output: Harness['output'] = async (node, ...argv) => {
		const outcome = await cluster.inNode(node, argv);
		assert.ok(outcome.ok, `${node}: ${argv.join(' ')}: ${outcome.stdout}${outcome.stderr}`);
		return outcome.stdout;
	};
	const podNetns = async (pod: Pod): Promise<string> => {
		const script = 'for f in /run/netns/*; do nsenter --net=$f ip -br address | grep -q " $0/" && echo $f; done; true';
		const found = (await output(pod.node, 'sh', '-c', script, pod.ip)).trim().split('\n');
		assert.equal(found.length, 1, `${pod.name}: netns ${found.join(' ')}`);
		return found[0] as string;
	};
	return {
		...cluster,
		pods,
		untilReady,
		eventually,
		output,
		installManx: async () => {
			await api.apply(manxManifest);
			await untilReady('kube-system', 'app.kubernetes.io/name=manx', cluster.state.nodes.length);
		},
		untilNodesReady: async (seconds = 60) => {
			await eventually('all nodes Ready', seconds, async () => {
				const { items } = await api.json<{ items: readonly RawPod[] }>('GET', '/api/v1/nodes');
				const waiting = items
					.filter(({ status }) => !status.conditions?.some((one) => one.type === 'Ready' && one.status === 'True'))
					.map(({ metadata }) => metadata.name);
				const enough = items.length >= cluster.state.nodes.length;
				return enough && waiting.length === 0 ? undefined : `${items.length} nodes, not Ready: ${waiting.join(', ')}`;
			});
		},
		dial: async (from, host, port, { protocol = 'http', request = 'hostname', tries = 1 } = {}) => {
			const query = `host=${host}&port=${port}&protocol=${protocol}&request=${request}&tries=${tries}`;
			const text = await output(from.node, 'curl', '-s', '-m', '60', `http://${from.ip}:8080/dial?${query}`);
			const { responses = [], errors = [] } = JSON.parse(text) as { responses?: string[]; errors?: string[] };
			return errors.length === 0 ? responses : errors.map((error) => `error: ${error}`);
		},
		startInPod: async (pod, ...argv) => {
			const netns = await podNetns(pod);
			const [program = '', ...args] = inNode(cluster.node(pod.node), 'nsenter', `--net=${netns}`, ...argv);
			const child: ChildProcessWithoutNullStreams = spawn(program, args);
			const lines = createInterface(child.stdout);
			let text = '';
			const ended = new Promise<void>((resolve) => child.on('close', () => resolve()));
			await new Promise<void>((resolve, reject) => {
				const timer = setTimeout(() => {
					child.kill('SIGKILL');
					reject(new Error(`${argv.join(' ')} in ${pod.name} said nothing for a minute`));
				}, 60_000);
				lines.once('line', () => clearTimeout(timer));
				lines.on('line', (line) => {
					text += `${line}\n`;
					resolve();
				});
				child.stderr.on('data', (data: Buffer) => {
					text += data.toString();
				});
				child.on('close', () => reject(new Error(`${argv.join(' ')} ended: ${text}`)));
			});
			return {
				finish: async (how) => {
					if (how === 'interrupt') child.kill('SIGINT');
					else child.stdin.end();
					await ended;
					return text;
				},
			};
		},
		manxStatus: async (node) => {
			const found = (await pods('kube-system', 'app.kubernetes.io/name=manx')).find((pod) => pod.node === node);
			if (found === undefined) return { code: 255, text: 'no pod' };
			const { code, stdout, stderr } = await execInPod(api, `kube-system/${found.name}/felix`, ['manx', 'status']);
			return { code, text: stdout + stderr };
		},
	};
};

/** A netexec pod on every node: HTTP on 8080 (and the host's port 18080), UDP on 8081. */
export const webDaemonSet = {
	apiVersion: 'apps/v1',
	kind: 'DaemonSet',
	metadata: { name: 'web', namespace: 'default' },
	spec: {
		selector: { matchLabels: { app: 'web' } },
		template: {
			metadata: { labels: { app: 'web' } },
			spec: {
				terminationGracePeriodSeconds: 1,
				containers: [
					{
						name: 'web',
						image: agnhostImage,
						args: ['netexec', '--http-port=8080', '--udp-port=8081'],
						ports: [{ containerPort: 8080, hostPort: 18080 }],
						readinessProbe: { httpGet: { path: '/hostname', port: 8080 }, periodSeconds: 1 },
					},
				],
			},
		},
	},
} as const;

export const webService = {
	apiVersion: 'v1',
	kind: 'Service',
	metadata: { name: 'web', namespace: 'default' },
	spec: {
		selector: { app: 'web' },
		ports: [
			{ name: 'http', protocol: 'TCP', port: 80, targetPort: 8080 },
			{ name: 'udp', protocol: 'UDP', port: 53, targetPort: 8081 },
		],
	},
} as const;

/** Pods that do nothing, as many as asked for. */
export const idleDeployment = (replicas: number) => ({
	apiVersion: 'apps/v1',
	kind: 'Deployment',
	metadata: { name: 'idle', namespace: 'default' },
	spec: {
		replicas,
		selector: { matchLabels: { app: 'idle' } },
		template: {
			metadata: { labels: { app: 'idle' } },
			spec: {
				terminationGracePeriodSeconds: 0,
				containers: [{ name: 'idle', image: agnhostImage, args: ['pause'] }],
			},
		},
	},
});
