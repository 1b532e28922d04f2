import { spawn } from 'node:child_process';

/**
 * Programs run by the lab. Nothing goes through a shell unless a script is asked for by name.
 */

/** An expected failure with a message for a person: what, why and what to do next. `lab` prints it and exits with 1. */
export class LabError extends Error {}

export type Outcome = {
	readonly ok: boolean;
	/** Exit status; 128 + signal number as a shell gives it, -1 when the program could not be started. */
	readonly status: number;
	readonly stdout: string;
	readonly stderr: string;
};

export type RunOptions = {
	readonly input?: string;
	readonly env?: NodeJS.ProcessEnv;
	/** Milliseconds after which the program is killed. */
	readonly timeout?: number;
};

export const run = (program: string, args: readonly string[], options: RunOptions = {}): Promise<Outcome> =>
	new Promise((resolve) => {
		const child = spawn(program, args, {
			stdio: ['pipe', 'pipe', 'pipe'],
			...(options.env === undefined ? {} : { env: options.env }),
			...(options.timeout === undefined ? {} : { timeout: options.timeout, killSignal: 'SIGKILL' }),
		});
		let stdout = '';
		let stderr = '';
		child.stdout.setEncoding('utf8').on('data', (text: string) => {
			stdout += text;
		});
		child.stderr.setEncoding('utf8').on('data', (text: string) => {
			stderr += text;
		});
		// A program that ends without reading its input is judged by its exit status, not by EPIPE.
		child.stdin.on('error', () => {});
		child.stdin.end(options.input ?? '');
		child.on('error', (error) => resolve({ ok: false, status: -1, stdout, stderr: error.message }));
		child.on('close', (code, signal) => {
			const status = code ?? 128 + (signal === 'SIGKILL' ? 9 : 15);
			resolve({ ok: status === 0, status, stdout, stderr });
		});
	});

/** Runs a program that has to work; throws a LabError saying what failed. */
export const mustRun = async (program: string, args: readonly string[], options: RunOptions = {}): Promise<string> => {
	const outcome = await run(program, args, options);
	if (!outcome.ok) {
		const said = outcome.stderr.trim() || outcome.stdout.trim() || `exit status ${outcome.status}`;
		throw new LabError(`${program} ${args.join(' ')} failed: ${said}`);
	}
	return outcome.stdout;
};

export const inNetns = (netns: string, argv: readonly string[]): readonly [string, readonly string[]] => [
	'ip',
	['netns', 'exec', netns, ...argv],
];

/** `ip -batch` over `lines`, in a namespace or (for `netns add`) in none; one process however many lines. */
export const ipBatch = async (netns: string | undefined, lines: readonly string[]): Promise<void> => {
	if (lines.length === 0) return;
	const args = [...(netns === undefined ? [] : ['-n', netns]), '-batch', '-'];
	const outcome = await run('ip', args, { input: `${lines.join('\n')}\n` });
	if (outcome.ok) return;
	const line = /Command failed -:(\d+)/.exec(outcome.stderr)?.[1];
	const command = line === undefined ? '' : ` at "${lines[Number(line) - 1]}"`;
	throw new LabError(`ip ${args.join(' ')}${command} failed: ${outcome.stderr.trim()}`);
};

/** Like Promise.all over `task`, at most `most` at a time, results in order. */
export const pool = async <T, R>(
	items: readonly T[],
	most: number,
	task: (item: T, index: number) => Promise<R>,
): Promise<R[]> => {
	const results: R[] = new Array(items.length);
	let next = 0;
	const worker = async () => {
		while (next < items.length) {
			const index = next++;
			results[index] = await task(items[index] as T, index);
		}
	};
	await Promise.all(Array.from({ length: Math.min(most, items.length) }, worker));
	return results;
};

export const sleep = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

/**
 * Polls until `attempt` answers undefined (done) or `timeout` milliseconds are over; the last answer is the reason it
 * is not done.
 */
export const until = async (
	timeout: number,
	attempt: () => Promise<string | undefined>,
	interval = 50,
): Promise<string | undefined> => {
	const deadline = performance.now() + timeout;
	for (;;) {
		const reason = await attempt();
		if (reason === undefined || performance.now() >= deadline) return reason;
		await sleep(interval);
	}
};
