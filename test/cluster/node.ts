import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { mustRun, run, until } from '../../src/lab/shell.ts';
import type { Binaries } from './binaries.ts';
import { startComponent } from './components.ts';
import { inMachine, podNetwork, writeKubeconfig } from './control-plane.ts';
import { attachMachine } from './network.ts';
import { type ClusterNode, type Component, paths } from './state.ts';
import { pauseImage } from './test-images.ts';

/**
 * One node: a network, mount and UTS namespace with containerd, kubelet and kube-proxy of its own, so that hostPath and
 * hostNetwork mean what they mean on a real one. No CNI plugin is installed.
 */

const containerdConfig = `version = 2
root = "/var/lib/containerd"
state = "/run/containerd"
[grpc]
  address = "/run/containerd/containerd.sock"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "${pauseImage}"
  restrict_oom_score_adj = true
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "overlayfs"
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/opt/cni/bin"
    conf_dir = "/etc/cni/net.d"
`;

/** The command as run inside the node. */
export const inNode = (node: ClusterNode, ...argv: string[]): string[] => [
	...['nsenter', '--target', String(node.pid), '--net', '--mount', '--uts'],
	...argv,
];

const commandOf = (pid: number): string => {
	try {
		return readFileSync(`/proc/${pid}/comm`, 'utf8').trim();
	} catch {
		return '';
	}
};

export const importImage = async (node: ClusterNode, file: string): Promise<void> => {
	const [program = '', ...args] = inNode(node, 'ctr', '--namespace', 'k8s.io', 'images', 'import', file);
	await mustRun(program, args);
};

/** Starts the machine and containerd; the images are in it when this returns, and the kubelet is yet to start. */
export const startMachine = async (
	cluster: string,
	name: string,
	address: string,
	images: readonly string[],
): Promise<{ readonly node: ClusterNode; readonly components: readonly Component[] }> => {
	await attachMachine(cluster, name, address);
	const folder = join(paths(cluster).data, name);
	mkdirSync(folder, { recursive: true });
	const script = join(import.meta.dirname, 'machine-script.sh');
	const machine: Component = {
		id: `machine-${name}`,
		argv: inMachine(cluster, name, 'unshare', '--mount', '--uts', script, folder, name),
	};
	const pid = startComponent(cluster, machine);
	const node: ClusterNode = { name, address, pid };
	// Each step of it is an exec, so the process stays the same and at last is `sleep`.
	const reason = await until(60_000, async () => {
		const comm = commandOf(pid);
		return comm === 'sleep' ? undefined : `it is at '${comm}', see machine-${name}.log`;
	});
	if (reason !== undefined) throw new Error(`Machine ${name} is not ready after a minute: ${reason}.`);
	const config = join(folder, 'containerd.toml');
	writeFileSync(config, containerdConfig);
	const containerd: Component = {
		id: `containerd-${name}`,
		argv: inNode(node, 'containerd', '--log-level=warn', '--config', config),
	};
	startComponent(cluster, containerd);
	const [program = '', ...args] = inNode(node, 'ctr', 'version');
	const silent = await until(120_000, async () => ((await run(program, args)).ok ? undefined : 'no answer'));
	if (silent !== undefined) throw new Error(`containerd of ${name}: ${silent} after two minutes.`);
	for (const image of images) await importImage(node, image);
	return { node, components: [machine, containerd] };
};

export const nodeAgents = (
	cluster: string,
	node: ClusterNode,
	token: string,
	binaries: Binaries,
	kubeletArgs: readonly string[],
): readonly Component[] => {
	const kubeconfig = join(paths(cluster).data, node.name, 'kubelet.conf');
	writeKubeconfig(kubeconfig, token);
	return [
		{
			id: `kubelet-${node.name}`,
			argv: inNode(
				node,
				binaries.kubelet,
				`--kubeconfig=${kubeconfig}`,
				`--hostname-override=${node.name}`,
				`--node-ip=${node.address}`,
				'--container-runtime=remote',
				'--container-runtime-endpoint=unix:///run/containerd/containerd.sock',
				'--network-plugin=cni',
				'--cni-conf-dir=/etc/cni/net.d',
				'--cni-bin-dir=/opt/cni/bin',
				'--cgroup-driver=cgroupfs',
				'--cgroups-per-qos=false',
				'--enforce-node-allocatable=',
				'--fail-swap-on=false',
				'--eviction-hard=',
				'--anonymous-auth=true',
				'--authorization-mode=AlwaysAllow',
				'--cluster-dns=10.96.0.10',
				'--cluster-domain=cluster.local',
				...kubeletArgs,
			),
		},
		{
			id: `kube-proxy-${node.name}`,
			argv: inNode(
				node,
				binaries.kubeProxy,
				`--kubeconfig=${kubeconfig}`,
				`--hostname-override=${node.name}`,
				`--cluster-cidr=${podNetwork}`,
				'--conntrack-max-per-core=0',
				'--proxy-mode=iptables',
			),
		},
	];
};
