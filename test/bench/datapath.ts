/**
 * What policies cost a packet: traffic pod - node - node - pod in network namespaces, with 0, 100 and 1,000 policies that
 * select both pods (each with peers and a port of its own; one of them, among the others, lets the traffic pass), as
 * ratios to the floor of any stateful policy: the same path with one rule that accepts what is established. Beside
 * it the same path without any rule, and by VXLAN with the same rules. All paths take turns. ROUNDS=5, SECONDS=1,
 * BACKENDS="legacy nft". Prints medians and ratios.
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

const rounds = Number(process.env.ROUNDS ?? 5);
const seconds = Number(process.env.SECONDS ?? 1);
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
		const peers = [{ podSelector: selector({ app: wanted ? 'bench' : `other${i}` }) }];
		const ports = (['TCP', 'UDP'] as const).map((protocol) => ({ protocol, port: wanted ? port : 10_000 + i }));
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

const floor = ({ nodes }: TwoNodes, backend: Backend): void => {
	for (const node of nodes) {
		const rule = '-A FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT'.split(' ');
		execFileSync('ip', ['netns', 'exec', node, `iptables-${backend}`, ...rule]);
	}
};

const measures = {
	bulk: { counter: 0, unit: 'Gbit/s', scale: 8e-9 },
	packets: { counter: 1, unit: '1,000/s', scale: 1e-3 },
	connections: { counter: 2, unit: '1,000/s', scale: 1e-3 },
} as const;
type Measure = keyof typeof measures;

type Path = {
	readonly name: string;
	readonly rules: number;
	readonly samples: Record<Measure, number[]>;
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
	const samples: Record<Measure, number[]> = { bulk: [], packets: [], connections: [] };
	return {
		name,
		rules,
		samples,
		measure: async (what) => {
			const { counter, scale } = measures[what];
			const before = (await counters())[counter] as number;
			const words = ['netns', 'exec', nodes.pods[0], traffic, what, podAddresses[1], `${seconds}`];
			const { stdout } = await promisify(execFile)('ip', words);
			const after = (await counters())[counter] as number;
			samples[what].push(((after - before) / Number(stdout)) * scale);
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
	{ name: '0 policies', path: 'direct', policies: 0 },
	{ name: '100 policies', path: 'direct', policies: 100 },
	{ name: '1,000 policies', path: 'direct', policies: 1000 },
	{ name: 'VXLAN, 1,000 policies', path: 'vxlan', policies: 1000 },
] as const;

const compare = async (backend: Backend): Promise<void> => {
	const made: TwoNodes[] = [];
	const paths: Path[] = [];
	try {
		for (const [i, variant] of variants.entries()) {
			const nodes = createTwoNodes(`manxb-${process.pid}-${backend}-${i}`, variant.path);
			made.push(nodes);
			let rules = 0;
			if (variant.policies === 'floor') floor(nodes, backend);
			else if (variant.policies !== undefined) rules = await program(nodes, backend, variant.policies);
			paths.push(await openPath(variant.name, nodes, rules));
		}
		for (let round = 0; round < rounds; round++) {
			for (const what of Object.keys(measures) as Measure[]) for (const path of paths) await path.measure(what);
		}
		const base = paths[1] as Path;
		console.log(
			`iptables-${backend}; medians of ${rounds} rounds of ${seconds} s, and their ratio to the stateful floor`,
		);
		console.log(
			`${''.padEnd(23)}rules${Object.entries(measures)
				.map(([what, { unit }]) => `${what} ${unit}`.padStart(26))
				.join('')}`,
		);
		for (const { name, rules, samples } of paths) {
			const figures = (Object.keys(measures) as Measure[]).map((what) => {
				const value = median(samples[what]);
				return `${value.toFixed(1)}  ${(value / median(base.samples[what])).toFixed(2)}`.padStart(26);
			});
			console.log(`${name.padEnd(23)}${String(rules).padStart(5)}${figures.join('')}`);
		}
		const [full, tunnel] = paths.slice(-2) as [Path, Path];
		const beside = (what: Measure): string => (median(full.samples[what]) / median(tunnel.samples[what])).toFixed(2);
		console.log(`beside VXLAN with the same rules: bulk ${beside('bulk')}, packets ${beside('packets')} times\n`);
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
