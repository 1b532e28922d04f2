import type { Kind } from '../../api/objects.ts';
import type { Logger } from '../../logging.ts';
import type { Change, Datastore, DatastoreEvent, Refusal } from '../datastore.ts';
import type { ApiServer } from './api-server.ts';
import { createObjectCache } from './object-cache.ts';
import { createReflector, type Reflector } from './reflector.ts';
import { type Resource, resources } from './resources.ts';
import { createTransport } from './transport.ts';
import type { Clock } from './transport-types.ts';

/**
 * The API server as datastore: one reflector a kind, all into one stream. What arrives in one go is one event. Once
 * everything has been read, `inSync` stays true for good: with the API server away, what was read stays in force.
 */

export type KubernetesOptions = {
	readonly api: ApiServer;
	readonly kinds: readonly Kind[];
	readonly log: Logger;
};

export const clock: Clock = {
	now: () => performance.now(),
	after: (milliseconds, run) => {
		const timer = setTimeout(run, milliseconds);
		return () => clearTimeout(timer);
	},
	random: Math.random,
};

/** Milliseconds for which the same trouble is not logged again. */
const quiet = 300_000;

const sentence = ({ object, field, reason }: Refusal): string =>
	`${object || 'an object'} is refused: ${[field, reason].filter(Boolean).join(' ')}. ` +
	'Its last good version stays in force, if there was one; correct the object.';

export const createKubernetesDatastore = ({ api, kinds, log }: KubernetesOptions): Datastore => {
	const troubles = new Map<Kind, string>();
	const logged = new Map<string, number>();
	let troubleLogged = false;
	let lastHeard = 0;
	let pending: Change[] = [];
	let flushing: NodeJS.Immediate | undefined;
	let inSync = false;
	let announced = false;
	let listener: (event: DatastoreEvent) => void = () => {};
	const missing = new Set(kinds);

	const flush = (): void => {
		flushing = undefined;
		const changes = pending;
		pending = [];
		if (changes.length === 0 && announced === inSync) return;
		announced = inSync;
		listener({ changes, inSync, generation: 0 });
	};
	const deliver = (): void => {
		flushing ??= setImmediate(flush);
	};

	const onTrouble = (kind: Kind, reason: string | undefined): void => {
		if (reason === undefined) {
			if (!troubles.delete(kind) || troubles.size > 0 || !troubleLogged) return;
			troubleLogged = false;
			log.info({}, 'the API server is heard again');
			return;
		}
		troubles.set(kind, reason);
		const now = clock.now();
		if (now - (logged.get(reason) ?? -quiet) < quiet) return;
		for (const [text, at] of logged) if (now - at >= quiet) logged.delete(text);
		logged.set(reason, now);
		troubleLogged = true;
		log.warn({ kind }, `${reason}. What was read stays in force; it is tried again.`);
	};

	const reflections = kinds.map((kind) => {
		const cache = createObjectCache(resources[kind], (refusal) => log.error({ ...refusal }, sentence(refusal)));
		const reflect = (resource: Resource): Reflector => {
			const { instead } = resource;
			const made = createReflector({
				resource,
				cache,
				transport: createTransport(api, resource),
				clock,
				onChanges: (changes) => {
					for (const change of changes) pending.push(change);
					deliver();
				},
				onListed: () => {
					missing.delete(kind);
					inSync = missing.size === 0;
					if (inSync) deliver();
				},
				onTrouble: (reason) => onTrouble(kind, reason),
				...(instead && {
					onMissing: () => {
						made.close();
						cache.use(instead);
						reflection.reflector = reflect(instead);
						reflection.reflector.start();
						return true;
					},
				}),
			});
			return made;
		};
		const reflection = { kind, cache, reflector: reflect(resources[kind]) };
		return reflection;
	});

	return {
		start: (onEvent) => {
			listener = onEvent;
			for (const { reflector } of reflections) reflector.start();
		},
		refusals: () => reflections.flatMap(({ cache }) => [...cache.refusals()]),
		status: () => {
			const ages: Partial<Record<Kind, number>> = {};
			for (const { kind, reflector } of reflections) {
				const { silence } = reflector.status();
				if (silence === undefined) continue;
				ages[kind] = Math.round(silence / 100) / 10;
				lastHeard = Math.max(lastHeard, Date.now() - silence);
			}
			return {
				connected: inSync && troubles.size === 0,
				lastContact: lastHeard === 0 ? '' : new Date(lastHeard).toISOString(),
				ages,
				lastError: [...troubles.values()][0] ?? '',
			};
		},
		close: async () => {
			for (const { reflector } of reflections) reflector.close();
			clearImmediate(flushing);
		},
	};
};
