import { canonicalCidr, familyOf } from '../net/ip.ts';
import { fabricNetns, type Lab, outside, type Segment, torNetns } from './plan.ts';
import { inNetns, ipBatch, mustRun, pool } from './shell.ts';

/**
 * Builds the lab's network namespaces and the links, addresses and routes in them, by few `ip -batch` processes.
 * What belongs to pods is left to the CNI plugin, and what makes a node a router to felix.
 */

const withLength = (address: string): string => `${address}/${familyOf(address) === 4 ? 24 : 64}`;

/**
 * Duplicate address detection would hold each IPv6 address back for a second. `forwarding` is set in both directions:
 * a new namespace takes IPv4 settings over from the machine (net/ipv4/devinet.c), and felix is to turn it on itself.
 */
const sysctlScript = (router: boolean): string =>
	[
		['ipv6/conf/all/accept_dad', 0],
		['ipv6/conf/default/accept_dad', 0],
		['ipv6/conf/default/dad_transmits', 0],
		['ipv4/ip_forward', router ? 1 : 0],
		['ipv6/conf/all/forwarding', router ? 1 : 0],
		['ipv6/conf/default/forwarding', router ? 1 : 0],
		['ipv4/conf/all/send_redirects', 0],
		['ipv4/conf/default/send_redirects', 0],
	]
		.map(([key, value]) => `echo ${value} > /proc/sys/net/${key}`)
		.join(' && ');

const addressLines = (dev: string, addresses: readonly string[]): string[] => [
	...addresses.map((address) => `addr add ${withLength(address)} dev ${dev}${familyOf(address) === 6 ? ' nodad' : ''}`),
	`link set ${dev} up`,
	'link set lo up',
];

/** Default routes by a gateway of each family the machine has. */
const defaultLines = (addresses: readonly string[], ipv4: string, ipv6: string): string[] => [
	...(addresses.some((address) => familyOf(address) === 4) ? [`route add 0.0.0.0/0 via ${ipv4}`] : []),
	...(addresses.some((address) => familyOf(address) === 6) ? [`route add ::/0 via ${ipv6}`] : []),
];

const fabricLines = (lab: Lab): string[] => [
	...lab.segments.flatMap(({ bridge }) => [
		`link add ${bridge} type bridge stp_state 0 mcast_snooping 0`,
		`link set ${bridge} up`,
	]),
	...lab.machines.flatMap(({ netns, port, segment }) => [
		`link add ${port} type veth peer name eth0 netns ${netns}`,
		`link set ${port} master ${(lab.segments[segment] as Segment).bridge} up`,
	]),
	...(lab.tor === 'none'
		? []
		: lab.segments.flatMap(({ bridge, torInterface }, index) => [
				`link add tor${index} type veth peer name ${torInterface} netns ${torNetns(lab.name)}`,
				`link set tor${index} master ${bridge} up`,
			])),
];

const torLines = (lab: Lab): string[] => [
	`link add ${outside.bridge} type bridge stp_state 0 mcast_snooping 0`,
	...lab.outside.flatMap(({ name, netns }) => [
		`link add ${name} type veth peer name eth0 netns ${netns}`,
		`link set ${name} master ${outside.bridge} up`,
	]),
	...addressLines(outside.bridge, [outside.ipv4.gateway, outside.ipv6.gateway]),
	...lab.segments.flatMap(({ torInterface, ipv4, ipv6 }) => addressLines(torInterface, [ipv4.gateway, ipv6.gateway])),
	...(lab.mode === 'host-gw' ? staticRouteLines(lab) : []),
];

/** In host-gw mode nobody tells the router where the pods are: it is a plain one, configured by hand. */
const staticRouteLines = (lab: Lab): string[] =>
	lab.machines.flatMap(({ addresses, podCIDRs }) =>
		podCIDRs.flatMap((cidr) => {
			const via = addresses.find((address) => familyOf(address) === familyOf(cidr));
			return via === undefined || canonicalCidr(cidr) !== cidr ? [] : [`route replace ${cidr} via ${via}`];
		}),
	);

/** Namespaces of everything but pods. */
export const netnsOf = (lab: Lab): string[] => [
	fabricNetns(lab.name),
	...(lab.tor === 'none' ? [] : [torNetns(lab.name)]),
	...lab.machines.map(({ netns }) => netns),
	...lab.outside.map(({ netns }) => netns),
];

export const buildNetwork = async (lab: Lab): Promise<void> => {
	const all = netnsOf(lab);
	await ipBatch(
		undefined,
		all.map((netns) => `netns add ${netns}`),
	);
	await pool(all, 4, async (netns) => {
		const router = netns === torNetns(lab.name);
		await mustRun(...inNetns(netns, ['sh', '-c', sysctlScript(router)]));
	});
	await ipBatch(fabricNetns(lab.name), fabricLines(lab));
	if (lab.tor !== 'none') await ipBatch(torNetns(lab.name), torLines(lab));
	await pool([...lab.machines], 4, async ({ netns, addresses, segment }) => {
		const { ipv4, ipv6 } = lab.segments[segment] as Segment;
		const routes = lab.tor === 'none' ? [] : defaultLines(addresses, ipv4.gateway, ipv6.gateway);
		await ipBatch(netns, [...addressLines('eth0', addresses), ...routes]);
	});
	await pool([...lab.outside], 4, async ({ netns, addresses }) => {
		const routes = defaultLines(addresses, outside.ipv4.gateway, outside.ipv6.gateway);
		await ipBatch(netns, [...addressLines('eth0', addresses), ...routes]);
	});
};
