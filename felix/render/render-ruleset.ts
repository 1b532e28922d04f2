/**
 * Everything we want in one family's tables. Only packets that enter or leave a pod's interface meet a rule of ours, and
 * what is new is dropped or left to the host's own rules: our accept comes last (docs/design/policy.md).
 */
import type { Hook, Ruleset } from 'iptables-wrapper';
import type { Family } from '../../src/net/ip.ts';
import type { PolicyState } from '../calc/types.ts';
import { chain, logRule, podInterfaces } from './chains.ts';
import { renderPolicy } from './render-policy.ts';
import { staticSetNames } from './static-sets.ts';

export type RenderSettings = {
	/** Whether traffic of this node's pods that leaves the pod networks gets the node's address. */
	readonly masquerade: boolean;
	/** Whether our accept stands before a rule that ends FORWARD instead of after all others. */
	readonly acceptBeforeReject?: boolean;
	/** Whether decisions on new connections are told to NFLOG. */
	readonly logging?: boolean;
	/**
	 * Whether a rule sees to it that each packet of a pod bears one of its own addresses; true unless given. Not wanted
	 * where each veth has a filter that does (source-filter.ts).
	 */
	readonly sourceRule?: boolean;
};

export type RulesetInput = {
	readonly family: Family;
	readonly policy: PolicyState;
	readonly settings: RenderSettings;
	/** Whether there are ranges of Services that are announced. */
	readonly services?: boolean;
};

const from = `-i ${podInterfaces}`;
const to = `-o ${podInterfaces}`;
/**
 * A connection of which a packet went all the way through this node: the kernel confirms its entry then and not before
 * (nf_conntrack_core.c, __nf_conntrack_confirm), so what is dropped never is. Unlike ESTABLISHED it does not wait for an
 * answer: a stream that is never answered (UDP in one direction) is judged once and not packet by packet.
 */
const confirmed = '-m conntrack --ctstatus CONFIRMED';
/** The first packet of what a helper announced; errors about a connection are part of it. */
const related = '-m conntrack --ctstate RELATED';
const isNew = '-m conntrack --ctstate NEW';
/** The flags first: they spare a SYN the other match. */
const newNotSYN = '-p tcp -m tcp ! --tcp-flags FIN,SYN,RST,ACK SYN -m conntrack --ctstate NEW';

export const renderRuleset = ({ family, policy, settings, services = false }: RulesetInput): Ruleset => {
	const sets = staticSetNames(family);
	const { ingress, egress } = policy.open;
	const reset = '-j REJECT --reject-with tcp-reset';
	const { logging = false, sourceRule = true } = settings;

	const filter: [string, readonly string[]][] = [
		// Interfaces are asked for as seldom as can be: each time costs as much as a set under iptables-nft.
		[
			chain.forward,
			[
				`${from} ${confirmed} -j ACCEPT`,
				`${to} ${confirmed} -j ACCEPT`,
				`${related} -j ${chain.related}`,
				`${from} -g ${chain.fromPod}`,
				`${to} -g ${chain.toPod}`,
			],
		],
		[chain.related, [`${from} -j ACCEPT`, `${to} -j ACCEPT`]],
		[chain.fromPod, [`${to} -g ${chain.podToPod}`, `${newNotSYN} -j ${chain.reset}`, `-j ${chain.egress}`]],
		[chain.toPod, [`${newNotSYN} -j ${chain.reset}`, `-j ${chain.ingress}`]],
		[
			chain.podToPod,
			[
				// A pod that meets itself through its Service: the destination lives behind the interface the packet came in by.
				`-m set --match-set ${sets.source} dst,src -j RETURN`,
				`${newNotSYN} -j ${chain.reset}`,
				`-j ${chain.egress}`,
				`-j ${chain.ingress}`,
			],
		],
		[
			chain.accept,
			[
				// What a Service answers has another destination by now, and what kube-proxy refuses is refused above. A route
				// instead would keep the node itself from its Services.
				...(services ? [`-m set --match-set ${sets.services} dst -j DROP`] : []),
				...(logging ? [from, `! ${from} ${to}`].map((way) => `${way} ${isNew} ${logRule(chain.accept)}`) : []),
				`${from} -j ACCEPT`,
				`${to} -j ACCEPT`,
			],
		],
		[
			chain.input,
			[`${confirmed} -j ACCEPT`, `${related} -j ACCEPT`, `${newNotSYN} -j ${chain.reset}`, `-j ${chain.egress}`],
		],
		// The node reaches its own pods, but does not bring a connection back that a pod must no longer have with it.
		[chain.output, [`${newNotSYN} -m set ! --match-set ${egress} dst ${reset}`]],
		// For a pod isolated in any direction, whichever side sends: else the side that is not restricted would bring
		// a connection back whose conntrack entry was deleted (nf_conntrack_tcp_loose).
		[
			chain.reset,
			[
				`${from} -p tcp -m set ! --match-set ${egress} src ${reset}`,
				`${from} -p tcp -m set ! --match-set ${ingress} src ${reset}`,
				`${to} -p tcp -m set ! --match-set ${ingress} dst ${reset}`,
				`${to} -p tcp -m set ! --match-set ${egress} dst ${reset}`,
			],
		],
		...renderPolicy(policy, logging).chains,
	];
	const chains = new Map<string, readonly string[]>(filter.map(([name, rules]) => [`filter ${name}`, rules]));
	if (sourceRule) chains.set(`raw ${chain.prerouting}`, [`-m set ! --match-set ${sets.source} src,src -j DROP`]);

	const hooks: Hook[] = [
		...(sourceRule
			? [{ table: 'raw', chain: 'PREROUTING', position: 'first', rule: `${from} -j ${chain.prerouting}` } as const]
			: []),
		{ table: 'filter', chain: 'FORWARD', position: 'first', rule: `-j ${chain.forward}` },
		{
			table: 'filter',
			chain: 'FORWARD',
			position: settings.acceptBeforeReject ? 'before-reject' : 'append',
			rule: `-j ${chain.accept}`,
		},
		{ table: 'filter', chain: 'INPUT', position: 'first', rule: `${from} -j ${chain.input}` },
		{ table: 'filter', chain: 'OUTPUT', position: 'first', rule: `${to} -j ${chain.output}` },
	];
	if (settings.masquerade) {
		chains.set(`nat ${chain.postrouting}`, [
			// Most of what pods open stays in the pod networks: that is asked first.
			`! ${to} -m set ! --match-set ${sets.noMasquerade} dst -m set --match-set ${sets.localPods} src -j MASQUERADE --random-fully`,
		]);
		hooks.push({ table: 'nat', chain: 'POSTROUTING', position: 'append', rule: `-j ${chain.postrouting}` });
	}
	return { chains, hooks };
};
