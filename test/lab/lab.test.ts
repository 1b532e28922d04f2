import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { existingNetns, findLab, hasTraces, paths, processRecords, supervisorRecord } from '../../src/lab/lab-state.ts';
import { isAlive, processesIn } from '../../src/lab/processes.ts';
import { type Outcome, run, until } from '../../src/lab/shell.ts';
import type { LabStatus } from '../../src/lab/status.ts';
import { eventually, labName } from './help.ts';

/** The lab as people use it: the command line, real daemons, the real plugin. */

const main = join(import.meta.dirname, '../../src/main.ts');

const lab = (name: string, words: readonly string[], input?: string): Promise<Outcome> =>
	run(process.execPath, [main, 'lab', words[0] ?? 'status', '--name', name, ...words.slice(1)], {
		...(input === undefined ? {} : { input }),
	});

const ok = async (name: string, words: readonly string[], input?: string): Promise<string> => {
	const outcome = await lab(name, words, input);
	assert.equal(outcome.status, 0, `lab ${words.join(' ')}: ${outcome.stdout}${outcome.stderr}`);
	return outcome.stdout;
};

const refused = async (name: string, words: readonly string[], expected: RegExp, input?: string): Promise<void> => {
	const outcome = await lab(name, words, input);
	assert.equal(outcome.status, 1, outcome.stdout);
	assert.match(outcome.stdout + outcome.stderr, expected);
};

const status = async (name: string): Promise<LabStatus> =>
	JSON.parse(await ok(name, ['status', '-o', 'json'])) as LabStatus;

const addressOf = async (name: string, pod: string): Promise<string> =>
	(await status(name)).pods.find((one) => one.name === pod)?.ips[0] ?? '';

const pings = async (name: string, from: string, address: string): Promise<boolean> =>
	(await lab(name, ['exec', from, '--', 'ping', '-n', '-c', '1', '-W', '2', address])).ok;

const assertGone = (name: string): void => {
	assert.equal(hasTraces(name), false);
	assert.deepEqual(existingNetns(name), []);
};

const policy = (ingress: string): string => `
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: { name: guard, namespace: default }
spec:
  podSelector: { matchLabels: { app: p2 } }
  policyTypes: [Ingress]
  ingress: ${ingress}
`;

