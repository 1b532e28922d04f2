import { eachAttribute, stringOf } from './attributes.ts';
import { NETLINK_NETFILTER, NLM_F_DUMP } from './netlink-constants.ts';
import { openNetlinkSocket } from './netlink-socket.ts';

/**
 * Chains of nf_tables that hang on a hook (net/netfilter/nf_tables_api.c), whoever made them: an accept in one of them is
 * no accept in the next, so a firewall of its own there has the last word.
 */

export type BaseChain = {
	readonly family: 'ip' | 'ip6' | 'inet' | 'other';
	readonly table: string;
	readonly name: string;
	/** `filter`, `nat`, `route` */
	readonly type: string;
	/** NF_INET_*: 0 prerouting, 1 input, 2 forward, 3 output, 4 postrouting. */
	readonly hook: number;
	readonly priority: number;
	readonly policy: 'accept' | 'drop';
};

const NFT_MSG_GETCHAIN = 0xa04;
const NFT_MSG_NEWCHAIN = 0xa03;
const NFTA_CHAIN_TABLE = 1;
const NFTA_CHAIN_NAME = 3;
const NFTA_CHAIN_HOOK = 4;
const NFTA_CHAIN_POLICY = 5;
const NFTA_CHAIN_TYPE = 7;
const NFTA_HOOK_HOOKNUM = 1;
const NFTA_HOOK_PRIORITY = 2;
const families: Readonly<Record<number, BaseChain['family']>> = { 1: 'inet', 2: 'ip', 10: 'ip6' };

/** Empty where the kernel has no nf_tables. */
export const listBaseChains = async (
	inside: <T>(run: () => T) => T = (run) => run(),
): Promise<readonly BaseChain[]> => {
	const socket = openNetlinkSocket(NETLINK_NETFILTER, inside);
	let chains: BaseChain[] = [];
	try {
		const error = await socket.dump(
			(writer) => {
				writer.message(NFT_MSG_GETCHAIN, NLM_F_DUMP);
				writer.u32(0);
			},
			() => {
				chains = [];
				return (type, data, start, end) => {
					if (type !== NFT_MSG_NEWCHAIN) return;
					const chain = { table: '', name: '', type: '', policy: 'accept' as BaseChain['policy'] };
					let hook = -1;
					let priority = 0;
					eachAttribute(data, start + 4, end, (attribute, from, to) => {
						if (attribute === NFTA_CHAIN_TABLE) chain.table = stringOf(data, from, to);
						else if (attribute === NFTA_CHAIN_NAME) chain.name = stringOf(data, from, to);
						else if (attribute === NFTA_CHAIN_TYPE) chain.type = stringOf(data, from, to);
						else if (attribute === NFTA_CHAIN_POLICY) chain.policy = data.readUInt32BE(from) === 0 ? 'drop' : 'accept';
						else if (attribute === NFTA_CHAIN_HOOK) {
							eachAttribute(data, from, to, (part, at) => {
								if (part === NFTA_HOOK_HOOKNUM) hook = data.readUInt32BE(at);
								else if (part === NFTA_HOOK_PRIORITY) priority = data.readInt32BE(at);
							});
						}
					});
					if (hook >= 0) chains.push({ ...chain, hook, priority, family: families[data[start] as number] ?? 'other' });
				};
			},
			'list chains of nf_tables',
		);
		return error === undefined ? chains : [];
	} finally {
		socket.close();
	}
};
