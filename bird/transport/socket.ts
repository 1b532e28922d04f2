import { closeSync } from 'node:fs';
import {
	addressOf,
	bind,
	errno,
	getsockopt,
	int32,
	recv,
	SO_ATTACH_FILTER,
	SOCK_CLOEXEC,
	SOCK_NONBLOCK,
	SOL_SOCKET,
	setsockopt,
	socket,
} from '../../src/kernel/libc.ts';
import { addressToBytes, type Family, familyOf, hostCidr, parseCidr } from '../../src/net/ip.ts';
import type { Protection } from './transport.ts';
import { createTtlFilter } from './ttl-filter.ts';

/**
 * TCP sockets with what Node gives no words for, set before they are connected or listen: signatures (RFC 2385) and the
 * TTL check of GTSM (RFC 5082). A descriptor made here is then handed to `net`. Linux only.
 */

export type SocketResult =
	| { readonly ok: true; readonly fd: number }
	| { readonly ok: false; readonly code: number; readonly what: string };

const AF_INET = 2;
const AF_INET6 = 10;
const SOCK_STREAM = 1;
const SO_REUSEADDR = 2;
const IPPROTO_IP = 0;
const IPPROTO_TCP = 6;
const IPPROTO_IPV6 = 41;
const IP_TTL = 2;
const IP_MINTTL = 21;
const IPV6_UNICAST_HOPS = 16;
const IPV6_V6ONLY = 26;
const IPV6_MINHOPCOUNT = 73;
/** include/uapi/linux/tcp.h */
const TCP_INFO = 11;
const TCP_MD5SIG = 14;
const TCP_MD5SIG_EXT = 32;
const TCP_MD5SIG_FLAG_PREFIX = 1;
const MD5_KEY_MAX = 80;

const MAX_TTL = 255;

/** struct sockaddr_in or sockaddr_in6, padded to a sockaddr_storage. */
const sockaddr = (address: string, port = 0): Buffer => {
	const bytes = Buffer.alloc(128);
	const v6 = familyOf(address) === 6;
	bytes.writeUInt16LE(v6 ? AF_INET6 : AF_INET, 0);
	bytes.writeUInt16BE(port, 2);
	bytes.set(addressToBytes(address) ?? [], v6 ? 8 : 4);
	return bytes;
};

/** struct tcp_md5sig; an empty password takes the key away. */
const md5Signature = (prefix: string, password: string): Buffer => {
	const slash = prefix.indexOf('/');
	const key = Buffer.from(password);
	const bytes = Buffer.alloc(216);
	sockaddr(prefix.slice(0, slash)).copy(bytes);
	bytes.writeUInt8(TCP_MD5SIG_FLAG_PREFIX, 128);
	bytes.writeUInt8(Number(prefix.slice(slash + 1)), 129);
	bytes.writeUInt16LE(Math.min(key.length, MD5_KEY_MAX), 130);
	key.copy(bytes, 136, 0, MD5_KEY_MAX);
	return bytes;
};

const set = (fd: number, level: number, option: number, value: Uint8Array): number =>
	setsockopt(fd, level, option, value, value.length) < 0 ? errno() : 0;

const setMd5 = (fd: number, prefix: string, password: string): number => {
	const signature = md5Signature(prefix, password);
	const code = set(fd, IPPROTO_TCP, TCP_MD5SIG_EXT, signature);
	if (code === 0 || !/\/(32|128)$/.test(prefix)) return code;
	// Kernels before 4.13 know whole addresses only.
	signature.writeUInt16LE(0, 128);
	return set(fd, IPPROTO_TCP, TCP_MD5SIG, signature);
};

/** Another key for a connection that has one (tcp_md5_do_add replaces it whatever the state); false: it stays as it was. */
export const rekeyConnection = (fd: number, peer: string, password: string): boolean =>
	setMd5(fd, hostCidr(peer), password) === 0;

/** See Connection.unheardFor. */
export const unheardFor = (fd: number): number => {
	// struct tcp_info, include/uapi/linux/tcp.h: tcpi_unacked and tcpi_last_ack_recv.
	const info = Buffer.alloc(60);
	if (getsockopt(fd, IPPROTO_TCP, TCP_INFO, info, int32(info.length)) < 0) return 0;
	return info.readUInt32LE(24) === 0 ? 0 : info.readUInt32LE(56);
};

