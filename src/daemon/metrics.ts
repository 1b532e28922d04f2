import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from 'prom-client';
import type { BfdSessionStatus, FibStatus, PeerSessionStatus } from '../../bird/index.ts';

/**
 * A daemon's figures as Prometheus reads them: asked for when somebody asks, so that nothing is counted twice.
 * docs/reference/metrics.md lists them all.
 */

/** Of a session, what figures are made of. */
export type SessionFigures = Pick<
	PeerSessionStatus,
	'name' | 'state' | 'since' | 'receivedByFamily' | 'advertised' | 'gracefulRestart' | 'counters'
> & { readonly bfd?: Pick<BfdSessionStatus, 'state'>; readonly held?: string };

export type Figures = {
	readonly inSync: boolean;
	readonly ready: boolean;
	readonly routes: { readonly wanted: number; readonly programmed: number };
	readonly refused: number;
	readonly problems: number;
	readonly pods?: number;
	readonly policies?: number;
	readonly sessions?: readonly SessionFigures[];
	readonly fib?: Pick<FibStatus, 'wanted' | 'programmed' | 'failed' | 'withheld' | 'unreachable'>;
	readonly rib?: { readonly 4: number; readonly 6: number };
	readonly converged?: boolean;
	/** Why; '' when it is not. */
	readonly draining?: string;
};

/** The figures in what a daemon says of itself. */
export const figuresOf = (status: object): Pick<Figures, 'problems'> & Partial<Figures> => {
	const { pods, problems, ...rest } = status as {
		readonly pods?: readonly object[];
		readonly problems?: readonly object[];
	} & Partial<Figures>;
	return {
		...rest,
		...(rest.fib && { routes: rest.fib }),
		problems: problems?.length ?? 0,
		...(pods && { pods: pods.length }),
	};
};

const states = ['Idle', 'Connect', 'Active', 'OpenSent', 'OpenConfirm', 'Established'] as const;
/** Seconds. */
const buckets = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10];

type Labels = Readonly<Record<string, string>>;
type Sample = readonly [labels: Labels, value: number];

