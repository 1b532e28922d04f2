import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { keyOf, type Pod as PodObject } from '../../src/api/objects.ts';
import { type Case, readCases, readCluster, type Step } from '../conformance/read-table.ts';
import { bringUp, type Harness, type Pod } from './harness.ts';
import { agnhostImage } from './test-images.ts';

/**
 * The part of the conformance table that a real cluster can be asked: TCP between pods on two nodes, policies as the API
 * server stores and defaults them, pods wired by real kubelets.
 */

const served = [80, 81, 8080];
const objects = readCluster();
const running = objects.filter(
	(one): one is PodObject => one.kind === 'Pod' && !one.spec.hostNetwork && one.status.phase === 'Running',
);
const places = new Set(running.map(({ metadata }) => keyOf(metadata)));

type Probe = { readonly from: string; readonly to: string; readonly port: number };

/** Probes of the lines that are TCP between pods. */
const probesOf = (lines: readonly string[] = []): Probe[] =>
	lines.flatMap((line) => {
		const [, sources = '', targets = '', ports = ''] = /^(.+) -> (.+) : (.+)$/.exec(line) ?? [];
		return sources.split(' ').flatMap((from) =>
			targets.split(' ').flatMap((to) =>
				ports
					.split(' ')
					.filter((port) => port.endsWith('/TCP'))
					.map((port) => ({ from, to, port: Number.parseInt(port, 10) }))
					.filter(({ port }) => places.has(from) && places.has(to) && from !== to && served.includes(port)),
			),
		);
	});

/**
 * Steps of nothing but policies, and none that names a pod's address. Kubernetes 1.20 does not know endPort, and takes no
 * leading zeros in addresses.
 */
const canBeAsked = ({ case: name, families, then = [], ...first }: Case): boolean =>
	(families === undefined || families.includes(4)) &&
	!/^17\./.test(name) &&
	!/"(?:10\.0\.|fd00:)|["./]0\d/.test(JSON.stringify([first, ...then].map(({ policies }) => policies))) &&
	[first, ...then].every(
		({ pods, namespaces, wired, unwired }) => (pods ?? namespaces ?? wired ?? unwired) === undefined,
	) &&
	[first, ...then].some(({ allow, deny }) => probesOf(allow).length + probesOf(deny).length > 0);

