import { createServer, type Server } from 'node:http';
import type { Logger } from '../logging.ts';
import type { ListenAddress } from '../net/listen-address.ts';

/**
 * What a kubelet and Prometheus ask a daemon, over plain HTTP: `/livez`, `/readyz` (each says why not) and `/metrics`.
 * Nothing in it can be changed by asking. An address that is taken is tried again, and stops nobody: the daemon's work
 * does not depend on being watched.
 */

export type ProbeHandlers = {
	/** Why the daemon is not ready, in words; empty when it is. */
	readonly unready: () => readonly string[];
	/** In Prometheus' text format. */
	readonly metrics: () => Promise<string>;
};

const retryDelay = 2000;

export const startProbeServer = (address: ListenAddress, handlers: ProbeHandlers, log: Logger) => {
	let timer: NodeJS.Timeout | undefined;
	let complained = false;
	const server: Server = createServer((request, response) => {
		const answer = (status: number, text: string, type = 'text/plain; charset=utf-8'): void => {
			response.writeHead(status, { 'content-type': type });
			response.end(text);
		};
		if (request.method !== 'GET' && request.method !== 'HEAD') return answer(405, 'only GET is served\n');
		const { pathname } = new URL(request.url ?? '/', 'http://local');
		if (pathname === '/livez') return answer(200, 'ok\n');
		if (pathname === '/readyz') {
			const reasons = handlers.unready();
			return reasons.length === 0 ? answer(200, 'ok\n') : answer(503, `not ready: ${reasons.join('; ')}\n`);
		}
		if (pathname === '/metrics') {
			handlers.metrics().then(
				(text) => answer(200, text, 'text/plain; version=0.0.4; charset=utf-8'),
				(error: Error) => answer(500, `${error.message}\n`),
			);
			return;
		}
		answer(404, 'there is /livez, /readyz and /metrics\n');
	});
	const listen = (): void => {
		server.listen(address.port, address.host);
	};
	server.on('error', (error: NodeJS.ErrnoException) => {
		const where = `${address.host} port ${address.port}`;
		if (!complained) {
			log.warn(
				{},
				`probes and metrics cannot be served on ${where}: ${error.message}. Set metricsAddress; tried again.`,
			);
		}
		complained = true;
		timer = setTimeout(listen, retryDelay);
		timer.unref();
	});
	server.on('listening', () => {
		complained = false;
	});
	listen();
	return {
		close: (): void => {
			clearTimeout(timer);
			server.close();
			server.closeAllConnections();
		},
	};
};
