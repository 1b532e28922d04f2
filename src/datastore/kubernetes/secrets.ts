import type { Logger } from '../../logging.ts';
import type { ApiServer } from './api-server.ts';
import { createObjectCache } from './object-cache.ts';
import { createReflector, type Reflector } from './reflector.ts';
import { resources } from './resources.ts';
import { createTransport } from './transport.ts';
import type { Clock } from './transport-types.ts';

/**
 * Secrets that are named, one watch each: nobody has to be allowed to list the others. Values go to those who ask for
 * them, and nowhere else.
 */

export type SecretAnswer =
	/** Wait: it is being read for the first time. */
	| { readonly state: 'reading' }
	| { readonly state: 'known'; readonly value: string }
	| { readonly state: 'failed'; readonly error: string };

export type SecretSource = {
	/** Replaces the names followed; the listener is called whenever an answer may have changed. */
	readonly follow: (names: Iterable<string>) => void;
	readonly get: (name: string, key: string) => SecretAnswer;
	readonly close: () => void;
};

export type SecretSourceOptions = {
	readonly api: ApiServer;
	readonly namespace: string;
	readonly log: Logger;
	readonly clock: Clock;
	readonly changed: () => void;
};

type Followed = {
	readonly reflector: Reflector;
	values: Readonly<Record<string, string>> | undefined;
	listed: boolean;
	trouble: string | undefined;
};

export const createSecretSource = ({ api, namespace, log, clock, changed }: SecretSourceOptions): SecretSource => {
	const followed = new Map<string, Followed>();

	const begin = (name: string): void => {
		const resource = {
			...resources.Secret,
			path: `/api/v1/namespaces/${encodeURIComponent(namespace)}/secrets`,
			query: { fieldSelector: `metadata.name=${name}` },
		};
		const one: Followed = {
			values: undefined,
			listed: false,
			trouble: undefined,
			reflector: createReflector({
				resource,
				cache: createObjectCache(resource),
				transport: createTransport(api, resource),
				clock,
				onChanges: (changes) => {
					for (const change of changes) {
						one.values = change.type === 'set' && change.object.kind === 'Secret' ? change.object.values : undefined;
					}
					if (one.listed) changed();
				},
				onListed: () => {
					one.listed = true;
					changed();
				},
				onTrouble: (reason) => {
					if (one.trouble === reason) return;
					if (reason !== undefined) log.warn({ secret: name }, `Secret ${name}: ${reason}`);
					one.trouble = reason;
					if (!one.listed) changed();
				},
			}),
		};
		followed.set(name, one);
		one.reflector.start();
	};

	return {
		follow: (names) => {
			const wanted = new Set(names);
			for (const [name, { reflector }] of followed) {
				if (wanted.has(name)) continue;
				reflector.close();
				followed.delete(name);
			}
			for (const name of wanted) if (!followed.has(name)) begin(name);
		},
		get: (name, key) => {
			const one = followed.get(name);
			if (one === undefined) return { state: 'reading' };
			const value = one.values?.[key];
			if (value !== undefined && value !== '') return { state: 'known', value };
			const where = `Secret ${namespace}/${name}`;
			if (one.values !== undefined) {
				return { state: 'failed', error: `${where} ${value === undefined ? 'has no key' : 'has nothing at'} ${key}` };
			}
			if (one.listed) return { state: 'failed', error: `${where} does not exist` };
			return one.trouble === undefined
				? { state: 'reading' }
				: { state: 'failed', error: `${where} cannot be read: ${one.trouble}` };
		},
		close: () => {
			for (const { reflector } of followed.values()) reflector.close();
			followed.clear();
		},
	};
};
