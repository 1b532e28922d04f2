import type { InterfaceAddress, Link } from '../kernel/kernel.ts';
import type { HostFinding } from './finding.ts';

/** What links and kernel settings say. */

/** IPVS takes packets to a Service before FORWARD (ip_vs_core.c: hooks on LOCAL_IN), where policies are. */
export const ipvsFindings = (links: readonly Pick<Link, 'name'>[]): readonly HostFinding[] =>
	links.some(({ name }) => name === 'kube-ipvs0')
		? [
				{
					code: 'KubeProxyIPVS',
					message:
						'kube-proxy runs in mode ipvs (kube-ipvs0 is there), in which packets to a Service pass by the policies of the pods behind it: this is not supported',
					fix: 'Set mode of the KubeProxyConfiguration to iptables or nftables, restart kube-proxy, then run kube-proxy --cleanup once on the node.',
					degraded: true,
				},
			]
		: [];

/** Strict reverse path filtering, where the way back may be by another uplink; RFC 3704 §2.2. */
export const reversePathFindings = (
	addresses: readonly InterfaceAddress[],
	read: (name: string) => string | undefined,
): readonly HostFinding[] => {
	const uplinks = new Set(
		addresses
			.filter(({ dev, address, scope }) => scope === 'global' && !address.includes(':') && !/^(lo|manx)/.test(dev))
			.map(({ dev }) => dev),
	);
	if (uplinks.size < 2) return [];
	// The kernel takes the greater of both (net/ipv4/fib_frontend.c, IN_DEV_RPFILTER).
	const filterOf = (dev: string): number => Number(read(`ipv4/conf/${dev}/rp_filter`) ?? 0);
	const strict = [...uplinks].filter((dev) => Math.max(filterOf('all'), filterOf(dev)) === 1).sort();
	if (strict.length === 0) return [];
	const names = strict.join(', ');
	return [
		{
			code: 'StrictReversePath',
			message: `rp_filter is strict on ${names} of a node with several uplinks: packets that come in by another than they would leave by are dropped`,
			fix: `Set net.ipv4.conf.all.rp_filter and net.ipv4.conf.IFACE.rp_filter of ${names} to 2 in /etc/sysctl.d, then sysctl --system; if each path is symmetric, all is well.`,
			degraded: false,
		},
	];
};
