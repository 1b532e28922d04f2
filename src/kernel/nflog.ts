import { closeSync } from 'node:fs';
import { constants } from 'node:os';
import { addressFromBytes, type Family } from '../net/ip.ts';
import { eachAttribute, stringOf } from './attributes.ts';
import { kernelError } from './kernel-error.ts';
import * as libc from './libc.ts';
import * as nl from './netlink-constants.ts';
import { createNetlinkWriter } from './netlink-writer.ts';

/**
 * Packets that rules tell of by NFLOG (net/netfilter/nfnetlink_log.c). The socket is looked at ten times a second
 * rather than waited for: the kernel gathers meanwhile, and a flood costs a bounded part of the time. Each message bears
 * a sequence number, so that what did not fit into the receive buffer is counted.
 */

export type LoggedPacket = {
	/** When the kernel saw it, milliseconds since 1970. */
	readonly time: number;
	/** --nflog-prefix */
	readonly prefix: string;
	readonly family: Family;
	/** IP protocol number. */
	readonly protocol: number;
	readonly source: string;
	readonly destination: string;
	/** TCP, UDP and SCTP. */
	readonly sourcePort?: number;
	readonly destinationPort?: number;
};

export type NflogOptions = {
	readonly group: number;
	readonly onPacket: (packet: LoggedPacket) => void;
	/** So many were told that we did not get. */
	readonly onLost: (count: number) => void;
	/** Runs what it is given in the network namespace to listen in. */
	readonly inside?: <T>(run: () => T) => T;
	readonly now?: () => number;
};

export type Nflog = {
	/** Takes what lies there now. */
	readonly poll: () => void;
	readonly close: () => void;
};

export type NflogResult =
	| { readonly ok: true; readonly nflog: Nflog }
	/** `busy`: another process listens to that group. */
	| { readonly ok: false; readonly busy: boolean; readonly reason: string };

const NFULNL_MSG_PACKET = 0x400;
const NFULNL_MSG_CONFIG = 0x401;
const NFULA_CFG_CMD = 1;
const NFULA_CFG_MODE = 2;
const NFULA_CFG_TIMEOUT = 4;
const NFULA_CFG_FLAGS = 6;
const NFULNL_CFG_CMD_BIND = 1;
const NFULNL_COPY_PACKET = 2;
const NFULNL_CFG_F_SEQ = 1;
const NFULA_TIMESTAMP = 3;
const NFULA_PAYLOAD = 9;
const NFULA_PREFIX = 10;
const NFULA_SEQ = 12;

/** IPv6 header, and of the transport's what its ports need. */
const copiedBytes = 64;
const receiveBytes = 1 << 20;
const interval = 100;
/** Datagrams taken at one look. */
const atOnce = 512;
const withPorts: readonly number[] = [6, 17, 132];
const { EAGAIN, EBUSY, EINTR, ENOBUFS, EPERM } = constants.errno;

const readPacket = (data: Buffer, at: number, end: number): Omit<LoggedPacket, 'time' | 'prefix'> | undefined => {
	const version = at < end ? (data[at] as number) >>> 4 : 0;
	if ((version !== 4 && version !== 6) || end - at < (version === 4 ? 20 : 40)) return undefined;
	const family: Family = version;
	const protocol = data[at + (family === 4 ? 9 : 6)] as number;
	const start = at + (family === 4 ? ((data[at] as number) & 15) * 4 : 40);
	const hasPorts = withPorts.includes(protocol) && start + 4 <= end;
	return {
		family,
		protocol,
		source: addressFromBytes(data, family, at + (family === 4 ? 12 : 8)),
		destination: addressFromBytes(data, family, at + (family === 4 ? 16 : 24)),
		...(hasPorts && { sourcePort: data.readUInt16BE(start), destinationPort: data.readUInt16BE(start + 2) }),
	};
};

