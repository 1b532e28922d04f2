import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { mustRun, until } from '../../src/lab/shell.ts';
import type { Api } from './api.ts';
import type { Binaries } from './binaries.ts';
import { apiServer, type Component, controlPlaneAddress, paths } from './state.ts';

/** etcd, API server, controller-manager and scheduler, in one network namespace. */

export const podNetwork = '10.244.0.0/16';

export const writeKubeconfig = (file: string, token: string): void => {
	const config = {
		apiVersion: 'v1',
		kind: 'Config',
		clusters: [{ name: 'test', cluster: { server: apiServer, 'insecure-skip-tls-verify': true } }],
		users: [{ name: 'admin', user: { token } }],
		contexts: [{ name: 'test', context: { cluster: 'test', user: 'admin' } }],
		'current-context': 'test',
	};
	writeFileSync(file, JSON.stringify(config), { mode: 0o600 });
};

export const inMachine = (cluster: string, machine: string, ...argv: string[]): string[] => [
	'nsenter',
	`--net=${paths(cluster).netnsFile(machine)}`,
	...argv,
];

/** Writes keys, token and kubeconfig, and returns the programs in the order in which they start. */
export const prepareControlPlane = async (
	cluster: string,
	token: string,
	binaries: Binaries,
): Promise<readonly Component[]> => {
	const { run, data, kubeconfig, apiSocket } = paths(cluster);
	mkdirSync(run, { recursive: true });
	const etcdData = join(data, 'etcd');
	rmSync(etcdData, { recursive: true, force: true });
	const [key, publicKey] = [join(run, 'sa.key'), join(run, 'sa.pub')];
	await mustRun('openssl', ['genrsa', '-out', key, '2048']);
	await mustRun('openssl', ['rsa', '-in', key, '-pubout', '-out', publicKey]);
	writeFileSync(join(run, 'tokens.csv'), `${token},admin,1,"system:masters"\n`, { mode: 0o600 });
	writeKubeconfig(kubeconfig, token);
	const component = (id: string, ...argv: string[]): Component => ({ id, argv: inMachine(cluster, 'cp', ...argv) });
	return [
		component(
			'etcd',
			binaries.etcd,
			`--data-dir=${etcdData}`,
			'--unsafe-no-fsync',
			'--listen-client-urls=http://127.0.0.1:2379',
			'--advertise-client-urls=http://127.0.0.1:2379',
			'--listen-peer-urls=http://127.0.0.1:2380',
		),
		component(
			'apiserver',
			binaries.apiserver,
			'--etcd-servers=http://127.0.0.1:2379',
			`--cert-dir=${join(run, 'certs')}`,
			'--bind-address=0.0.0.0',
			'--secure-port=6443',
			`--advertise-address=${controlPlaneAddress}`,
			`--external-hostname=${controlPlaneAddress}`,
			'--service-account-issuer=https://kubernetes.default.svc',
			'--api-audiences=https://kubernetes.default.svc',
			`--service-account-key-file=${publicKey}`,
			`--service-account-signing-key-file=${key}`,
			`--token-auth-file=${join(run, 'tokens.csv')}`,
			'--authorization-mode=RBAC',
			'--allow-privileged=true',
			'--service-cluster-ip-range=10.96.0.0/16',
			'--kubelet-preferred-address-types=InternalIP',
		),
		component('relay', process.execPath, join(import.meta.dirname, 'relay.ts'), apiSocket, controlPlaneAddress, '6443'),
		component(
			'controller-manager',
			binaries.controllerManager,
			`--kubeconfig=${kubeconfig}`,
			`--service-account-private-key-file=${key}`,
			`--root-ca-file=${join(run, 'certs/apiserver.crt')}`,
			'--allocate-node-cidrs=true',
			`--cluster-cidr=${podNetwork}`,
			'--node-cidr-mask-size=24',
			'--leader-elect=false',
		),
		component('scheduler', binaries.scheduler, `--kubeconfig=${kubeconfig}`, '--leader-elect=false'),
	];
};

/** Returns when the API server says that it is ready. */
export const waitForApi = async (api: Api): Promise<void> => {
	const reason = await until(300_000, async () => {
		const answer = await api.request('GET', '/readyz').catch((error: Error) => ({ status: 0, text: error.message }));
		return answer.status === 200 ? undefined : `${answer.status} ${answer.text}`;
	});
	if (reason !== undefined) throw new Error(`The API server is not ready after five minutes: ${reason}`);
};
