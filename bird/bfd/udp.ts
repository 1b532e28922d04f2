import { createSocket, type Socket } from 'node:dgram';
import { closeSync } from 'node:fs';
import * as libc from '../../src/kernel/libc.ts';
import { addressToBytes, canonicalAddress, type Family, familyOf } from '../../src/net/ip.ts';
import type { BfdSockets, Endpoint, Opened } from './sockets.ts';
import { encodeFilter, type TtlRule, ttlFilter } from './ttl-filter.ts';

/**
 * UDP sockets for BFD. Made and bound by libc, since the TTL filter must be on before the first packet and a bind to an
 * interface or to an address that is not there yet is nothing node:dgram can do; then handed to node:dgram to read.
 */

const AF = { 4: 2, 6: 10 } as const;
const SOCK_DGRAM = 2;
const SOL_SOCKET = 1;
const SO_REUSEADDR = 2;
const SO_RCVBUF = 8;
const SO_BINDTODEVICE = 25;
const IPPROTO_IP = 0;
const IP_TOS = 1;
const IP_TTL = 2;
const IP_FREEBIND = 15;
const IPPROTO_IPV6 = 41;
const IPV6_UNICAST_HOPS = 16;
const IPV6_V6ONLY = 26;
const IPV6_TCLASS = 67;
const IPV6_FREEBIND = 78;
const EADDRINUSE = 98;
/** Internetwork control, as routers send BFD. */
const CS6 = 0xc0;
/** RFC 5881 §4. */
const FIRST_SOURCE_PORT = 49152;
const SOURCE_PORTS = 65536 - FIRST_SOURCE_PORT;

const errnoWords: Readonly<Record<number, string>> = {
	1: 'not permitted: it needs CAP_NET_RAW or CAP_NET_BIND_SERVICE',
	19: 'there is no such interface',
	97: 'this host has no such address family',
	98: 'another process uses this UDP port: stop its BFD',
	99: 'the address is not on this host',
};
const failure = (what: string): { readonly ok: false; readonly error: string } => {
	const code = libc.errno();
	return { ok: false, error: `${what}: ${errnoWords[code] ?? `error ${code}`}` };
};

const sockaddr = (family: Family, address: string, port: number, scope: number): Buffer => {
	const bytes = Buffer.alloc(family === 4 ? 16 : 28);
	bytes.writeUInt16LE(AF[family], 0);
	bytes.writeUInt16BE(port, 2);
	bytes.set(addressToBytes(address) ?? [], family === 4 ? 4 : 8);
	if (family === 6) bytes.writeUInt32LE(scope, 24);
	return bytes;
};

const isLinkLocal = (address: string): boolean => /^fe[89ab]/.test(address);

type Bound = { readonly socket: Socket; readonly fd: number };

const setInt = (fd: number, level: number, option: number, value: number): boolean =>
	libc.setsockopt(fd, level, option, libc.int32(value), 4) === 0;

const attachFilter = (fd: number, family: Family, rules: readonly TtlRule[]): boolean => {
	const program = Buffer.from(encodeFilter(ttlFilter(family, rules)));
	// struct sock_fprog: a count, padding, a pointer.
	const fprog = Buffer.alloc(16);
	fprog.writeUInt16LE(program.length / 8, 0);
	fprog.writeBigUInt64LE(libc.addressOf(program), 8);
	return libc.setsockopt(fd, SOL_SOCKET, libc.SO_ATTACH_FILTER, fprog, fprog.length) === 0;
};

