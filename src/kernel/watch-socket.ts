import { readdirSync, readlinkSync } from 'node:fs';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { RawNetlinkSocket } from 'netlink';
import { kernelError } from './kernel-error.ts';
import * as libc from './libc.ts';
import * as nl from './netlink-constants.ts';

/**
 * The socket notifications come in on. It rides on the event loop (the `netlink` package polls it); options that
 * package has no word for are set on its descriptor.
 *
 * An overrun must not show as a socket error: the package aborts the process on POLLERR (its exception for that has a
 * null string in it). So NETLINK_NO_ENOBUFS is set and overruns are seen by the socket's count of drops instead
 * (SO_MEMINFO). Drops happen while the queue is full, so looking after what was queued has been read misses none.
 */
export type WatchSocket = {
	/** Returns once everything the kernel has told so far has been handed on, or lost and told as that. */
	readonly settled: () => Promise<void>;
	readonly close: () => void;
};

export type WatchSocketOptions = {
	/** Runs what it is given in the namespace to watch. */
	readonly inside: <T>(run: () => T) => T;
	/** nlmsg_pid of the socket our requests go out on: what they do to routes, neighbours and rules is not told back. */
	readonly ownPort: number;
	/** Receive buffer in bytes. */
	readonly bufferBytes: number;
	readonly onMessage: (type: number, flags: number, data: Buffer, start: number, end: number) => void;
	/** Notifications were lost; `broken`: the socket is of no more use and closed. */
	readonly onLost: (reason: string, broken: boolean) => void;
};

/** Biggest notification taken whole; a link with its attributes is about 1.5 kB. */
const messageBytes = 16_384;

/** A turn reads 32 messages; nobody changes millions of routes faster than they are read, but if so, life goes on. */
const settleTurns = 100_000;

const groups = [
	nl.RTNLGRP.LINK,
	nl.RTNLGRP.NEIGH,
	nl.RTNLGRP.TC,
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

/** Reads struct sk_meminfo of the socket: bytes queued, and how many datagrams were dropped so far. */
const memoryReader = (fd: number): (() => { readonly queued: number; readonly drops: number }) => {
	const memory = Buffer.alloc(36);
	const length = Buffer.alloc(4);
	return () => {
		length.writeUInt32LE(memory.length);
		const failed = libc.getsockopt(fd, libc.SOL_SOCKET, libc.SO_MEMINFO, memory, length) < 0;
		return failed ? { queued: 0, drops: 0 } : { queued: memory.readUInt32LE(0), drops: memory.readUInt32LE(32) };
	};
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
		// Not now: this may be called from one of the package's own callbacks, which goes on using the socket.
		setImmediate(() => socket.close());
	};
	const failing = (what: string): never => {
		socket.close();
		throw new Error(`Could not watch the kernel: ${what}`);
	};
	const fd =
		descriptorOf(socket.address().port) ?? failing('the descriptor of the socket was not found in /proc/self/fd.');
	libc.setsockopt(fd, libc.SOL_SOCKET, libc.SO_RCVBUFFORCE, libc.int32(options.bufferBytes), 4);
	if (libc.setsockopt(fd, nl.SOL_NETLINK, nl.NETLINK_NO_ENOBUFS, libc.int32(1), 4) < 0) {
		failing(kernelError(libc.errno(), 'set NETLINK_NO_ENOBUFS').message);
	}
	if (!attachFilter(fd, options.ownPort)) failing(kernelError(libc.errno(), 'attach a socket filter').message);

	const memory = memoryReader(fd);
	let dropped = memory().drops;
	let checking = false;
	const check = (): void => {
		checking = false;
		if (!open) return;
		const now = memory().drops;
		if (now === dropped) return;
		const lost = (now - dropped) >>> 0;
		dropped = now;
		options.onLost(`${lost} notifications did not fit into the receive buffer`, false);
	};
	const lookForDrops = (): void => {
		if (checking) return;
		checking = true;
		setImmediate(check);
	};
	const broken = (reason: string): void => {
		if (!open) return;
		close();
		options.onLost(reason, true);
	};
	const readAll = (data: Buffer): void => {
		for (let at = 0; open && at + nl.NLMSG_HDRLEN <= data.length; ) {
			const length = data.readUInt32LE(at);
			if (length < nl.NLMSG_HDRLEN || at + length > data.length) break;
			const start = at + nl.NLMSG_HDRLEN;
			options.onMessage(data.readUInt16LE(at + 4), data.readUInt16LE(at + 6), data, start, at + length);
			at += (length + 3) & ~3;
		}
	};
	// The package also aborts the process when a callback throws: a message that cannot be read must not cost that.
	socket.on('message', (data: Buffer) => {
		lookForDrops();
		try {
			readAll(data);
		} catch (error) {
			options.onLost(`a notification could not be read: ${error}`, false);
		}
	});
	socket.on('truncatedMessage', () => options.onLost('a notification was larger than the buffer', false));
	socket.on('error', (error: Error) => broken(error.message));
	for (const group of groups) socket.addMembership(group);
	socket.unref();
	return {
		settled: async () => {
			for (let turn = 0; open && memory().queued > 0; turn++) {
				if (turn === settleTurns) return;
				await nextTurn();
			}
			check();
		},
		close,
	};
};
