/**
 * One pod's ADD as a container runtime sees it, from starting the plugin to its end: ours beside the standard `ptp`
 * with `host-local`, alternating in the same run, each node in a network namespace of its own. Ours is the whole
 * thing: plugin, `manx felix` as a daemon, both families, anti-spoofing and policy in the kernel, record written.
 * The standard plugins do IPv4 alone here (with IPv6 they wait for duplicate address detection, 1.8 s in all):
 * once bare, once with the masquerading that felix also does. Prints medians and ratios. ROUNDS=60 unless set.
 */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { stringify } from 'yaml';
import { buildShim } from '../../felix/cni/build-shim.ts';
import { inNetns } from '../../src/kernel/netns.ts';

const rounds = Number(process.env.ROUNDS ?? 60);
if (process.getuid?.() !== 0) {
	console.error('This benchmark makes network namespaces: run it as root.');
	process.exit(1);
}

const root = join(import.meta.dirname, '../..');
const base = `manxb-${process.pid}`;
const directory = mkdtempSync('/run/manx-bench-');
const runDir = join(directory, 'run');
const shim = join(directory, 'manx');
const ip = (...args: readonly string[]): string => execFileSync('ip', args, { encoding: 'utf8' });
const namespaces: string[] = [];
const addNetns = (name: string): string => {
	ip('netns', 'add', name);
	namespaces.push(name);
	return name;
};

type Shell = {
	readonly time: (command: string) => Promise<{ readonly status: number; readonly ms: number }>;
	readonly close: () => void;
};

/** Starts and times the plugins inside a netns. A small process: one as big as this would add its fork to each. */
const openShell = (netns: string): Shell => {
	const bash = inNetns(`/run/netns/${netns}`, () =>
		spawn('bash', { env: { LC_ALL: 'C', PATH: process.env.PATH ?? '' }, stdio: ['pipe', 'pipe', 'inherit'] }),
	);
	return {
		time: (command) =>
			new Promise((resolve) => {
				bash.stdout.once('data', (text: Buffer) => {
					const [status, microseconds] = text.toString().split(' ').map(Number) as [number, number];
					resolve({ status, ms: microseconds / 1000 });
				});
				bash.stdin.write(`s=$EPOCHREALTIME\n${command}\nr=$? e=$EPOCHREALTIME\necho $r $((\${e/./} - \${s/./}))\n`);
			}),
		close: () => bash.stdin.end(),
	};
};

type Contestant = { readonly name: string; readonly shell: Shell; readonly plugin: string; readonly conf: object };

const run = async (one: Contestant, verb: string, pod: string): Promise<number> => {
	const env = {
		CNI_COMMAND: verb,
		CNI_CONTAINERID: pod,
		CNI_IFNAME: 'eth0',
		CNI_NETNS: `/run/netns/${pod}`,
		CNI_PATH: '/usr/lib/cni',
		CNI_ARGS: `'IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME=${pod}'`,
	};
	const [input, output] = [join(directory, 'conf'), join(directory, 'result')];
	writeFileSync(input, JSON.stringify(one.conf));
	const words = Object.entries(env).map(([name, value]) => `${name}=${value}`);
	const { status, ms } = await one.shell.time(`${words.join(' ')} ${one.plugin} <${input} >${output}`);
	if (status !== 0) throw new Error(`${verb} by ${one.name}: ${readFileSync(output, 'utf8')}`);
	return ms;
};

const podName = (contestant: string, i: number): string => `${base}-${contestant}-${i}`;

