import { closeSync } from 'node:fs';
import * as libc from '../../src/kernel/libc.ts';
import { addressFromBytes } from '../../src/net/ip.ts';
import { ROUTER_ADVERTISEMENT, ROUTER_SOLICITATION } from './advertisement.ts';
import type { DiscoverySocket } from './router-discovery.ts';

/** A raw ICMPv6 socket for router discovery, read without waiting. Linux only; needs CAP_NET_RAW. */

const AF_INET6 = 10;
const IPPROTO_ICMPV6 = 58;
const IPPROTO_IPV6 = 41;
const IPV6_MULTICAST_HOPS = 18;
const IPV6_MULTICAST_LOOP = 19;
const IPV6_JOIN_GROUP = 20;
/** include/uapi/linux/icmpv6.h */
const ICMPV6_FILTER = 1;
const SOCKADDR_LENGTH = 28;
const MESSAGE_MAX = 1_500;
const EINTR = 4;

const groups = { allNodes: 1, allRouters: 2 } as const;

/** ff02::N */
const multicast = (last: number): Uint8Array => {
	const bytes = new Uint8Array(16);
	bytes.set([0xff, 0x02]);
	bytes[15] = last;
	return bytes;
};

/** Hop limit 255 means that no router passed it on (RFC 4861 §6.1). SKF_NET_OFF + 7: the header's hop limit. */
const hopLimitFilter: readonly (readonly [code: number, yes: number, no: number, value: number])[] = [
	[0x30, 0, 0, 0xfff00000 + 7],
	[0x15, 0, 1, 255],
	[0x06, 0, 0, 0xffffffff],
	[0x06, 0, 0, 0],
];

const filterProgram = (): Buffer => {
	const program = Buffer.alloc(8 * hopLimitFilter.length);
	hopLimitFilter.forEach(([code, yes, no, value], i) => {
		program.writeUInt16LE(code, 8 * i);
		program.writeUInt8(yes, 8 * i + 2);
		program.writeUInt8(no, 8 * i + 3);
		program.writeUInt32LE(value, 8 * i + 4);
	});
	return program;
};

const words: Readonly<Record<number, string>> = {
	1: 'not permitted: it needs CAP_NET_RAW, which the manifest does not give; docs/reference/bgp.md says how to add it',
	19: 'there is no such interface',
	97: 'this host has no IPv6',
	99: 'the interface has no link-local address (yet)',
	100: 'the interface is down',
	101: 'the interface has no IPv6',
};
const reason = (): string => words[libc.errno()] ?? `error ${libc.errno()}`;

export const openDiscoverySocket = ():
	| { readonly ok: true; readonly socket: DiscoverySocket }
	| { readonly ok: false; readonly error: string } => {
	const fd = libc.socket(AF_INET6, libc.SOCK_RAW | libc.SOCK_NONBLOCK | libc.SOCK_CLOEXEC, IPPROTO_ICMPV6);
	if (fd < 0) return { ok: false, error: reason() };
	const program = filterProgram();
	// struct sock_fprog
	const fprog = Buffer.alloc(16);
	fprog.writeUInt16LE(hopLimitFilter.length, 0);
	fprog.writeBigUInt64LE(libc.addressOf(program), 8);
	// A bit set keeps a type out.
	const types = Buffer.alloc(32, 0xff);
	for (const type of [ROUTER_SOLICITATION, ROUTER_ADVERTISEMENT]) {
		const at = (type >> 5) * 4;
		types.writeUInt32LE((types.readUInt32LE(at) & ~(1 << (type & 31))) >>> 0, at);
	}
	const set = (level: number, option: number, value: Uint8Array): boolean =>
		libc.setsockopt(fd, level, option, value, value.length) === 0;
	const prepared =
		set(IPPROTO_ICMPV6, ICMPV6_FILTER, types) &&
		set(libc.SOL_SOCKET, libc.SO_ATTACH_FILTER, fprog) &&
		set(IPPROTO_IPV6, IPV6_MULTICAST_HOPS, libc.int32(255)) &&
		set(IPPROTO_IPV6, IPV6_MULTICAST_LOOP, libc.int32(0));
	if (!prepared) {
		const error = `cannot set up the ICMPv6 socket: ${reason()}`;
		closeSync(fd);
		return { ok: false, error };
	}
	/** Names by index: both may change. */
	const joined = new Map<number, string>();
	const buffer = Buffer.alloc(MESSAGE_MAX);
	const from = Buffer.alloc(SOCKADDR_LENGTH);

	return {
		ok: true,
		socket: {
			send: (link, group, bytes) => {
				const index = libc.ifNameToIndex(link);
				if (index === 0) return 'there is no such interface';
				const to = Buffer.alloc(SOCKADDR_LENGTH);
				to.writeUInt16LE(AF_INET6, 0);
				to.set(multicast(groups[group]), 8);
				to.writeUInt32LE(index, 24);
				return libc.sendto(fd, bytes, bytes.length, 0, to, to.length) < 0 ? reason() : '';
			},
			receive: () => {
				for (;;) {
					const length = libc.int32(SOCKADDR_LENGTH);
					const size = libc.recvfrom(fd, buffer, buffer.length, 0, from, length);
					if (size < 0) {
						if (libc.errno() === EINTR) continue;
						return undefined;
					}
					const link = joined.get(from.readUInt32LE(24));
					if (link === undefined) continue;
					return { link, source: addressFromBytes(from, 6, 8), bytes: Uint8Array.from(buffer.subarray(0, size)) };
				}
			},
			join: (link) => {
				const index = libc.ifNameToIndex(link);
				for (const [known, name] of joined) if (name === link && known !== index) joined.delete(known);
				if (index === 0 || joined.get(index) === link) return;
				joined.set(index, link);
				// struct ipv6_mreq. A kernel that forwards has joined already; in vain at most.
				set(IPPROTO_IPV6, IPV6_JOIN_GROUP, Buffer.concat([multicast(groups.allRouters), libc.int32(index)]));
			},
			close: () => closeSync(fd),
		},
	};
};
