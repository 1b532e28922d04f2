import { closeSync } from 'node:fs';
import { constants } from 'node:os';
import { setImmediate } from 'node:timers/promises';
import type { KernelError } from './kernel.ts';
import { invalid, kernelError } from './kernel-error.ts';
import * as libc from './libc.ts';
import { errorOf, extendedText, receive } from './netlink-answers.ts';
import { createBatches, type Encode } from './netlink-batches.ts';
import * as nl from './netlink-constants.ts';
import { createNetlinkWriter, type NetlinkWriter } from './netlink-writer.ts';

/**
 * Requests to the kernel. rtnetlink and ctnetlink do the work inside sendmsg(2) (netlink_unicast_kernel runs the
 * handler before it returns), so the answers lie in the receive queue when send is back: a batch is sent and answered
 * without a turn of the event loop, one receive call a datagram into one buffer that is never given away.
 */

/** Receives one message: `data` from `start` (after the netlink header) to `end`. It must copy what it keeps. */
export type OnMessage = (type: number, data: Buffer, start: number, end: number) => void;

export type NetlinkSocket = {
	/** nlmsg_pid of this socket, which notifications of changes made through it bear. */
	readonly port: number;
	/** Sends one message and waits for its acknowledgement, synchronously. `describe`: `add link x`. */
	readonly requestSync: <T>(item: T, encode: Encode<T>, describe: (item: T) => string) => KernelError | undefined;
	/**
	 * Like `requestSync`, with the event loop free meanwhile: for what the kernel takes tens of milliseconds for, such as
	 * a link's end. One after the other, on a socket of its own.
	 */
	readonly requestSlow: <T>(
		item: T,
		encode: Encode<T>,
		describe: (item: T) => string,
	) => Promise<KernelError | undefined>;
	/** Sends a message for each item, hundreds in a datagram, many in another thread; one result for each, in order. */
	readonly request: <T>(
		items: readonly T[],
		encode: Encode<T>,
		describe: (item: T) => string,
	) => Promise<readonly (KernelError | undefined)[]>;
	/** Asks for one object; `onMessage` gets the answer. */
	readonly get: (
		encode: (writer: NetlinkWriter) => void,
		onMessage: OnMessage,
		what: string,
	) => KernelError | undefined;
	/**
	 * A dump. `begin` is called before the first message and again whenever the kernel says that the table changed
	 * under the dump (NLM_F_DUMP_INTR), which makes it start anew. The event loop is free after each `atOnce` datagrams.
	 */
	readonly dump: (
		encode: (writer: NetlinkWriter) => void,
		begin: () => OnMessage,
		what: string,
		atOnce?: number,
	) => Promise<KernelError | undefined>;
	readonly close: () => void;
};

const { EINTR, ENOBUFS, ENOENT, EBADF } = constants.errno;
const bufferBytes = 8 << 20;
/** After so many interrupted dumps the last is taken: what it missed shows as EEXIST or ESRCH and is then known. */
const dumpTries = 8;
const yieldEvery = 32;

let receiveBuffer = Buffer.allocUnsafeSlow(65_536);
/** For single questions, which are also asked half way through the datagram of a dump. */
const answerBuffer = Buffer.allocUnsafeSlow(65_536);

const openSocket = (protocol: number): { readonly fd: number; readonly port: number } => {
	const fd = libc.socket(nl.AF_NETLINK, libc.SOCK_RAW | libc.SOCK_NONBLOCK | libc.SOCK_CLOEXEC, protocol);
	if (fd < 0) throw new Error(kernelError(libc.errno(), 'open a netlink socket').message);
	const address = Buffer.alloc(12);
	address.writeUInt16LE(nl.AF_NETLINK, 0);
	const length = libc.int32(address.length);
	if (libc.bind(fd, address, address.length) < 0 || libc.getsockname(fd, address, length) < 0) {
		const error = kernelError(libc.errno(), 'bind a netlink socket');
		closeSync(fd);
		throw new Error(error.message);
	}
	// Each may be refused (older kernel, no CAP_NET_ADMIN): then less is told, less is buffered, nothing breaks.
	const size = libc.int32(bufferBytes);
	if (libc.setsockopt(fd, libc.SOL_SOCKET, libc.SO_RCVBUFFORCE, size, 4) < 0) {
		libc.setsockopt(fd, libc.SOL_SOCKET, libc.SO_RCVBUF, size, 4);
	}
	if (libc.setsockopt(fd, libc.SOL_SOCKET, libc.SO_SNDBUFFORCE, size, 4) < 0) {
		libc.setsockopt(fd, libc.SOL_SOCKET, libc.SO_SNDBUF, size, 4);
	}
	for (const option of [nl.NETLINK_CAP_ACK, nl.NETLINK_EXT_ACK, nl.NETLINK_GET_STRICT_CHK]) {
		libc.setsockopt(fd, nl.SOL_NETLINK, option, libc.int32(1), 4);
	}
	return { fd, port: address.readUInt32LE(4) };
};

