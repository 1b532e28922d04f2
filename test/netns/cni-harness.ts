import { execFileSync, spawn } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Attachment } from '../../felix/attachment.ts';
import { createCniServer } from '../../felix/cni/server.ts';
import { type Cni, type CniDeps, createCni } from '../../felix/cni/verbs.ts';
import { hostInterfacePrefix, hostStateOf } from '../../felix/cni/wiring.ts';
import type { Pod } from '../../src/api/objects.ts';
import { owners } from '../../src/kernel/kernel.ts';
import { inNetns } from '../../src/kernel/netns.ts';
import { openKernel } from '../../src/kernel/open-kernel.ts';
import { openSysctls } from '../../src/kernel/sysctl.ts';
import type { Logger } from '../../src/logging.ts';

/**
 * A node in a network namespace, with the real plugin, the real server, the real kernel, and a dataplane that writes
 * hostStateOf() through the reconcilers and nothing else.
 */

const silent = (): void => {};
export const quiet: Logger = { debug: silent, info: silent, warn: silent, error: silent, child: () => quiet };

export const ip = (...args: readonly string[]): string => execFileSync('ip', args, { encoding: 'utf8' });

export const nodeAddresses = ['192.0.2.11', '2001:db8::11'] as const;

export type Outcome = { readonly code: number | null; readonly stdout: string };

export type NodeHarness = {
	readonly netns: string;
	readonly runDir: string;
	/** What the fake datastore and dataplane say; tests change them. */
	readonly world: {
		podCIDRs: readonly string[];
		inSync: boolean;
		knows: (namespace: string, name: string) => boolean;
		/** What waiting for a pod waits for. */
		arrival: () => Promise<void>;
		programming: () => string | undefined;
		lastKnown: CniDeps['lastKnown'];
		now: () => number;
	};
	readonly cni: () => Cni;
	/** Starts felix: restore, program what was found, serve. */
	readonly start: () => Promise<readonly Attachment[]>;
	/** Ends it as a kill would: nothing is tidied but the listening socket's descriptor. */
	readonly stop: () => Promise<void>;
	readonly addPodNetns: (name: string) => string;
	readonly deletePodNetns: (name: string) => void;
	readonly call: (command: string, options?: CallOptions) => Promise<Outcome>;
	readonly cleanUp: () => Promise<void>;
};

export type CallOptions = {
	readonly id?: string;
	readonly ifname?: string;
	readonly netns?: string;
	readonly pod?: string;
	readonly cniVersion?: string;
	readonly conf?: object;
	readonly stdin?: string;
};

let serial = 0;

