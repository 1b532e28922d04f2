import { request } from 'node:https';
import { validate } from '../../src/api/validate.ts';
import type { Api } from './api.ts';

/** When the API server told which nodes have ready endpoints of a Service, by a watch of its own. */
export type EndpointsWatch = {
	/** In order; `at` in milliseconds since the epoch. */
	readonly changes: () => readonly { readonly at: number; readonly readyOn: readonly string[] }[];
	readonly close: () => void;
};

export const watchEndpoints = (api: Api, namespace: string, service: string): EndpointsWatch => {
	const changes: { at: number; readyOn: readonly string[] }[] = [];
	const slices = new Map<string, readonly string[]>();
	const label = encodeURIComponent(`kubernetes.io/service-name=${service}`);
	let rest = '';
	const take = (line: string): void => {
		const { type, object } = JSON.parse(line) as { type: string; object: { metadata?: { name: string } } };
		const validated = validate(object);
		if (validated.type !== 'object' || validated.object.kind !== 'EndpointSlice') return;
		const { metadata, readyOn } = validated.object;
		if (type === 'DELETED') slices.delete(metadata.name);
		else slices.set(metadata.name, readyOn);
		const all = [...new Set([...slices.values()].flat())].sort();
		if (JSON.stringify(all) !== JSON.stringify(changes.at(-1)?.readyOn)) changes.push({ at: Date.now(), readyOn: all });
	};
	const outgoing = request(
		{
			socketPath: api.socketPath,
			path: `/apis/discovery.k8s.io/v1beta1/namespaces/${namespace}/endpointslices?watch=1&labelSelector=${label}`,
			rejectUnauthorized: false,
			agent: false,
			headers: { authorization: `Bearer ${api.token}`, accept: 'application/json' },
		},
		(response) => {
			response.on('error', () => {});
			response.setEncoding('utf8').on('data', (text: string) => {
				const lines = (rest + text).split('\n');
				rest = lines.pop() ?? '';
				for (const line of lines) if (line !== '') take(line);
			});
		},
	);
	outgoing.on('error', () => {});
	outgoing.end();
	return { changes: () => changes, close: () => outgoing.destroy() };
};