/**
 * Opens a socket of `protocol`; throws when that is refused. `inside` runs what it is given in the network namespace
 * the socket shall belong to.
 */
export const openNetlinkSocket = (protocol: number, inside: <T>(run: () => T) => T = (run) => run()): NetlinkSocket => {
	const open = (): { readonly fd: number; readonly port: number } => inside(() => openSocket(protocol));
	const requests = open();
	let dumps: number | undefined;
	let dumping: Promise<unknown> = Promise.resolve();
	const writer = createNetlinkWriter();
	let sequence = 1;
	// Encoders may ask for an interface index half way through a batch: a question has its own buffer and numbers.
	const question = createNetlinkWriter();
	let questions = 0;
	let closed = false;

	const send = (fd: number, from: NetlinkWriter): number => sendBytes(fd, from.buffer(), from.length());
	const sendBytes = (fd: number, bytes: Buffer, length: number): number => {
		if (closed) return EBADF;
		for (;;) {
			if (libc.send(fd, bytes, length, 0) >= 0) return 0;
			const error = libc.errno();
			if (error !== EINTR) return error;
		}
	};
	/** Sends in another thread; an error is asked for again in this one, which knows errno. */
	const sendSlowly = async (fd: number, message: Buffer, length: number): Promise<number> => {
		if (closed) return EBADF;
		const sent = await libc.sendInThread(fd, message, length, 0).catch(() => -1);
		if (closed) return EBADF;
		return sent >= 0 ? 0 : sendBytes(fd, message, length);
	};

	const batches = createBatches({
		fd: requests.fd,
		send: (bytes, length) => sendBytes(requests.fd, bytes, length),
		later: (bytes, length) => sendSlowly(requests.fd, bytes, length),
	});

	let slow: { readonly fd: number; readonly port: number } | undefined;
	let slowTurn: Promise<unknown> = Promise.resolve();
	const requestSlow: NetlinkSocket['requestSlow'] = (item, encode, describe) => {
		const run = async (): Promise<KernelError | undefined> => {
			if (closed) return kernelError(EBADF, describe(item), 'the kernel socket is closed');
			slow ??= open();
			const { fd } = slow;
			const message = createNetlinkWriter();
			const refusal = encode(message, item);
			if (refusal !== undefined) return invalid(describe(item), refusal);
			message.buffer().writeUInt16LE(message.buffer().readUInt16LE(6) | nl.NLM_F_ACK, 6);
			questions = (questions + 1) & 0x7fffffff;
			const seq = questions;
			message.finish(0, seq);
			const failure = await sendSlowly(fd, message.buffer(), message.length());
			if (failure !== 0) return kernelError(failure, describe(item));
			for (;;) {
				const size = receive(fd, answerBuffer);
				if (size < 0) return kernelError(-size, describe(item));
				const answers = size >= 20 && answerBuffer.readUInt16LE(4) === nl.NLMSG_ERROR;
				if (answers && answerBuffer.readUInt32LE(8) === seq) {
					return errorOf(answerBuffer, 0, answerBuffer.readUInt32LE(0), describe(item));
				}
			}
		};
		const result = slowTurn.then(run);
		slowTurn = result.catch(() => {});
		return result;
	};

	const dumpOnce = async (
		fd: number,
		encode: (writer: NetlinkWriter) => void,
		onMessage: OnMessage,
		what: string,
		atOnce: number,
	): Promise<KernelError | 'interrupted' | undefined> => {
		writer.truncate(0);
		encode(writer);
		const seq = sequence;
		sequence = (sequence + 1) & 0x7fffffff;
		writer.finish(0, seq);
		// A dump of connections walks a table of hundreds of thousands of buckets before the first answer.
		const message = Buffer.from(writer.buffer().subarray(0, writer.length()));
		const slowly = protocol === nl.NETLINK_NETFILTER;
		const failure = slowly ? await sendSlowly(fd, message, message.length) : send(fd, writer);
		if (failure !== 0) return kernelError(failure, what);
		let interrupted = false;
		for (let datagrams = 1; ; datagrams++) {
			if (closed) return kernelError(EBADF, what, 'the kernel socket is closed');
			const size = receive(fd, receiveBuffer);
			if (size < 0) return kernelError(-size, what);
			if (size > receiveBuffer.length) {
				receiveBuffer = Buffer.allocUnsafeSlow(2 * size);
				interrupted = true;
				continue;
			}
			const data = receiveBuffer;
			for (let at = 0; at + 16 <= size; ) {
				const length = data.readUInt32LE(at);
				if (length < 16) break;
				const end = at + length;
				if (data.readUInt32LE(at + 8) === seq) {
					const type = data.readUInt16LE(at + 4);
					if ((data.readUInt16LE(at + 6) & nl.NLM_F_DUMP_INTR) !== 0) interrupted = true;
					if (type === nl.NLMSG_ERROR) return errorOf(data, at, end, what);
					if (type === nl.NLMSG_DONE) {
						const errno = length >= 20 ? -data.readInt32LE(at + 16) : 0;
						if (errno > 0) return kernelError(errno, what, extendedText(data, data.readUInt16LE(at + 6), at + 20, end));
						return interrupted ? 'interrupted' : undefined;
					}
					onMessage(type, data, at + 16, end);
				}
				at += (length + 3) & ~3;
			}
			if (datagrams % atOnce === 0) await setImmediate();
		}
	};

	return {
		port: requests.port,
		requestSync: (item, encode, describe) => {
			return batches.now([item], 0, encode, describe).errors[0];
		},
		requestSlow,
		request: batches.all,
		get: (encode, onMessage, what) => {
			question.truncate(0);
			encode(question);
			questions = (questions + 1) & 0x7fffffff;
			const seq = (questions | 0x80000000) >>> 0;
			question.finish(0, seq);
			const failure = send(requests.fd, question);
			if (failure !== 0) return kernelError(failure, what);
			for (;;) {
				const size = receive(requests.fd, answerBuffer);
				if (size < 0) return kernelError(-size, what);
				for (let at = 0; at + 16 <= size && at + 16 <= answerBuffer.length; ) {
					const length = answerBuffer.readUInt32LE(at);
					if (length < 16) break;
					if (answerBuffer.readUInt32LE(at + 8) === seq) {
						const type = answerBuffer.readUInt16LE(at + 4);
						if (type === nl.NLMSG_ERROR) return errorOf(answerBuffer, at, at + length, what);
						onMessage(type, answerBuffer, at + 16, Math.min(at + length, answerBuffer.length));
						return undefined;
					}
					batches.take(answerBuffer, at, length);
					at += (length + 3) & ~3;
				}
			}
		},
		dump: (encode, begin, what, atOnce = yieldEvery) => {
			const run = async (): Promise<KernelError | undefined> => {
				for (let tries = 1; ; tries++) {
					if (closed) return kernelError(EBADF, what, 'the kernel socket is closed');
					// A socket of its own, so that requests can go between the pieces of a long dump.
					dumps ??= open().fd;
					const result = await dumpOnce(dumps, encode, begin(), what, atOnce);
					// A table that does not exist yet has nothing in it (net/ipv4/fib_frontend.c).
					if (result === undefined || (result !== 'interrupted' && result.errno === ENOENT)) return undefined;
					if (result !== 'interrupted' && dumps !== undefined) {
						// The rest of a dump given up on would be taken for the start of the next.
						closeSync(dumps);
						dumps = undefined;
					}
					const again = result === 'interrupted' || result.errno === ENOBUFS;
					if (!again || tries === dumpTries) return result === 'interrupted' ? undefined : result;
					await setImmediate();
				}
			};
			const result = dumping.then(run);
			dumping = result.catch(() => {});
			return result;
		},
		close: () => {
			if (closed) return;
			closed = true;
			// A number that is given away must not be sent to by the other thread.
			batches.whenIdle(() => closeSync(requests.fd));
			if (dumps !== undefined) closeSync(dumps);
			if (slow !== undefined) closeSync(slow.fd);
			dumps = slow = undefined;
		},
	};
};