/** Binds to the first of `ports` that is free. */
const open = (at: Endpoint, ports: Iterable<number>): Opened<Bound> => {
	const family = familyOf(at.localAddress);
	const fd = libc.socket(AF[family], SOCK_DGRAM | libc.SOCK_NONBLOCK | libc.SOCK_CLOEXEC, 0);
	if (fd < 0) return failure('cannot make a UDP socket');
	const give = (what: string): Opened<never> => {
		const failed = failure(what);
		closeSync(fd);
		return failed;
	};
	const prepared =
		family === 4
			? setInt(fd, IPPROTO_IP, IP_TTL, 255) &&
				setInt(fd, IPPROTO_IP, IP_TOS, CS6) &&
				setInt(fd, IPPROTO_IP, IP_FREEBIND, 1)
			: setInt(fd, IPPROTO_IPV6, IPV6_V6ONLY, 1) &&
				setInt(fd, IPPROTO_IPV6, IPV6_UNICAST_HOPS, 255) &&
				setInt(fd, IPPROTO_IPV6, IPV6_TCLASS, CS6) &&
				setInt(fd, IPPROTO_IPV6, IPV6_FREEBIND, 1);
	if (!prepared || !setInt(fd, SOL_SOCKET, SO_RCVBUF, 1 << 20)) return give('cannot set up a UDP socket');
	// TTL 255 until told otherwise.
	if (!attachFilter(fd, family, [])) return give('cannot filter by TTL');
	let scope = 0;
	if (at.interface !== undefined) {
		const name = Buffer.from(`${at.interface}\0`);
		if (libc.setsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, name, name.length) < 0) {
			return give(`cannot bind to interface ${at.interface}`);
		}
		if (isLinkLocal(at.localAddress)) scope = libc.ifNameToIndex(at.interface);
	}
	let bound = false;
	let port = 0;
	for (port of ports) {
		const address = sockaddr(family, at.localAddress, port, scope);
		bound = libc.bind(fd, address, address.length) === 0;
		if (bound || libc.errno() !== EADDRINUSE) break;
	}
	if (!bound) return give(`cannot bind to ${at.localAddress} port ${port}`);
	const socket = createSocket(family === 4 ? 'udp4' : 'udp6');
	// Errors of single packets (ICMP) are the peer's; without a listener they would end the thread.
	socket.on('error', () => {});
	socket.bind({ fd });
	// libuv sets it on every descriptor handed to it: others could take the port.
	setInt(fd, SOL_SOCKET, SO_REUSEADDR, 0);
	return { ok: true, socket: { socket, fd } };
};

/** All ports of RFC 5881 §4, from a random one on. */
function* sourcePorts(): Iterable<number> {
	const first = Math.floor(Math.random() * SOURCE_PORTS);
	for (let i = 0; i < SOURCE_PORTS; i++) yield FIRST_SOURCE_PORT + ((first + i) % SOURCE_PORTS);
}

export const udpSockets: BfdSockets = {
	listen: ({ port, ...at }, received) => {
		const opened = open(at, [port]);
		if (!opened.ok) return opened;
		const { socket, fd } = opened.socket;
		const family = familyOf(at.localAddress);
		socket.on('message', (bytes, { address }) => {
			const source = canonicalAddress(address.replace(/%.*$/, ''));
			if (source !== undefined) received(bytes, source);
		});
		return {
			ok: true,
			socket: {
				allow: (rules) => {
					// A program too long for the kernel: the lowest TTL of all, known sources or not.
					const lowest = Math.min(255, ...rules.map((rule) => rule.minimumTtl));
					if (!attachFilter(fd, family, rules)) attachFilter(fd, family, [{ address: '', minimumTtl: lowest }]);
				},
				close: () => socket.close(),
			},
		};
	},
	sender: ({ address, port, ...from }) => {
		const opened = open(from, sourcePorts());
		if (!opened.ok) return opened;
		const { socket } = opened.socket;
		const target = isLinkLocal(address) && from.interface !== undefined ? `${address}%${from.interface}` : address;
		let closed = false;
		return {
			ok: true,
			socket: {
				send: (bytes, failed) => {
					if (closed) return;
					socket.send(bytes, port, target, (error) => {
						if (error !== null) failed(error.message);
					});
				},
				close: () => {
					closed = true;
					socket.close();
				},
			},
		};
	},
};
