import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { parse } from 'yaml';
import { createRun } from '../../src/kernel/run.ts';
import { labHarness, type Program, traffic, until } from './lab-harness.ts';

/**
 * Two nodes serve one address; a host outside sends to it without a pause, by flows that the router spreads over both. A node
 * is drained by hand, or cordoned, its speaker dies, its sessions end, it loses its link: not one datagram is lost.
 */

const main = join(import.meta.dirname, '../../src/main.ts');
const run = createRun();
const addresses = ['203.0.113.7', '2001:db8:cafe::7'] as const;
const ranges = ['203.0.113.0/24', '2001:db8:cafe::/64'] as const;
const port = 4444;
const flows = 4;

describe('a drained node', { timeout: 300_000 }, () => {
	const harness = labHarness('drain');
	const tor = `manx-${harness.name}-tor`;
	const netns = (name: string): string => `manx-${harness.name}-${name}`;
	const bgp = async (node: string, ...args: string[]): Promise<string> => {
		const argv = [main, 'bgp', ...args, '--socket', `${harness.state}/${node}/run/bird.sock`];
		const { code, stdout, stderr } = await run(process.execPath, argv);
		assert.equal(code, 0, stderr);
		return stdout;
	};
	const birdOf = async (node: string) =>
		(await harness.daemonStatus(node, 'bird')) as
			| { draining: string; converged: boolean; sessions: { state: string }[] }
			| undefined;
	/** Nodes that the router's kernel sends the ranges to, alike in both families. */
	const usedBy = async (): Promise<string> => {
		const found = await Promise.all(
			ranges.map(async (range, i) => {
				const { stdout } = await run('ip', ['-n', tor, i === 0 ? '-4' : '-6', '-j', 'route', 'show', range]);
				type Hop = { gateway?: string };
				const routes = JSON.parse(stdout || '[]') as (Hop & { nexthops?: Hop[] })[];
				const gateways = routes.flatMap((route) => route.nexthops ?? [route]).map(({ gateway = '' }) => gateway);
				return ['n1', 'n2'].filter((_, n) => gateways.some((gateway) => gateway.endsWith(`1${n + 1}`))).join(' ');
			}),
		);
		return found[0] === found[1] ? (found[0] ?? '') : found.join(' / ');
	};
	const uses = (nodes: string) => async (): Promise<boolean | string> => {
		const used = await usedBy();
		return used === nodes || `it uses ${used}`;
	};
	const settled = (node: string) => async (): Promise<boolean | string> => {
		const status = await birdOf(node);
		const up = status?.sessions.every(({ state }) => state === 'Established') === true;
		return (up && status?.converged === true) || JSON.stringify(status?.sessions.map(({ state }) => state));
	};
	const configure = (spec: object): Promise<unknown> =>
		harness.lab(
			['apply', '-f', '-'],
			JSON.stringify({
				apiVersion: 'manx.dev/v1',
				kind: 'BGPConfiguration',
				metadata: { name: 'default' },
				spec: { serviceLoadBalancerIPs: ranges.map((cidr) => ({ cidr })), ...spec },
			}),
		);
	const cordon = async (node: string, on: boolean): Promise<void> => {
		const object = parse(readFileSync(`${harness.state}/objects/node.${node}.yaml`, 'utf8')) as { spec: object };
		const spec = { ...object.spec, unschedulable: on };
		await harness.lab(['apply', '-f', '-'], JSON.stringify({ ...object, spec }));
	};
	const receivers: Program[] = [];
	const senders: Program[] = [];

	before(async () => {
		await harness.lab(['up', '--nodes', '2', '--pods', '0']);
		await run('ip', [
			'netns',
			'exec',
			tor,
			'sh',
			'-c',
			'for f in 4 6; do sysctl -qw net.ipv$f.fib_multipath_hash_policy=1; done',
		]);
		for (const node of ['n1', 'n2']) {
			for (const address of addresses) await run('ip', ['-n', netns(node), 'address', 'add', address, 'dev', 'lo']);
			receivers.push(await traffic(netns(node), 'receive', String(port)));
		}
		await configure({});
		await until('both serve', 20, uses('n1 n2'));
		for (let flow = 0; flow < flows; flow++) {
			senders.push(await traffic(netns('out1'), 'send', String(port), '50', `flow${flow}`, ...addresses));
		}
	});
	after(async () => {
		for (const { child } of [...senders, ...receivers]) child.kill('SIGKILL');
		await harness.down();
	});

	it('by hand: the router goes to the other, also when bird is killed', async () => {
		assert.match(await bgp('n1', 'drain'), /about to leave/);
		await until('the router uses n2', 20, uses('n2'));
		assert.match((await birdOf('n1'))?.draining ?? '', /by hand/);
		const pid = harness.pidOf('n1', 'bird');
		assert.ok(pid);
		process.kill(pid, 'SIGKILL');
		await until('bird is back', 30, async () => harness.pidOf('n1', 'bird') !== pid && (await settled('n1')()));
		assert.match((await birdOf('n1'))?.draining ?? '', /by hand/, 'it is drained as before');
		assert.equal(await usedBy(), 'n2');
	});

	it('its sessions may end and its link may go', async () => {
		await bgp('n1', 'clear', '*', '-m', 'maintenance');
		await run('ip', ['-n', netns('fabric'), 'link', 'set', 'port1', 'down']);
		await run('ip', ['-n', netns('fabric'), 'link', 'set', 'port1', 'up']);
		await until('it is back', 60, settled('n1'));
		assert.equal(await usedBy(), 'n2');
		assert.match(await bgp('n1', 'undrain'), /as ever/);
		await until('both serve', 20, uses('n1 n2'));
	});

	it('cordoned: only where BGPConfiguration asks for it', async () => {
		await cordon('n2', true);
		await harness.lab(['wait']);
		assert.equal(await usedBy(), 'n1 n2');
		await configure({ drainCordonedNodes: true });
		await until('the router uses n1', 20, uses('n1'));
		assert.match(await bgp('n2', 'undrain'), /stays drained: the node is cordoned/);
		await cordon('n2', false);
		await until('both serve', 20, uses('n1 n2'));
	});

	it('and nothing was lost', async () => {
		const sent = (await Promise.all(senders.map(({ finish }) => finish()))) as { sent: number; errors: string[] }[];
		assert.deepEqual(
			sent.flatMap(({ errors }) => errors),
			[],
		);
		const total = sent.reduce((sum, one) => sum + one.sent, 0) * addresses.length;
		const read = async (): Promise<number> => {
			const { stdout } = await run('sh', [
				'-c',
				`for n in n1 n2; do ip netns exec manx-${harness.name}-$n nstat -asz UdpInDatagrams Udp6InDatagrams; done`,
			]);
			return [...stdout.matchAll(/InDatagrams +(\d+)/g)].reduce((sum, [, count]) => sum + Number(count), 0);
		};
		await until('what was sent is read', 20, async () => {
			const count = await read();
			return count >= total || `${count} of ${total}`;
		});
		type Seen = Record<string, { count: number }>;
		const seen = (await Promise.all(receivers.map(({ finish }) => finish()))) as Seen[];
		const counts = seen.map((one) => Object.values(one).reduce((sum, { count }) => sum + count, 0));
		assert.equal(
			counts.reduce((a, b) => a + b, 0),
			total,
		);
		assert.ok(
			counts.every((count) => count > 0),
			`both served: ${counts}`,
		);
	});
});
