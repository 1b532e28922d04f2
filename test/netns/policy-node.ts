/** A node with three pods and a host outside, as namespaces of their own, held in line by calc → render → wrapper. */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { type Backend, createChains, createIpsets, type Run } from 'iptables-wrapper';
import { createPolicyCalc, type PolicyCalc } from '../../felix/calc/index.ts';
import { renderRuleset, staticSets } from '../../felix/render/index.ts';
import { createRun } from '../../src/kernel/run.ts';
import type { Family } from '../../src/net/ip.ts';
import type { Command } from './policy-agent.ts';

export const podNames = ['a', 'b', 'c'] as const;
export type PodName = (typeof podNames)[number];
export type Place = PodName | 'node' | 'outside';

export const addressOf = (place: Place, family: Family): string => {
	const v4 = { a: '10.244.1.1', b: '10.244.1.2', c: '10.244.1.3', node: '192.0.2.1', outside: '192.0.2.9' };
	const v6 = { a: 'fd00:244::1', b: 'fd00:244::2', c: 'fd00:244::3', node: '2001:db8::1', outside: '2001:db8::9' };
	return (family === 4 ? v4 : v6)[place];
};
export const ports = { http: 80, other: 81 } as const;

const must = (file: string, args: readonly string[]): void => {
	const { status, stderr } = spawnSync(file, args, { encoding: 'utf8' });
	if (status !== 0) throw new Error(`${file} ${args.join(' ')}: ${stderr}`);
};

const program = createRun();

export type Agent = { readonly ask: (command: Command) => Promise<string>; readonly process: ChildProcess };

/** Starts policy-agent.ts in a namespace; its process ends with its stdin. */
export const startAgent = async (netns: string, ...ports: number[]): Promise<Agent> => {
	const child = spawn(
		'ip',
		['netns', 'exec', netns, process.execPath, join(import.meta.dirname, 'policy-agent.ts'), ...ports.map(String)],
		{ stdio: ['pipe', 'pipe', 'inherit'] },
	);
	const waiting = new Map<number, (result: string) => void>();
	let next = 0;
	await new Promise<void>((resolve, reject) => {
		child.once('exit', () => reject(new Error(`the agent in ${netns} ended`)));
		createInterface({ input: child.stdout }).on('line', (line) => {
			const message = JSON.parse(line) as 'ready' | { id: number; result: string };
			if (message === 'ready') return resolve();
			waiting.get(message.id)?.(message.result);
			waiting.delete(message.id);
		});
	});
	return {
		process: child,
		ask: (command) =>
			new Promise((resolve) => {
				const id = next++;
				waiting.set(id, resolve);
				child.stdin.write(`${JSON.stringify({ id, command })}\n`);
			}),
	};
};

export type PolicyNode = {
	readonly calc: PolicyCalc;
	/** Brings the kernel in line, in the order docs/design/policy.md gives. */
	readonly apply: () => Promise<void>;
	readonly ask: (place: Place, command: Command) => Promise<string>;
	/** Runs a program in a place's netns; its output. */
	readonly exec: (place: Place, file: string, ...args: string[]) => string;
	/** Path of a place's network namespace. */
	readonly netns: (place: Place) => string;
	readonly stop: () => Promise<void>;
};

let made = 0;

