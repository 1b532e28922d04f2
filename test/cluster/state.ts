import { appendFileSync, mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { ProcessRecord } from '../../src/lab/processes.ts';

/** What is known of a cluster outside of the process that made it: enough to go on with it, or to end it after a crash. */

export type ClusterNode = { readonly name: string; readonly address: string; readonly pid: number };

export type Component = {
	/** `etcd`, `apiserver`, `kubelet-n1`, ... */
	readonly id: string;
	readonly argv: readonly string[];
};

export type ClusterState = {
	readonly name: string;
	readonly token: string;
	readonly nodes: readonly ClusterNode[];
	readonly components: readonly Component[];
	readonly kubeletArgs: readonly string[];
};

export const controlPlaneAddress = '172.30.0.2';
export const apiServer = `https://${controlPlaneAddress}:6443`;

export const netnsPrefix = (cluster: string): string => `mc-${cluster}-`;

export const paths = (cluster: string) => {
	const run = `/run/manx-cluster/${cluster}`;
	return {
		run,
		data: `/var/tmp/manx-cluster/${cluster}`,
		state: join(run, 'state.json'),
		pids: join(run, 'pids'),
		apiSocket: join(run, 'api.sock'),
		kubeconfig: join(run, 'admin.conf'),
		netns: (machine: string) => `${netnsPrefix(cluster)}${machine}`,
		netnsFile: (machine: string) => `/run/netns/${netnsPrefix(cluster)}${machine}`,
	};
};

export const readState = (cluster: string): ClusterState | undefined => {
	try {
		return JSON.parse(readFileSync(paths(cluster).state, 'utf8')) as ClusterState;
	} catch {
		return undefined;
	}
};

export const writeState = (state: ClusterState): void => {
	const file = paths(state.name).state;
	mkdirSync(paths(state.name).run, { recursive: true });
	writeFileSync(`${file}.tmp`, JSON.stringify(state));
	renameSync(`${file}.tmp`, file);
};

export const recordProcess = (cluster: string, id: string, record: ProcessRecord): void =>
	appendFileSync(paths(cluster).pids, `${JSON.stringify({ id, ...record })}\n`);

export const recordedProcesses = (cluster: string): readonly (ProcessRecord & { readonly id: string })[] => {
	try {
		return readFileSync(paths(cluster).pids, 'utf8')
			.split('\n')
			.filter((line) => line !== '')
			.map((line) => JSON.parse(line) as ProcessRecord & { id: string });
	} catch {
		return [];
	}
};
