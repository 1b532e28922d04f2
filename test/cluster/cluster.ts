import { resolve } from 'node:path';
import { type Outcome, pool, type RunOptions, run } from '../../src/lab/shell.ts';
import { type Api, createApi } from './api.ts';
import { startComponent, stopComponent } from './components.ts';
import { down } from './down.ts';
import { importImage, inNode } from './node.ts';
import { type ClusterNode, type ClusterState, paths, readState } from './state.ts';

/** A cluster that is up, as tests and the command line handle it. */
export type Cluster = {
	readonly state: ClusterState;
	readonly api: Api;
	readonly node: (name: string) => ClusterNode;
	/** Runs a command inside a node. */
	readonly inNode: (name: string, argv: readonly string[], options?: RunOptions) => Promise<Outcome>;
	/** Puts a docker-archive into every node. */
	readonly loadImage: (file: string) => Promise<void>;
	readonly stop: (component: string) => Promise<void>;
	readonly start: (component: string) => void;
	readonly down: () => Promise<void>;
};

export const openCluster = (name: string): Cluster => {
	const state = readState(name);
	if (state === undefined) throw new Error(`There is no cluster ${name}.`);
	const node = (wanted: string): ClusterNode => {
		const found = state.nodes.find((one) => one.name === wanted);
		if (found === undefined) throw new Error(`Cluster ${name} has no node ${wanted}.`);
		return found;
	};
	return {
		state,
		api: createApi(paths(name).apiSocket, state.token),
		node,
		inNode: (wanted, argv, options) => {
			const [program = '', ...args] = inNode(node(wanted), ...argv);
			return run(program, args, options);
		},
		loadImage: async (file) => {
			await pool(state.nodes, 4, (one) => importImage(one, resolve(file)));
		},
		stop: (component) => stopComponent(name, component),
		start: (component) => {
			const found = state.components.find((one) => one.id === component);
			if (found === undefined) throw new Error(`There is no ${component}: ${state.components.map(({ id }) => id)}.`);
			startComponent(name, found);
		},
		down: () => down(name),
	};
};