export const startPolicyNode = async (backend: Backend): Promise<PolicyNode> => {
	const prefix = `manxt-${process.pid}-${made++}`;
	const netnsOf = (place: Place): string => `${prefix}-${place}`;
	const places: Place[] = ['node', 'outside', ...podNames];
	const ip = (place: Place, ...args: string[]): void => must('ip', ['-n', netnsOf(place), ...args]);
	const agents = new Map<Place, Agent>();

	const stop = async (): Promise<void> => {
		for (const { process } of agents.values()) {
			if (process.exitCode !== null) continue;
			const gone = new Promise((resolve) => process.once('exit', resolve));
			process.stdin?.end();
			await gone;
		}
		for (const place of places) spawnSync('ip', ['netns', 'del', netnsOf(place)]);
	};

	const wire = (): void => {
		for (const place of places) {
			must('ip', ['netns', 'add', netnsOf(place)]);
			ip(place, 'link', 'set', 'lo', 'up');
		}
		const node = netnsOf('node');
		for (const key of ['net.ipv4.ip_forward', 'net.ipv6.conf.all.forwarding']) {
			must('ip', ['netns', 'exec', node, 'sysctl', '-qw', `${key}=1`]);
		}
		ip('node', 'link', 'add', 'uplink', 'type', 'veth', 'peer', 'name', 'eth0', 'netns', netnsOf('outside'));
		for (const [place, device] of [
			['node', 'uplink'],
			['outside', 'eth0'],
		] as const) {
			ip(place, 'address', 'add', `${addressOf(place, 4)}/24`, 'dev', device);
			ip(place, 'address', 'add', `${addressOf(place, 6)}/64`, 'dev', device, 'nodad');
			ip(place, 'link', 'set', device, 'up');
		}
		ip('outside', 'route', 'add', '10.244.0.0/16', 'via', addressOf('node', 4));
		ip('outside', 'route', 'add', 'fd00:244::/64', 'via', addressOf('node', 6));
		podNames.forEach((pod, i) => {
			const host = `manx${pod}`;
			const mac = `02:00:00:00:00:0${i + 1}`;
			const gateway = 'ee:ee:ee:ee:ee:ee';
			ip(
				'node',
				'link',
				'add',
				host,
				'address',
				gateway,
				'type',
				'veth',
				'peer',
				'name',
				'eth0',
				'address',
				mac,
				'netns',
				netnsOf(pod),
			);
			ip('node', 'link', 'set', host, 'up');
			ip(pod, 'link', 'set', 'eth0', 'up');
			ip(pod, 'route', 'add', '169.254.1.1', 'dev', 'eth0', 'scope', 'link');
			for (const [family, length, via] of [
				[4, 32, '169.254.1.1'],
				[6, 128, 'fe80::1'],
			] as const) {
				const address = addressOf(pod, family);
				ip(pod, 'address', 'add', `${address}/${length}`, 'dev', 'eth0', ...(family === 6 ? ['nodad'] : []));
				ip(pod, 'neighbour', 'replace', via, 'lladdr', gateway, 'dev', 'eth0', 'nud', 'permanent');
				ip(
					pod,
					`-${family}`,
					'route',
					'add',
					'default',
					'via',
					via,
					'dev',
					'eth0',
					...(family === 4 ? ['onlink'] : []),
				);
				ip('node', 'neighbour', 'replace', address, 'lladdr', mac, 'dev', host, 'nud', 'permanent');
				ip('node', `-${family}`, 'route', 'add', `${address}/${length}`, 'dev', host, 'src', addressOf('node', family));
			}
		});
	};

	try {
		wire();
		for (const place of places) agents.set(place, await startAgent(netnsOf(place), ports.http, ports.other));
	} catch (error) {
		await stop();
		throw error;
	}

	const run: Run = (file, args, input) => program('ip', ['netns', 'exec', netnsOf('node'), file, ...args], input);

	const calc = createPolicyCalc();
	const chains = {
		4: createChains({ family: 4, backend, prefix: 'MANX-', run }),
		6: createChains({ family: 6, backend, prefix: 'MANX-', run }),
	};
	const ipsets = createIpsets({ prefix: 'manx-', run });
	const check = ({ error }: { readonly error?: { readonly message: string } }): void => {
		if (error) throw new Error(error.message);
	};

	return {
		calc,
		apply: async () => {
			const families = ([4, 6] as const).map((family) => ({
				family,
				policy: calc.state(family),
				settings: { masquerade: true },
			}));
			ipsets.want(
				new Map(
					families.flatMap(({ family, policy }) => [
						...policy.sets,
						...staticSets({
							family,
							attachments: podNames.map((pod) => ({
								addresses: [addressOf(pod, 4), addressOf(pod, 6)],
								hostInterface: `manx${pod}`,
							})),
							podNetworks: ['10.244.0.0/16', 'fd00:244::/64'],
							localPodCIDRs: ['10.244.1.0/24', 'fd00:244::/64'],
							nonMasqueradeCIDRs: [],
						}),
					]),
				),
			);
			check(await ipsets.applyAdditions());
			for (const wanted of families) check(await chains[wanted.family].apply(renderRuleset(wanted)));
			check(await ipsets.applyRemovals());
		},
		ask: (place, command) => (agents.get(place) as Agent).ask(command),
		exec: (place, file, ...args) => {
			const { status, stdout, stderr } = spawnSync('ip', ['netns', 'exec', netnsOf(place), file, ...args], {
				encoding: 'utf8',
			});
			if (status !== 0) throw new Error(`${file} ${args.join(' ')}: ${stderr}`);
			return stdout;
		},
		netns: (place) => `/run/netns/${netnsOf(place)}`,
		stop,
	};
};
