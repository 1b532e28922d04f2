import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { cpSync } from 'node:fs';
import { after, before, describe, it } from 'node:test';
import { type LabStatus, labHarness, type Program, traffic, unreadIn, until } from './lab-harness.ts';

/**
 * SIGKILL for either daemon on every node at random instants, while pods and policies change and numbered datagrams
 * flow: none is lost, and nothing that is still wanted is taken out of the kernel when the daemon starts again.
 * TEST_KILLS: kills of each daemon on each node (20).
 */

const kills = Number(process.env.TEST_KILLS ?? 20);
const rate = 100;
const port = 9000;

const policy = (name: string, peer: string) => `
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: ${name}, namespace: default}
spec:
  podSelector: {matchLabels: {role: server}}
  ingress:
  - from: [{podSelector: {matchLabels: {role: ${peer}}}}]
  - from: [{ipBlock: {cidr: 198.51.100.0/24}}, {ipBlock: {cidr: "2001:db8:64::/64"}}]
    ports: [{protocol: UDP, port: ${port}}]
`;
const pod = (name: string, node: string, role: string) => `
apiVersion: v1
kind: Pod
metadata: {name: ${name}, namespace: default, labels: {role: ${role}}}
spec: {nodeName: ${node}, containers: [{name: c}]}
`;