export const openNflog = (options: NflogOptions): NflogResult => {
	const { group, onPacket, onLost, inside = (run) => run(), now = Date.now } = options;
	const refused = (errno: number): NflogResult => {
		// EPERM is what who comes second is told (nfulnl_recv_config), and who may not at all.
		const busy = errno === EPERM || errno === EBUSY;
		const { message } = kernelError(errno, `listen to NFLOG group ${group}`);
		const reason = busy
			? `NFLOG group ${group} has a listener already: another felix, or ulogd? (${message})`
			: message;
		return { ok: false, busy, reason };
	};
	const flags = libc.SOCK_RAW | libc.SOCK_NONBLOCK | libc.SOCK_CLOEXEC;
	const fd = inside(() => libc.socket(nl.AF_NETLINK, flags, nl.NETLINK_NETFILTER));
	if (fd < 0) return refused(libc.errno());
	const size = libc.int32(receiveBytes);
	if (libc.setsockopt(fd, libc.SOL_SOCKET, libc.SO_RCVBUFFORCE, size, 4) < 0) {
		libc.setsockopt(fd, libc.SOL_SOCKET, libc.SO_RCVBUF, size, 4);
	}
	const buffer = Buffer.allocUnsafeSlow(65_536);
	const writer = createNetlinkWriter();

	/** Sends one configuration message; the errno of its acknowledgement, which is queued when send returns. */
	const configure = (attribute: number, value: Uint8Array): number => {
		writer.truncate(0);
		writer.message(NFULNL_MSG_CONFIG, nl.NLM_F_ACK);
		// struct nfgenmsg: family, version, and the group in network order.
		writer.u16(0);
		writer.u16(((group & 0xff) << 8) | (group >>> 8));
		writer.attrBytes(attribute, value);
		writer.buffer().writeUInt32LE(writer.length(), 0);
		if (libc.send(fd, writer.buffer(), writer.length(), 0) < 0) return libc.errno();
		for (;;) {
			const length = libc.recv(fd, buffer, buffer.length, 0);
			if (length < 0) return libc.errno();
			if (length >= 20 && buffer.readUInt16LE(4) === nl.NLMSG_ERROR) return -buffer.readInt32LE(16);
		}
	};
	const number = (value: number): Buffer => {
		const bytes = Buffer.alloc(4);
		bytes.writeUInt32BE(value);
		return bytes;
	};
	for (const [attribute, value] of [
		[NFULA_CFG_CMD, Buffer.from([NFULNL_CFG_CMD_BIND])],
		[NFULA_CFG_MODE, Buffer.concat([number(copiedBytes), Buffer.from([NFULNL_COPY_PACKET, 0])])],
		// Hundredths of a second.
		[NFULA_CFG_TIMEOUT, number(interval / 10)],
		[NFULA_CFG_FLAGS, Buffer.from([0, NFULNL_CFG_F_SEQ])],
	] as const) {
		const errno = configure(attribute, value);
		if (errno === 0) continue;
		closeSync(fd);
		return refused(errno);
	}

	let expected: number | undefined;
	const onMessage = (start: number, end: number): void => {
		let prefix = '';
		let time: number | undefined;
		let packet: ReturnType<typeof readPacket>;
		eachAttribute(buffer, start + 4, end, (type, from, to) => {
			if (type === NFULA_PREFIX) prefix = stringOf(buffer, from, to);
			else if (type === NFULA_PAYLOAD) packet = readPacket(buffer, from, to);
			else if (type === NFULA_TIMESTAMP) {
				time = Number(buffer.readBigUInt64BE(from)) * 1000 + Number(buffer.readBigUInt64BE(from + 8)) / 1000;
			} else if (type === NFULA_SEQ) {
				const sequence = buffer.readUInt32BE(from);
				const lost = expected === undefined ? 0 : (sequence - expected) >>> 0;
				if (lost > 0) onLost(lost);
				expected = (sequence + 1) >>> 0;
			}
		});
		if (packet !== undefined) onPacket({ time: time ?? now(), prefix, ...packet });
	};

	let open = true;
	const poll = (): void => {
		for (let datagrams = 0; open && datagrams < atOnce; datagrams++) {
			const length = libc.recv(fd, buffer, buffer.length, 0);
			if (length < 0) {
				const errno = libc.errno();
				// How many went missing the next sequence number tells.
				if (errno === EINTR || errno === ENOBUFS) continue;
				if (errno !== EAGAIN) close();
				return;
			}
			for (let at = 0; at + 16 <= length; ) {
				const size = buffer.readUInt32LE(at);
				if (size < 16 || at + size > length) break;
				if (buffer.readUInt16LE(at + 4) === NFULNL_MSG_PACKET) onMessage(at + 16, at + size);
				at += (size + 3) & ~3;
			}
		}
	};
	const timer = setInterval(poll, interval);
	timer.unref();
	const close = (): void => {
		if (!open) return;
		open = false;
		clearInterval(timer);
		closeSync(fd);
	};
	return { ok: true, nflog: { poll, close } };
};
