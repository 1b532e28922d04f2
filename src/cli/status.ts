import { request } from 'node:http';
import { join } from 'node:path';
import { loadSettings } from '../config.ts';
import { table } from '../lab/table.ts';

/**
 * `manx status`: one screen on this node, from what both daemons say over their control sockets. Ends with 1 when
 * something keeps this node from doing its work, and lists what.
 */

type Problem = { readonly object: string; readonly field: string; readonly reason: string; readonly code?: string };
type Session = {
	readonly name: string;
	readonly address: string;
	readonly asNumber: number;
	readonly state: string;
	readonly uptimeSeconds: number;
	readonly received: number;
	readonly advertised: number;
	readonly lastError: string;
};
type DaemonStatus = {
	readonly node: string;
	readonly mode: string;
	readonly inSync: boolean;
	readonly unready: readonly string[];
	readonly problems: readonly Problem[];
	readonly refusals: readonly Problem[];
	readonly warnings?: readonly string[];
	readonly routes?: { readonly wanted: number; readonly programmed: number };
	readonly fib?: { readonly wanted: number; readonly programmed: number };
	readonly lastError?: string;
	readonly datastore?: {
		readonly connected: boolean;
		readonly lastError: string;
		readonly ages: Readonly<Record<string, number>>;
	};
	readonly podCIDRs?: readonly string[];
	readonly backend?: string;
	readonly pods?: readonly object[];
	readonly policies?: number;
	readonly sessions?: readonly Session[];
	readonly draining?: string;
};

const daemons = ['felix', 'bird'] as const;
type Answers = Readonly<Record<(typeof daemons)[number], DaemonStatus | string>>;

/** The daemon's status, or why it cannot be had. */
const ask = (socketPath: string): Promise<DaemonStatus | string> =>
	new Promise((resolve) => {
		const outgoing = request({ socketPath, path: '/status', timeout: 5000, agent: false }, (response) => {
			let text = '';
			response.setEncoding('utf8').on('data', (chunk: string) => {
				text += chunk;
			});
			response.on('end', () => {
				try {
					resolve(JSON.parse(text) as DaemonStatus);
				} catch (error) {
					resolve((error as Error).message);
				}
			});
		});
		outgoing.on('timeout', () => outgoing.destroy(new Error('no answer within 5 s')));
		outgoing.on('error', (error: NodeJS.ErrnoException) => {
			const down = error.code === 'ENOENT' || error.code === 'ECONNREFUSED';
			resolve(down ? 'it is not running' : error.message);
		});
		outgoing.end();
	});

/** The code is the word to look up in the documentation. */
const sentence = ({ object, field, reason, code }: Problem): string =>
	[object, field, reason, code && `[${code}]`].filter(Boolean).join(' ');

/**
 * A node of the mesh where nothing listens: in host-gw mode, while a cluster changes its mode, or its bird is not running, which is
 * told there. Its pods are reached by felix's own routes.
 */
const isSpeakerless = ({ name, state, lastError }: Session): boolean =>
	state !== 'Established' && name.startsWith('mesh/') && lastError.startsWith('connection refused');

/** What keeps the node from doing its work, in words. */
export const degradations = (answers: Answers): readonly string[] =>
	daemons.flatMap((daemon) => {
		const status = answers[daemon];
		if (typeof status === 'string') return [`${daemon}: ${status}`];
		const routes = status.routes ?? status.fib;
		const missing = routes === undefined ? 0 : routes.wanted - routes.programmed;
		return [
			...status.unready,
			...(status.datastore?.connected === false
				? [`no contact with the API server: ${status.datastore.lastError}. What is in force stays.`]
				: []),
			...(missing > 0 ? [`${missing} routes are not in the kernel. ${status.lastError ?? ''}`.trim()] : []),
			...(status.lastError ? [status.lastError] : []),
			...(status.sessions ?? [])
				.filter((session) => session.state !== 'Established' && !isSpeakerless(session))
				.map(({ name, state, lastError }) => `session ${name} is ${state}${lastError === '' ? '' : `: ${lastError}`}`),
			...status.problems.map(sentence),
		].map((reason) => `${daemon}: ${reason}`);
	});

const ageOf = ({ datastore, inSync }: DaemonStatus): string => {
	const ages = Object.values(datastore?.ages ?? {});
	if (!inSync) return 'objects not read yet';
	return ages.length === 0 ? 'in sync' : `in sync, heard ${Math.round(Math.max(...ages))} s ago`;
};