describe('a lab from up to down', { timeout: 300_000 }, () => {
	const name = labName('e2e');
	before(async () => {
		await ok(name, ['up', '--nodes', '2', '--pods', '3']);
	});
	after(async () => {
		await ok(name, ['down']);
		assertGone(name);
		assert.match(await ok(name, ['down']), /nothing to do/);
	});

	it('tells what is there as JSON', async () => {
		const { nodes, pods, outside, routers } = await status(name);
		assert.deepEqual(
			nodes.map((node) => [node.name, node.netns, node.addresses, node.podCIDRs, node.inSync]),
			[1, 2].map((n) => [
				`n${n}`,
				`manx-${name}-n${n}`,
				[`192.0.2.1${n}`, `2001:db8:0:2::1${n}`],
				[`10.244.${n}.0/24`, `fd00:244:0:${n}::/64`],
				true,
			]),
		);
		for (const { sessions } of nodes)
			assert.deepEqual(new Set(sessions.map(({ state }) => state)), new Set(['Established']));
		assert.deepEqual(
			pods.map((pod) => [pod.namespace, pod.name, pod.node, pod.ips.length]),
			[
				['default', 'p1', 'n1', 2],
				['default', 'p2', 'n2', 2],
				['default', 'p3', 'n1', 2],
			],
		);
		assert.deepEqual(
			outside.map((host) => host.netns),
			[`manx-${name}-out1`],
		);
		assert.equal(routers[0]?.software, 'bird');
		const known = (await run('ip', ['netns'])).stdout;
		for (const { netns } of [...nodes, ...pods, ...outside, ...routers]) assert.ok(known.includes(netns), netns);
	});

	it('checks every pair, and a second up is refused', async () => {
		assert.match(await ok(name, ['check']), /24 of 24 pairs answer[\s\S]*no encapsulation/);
		await refused(name, ['up'], /is up already/);
	});

	it('passes the exit status of a command on', async () => {
		assert.equal((await lab(name, ['exec', 'default/p1', '--', 'sh', '-c', 'exit 7'])).status, 7);
		assert.match(
			await ok(name, ['exec', 'node/n1', '--', 'ip', 'route', 'show', 'proto', '173']),
			/blackhole 10.244.1.0/,
		);
		await refused(name, ['exec', 'default/nobody', '--', 'true'], /There is no default\/nobody/);
	});

	it('puts a policy in force, changes it and takes it away', async () => {
		const target = await addressOf(name, 'p2');
		await ok(name, ['apply', '-f', '-'], policy('[]'));
		await ok(name, ['wait']);
		assert.equal(await pings(name, 'default/p1', target), false);
		assert.equal(await pings(name, 'default/p3', target), false);
		await refused(name, ['check'], /default\/p1 -> default\/p2 .* stops at node n2: .*a rule drops it/);
		await ok(name, ['apply', '-f', '-'], policy('[{ from: [{ podSelector: { matchLabels: { app: p1 } } }] }]'));
		await ok(name, ['wait']);
		assert.equal(await pings(name, 'default/p1', target), true);
		assert.equal(await pings(name, 'default/p3', target), false);
		await ok(name, ['delete', '-f', '-'], policy('[]'));
		await ok(name, ['wait']);
		assert.equal(await pings(name, 'default/p3', target), true);
	});

	it('starts and ends pods, and a Namespace takes its own along', async () => {
		const pod = (metadata: string) =>
			`apiVersion: v1\nkind: Pod\nmetadata: ${metadata}\nspec: { nodeName: n2, containers: [{ name: c }] }\n---\n`;
		const text = pod('{ name: x, namespace: shop }') + pod('{ name: y, namespace: shop }');
		assert.match(
			await ok(name, ['apply', '-f', '-'], text),
			/Namespace shop created[\s\S]*Pod shop\/y on n2: 10.244.2/,
		);
		assert.equal(await pings(name, 'shop/x', await addressOf(name, 'p1')), true);
		assert.match(await ok(name, ['apply', '-f', '-'], text), /Pod shop\/y unchanged/);
		await refused(name, ['apply', '-f', '-'], /a pod never moves/, text.replaceAll('n2', 'n1'));
		assert.match(await ok(name, ['delete', '-f', '-'], pod('{ name: y, namespace: shop }')), /Pod shop\/y deleted/);
		assert.match(
			await ok(name, ['delete', '-f', '-'], 'kind: Namespace\nmetadata: { name: shop }'),
			/Pod shop\/x deleted[\s\S]*Namespace shop deleted/,
		);
		assert.deepEqual(
			(await status(name)).pods.filter(({ namespace }) => namespace === 'shop'),
			[],
		);
		assert.ok(!existingNetns(name).some((netns) => netns.includes('shop')));
	});

	it('writes a bad object as it is and tells how the daemons refuse it', async () => {
		const bad = policy('[{ from: [{ ipBlock: { cidr: 10.0.0.0/33 } }] }]');
		assert.match(await ok(name, ['apply', '-f', '-'], bad), /guard created, but the daemons refuse it: .*ipBlock.cidr/);
		const outcome = await lab(name, ['wait', '--timeout', '5']);
		assert.match(outcome.stdout + outcome.stderr, /NetworkPolicy default\/guard .*ipBlock.cidr/);
		assert.match(await ok(name, ['status']), /refused: NetworkPolicy default\/guard/);
		await ok(name, ['delete', '-f', '-'], bad);
		await ok(name, ['wait']);
		const pod = 'apiVersion: v1\nkind: Pod\nmetadata: { name: z }\nspec: { nodeName: n1, hostNetwork: maybe }';
		await refused(
			name,
			['apply', '-f', '-'],
			/Pod default\/z .*not started: the daemons refuse it: spec.hostNetwork/,
			pod,
		);
		await ok(name, ['delete', '-f', '-'], pod);
		await refused(name, ['apply', '-f', '-'], /is not YAML/, 'a: [');
	});

	it('starts a killed daemon again', async () => {
		for (const daemon of ['felix', 'bird']) {
			const before = processRecords(name).get(`n1/${daemon}`);
			assert.ok(before !== undefined && isAlive(before));
			process.kill(before.pid, 'SIGKILL');
			await eventually(`${daemon} is back`, async () => {
				const now = processRecords(name).get(`n1/${daemon}`);
				return now !== undefined && now.pid !== before.pid && isAlive(now) ? undefined : 'not yet';
			});
		}
		await ok(name, ['wait']);
		await ok(name, ['check']);
		assert.match(readFileSync(paths(name).supervisorLog, 'utf8'), /n1\/felix ended \(SIGKILL\)/);
	});

	it('lives without its supervisor, and the next command starts another that takes over', async () => {
		const supervisor = supervisorRecord(name);
		assert.ok(supervisor);
		const before = processRecords(name);
		process.kill(supervisor.pid, 'SIGKILL');
		await until(10_000, async () => (isAlive(supervisor) ? 'alive' : undefined));
		assert.match(await ok(name, ['status']), /supervisor is not running/);
		await ok(name, ['wait']);
		assert.deepEqual(processRecords(name), before);
		const felix = before.get('n2/felix');
		assert.ok(felix);
		process.kill(felix.pid, 'SIGKILL');
		await eventually('felix is back', async () =>
			processRecords(name).get('n2/felix')?.pid !== felix.pid && processRecords(name).has('n2/felix')
				? undefined
				: 'no',
		);
		await ok(name, ['wait']);
	});
});

