/**
 * A full start of `manx felix` beside a large cluster: 110 pods wired on the node, 500 policies, 100,000 pods in the API.
 * From starting the process to everything written and read back from the kernel, and the most memory it had resident.
 * The first start finds an empty kernel (and then the pods are wired through the CNI), the others what is in force
 * already. PODS, POLICIES, LOCAL, BYTES (of a pod as the API sends it), STARTS; OPTIONS of V8, with which felix
 * ends by SIGTERM (profiles).
 */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { request } from 'node:http';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { stringify } from 'yaml';
import { buildShim } from '../../felix/cni/build-shim.ts';
import { buildProgram, felixOptions, nodeOptions } from '../../src/image/context.ts';
import { inNetns } from '../../src/kernel/netns.ts';

const number = (name: string, otherwise: number): number => Number(process.env[name] ?? otherwise);
const size = { PODS: number('PODS', 100_000), POLICIES: number('POLICIES', 500), LOCAL: number('LOCAL', 110) };
const bytes = number('BYTES', 4096);
const starts = number('STARTS', 3);

if (process.getuid?.() !== 0) {
	console.error('This benchmark makes network namespaces: run it as root.');
	process.exit(1);
}

const root = join(import.meta.dirname, '../..');
const directory = mkdtempSync('/run/manx-bench-');
const runDir = join(directory, 'run');
const config = join(directory, 'felix.yaml');
const netns = `manxb-${process.pid}`;
const pods = Array.from({ length: size.LOCAL }, (_, i) => `${netns}-${i}`);
const made: string[] = [];
const ip = (...args: readonly string[]): string => execFileSync('ip', args, { encoding: 'utf8' });
const children: ChildProcess[] = [];
const inNode = (file: string, args: readonly string[], env: NodeJS.ProcessEnv = process.env): ChildProcess => {
	const child = inNetns(`/run/netns/${netns}`, () => spawn(file, args, { env, stdio: ['pipe', 'pipe', 'inherit'] }));
	children.push(child);
	return child;
};

/** As the image has it, with the native modules where they are found. */
const bundle = join(root, 'node_modules', `.manx-bench-${process.pid}`);
const options = [...nodeOptions, ...felixOptions];

const startServer = async (): Promise<string> => {
	const env = { ...process.env, BYTES: `${bytes}` };
	for (const [name, value] of Object.entries(size)) Object.assign(env, { [name]: `${value}` });
	const child = inNode(process.execPath, [join(import.meta.dirname, 'lib/api-server.ts')], env);
	const port = await new Promise<string>((resolve) => child.stdout?.once('data', (text) => resolve(`${text}`.trim())));
	return `http://127.0.0.1:${port}`;
};

const settled = (): Promise<boolean> =>
	new Promise((resolve) => {
		const path = '/wait?generation=0&timeout=1000';
		const call = request({ socketPath: join(runDir, 'felix.sock'), method: 'POST', path, agent: false }, (response) => {
			response.resume().on('end', () => resolve(response.statusCode === 200));
		});
		call.on('error', () => resolve(false)).end();
	});

const measureStart = async (): Promise<{ felix: ChildProcess; ms: number; peak: number; now: number }> => {
	const begin = performance.now();
	const argv = [
		...options,
		...(process.env.OPTIONS?.split(' ') ?? []),
		join(bundle, 'main.js'),
		'felix',
		'--config',
		config,
	];
	const felix = inNode(process.execPath, argv, { ...process.env, MALLOC_ARENA_MAX: '1' });
	if (process.env.OPTIONS === undefined) felix.stdout?.resume();
	else felix.stdout?.pipe(process.stdout);
	while (!(await settled())) {
		if (felix.exitCode !== null) throw new Error('felix ended');
		if (performance.now() - begin > 120_000) throw new Error('felix is not in sync after two minutes');
		await delay(20);
	}
	const ms = performance.now() - begin;
	const status = readFileSync(`/proc/${felix.pid}/status`, 'utf8');
	const kilobytes = (name: string): number => Number(new RegExp(`${name}:\\s+(\\d+)`).exec(status)?.[1]) / 1024;
	return { felix, ms, peak: kilobytes('VmHWM'), now: kilobytes('VmRSS') };
};

