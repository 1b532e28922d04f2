/**
 * What policies cost a packet: traffic pod - node - node - pod in network namespaces, with 0, 100 and 1,000 policies that
 * select both pods (each with peers and a port of its own; one of them, among the others, lets the traffic pass), as
 * ratios to the floor of any stateful policy: the same path with one rule that accepts what is established. Beside
 * it the same path without any rule, the floor where there is NAT as well (as with kube-proxy), 1,000 policies without
 * masquerade, and VXLAN with the same rules.
 *
 * Differences of a hundredth are looked for on machines that give each run another hundredth: so all paths take short
 * turns, whoever was first is last in the next round, all of it is made anew several times (where memory lies makes some
 * hundredths), sender and receiver have a CPU each, and a ratio is the median of what the rounds gave; in parentheses the
 * ratio of what calls cost that nothing else disturbed, which says something on a machine that does other things as well.
 * SERIES=5, ROUNDS=5 in each, SECONDS=0.15 a turn, BACKENDS="legacy nft", MEASURES="bulk packets connections";
 * PEERS=blocks: the policies allow prefixes in place of pods; PORTS=one: all of them the same port; SOURCES=rule: sources
 * are checked by the rule of the raw table, as where a kernel lacks cls_bpf.
 */
import { type ChildProcess, execFile, execFileSync, spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { availableParallelism, tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { promisify } from 'node:util';
import { type Backend, createChains, createIpsets, type Run } from 'iptables-wrapper';
import { createPolicyCalc } from '../../felix/calc/index.ts';
import { renderRuleset, sourceFilterOf } from '../../felix/render/index.ts';
import { staticSets } from '../../felix/render/static-sets.ts';
import { openKernel } from '../../src/kernel/open-kernel.ts';
import { createRun } from '../../src/kernel/run.ts';
import { createLogger } from '../../src/logging.ts';
import { makeNamespace, makePod, makePolicy, selector } from '../property/calc-world.ts';
import { compile } from './lib/compile.ts';
import { createTwoNodes, podAddresses, type TwoNodes } from './lib/two-nodes.ts';

const series = Number(process.env.SERIES ?? 5);
const rounds = Number(process.env.ROUNDS ?? 5);
const seconds = Number(process.env.SECONDS ?? 0.15);
const byBlocks = process.env.PEERS === 'blocks';
const onePort = process.env.PORTS === 'one';
const sourceRule = process.env.SOURCES === 'rule';
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

/** What felix would write for these policies, on both nodes. Returns the number of rules of one. */
const program = async ({ nodes }: TwoNodes, backend: Backend, count: number, masquerade: boolean): Promise<number> => {
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
		const attachment = { addresses: [podAddresses[i] as string], hostInterface: 'manxpod' };
		const fixed = staticSets({
			family: 4,
			attachments: [attachment],
			podNetworks: ['10.244.0.0/16'],
			localPodCIDRs: [`10.244.${i + 1}.0/24`],
			nonMasqueradeCIDRs: [],
		});
		sets.want(new Map([...policy.sets, ...fixed]));
		const ruleset = renderRuleset({ family: 4, policy, settings: { masquerade, sourceRule } });
		rules = [...ruleset.chains.values()].reduce((sum, chain) => sum + chain.length, 0);
		const kernel = openKernel({ log: createLogger('bench', 'warn'), netns: `/run/netns/${node}`, watch: false });
		const refusal = sourceRule ? undefined : kernel.setIngressFilter(sourceFilterOf(attachment));
		kernel.close();
		if (refusal !== undefined) throw new Error(refusal.message);
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

type Samples = Record<Measure, number[]>;
/** What the turns of one kind of path gave, over all series: rates, and microseconds of an undisturbed call. */
type Results = { rules: number; readonly samples: Samples; readonly costs: Samples };
type Path = { readonly measure: (what: Measure) => Promise<void>; readonly close: () => Promise<void> };

/** Sender and receiver each have a CPU, where there are two. */
const onCpu = (cpu: number, netns: string, ...words: string[]): string[] => [
	...['netns', 'exec', netns],
	...(availableParallelism() > 1 ? ['taskset', '-c', `${cpu}`] : []),
	...words,
];

const openPath = async (nodes: TwoNodes, { samples, costs }: Results): Promise<Path> => {
	const server: ChildProcess = spawn('ip', onCpu(1, nodes.pods[1], traffic, 'serve'), {
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
	return {
		measure: async (what) => {
			const { counter, scale } = measures[what];
			const before = (await counters())[counter] as number;
			const words = onCpu(0, nodes.pods[0], traffic, what, podAddresses[1], `${seconds}`);
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
	{ name: '1,000, no masquerade', path: 'direct', policies: 1000, masquerade: false },
	{ name: '1,000 policies, VXLAN', path: 'vxlan', policies: 1000 },
] as const;
type Variant = (typeof variants)[number];

/** Of turns next to each other; of throughput, and of what undisturbed calls would give. */
const ratio = (one: Results, other: Results, what: Measure): string => {
	const ratios = (a: readonly number[], b: readonly number[]): string =>
		median(a.map((value, round) => value / (b[round] as number))).toFixed(2);
	return `${ratios(one.samples[what], other.samples[what])} (${ratios(other.costs[what], one.costs[what])})`;
};

/** One series: everything made anew, measured in turns, and taken away. */
const runSeries = async (backend: Backend, number: number, results: ReadonlyMap<Variant, Results>): Promise<void> => {
	const made: TwoNodes[] = [];
	const paths: Path[] = [];
	try {
		for (const [i, variant] of variants.entries()) {
			const nodes = createTwoNodes(`manxb-${process.pid}-${backend}-${number}-${i}`, variant.path);
			made.push(nodes);
			const { policies } = variant;
			const mine = results.get(variant) as Results;
			if (typeof policies === 'number')
				mine.rules = await program(nodes, backend, policies, !('masquerade' in variant));
			else if (policies !== undefined) floor(nodes, backend, policies === 'NAT floor');
			paths.push(await openPath(nodes, mine));
		}
		for (let round = 0; round < rounds; round++) {
			const order = round % 2 === 0 ? paths : [...paths].reverse();
			for (const what of asked) for (const path of order) await path.measure(what);
		}
	} finally {
		for (const path of paths) await path.close();
		for (const nodes of made) nodes.remove();
	}
};

const compare = async (backend: Backend): Promise<void> => {
	const none = (): Samples => ({ bulk: [], packets: [], connections: [] });
	const results = new Map(variants.map((variant) => [variant, { rules: 0, samples: none(), costs: none() }]));
	for (let number = 0; number < series; number++) await runSeries(backend, number, results);
	const all = [...results.values()];
	const [, base, natBase] = all as [Results, Results, Results];
	console.log(
		`iptables-${backend}; medians of ${series} series of ${rounds} rounds of ${seconds} s, and of the ratio to the stateful floor`,
	);
	console.log(`${''.padEnd(23)}rules${asked.map((what) => `${what} ${measures[what].unit}`.padStart(26)).join('')}`);
	for (const [{ name }, result] of results) {
		const figures = asked.map((what) =>
			`${median(result.samples[what]).toFixed(1)}  ${ratio(result, base, what)}`.padStart(26),
		);
		console.log(`${name.padEnd(23)}${String(result.rules).padStart(5)}${figures.join('')}`);
	}
	const [full, , tunnel] = all.slice(-3) as [Results, Results, Results];
	const beside = (other: Results): string => asked.map((what) => `${what} ${ratio(full, other, what)}`).join(', ');
	console.log(`1,000 policies beside the floor where NAT is: ${beside(natBase)}`);
	console.log(`1,000 policies beside VXLAN with the same rules: ${beside(tunnel)}\n`);
};

try {
	for (const backend of backends) await compare(backend);
} finally {
	rmSync(directory, { recursive: true });
}