describe('a lab in other shapes', { timeout: 300_000 }, () => {
	const used: string[] = [];
	const fresh = (use: string): string => {
		used.push(labName(use));
		return labName(use);
	};
	after(async () => {
		for (const name of used) {
			await ok(name, ['down']);
			assertGone(name);
		}
	});

	it('host-gw: no BGP, routes from the Node objects', async () => {
		const name = fresh('hg');
		await ok(name, ['up', '--mode', 'host-gw', '--nodes', '2', '--pods', '2', '--no-masquerade']);
		assert.match(await ok(name, ['check']), /12 of 12 pairs answer/);
		assert.match(await ok(name, ['exec', 'node/n1', '--', 'ip', 'route']), /10.244.2.0\/24 via 192.0.2.12 .*proto 173/);
	});

	it('gobgp as router: outside pairs are not applicable', async () => {
		const name = fresh('go');
		await ok(name, ['up', '--tor', 'gobgp', '--nodes', '2', '--pods', '2']);
		assert.match(
			await ok(name, ['check']),
			/n\/a[\s\S]*4 of 4 pairs answer[\s\S]*8 pairs with the outside are not applicable/,
		);
	});

	it('frr as router, two hosts outside', async () => {
		const name = fresh('frr');
		await ok(name, ['up', '--tor', 'frr', '--nodes', '2', '--pods', '2', '--outside', '2']);
		assert.match(await ok(name, ['check']), /20 of 20 pairs answer/);
	});

	it('no router, described in YAML', async () => {
		const name = fresh('none');
		const yaml = `
apiVersion: v1
kind: Node
metadata: { name: left }
---
apiVersion: v1
kind: Node
metadata: { name: right }
spec: { podCIDRs: [10.99.0.0/26, "fd00:99::/64"] }
---
apiVersion: v1
kind: Pod
metadata: { name: a }
---
apiVersion: v1
kind: Pod
metadata: { name: b, namespace: shop }
`;
		await ok(name, ['up', '--tor', 'none', '-f', '-'], yaml);
		assert.match(await ok(name, ['check']), /4 of 4 pairs answer/);
		const { pods, outside, routers } = await status(name);
		assert.deepEqual(
			pods.map(({ node }) => node),
			['left', 'right'],
		);
		assert.match(pods[1]?.ips[0] ?? '', /^10\.99\.0\./);
		assert.deepEqual([outside, routers], [[], []]);
	});

	it('down clears up after an up that was killed half-way', async () => {
		for (const moment of ['lab.json', 'supervisor.json'] as const) {
			const name = fresh(moment === 'lab.json' ? 'ca' : 'cb');
			const child = spawn(process.execPath, [main, 'lab', 'up', '--name', name, '--nodes', '2'], { stdio: 'ignore' });
			await eventually(moment, async () => (existsSync(join(paths(name).state, moment)) ? undefined : 'not there yet'));
			child.kill('SIGKILL');
			await refused(name, ['up'], /is there in part/);
			const processes = processesIn(existingNetns(name)).length;
			await ok(name, ['down']);
			assertGone(name);
			assert.equal(findLab(name), undefined, `${processes} processes were there`);
		}
	});

	it('says what to do when there is none', async () => {
		for (const words of [['status'], ['check'], ['wait'], ['apply', '-f', '-']]) {
			await refused('nosuchlab', words, /There is no lab "nosuchlab". Start it/, 'kind: Pod\nmetadata: { name: a }');
		}
		await refused('a-b', ['status'], /cannot be a lab's name/);
	});
});
