import { collectDefaultMetrics, Gauge, Registry } from 'prom-client';

/** A daemon's figures as Prometheus reads them: asked for when somebody asks, so that nothing is counted twice. */

export type Figures = {
	readonly inSync: boolean;
	readonly ready: boolean;
	readonly routes: { readonly wanted: number; readonly programmed: number };
	readonly refused: number;
	readonly problems: number;
	readonly pods?: number;
	readonly policies?: number;
	readonly sessions?: readonly { readonly name: string; readonly state: string }[];
};

/** The figures in what a daemon says of itself. */
export const figuresOf = (
	status: object,
): Pick<Figures, 'problems' | 'pods' | 'policies' | 'sessions'> & Partial<Figures> => {
	const { pods, problems, ...rest } = status as {
		readonly pods?: readonly object[];
		readonly problems?: readonly object[];
	} & Partial<Figures>;
	return { ...rest, problems: problems?.length ?? 0, ...(pods && { pods: pods.length }) };
};

export const createMetrics = (daemon: 'felix' | 'bird', node: string, version: string, read: () => Figures) => {
	const register = new Registry();
	register.setDefaultLabels({ node });
	collectDefaultMetrics({ register });
	const gauge = (name: string, help: string, value: (figures: Figures) => number | undefined): void => {
		const metric: Gauge = new Gauge({
			name: `manx_${daemon}_${name}`,
			help,
			registers: [register],
			collect: () => metric.set(value(read()) ?? 0),
		});
	};
	const info = new Gauge({
		name: `manx_${daemon}_info`,
		help: 'The version',
		labelNames: ['version'],
		registers: [register],
	});
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
	} else {
		const up: Gauge = new Gauge({
			name: 'manx_bird_session_up',
			help: 'Whether the BGP session is Established',
			labelNames: ['peer'],
			registers: [register],
			collect: () => {
				up.reset();
				for (const { name, state } of read().sessions ?? []) up.set({ peer: name }, Number(state === 'Established'));
			},
		});
	}
	return { text: () => register.metrics() };
};
