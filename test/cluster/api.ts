import { request as httpsRequest } from 'node:https';
import { parseAllDocuments } from 'yaml';
import { type Body, isBody } from '../../src/lab/manifests.ts';
import { until } from '../../src/lab/shell.ts';

/** What tests need of kubectl, by the API server's REST interface over the relay's unix socket. */

export type Answer = { readonly status: number; readonly text: string };

export type KubeObject = {
	readonly apiVersion: string;
	readonly kind: string;
	readonly metadata: { readonly name: string; readonly namespace?: string } & Body;
} & Body;

export type Api = {
	readonly token: string;
	readonly socketPath: string;
	readonly request: (method: string, path: string, body?: unknown, contentType?: string) => Promise<Answer>;
	/** The answer's object; throws with the API server's message when it refuses. */
	readonly json: <T = Body>(method: string, path: string, body?: unknown, contentType?: string) => Promise<T>;
	/** Creates each document's object, or merges it into the one there is, in order; waits for a CRD to be served. */
	readonly apply: (manifest: string | readonly object[]) => Promise<void>;
	/** Deletes each document's object; what is gone already is fine. */
	readonly delete: (manifest: string | readonly object[]) => Promise<void>;
	/** Path of one object, or of its collection when `name` is absent. */
	readonly pathOf: (apiVersion: string, kind: string, namespace?: string, name?: string) => Promise<string>;
};

type ResourceList = { readonly resources: readonly { name: string; kind: string; namespaced: boolean }[] };

/** As kubectl: lists of built-in kinds are merged by their keys, those of custom ones are replaced. */
const patchType = ({ apiVersion }: KubeObject): string =>
	/^(v1|[a-z]+\/v1|.*\.k8s\.io\/.*)$/.test(apiVersion) && !apiVersion.startsWith('apiextensions')
		? 'application/strategic-merge-patch+json'
		: 'application/merge-patch+json';

export const parseManifest = (text: string): readonly KubeObject[] =>
	parseAllDocuments(text).flatMap((document) => {
		if (document.errors.length > 0) throw document.errors[0] as Error;
		const value = document.toJS() as unknown;
		return isBody(value) ? [value as KubeObject] : [];
	});

export const createApi = (socketPath: string, token: string): Api => {
	const request: Api['request'] = (method, path, body, contentType = 'application/json') =>
		new Promise((resolve, reject) => {
			const text = body === undefined ? undefined : typeof body === 'string' ? body : JSON.stringify(body);
			const outgoing = httpsRequest(
				{
					socketPath,
					method,
					path,
					rejectUnauthorized: false,
					agent: false,
					timeout: 60_000,
					headers: {
						authorization: `Bearer ${token}`,
						accept: 'application/json',
						...(text === undefined ? {} : { 'content-type': contentType, 'content-length': Buffer.byteLength(text) }),
					},
				},
				(response) => {
					const chunks: Buffer[] = [];
					response.on('data', (chunk: Buffer) => chunks.push(chunk));
					response.on('error', reject);
					response.on('end', () =>
						resolve({ status: response.statusCode ?? 0, text: Buffer.concat(chunks).toString() }),
					);
				},
			);
			outgoing.on('timeout', () => outgoing.destroy(new Error(`${method} ${path} was not answered within a minute`)));
			outgoing.on('error', reject);
			outgoing.end(text);
		});

	const json: Api['json'] = async <T>(method: string, path: string, body?: unknown, contentType?: string) => {
		const { status, text } = await request(method, path, body, contentType);
		if (status < 200 || status > 299) {
			let message = text;
			try {
				message = (JSON.parse(text) as { message: string }).message;
			} catch {}
			throw new Error(`${method} ${path}: ${status} ${message}`);
		}
		return JSON.parse(text) as T;
	};

	const resources = new Map<string, ResourceList['resources']>();
	const pathOf: Api['pathOf'] = async (apiVersion, kind, namespace, name) => {
		const base = apiVersion.includes('/') ? `/apis/${apiVersion}` : `/api/${apiVersion}`;
		const find = () => resources.get(base)?.find((one) => one.kind === kind && !one.name.includes('/'));
		if (find() === undefined) resources.set(base, (await json<ResourceList>('GET', base)).resources);
		const resource = find();
		if (resource === undefined) throw new Error(`The API server does not know ${kind} of ${apiVersion}.`);
		const scope = resource.namespaced && namespace !== undefined ? `/namespaces/${namespace}` : '';
		return `${base}${scope}/${resource.name}${name === undefined ? '' : `/${name}`}`;
	};
	const documents = (manifest: string | readonly object[]): readonly KubeObject[] =>
		typeof manifest === 'string' ? parseManifest(manifest) : (manifest as readonly KubeObject[]);
	const pathOfObject = ({ apiVersion, kind, metadata }: KubeObject): Promise<string> =>
		pathOf(apiVersion, kind, metadata.namespace ?? 'default', metadata.name);

	const untilServed = async (crd: KubeObject): Promise<void> => {
		const path = await pathOfObject(crd);
		const reason = await until(120_000, async () => {
			const { status } = await json<{ status?: { conditions?: { type: string; status: string }[] } }>('GET', path);
			const established = status?.conditions?.some((one) => one.type === 'Established' && one.status === 'True');
			return established === true ? undefined : 'not established';
		});
		if (reason !== undefined) throw new Error(`CRD ${crd.metadata.name} is ${reason} after two minutes.`);
	};

	return {
		token,
		socketPath,
		request,
		json,
		pathOf,
		apply: async (manifest) => {
			for (const object of documents(manifest)) {
				const path = await pathOfObject(object);
				const created = await request('POST', path.slice(0, path.lastIndexOf('/')), object);
				if (created.status === 409) await json('PATCH', path, object, patchType(object));
				else if (created.status >= 300) throw new Error(`POST ${path}: ${created.status} ${created.text}`);
				if (object.kind === 'CustomResourceDefinition') await untilServed(object);
			}
		},
		delete: async (manifest) => {
			for (const object of [...documents(manifest)].reverse()) {
				const path = await pathOfObject(object).catch(() => undefined);
				if (path === undefined) continue;
				const { status, text } = await request('DELETE', `${path}?propagationPolicy=Background`);
				if (status >= 300 && status !== 404) throw new Error(`DELETE ${path}: ${status} ${text}`);
			}
		},
	};
};
