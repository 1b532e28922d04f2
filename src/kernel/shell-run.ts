import { type ChildProcessWithoutNullStreams, spawn } from 'node:child_process';
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Run, RunResult } from './run.ts';

/**
 * Runs programs as children of one small shell that stays: what a fork costs grows with the process that forks, and a
 * daemon of 100 MB pays several milliseconds with its event loop stopped, a shell less than one. Input and output go by
 * files in `folder` (on a tmpfs best). A shell runs one program at a time; there are two of them, so that the programs of
 * both families, which mostly wait for the kernel, go side by side.
 */
export type ShellRunOptions = {
	/** Made if needed; nobody else's. */
	readonly folder: string;
	/** After this the shell and what it runs are killed; the next call has another. 30 s when absent. */
	readonly timeoutMs?: number;
};

const quote = (word: string): string => `'${word.replaceAll("'", "'\\''")}'`;

export const createShellRun = ({ folder, timeoutMs }: ShellRunOptions): { run: Run; close: () => void } => {
	const limit = timeoutMs === undefined ? {} : { timeoutMs };
	// What a killed daemon began may still run, and read and write its files: they are taken out of its way, not used again.
	rmSync(folder, { recursive: true, force: true });
	const own = join(folder, `${process.pid}-${Date.now()}`);
	const shells = ['1', '2'].map((name) => ({ ...createShell({ folder: join(own, name), ...limit }), waiting: 0 }));
	return {
		run: async (file, args, text) => {
			const shell = shells.reduce((best, one) => (one.waiting < best.waiting ? one : best));
			shell.waiting++;
			const result = await shell.run(file, args, text);
			shell.waiting--;
			return result;
		},
		close: () => {
			for (const shell of shells) shell.close();
		},
	};
};

const createShell = ({ folder, timeoutMs = 30_000 }: ShellRunOptions): { run: Run; close: () => void } => {
	mkdirSync(folder, { recursive: true, mode: 0o700 });
	const input = join(folder, 'in');
	const output = join(folder, 'out');
	const errors = join(folder, 'err');
	let shell: ChildProcessWithoutNullStreams | undefined;
	/** Ends the wait for the shell: with the status it printed, or undefined when it ended itself. */
	let answer: (status: number | undefined) => void = () => {};
	let turn: Promise<unknown> = Promise.resolve();

	const start = (): ChildProcessWithoutNullStreams => {
		const child = spawn('/bin/sh', [], { stdio: 'pipe', detached: true });
		let said = '';
		child.stdout.on('data', (data: Buffer) => {
			said += data.toString();
			if (!said.endsWith('\n')) return;
			const status = Number(said);
			said = '';
			answer(status);
		});
		child.stderr.resume();
		child.stdin.on('error', () => {});
		const ended = (): void => {
			if (shell !== child) return;
			shell = undefined;
			answer(undefined);
		};
		child.on('error', ended);
		child.on('exit', ended);
		child.unref();
		for (const stream of [child.stdin, child.stdout, child.stderr]) (stream as unknown as { unref(): void }).unref();
		return child;
	};

	const kill = (): void => {
		const child = shell;
		shell = undefined;
		if (child?.pid === undefined) return;
		try {
			// The whole group: a program left behind would go on holding its lock.
			process.kill(-child.pid, 'SIGKILL');
		} catch {}
	};

	const runOne: Run = async (file, args, text) => {
		let result: RunResult | undefined;
		try {
			if (text !== undefined) writeFileSync(input, text);
			shell ??= start();
			const child = shell;
			const status = await new Promise<number | undefined | 'timeout'>((resolve) => {
				const timer = setTimeout(() => resolve('timeout'), timeoutMs);
				answer = (value) => {
					clearTimeout(timer);
					resolve(value);
				};
				const from = text === undefined ? '/dev/null' : quote(input);
				const command = [file, ...args].map(quote).join(' ');
				child.stdin.write(`${command} <${from} >${quote(output)} 2>${quote(errors)}; echo $?\n`);
			});
			answer = () => {};
			if (status === 'timeout') {
				kill();
				const stderr = `${file} did not end within ${timeoutMs / 1000} s and was killed. Is something else holding its lock?\n`;
				result = { code: 124, stdout: '', stderr };
			} else if (status === undefined) {
				result = { code: 128, stdout: '', stderr: `the shell that ran ${file} was ended by somebody\n` };
			} else {
				result = { code: status, stdout: readFileSync(output, 'utf8'), stderr: readFileSync(errors, 'utf8') };
			}
		} catch (error) {
			result = { code: 126, stdout: '', stderr: `${file} could not be run: ${(error as Error).message}\n` };
		}
		return result;
	};

	return {
		run: (file, args, text) => {
			const result = turn.then(() => runOne(file, args, text));
			turn = result;
			return result;
		},
		close: kill,
	};
};
