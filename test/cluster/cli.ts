import { readFileSync } from 'node:fs';
import { stringify } from 'yaml';
import { openCluster } from './cluster.ts';
import { down } from './down.ts';
import { execInPod, podLog } from './exec.ts';
import { up } from './up.ts';

/**
 * The test cluster by hand. CLUSTER=name in the environment chooses among several.
 *
 *     cli.ts up [NODES]              cli.ts load IMAGE.tar        cli.ts get PATH   (/api/v1/nodes)
 *     cli.ts down                    cli.ts apply FILE            cli.ts exec NS/POD[/CONTAINER] CMD ...
 *     cli.ts node n1 CMD ...         cli.ts delete FILE           cli.ts logs NS/POD[/CONTAINER]
 *     cli.ts stop|start COMPONENT    cli.ts table                 (nodes and pods)
 */
const name = process.env.CLUSTER ?? 'hand';
const [command = '', first = '', ...rest] = process.argv.slice(2);

type Listed = {
	readonly items: readonly {
		readonly metadata: { readonly name: string; readonly namespace?: string };
		readonly spec: { readonly nodeName?: string; readonly podCIDR?: string };
		readonly status: {
			readonly phase?: string;
			readonly podIP?: string;
			readonly conditions?: readonly { readonly type: string; readonly status: string; readonly message?: string }[];
			readonly containerStatuses?: readonly { readonly ready: boolean; readonly restartCount: number }[];
		};
	}[];
};

const table = async (): Promise<void> => {
	const { api } = openCluster(name);
	for (const { metadata, spec, status } of (await api.json<Listed>('GET', '/api/v1/nodes')).items) {
		const ready = status.conditions?.find(({ type }) => type === 'Ready');
		console.log('node', metadata.name, spec.podCIDR ?? '-', `Ready=${ready?.status}`, ready?.message ?? '');
	}
	for (const { metadata, spec, status } of (await api.json<Listed>('GET', '/api/v1/pods')).items) {
		const ready = status.containerStatuses?.filter((one) => one.ready).length ?? 0;
		const restarts = status.containerStatuses?.reduce((sum, one) => sum + one.restartCount, 0) ?? 0;
		const counts = `${ready}/${status.containerStatuses?.length ?? 0} ready, ${restarts} restarts`;
		console.log(
			'pod',
			`${metadata.namespace}/${metadata.name}`,
			spec.nodeName,
			status.phase,
			status.podIP ?? '-',
			counts,
		);
	}
};

const commands: Record<string, () => Promise<unknown>> = {
	up: async () => {
		const started = performance.now();
		const state = await up({ name, nodes: Number(first || 3), log: console.log });
		const seconds = ((performance.now() - started) / 1000).toFixed(1);
		console.log(`${name}: ${state.nodes.length} nodes up in ${seconds} s`);
	},
	down: () => down(name),
	load: () => openCluster(name).loadImage(first),
	apply: () => openCluster(name).api.apply(readFileSync(first === '-' ? 0 : first, 'utf8')),
	delete: () => openCluster(name).api.delete(readFileSync(first === '-' ? 0 : first, 'utf8')),
	get: async () => console.log(stringify(await openCluster(name).api.json('GET', first))),
	table,
	node: async () => {
		const { ok, stdout, stderr } = await openCluster(name).inNode(first, rest);
		process.stdout.write(stdout);
		process.stderr.write(stderr);
		process.exitCode = ok ? 0 : 1;
	},
	exec: async () => {
		const { code, stdout, stderr } = await execInPod(openCluster(name).api, first, rest);
		process.stdout.write(stdout);
		process.stderr.write(stderr);
		process.exitCode = code;
	},
	logs: async () => process.stdout.write(await podLog(openCluster(name).api, first)),
	stop: () => openCluster(name).stop(first),
	start: async () => openCluster(name).start(first),
};

const chosen = commands[command];
if (chosen === undefined) throw new Error(`'${command}' is none of ${Object.keys(commands).join(', ')}.`);
await chosen();
