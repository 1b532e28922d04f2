/**
 * What policies cost a packet: traffic pod - node - node - pod in network namespaces, with 0, 100 and 1,000 policies that
 * select both pods (each with peers and a port of its own; one of them, among the others, lets the traffic pass), as
 * ratios to the floor of any stateful policy: the same path with one rule that accepts what is established. Beside
 * it the same path without any rule, the floor where there is NAT as well, and VXLAN with the same rules. All paths take turns, in short rounds, and a
 * ratio is the median of what the rounds gave; in parentheses the ratio of what calls cost that nothing else disturbed,
 * which says something on a machine that does other things as well.
 * ROUNDS=25, SECONDS=0.4 a turn, BACKENDS="legacy nft", MEASURES="bulk packets connections"; PEERS=blocks: the policies
 * allow prefixes in place of pods; PORTS=one: all of them the same port.
 */
import { type ChildProcess, execFile, execFileSync, spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { promisify } from 'node:util';
import { type Backend, createChains, createIpsets, type Run } from 'iptables-wrapper';
import { createPolicyCalc } from '../../felix/calc/index.ts';
import { renderRuleset } from '../../felix/render/index.ts';
import { staticSets } from '../../felix/render/static-sets.ts';
import { createRun } from '../../src/kernel/run.ts';
import { makeNamespace, makePod, makePolicy, selector } from '../property/calc-world.ts';
import { compile } from './lib/compile.ts';
import { createTwoNodes, podAddresses, type TwoNodes } from './lib/two-nodes.ts';

const rounds = Number(process.env.ROUNDS ?? 25);
const seconds = Number(process.env.SECONDS ?? 0.4);
const byBlocks = process.env.PEERS === 'blocks';
const onePort = process.env.PORTS === 'one';
const backends = (process.env.BACKENDS ?? 'legacy nft').split(' ') as Backend[];
const port = 5000;

if (process.getuid?.() !== 0) {
	console.error('This benchmark makes network namespaces: run it as root.');
	process.exit(1);
}

const directory = mkdtempSync(join(tmpdir(), 'manx-bench-'));
const traffic = compile('traffic', directory);
const median = (values: readonly number[]): number =>
	[...values].sort((a, b) => a - b)[Math.floor(values.length / 2)] ?? Number.NaN;

/** The policies of both pods' namespace; the one in the middle of their order lets the other pod in and out. */
const policies = (count: number) =>
	Array.from({ length: count }, (_, i) => {
		const wanted = i === Math.floor(count / 2);
		const cidr = wanted ? '10.244.0.0/16' : `10.245.${i >> 8}.${i & 255}/32`;
		const peers = byBlocks
			? [{ ipBlock: { cidr, except: [] } }]
			: [{ podSelector: selector({ app: wanted ? 'bench' : `other${i}` }) }];
		const number = wanted || onePort ? port : 10_000 + i;
		const ports = (['TCP', 'UDP'] as const).map((protocol) => ({ protocol, port: number }));
		return makePolicy(`default/policy${String(i).padStart(4, '0')}`, {
			policyTypes: ['Ingress', 'Egress'],
			ingress: [{ peers, ports }],
			egress: [{ peers, ports }],
		});
	});

/** What felix would write for these policies, on both nodes. Returns the number of filter rules of one. */
const program = async ({ nodes }: TwoNodes, backend: Backend, count: number): Promise<number> => {
	let rules = 0;
	for (const [i, node] of nodes.entries()) {
		const calc = createPolicyCalc();
		calc.set(makeNamespace('default'));
		for (const [j, address] of podAddresses.entries()) calc.set(makePod(`default/p${j}`, { app: 'bench' }, [address]));
		for (let j = 0; j < count; j++) {
			calc.set(makePod(`default/other${j}`, { app: `other${j}` }, [`10.245.${j >> 8}.${j & 255}`]));
		}
		for (const policy of policies(count)) calc.set(policy);
		calc.setLocalPod({ key: `default/p${i}`, addresses: [podAddresses[i] as string] });
		const start = createRun();
		const run: Run = (file, args, input) => start('ip', ['netns', 'exec', node, file, ...args], input);
		const policy = calc.state(4);
		const sets = createIpsets({ prefix: 'manx-', run });
		const fixed = staticSets({
			family: 4,
			attachments: [{ addresses: [podAddresses[i] as string], hostInterface: 'manxpod' }],
			podNetworks: ['10.244.0.0/16'],
			localPodCIDRs: [`10.244.${i + 1}.0/24`],
			nonMasqueradeCIDRs: [],
		});
		sets.want(new Map([...policy.sets, ...fixed]));
		const ruleset = renderRuleset({ family: 4, policy, settings: { masquerade: true } });
		rules = [...ruleset.chains.values()].reduce((sum, chain) => sum + chain.length, 0);
		const chains = createChains({ family: 4, backend, prefix: 'MANX-', run });
		for (const { error } of [await sets.applyAdditions(), await chains.apply(ruleset)]) {
			if (error !== undefined) throw new Error(error.message);
		}
	}
	return rules;
};

/** `nat`: beside any rule of the nat table, as kube-proxy's, which each packet of a connection pays for. */
const floor = ({ nodes }: TwoNodes, backend: Backend, nat: boolean): void => {
	const rules = ['-A FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT'];
	if (nat) rules.push('-t nat -A POSTROUTING -s 203.0.113.1 -j MASQUERADE');
	for (const node of nodes) {
		for (const rule of rules) execFileSync('ip', ['netns', 'exec', node, `iptables-${backend}`, ...rule.split(' ')]);
	}
};

const measures = {
	bulk: { counter: 0, unit: 'Gbit/s', scale: 8e-9 },
	packets: { counter: 1, unit: '1,000/s', scale: 1e-3 },
	connections: { counter: 2, unit: '1,000/s', scale: 1e-3 },
} as const;
type Measure = keyof typeof measures;
const asked = (process.env.MEASURES ?? Object.keys(measures).join(' ')).split(' ') as Measure[];

type Path = {
	readonly name: string;
	readonly rules: number;
	readonly samples: Record<Measure, number[]>;
	/** Microseconds of a call in each round when nothing else had the CPU. */
	readonly costs: Record<Measure, number[]>;
	readonly measure: (what: Measure) => Promise<void>;
	readonly close: () => Promise<void>;
};

const openPath = async (name: string, nodes: TwoNodes, rules: number): Promise<Path> => {
	const server: ChildProcess = spawn('ip', ['netns', 'exec', nodes.pods[1], traffic, 'serve'], {
		stdio: ['pipe', 'pipe', 'inherit'],
	});
	const lines = createInterface(server.stdout as NodeJS.ReadableStream)[Symbol.asyncIterator]();
	await lines.next();
	const counters = async (): Promise<number[]> => {
		server.stdin?.write('\n');
		return String((await lines.next()).value)
			.split(' ')
			.map(Number);
	};
	const samples: Path['samples'] = { bulk: [], packets: [], connections: [] };
	const costs: Path['costs'] = { bulk: [], packets: [], connections: [] };
	return {
		name,
		rules,
		samples,
		costs,
		measure: async (what) => {
			const { counter, scale } = measures[what];
			const before = (await counters())[counter] as number;
			const words = ['netns', 'exec', nodes.pods[0], traffic, what, podAddresses[1], `${seconds}`];
			const { stdout } = await promisify(execFile)('ip', words);
			const after = (await counters())[counter] as number;
			const [took = 0, cost = 0] = stdout.split(' ').map(Number);
			samples[what].push(((after - before) / took) * scale);
			costs[what].push(cost);
		},
		close: async () => {
			const ended = new Promise((resolve) => server.once('exit', resolve));
			server.kill();
			await ended;
		},
	};
};

const variants = [
	{ name: 'no rules', path: 'direct', policies: undefined },
	{ name: 'stateful floor', path: 'direct', policies: 'floor' },
	{ name: 'floor where NAT is', path: 'direct', policies: 'NAT floor' },
	{ name: '0 policies', path: 'direct', policies: 0 },
	{ name: '100 policies', path: 'direct', policies: 100 },
	{ name: '1,000 policies', path: 'direct', policies: 1000 },
	{ name: 'VXLAN, 1,000 policies', path: 'vxlan', policies: 1000 },
] as const;

/** Of turns next to each other; of throughput, and of what undisturbed calls would give. */
const ratio = (path: Path, other: Path, what: Measure): string => {
	const ratios = (a: readonly number[], b: readonly number[]): string =>
		median(a.map((value, round) => value / (b[round] as number))).toFixed(2);
	return `${ratios(path.samples[what], other.samples[what])} (${ratios(other.costs[what], path.costs[what])})`;
};

const compare = async (backend: Backend): Promise<void> => {
	const made: TwoNodes[] = [];
	const paths: Path[] = [];
	try {
		for (const [i, variant] of variants.entries()) {
			const nodes = createTwoNodes(`manxb-${process.pid}-${backend}-${i}`, variant.path);
			made.push(nodes);
			let rules = 0;
			if (typeof variant.policies === 'number') rules = await program(nodes, backend, variant.policies);
			else if (variant.policies !== undefined) floor(nodes, backend, variant.policies === 'NAT floor');
			paths.push(await openPath(variant.name, nodes, rules));
		}
		for (let round = 0; round < rounds; round++) {
			for (const what of asked) for (const path of paths) await path.measure(what);
		}
		const base = paths[1] as Path;
		console.log(
			`iptables-${backend}; medians of ${rounds} rounds of ${seconds} s, and of the ratio to the stateful floor`,
		);
		console.log(`${''.padEnd(23)}rules${asked.map((what) => `${what} ${measures[what].unit}`.padStart(26)).join('')}`);
		for (const path of paths) {
			const figures = asked.map((what) =>
				`${median(path.samples[what]).toFixed(1)}  ${ratio(path, base, what)}`.padStart(26),
			);
			console.log(`${path.name.padEnd(23)}${String(path.rules).padStart(5)}${figures.join('')}`);
		}
		const [full, tunnel] = paths.slice(-2) as [Path, Path];
		const beside = asked.map((what) => `${what} ${ratio(full, tunnel, what)}`).join(', ');
		console.log(`beside VXLAN with the same rules: ${beside}\n`);
	} finally {
		for (const path of paths) await path.close();
		for (const nodes of made) nodes.remove();
	}
};

try {
	for (const backend of backends) await compare(backend);
} finally {
	rmSync(directory, { recursive: true });
}