const duration = (seconds: number): string =>
	seconds < 120
		? `${seconds} s`
		: seconds < 7200
			? `${Math.round(seconds / 60)} min`
			: `${Math.round(seconds / 3600)} h`;

const screen = (answers: Answers, degraded: readonly string[]): string => {
	const { felix, bird } = answers;
	const rows: (readonly [string, string])[] = [];
	const any = typeof felix !== 'string' ? felix : typeof bird !== 'string' ? bird : undefined;
	if (any !== undefined) rows.push(['node', `${any.node}, mode ${any.mode}`]);
	if (typeof felix !== 'string') {
		rows.push(
			['felix', ageOf(felix)],
			['pod networks', felix.podCIDRs?.join(', ') || 'none'],
			['pods', String(felix.pods?.length ?? 0)],
			['policies', `${felix.policies ?? 0}, ${felix.backend ?? ''}`],
			['routes of pods', `${felix.routes?.programmed ?? 0} of ${felix.routes?.wanted ?? 0}`],
		);
	}
	if (typeof bird !== 'string') {
		const sessions = bird.sessions ?? [];
		const up = sessions.filter(({ state }) => state === 'Established').length;
		rows.push(
			['bird', ageOf(bird)],
			['routes learnt', `${bird.fib?.programmed ?? 0} of ${bird.fib?.wanted ?? 0}`],
			['sessions', `${up} of ${sessions.length} Established`],
		);
		if (bird.draining) rows.push(['drained', bird.draining]);
	}
	const width = Math.max(...rows.map(([name]) => name.length), 0);
	const sessions = typeof bird === 'string' ? [] : (bird.sessions ?? []);
	const speakerless = sessions.filter(isSpeakerless).map(({ name }) => name.slice('mesh/'.length));
	const warnings = daemons.flatMap((daemon) => {
		const status = answers[daemon];
		if (typeof status === 'string') return [];
		return [...(status.warnings ?? []), ...status.refusals.map((refusal) => `refused: ${sentence(refusal)}`)];
	});
	const verdict = warnings.length + speakerless.length === 0 ? 'all is well' : 'all is well but for these warnings';
	return [
		...rows.map(([name, text]) => `${name.padEnd(width)}  ${text}`),
		...(sessions.length === 0
			? []
			: [
					'',
					table(
						['PEER', 'ADDRESS', 'AS', 'STATE', 'SINCE', 'RECEIVED', 'ADVERTISED'],
						sessions.map((one) => [
							one.name,
							one.address,
							String(one.asNumber),
							one.state,
							one.state === 'Established' ? duration(one.uptimeSeconds) : '-',
							String(one.received),
							String(one.advertised),
						]),
					),
				]),
		...(speakerless.length === 0
			? []
			: [
					'',
					`warning: no speaker on ${speakerless.slice(0, 5).join(', ')}${speakerless.length > 5 ? ` and ${speakerless.length - 5} more` : ''}: in host-gw mode, or bird is not running there`,
				]),
		...(warnings.length === 0 ? [] : ['', ...new Set(warnings.map((text) => `warning: ${text}`))]),
		'',
		...(degraded.length === 0 ? [verdict] : ['DEGRADED', ...degraded.map((reason) => `  ${reason}`)]),
	].join('\n');
};

export const status = async (options: { readonly config?: string; readonly output: string }): Promise<void> => {
	const loaded = loadSettings(options.config, process.env);
	if (!loaded.ok || !['text', 'json'].includes(options.output)) {
		console.error(`manx status: ${loaded.ok ? `there is -o text and -o json, not '${options.output}'` : loaded.error}`);
		process.exitCode = 2;
		return;
	}
	const { runDir } = loaded.settings;
	const [felix, bird] = await Promise.all(daemons.map((daemon) => ask(join(runDir, `${daemon}.sock`))));
	const answers: Answers = { felix: felix as DaemonStatus | string, bird: bird as DaemonStatus | string };
	const degraded = degradations(answers);
	const told = (answer: DaemonStatus | string) => (typeof answer === 'string' ? { error: answer } : answer);
	console.log(
		options.output === 'json'
			? JSON.stringify({ degraded, felix: told(answers.felix), bird: told(answers.bird) }, null, 2)
			: screen(answers, degraded),
	);
	process.exitCode = degraded.length === 0 ? 0 : 1;
};