describe('NetworkPolicy in a cluster of two nodes', { timeout: 1_800_000 }, () => {
	let cluster: Harness;
	const pods = new Map<string, Pod>();
	let standing = new Map<string, object>();

	const policyOf = (key: string, spec: object): object => {
		const [namespace, name] = key.split('/');
		return { apiVersion: 'networking.k8s.io/v1', kind: 'NetworkPolicy', metadata: { namespace, name }, spec };
	};
	const clear = async (): Promise<void> => {
		await cluster.api.delete([...standing.values()]);
		standing = new Map();
	};

	before(async () => {
		cluster = await bringUp('policy', { nodes: 2 });
		await cluster.installManx();
		await cluster.untilNodesReady();
		const [here, there] = cluster.state.nodes.map(({ name }) => name);
		await cluster.api.apply(
			objects.flatMap(({ kind, metadata: { name, labels } }) =>
				kind === 'Namespace' ? [{ apiVersion: 'v1', kind, metadata: { name, labels } }] : [],
			),
		);
		for (const namespace of ['x', 'y', 'z']) {
			await cluster.eventually('the namespace has its service account', 60, async () => {
				const { status } = await cluster.api.request('GET', `/api/v1/namespaces/${namespace}/serviceaccounts/default`);
				return status === 200 ? undefined : `${status}`;
			});
		}
		await cluster.api.apply(
			running.map(({ metadata: { name, namespace, labels }, spec }) => ({
				apiVersion: 'v1',
				kind: 'Pod',
				metadata: { name, namespace, labels: { ...labels, conformance: 'yes' } },
				spec: {
					nodeName: spec.nodeName === 'here' ? here : there,
					terminationGracePeriodSeconds: 0,
					containers: [
						{
							name: 'main',
							image: agnhostImage,
							args: ['porter'],
							env: served.map((port) => ({ name: `SERVE_PORT_${port}`, value: 'ok' })),
							ports: spec.ports.filter(({ protocol }) => protocol === 'TCP'),
						},
					],
				},
			})),
		);
		for (const namespace of ['x', 'y', 'z']) {
			const count = running.filter(({ metadata }) => metadata.namespace === namespace).length;
			for (const pod of await cluster.untilReady(namespace, 'conformance=yes', count)) {
				pods.set(`${pod.namespace}/${pod.name}`, pod);
			}
		}
	});
	after(async () => cluster?.down());

	/** What comes of all probes, by pod at once: `SOURCE TARGET PORT` of those that got an answer. */
	const ask = async (probes: readonly Probe[]): Promise<Set<string>> => {
		const bySource = Map.groupBy(probes, ({ from }) => from);
		const reached = await Promise.all(
			[...bySource].map(async ([from, own]) => {
				const lines = own.map(({ to, port }) => {
					const address = pods.get(to)?.ip;
					return `(timeout 3 bash -c 'exec 3<>/dev/tcp/${address}/${port}' 2>/dev/null && echo "${from} ${to} ${port}") &`;
				});
				const script = `echo begun; ${lines.join('\n')}\nwait`;
				const program = await cluster.startInPod(pods.get(from) as Pod, 'bash', '-c', script);
				return (await program.finish()).split('\n');
			}),
		);
		return new Set(reached.flat());
	};

	const take = async ({ policies = {}, allow, deny }: Step): Promise<void> => {
		for (const [key, spec] of Object.entries(policies)) {
			const before = standing.get(key);
			standing.delete(key);
			// Whole: what the new one leaves out must not stay.
			if (before !== undefined) await cluster.api.delete([before]);
			if (spec === null) continue;
			standing.set(key, policyOf(key, spec));
			await cluster.api.apply([policyOf(key, spec)]);
		}
		const [allowed, denied] = [probesOf(allow), probesOf(deny)];
		const text = ({ from, to, port }: Probe): string => `${from} ${to} ${port}`;
		await cluster.eventually('every probe as the table has it', 60, async () => {
			const reached = await ask([...allowed, ...denied]);
			const wrong = [
				...allowed.filter((probe) => !reached.has(text(probe))).map((probe) => `${text(probe)}: no answer`),
				...denied.filter((probe) => reached.has(text(probe))).map((probe) => `${text(probe)}: an answer`),
			];
			return wrong.length === 0 ? undefined : wrong.join('; ');
		});
	};

	const cases = readCases().filter(canBeAsked);
	it('is asked a good part of the table', () => assert.ok(cases.length >= 40, `${cases.length} cases`));
	for (const one of cases) {
		it(one.case, async () => {
			const { case: _, families: __, then = [], ...first } = one;
			try {
				for (const step of [first, ...then]) await take(step);
			} finally {
				await clear();
			}
		});
	}

	it('a policy that the kernel refuses is closed for its own, and told in status, Event and metric', async () => {
		const [to = '', from = ''] = [...places].filter((key) => key.startsWith('x/'));
		const target = pods.get(to) as Pod;
		const node = (...argv: string[]): Promise<string> => cluster.output(target.node, ...argv);
		const spec = {
			podSelector: { matchLabels: running.find(({ metadata }) => keyOf(metadata) === to)?.metadata.labels },
			ingress: [{ from: [{ namespaceSelector: {}, podSelector: { matchLabels: { conformance: 'yes' } } }] }],
		};
		const probe = { from, to, port: served[0] as number };
		const becomes = (wanted: boolean): Promise<void> =>
			cluster.eventually(`${from} to ${to} is ${wanted ? 'allowed' : 'denied'}`, 60, async () =>
				(await ask([probe])).has(`${from} ${to} ${probe.port}`) === wanted ? undefined : 'it is not',
			);
		const metric = async (): Promise<number> => {
			const text = await node('curl', '-s', '-m', '20', 'http://127.0.0.1:9473/metrics');
			return Number(/^manx_felix_problems(?:\{[^}]*\})? (\d+)/m.exec(text)?.[1]);
		};
		const sets = async (): Promise<readonly string[]> => (await node('ipset', 'list', '-n')).trim().split('\n');

		const before = new Set(await sets());
		await cluster.api.apply([policyOf('x/clash', spec)]);
		await becomes(true);
		const own = (await sets()).filter((name) => name.startsWith('manx-4-s-') && !before.has(name));
		assert.equal(own.length, 1, own.join());
		const [name = ''] = own;
		await cluster.api.delete([policyOf('x/clash', spec)]);
		await cluster.eventually('the set is gone', 60, async () => ((await sets()).includes(name) ? name : undefined));

		// Somebody else has one of that name, of another type, and uses it.
		const hold = ['OUTPUT', '-m', 'set', '--match-set', name, 'dst', '-j', 'RETURN'];
		await node('ipset', 'create', name, 'hash:net');
		await node('iptables-nft', '-A', ...hold);
		try {
			await cluster.api.apply([policyOf('x/clash', spec)]);
			await becomes(false);
			const { code, text } = await cluster.manxStatus(target.node);
			assert.equal(code, 1, text);
			assert.match(text, /x\/clash/);
			assert.ok((await metric()) >= 1);
			type Events = { items: { reason: string; message: string; involvedObject: { name: string } }[] };
			await cluster.eventually('the Event', 60, async () => {
				const { items } = await cluster.api.json<Events>('GET', '/api/v1/namespaces/x/events');
				const found = items.find((one) => one.reason === 'NotInForce' && one.involvedObject.name === 'clash');
				return found?.message.includes(name) ? undefined : JSON.stringify(found ?? items.map(({ reason }) => reason));
			});
		} finally {
			await node('iptables-nft', '-D', ...hold);
		}
		// It is tried again every ten seconds.
		await becomes(true);
		await cluster.eventually('all is well', 60, async () => {
			const { code, text } = await cluster.manxStatus(target.node);
			return code === 0 && (await metric()) === 0 ? undefined : text;
		});
		await cluster.api.delete([policyOf('x/clash', spec)]);
	});
});
