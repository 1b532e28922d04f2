import { request } from 'node:http';
import { join } from 'node:path';
import { paths } from './lab-state.ts';
import { isBody, textAt } from './manifests.ts';
import { sleep } from './shell.ts';
import type { Daemon } from './supervised.ts';

/** The lab's side of a daemon's control socket: HTTP over a unix socket in its runDir. */

export type Answer = { readonly status: number; readonly body: unknown };

export const notRunning = 'it is not running';

/** Status 0: the daemon could not be asked; the body is why. */
const ask = (socketPath: string, method: string, path: string, timeout: number): Promise<Answer> =>
	new Promise((resolve) => {
		const call = request({ socketPath, method, path, timeout, agent: false }, (response) => {
			let text = '';
			response.setEncoding('utf8').on('data', (chunk: string) => {
				text += chunk;
			});
			response.on('error', (error) => resolve({ status: 0, body: error.message }));
			response.on('end', () => {
				try {
					resolve({ status: response.statusCode ?? 0, body: JSON.parse(text) });
				} catch {
					resolve({ status: response.statusCode ?? 0, body: text });
				}
			});
		});
		call.on('timeout', () => call.destroy(new Error('it does not answer')));
		call.on('error', (error: NodeJS.ErrnoException) => {
			const down = error.code === 'ENOENT' || error.code === 'ECONNREFUSED';
			resolve({ status: 0, body: down ? notRunning : error.message });
		});
		call.end();
	});

const socketOf = (lab: string, node: string, daemon: Daemon): string => join(paths(lab).runDir(node), `${daemon}.sock`);

export type SessionStatus = {
	readonly name: string;
	readonly address: string;
	readonly asNumber: number;
	readonly state: string;
	readonly since?: string;
	readonly received?: number;
	readonly advertised?: number;
	readonly lastError?: string;
};

/** An object refused, or (without a source) one that is taken with a reservation, such as a podCIDR another node has. */
export type Refusal = {
	readonly source?: string;
	readonly object: string;
	readonly field: string;
	readonly reason: string;
};

/** What the lab uses of a daemon's `GET /status`. */
export type DaemonStatus = {
	readonly inSync: boolean;
	readonly generation: number;
	readonly lastError?: string | null;
	readonly sessions?: readonly SessionStatus[];
	readonly refusals?: readonly Refusal[];
	readonly problems?: readonly Refusal[];
	readonly listenErrors?: readonly string[];
};

/** A daemon's status, or why there is none. */
export const statusOf = async (lab: string, node: string, daemon: Daemon): Promise<DaemonStatus | string> => {
	const answer = await ask(socketOf(lab, node, daemon), 'GET', '/status', 2000);
	if (answer.status === 200 && isBody(answer.body)) return answer.body as DaemonStatus;
	return typeof answer.body === 'string' && answer.body !== '' ? answer.body : `it answers ${answer.status}`;
};

/**
 * Waits until the daemon has applied `generation` and read it back from the kernel. Undefined when it has; else why
 * not. A daemon that is away is asked again until `timeout` milliseconds are over.
 */
export const waitFor = async (
	lab: string,
	node: string,
	daemon: Daemon,
	generation: number,
	timeout: number,
): Promise<string | undefined> => {
	const deadline = performance.now() + timeout;
	for (;;) {
		const left = Math.max(1, Math.round(deadline - performance.now()));
		const path = `/wait?generation=${generation}&timeout=${left}`;
		const { status, body } = await ask(socketOf(lab, node, daemon), 'POST', path, left + 2000);
		if (status === 200 && isBody(body) && body.ok === true) return undefined;
		const reason = isBody(body) ? textAt(body, 'reason') : typeof body === 'string' ? body : '';
		// Only a daemon that is away is worth asking again: one that answers has used up the time itself.
		if (status !== 0 || performance.now() >= deadline) return reason || `it answers ${status}`;
		await sleep(50);
	}
};
