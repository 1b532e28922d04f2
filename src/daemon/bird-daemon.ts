import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { type Bird, createBird } from '../../bird/index.ts';
import { clusterOf, type Problem } from '../api/cluster.ts';
import { nodeAddressesOf } from '../api/node-addresses.ts';
import { type BGPConfiguration, type BGPPeer, keyOf, type Node } from '../api/objects.ts';
import type { DatastoreEvent } from '../datastore/datastore.ts';
import type { InterfaceAddress } from '../kernel/kernel.ts';
import { openKernel } from '../kernel/open-kernel.ts';
import { birdRoutes } from './bird-routes.ts';
import { type Module, type ModuleContext, runDaemon } from './daemon.ts';
import { createLearntLeftovers } from './learnt-leftovers.ts';
import { type PasswordOf, speakerConfigOf } from './speaker-config.ts';

/** `manx bird`: the speaker, told by Node, BGPConfiguration and BGPPeer objects what to be. */
export const runBird = (configFile: string | undefined): Promise<void> => runDaemon('bird', configFile, createModule);

/** Milliseconds a new session may take before what was asked for counts as applied without it: a peer may be away. */
const grace = 5000;
/** Milliseconds between looks at the files of passwords. */
const passwordInterval = 5000;

const createModule = ({ settings, log }: ModuleContext): Module => {
	const kernel = openKernel({ log: log.child({ part: 'kernel' }) });
	const nodes = new Map<string, Node>();
	const peers = new Map<string, BGPPeer>();
	let configuration: BGPConfiguration | undefined;
	let interfaces: readonly InterfaceAddress[] = [];
	let problems: readonly Problem[] = [];
	let judged = false;
	let bird: Bird | undefined;
	const leftovers =
		settings.mode === 'bgp' ? undefined : createLearntLeftovers({ nodeName: settings.nodeName, kernel, log });
	let applied = '';
	let started = false;
	let inSync = false;

	const sentence = ({ object, field, reason }: Problem): string => [object, field, reason].filter(Boolean).join(' ');
	const tell = (found: readonly Problem[]): void => {
		const known = new Set(problems.map(sentence));
		for (const problem of found) if (!known.has(sentence(problem))) log.error({ ...problem }, sentence(problem));
		problems = found;
		judged = true;
	};

	/** Mounted Secrets change their files in place. */
	const readPassword: PasswordOf = (file) => {
		const path = join(settings.passwordDir, file);
		try {
			const password = readFileSync(path, 'utf8').replace(/\r?\n$/, '');
			return password === '' ? { error: `${path} is empty` } : { password };
		} catch (error) {
			return { error: `${path} cannot be read (${(error as NodeJS.ErrnoException).code})` };
		}
	};
	const usesPasswords = (): boolean =>
		(configuration?.spec.meshPasswordFile ?? '') !== '' ||
		[...peers.values()].some((peer) => peer.spec.session.passwordFile !== undefined);
	setInterval(() => {
		if (usesPasswords()) reconfigure();
	}, passwordInterval).unref();

	/** When each peer was first in the configuration. */
	const configuredAt = new Map<string, number>();
	let work: Promise<void> = Promise.resolve();
	const reconfigure = (): void => {
		if (!started || !inSync) return;
		const cluster = clusterOf(nodes.values());
		if (leftovers !== undefined) {
			leftovers.review(cluster, interfaces);
			return;
		}
		const internal = cluster.nodes.get(settings.nodeName)?.addresses ?? {};
		const own = nodeAddressesOf(settings.nodeAddress, internal, interfaces);
		const result = speakerConfigOf({
			nodeName: settings.nodeName,
			cluster,
			configuration,
			peers: peers.values(),
			addresses: own.addresses,
			passwordOf: readPassword,
		});
		const object = `Node ${settings.nodeName}`;
		tell([
			...cluster.problems,
			...own.problems.map((reason) => ({ object, field: 'status.addresses', reason })),
			...result.problems,
		]);
		// Without a configuration what runs goes on: a Node object that is gone for a moment must not end sessions.
		const { config } = result;
		if (config === undefined || JSON.stringify(config) === applied) return;
		applied = JSON.stringify(config);
		const names = new Set(config.peers.map((peer) => peer.name));
		for (const name of configuredAt.keys()) if (!names.has(name)) configuredAt.delete(name);
		for (const name of names) if (!configuredAt.has(name)) configuredAt.set(name, performance.now());
		work = work.then(async () => {
			if (bird !== undefined) return bird.update(config);
			bird = createBird({ config, kernel, log });
			await bird.start();
		});
		work.catch((error: Error) => log.error({}, `the speaker cannot start: ${error.message}`));
	};

	const onEvent = ({ changes, inSync: nowInSync }: DatastoreEvent): void => {
		for (const change of changes) {
			const kind = change.type === 'set' ? change.object.kind : change.kind;
			const key = change.type === 'set' ? keyOf(change.object.metadata) : change.key;
			const object = change.type === 'set' ? change.object : undefined;
			if (kind === 'Node') {
				if (object?.kind === 'Node') nodes.set(key, object);
				else nodes.delete(key);
			} else if (kind === 'BGPPeer') {
				if (object?.kind === 'BGPPeer') peers.set(key, object);
				else peers.delete(key);
			} else if (kind === 'BGPConfiguration') {
				configuration = object?.kind === 'BGPConfiguration' ? object : undefined;
			}
		}
		inSync = nowInSync;
		reconfigure();
	};

	return {
		routes: birdRoutes(() => bird),
		onEvent,
		start: async () => {
			interfaces = await kernel.listAddresses();
			kernel.watch((event) => {
				if (event.type !== 'address' || event.address.dev.startsWith('manx')) return;
				void kernel.listAddresses().then((found) => {
					interfaces = found;
					reconfigure();
				});
			});
			started = true;
			reconfigure();
		},
		unsettled: async () => {
			if (leftovers !== undefined) return leftovers.unsettled();
			await work.catch(() => {});
			if (bird === undefined) return ['the speaker is not configured yet', ...problems.map(sentence)];
			const found = await bird.verify();
			const now = performance.now();
			const awaited = bird
				.status()
				.sessions.filter(({ name, state }) => state !== 'Established' && (configuredAt.get(name) ?? 0) + grace > now);
			return [...found, ...awaited.map(({ name, state }) => `session ${name} is ${state}`)];
		},
		unready: () => {
			if (settings.mode !== 'bgp') return [];
			const status = bird?.status();
			if (status === undefined) return ['the speaker is not configured yet', ...problems.map(sentence)];
			if (status.listenErrors.length > 0) return status.listenErrors;
			// Not gated on every peer being up: what is known has been sent once the restart is over.
			return status.restarting ? ['restarting: the routes of peers are awaited'] : [];
		},
		// In host-gw mode nobody judges them.
		problems: () => (judged ? problems : undefined),
		status: () => ({
			problems,
			...(bird?.status() ?? { sessions: [], routes: { wanted: 0, programmed: 0 }, lastError: '' }),
		}),
		stop: async () => {
			await bird?.stop();
			leftovers?.close();
			kernel.close();
		},
	};
};
