import { findEnd, parseSave, targetOf } from 'iptables-wrapper';
import type { BaseChain } from '../kernel/base-chains.ts';
import type { HostFinding } from './finding.ts';

/**
 * Other firewalls that would drop or reject what policies let through. In iptables: a rule of FORWARD that ends all, before
 * the accept of ours at the end (ufw with its default of reject, firewalld by iptables, an operator's own). In nf_tables: a
 * chain of another program on the forward hook, which has the last word whatever ours says. Pure.
 */

const forwardHook = 2;

const ufwOrOther = (target: string | undefined): { who: string; fix: string } => {
	if (target?.startsWith('ufw')) {
		return {
			who: 'ufw rejects what is routed',
			fix: 'Set acceptBeforeReject: true (docs/reference/settings.md), or ufw default allow routed.',
		};
	}
	return {
		who: 'a rule of the host ends FORWARD',
		fix: 'Set acceptBeforeReject: true (docs/reference/settings.md), or take that rule away.',
	};
};

/** `save` is what iptables-save tells of the table filter. */
export const forwardFindings = (save: string, accept: string): readonly HostFinding[] => {
	const filter = parseSave(save).get('filter');
	const rules = filter?.get('FORWARD')?.rules.map(({ text }) => text) ?? [];
	const end = findEnd(rules, (chain) => filter?.get(chain)?.rules.map(({ text }) => text) ?? []);
	const ours = rules.findIndex((text) => targetOf(text) === accept);
	// Before ours is there, which is not for long, nothing can be said.
	if (end < 0 || ours < 0 || ours < end) return [];
	const { who, fix } = ufwOrOther(targetOf(rules[end] as string));
	return [
		{
			code: 'ForwardRejects',
			message: `${who} before connections of pods are accepted ("${rules[end]}"), so that new ones are refused`,
			fix,
			degraded: true,
		},
	];
};

/** Tables that iptables-nft makes; their chains are judged by {@link forwardFindings}. */
const isIptables = ({ family, table, name }: BaseChain): boolean =>
	(family === 'ip' || family === 'ip6') && table === 'filter' && name === 'FORWARD';

export const baseChainFindings = (
	chains: readonly BaseChain[],
	podNetworks: readonly string[],
): readonly HostFinding[] => {
	const findings: HostFinding[] = [];
	const forward = chains.filter((chain) => chain.hook === forwardHook && chain.type === 'filter' && !isIptables(chain));
	if (forward.some(({ table }) => table === 'firewalld')) {
		const sources = podNetworks.map((cidr) => `--add-source=${cidr}`).join(' ') || '--add-source=POD_NETWORK';
		findings.push({
			code: 'Firewalld',
			message: 'firewalld runs and rejects forwarded packets between zones, whatever policies let through',
			fix: `Run firewall-cmd --permanent --zone=trusted ${sources} and firewall-cmd --reload, or disable firewalld; where the pod networks are in that zone already, all is well.`,
			degraded: false,
		});
	}
	for (const { family, table, name, policy } of forward) {
		if (table === 'firewalld' || policy !== 'drop') continue;
		findings.push({
			code: 'ForeignForwardChain',
			message: `the nftables chain ${family} ${table} ${name} drops forwarded packets that it does not accept itself, whatever policies let through`,
			fix: `Let it accept what comes from and goes to pods (iifname "manx*" accept; oifname "manx*" accept), or give it policy accept.`,
			degraded: false,
		});
	}
	return findings;
};
