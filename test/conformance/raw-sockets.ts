/** Raw sockets in another network namespace, by libc: all calls are synchronous and never wait. */
import { closeSync } from 'node:fs';
import koffi from 'koffi';
import { bind, recv, setsockopt, socket } from '../../src/kernel/libc.ts';
import { inNetns } from '../../src/kernel/netns.ts';
import { addressToBytes, type Family } from '../../src/net/ip.ts';

const libc = koffi.load('libc.so.6');
const sendto = libc.func('int64_t sendto(int, void *, size_t, int, void *, uint32_t)') as unknown as (
	fd: number,
	data: Uint8Array,
	length: number,
	flags: number,
	address: Uint8Array,
	addressLength: number,
) => number;

const AF_INET = 2;
const AF_INET6 = 10;
const AF_PACKET = 17;
const SOCK_RAW_NONBLOCK = 3 | 0o4000 | 0o2000000;
const IPPROTO_RAW = 255;
const EPERM = 1;
const MSG_DONTWAIT = 0x40;
const etherTypes = { 4: 0x0800, 6: 0x86dd } as const;

const open = (netns: string, domain: number, protocol: number): number => {
	const fd = inNetns(netns, () => socket(domain, SOCK_RAW_NONBLOCK, protocol));
	if (fd < 0) throw new Error(`no raw socket (domain ${domain}, protocol ${protocol}) in ${netns}`);
	const size = Buffer.alloc(4);
	size.writeInt32LE(16 << 20);
	setsockopt(fd, 1, 33, size, 4);
	return fd;
};
const must = (result: number, what: string): void => {
	if (result < 0) throw new Error(`${what}: errno ${koffi.errno()}`);
};

export type Reader = {
	/** Calls back for every packet that lies there. */
	readonly drain: (visit: (data: Buffer, length: number) => void) => void;
	readonly close: () => void;
};

const buffer = Buffer.alloc(65_536);
const readerOf = (fds: readonly number[]): Reader => ({
	drain: (visit) => {
		for (const fd of fds) {
			for (;;) {
				const length = recv(fd, buffer, buffer.length, MSG_DONTWAIT);
				if (length <= 0) break;
				visit(buffer, length);
			}
		}
	},
	close: () => {
		for (const fd of fds) closeSync(fd);
	},
});

export type Wire = Reader & {
	/** Sends an IP packet as a frame to `lladdr`. */
	readonly send: (packet: Buffer, family: Family) => void;
};

/** One end of a veth: what arrives at it (frames with their 14 byte header), and frames sent from it. */
export const openWire = (netns: string, device: string, index: number, lladdr: string): Wire => {
	const address = (type: number): Buffer => {
		const bytes = Buffer.alloc(20);
		bytes.writeUInt16LE(AF_PACKET, 0);
		bytes.writeUInt16BE(type, 2);
		bytes.writeInt32LE(index, 4);
		return bytes;
	};
	// A socket of one EtherType is told what comes in only, not what goes out (net/core/dev.c, dev_queue_xmit_nit).
	const readers = ([4, 6] as const).map((family) => {
		const fd = open(netns, AF_PACKET, 0);
		must(bind(fd, address(etherTypes[family]), 20), `bind to ${device}`);
		return fd;
	});
	const sender = open(netns, AF_PACKET, 0);
	const to = address(0);
	const frame = Buffer.alloc(2048);
	Buffer.from(lladdr.replaceAll(':', ''), 'hex').copy(frame, 0);
	frame[6] = 2;
	const { drain } = readerOf(readers);
	return {
		drain,
		close: () => {
			for (const fd of [...readers, sender]) closeSync(fd);
		},
		send: (packet, family) => {
			frame.writeUInt16BE(etherTypes[family], 12);
			packet.copy(frame, 14);
			must(sendto(sender, frame, 14 + packet.length, 0, to, 20), `send from ${device}`);
		},
	};
};

export type Host = {
	/** What INPUT let through: `visit` gets the packet from its transport header on. */
	readonly drain: (visit: (data: Buffer, start: number, protocol: number) => void) => void;
	/** Sends an IP packet as a process of the host does, through OUTPUT. */
	readonly send: (packet: Buffer, family: Family, destination: string) => void;
	readonly close: () => void;
};

export const openHost = (netns: string): Host => {
	const listeners = [
		...[1, 6, 17, 132, 253].map((protocol) => ({ family: 4 as const, protocol, fd: open(netns, AF_INET, protocol) })),
		...[58, 6, 17, 132, 253].map((protocol) => ({ family: 6 as const, protocol, fd: open(netns, AF_INET6, protocol) })),
	];
	const senders = { 4: open(netns, AF_INET, IPPROTO_RAW), 6: open(netns, AF_INET6, IPPROTO_RAW) };
	return {
		drain: (visit) => {
			for (const { family, protocol, fd } of listeners) {
				// IPv6 raw sockets get no IP header (RFC 3542 §3).
				readerOf([fd]).drain((data) => visit(data, family === 4 ? 20 : 0, protocol));
			}
		},
		send: (packet, family, destination) => {
			const address = Buffer.alloc(family === 4 ? 16 : 28);
			address.writeUInt16LE(family === 4 ? AF_INET : AF_INET6, 0);
			address.set(addressToBytes(destination) as Uint8Array, family === 4 ? 4 : 8);
			const result = sendto(senders[family], packet, packet.length, 0, address, address.length);
			// A packet that OUTPUT drops is told of by EPERM.
			if (result < 0 && koffi.errno() !== EPERM) must(result, `send to ${destination}`);
		},
		close: () => {
			for (const { fd } of listeners) closeSync(fd);
			closeSync(senders[4]);
			closeSync(senders[6]);
		},
	};
};
