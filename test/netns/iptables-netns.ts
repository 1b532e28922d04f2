/** A network namespace of a test's own with an injected `Run` into it that counts what is run. */
import { spawn, spawnSync } from 'node:child_process';
import { rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Run } from 'iptables-wrapper';

export type TestNetns = {
	readonly name: string;
	readonly run: Run;
	/** Programs run through `run`, in order. */
	readonly calls: string[];
	/** The xtables lock of this namespace's commands. */
	readonly lockFile: string;
	/** Runs a shell command inside; fails the test on a status other than 0. Not counted. */
	readonly sh: (command: string) => string;
	readonly remove: () => void;
};

let count = 0;

export const createTestNetns = (): TestNetns => {
	const name = `manxt-${process.pid}-ipt${++count}`;
	const lockFile = join(tmpdir(), `${name}.lock`);
	const env = { ...process.env, XTABLES_LOCKFILE: lockFile };
	const calls: string[] = [];
	const made = spawnSync('ip', ['netns', 'add', name], { encoding: 'utf8' });
	if (made.status !== 0) throw new Error(`cannot make netns ${name}: ${made.stderr} (run as root)`);
	const run: Run = (file, args, input) =>
		new Promise((resolve, reject) => {
			calls.push(file);
			const child = spawn('ip', ['netns', 'exec', name, file, ...args], { env });
			let stdout = '';
			let stderr = '';
			child.stdout.setEncoding('utf8').on('data', (chunk: string) => {
				stdout += chunk;
			});
			child.stderr.setEncoding('utf8').on('data', (chunk: string) => {
				stderr += chunk;
			});
			child.on('error', reject);
			child.on('close', (code) => resolve({ code: code ?? 128, stdout, stderr }));
			child.stdin.on('error', () => undefined);
			child.stdin.end(input ?? '');
		});
	const sh = (command: string): string => {
		const result = spawnSync('ip', ['netns', 'exec', name, 'sh', '-c', command], { env, encoding: 'utf8' });
		if (result.status !== 0) throw new Error(`"${command}" failed: ${result.stderr}`);
		return result.stdout;
	};
	const remove = (): void => {
		spawnSync('ip', ['netns', 'delete', name]);
		rmSync(lockFile, { force: true });
	};
	sh('ip link set lo up');
	return { name, run, calls, lockFile, sh, remove };
};
