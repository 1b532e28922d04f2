import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import packageJson from '../../package.json' with { type: 'json' };
import type { Problem } from '../api/cluster.ts';
import type { Kind } from '../api/objects.ts';
import { loadSettings, type Settings } from '../config.ts';
import type { DatastoreEvent } from '../datastore/datastore.ts';
import type { KubernetesClient } from '../datastore/kubernetes/client.ts';
import { createLogger, type Logger } from '../logging.ts';
import { parseListenAddress } from '../net/listen-address.ts';
import { type ControlRoutes, startControlServer, type WaitResult } from './control-server.ts';
import { createMetrics, figuresOf } from './metrics.ts';
import { type OpenedDatastore, openDatastore } from './open-datastore.ts';
import { startProbeServer } from './probe-server.ts';
import { createProblemReporter, type ProblemReporterOptions } from './problem-reporter.ts';

/** What felix and bird have in common as daemons: settings, log, datastore, control socket, the end by a signal. */

export type Module = {
	readonly start: () => Promise<void>;
	readonly onEvent: (event: DatastoreEvent) => void;
	/** Whether everything taken so far is in the kernel; what is not, in words. */
	readonly unsettled: () => Promise<readonly string[]>;
	readonly status: () => object;
	/** What makes no sense in objects that are valid by themselves; undefined while that is not known. */
	readonly problems: () => readonly Problem[] | undefined;
	/** Why it does not serve yet, in words; asked only once all objects have been read. */
	readonly unready: () => readonly string[];
	/** Further requests on the control socket. */
	readonly routes?: ControlRoutes;
	/** As that of the problem reporter. */
	readonly alsoInStatus?: ProblemReporterOptions['alsoIn'];
	/** SIGTERM: an end that loses no packet. */
	readonly stop: () => Promise<void>;
};

export type ModuleContext = {
	readonly settings: Settings;
	readonly log: Logger;
	/** Undefined unless the objects come from Kubernetes. */
	readonly client: KubernetesClient | undefined;
	/** The same. */
	readonly secrets: OpenedDatastore['secrets'];
	readonly setLogLevel: (level: Settings['logLevel']) => void;
	/** Seconds that routes took from a change into the kernel, for the metrics. */
	readonly toKernel: (seconds: number) => void;
};

const stopTimeout = 5000;
/** Of which objects each daemon tells what is wrong with them: one is enough. */
const toldOf: Readonly<Record<'felix' | 'bird', readonly Kind[]>> = {
	felix: ['Node', 'Pod', 'Namespace', 'NetworkPolicy'],
	bird: ['BGPConfiguration', 'BGPPeer', 'BGPFilter', 'BFDProfile'],
};
const probePorts = { felix: 9473, bird: 9474 } as const;

export const runDaemon = async (
	name: 'felix' | 'bird',
	configFile: string | undefined,
	create: (context: ModuleContext) => Module,
): Promise<void> => {
	const loaded = loadSettings(configFile, process.env);
	if (!loaded.ok) {
		console.error(`manx ${name}: ${loaded.error}`);
		process.exitCode = 2;
		return;
	}
	const { settings } = loaded;
	const logger = createLogger(`manx-${name}`, settings.logLevel);
	const log = logger.child({ node: settings.nodeName });
	process.on('unhandledRejection', (reason) => {
		log.error({}, `a bug: ${reason instanceof Error ? reason.stack : String(reason)}`);
		process.exit(1);
	});
	mkdirSync(settings.runDir, { recursive: true, mode: 0o700 });
	const { datastore, client, secrets, source } = openDatastore(name, settings, log);
	const metrics = createMetrics(name, settings.nodeName, packageJson.version, () => ({
		routes: { wanted: 0, programmed: 0 },
		...figuresOf(module.status()),
		inSync,
		ready: unready().length === 0,
		refused: datastore.refusals().length,
	}));
	const { setLevel: setLogLevel } = logger;
	const module = create({ settings, log, client, secrets, setLogLevel, toKernel: metrics.toKernel });
	const reporter =
		client &&
		createProblemReporter({
			client,
			nodeName: settings.nodeName,
			kinds: toldOf[name],
			problems: () => {
				const found = module.problems();
				return found && [...found, ...datastore.refusals()];
			},
			...(module.alsoInStatus && { alsoIn: module.alsoInStatus }),
			log: log.child({ part: 'problems' }),
		});
	let generation = 0;
	let inSync = false;
	const settled = async (wanted: number): Promise<WaitResult> => {
		if (!inSync) return { ok: false, reason: `the objects of ${source} have not been read yet` };
		if (generation < wanted) return { ok: false, reason: `generation ${wanted} has not been seen, ${generation} has` };
		const missing = await module.unsettled();
		return missing.length === 0 ? { ok: true } : { ok: false, reason: missing.join('; ') };
	};
	const server = await startControlServer(
		join(settings.runDir, `${name}.sock`),
		{
			settled,
			...(module.routes !== undefined && { routes: module.routes }),
			status: () => ({
				node: settings.nodeName,
				mode: settings.mode,
				inSync,
				unready: unready(),
				generation,
				...module.status(),
				datastore: datastore.status?.(),
				refusals: datastore.refusals(),
			}),
		},
		log,
	);
	const unready = (): readonly string[] =>
		inSync ? module.unready() : [`the objects of ${source} have not been read yet`];
	const address = parseListenAddress(settings.metricsAddress, probePorts[name]);
	const probes =
		address &&
		startProbeServer(
			address,
			{
				unready,
				metrics: metrics.text,
			},
			log.child({ part: 'probes' }),
		);
	let stopping = false;
	const stop = async (signal: string): Promise<void> => {
		if (stopping) return;
		stopping = true;
		log.info({ signal }, `stopping on ${signal}; what is in the kernel stays`);
		const timer = setTimeout(() => process.exit(1), stopTimeout);
		reporter?.close();
		probes?.close();
		server.close();
		server.closeAllConnections();
		await datastore.close();
		await module.stop();
		clearTimeout(timer);
		process.exit(0);
	};
	for (const signal of ['SIGTERM', 'SIGINT'] as const) process.on(signal, () => void stop(signal));
	log.info({ pid: process.pid, mode: settings.mode, runDir: settings.runDir }, `manx ${name} starts`);
	datastore.start((event) => {
		module.onEvent(event);
		reporter?.onEvent(event);
		generation = event.generation;
		if (event.inSync && !inSync) log.info({}, 'all objects have been read');
		inSync = event.inSync;
	});
	try {
		await module.start();
	} catch (error) {
		log.error({}, `manx ${name} cannot start: ${(error as Error).message}`);
		process.exit(1);
	}
};