describe(`kill -9, ${kills} times each daemon on each node`, { timeout: 580_000 }, () => {
	const harness = labHarness('kill');
	let status: LabStatus;
	const monitors = new Map<string, { lines: string[]; stop: () => void }>();

	before(async () => {
		await harness.lab(['up', '--pods', '0', '--no-masquerade']);
		const names = ['n1', 'n2', 'n3'];
		const manifests = names.flatMap((node, i) => [pod(`s${i + 1}`, node, 'server'), pod(`c${i + 1}`, node, 'client')]);
		await harness.lab(['apply', '-f', '-'], [...manifests, policy('servers', 'client')].join('---\n'));
		await harness.lab(['wait']);
		status = await harness.status();
	});
	after(async () => {
		for (const monitor of monitors.values()) monitor.stop();
		if (process.env.TEST_KEEP_LOGS !== undefined) {
			cpSync(harness.state, process.env.TEST_KEEP_LOGS, {
				recursive: true,
				filter: (path) => /(^[^.]*|\.log)$/.test(path),
			});
		}
		await harness.down();
	});

	const find = (name: string) => {
		const found = status.pods.find((one) => one.name === name);
		assert.ok(found, name);
		return found;
	};

	/** Collects what the kernel tells of routes in a node. */
	const monitor = (netns: string): void => {
		const child = spawn('ip', ['netns', 'exec', netns, 'ip', 'monitor', 'route'], {
			stdio: ['ignore', 'pipe', 'ignore'],
		});
		const lines: string[] = [];
		child.stdout.on('data', (data: Buffer) => lines.push(...data.toString().split('\n')));
		monitors.set(netns, { lines, stop: () => child.kill('SIGKILL') });
	};

	const establishedCount = async (netns: string): Promise<number> => {
		const { stdout } = await harness.inNetns(netns, 'iptables-save', '-c', '-t', 'filter');
		const line = stdout
			.split('\n')
			.find((text) => text.includes('-A MANX-FORWARD -o manx+') && text.includes('CONFIRMED'));
		return Number(/^\[(\d+):/.exec(line ?? '')?.[1] ?? -1);
	};

	it('loses no packet and touches nothing that is wanted', async () => {
		const receivers = new Map<string, Program>();
		const senders: Program[] = [];
		for (const name of ['s1', 's2', 's3'])
			receivers.set(name, await traffic(find(name).netns, 'receive', String(port)));
		const targets = (except: string) =>
			['s1', 's2', 's3'].filter((name) => name !== except).flatMap((name) => find(name).ips);
		const start = async (netns: string, name: string, addresses: readonly string[]) =>
			senders.push(await traffic(netns, 'send', String(port), String(rate), name, ...addresses));
		for (const i of [1, 2, 3]) await start(find(`c${i}`).netns, `c${i}`, targets(`s${i}`));
		const outside = status.outside[0];
		assert.ok(outside);
		await start(outside.netns, 'outside', targets(''));
		for (const { netns } of status.nodes) monitor(netns);
		const counters = await Promise.all(status.nodes.map(({ netns }) => establishedCount(netns)));

		let done = false;
		const count = { felix: 0, bird: 0 };
		const killFelix = async (node: string): Promise<void> => {
			for (let i = 0; i < kills; i++) {
				let pid: number | undefined;
				// At any instant of its life, its start too.
				await new Promise((resolve) => setTimeout(resolve, 300 + Math.random() * 2000));
				await until('felix runs', 20, async () => {
					pid = harness.pidOf(node, 'felix');
					try {
						return pid !== undefined && process.kill(pid, 'SIGKILL');
					} catch {
						return false;
					}
				});
				count.felix++;
			}
		};
		const killBird = async (): Promise<void> => {
			for (let i = 0; i < kills; i++) {
				for (const { name } of status.nodes) {
					await until(`bird on ${name} has converged`, 60, async () => {
						const answer = await harness.daemonStatus(name, 'bird');
						const sessions = (answer?.sessions ?? []) as { name: string; state: string }[];
						const missing = sessions.filter((one) => one.state !== 'Established').map((one) => one.name);
						return (
							(answer?.converged === true && missing.length === 0) ||
							`missing: ${missing.join(' ')} ${answer?.converged}`
						);
					});
					await new Promise((resolve) => setTimeout(resolve, Math.random() * 200));
					const pid = harness.pidOf(name, 'bird');
					assert.ok(pid);
					process.kill(pid, 'SIGKILL');
					count.bird++;
				}
			}
		};
		/** Pods and policies come and go on every node meanwhile. */
		const churn = async (): Promise<void> => {
			for (let i = 0; !done; i++) {
				const node = `n${(i % 3) + 1}`;
				const manifests = `${pod('extra', node, i % 2 === 0 ? 'client' : 'server')}---\n${policy(`extra-${i % 2}`, `role${i}`)}`;
				await harness.lab(['apply', '-f', '-'], manifests, true);
				await harness.lab(['delete', '-f', '-'], manifests, true);
			}
		};
		const churning = churn();
		await Promise.all([...status.nodes.map(({ name }) => killFelix(name)), killBird()]);
		done = true;
		await churning;
		await harness.lab(['wait', '--timeout', '60']);

		const sent: { sent: number; errors: string[] }[] = [];
		for (const sender of senders) sent.push((await sender.finish()) as { sent: number; errors: string[] });
		assert.deepEqual(
			sent.flatMap((one) => one.errors),
			[],
		);
		await new Promise((resolve) => setTimeout(resolve, 500));
		const lost: string[] = [];
		let received = 0;
		for (const [name, receiver] of receivers) {
			const unread = await unreadIn(harness, find(name).netns);
			const here: string[] = [];
			let missing = 0;
			const flows = (await receiver.finish()) as Record<string, { count: number; last: number; missing: number[] }>;
			const expected = [1, 2, 3].filter((i) => name !== `s${i}`).map((i) => `c${i}`);
			for (const source of [...expected, 'outside']) {
				for (const ip of find(name).ips) {
					const flow = flows[`${source}>${ip}`];
					received += flow?.count ?? 0;
					const wanted = sent[source === 'outside' ? 3 : Number(source.slice(1)) - 1]?.sent ?? -1;
					const tail = flow === undefined ? wanted : wanted - 1 - flow.last;
					missing += (flow?.missing.length ?? 0) + tail;
					if (tail !== 0 || flow === undefined || flow.missing.length > 0) {
						here.push(
							`${source} to ${name} ${ip}: ${flow?.missing.length} lost (${flow?.missing.slice(0, 5)}), last ${flow?.last} of ${wanted}`,
						);
					}
				}
			}
			if (missing > unread) lost.push(...here, `${unread} that arrived at ${name} were not read in time`);
		}
		assert.deepEqual(lost, []);
		assert.ok(received > 0);

		// Only routes of the pods that came and went may have been deleted.
		const wanted = [
			...status.nodes.flatMap((node) => node.podCIDRs),
			...['s1', 's2', 's3', 'c1', 'c2', 'c3'].flatMap((name) => find(name).ips),
		];
		const deleted = [...monitors.values()].flatMap(({ lines }) => lines.filter((line) => line.startsWith('Deleted ')));
		const harmful = deleted.filter((line) => {
			const words = line.split(' ');
			return (
				wanted.some((one) => words.includes(one)) ||
				line.includes('198.51.100.0/24') ||
				line.includes('2001:db8:64::/64')
			);
		});
		assert.deepEqual(harmful, []);
		const after = await Promise.all(status.nodes.map(({ netns }) => establishedCount(netns)));
		for (const [i, value] of after.entries()) {
			assert.ok(value >= 0 && value >= (counters[i] ?? 0), 'the rule counters were set back');
		}
		console.log(
			`killed felix ${count.felix} and bird ${count.bird} times; ${received} datagrams arrived, none was lost`,
		);
	});
});
