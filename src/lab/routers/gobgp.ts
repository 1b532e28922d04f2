import { join } from 'node:path';
import { familyOf } from '../../net/ip.ts';
import { type Lab, outside, type Segment, torAsNumber } from '../plan.ts';
import type { Router } from './router.ts';

const family = (name: string): string => `
  [[neighbors.afi-safis]]
    [neighbors.afi-safis.config]
      afi-safi-name = "${name}"
    [neighbors.afi-safis.mp-graceful-restart.config]
      enabled = true`;

export const gobgpConfig = (lab: Lab): string => `
[global.config]
  as = ${torAsNumber}
  router-id = "${(lab.segments[0] as Segment).ipv4.gateway}"
${lab.machines
	.map(
		({ addresses }) => `
[[neighbors]]
  [neighbors.config]
    neighbor-address = "${addresses.find((text) => familyOf(text) === 4) ?? addresses[0]}"
    peer-as = ${lab.asNumber}
  [neighbors.timers.config]
    connect-retry = 2
    hold-time = 90
    keepalive-interval = 30
  [neighbors.graceful-restart.config]
    enabled = true
    restart-time = 120
${family('ipv4-unicast')}
${family('ipv6-unicast')}`,
	)
	.join('\n')}
`;

/** Routes to announce are not part of gobgpd's file: they are handed over once it answers, each time it starts. */
const script = (lab: Lab, folder: string): string => {
	const gateway = (lab.segments[0] as Segment).ipv6.gateway;
	return [
		`gobgpd -f ${join(folder, 'gobgp.toml')} --api-hosts 127.0.0.1:50051 &`,
		'until gobgp global >/dev/null 2>&1; do kill -0 $! || exit 1; sleep 0.1; done',
		`gobgp global rib add -a ipv4 ${outside.ipv4.prefix} nexthop ${(lab.segments[0] as Segment).ipv4.gateway}`,
		`gobgp global rib add -a ipv6 ${outside.ipv6.prefix} nexthop ${gateway}`,
		'wait',
	].join('\n');
};

/** GoBGP: control plane only. It learns and announces, and writes nothing to the kernel. */
export const gobgpRouter: Router = {
	programs: ['gobgpd'],
	software: 'gobgp',
	files: (lab, folder) => [[join(folder, 'gobgp.toml'), gobgpConfig(lab)]],
	processes: (lab, folder) => [{ name: 'gobgpd', argv: ['sh', '-c', script(lab, folder)] }],
};
