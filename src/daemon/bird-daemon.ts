import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { type Bird, createBird, type SpeakerConfig } from '../../bird/index.ts';
import { type Cluster, clusterOf, type Problem } from '../api/cluster.ts';
import { nodeAddressesOf } from '../api/node-addresses.ts';
import type { DatastoreEvent } from '../datastore/datastore.ts';
import { clock } from '../datastore/kubernetes/kubernetes.ts';
import type { InterfaceAddress } from '../kernel/kernel.ts';
import { openKernel } from '../kernel/open-kernel.ts';
import { createBirdObjects } from './bird-objects.ts';
import { birdRoutes } from './bird-routes.ts';
import { type Module, type ModuleContext, runDaemon } from './daemon.ts';
import { createDrain } from './drain.ts';
import { createLearntLeftovers } from './learnt-leftovers.ts';
import { peerSelector } from './peer-problems.ts';
import { createSessionReporter, forgottenNodes } from './session-reporter.ts';
import { type PasswordOf, type SecretOf, speakerConfigOf } from './speaker-config.ts';

/** `manx bird`: the speaker, told by Node, BGPConfiguration and BGPPeer objects what to be. */
export const runBird = (configFile: string | undefined): Promise<void> => runDaemon('bird', configFile, createModule);

/** Milliseconds a new session may take before what was asked for counts as applied without it: a peer may be away. */
const grace = 5000;
/** Milliseconds between looks at the files of passwords. */
const passwordInterval = 5000;

