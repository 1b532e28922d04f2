import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
import { paths, saveLab } from '../../src/lab/lab-state.ts';
import { buildNetwork } from '../../src/lab/network.ts';
import type { Lab, Sandbox } from '../../src/lab/plan.ts';
import { podNetns } from '../../src/lab/plan.ts';
import { routerOf } from '../../src/lab/routers/index.ts';
import { inNetns, ipBatch, mustRun, until } from '../../src/lab/shell.ts';
import { planTopology, type UpOptions } from '../../src/lab/topology.ts';

/** Parts of a lab for tests that do without the daemons: the network, the router, pods wired by hand. */

export const defaultOptions: UpOptions = {
	name: 'lab',
	nodes: undefined,
	pods: undefined,
	outside: 1,
	mode: 'bgp',
	tor: 'bird',
	masquerade: true,
	iptablesBackend: 'auto',
	logLevel: 'info',
	manifests: undefined,
};

/** A name of its own for each test file and use, so that tests run beside each other and beside a user's lab. */
export const labName = (use: string): string => `t${process.pid}${use}`;

export const buildLab = async (options: Partial<UpOptions>): Promise<Lab> => {
	const { lab } = planTopology({ ...defaultOptions, ...options });
	mkdirSync(paths(lab.name).objects, { recursive: true });
	saveLab(lab);
	await buildNetwork(lab);
	return lab;
};

/** Starts the lab's router; it ends with the lab's namespaces. */
export const startRouter = (lab: Lab): ChildProcess[] => {
	const folder = paths(lab.name).tor;
	mkdirSync(folder, { recursive: true });
	const router = routerOf(lab);
	assert.ok(router);
	for (const [path, text] of router.files(lab, folder)) writeFileSync(path, text);
	return router.processes(lab, folder).map(({ argv }) => {
		const [program, args] = inNetns(`manx-${lab.name}-tor`, argv);
		return spawn(program, args, { stdio: 'ignore' });
	});
};

/** Wires a pod as felix would, by hand: /32 and /128 behind a veth, a link-local gateway, permanent neighbours. */
export const wirePod = async (lab: Lab, node: number, name: string): Promise<Sandbox> => {
	const machine = lab.machines[node];
	assert.ok(machine);
	const netns = podNetns(lab.name, 'default', name);
	const host = `manx${name}`;
	const ips = machine.podCIDRs.map((cidr) => cidr.replace(/0\/24$|\/64$/, '7'));
	await ipBatch(undefined, [`netns add ${netns}`]);
	await ipBatch(machine.netns, [
		`link add ${host} address ee:ee:ee:ee:ee:ee type veth peer name eth0 address 02:00:00:00:00:07 netns ${netns}`,
		`link set ${host} up`,
		...ips.map((ip) => `route add ${ip} dev ${host}`),
		...ips.map((ip) => `neigh replace ${ip} lladdr 02:00:00:00:00:07 dev ${host} nud permanent`),
	]);
	await ipBatch(netns, [
		...ips.map((ip) => `addr add ${ip} dev eth0 ${ip.includes(':') ? 'nodad' : ''}`),
		'link set eth0 up',
		'route add 169.254.1.1 dev eth0',
		'route add 0.0.0.0/0 via 169.254.1.1 dev eth0',
		'route add ::/0 via fe80::1 dev eth0',
		'neigh replace 169.254.1.1 lladdr ee:ee:ee:ee:ee:ee dev eth0 nud permanent',
		'neigh replace fe80::1 lladdr ee:ee:ee:ee:ee:ee dev eth0 nud permanent',
	]);
	return { namespace: 'default', name, uid: name, node: machine.name, netns, containerID: '', ips };
};

/** Makes a node forward, as felix would. */
export const turnOnForwarding = async (lab: Lab): Promise<void> => {
	for (const { netns } of lab.machines) {
		const script = 'echo 1 > /proc/sys/net/ipv4/ip_forward; echo 1 > /proc/sys/net/ipv6/conf/all/forwarding';
		await mustRun(...inNetns(netns, ['sh', '-c', script]));
	}
};

/** Static routes between the nodes, as in host-gw mode. */
export const routeNodes = async (lab: Lab): Promise<void> => {
	for (const machine of lab.machines) {
		const others = lab.machines.filter((other) => other !== machine);
		await ipBatch(
			machine.netns,
			others.flatMap(({ addresses, podCIDRs }) => podCIDRs.map((cidr, i) => `route add ${cidr} via ${addresses[i]}`)),
		);
	}
};

export const eventually = async (what: string, attempt: () => Promise<string | undefined>): Promise<void> => {
	const reason = await until(60_000, attempt, 100);
	assert.equal(reason, undefined, `${what}: ${reason}`);
};
