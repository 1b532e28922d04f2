import { createHash } from 'node:crypto';
import { closeSync } from 'node:fs';
import { eachAttribute, stringOf } from './attributes.ts';
import {
	IPSET_ATTR_FLAGS,
	IPSET_ATTR_PROTOCOL,
	IPSET_ATTR_SETNAME,
	IPSET_CMD_LIST,
	IPSET_FLAG_LIST_HEADER,
	IPSET_PROTOCOL_MIN,
	NFNL_SUBSYS_IPSET,
	NLA_F_NET_BYTEORDER,
} from './ipset-constants.ts';
import * as libc from './libc.ts';
import { AF_INET, AF_INET6, NETLINK_NETFILTER, NLM_F_DUMP } from './netlink-constants.ts';
import { type NetlinkSocket, openNetlinkSocket } from './netlink-socket.ts';

/**
 * A print of rules and sets that costs next to nothing to take: while it stays the same, nobody has changed them, with one
 * exception. Of nf_tables it is the generation, which every commit in this netns raises. Of x_tables it is the number of
 * entries and bytes of each table, so a rule in another's place may go unnoticed if it is as long. Of sets it is what a list
 * without members says: how many there are, and the seed of the hash, which tells a set from one swapped into its place; a
 * member in another's place goes unnoticed. So one looks at everything all the same, only less often.
 */
export type RulesPrint = {
	/** Undefined when it cannot be told. */
	readonly take: () => Promise<string | undefined>;
	readonly close: () => void;
};

const NFNL_SUBSYS_NFTABLES = 10;
const NFT_MSG_GETGEN = 16;
const NFTA_GEN_ID = 1;
const IPPROTO_RAW = 255;
const levels = { [AF_INET]: 0, [AF_INET6]: 41 } as const;
/** IPT_SO_GET_INFO and IP6T_SO_GET_INFO (include/uapi/linux/netfilter_ipv4/ip_tables.h); struct ipt_getinfo. */
const SO_GET_INFO = 64;
const infoBytes = 84;
const tables = ['raw', 'nat', 'filter'];

/** Of the network namespace that `inside` enters, the present one when absent. `prefix`: of the names of sets that count. */
export const openRulesPrint = (
	backend: 'nft' | 'legacy',
	prefix: string,
	inside: <T>(run: () => T) => T = (run) => run(),
): RulesPrint => {
	let socket: NetlinkSocket | undefined;
	const opened = (): NetlinkSocket => {
		socket ??= openNetlinkSocket(NETLINK_NETFILTER, inside);
		return socket;
	};

	const generation = (): string | undefined => {
		let found: string | undefined;
		const error = opened().get(
			(writer) => {
				writer.message((NFNL_SUBSYS_NFTABLES << 8) | NFT_MSG_GETGEN, 0);
				writer.u32(0);
			},
			(_, data, start, end) => {
				eachAttribute(data, start + 4, end, (type, from) => {
					if (type === NFTA_GEN_ID) found = String(data.readUInt32BE(from));
				});
			},
			'ask for the generation of nf_tables',
		);
		return error === undefined ? found : undefined;
	};

	const tableInfo = (): string | undefined => {
		const parts: string[] = [];
		for (const family of [AF_INET, AF_INET6] as const) {
			const fd = inside(() => libc.socket(family, libc.SOCK_RAW | libc.SOCK_CLOEXEC, IPPROTO_RAW));
			if (fd < 0) return undefined;
			for (const table of tables) {
				const info = Buffer.alloc(infoBytes);
				info.write(table);
				const result = libc.getsockopt(fd, levels[family], SO_GET_INFO, info, libc.int32(infoBytes));
				parts.push(result < 0 ? '' : info.toString('latin1'));
			}
			closeSync(fd);
		}
		return parts.join('|');
	};

	const sets = async (): Promise<string | undefined> => {
		let digest = createHash('sha1');
		const error = await opened().dump(
			(writer) => {
				writer.message((NFNL_SUBSYS_IPSET << 8) | IPSET_CMD_LIST, NLM_F_DUMP);
				writer.u32(AF_INET);
				writer.attrU8(IPSET_ATTR_PROTOCOL, IPSET_PROTOCOL_MIN);
				writer.attrBytes(IPSET_ATTR_FLAGS | NLA_F_NET_BYTEORDER, Uint8Array.of(0, 0, 0, IPSET_FLAG_LIST_HEADER));
			},
			() => {
				digest = createHash('sha1');
				return (_, data, start, end) => {
					let ours = false;
					eachAttribute(data, start + 4, end, (type, from, to) => {
						if (type === IPSET_ATTR_SETNAME) ours = stringOf(data, from, to).startsWith(prefix);
					});
					if (ours) digest.update(data.subarray(start + 4, end));
				};
			},
			'list sets without members',
		);
		return error === undefined ? digest.digest('hex') : undefined;
	};

	return {
		take: async () => {
			const rules = backend === 'nft' ? generation() : tableInfo();
			const ofSets = rules === undefined ? undefined : await sets();
			return ofSets === undefined ? undefined : `${ofSets} ${rules}`;
		},
		close: () => socket?.close(),
	};
};
