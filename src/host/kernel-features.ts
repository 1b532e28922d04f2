import type { Backend, Run } from 'iptables-wrapper';
import type { HostFinding } from './finding.ts';

/**
 * What the kernel must be able to do, tried in a network namespace made for it alone: there is no telling by the names of
 * modules, which may be built in, or absent but never needed.
 */

export type Feature = {
	readonly name: string;
	/** Modules that bring it. */
	readonly modules: string;
	/** Run by a shell; `$IPTABLES` is the program of backend and family, `$FAMILY` inet or inet6. */
	readonly command: string;
	/** Without it only something beside does not work: what. */
	readonly only?: string;
};

const rule = (table: string, text: string): string => `$IPTABLES -w 10 -t ${table} -A ${text}`;

export const features: readonly Feature[] = [
	{
		name: 'ipset',
		modules: 'ip_set, ip_set_hash_net, ip_set_hash_ip, ip_set_hash_ipport, ip_set_hash_netport',
		command: ['hash:net', 'hash:ip', 'hash:ip,port', 'hash:net,port']
			.map((type, i) => `ipset create probe${i}$FAMILY ${type} family $FAMILY`)
			.join(' && '),
	},
	{
		name: 'ipset hash:net,iface',
		modules: 'ip_set_hash_netiface',
		command: 'ipset create source$FAMILY hash:net,iface family $FAMILY',
	},
	{
		name: 'match set in table raw',
		modules: 'xt_set, iptable_raw, ip6table_raw',
		command: rule('raw', 'PREROUTING -m set ! --match-set source$FAMILY src,src -j DROP'),
	},
	{
		name: 'match conntrack',
		modules: 'nf_conntrack, xt_conntrack',
		command: rule('filter', 'FORWARD -m conntrack --ctstatus CONFIRMED -j ACCEPT'),
	},
	{
		name: 'REJECT',
		modules: 'ipt_REJECT, ip6t_REJECT',
		command: rule('filter', 'FORWARD -p tcp -j REJECT --reject-with tcp-reset'),
	},
	{
		name: 'MASQUERADE --random-fully',
		modules: 'nf_nat, xt_MASQUERADE, iptable_nat, ip6table_nat',
		command: rule('nat', 'POSTROUTING -j MASQUERADE --random-fully'),
	},
	{
		name: 'NFLOG',
		modules: 'nfnetlink_log, xt_NFLOG',
		command: rule('filter', 'FORWARD -j NFLOG --nflog-group 1'),
		only: 'manx flows tells nothing',
	},
];

/** Tries each feature for each family in turn; one process tree, some tens of milliseconds. */
export const kernelFindings = async (
	run: Run,
	backend: Backend,
	families: readonly (4 | 6)[],
	wanted: readonly Feature[] = features,
): Promise<readonly HostFinding[]> => {
	const lines = families.flatMap((family) => [
		`IPTABLES=${family === 4 ? 'iptables' : 'ip6tables'}-${backend}; FAMILY=${family === 4 ? 'inet' : 'inet6'}`,
		...wanted.map(({ command }, i) => `out=$( (${command}) 2>&1 ) || echo "${i} ${family} $out" | tr '\\n' ' '; echo`),
	]);
	// The namespace is nobody else's, so its tables need no lock, and who holds the machine's holds nothing up.
	const { code, stdout } = await run('unshare', [
		'--net',
		'env',
		'XTABLES_LOCKFILE=/dev/null',
		'sh',
		'-c',
		lines.join('\n'),
	]);
	// Without the right to make a namespace nothing is known; what is refused later is told then.
	if (code !== 0) return [];
	const missing = new Map<number, { readonly families: string[]; readonly said: string }>();
	for (const line of stdout.split('\n')) {
		const [, index, family, said = ''] = /^(\d+) ([46]) (.*)/.exec(line) ?? [];
		// An iptables too old for a lock file of one's own may have waited for the machine's: that tells nothing of the kernel.
		if (index === undefined || /xtables lock/.test(said)) continue;
		const entry = missing.get(Number(index)) ?? { families: [], said: said.trim() };
		entry.families.push(`IPv${family}`);
		missing.set(Number(index), entry);
	}
	return [...missing].map(([index, { families: lacking, said }]) => {
		const { name, modules, only } = wanted[index] as Feature;
		const what = only ?? 'policies cannot be enforced on this node';
		return {
			code: 'KernelFeatureMissing',
			message: `the kernel lacks ${name} for ${lacking.join(' and ')} (${said}), without which ${what}`,
			fix: `Load the modules (modprobe ${modules.replaceAll(',', '')}), or boot a kernel that has them.`,
			degraded: only === undefined,
		};
	});
};
