import { randomBytes } from 'node:crypto';
import { mkdirSync } from 'node:fs';
import { pool } from '../../src/lab/shell.ts';
import { createApi } from './api.ts';
import { findBinaries } from './binaries.ts';
import { startComponent } from './components.ts';
import { prepareControlPlane, waitForApi } from './control-plane.ts';
import { attachMachine, createFabric } from './network.ts';
import { nodeAgents, startMachine } from './node.ts';
import { type ClusterState, controlPlaneAddress, paths, readState, writeState } from './state.ts';
import { writeTestImages } from './test-images.ts';

/**
 * A real Kubernetes cluster on one machine, with no CNI plugin:
 *
 *     fabric 172.30.0.0/24, a bridge in a network namespace of its own (172.30.0.1 is the router's address)
 *       cp 172.30.0.2          etcd, API server, controller-manager, scheduler
 *       n1 172.30.0.11, ...    nodes
 *
 * All of it is in namespaces and folders that carry the cluster's name, so several can be up at once; the machine's own
 * interfaces, routes and rules are left alone.
 */
export const up = async (options: {
	readonly name: string;
	readonly nodes: number;
	readonly kubeletArgs?: readonly string[];
	readonly log?: (line: string) => void;
}): Promise<ClusterState> => {
	const { name, kubeletArgs = [], log = () => {} } = options;
	if (!/^[a-z0-9]{1,20}$/.test(name)) throw new Error(`'${name}' must be up to 20 lower case letters and digits.`);
	if (readState(name) !== undefined) throw new Error(`Cluster ${name} is up, or its rest is: take it down first.`);
	const binaries = findBinaries(log);
	const { data, apiSocket } = paths(name);
	const token = randomBytes(16).toString('hex');
	let state: ClusterState = { name, token, nodes: [], components: [], kubeletArgs };
	writeState(state);
	mkdirSync(data, { recursive: true });
	await createFabric(name);
	await attachMachine(name, 'cp', controlPlaneAddress);
	const controlPlane = await prepareControlPlane(name, token, binaries);
	const [etcd, apiserver, relay, ...managers] = controlPlane;
	for (const component of [etcd, apiserver, relay]) if (component) startComponent(name, component);
	const api = createApi(apiSocket, token);
	// The nodes' containerd start while the API server does.
	const images = writeTestImages(data, binaries.agnhost);
	const names = Array.from({ length: options.nodes }, (_, index) => index + 1);
	const [machines] = await Promise.all([
		pool(names, 4, (number) => startMachine(name, `n${number}`, `172.30.0.${10 + number}`, images)),
		waitForApi(api),
	]);
	for (const component of managers) startComponent(name, component);
	const agents = machines.flatMap(({ node }) => nodeAgents(name, node, token, binaries, kubeletArgs));
	for (const component of agents) startComponent(name, component);
	state = {
		...state,
		nodes: machines.map((machine) => machine.node),
		components: [...controlPlane, ...machines.flatMap((machine) => machine.components), ...agents],
	};
	writeState(state);
	return state;
};
