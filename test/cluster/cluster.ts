import { cpSync, rmSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { type Outcome, pool, type RunOptions, run } from '../../src/lab/shell.ts';
import { type Api, createApi } from './api.ts';
import { findBinaries } from './binaries.ts';
import { startComponent, stopComponent } from './components.ts';
import { waitForApi } from './control-plane.ts';
import { down, endMachine } from './down.ts';
import { importImage, inNode, nodeAgents, startMachine } from './node.ts';
import { type ClusterNode, type ClusterState, paths, readState, writeState } from './state.ts';
import { testImageFiles } from './test-images.ts';

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
	/** Pulls a node's plug and starts it again: all is gone but its disk. Returns when its containerd answers. */
	readonly reboot: (node: string) => Promise<void>;
	/** One more node, with the test images and `images` in it. */
	readonly addNode: (images: readonly string[]) => Promise<ClusterNode>;
	/** Keeps a copy of what etcd holds now. */
	readonly backUp: () => Promise<void>;
	/** Everything of the control plane comes back with what etcd held then. */
	readonly restoreBackup: () => Promise<void>;
	readonly down: () => Promise<void>;
};

export const openCluster = (name: string): Cluster => {
	const found = readState(name);
	if (found === undefined) throw new Error(`There is no cluster ${name}.`);
	// One object all along: it is handed out, and nodes come.
	const state = { ...found };
	const changeState = (change: Partial<ClusterState>): void => writeState(Object.assign(state, change));
	const node = (wanted: string): ClusterNode => {
		const found = state.nodes.find((one) => one.name === wanted);
		if (found === undefined) throw new Error(`Cluster ${name} has no node ${wanted}.`);
		return found;
	};
	const stop = (component: string): Promise<void> => stopComponent(name, component);
	const start = (component: string): void => {
		const found = state.components.find((one) => one.id === component);
		if (found === undefined) throw new Error(`There is no ${component}: ${state.components.map(({ id }) => id)}.`);
		startComponent(name, found);
	};
	const api = createApi(paths(name).apiSocket, state.token);
	/** Starts a machine and all that runs on it, and puts it into the state in the place of one of its name. */
	const startNode = async (wanted: string, address: string, images: readonly string[]): Promise<ClusterNode> => {
		const { node, components } = await startMachine(name, wanted, address, images);
		const agents = nodeAgents(
			name,
			node,
			state.token,
			findBinaries(() => {}),
			state.kubeletArgs,
		);
		changeState({
			nodes: [...state.nodes.filter((one) => one.name !== wanted), node].sort((a, b) => (a.name < b.name ? -1 : 1)),
			components: [...state.components.filter(({ id }) => !id.endsWith(`-${wanted}`)), ...components, ...agents],
		});
		for (const { id } of agents) start(id);
		return node;
	};
	const etcdData = join(paths(name).data, 'etcd');
	const backup = `${etcdData}-backup`;
	return {
		state,
		api,
		node,
		inNode: (wanted, argv, options) => {
			const [program = '', ...args] = inNode(node(wanted), ...argv);
			return run(program, args, options);
		},
		loadImage: async (file) => {
			await pool(state.nodes, 4, (one) => importImage(one, resolve(file)));
		},
		stop,
		start,
		reboot: async (wanted) => {
			const { address } = node(wanted);
			await endMachine(name, wanted);
			await startNode(wanted, address, []);
		},
		addNode: (images) => {
			const number = state.nodes.length + 1;
			const files = [...testImageFiles(paths(name).data), ...images.map((file) => resolve(file))];
			return startNode(`n${number}`, `172.30.0.${10 + number}`, files);
		},
		backUp: async () => {
			await stop('etcd');
			rmSync(backup, { recursive: true, force: true });
			cpSync(etcdData, backup, { recursive: true });
			start('etcd');
			await waitForApi(api);
		},
		restoreBackup: async () => {
			const programs = ['controller-manager', 'scheduler', 'apiserver', 'etcd'];
			for (const program of programs) await stop(program);
			rmSync(etcdData, { recursive: true });
			cpSync(backup, etcdData, { recursive: true });
			for (const program of programs.reverse()) start(program);
			await waitForApi(api);
		},
		down: () => down(name),
	};
};
