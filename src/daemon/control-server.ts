import { rmSync } from 'node:fs';
import { createServer, type Server, type ServerResponse } from 'node:http';
import type { Logger } from '../logging.ts';

/**
 * A daemon's own word on itself, as HTTP over a unix socket: `GET /status`, and `POST /wait?generation=N&timeout=MS`,
 * which answers when all objects of that generation are in the kernel and were read back from it.
 */

export type WaitResult = { readonly ok: true } | { readonly ok: false; readonly reason: string };

/** Answers a request by itself; a rejection is answered with 500. */
export type ControlRoute = (query: URLSearchParams, response: ServerResponse) => Promise<void>;

/** By method and path: `GET /explain`. */
export type ControlRoutes = Readonly<Record<string, ControlRoute>>;

export type ControlHandlers = {
	readonly status: () => object;
	/** Whether everything up to the generation is applied and found in the kernel; asked again until the time is over. */
	readonly settled: (generation: number) => Promise<WaitResult>;
	/** What this daemon answers beside. */
	readonly routes?: ControlRoutes;
};

const pollInterval = 50;

export const startControlServer = async (path: string, handlers: ControlHandlers, log: Logger): Promise<Server> => {
	const wait = async (generation: number, deadline: number): Promise<WaitResult> => {
		for (;;) {
			const result = await handlers.settled(generation);
			if (result.ok || Date.now() >= deadline) return result;
			await new Promise((resolve) => setTimeout(resolve, pollInterval));
		}
	};
	const server = createServer((request, response) => {
		const url = new URL(request.url ?? '/', 'http://local');
		const answer = (code: number, body: object): void => {
			response.writeHead(code, { 'content-type': 'application/json' });
			response.end(`${JSON.stringify(body)}\n`);
		};
		if (request.method === 'GET' && url.pathname === '/status') return answer(200, handlers.status());
		if (request.method === 'POST' && url.pathname === '/wait') {
			const generation = Number(url.searchParams.get('generation') ?? 0);
			const timeout = Number(url.searchParams.get('timeout') ?? 30_000);
			if (!Number.isSafeInteger(generation) || !Number.isSafeInteger(timeout)) {
				return answer(400, { ok: false, reason: 'generation and timeout must be whole numbers' });
			}
			wait(generation, Date.now() + timeout).then(
				(result) => answer(result.ok ? 200 : 504, result),
				(error: Error) => answer(500, { ok: false, reason: error.message }),
			);
			return;
		}
		const routes = handlers.routes ?? {};
		const name = `${request.method} ${url.pathname}`;
		const route = Object.hasOwn(routes, name) ? routes[name] : undefined;
		if (route === undefined) {
			const known = ['GET /status', 'POST /wait', ...Object.keys(routes)].join(', ');
			return answer(404, { ok: false, reason: `there is no ${name}; there is ${known}` });
		}
		route(url.searchParams, response).catch((error: Error) => {
			if (response.headersSent) response.destroy();
			else answer(500, { ok: false, reason: error.message });
		});
	});
	server.on('error', (error) => log.error({ path }, `the control socket ${path} failed: ${error.message}`));
	rmSync(path, { force: true });
	await new Promise<void>((resolve) => server.listen(path, resolve));
	return server;
};
