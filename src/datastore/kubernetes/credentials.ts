import { readFileSync } from 'node:fs';
import type { RequestOptions } from 'node:https';
import type { KubeConfig } from '@kubernetes/client-node';
import { parse } from 'yaml';

/**
 * Where the API server is and how to be let in: a kubeconfig, or the service account of the pod we run in. Tokens,
 * certificates and CAs are files that get replaced while we run: all of it is read again after a minute, or at once when
 * the server has refused it.
 */

export type Connection = {
	/** Without a slash at its end. */
	readonly server: string;
	/** TLS, proxy and headers, for node:https. */
	readonly options: RequestOptions;
	/** When it was read, by performance.now(). */
	readonly readAt: number;
};

export type Credentials = {
	/** Throws with what is wrong when files cannot be read or make no sense. */
	readonly connection: () => Promise<Connection>;
	/** What was read is refused: read it again for the next request. */
	readonly forget: () => void;
};

const lifetime = 60_000;

/** client-node knows a file of the token only by a name of its own; kubectl and client-go call it `tokenFile`. */
const useTokenFiles = (config: KubeConfig, path: string): void => {
	const raw = parse(readFileSync(path, 'utf8')) as { users?: { name?: string; user?: { tokenFile?: unknown } }[] };
	for (const { name, user } of raw.users ?? []) {
		const found = config.users.find((one) => one.name === name) as { token?: string } | undefined;
		if (found === undefined || typeof user?.tokenFile !== 'string' || found.token) continue;
		found.token = readFileSync(user.tokenFile, 'utf8').trim();
	}
};

export const createCredentials = (kubeconfig: string | undefined): Credentials => {
	let loaded: { readonly config: KubeConfig; readonly at: number } | undefined;

	const load = async (): Promise<KubeConfig> => {
		// Loaded only where it is used: it costs 25 MB.
		const { KubeConfig } = await import('@kubernetes/client-node');
		const config = new KubeConfig();
		if (kubeconfig === undefined) config.loadFromCluster();
		else {
			config.loadFromFile(kubeconfig);
			useTokenFiles(config, kubeconfig);
		}
		return config;
	};

	return {
		connection: async () => {
			if (loaded === undefined || performance.now() - loaded.at > lifetime) {
				loaded = { config: await load(), at: performance.now() };
			}
			const { config, at } = loaded;
			const cluster = config.getCurrentCluster();
			if (!cluster?.server) throw new Error(`${kubeconfig} has no current-context with a cluster and its server`);
			const options: RequestOptions = { headers: {} };
			await config.applyToHTTPSOptions(options);
			const headers = options.headers as Record<string, string>;
			if (headers.Authorization !== undefined) headers.Authorization = headers.Authorization.trim();
			return { server: cluster.server.replace(/\/+$/, ''), options, readAt: at };
		},
		forget: () => {
			loaded = undefined;
		},
	};
};