/** Takes one piece of what has come and was not read, without waiting; undefined: there is none. */
export const readRest = (fd: number): Uint8Array | undefined => {
	const piece = Buffer.alloc(1 << 16);
	const size = recv(fd, piece, piece.length, 0);
	return size > 0 ? piece.subarray(0, Number(size)) : undefined;
};

const open = (family: Family): SocketResult => {
	const fd = socket(family === 6 ? AF_INET6 : AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0) return { ok: false, code: errno(), what: 'socket' };
	// What leaves with the highest TTL passes the check of every peer that has one (RFC 5082 §3).
	if (family === 6) set(fd, IPPROTO_IPV6, IPV6_UNICAST_HOPS, int32(MAX_TTL));
	else set(fd, IPPROTO_IP, IP_TTL, int32(MAX_TTL));
	return { ok: true, fd };
};

const refuse = (fd: number, code: number, what: string): SocketResult => {
	closeSync(fd);
	return { ok: false, code, what };
};

/** A socket to dial one peer with; not connected. */
export const openDialSocket = (
	address: string,
	{ password, minimumTtl }: { readonly password?: string; readonly minimumTtl?: number },
): SocketResult => {
	const family = familyOf(address);
	const opened = open(family);
	if (!opened.ok) return opened;
	const { fd } = opened;
	if (password !== undefined) {
		const code = setMd5(fd, hostCidr(address), password);
		if (code !== 0) return refuse(fd, code, 'TCP_MD5SIG');
	}
	if (minimumTtl !== undefined) {
		const code =
			family === 6
				? set(fd, IPPROTO_IPV6, IPV6_MINHOPCOUNT, int32(minimumTtl))
				: set(fd, IPPROTO_IP, IP_MINTTL, int32(minimumTtl));
		if (code !== 0) return refuse(fd, code, 'IP_MINTTL');
	}
	return opened;
};

/** A socket bound to an address; not listening. IPv6 ones take IPv6 only. */
export const openListenSocket = (address: string, port: number): SocketResult => {
	const family = familyOf(address);
	const opened = open(family);
	if (!opened.ok) return opened;
	const { fd } = opened;
	set(fd, SOL_SOCKET, SO_REUSEADDR, int32(1));
	if (family === 6) set(fd, IPPROTO_IPV6, IPV6_V6ONLY, int32(1));
	const name = sockaddr(address, port);
	if (bind(fd, name, family === 6 ? 28 : 16) < 0) return refuse(fd, errno(), 'bind');
	return opened;
};

/**
 * Who must sign and from how far a connection may come, on a listening socket: replaces `before`. Accepted connections
 * have what the listener had. Returns the peers whose password could not be set.
 */
export const protectListener = (
	fd: number,
	family: Family,
	before: readonly Protection[],
	now: readonly Protection[],
): readonly Protection[] => {
	const mine = (list: readonly Protection[]): Protection[] => list.filter(({ prefix }) => familyOf(prefix) === family);
	const passwords = new Map(mine(now).map(({ prefix, password }) => [prefix, password]));
	for (const { prefix, password } of mine(before)) {
		if (password !== undefined && passwords.get(prefix) === undefined) setMd5(fd, prefix, '');
	}
	const failed = mine(now).filter(
		({ prefix, password }) => password !== undefined && setMd5(fd, prefix, password) !== 0,
	);
	const checked = mine(now).flatMap(({ prefix, minimumTtl }) => {
		const cidr = parseCidr(prefix);
		return minimumTtl === undefined || cidr === undefined ? [] : [{ cidr, minimumTtl }];
	});
	if (checked.length > 0 || mine(before).some(({ minimumTtl }) => minimumTtl !== undefined)) {
		const program = createTtlFilter(family, checked);
		// struct sock_fprog
		const fprog = Buffer.alloc(16);
		fprog.writeUInt16LE(program.length / 8, 0);
		fprog.writeBigUInt64LE(addressOf(program), 8);
		set(fd, SOL_SOCKET, SO_ATTACH_FILTER, fprog);
	}
	return failed;
};
