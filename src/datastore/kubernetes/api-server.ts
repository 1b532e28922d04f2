import { request as httpRequest, type IncomingMessage } from 'node:http';
import { request as httpsRequest } from 'node:https';
import type { Credentials } from './credentials.ts';
import { type Failure, statusFailure, unreachable } from './failure.ts';
import type { Cancel } from './transport-types.ts';

/**
 * One HTTP request to the API server, its answer streamed. Errors are values; a 401 is tried once more with credentials
 * read anew. A peer that died without a word is noticed by TCP keepalive within half a minute.
 */

export type ApiRequest = {
	readonly method: 'GET' | 'POST' | 'PATCH';
	readonly path: string;
	readonly query?: Readonly<Record<string, string>>;
	readonly body?: unknown;
	readonly contentType?: string;
};

export type StreamHandlers = {
	/** A 2xx answer begins. */
	readonly opened: () => void;
	readonly data: (chunk: Uint8Array) => void;
	/** It was complete. */
	readonly ended: () => void;
	readonly failed: (failure: Failure) => void;
};

export type ApiResult =
	| { readonly ok: true; readonly value: unknown }
	| { readonly ok: false; readonly failure: Failure };

export type ApiServer = {
	/** Handlers are called later than this returns, and never after the returned function was. */
	readonly stream: (request: ApiRequest, handlers: StreamHandlers) => Cancel;
	/** The whole answer as JSON, for small ones; fails after `timeout` milliseconds (10 s). */
	readonly ask: (request: ApiRequest, timeout?: number) => Promise<ApiResult>;
};

const keepaliveAfter = 15_000;
const longestError = 65_536;
const longestAnswer = 4_194_304;

const jsonOrUndefined = (text: string): unknown => {
	try {
		return JSON.parse(text) as unknown;
	} catch {
		return undefined;
	}
};

export const createApiServer = (credentials: Credentials): ApiServer => {
	const stream: ApiServer['stream'] = (request, handlers) => {
		let over = false;
		let abort = (): void => {};

		const fail = (failure: Failure): void => {
			if (over) return;
			over = true;
			abort();
			handlers.failed(failure);
		};

		const onError = (error: NodeJS.ErrnoException): void => {
			if (over) return;
			// Certificates and authorities may have been replaced on disk: whatever it was, read them again.
			credentials.forget();
			const what = error.message || error.code || 'the connection failed';
			fail(unreachable(`the API server cannot be reached: ${what}`));
		};

		const onRefused = (response: IncomingMessage, second: boolean): void => {
			const chunks: Buffer[] = [];
			let length = 0;
			response.on('data', (chunk: Buffer) => {
				length += chunk.length;
				if (length <= longestError) chunks.push(chunk);
			});
			const finish = (): void => {
				if (over) return;
				const code = response.statusCode ?? 0;
				if (code === 401) credentials.forget();
				if (code === 401 && !second) {
					send(true);
					return;
				}
				const body = jsonOrUndefined(Buffer.concat(chunks).toString('utf8'));
				fail(statusFailure(code, body, response.headers['retry-after']));
			};
			response.on('end', finish);
			response.on('error', finish);
		};

		const onAnswer = (response: IncomingMessage): void => {
			handlers.opened();
			response.on('data', (chunk: Buffer) => {
				if (!over) handlers.data(chunk);
			});
			response.on('end', () => {
				if (over) return;
				if (!response.complete) return fail(unreachable('the connection to the API server broke off'));
				over = true;
				handlers.ended();
			});
			response.on('error', (error: Error) =>
				fail(unreachable(`the connection to the API server broke off: ${error.message}`)),
			);
		};

		const connect = async (second: boolean): Promise<void> => {
			const { server, options } = await credentials.connection();
			if (over) return;
			const url = new URL(`${server}${request.path}`);
			for (const [name, value] of Object.entries(request.query ?? {})) url.searchParams.set(name, value);
			const body = request.body === undefined ? undefined : JSON.stringify(request.body);
			const make = url.protocol === 'http:' ? httpRequest : httpsRequest;
			const sent = make(url, {
				...options,
				method: request.method,
				headers: {
					...(options.headers as Record<string, string>),
					accept: 'application/json',
					'user-agent': 'manx',
					...(body !== undefined && {
						'content-type': request.contentType ?? 'application/json',
						'content-length': String(Buffer.byteLength(body)),
					}),
				},
			});
			abort = () => sent.destroy();
			sent.on('socket', (socket) => socket.setKeepAlive(true, keepaliveAfter));
			sent.on('error', onError);
			sent.on('response', (response) => {
				if (over) return;
				const code = response.statusCode ?? 0;
				if (code >= 200 && code < 300) onAnswer(response);
				else onRefused(response, second);
			});
			sent.end(body);
		};

		const send = (second: boolean): void => {
			connect(second).catch((error: Error) => {
				credentials.forget();
				fail(unreachable(`the way to the API server cannot be told: ${error.message}`));
			});
		};

		send(false);
		return () => {
			over = true;
			abort();
		};
	};

	return {
		stream,
		ask: (request, timeout = 10_000) =>
			new Promise((resolve) => {
				const chunks: Uint8Array[] = [];
				let length = 0;
				const finish = (result: ApiResult): void => {
					clearTimeout(timer);
					cancel();
					resolve(result);
				};
				const timer = setTimeout(() => {
					finish({ ok: false, failure: unreachable(`the API server has not answered within ${timeout / 1000} s`) });
				}, timeout);
				const cancel = stream(request, {
					opened: () => {},
					data: (chunk) => {
						length += chunk.length;
						chunks.push(chunk);
						if (length > longestAnswer) {
							finish({ ok: false, failure: unreachable(`the answer is longer than ${longestAnswer} bytes`) });
						}
					},
					ended: () => finish({ ok: true, value: jsonOrUndefined(Buffer.concat(chunks).toString('utf8')) }),
					failed: (failure) => finish({ ok: false, failure }),
				});
			}),
	};
};
