import { spawn } from 'node:child_process';

/** What a program said. `code` is its exit status; 127 when it could not be started, 124 when it took too long. */
export type RunResult = { readonly code: number; readonly stdout: string; readonly stderr: string };

/** Runs a program with text on stdin. Never throws: a program that cannot run is a result with a reason in `stderr`. */
export type Run = (file: string, args: readonly string[], input?: string) => Promise<RunResult>;

export type RunOptions = {
	/** Added to the environment of the daemon. */
	readonly env?: Readonly<Record<string, string>>;
	/** After this the program is killed, 30 s when absent. */
	readonly timeoutMs?: number;
};

export const createRun =
	({ env = {}, timeoutMs = 30_000 }: RunOptions = {}): Run =>
	(file, args, input = '') =>
		new Promise((resolve) => {
			const stdout: Buffer[] = [];
			const stderr: Buffer[] = [];
			let reason = '';
			let status: number | undefined;
			const finish = (code: number): void => {
				clearTimeout(timer);
				const said = Buffer.concat(stderr).toString();
				resolve({
					code: status ?? code,
					stdout: Buffer.concat(stdout).toString(),
					stderr: reason === '' ? said : `${said}${said === '' || said.endsWith('\n') ? '' : '\n'}${reason}\n`,
				});
			};
			const child = spawn(file, [...args], { env: { ...process.env, ...env }, stdio: 'pipe', detached: true });
			const timer = setTimeout(() => {
				status = 124;
				reason = `${file} did not end within ${timeoutMs / 1000} s and was killed. Is something else holding its lock?`;
				// The whole group: what a wrapper script started would go on holding the lock, and our pipes.
				if (child.pid !== undefined) {
					try {
						process.kill(-child.pid, 'SIGKILL');
					} catch {}
				}
				child.stdout.destroy();
				child.stderr.destroy();
			}, timeoutMs);
			child.on('error', (error: NodeJS.ErrnoException) => {
				status = error.code === 'EACCES' ? 126 : 127;
				reason =
					error.code === 'ENOENT'
						? `${file} was not found in PATH. Install it.`
						: `${file} could not be run: ${error.message}`;
				if (child.pid === undefined) finish(status);
			});
			child.stdout.on('data', (data: Buffer) => stdout.push(data));
			child.stderr.on('data', (data: Buffer) => stderr.push(data));
			// A program that does not read its input to the end (EPIPE) says why by its status.
			child.stdin.on('error', () => {});
			child.stdin.end(input);
			child.on('close', (code, signal) => {
				if (code === null && status === undefined) reason = `${file} was ended by ${signal}.`;
				finish(code ?? 128);
			});
		});
