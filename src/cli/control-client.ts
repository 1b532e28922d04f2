import { type IncomingMessage, request } from 'node:http';
import { join } from 'node:path';
import { loadSettings } from '../config.ts';

/** A daemon's control socket, for commands that ask a running daemon. */

export type SocketOptions = { readonly config?: string; readonly socket?: string };

type Daemon = 'felix' | 'bird';

/** Path of a daemon's control socket by option or settings, or why there is none. */
export const daemonSocket = (
	daemon: Daemon,
	options: SocketOptions,
): { readonly path: string } | { readonly error: string } => {
	if (options.socket !== undefined) return { path: options.socket };
	const loaded = loadSettings(options.config, process.env);
	return loaded.ok ? { path: join(loaded.settings.runDir, `${daemon}.sock`) } : { error: loaded.error };
};

export const felixSocket = (options: SocketOptions): { readonly path: string } | { readonly error: string } =>
	daemonSocket('felix', options);

/** The answer as it begins to come, or why nobody answers. */
export const askDaemon = (
	socketPath: string,
	path: string,
	{ daemon = 'felix', method = 'GET' }: { readonly daemon?: Daemon; readonly method?: 'GET' | 'POST' } = {},
): Promise<IncomingMessage | string> =>
	new Promise((resolve) => {
		const call = request({ socketPath, path, method, agent: false }, resolve);
		call.on('error', (error: NodeJS.ErrnoException) => {
			const down = error.code === 'ENOENT' || error.code === 'ECONNREFUSED';
			resolve(
				down
					? `No daemon answers at ${socketPath}. Is manx ${daemon} running on this node? Else give --socket PATH.`
					: `The daemon at ${socketPath} cannot be asked: ${error.message}`,
			);
		});
		call.end();
	});

export const readBody = async (answer: IncomingMessage): Promise<string> => {
	let text = '';
	for await (const chunk of answer.setEncoding('utf8')) text += String(chunk);
	return text;
};
