import { readdirSync, readlinkSync } from 'node:fs';
import { RawNetlinkSocket } from 'netlink';
import { kernelError } from './kernel-error.ts';
import * as libc from './libc.ts';
import * as nl from './netlink-constants.ts';

/**
 * The socket notifications come in on. It rides on the event loop (the `netlink` package polls it); options that
 * package has no word for are set on its descriptor.
 */
export type WatchSocket = { readonly close: () => void };

export type WatchSocketOptions = {
	/** Runs what it is given in the namespace to watch. */
	readonly inside: <T>(run: () => T) => T;
	/** nlmsg_pid of the socket our requests go out on: what they do to routes, neighbours and rules is not told back. */
	readonly ownPort: number;
	/** Receive buffer in bytes. */
	readonly bufferBytes: number;
	readonly onMessage: (type: number, flags: number, data: Buffer, start: number, end: number) => void;
	/** Notifications were lost, or the socket broke; it is closed when this is called. */
	readonly onLost: (reason: string) => void;
};

/** Biggest notification taken whole; a link with its attributes is about 1.5 kB. */
const messageBytes = 16_384;

const groups = [
	nl.RTNLGRP.LINK,
	nl.RTNLGRP.NEIGH,
	nl.RTNLGRP.IPV4_IFADDR,
	nl.RTNLGRP.IPV6_IFADDR,
	nl.RTNLGRP.IPV4_ROUTE,
	nl.RTNLGRP.IPV6_ROUTE,
	nl.RTNLGRP.IPV4_RULE,
	nl.RTNLGRP.IPV6_RULE,
];

/** The package keeps its descriptor to itself: it is the socket bound to the port id we know. */
const descriptorOf = (port: number): number | undefined => {
	const address = Buffer.alloc(12);
	for (const name of readdirSync('/proc/self/fd')) {
		try {
			if (!readlinkSync(`/proc/self/fd/${name}`).startsWith('socket:')) continue;
		} catch {
			continue;
		}
		address.fill(0);
		if (libc.getsockname(Number(name), address, libc.int32(address.length)) < 0) continue;
		if (address.readUInt16LE(0) === nl.AF_NETLINK && address.readUInt32LE(4) === port) return Number(name);
	}
	return undefined;
};

/** One classic BPF instruction (struct sock_filter). */
const instruction = (code: number, k: number, jt = 0, jf = 0): Buffer => {
	const bytes = Buffer.alloc(8);
	bytes.writeUInt16LE(code, 0);
	bytes.writeUInt8(jt, 2);
	bytes.writeUInt8(jf, 3);
	bytes.writeUInt32LE(k >>> 0, 4);
	return bytes;
};

const swap16 = (value: number): number => ((value & 0xff) << 8) | (value >>> 8);
const swap32 = (value: number): number => {
	const bytes = Buffer.alloc(4);
	bytes.writeUInt32LE(value);
	return bytes.readUInt32BE(0);
};

/**
 * Drops in the kernel what nobody asked for: routes of other tables, and the echo of our own writes, except links and
 * addresses (types below RTM_NEWROUTE). A filter loads in network order what netlink keeps in host order.
 */
const attachFilter = (fd: number, ownPort: number): boolean => {
	const LD_W = 0x20;
	const LD_H = 0x28;
	const LD_B = 0x30;
	const JEQ = 0x15;
	const RET = 0x06;
	const program = Buffer.concat([
		instruction(LD_H, 4),
		instruction(JEQ, swap16(nl.RTM_NEWROUTE), 6, 0),
		instruction(JEQ, swap16(nl.RTM_DELROUTE), 5, 0),
		instruction(JEQ, swap16(nl.RTM_NEWNEIGH), 6, 0),
		instruction(JEQ, swap16(nl.RTM_DELNEIGH), 5, 0),
		instruction(JEQ, swap16(nl.RTM_NEWRULE), 4, 0),
		instruction(JEQ, swap16(nl.RTM_DELRULE), 3, 0),
		instruction(RET, 0xffffffff),
		// Routes: rtm_table.
		instruction(LD_B, nl.NLMSG_HDRLEN + 4),
		instruction(JEQ, nl.RT_TABLE_MAIN, 0, 2),
		// All of these: nlmsg_pid.
		instruction(LD_W, 12),
		instruction(JEQ, swap32(ownPort), 0, 1),
		instruction(RET, 0),
		instruction(RET, 0xffffffff),
	]);
	// struct sock_fprog: a count, padding, a pointer.
	const fprog = Buffer.alloc(16);
	fprog.writeUInt16LE(program.length / 8, 0);
	fprog.writeBigUInt64LE(libc.addressOf(program), 8);
	return libc.setsockopt(fd, libc.SOL_SOCKET, libc.SO_ATTACH_FILTER, fprog, fprog.length) === 0;
};

/** Opens and subscribes; throws when that is refused. */
export const openWatchSocket = (options: WatchSocketOptions): WatchSocket => {
	const socket = options.inside(
		() =>
			new RawNetlinkSocket(nl.NETLINK_ROUTE, {
				messagePeeking: false,
				msgBufferSize: messageBytes,
				recvBufferSize: options.bufferBytes,
				sendBufferSize: 4096,
			}),
	);
	let open = true;
	const close = (): void => {
		if (!open) return;
		open = false;
		socket.close();
	};
	const fd = descriptorOf(socket.address().port);
	if (fd === undefined) {
		close();
		throw new Error('Could not watch the kernel: the descriptor of the netlink socket was not found in /proc/self/fd.');
	}
	libc.setsockopt(fd, libc.SOL_SOCKET, libc.SO_RCVBUFFORCE, libc.int32(options.bufferBytes), 4);
	if (!attachFilter(fd, options.ownPort)) {
		const error = kernelError(libc.errno(), 'attach the filter for notifications');
		close();
		throw new Error(error.message);
	}
	socket.on('message', (data: Buffer) => {
		for (let at = 0; open && at + nl.NLMSG_HDRLEN <= data.length; ) {
			const length = data.readUInt32LE(at);
			if (length < nl.NLMSG_HDRLEN || at + length > data.length) break;
			const start = at + nl.NLMSG_HDRLEN;
			options.onMessage(data.readUInt16LE(at + 4), data.readUInt16LE(at + 6), data, start, at + length);
			at += (length + 3) & ~3;
		}
	});
	const lost = (reason: string): void => {
		if (!open) return;
		// An overrun also shows as POLLERR, for which libuv stops watching and the package closes: always start anew.
		close();
		options.onLost(reason);
	};
	socket.on('truncatedMessage', () => lost('a notification was larger than the buffer'));
	socket.on('error', (error: Error) => lost(error.message));
	for (const group of groups) socket.addMembership(group);
	socket.unref();
	return { close };
};