/** Milliseconds so far, without children: of both times in /proc/PID/stat, which count hundredths of a second. */
const cpuOf = ({ pid }: ChildProcess): number => {
	const fields = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1]?.split(' ') ?? [];
	return (Number(fields[11]) + Number(fields[12])) * 10;
};

const wire = (shim: string): void => {
	for (const [i, pod] of pods.entries()) {
		ip('netns', 'add', pod);
		made.push(pod);
		execFileSync('ip', ['netns', 'exec', netns, shim], {
			input: JSON.stringify({ cniVersion: '1.1.0', name: 'manx', type: 'manx', runDir }),
			env: {
				...process.env,
				CNI_COMMAND: 'ADD',
				CNI_CONTAINERID: pod,
				CNI_IFNAME: 'eth0',
				CNI_NETNS: `/run/netns/${pod}`,
				CNI_PATH: '/usr/lib/cni',
				CNI_ARGS: `IgnoreUnknown=1;K8S_POD_NAMESPACE=ns${i % Math.ceil(size.POLICIES / 5)};K8S_POD_NAME=pod${i}`,
			},
		});
	}
};

const end = async (child: ChildProcess, signal: NodeJS.Signals): Promise<void> => {
	if (child.exitCode !== null || child.signalCode !== null) return;
	const ended = new Promise((resolve) => child.once('exit', resolve));
	child.kill(signal);
	await ended;
};

try {
	ip('netns', 'add', netns);
	made.push(netns);
	ip('-n', netns, 'link', 'set', 'lo', 'up');
	ip('-n', netns, 'link', 'add', 'uplink', 'type', 'bridge');
	ip('-n', netns, 'addr', 'add', '192.0.2.254/16', 'dev', 'uplink');
	ip('-n', netns, 'link', 'set', 'uplink', 'up');
	const shim = join(directory, 'manx');
	const built = buildShim(shim);
	if (!built.ok) throw new Error(built.error);
	await buildProgram(bundle);
	const kubeconfig = join(directory, 'kubeconfig');
	const server = await startServer();
	const cluster = {
		apiVersion: 'v1',
		kind: 'Config',
		clusters: [{ name: 'bench', cluster: { server, 'insecure-skip-tls-verify': true } }],
		users: [{ name: 'bench', user: { token: 'bench' } }],
		contexts: [{ name: 'bench', context: { cluster: 'bench', user: 'bench' } }],
		'current-context': 'bench',
	};
	writeFileSync(kubeconfig, stringify(cluster));
	const datastore = { kind: 'kubernetes', kubeconfig };
	writeFileSync(
		config,
		stringify({ nodeName: 'n0', datastore, runDir, mtu: 1500, logLevel: 'warn', metricsAddress: '' }),
	);
	console.log(
		`felix beside ${size.PODS} pods of ${bytes} bytes as JSON and ${size.POLICIES} policies, ${size.LOCAL} pods wired here`,
	);
	for (let i = 0; i < starts; i++) {
		const { felix, ms, peak, now } = await measureStart();
		const what = i === 0 ? 'nothing in the kernel yet' : 'all in force already';
		console.log(
			`  in sync after ${(ms / 1000).toFixed(2).padStart(6)} s, ${peak.toFixed(0).padStart(4)} MB at most, ${now.toFixed(0).padStart(4)} MB then   (${what})`,
		);
		if (i === 0) wire(shim);
		if (i === starts - 1) {
			const before = cpuOf(felix);
			await delay(20_000);
			console.log(`  idle: ${((cpuOf(felix) - before) / 20).toFixed(1)} ms of CPU a second`);
		}
		await end(felix, process.env.OPTIONS === undefined ? 'SIGKILL' : 'SIGTERM');
	}
} finally {
	for (const child of children) await end(child, 'SIGTERM');
	for (const name of made) ip('netns', 'del', name);
	rmSync(bundle, { recursive: true, force: true });
	rmSync(directory, { recursive: true });
}
