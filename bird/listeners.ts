import type { Logger } from '../src/logging.ts';
import type { Connection, Listener, ListenTarget, Protection, Transport } from './transport/transport.ts';

/** Where the speaker listens: sockets come, go and are protected as the configuration says. */

export type Listeners = {
	/** Replaces what is listened on, and the protections of all. */
	readonly update: (targets: readonly ListenTarget[], protections: readonly Protection[]) => void;
	/** Sockets that could not be opened, with the reason. */
	readonly errors: () => readonly string[];
	readonly close: () => Promise<void>;
};

export type ListenersPorts = {
	readonly transport: Transport;
	readonly log: Logger;
	readonly accept: (connection: Connection) => void;
};

export const createListeners = ({ transport, log, accept }: ListenersPorts): Listeners => {
	const listeners = new Map<string, Listener>();
	const errors = new Map<string, string>();

	return {
		update: (targets, protections) => {
			const wanted = new Map(targets.map((target) => [`${target.address} port ${target.port}`, target]));
			for (const [key, listener] of listeners) {
				if (wanted.has(key)) {
					listener.protect(protections);
					continue;
				}
				void listener.close();
				listeners.delete(key);
				errors.delete(key);
			}
			for (const [key, target] of wanted) {
				if (listeners.has(key)) continue;
				const listener = transport.listen(target, protections, {
					connection: accept,
					listening: () => {
						errors.delete(key);
						log.info({ ...target }, `listening on ${key}`);
					},
					failed: (reason) => {
						const text = `cannot listen on ${key}: ${reason}`;
						if (errors.get(key) !== text) log.error({ ...target }, `${text}; trying again`);
						errors.set(key, text);
					},
				});
				listeners.set(key, listener);
			}
		},
		errors: () => [...errors.values()],
		close: async () => {
			await Promise.all([...listeners.values()].map((listener) => listener.close()));
		},
	};
};