const createModule = ({
	settings,
	log,
	setLogLevel,
	client,
	secrets: openSecrets,
	toKernel,
}: ModuleContext): Module => {
	const kernel = openKernel({ log: log.child({ part: 'kernel' }) });
	const objects = createBirdObjects();
	const secrets = openSecrets?.(() => reconfigure());
	let interfaces: readonly InterfaceAddress[] = [];
	let problems: readonly Problem[] = [];
	let judged = false;
	let bird: Bird | undefined;
	const leftovers =
		settings.mode === 'bgp' ? undefined : createLearntLeftovers({ nodeName: settings.nodeName, kernel, log });
	let applied = '';
	let running: SpeakerConfig | undefined;
	let started = false;
	let inSync = false;
	const drain = createDrain(settings.runDir);
	let draining = '';

	const sentence = ({ object, field, reason }: Problem): string => [object, field, reason].filter(Boolean).join(' ');
	const tell = (found: readonly Problem[]): void => {
		const known = new Set(problems.map(sentence));
		for (const problem of found) if (!known.has(sentence(problem))) log.error({ ...problem }, sentence(problem));
		problems = found;
		judged = true;
	};

	/** Until it is known which sessions there are, none is said to be gone. */
	const sessionsOf = () => (bird === undefined || settings.mode !== 'bgp' ? undefined : bird.status().sessions);
	let cluster: Cluster = clusterOf([]);
	/** Of the nodes as they are. */
	const nodeCounts = new Map<string, number>();
	const nodesOf = (name: string): number => {
		const peer = objects.peers.get(name);
		if (peer === undefined) return 0;
		let count = nodeCounts.get(name);
		if (count === undefined) {
			const selects = peer.spec.peerSelector === undefined ? peerSelector(peer) : () => true;
			count = [...cluster.nodes.values()].filter(selects).length;
			nodeCounts.set(name, count);
		}
		return count;
	};
	const sessionReporter =
		client &&
		createSessionReporter({
			client,
			nodeName: settings.nodeName,
			sessions: sessionsOf,
			nodes: () => objects.nodes.size,
			nodesOf,
			log: log.child({ part: 'sessions' }),
			clock,
		});

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
		(objects.configuration()?.spec.meshPasswordFile ?? '') !== '' ||
		[...objects.peers.values()].some((peer) => peer.spec.session.passwordFile !== undefined);
	const readSecret: SecretOf = ({ name, key }) => {
		if (secrets === undefined) {
			const values = objects.secrets.get(name);
			const password = values?.[key];
			if (password) return { password };
			return { error: values === undefined ? `Secret ${name} does not exist` : `Secret ${name} has nothing at ${key}` };
		}
		const answer = secrets.get(name, key);
		if (answer.state === 'known') return { password: answer.value };
		return { error: answer.state === 'failed' ? answer.error : `Secret ${name} is being read` };
	};
	/** Sessions are not ended for a password that is on its way. */
	const awaitsSecrets = (): boolean =>
		secrets !== undefined && objects.secretRefs().some(({ name, key }) => secrets.get(name, key).state === 'reading');
	setInterval(() => {
		if (usesPasswords()) reconfigure();
	}, passwordInterval).unref();

	/** When each peer was first in the configuration. */
	const configuredAt = new Map<string, number>();
	let work: Promise<void> = Promise.resolve();
	const reconfigure = (): void => {
		if (!started || !inSync) return;
		cluster = clusterOf(objects.nodes.values());
		nodeCounts.clear();
		if (leftovers !== undefined) {
			leftovers.review(cluster, interfaces);
			return;
		}
		secrets?.follow(objects.secretRefs().map(({ name }) => name));
		if (awaitsSecrets()) return;
		const configuration = objects.configuration();
		setLogLevel(configuration?.spec.logSeverityScreen ?? settings.logLevel);
		const internal = cluster.nodes.get(settings.nodeName)?.addresses ?? {};
		const own = nodeAddressesOf(settings.nodeAddress, internal, interfaces);
		const node = objects.nodes.get(settings.nodeName);
		const services =
			configuration && node ? objects.services.prefixes(configuration.spec, node, settings.nodeName) : [];
		const before = draining;
		draining = drain.why(configuration, node);
		if (draining !== before) {
			log.info({}, draining === '' ? 'the node is drained no more' : `the node is drained: ${draining}`);
		}
		const result = speakerConfigOf({
			nodeName: settings.nodeName,
			cluster,
			configuration,
			peers: objects.peers.values(),
			filters: objects.filters,
			lostFilters: objects.lostFilters,
			profiles: objects.profiles,
			addresses: own.addresses,
			passwordOf: readPassword,
			secretOf: readSecret,
			services,
			draining: draining !== '',
		});
		const object = `Node ${settings.nodeName}`;
		tell([
			...cluster.problems,
			...own.problems.map((reason) => ({ object, field: 'status.addresses', reason })),
			...result.problems,
		]);
		// Without a configuration what runs goes on: a Node object that is gone for a moment must not end sessions. But Services
		// are others' business too: a node that was deleted leaves them at once.
		const config = result.config ?? (running && { ...running, services });
		if (config === undefined || JSON.stringify(config) === applied) return;
		applied = JSON.stringify(config);
		running = config;
		const names = new Set(config.peers.map((peer) => peer.name));
		for (const name of configuredAt.keys()) if (!names.has(name)) configuredAt.delete(name);
		for (const name of names) if (!configuredAt.has(name)) configuredAt.set(name, performance.now());
		work = work.then(async () => {
			if (bird !== undefined) return bird.update(config);
			bird = createBird({ config, kernel, log, toKernel });
			await bird.start();
		});
		work.catch((error: Error) => log.error({}, `the speaker cannot start: ${error.message}`));
	};

	const onEvent = ({ changes, inSync: nowInSync }: DatastoreEvent): void => {
		const matters = objects.take(changes) || !inSync;
		inSync = nowInSync;
		if (matters) reconfigure();
	};

	return {
		routes: birdRoutes(
			() => bird,
			(on) => {
				const done = drain.byHand(on);
				if (done.ok) reconfigure();
				return done.ok ? { ok: true, draining } : done;
			},
		),
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
		alsoInStatus: (kind, key, status, isNode) => {
			const sessions = sessionsOf();
			if (kind !== 'BGPPeer' || sessions === undefined) return undefined;
			const mine = sessions.some(({ name }) => name === `peer/${key}` || name.startsWith(`peer/${key}/`));
			return forgottenNodes(status, isNode, settings.nodeName, mine);
		},
		// In host-gw mode nobody judges them.
		problems: () => (judged ? problems : undefined),
		status: () => ({
			problems,
			draining,
			...(bird && { rib: bird.ribSize() }),
			...(bird?.status() ?? { sessions: [], routes: { wanted: 0, programmed: 0 }, lastError: '' }),
		}),
		stop: async () => {
			sessionReporter?.close();
			secrets?.close();
			await bird?.stop();
			leftovers?.close();
			kernel.close();
		},
	};
};