/** `manx felix` on its node, with all pods in its datastore; ready when it says so. */
const startFelix = (netns: string): ChildProcess => {
	const objects = join(directory, 'objects');
	mkdirSync(objects);
	const node = {
		apiVersion: 'v1',
		kind: 'Node',
		metadata: { name: 'n1' },
		spec: { podCIDRs: ['10.98.0.0/16', 'fd00:98::/64'] },
		status: { addresses: [{ type: 'InternalIP', address: '192.0.2.1' }] },
	};
	const pods = Array.from({ length: rounds }, (_, i) => ({
		apiVersion: 'v1',
		kind: 'Pod',
		metadata: { name: podName('manx', i), namespace: 'default', uid: `u${i}` },
		spec: { nodeName: 'n1', containers: [{ name: 'c' }] },
	}));
	writeFileSync(join(objects, 'all.yaml'), [node, ...pods].map((object) => stringify(object)).join('---\n'));
	const config = join(directory, 'felix.yaml');
	writeFileSync(
		config,
		stringify({ nodeName: 'n1', datastore: { kind: 'directory', path: objects }, runDir, mtu: 1500 }),
	);
	return spawn(
		'ip',
		['netns', 'exec', netns, process.execPath, join(root, 'src/main.ts'), 'felix', '--config', config],
		{ stdio: ['ignore', 'ignore', 'inherit'] },
	);
};

const median = (values: readonly number[], quantile = 0.5): number =>
	[...values].sort((a, b) => a - b)[Math.floor(values.length * quantile)] ?? Number.NaN;

const built = buildShim(shim);
if (!built.ok) throw new Error(built.error);
const contestants: Contestant[] = [];
let felix: ChildProcess | undefined;
try {
	const ownNode = addNetns(base);
	ip('-n', ownNode, 'link', 'set', 'lo', 'up');
	ip('-n', ownNode, 'link', 'add', 'uplink', 'type', 'bridge');
	ip('-n', ownNode, 'addr', 'add', '192.0.2.1/24', 'dev', 'uplink');
	ip('-n', ownNode, 'link', 'set', 'uplink', 'up');
	felix = startFelix(ownNode);
	const ours = { cniVersion: '1.1.0', name: 'manx', type: 'manx', runDir };
	const manx: Contestant = { name: 'manx', shell: openShell(ownNode), plugin: shim, conf: ours };
	contestants.push(manx);
	for (const [name, subnet, ipMasq] of [
		['ptp', '10.96.0.0/16', false],
		['ptp-masq', '10.97.0.0/16', true],
	] as const) {
		const ipam = { type: 'host-local', dataDir: join(directory, name), subnet, routes: [{ dst: '0.0.0.0/0' }] };
		const conf = { cniVersion: '1.0.0', name, type: 'ptp', ipMasq, ipam };
		const shell = openShell(addNetns(`${base}-${name}`));
		contestants.push({ name, shell, plugin: '/usr/lib/cni/ptp', conf });
	}
	const deadline = performance.now() + 20_000;
	while ((await run(manx, 'STATUS', base).catch(() => -1)) < 0) {
		if (performance.now() > deadline) throw new Error(`felix is not ready: ${readFileSync(join(directory, 'result'))}`);
		await delay(50);
	}

	const samples = new Map<string, number[]>(contestants.map(({ name }) => [name, []]));
	for (let i = 0; i < rounds; i++) {
		for (let j = 0; j < contestants.length; j++) {
			const one = contestants[(i + j) % contestants.length] as Contestant;
			const pod = addNetns(podName(one.name, i));
			samples.get(one.name)?.push(await run(one, 'ADD', pod));
		}
	}
	// Only now: the kernel takes interfaces down at leisure and would hold up the next ADD with that.
	for (const one of contestants) for (let i = 0; i < rounds; i++) await run(one, 'DEL', podName(one.name, i));

	const mine = median(samples.get('manx') ?? []);
	for (const [name, values] of samples) {
		const [p50, p90] = [median(values), median(values, 0.9)].map((ms) => ms.toFixed(2).padStart(6));
		const ratio = name === 'manx' ? '' : `   ${(median(values) / mine).toFixed(1)} times manx`;
		console.log(`ADD by ${name.padEnd(8)}  p50 ${p50} ms  p90 ${p90} ms${ratio}`);
	}
} finally {
	for (const { shell } of contestants) shell.close();
	if (felix !== undefined && felix.exitCode === null) {
		const ended = new Promise((resolve) => felix?.once('exit', resolve));
		felix.kill();
		await ended;
	}
	for (const name of namespaces) ip('netns', 'del', name);
	rmSync(directory, { recursive: true });
}
