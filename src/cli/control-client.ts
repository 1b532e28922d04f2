import { type IncomingMessage, request } from 'node:http';
import { join } from 'node:path';
import { loadSettings } from '../config.ts';

/** A daemon's control socket, for commands that ask a running daemon. */

export type SocketOptions = { readonly config?: string; readonly socket?: string };

/** Path of felix's control socket by option or settings, or why there is none. */
export const felixSocket = (options: SocketOptions): { readonly path: string } | { readonly error: string } => {
	if (options.socket !== undefined) return { path: options.socket };
	const loaded = loadSettings(options.config, process.env);
	return loaded.ok ? { path: join(loaded.settings.runDir, 'felix.sock') } : { error: loaded.error };
};

/** The answer as it begins to come, or why nobody answers. */
export const askDaemon = (socketPath: string, path: string): Promise<IncomingMessage | string> =>
	new Promise((resolve) => {
		const call = request({ socketPath, path, agent: false }, resolve);
		call.on('error', (error: NodeJS.ErrnoException) => {
			const down = error.code === 'ENOENT' || error.code === 'ECONNREFUSED';
			resolve(
				down
					? `No daemon answers at ${socketPath}. Is manx felix running on this node? Else give --socket PATH.`
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