export const createMetrics = (daemon: 'felix' | 'bird', node: string, version: string, read: () => Figures) => {
	const register = new Registry();
	register.setDefaultLabels({ node });
	collectDefaultMetrics({ register });
	const registers = [register];
	/** One look for all figures of one answer. */
	let figures: Figures | undefined;
	const now = (): Figures => {
		figures ??= read();
		return figures;
	};
	const text = async (): Promise<string> => {
		figures = undefined;
		return register.metrics();
	};
	const gauges = (name: string, help: string, labelNames: readonly string[], of: (figures: Figures) => Sample[]) => {
		const metric: Gauge = new Gauge({
			name: `manx_${daemon}_${name}`,
			help,
			labelNames: [...labelNames],
			registers,
			collect: () => {
				metric.reset();
				for (const [labels, value] of of(now())) metric.set(labels, value);
			},
		});
	};
	const gauge = (name: string, help: string, value: (figures: Figures) => number | undefined): void =>
		gauges(name, help, [], (figures) => [[{}, value(figures) ?? 0]]);
	/** Of what is counted elsewhere. */
	const counters = (
		name: string,
		help: string,
		labelNames: readonly string[],
		of: (one: SessionFigures) => Sample[],
	) => {
		const metric: Counter = new Counter({
			name: `manx_bird_${name}`,
			help,
			labelNames: ['peer', ...labelNames],
			registers,
			collect: () => {
				metric.reset();
				for (const one of now().sessions ?? []) {
					for (const [labels, value] of of(one)) metric.inc({ peer: one.name, ...labels }, value);
				}
			},
		});
	};
	const ofSessions = (
		name: string,
		help: string,
		labelNames: readonly string[],
		of: (one: SessionFigures) => readonly Sample[],
	): void =>
		gauges(name, help, ['peer', ...labelNames], ({ sessions = [] }) =>
			sessions.flatMap((one) => of(one).map(([labels, value]): Sample => [{ peer: one.name, ...labels }, value])),
		);

	const info = new Gauge({ name: `manx_${daemon}_info`, help: 'The version', labelNames: ['version'], registers });
	info.set({ version }, 1);
	gauge('in_sync', 'Whether all objects have been read', ({ inSync }) => Number(inSync));
	gauge('ready', 'Whether the daemon serves', ({ ready }) => Number(ready));
	gauge('routes_wanted', 'Routes that should be in the kernel', ({ routes }) => routes.wanted);
	gauge('routes_programmed', 'Those of them that are', ({ routes }) => routes.programmed);
	gauge('objects_refused', 'Objects that fail validation', ({ refused }) => refused);
	gauge('problems', 'What is wrong with objects that were taken', ({ problems }) => problems);
	if (daemon === 'felix') {
		gauge('pods', 'Pods wired on this node', ({ pods }) => pods);
		gauge('policies', 'NetworkPolicy objects', ({ policies }) => policies);
		return { text, toKernel: (_seconds: number): void => {} };
	}

	gauge('converged', 'Whether the routes of all peers are known, or were waited for', (f) =>
		Number(f.converged ?? false),
	);
	gauge('draining', 'Whether the node is announced with graceful shutdown', (f) => Number((f.draining ?? '') !== ''));
	gauge('routes_failed', 'Routes that the kernel refuses', ({ fib }) => fib?.failed.length);
	gauge('routes_withheld', 'Routes left out for one of somebody else', ({ fib }) => fib?.withheld.length);
	gauge('routes_unreachable', 'Routes without a next hop that can be reached', ({ fib }) => fib?.unreachable.length);
	gauges('rib_prefixes', 'Prefixes in the Loc-RIB, our own included', ['family'], ({ rib }) => [
		[{ family: 'ipv4' }, rib?.[4] ?? 0],
		[{ family: 'ipv6' }, rib?.[6] ?? 0],
	]);
	gauges('sessions', 'BGP sessions by state', ['state'], ({ sessions = [] }) =>
		states.map((state) => [{ state }, sessions.filter((one) => one.state === state).length]),
	);
	ofSessions('session_up', 'Whether the BGP session is Established', [], ({ state }) => [
		[{}, Number(state === 'Established')],
	]);
	ofSessions('session_changed_timestamp_seconds', 'When it came up, or ended', [], ({ since }) => [
		[{}, Date.parse(since) / 1000],
	]);
	ofSessions('session_held', 'Whether it is kept down, by configuration or a prefix limit', [], ({ held }) => [
		[{}, Number(held !== undefined)],
	]);
	ofSessions('session_stale', 'Whether routes are kept while the peer restarts', [], ({ gracefulRestart }) => [
		[{}, Number(gracefulRestart.helping)],
	]);
	ofSessions('session_received_prefixes', 'Prefixes in its Adj-RIB-In', ['family'], ({ receivedByFamily: count }) => [
		[{ family: 'ipv4' }, count[4]],
		[{ family: 'ipv6' }, count[6]],
	]);
	ofSessions('session_advertised_prefixes', 'Prefixes in its Adj-RIB-Out', [], ({ advertised }) => [[{}, advertised]]);
	ofSessions('bfd_session_up', 'Whether its BFD session is Up', [], ({ bfd }) =>
		bfd === undefined ? [] : [[{}, Number(bfd.state === 'Up')]],
	);
	counters('session_state_changes_total', 'Times it came into the state', ['state'], ({ counters: { entered } }) =>
		states.map((state) => [{ state }, entered[state] ?? 0]),
	);
	counters('session_updates_received_total', 'UPDATEs received', [], (one) => [[{}, one.counters.updatesReceived]]);
	counters('session_updates_sent_total', 'UPDATEs sent', [], (one) => [[{}, one.counters.updatesSent]]);
	counters('session_update_errors_total', 'Malformed UPDATEs that left the session up', [], (one) => [
		[{}, one.counters.updateErrors],
	]);
	counters('session_routes_refused_total', 'Routes that make no sense here', [], (one) => [
		[{}, one.counters.routesRefused],
	]);
	const byCode = (counts: Readonly<Record<string, number>>): Sample[] =>
		Object.entries(counts).map(([which, value]) => {
			const [code = '', subcode = ''] = which.split('/');
			return [{ code, subcode }, value];
		});
	const codes = ['code', 'subcode'];
	counters('session_notifications_received_total', 'NOTIFICATIONs received', codes, (one) =>
		byCode(one.counters.notificationsReceived),
	);
	counters('session_notifications_sent_total', 'NOTIFICATIONs sent', codes, (one) =>
		byCode(one.counters.notificationsSent),
	);
	const toKernel = new Histogram({
		name: 'manx_bird_change_to_kernel_seconds',
		help: 'From the earliest change of a batch to its routes in the kernel',
		buckets,
		registers,
	});
	return { text, toKernel: (seconds: number): void => toKernel.observe(seconds) };
};
