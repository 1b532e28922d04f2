import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import packageJson from '../../package.json' with { type: 'json' };
import { imageName, imageNameOf } from '../../src/image/name.ts';
import { commandLineOf, processesIn } from '../../src/lab/processes.ts';
import { mustRun } from '../../src/lab/shell.ts';
import { execInPod } from './exec.ts';
import { bringUp, type Harness, manxManifest, type Pod, type Program, webDaemonSet } from './harness.ts';
import { paths } from './state.ts';

/**
 * What happens to a cluster in its life, under a TCP connection and pings between pods of different nodes, none of which
 * may be lost. TEST_API_DOWN_SECONDS: how long the API server is away (120).
 */

const downSeconds = Number(process.env.TEST_API_DOWN_SECONDS ?? 120);
const rate = 100;
const stream = join(import.meta.dirname, 'stream.ts');
const daemonSet = '/apis/apps/v1/namespaces/kube-system/daemonsets/manx';
const manx = 'app.kubernetes.io/name=manx';

describe('the life of a cluster', { timeout: 1_800_000 }, () => {
	let cluster: Harness;
	let web: readonly Pod[] = [];

	before(async () => {
		cluster = await bringUp('life');
		await cluster.installManx();
		await cluster.untilNodesReady();
		await cluster.api.apply([webDaemonSet]);
		web = await cluster.untilReady('default', 'app=web', 3);
	});
	after(async () => cluster?.down());

	/** Starts traffic from each node's pod to the next one's; the returned function ends it and says what was lost. */
	const startTraffic = async (): Promise<() => Promise<void>> => {
		const pairs = web.map((from, index) => [from, web[(index + 1) % web.length] as Pod] as const);
		const echoes: Program[] = [];
		const senders: Program[] = [];
		const pings: Program[] = [];
		for (const pod of web) echoes.push(await cluster.startInPod(pod, process.execPath, stream, 'echo', '9000'));
		for (const [from, to] of pairs) {
			senders.push(await cluster.startInPod(from, process.execPath, stream, 'send', to.ip, '9000', String(rate)));
			pings.push(await cluster.startInPod(from, 'ping', '-i', '0.01', '-q', to.ip));
		}
		return async () => {
			for (const [index, sender] of senders.entries()) {
				const [from, to] = pairs[index] as readonly [Pod, Pod];
				const text = await sender.finish();
				const result = JSON.parse(text.slice(text.indexOf('{'))) as {
					sent: number;
					answered: number;
					longestMs: number;
					errors: string[];
				};
				console.log(`TCP ${from.node} to ${to.node}: ${JSON.stringify(result)}`);
				assert.deepEqual(result.errors, []);
				assert.equal(result.answered, result.sent);
				assert.ok(result.sent > rate);
				// What was lost comes again after 200 ms at least; that a busy machine can take as long, pings tell apart.
				assert.ok(result.longestMs < 30_000, `an answer took ${result.longestMs} ms`);
			}
			for (const [index, ping] of pings.entries()) {
				const [from, to] = pairs[index] as readonly [Pod, Pod];
				const text = await ping.finish('interrupt');
				const [, sent, received] = /(\d+) packets transmitted, (\d+) received/.exec(text) ?? [];
				console.log(`ICMP ${from.node} to ${to.node}: ${received} of ${sent}`);
				assert.equal(received, sent, text);
			}
			for (const echo of echoes) await echo.finish('interrupt');
		};
	};

	/** Returns when every node runs the DaemonSet's template as it is now. */
	const untilRolledOut = async (): Promise<void> => {
		type Status = {
			metadata: { generation: number };
			status: Record<'observedGeneration' | 'updatedNumberScheduled' | 'numberReady' | 'numberAvailable', number>;
		};
		await cluster.eventually('rolled out', 300, async () => {
			const { metadata, status } = await cluster.api.json<Status>('GET', daemonSet);
			const done =
				status.observedGeneration === metadata.generation &&
				status.updatedNumberScheduled === web.length &&
				status.numberAvailable === web.length;
			return done ? undefined : JSON.stringify(status);
		});
		await cluster.untilReady('kube-system', manx, web.length);
	};

	const newPodWorks = async (): Promise<void> => {
		const victim = web[0] as Pod;
		await cluster.api.json('DELETE', `/api/v1/namespaces/default/pods/${victim.name}`);
		await cluster.eventually('the pod is replaced', 60, async () => {
			const found = (await cluster.pods('default', 'app=web')).find(({ node }) => node === victim.node);
			return found !== undefined && found.name !== victim.name && found.ready ? undefined : 'not yet';
		});
		web = await cluster.untilReady('default', 'app=web', 3);
		for (const from of web) {
			for (const to of web) assert.deepEqual(await cluster.dial(from, to.ip, 8080), [to.name]);
		}
	};

	it('a rolling restart loses no packet', async () => {
		const stop = await startTraffic();
		const before = await cluster.pods('kube-system', manx);
		const annotations = { 'manx.dev/restarted-at': new Date().toISOString() };
		const template = { metadata: { annotations } };
		await cluster.api.json('PATCH', daemonSet, { spec: { template } }, 'application/strategic-merge-patch+json');
		await untilRolledOut();
		const names = new Set((await cluster.pods('kube-system', manx)).map(({ name }) => name));
		assert.ok(before.every(({ name }) => !names.has(name)));
		await stop();
		await newPodWorks();
	});

	it('an upgrade to a rebuilt image loses no packet', async () => {
		const version = `${packageJson.version}-next`;
		const folder = mkdtempSync(join(tmpdir(), 'manx-next-'));
		try {
			const file = join(folder, 'next.tar');
			await mustRun(process.execPath, [join(import.meta.dirname, '../../src/image/build.ts'), file, version]);
			await cluster.loadImage(file);
		} finally {
			rmSync(folder, { recursive: true });
		}
		const stop = await startTraffic();
		const next = manxManifest.replaceAll(imageName, imageNameOf(version));
		assert.notEqual(next, manxManifest);
		await cluster.api.apply(next);
		await untilRolledOut();
		for (const { name } of await cluster.pods('kube-system', manx)) {
			for (const container of ['felix', 'bird']) {
				const { stdout } = await execInPod(cluster.api, `kube-system/${name}/${container}`, ['manx', '--version']);
				assert.equal(stdout.trim(), version, `${name} ${container}`);
			}
		}
		await stop();
		await newPodWorks();
	});

	it('a node that is deleted has no routes left on the others, and has them again when it comes back', async () => {
		const gone = web[2] as Pod;
		const others = web.filter((pod) => pod !== gone);
		const prefix = gone.ip.replace(/\d+$/, '0/24');
		const routesTo = async (pod: Pod): Promise<string> => cluster.output(pod.node, 'ip', 'route', 'show', prefix);
		for (const pod of others) assert.notEqual(await routesTo(pod), '');
		await cluster.stop(`kubelet-${gone.node}`);
		await cluster.api.json('DELETE', `/api/v1/nodes/${gone.node}`);
		await cluster.eventually(`no route to ${prefix}`, 30, async () => {
			const left = await Promise.all(others.map(routesTo));
			return left.every((text) => text === '') ? undefined : left.join('');
		});
		// Else the node comes back with another podCIDR to pods that still have addresses of the old one.
		await cluster.eventually('its pods are collected', 180, async () => {
			const left = [...(await cluster.pods('default', 'app=web')), ...(await cluster.pods('kube-system', manx))];
			return left.every(({ node }) => node !== gone.node) ? undefined : 'not yet';
		});
		cluster.start(`kubelet-${gone.node}`);
		await cluster.untilNodesReady(120);
		web = await cluster.untilReady('default', 'app=web', 3, 120);
		await cluster.untilReady('kube-system', manx, 3, 120);
		await cluster.eventually('all pods reach each other again', 60, async () => {
			for (const from of web) {
				for (const to of web) {
					const [answer = ''] = await cluster.dial(from, to.ip, 8080);
					if (answer !== to.name) return `${from.node} to ${to.node}: ${answer}`;
				}
			}
			return undefined;
		});
	});

	it(`${downSeconds} s without the API server, both daemons killed meanwhile: pods notice nothing`, async () => {
		const stop = await startTraffic();
		await cluster.stop('apiserver');
		const startedAt = performance.now();
		const daemonsOf = (node: string): readonly number[] =>
			processesIn([paths(cluster.state.name).netns(node)]).filter((pid) =>
				/main\.js (felix|bird)$/.test(commandLineOf(pid)),
			);
		for (const { name } of cluster.state.nodes) {
			const pids = daemonsOf(name);
			assert.equal(pids.length, 2, `${name}: ${pids.join(' ')}`);
			for (const pid of pids) process.kill(pid, 'SIGKILL');
		}
		for (const { name } of cluster.state.nodes) {
			await cluster.eventually(`the daemons of ${name} are back`, 60, async () => {
				const pids = daemonsOf(name);
				return pids.length === 2 ? undefined : `${pids.length} run`;
			});
		}
		const rest = downSeconds * 1000 - (performance.now() - startedAt);
		if (rest > 0) await new Promise((resolve) => setTimeout(resolve, rest));
		const [{ name } = { name: '' }] = cluster.state.nodes;
		const probe = await cluster.output(name, 'curl', '-s', 'http://127.0.0.1:9473/readyz');
		assert.match(probe, /not ready: .*have not been read/);
		cluster.start('apiserver');
		await cluster.eventually('the API server is back', 60, async () => {
			const answer = await cluster.api.request('GET', '/readyz').catch(() => undefined);
			return answer?.status === 200 ? undefined : 'not ready';
		});
		await cluster.untilReady('kube-system', manx, 3, 120);
		await stop();
		await newPodWorks();
	});
});