export const createNode = (shim: string): NodeHarness => {
	const prefix = `manxt-${process.pid}-${serial++}`;
	const netns = `/run/netns/${prefix}`;
	const runDir = mkdtempSync('/run/manxt-cni-');
	const pods = new Set<string>();
	ip('netns', 'add', prefix);
	ip('-n', prefix, 'link', 'set', 'lo', 'up');
	for (const address of nodeAddresses) ip('-n', prefix, 'addr', 'add', address, 'dev', 'lo');
	inNetns(netns, () => {
		writeFileSync('/proc/sys/net/ipv4/ip_forward', '1');
		writeFileSync('/proc/sys/net/ipv6/conf/all/forwarding', '1');
	});
	const world: NodeHarness['world'] = {
		podCIDRs: ['10.244.1.0/24', 'fd00:1::/64'],
		inSync: true,
		knows: () => true,
		arrival: () => Promise.resolve(),
		programming: () => undefined,
		lastKnown: () => undefined,
		now: () => Date.now(),
	};
	let running: { readonly cni: Cni; readonly stop: () => Promise<void> } | undefined;

	const start = async (): Promise<readonly Attachment[]> => {
		const kernel = openKernel({ log: quiet, netns });
		const routes = kernel.routes(owners.felix);
		const neighbours = kernel.neighbours(hostInterfacePrefix);
		const programmed = async (attachment: Attachment): Promise<string | undefined> => {
			const wanted = hostStateOf(attachment, nodeAddresses);
			for (const route of wanted.routes) routes.set(route);
			for (const neighbour of wanted.neighbours) neighbours.set(neighbour);
			const results = [await neighbours.apply(), await routes.apply()];
			const keys = [...wanted.routes.map(routes.keyOf), ...wanted.neighbours.map(neighbours.keyOf)];
			const failed = keys.flatMap((key) => results.flatMap((result) => result.failed.get(key) ?? []));
			return world.programming() ?? failed[0]?.message;
		};
		const deps: CniDeps = {
			kernel,
			openKernelIn: (path) => openKernel({ log: quiet, netns: path, watch: false }),
			sysctlsIn: (path) => openSysctls({ netns: path ?? netns }),
			runDir,
			log: quiet,
			clock: { now: () => world.now() },
			inSync: () => world.inSync,
			podCIDRs: () => world.podCIDRs,
			mtu: () => 1480,
			waitForPod: async (namespace, name, uid) => {
				await world.arrival();
				return world.knows(namespace, name) ? fakePod(namespace, name, uid) : undefined;
			},
			lastKnown: (key) => world.lastKnown(key),
			programmed,
			detach: async (attachment) => {
				const wanted = hostStateOf(attachment, nodeAddresses);
				for (const route of wanted.routes) routes.delete(routes.keyOf(route));
				for (const neighbour of wanted.neighbours) neighbours.delete(neighbours.keyOf(neighbour));
				await routes.apply();
			},
		};
		routes.sweep(true);
		neighbours.sweep(true);
		const cni = createCni({ deps });
		const found = await cni.restore();
		for (const attachment of found) await programmed(attachment);
		const server = createCniServer({ socketPath: join(runDir, 'cni.sock'), handler: cni.handle, log: quiet });
		const listening = await server.listen();
		if (!listening.ok) throw new Error(listening.error);
		await cni.start();
		running = {
			cni,
			stop: async () => {
				await server.close();
				cni.close();
				kernel.close();
			},
		};
		return found;
	};

	const stop = async (): Promise<void> => {
		await running?.stop();
		running = undefined;
	};

	return {
		netns: prefix,
		runDir,
		world,
		cni: () => {
			if (running === undefined) throw new Error('felix is not running');
			return running.cni;
		},
		start,
		stop,
		addPodNetns: (name) => {
			const full = `${prefix}-${name}`;
			ip('netns', 'add', full);
			pods.add(full);
			return `/run/netns/${full}`;
		},
		deletePodNetns: (name) => {
			ip('netns', 'del', `${prefix}-${name}`);
			pods.delete(`${prefix}-${name}`);
		},
		call: (command, options = {}) =>
			runPlugin(
				shim,
				{
					CNI_COMMAND: command,
					CNI_CONTAINERID: options.id ?? 'abc',
					CNI_IFNAME: options.ifname ?? 'eth0',
					CNI_NETNS: options.netns ?? '',
					CNI_PATH: '/opt/cni/bin',
					CNI_ARGS: `IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME=${options.pod ?? options.id ?? 'abc'};K8S_POD_UID=u`,
				},
				options.stdin ??
					JSON.stringify({
						cniVersion: options.cniVersion ?? '1.1.0',
						name: 'manx',
						type: 'manx',
						runDir,
						...options.conf,
					}),
			),
		cleanUp: async () => {
			await stop();
			for (const pod of pods) ip('netns', 'del', pod);
			ip('netns', 'del', prefix);
			rmSync(runDir, { recursive: true });
		},
	};
};

export const runPlugin = (file: string, env: Record<string, string>, stdin: string): Promise<Outcome> =>
	new Promise((resolve, reject) => {
		const child = spawn(file, { env, stdio: ['pipe', 'pipe', 'inherit'] });
		let stdout = '';
		child.stdout.setEncoding('utf8').on('data', (text: string) => {
			stdout += text;
		});
		child.on('error', reject);
		child.stdin.on('error', silent);
		child.on('close', (code) => resolve({ code, stdout }));
		child.stdin.end(stdin);
	});

const fakePod = (namespace: string, name: string, uid: string): Pod => ({
	kind: 'Pod',
	metadata: { name, namespace, uid, labels: {}, annotations: {}, creationTimestamp: '' },
	spec: { nodeName: 'n1', hostNetwork: false, ports: [] },
	status: { phase: 'Pending', podIPs: [] },
});

export const shimDirectory = (): string => {
	const directory = join(tmpdir(), `manxt-shim-${process.pid}`);
	mkdirSync(directory, { recursive: true });
	return directory;
};
