import type { ApiServer } from './api-server.ts';
import { garbled } from './failure.ts';
import { createLineSplitter } from './line-splitter.ts';
import { createListScanner } from './list-scanner.ts';
import type { Resource } from './resources.ts';
import type { Cancel, Transport } from './transport-types.ts';

/** List and watch of one resource over HTTP. No answer is ever held whole; an object may have 16 MiB as JSON. */

/** etcd takes 1.5 MiB an object, in a denser encoding than JSON. */
const largestObject = 16 * 1024 * 1024;

type ListMetadata = { readonly resourceVersion?: unknown; readonly continue?: unknown } | null;

const text = (value: unknown): string => (typeof value === 'string' ? value : '');

export const createTransport = (api: ApiServer, { path, keep, query: always = {} }: Resource): Transport => ({
	list: ({ resourceVersion, limit, continue: token }, handlers) => {
		const scanner = createListScanner(largestObject, handlers.item, keep);
		const query: Record<string, string> = { ...always };
		// A continue token holds the version it belongs to; the server refuses both together.
		if (resourceVersion !== '' && token === undefined) query.resourceVersion = resourceVersion;
		if (limit !== undefined) query.limit = String(limit);
		if (token !== undefined) query.continue = token;
		const cancel: Cancel = api.stream(
			{ method: 'GET', path, query },
			{
				opened: handlers.alive,
				data: (chunk) => {
					handlers.alive();
					const problem = scanner.feed(chunk);
					if (problem === undefined) return;
					cancel();
					handlers.failed(garbled(`the list of ${path} cannot be read: ${problem}`));
				},
				ended: () => {
					const end = scanner.end();
					if (!end.ok) return handlers.failed(garbled(`the list of ${path} cannot be read: ${end.reason}`));
					const { metadata } = end.rest as { metadata?: ListMetadata };
					handlers.done({ resourceVersion: text(metadata?.resourceVersion), continue: text(metadata?.continue) });
				},
				failed: handlers.failed,
			},
		);
		return cancel;
	},

	watch: ({ resourceVersion, timeoutSeconds }, handlers) => {
		const onLine = (line: string): void => {
			if (broken) return;
			let event: unknown;
			try {
				event = JSON.parse(line);
			} catch {
				breakOff(`a watch of ${path} sent a line that is not JSON: ${line.slice(0, 80)}`);
				return;
			}
			handlers.event(event);
		};
		let broken = false;
		const breakOff = (reason: string): void => {
			broken = true;
			cancel();
			handlers.failed(garbled(reason));
		};
		const lines = createLineSplitter(largestObject, onLine);
		const query = {
			...always,
			watch: 'true',
			allowWatchBookmarks: 'true',
			resourceVersion,
			timeoutSeconds: String(timeoutSeconds),
		};
		const cancel: Cancel = api.stream(
			{ method: 'GET', path, query },
			{
				opened: handlers.opened,
				data: (chunk) => {
					handlers.alive();
					if (!lines.feed(chunk) && !broken) breakOff(`a watch of ${path} sent a line without end`);
				},
				ended: () => {
					if (lines.rest() > 0) return breakOff(`a watch of ${path} ended in the middle of a line`);
					handlers.ended();
				},
				failed: handlers.failed,
			},
		);
		return cancel;
	},
});
