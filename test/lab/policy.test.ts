import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { after, before, describe, it } from 'node:test';
import type { ExplainResult } from '../../felix/explain.ts';
import type { FlowLine } from '../../src/daemon/felix-routes.ts';
import { createRun } from '../../src/kernel/run.ts';
import type { Command } from '../netns/policy-agent.ts';
import { type Agent, startAgent } from '../netns/policy-node.ts';
import { type LabStatus, labHarness, until } from './lab-harness.ts';

/** Policies through the daemons: what `manx explain` and `manx flows` say, and connections that end by a change. */

const main = join(import.meta.dirname, '../../src/main.ts');
const run = createRun();

const policy = (from: string): string => `
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: server, namespace: default}
spec:
  podSelector: {matchLabels: {app: p2}}
  ingress: [{from: [{podSelector: {matchLabels: {app: ${from}}}}], ports: [{port: 5000, endPort: 6000}]}]
`;

describe('policies through the daemons', { timeout: 300_000 }, () => {
	const harness = labHarness('pol');
	let status: LabStatus;
	const pod = (name: string) => status.pods.find((one) => one.name === name) as LabStatus['pods'][number];
	const socketOf = (node: string): string => `${harness.state}/${node}/run/felix.sock`;
	const manx = (node: string, command: string, ...args: string[]) =>
		run(process.execPath, [main, command, '--socket', socketOf(node), ...args]);
	const explain = async (...args: string[]): Promise<Extract<ExplainResult, { ok: true }>['explanations']> => {
		const { stdout } = await manx('n2', 'explain', '-o', 'json', ...args);
		const result = JSON.parse(stdout) as ExplainResult;
		assert.ok(result.ok);
		return result.explanations;
	};
	const put = async (manifest: string): Promise<void> => {
		await harness.lab(['apply', '-f', '-'], manifest);
		await harness.lab(['wait']);
	};

	before(async () => {
		await harness.lab(['up', '--nodes', '2', '--pods', '4']);
		status = await harness.status();
	});
	after(() => harness.down());

	it('explains a denial by the policy and the counter that counts it, on both families', async () => {
		await put(policy('p1'));
		const before = await explain('default/p3', 'default/p2:5001/TCP');
		assert.equal(before.length, 2);
		const [address4 = '', address6 = ''] = pod('p2').ips;
		for (const address of [address4, address6]) {
			const { code } = await harness.inNetns(
				pod('p3').netns,
				'timeout',
				'1',
				'bash',
				'-c',
				`</dev/tcp/${address}/5001`,
			);
			assert.notEqual(code, 0);
		}
		const afterwards = await explain('default/p3', 'default/p2:5001/TCP');
		afterwards.forEach((one, i) => {
			const [ingress] = one.directions;
			assert.equal(one.allowed, false);
			assert.equal(ingress?.text, 'isolated by default/server; no rule allows');
			assert.ok((ingress?.packets ?? 0) > (before[i]?.directions[0]?.packets ?? 0), JSON.stringify(one));
		});
		const told = await manx('n2', 'explain', 'default/p1', 'default/p2:5001/TCP');
		assert.equal(told.code, 0);
		assert.match(told.stdout, /ALLOWED on n2\n {2}route .* dev manx.*\n.*allowed by default\/server/);
		assert.equal((await manx('n2', 'explain', 'default/p3', 'default/p2:22')).code, 1);
		assert.equal((await manx('n2', 'explain', 'default/nobody', 'default/p2:22')).code, 2);
	});

	it('lets a pod send from its own addresses only', async () => {
		const from = pod('p1');
		const echoes = async (name: string): Promise<number> => {
			const { stdout } = await harness.inNetns(pod(name).netns, 'cat', '/proc/net/snmp', '/proc/net/snmp6');
			const [keys = [], values = []] = stdout
				.split('\n')
				.filter((line) => line.startsWith('Icmp: '))
				.map((line) => line.split(' '));
			return Number(values[keys.indexOf('InEchos')]) + Number(/^Icmp6InEchos\s+(\d+)/m.exec(stdout)?.[1]);
		};
		const ping = (source: string, to: string) =>
			harness.inNetns(from.netns, 'ping', '-c', '1', '-W', '1', '-I', source, to);
		const strangers = [...pod('p2').ips, ...(status.nodes[0]?.addresses ?? []), '192.0.2.77', '2001:db8:77::1'];
		for (const source of strangers) {
			const bits = source.includes(':') ? '128' : '32';
			const added = await harness.inNetns(from.netns, 'ip', 'address', 'add', `${source}/${bits}`, 'dev', 'lo');
			assert.equal(added.code, 0, added.stderr);
		}
		// One on its own node, one on the other.
		for (const name of ['p3', 'p4']) {
			const before = await echoes(name);
			for (const to of pod(name).ips) {
				const sameFamily = strangers.filter((source) => source.includes(':') === to.includes(':'));
				await Promise.all(sameFamily.map((source) => ping(source, to)));
			}
			assert.equal(await echoes(name), before, name);
			for (const [i, to] of pod(name).ips.entries()) assert.equal((await ping(from.ips[i] ?? '', to)).code, 0, to);
			assert.equal(await echoes(name), before + 2, name);
		}
		for (const source of strangers) {
			await harness.inNetns(from.netns, 'ip', 'address', 'del', source, 'dev', 'lo');
		}
	});

	it('judges a datagram in fragments once, by its port', async () => {
		await put(policy('p1').replace('port: 5000', 'protocol: UDP, port: 5000'));
		const counted = async (port: number): Promise<number[]> =>
			(await explain('default/p1', `default/p2:${port}/UDP`)).map(({ directions }) => directions[0]?.packets ?? -1);
		for (const port of [5001, 53]) {
			const before = await counted(port);
			for (const address of pod('p2').ips) {
				await harness.inNetns(
					pod('p1').netns,
					'bash',
					'-c',
					`dd if=/dev/zero bs=5000 count=1 status=none >/dev/udp/${address}/${port}`,
				);
			}
			await until(`one packet more for port ${port} in each family`, 30, async () => {
				const now = await counted(port);
				return now.every((packets, i) => packets === (before[i] ?? 0) + 1) || `${before} to ${now}`;
			});
		}
	});

	it('tells flows as they come, and those of late; only denied ones when asked', async () => {
		const child = spawn(process.execPath, [main, 'flows', '--socket', socketOf('n2'), '-f', '-o', 'json']);
		try {
			const seen: FlowLine[] = [];
			createInterface({ input: child.stdout }).on('line', (line) => seen.push(JSON.parse(line) as FlowLine));
			const [address = ''] = pod('p2').ips;
			const is = (line: FlowLine, action: string, from: string): boolean =>
				'action' in line && line.action === action && line.source.pod === from && line.protocol === 'UDP';
			await until('a denied and an allowed flow are told', 10, async () => {
				for (const name of ['p1', 'p3']) {
					await harness.inNetns(pod(name).netns, 'bash', '-c', `echo x >/dev/udp/${address}/5353`);
					await harness.inNetns(pod('p2').netns, 'bash', '-c', `echo x >/dev/udp/${pod(name).ips[0]}/5353`);
				}
				return (
					seen.some((line) => is(line, 'denied', 'default/p3')) &&
					seen.some((line) => is(line, 'allowed', 'default/p2'))
				);
			});
			const { stdout } = await manx('n2', 'flows', '--denied');
			assert.match(
				stdout,
				/DENIED .*default\/p3 \(.*\) -> default\/p2 \(.*\) {2}UDP 5353 {2}ingress isolated by default\/server; no rule allows/,
			);
			assert.doesNotMatch(stdout, /allowed {2}/);
		} finally {
			child.kill();
		}
		const nobody = await manx('n9', 'flows');
		assert.equal(nobody.code, 2);
		assert.match(nobody.stderr, /No daemon answers/);
	});

	it('ends a connection that a changed policy no longer allows, and leaves the others alone', async () => {
		await put(policy('p1'));
		const [address = ''] = pod('p2').ips;
		const agents = new Map<string, Agent>();
		try {
			for (const name of ['p1', 'p2', 'p3']) agents.set(name, await startAgent(pod(name).netns, 5500));
			const ask = (name: string, command: Command): Promise<string> => (agents.get(name) as Agent).ask(command);
			const open = { do: 'open', name: 'one', address, port: 5500 } as const;
			assert.equal(await ask('p1', open), 'open');
			assert.equal(await ask('p2', { ...open, address: pod('p3').ips[0] ?? '' }), 'open');
			await put(policy('p3'));
			await ask('p1', { do: 'send', name: 'one' });
			assert.equal(await ask('p1', { do: 'ended', name: 'one' }), 'ECONNRESET');
			assert.equal(await ask('p3', open), 'open');
			await put(policy('p3, role: any'));
			await ask('p2', { do: 'serverSend' });
			await ask('p3', { do: 'send', name: 'one' });
			assert.equal(await ask('p3', { do: 'ended', name: 'one' }), 'ECONNRESET');
			assert.equal(await ask('p2', { do: 'echo', name: 'one' }), 'echo');
			const felix = (await harness.daemonStatus('n2', 'felix')) as { connectionsEnded?: number };
			assert.ok((felix.connectionsEnded ?? 0) >= 2, JSON.stringify(felix.connectionsEnded));
		} finally {
			for (const { process } of agents.values()) process.stdin?.end();
		}
	});
});
