import { join } from 'node:path';
import { familyOf } from '../../net/ip.ts';
import { type Lab, outside, type Segment, torAsNumber } from '../plan.ts';
import type { Router } from './router.ts';

/** `ipv6 next-hop`: over an IPv4 session FRR would announce the link-local address beside the global one. */
export const bgpdConfig = (lab: Lab): string => {
	const neighbours = lab.machines.map(({ addresses, segment }) => ({
		address: addresses.find((text) => familyOf(text) === 4) ?? addresses[0],
		segment,
	}));
	const each = (line: (address: string | undefined, segment: number) => string) =>
		neighbours.map(({ address, segment }) => line(address, segment)).join('\n');
	return `
hostname tor
${lab.segments
	.map(
		({ ipv6 }, index) =>
			`route-map to-segment${index} permit 10\n set ipv6 next-hop global ${ipv6.gateway}\nroute-map from-nodes permit 10\n set ipv6 next-hop prefer-global`,
	)
	.join('\n')}
router bgp ${torAsNumber}
 bgp router-id ${(lab.segments[0] as Segment).ipv4.gateway}
 no bgp ebgp-requires-policy
 no bgp default ipv4-unicast
 bgp bestpath as-path multipath-relax
 bgp graceful-restart
 bgp graceful-restart restart-time 120
 bgp graceful-restart stalepath-time 360
 timers bgp 30 90
${each((address) => ` neighbor ${address} remote-as ${lab.asNumber}\n neighbor ${address} timers connect 2`)}
 address-family ipv4 unicast
  network ${outside.ipv4.prefix}
  maximum-paths 16
${each((address) => `  neighbor ${address} activate`)}
 exit-address-family
 address-family ipv6 unicast
  network ${outside.ipv6.prefix}
  maximum-paths 16
${each(
	(address, segment) =>
		`  neighbor ${address} activate\n  neighbor ${address} route-map to-segment${segment} out\n  neighbor ${address} route-map from-nodes in`,
)}
 exit-address-family
`;
};

/** FRR's daemons change to the user frr, who has to own the folder they make their sockets in (lib/privs.c). */
const asFrr = (folder: string, argv: readonly string[]): string[] => [
	'sh',
	'-c',
	'chown frr:frr "$0" && exec "$@"',
	folder,
	...argv,
];

/** FRR: zebra puts into the kernel what bgpd learns. Both run in the foreground, with their sockets in `folder`. */
export const frrRouter: Router = {
	programs: ['vtysh'],
	software: 'frr',
	files: (lab, folder) => [
		[join(folder, 'zebra.conf'), 'hostname tor\n'],
		[join(folder, 'bgpd.conf'), bgpdConfig(lab)],
	],
	processes: (_lab, folder) => {
		const common = (daemon: string) => [
			`/usr/lib/frr/${daemon}`,
			...['-f', join(folder, `${daemon}.conf`), '-i', join(folder, `${daemon}.frr-pid`)],
			...['-z', join(folder, 'zserv.api'), '--vty_socket', folder, '-P', '0'],
			...['--log', 'stdout'],
		];
		return [
			{ name: 'zebra', argv: asFrr(folder, common('zebra')) },
			{ name: 'bgpd', argv: asFrr(folder, [...common('bgpd'), '-p', '179']) },
		];
	},
};
