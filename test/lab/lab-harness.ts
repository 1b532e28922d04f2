import assert from 'node:assert/strict';
import { type ChildProcessWithoutNullStreams, spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { request } from 'node:http';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { createRun, type RunResult } from '../../src/kernel/run.ts';

/** A whole lab, driven as its users do: by the command line. */

const root = join(import.meta.dirname, '../..');
const program = createRun({ timeoutMs: 120_000 });

export type LabStatus = {
	readonly nodes: readonly { name: string; netns: string; addresses: string[]; podCIDRs: string[] }[];
	readonly pods: readonly { namespace: string; name: string; node: string; netns: string; ips: string[] }[];
	readonly outside: readonly { name: string; netns: string; addresses: string[] }[];
	readonly routers: readonly { name: string; netns: string }[];
};

export type LabHarness = {
	readonly name: string;
	readonly state: string;
	/** Runs `lab ARGS --name NAME`; `manifests` go in by `-f -`. Fails the test when it fails, unless told not to. */
	readonly lab: (args: readonly string[], manifests?: string, mayFail?: boolean) => Promise<RunResult>;
	readonly status: () => Promise<LabStatus>;
	readonly inNetns: (netns: string, ...argv: string[]) => Promise<RunResult>;
	/** Answer of a daemon's control socket, or undefined while it is not there. */
	readonly daemonStatus: (node: string, daemon: 'felix' | 'bird') => Promise<Record<string, unknown> | undefined>;
	readonly pidOf: (node: string, daemon: 'felix' | 'bird') => number | undefined;
	readonly log: (node: string, daemon: 'felix' | 'bird') => string;
	readonly down: () => Promise<void>;
};

export const labHarness = (use: string): LabHarness => {
	const name = `t${process.pid}${use}`;
	const state = `/run/manx-lab/${name}`;
	const lab: LabHarness['lab'] = async (args, manifests, mayFail = false) => {
		const [command = '', ...rest] = args;
		const result = await program(
			process.execPath,
			[join(root, 'src/main.ts'), 'lab', command, '--name', name, ...rest],
			manifests,
		);
		if (!mayFail) assert.equal(result.code, 0, `lab ${args.join(' ')}:\n${result.stdout}${result.stderr}`);
		return result;
	};
	return {
		name,
		state,
		lab,
		status: async () => JSON.parse((await lab(['status', '-o', 'json'])).stdout) as LabStatus,
		inNetns: (netns, ...argv) => program('ip', ['netns', 'exec', netns, ...argv]),
		daemonStatus: (node, daemon) =>
			new Promise((resolve) => {
				const asked = request({ socketPath: `${state}/${node}/run/${daemon}.sock`, path: '/status' }, (response) => {
					let text = '';
					response.on('data', (chunk: Buffer) => {
						text += chunk.toString();
					});
					response.on('end', () => resolve(JSON.parse(text) as Record<string, unknown>));
				});
				asked.on('error', () => resolve(undefined));
				asked.end();
			}),
		pidOf: (node, daemon) => {
			try {
				return Number(readFileSync(`${state}/${node}/${daemon}.pid`, 'utf8'));
			} catch {
				return undefined;
			}
		},
		log: (node, daemon) => readFileSync(`${state}/${node}/${daemon}.log`, 'utf8'),
		down: async () => {
			await lab(['down'], undefined, true);
		},
	};
};

/** Waits for a condition; the message of the last failure tells what was missing. */
export const until = async (
	what: string,
	seconds: number,
	condition: () => Promise<boolean | string>,
): Promise<void> => {
	const deadline = Date.now() + seconds * 1000;
	for (;;) {
		const result = await condition();
		if (result === true) return;
		assert.ok(
			Date.now() < deadline,
			`${what}: not within ${seconds} s${typeof result === 'string' ? `: ${result}` : ''}`,
		);
		await new Promise((resolve) => setTimeout(resolve, 50));
	}
};

/** Datagrams that arrived in a namespace and that no program there read in time, as on a busy machine: not lost on the way. */
export const unreadIn = async (harness: Pick<LabHarness, 'inNetns'>, netns: string): Promise<number> => {
	const { stdout } = await harness.inNetns(netns, 'nstat', '-asz', 'UdpRcvbufErrors', 'Udp6RcvbufErrors');
	return [...stdout.matchAll(/RcvbufErrors +(\d+)/g)].reduce((sum, [, count]) => sum + Number(count), 0);
};

export type Program = { readonly child: ChildProcessWithoutNullStreams; readonly finish: () => Promise<unknown> };

/** Starts traffic.ts in a namespace; `finish` ends it and gives what it printed. */
export const traffic = async (netns: string, ...args: string[]): Promise<Program> => {
	const argv = ['netns', 'exec', netns, process.execPath, join(import.meta.dirname, 'traffic.ts'), ...args];
	const child = spawn('ip', argv, { stdio: 'pipe' });
	const errors: string[] = [];
	child.stderr.on('data', (data: Buffer) => errors.push(data.toString()));
	const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
	const first = await lines.next();
	assert.equal(first.value, 'ready', errors.join(''));
	return {
		child,
		finish: async () => {
			child.stdin.end();
			const last = await lines.next();
			return JSON.parse(String(last.value)) as unknown;
		},
	};
};
