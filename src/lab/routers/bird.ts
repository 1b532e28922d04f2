import { join } from 'node:path';
import { familyOf } from '../../net/ip.ts';
import { type Lab, outside, type Segment, torAsNumber } from '../plan.ts';
import type { Router } from './router.ts';

const neighbour = (lab: Lab, index: number): string => {
	const machine = lab.machines[index] as Lab['machines'][number];
	const segment = lab.segments[machine.segment] as Segment;
	const address = machine.addresses.find((text) => familyOf(text) === 4) ?? machine.addresses[0];
	const local = address?.includes(':') ? segment.ipv6.gateway : segment.ipv4.gateway;
	return [
		`protocol bgp ${quoted(machine.name)} from node {`,
		`	local ${local} as ${torAsNumber};`,
		`	neighbor ${address} as ${lab.asNumber};`,
		`	ipv4 { next hop address ${segment.ipv4.gateway}; };`,
		`	ipv6 { next hop address ${segment.ipv6.gateway}; };`,
		'}',
	].join('\n');
};

/** BIRD takes any text in single quotes as a symbol. */
const quoted = (name: string): string => `'${name}'`;

/** Graceful restart is offered with a long time, so that the router keeps a node's routes while its daemon is away. */
export const birdConfig = (lab: Lab): string => `
log stderr all;
router id ${(lab.segments[0] as Segment).ipv4.gateway};

protocol device { scan time 5; }
protocol direct outside {
	ipv4;
	ipv6;
	interface "${outside.bridge}";
}
protocol kernel kernel4 {
	merge paths on limit 16;
	ipv4 { import none; export where source = RTS_BGP; };
}
protocol kernel kernel6 {
	merge paths on limit 16;
	ipv6 { import none; export where source = RTS_BGP; };
}
# RFC 8326: who is about to go is used only where there is no other.
filter heard { if (65535, 0) ~ bgp_community then bgp_local_pref = 0; accept; }
template bgp node {
	direct;
	graceful restart on;
	graceful restart time 120;
	hold time 90;
	connect delay time 1;
	connect retry time 2;
	error wait time 1, 4;
	ipv4 { import filter heard; export where source = RTS_DEVICE; };
	ipv6 { import filter heard; export where source = RTS_DEVICE; };
}
${lab.machines.map((_, index) => neighbour(lab, index)).join('\n')}
`;

/** BIRD 2, the default: installs what it learns, with all equal paths. */
export const birdRouter: Router = {
	programs: ['bird'],
	software: 'bird',
	files: (lab, folder) => [[join(folder, 'bird.conf'), birdConfig(lab)]],
	processes: (_lab, folder) => [
		{
			name: 'bird',
			argv: ['bird', '-f', '-c', join(folder, 'bird.conf'), '-s', join(folder, 'bird.ctl')],
		},
	],
};
