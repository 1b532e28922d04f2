import { chmodSync, lstatSync, mkdirSync, unlinkSync } from 'node:fs';
import { connect, createServer, type Socket } from 'node:net';
import { dirname } from 'node:path';
import type { Logger } from '../../src/logging.ts';
import { cniCodes, cniError, errorReply } from './errors.ts';
import { answerVersion } from './netconf.ts';
import { type CniReply, type CniRequest, decodeRequest, encodeReply } from './protocol.ts';

/**
 * The unix socket the CNI plugin (shim.c) asks. One request a connection; a request that is not understood, or whose
 * handler throws, is answered as a CNI error and disturbs no other.
 */
export type CniServer = {
	/** Fails when another felix answers on the socket, or the path is something else than a socket. */
	readonly listen: () => Promise<{ readonly ok: true } | { readonly ok: false; readonly error: string }>;
	/** Stops accepting, waits for requests under way to be answered, removes the socket. */
	readonly close: () => Promise<void>;
};

/** A peer that connects and says nothing is let go after this. */
const requestTimeoutMs = 30_000;

export const createCniServer = (options: {
	readonly socketPath: string;
	readonly handler: (request: CniRequest) => Promise<CniReply>;
	readonly log: Logger;
}): CniServer => {
	const { socketPath, handler, log } = options;
	const waiting = new Set<Socket>();

	const answer = async (socket: Socket, request: CniRequest): Promise<void> => {
		const command = request.env.get('CNI_COMMAND') ?? '';
		let reply: CniReply;
		try {
			reply = await handler(request);
		} catch (error) {
			log.error({ command, error: error instanceof Error ? error.stack : String(error) }, 'a CNI request hit a bug');
			const details = `${String(error)}: this is a bug in felix; its log has the details`;
			reply = errorReply(answerVersion(request.stdin), cniError(cniCodes.ioFailure, 'internal error', details));
		}
		socket.end(encodeReply(reply));
	};

	const server = createServer({ allowHalfOpen: true }, (socket) => {
		let received: Buffer = Buffer.alloc(0);
		waiting.add(socket);
		socket.on('close', () => waiting.delete(socket));
		socket.on('error', (error) => log.debug({ error: String(error) }, 'the CNI plugin went away'));
		socket.setTimeout(requestTimeoutMs, () => socket.destroy());
		socket.on('end', () => {
			if (waiting.has(socket)) socket.end();
		});
		socket.on('data', (chunk) => {
			received = received.length === 0 ? chunk : Buffer.concat([received, chunk]);
			const decoded = decodeRequest(received);
			if (decoded.type === 'incomplete') return;
			socket.setTimeout(0);
			if (decoded.type === 'malformed') {
				log.warn({ reason: decoded.reason }, 'refused a request on the CNI socket');
				socket.destroy();
				return;
			}
			waiting.delete(socket);
			socket.removeAllListeners('data');
			socket.resume();
			void answer(socket, decoded.request);
		});
	});

	const listen: CniServer['listen'] = async () => {
		mkdirSync(dirname(socketPath), { recursive: true });
		const occupied = await clearStale(socketPath);
		if (occupied !== undefined) return { ok: false, error: occupied };
		return new Promise((resolve) => {
			server.once('error', (error) => {
				resolve({ ok: false, error: `Listening on ${socketPath} failed: ${error.message}.` });
			});
			// bind(2) happens within listen(): from its first moment on the socket is root's alone.
			const umask = process.umask(0o177);
			server.listen(socketPath, () => {
				chmodSync(socketPath, 0o600);
				resolve({ ok: true });
			});
			process.umask(umask);
		});
	};

	return {
		listen,
		close: () =>
			new Promise((resolve) => {
				server.close(() => resolve());
				for (const socket of waiting) socket.destroy();
			}),
	};
};

/** Removes the socket of a felix that died. Returns why it must stay. */
const clearStale = async (path: string): Promise<string | undefined> => {
	const stat = lstatSync(path, { throwIfNoEntry: false });
	if (stat === undefined) return undefined;
	if (!stat.isSocket()) return `${path} exists and is not a socket: remove it or set another runDir.`;
	const alive = await new Promise<boolean>((resolve) => {
		const probe = connect(path);
		probe.once('connect', () => {
			probe.destroy();
			resolve(true);
		});
		probe.once('error', () => resolve(false));
	});
	if (alive) return `Another felix answers on ${path}: stop it first, or set another runDir.`;
	unlinkSync(path);
	return undefined;
};
