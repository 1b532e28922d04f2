import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { after, before, describe, it } from 'node:test';
import { type LabStatus, labHarness, type Program, traffic, unreadIn, until } from './lab-harness.ts';

/**
 * The mode of running nodes is changed, node by node as a rolling restart does it, while pods send a datagram each
 * millisecond and an echo each 20: none is lost, neither while the cluster is of both modes nor when a daemon is killed in
 * the middle. Below 10 ms ping takes whole processors from the other tests. What a ping that is ended has on the way is
 * not lost: one at the most.
 */

type Mode = 'bgp' | 'host-gw';
const port = 9000;
const perSecond = 1000;

describe('change of mode', { timeout: 590_000 }, () => {
	const harness = labHarness('mode');
	let status: LabStatus;
	const children = new Set<ChildProcess>();

	const node = (name: string) => status.nodes.find((one) => one.name === name) ?? assert.fail(name);
	const podOn = (name: string) => status.pods.find((one) => one.node === name) ?? assert.fail(name);
	const routes = async (name: string, filter: string): Promise<string[]> => {
		const { netns } = node(name);
		const both = await Promise.all(
			['-4', '-6'].map((family) => harness.inNetns(netns, 'ip', family, 'route', 'show', ...filter.split(' '))),
		);
		return both.flatMap(({ stdout }) => stdout.split('\n').filter((line) => line.includes(' via ')));
	};

	before(async () => {
		await harness.lab(['up', '--pods', '3']);
		status = await harness.status();
	});
	after(async () => {
		for (const child of children) child.kill('SIGKILL');
		await harness.down();
	});

	/** Starts all traffic; what comes back ends it and says how much there was. */
	const startTraffic = async (): Promise<() => Promise<void>> => {
		const names = ['n1', 'n2', 'n3'];
		const start = async (netns: string, ...args: string[]): Promise<Program> => {
			const program = await traffic(netns, ...args);
			children.add(program.child);
			return program;
		};
		const receivers = new Map<string, Program>();
		for (const name of names) receivers.set(name, await start(podOn(name).netns, 'receive', String(port)));
		const flows: { from: string; to: string; udp: string; sender: Program; ping: ChildProcess; said: () => string }[] =
			[];
		for (const [i, from] of names.entries()) {
			const to = names[(i + 1) % 3] ?? '';
			const [ipv4 = '', ipv6 = ''] = podOn(to).ips;
			const [udp, icmp] = i % 2 === 0 ? [ipv4, ipv6] : [ipv6, ipv4];
			const { netns } = podOn(from);
			const sender = await start(netns, 'send', String(port), String(perSecond), from, udp);
			const ping = spawn('ip', ['netns', 'exec', netns, 'ping', '-q', '-i', '0.02', icmp]);
			children.add(ping);
			let text = '';
			ping.stdout.on('data', (data: Buffer) => {
				text += data.toString();
			});
			flows.push({ from, to, udp, sender, ping, said: () => text });
		}
		return async () => {
			const problems: string[] = [];
			let echoes = 0;
			let datagrams = 0;
			for (const { from, to, ping, said } of flows) {
				const ended = new Promise((resolve) => ping.once('close', resolve));
				ping.kill('SIGINT');
				await ended;
				const [, sent = '0', received = '0'] = /(\d+) packets transmitted, (\d+) received/.exec(said()) ?? [];
				echoes += Number(received);
				if (Number(sent) - Number(received) > 1 || Number(received) === 0) problems.push(`${from} to ${to}: ${said()}`);
			}
			for (const { from, to, udp, sender } of flows) {
				const { sent, errors } = (await sender.finish()) as { sent: number; errors: string[] };
				if (errors.length > 0) problems.push(`${from}: ${errors.join()}`);
				const { netns } = podOn(to);
				await until(`${to} has read all`, 5, async () => {
					const { stdout } = await harness.inNetns(netns, 'ss', '-Huna', `sport = :${port}`);
					return /^\S+\s+0\s/.test(stdout.trim()) || stdout;
				});
				const seen = (await receivers.get(to)?.finish()) as Record<string, { count: number; missing: number[] }>;
				const flow = seen[`${from}>${udp}`];
				datagrams += flow?.count ?? 0;
				const unread = await unreadIn(harness, netns);
				if (flow === undefined || flow.count + unread < sent) {
					const missing = flow?.missing.slice(0, 9).join();
					problems.push(`${from} to ${to} ${udp}: ${flow?.count} of ${sent}, ${unread} unread, missing ${missing}`);
				}
			}
			assert.deepEqual(problems, []);
			console.log(`${datagrams} datagrams and ${echoes} echoes, none lost`);
		};
	};

	const setMode = (name: string, mode: Mode): void => {
		for (const daemon of ['felix', 'bird']) {
			const file = `${harness.state}/${name}/${daemon}.yaml`;
			writeFileSync(file, readFileSync(file, 'utf8').replace(/^mode: .*$/m, `mode: ${mode}`));
		}
	};
	const end = (name: string, signal: 'SIGTERM' | 'SIGKILL', daemons: readonly ('felix' | 'bird')[]): void => {
		for (const daemon of daemons) {
			const pid = harness.pidOf(name, daemon);
			assert.ok(pid);
			try {
				process.kill(pid, signal);
			} catch {
				// Killed a moment ago, and not started again yet.
			}
		}
	};
	const settled = (name: string, mode: Mode): Promise<void> =>
		until(`${name} is in mode ${mode}`, 90, async () => {
			const metric = mode === 'bgp' ? 175 : 173;
			for (const daemon of ['felix', 'bird'] as const) {
				const answer = await harness.daemonStatus(name, daemon);
				if (answer?.mode !== mode || answer.inSync !== true) return `${daemon}: ${answer?.mode} ${answer?.inSync}`;
			}
			const own = await routes(name, 'proto 173');
			if (own.length !== 4 || !own.every((line) => line.includes(`metric ${metric} `))) return own.join('; ');
			if (mode === 'bgp') return true;
			const learnt = await routes(name, 'proto 174');
			return learnt.length === 0 || learnt.join('; ');
		});
	const meshRoutes = async (name: string): Promise<string[]> =>
		(await routes(name, 'proto 174')).filter((line) => /^(10\.244|fd00:244)/.test(line));
	const change = async (name: string, mode: Mode): Promise<void> => {
		setMode(name, mode);
		end(name, 'SIGTERM', ['felix', 'bird']);
		await settled(name, mode);
	};

	it('loses no packet from bgp to host-gw, with a cluster of both modes for longer than peers keep routes', async () => {
		const endTraffic = await startTraffic();
		await change('n1', 'host-gw');
		// n2 and n3 hold what n1 told them for the restart time; then there is only the fallback.
		await until('n2 and n3 forget what n1 told them', 200, async () => {
			const left = [...(await meshRoutes('n2')), ...(await meshRoutes('n3'))].filter((line) => /via \S+11 /.test(line));
			return left.length === 0 || left.join('; ');
		});
		await change('n2', 'host-gw');
		await change('n3', 'host-gw');
		await endTraffic();
	});

	it('loses no packet from host-gw to bgp, daemons killed in the middle', async () => {
		const endTraffic = await startTraffic();
		for (const name of ['n1', 'n2', 'n3']) {
			setMode(name, 'bgp');
			end(name, 'SIGTERM', ['felix', 'bird']);
			for (let i = 0; i < 4; i++) {
				// At any instant of the start, in which the routes are moved.
				await new Promise((resolve) => setTimeout(resolve, 900 + Math.random() * 900));
				end(name, 'SIGKILL', i % 2 === 0 ? ['felix'] : ['bird', 'felix']);
			}
			await settled(name, 'bgp');
		}
		for (const name of ['n1', 'n2', 'n3']) {
			await until(`${name} has learnt its routes`, 150, async () => {
				const there = await meshRoutes(name);
				return there.length === 4 || there.join('; ');
			});
		}
		await endTraffic();
		await harness.lab(['check']);
	});
});
