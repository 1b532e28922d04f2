import { spawnSync } from 'node:child_process';
import { accessSync, constants, existsSync } from 'node:fs';
import { join } from 'node:path';
import { ensurePrograms } from '../../src/lab/system-packages.ts';

/**
 * Where the programs of a cluster are. kube-apiserver and etcd of KUBEBUILDER_ASSETS are taken when it is set; the rest
 * is built from Debian's source package once and kept.
 */
export type Binaries = {
	readonly etcd: string;
	readonly apiserver: string;
	readonly controllerManager: string;
	readonly scheduler: string;
	readonly kubelet: string;
	readonly kubeProxy: string;
	readonly agnhost: string;
};

const cache = '/var/cache/kubernetes-1.20.2';
/** What build-kubernetes.sh leaves when it is done. */
const recipe = '.recipe-2';
const built = ['kube-apiserver', 'kube-controller-manager', 'kube-scheduler', 'kubelet', 'kube-proxy', 'agnhost'];

const runnable = (file: string): boolean => {
	try {
		accessSync(file, constants.X_OK);
		return true;
	} catch {
		return false;
	}
};

/** Throws with what to do when something cannot be had. Takes minutes the first time. */
export const findBinaries = (log: (line: string) => void): Binaries => {
	const assets = process.env.KUBEBUILDER_ASSETS;
	const given = (name: string): string | undefined => {
		if (assets === undefined || assets === '') return undefined;
		const file = join(assets, name);
		if (runnable(file)) return file;
		throw new Error(`KUBEBUILDER_ASSETS is ${assets}, but ${file} cannot be run: unset it, or put ${name} there.`);
	};
	const etcd = given('etcd');
	const apiserver = given('kube-apiserver');
	const problem = ensurePrograms(
		[
			...['ip', 'nsenter', 'openssl', 'containerd', 'ctr', 'runc', 'iptables', 'ipset', 'conntrack', 'busybox'],
			...['curl', 'ping', 'tar', 'ptp', 'gcc', 'libc.a'],
			...(etcd === undefined ? ['etcd'] : []),
		],
		log,
	);
	if (problem !== undefined) throw new Error(problem);
	if (!existsSync(join(cache, recipe)) || !built.every((name) => runnable(join(cache, name)))) {
		log(`building Kubernetes 1.20.2 into ${cache}, once: this takes some minutes ...`);
		const script = join(import.meta.dirname, 'build-kubernetes.sh');
		const { status, stderr } = spawnSync(script, [cache], { encoding: 'utf8', maxBuffer: 64 << 20 });
		if (status !== 0) throw new Error(`${script} failed:\n${stderr}`);
	}
	const of = (name: string): string => join(cache, name);
	return {
		etcd: etcd ?? 'etcd',
		apiserver: apiserver ?? of('kube-apiserver'),
		controllerManager: of('kube-controller-manager'),
		scheduler: of('kube-scheduler'),
		kubelet: of('kubelet'),
		kubeProxy: of('kube-proxy'),
		agnhost: of('agnhost'),
	};
};

if (import.meta.main) {
	try {
		findBinaries(console.log);
	} catch (error) {
		console.error((error as Error).message);
		process.exitCode = 1;
	}
}
