import { constants } from 'node:os';
import { setImmediate } from 'node:timers/promises';
import type { KernelError } from './kernel.ts';
import { invalid, kernelError } from './kernel-error.ts';
import { errorOf, receive } from './netlink-answers.ts';
import * as nl from './netlink-constants.ts';
import { createNetlinkWriter, type NetlinkWriter } from './netlink-writer.ts';

/**
 * Many requests in a datagram, one acknowledgement for the last, errors for any. The kernel works a datagram off inside
 * send: a few are sent at once, and many from another thread, so that the next is written while the kernel is at work on
 * the one before. Requests sent at once may come between; whoever reads an answer hands it to the batch it is for.
 */

/** Writes one message; returns why it cannot be written, when the value makes no sense. */
export type Encode<T> = (writer: NetlinkWriter, item: T) => string | undefined;

export type Batches = {
	/** One datagram, from the first item on as far as they fit; returns the errors by index, and what is next. */
	readonly now: <T>(
		items: readonly T[],
		from: number,
		encode: Encode<T>,
		describe: (item: T) => string,
	) => { readonly errors: readonly (KernelError | undefined)[]; readonly next: number };
	/** One result for each item, in order. */
	readonly all: <T>(
		items: readonly T[],
		encode: Encode<T>,
		describe: (item: T) => string,
	) => Promise<readonly (KernelError | undefined)[]>;
	/** The message at `at` came: if it answers a batch, that has heard it. */
	readonly take: (data: Buffer, at: number, length: number) => void;
	/** Runs it at once, or when what the other thread is sending has been sent. */
	readonly whenIdle: (run: () => void) => void;
};

export type BatchesPorts = {
	readonly fd: number;
	/** Both return an errno, or 0; `later` sends in another thread. */
	readonly send: (bytes: Buffer, length: number) => number;
	readonly later: (bytes: Buffer, length: number) => Promise<number>;
};

/** Sent and not yet answered to the end. */
type Batch = {
	readonly first: number;
	readonly count: number;
	readonly refused: (position: number, data: Buffer, at: number, end: number) => void;
	readonly failed: (errno: number) => void;
	done: boolean;
};

const { EBADF } = constants.errno;
/** How much goes into a datagram: for the other thread more, since each costs two changes between threads. */
const small = { messages: 512, bytes: 131_072 } as const;
const large = { messages: 4096, bytes: 393_216 } as const;
/** From so many on another thread is worth its while. */
const many = 2 * small.messages;

const answers = Buffer.allocUnsafeSlow(65_536);

export const createBatches = ({ fd, send, later }: BatchesPorts): Batches => {
	const writer = createNetlinkWriter();
	const pending = new Set<Batch>();
	let sequence = 1;
	/** By turns the one the kernel reads and the one that is filled. */
	const flights: [Buffer, Buffer] = [Buffer.alloc(0), Buffer.alloc(0)];
	/** One at a time goes by the thread. */
	let turn: Promise<unknown> = Promise.resolve();
	let inFlight: Promise<unknown> | undefined;

	const take: Batches['take'] = (data, at, length) => {
		if (length < 20 || data.readUInt16LE(at + 4) !== nl.NLMSG_ERROR) return;
		const number = data.readUInt32LE(at + 8);
		// An answer to a batch that was given up on is none of another's.
		for (const batch of pending) {
			const position = (number - batch.first) & 0x7fffffff;
			if (position >= batch.count) continue;
			batch.refused(position, data, at, at + length);
			if (position === batch.count - 1) batch.done = true;
			return;
		}
	};

	/** Fills the writer; undefined when no item could be written. */
	const write = <T>(
		items: readonly T[],
		from: number,
		encode: Encode<T>,
		describe: (item: T) => string,
		results: (KernelError | undefined)[],
		limit: typeof small | typeof large,
	): { readonly batch: Batch | undefined; readonly next: number } => {
		writer.truncate(0);
		const first = sequence;
		const indexes: number[] = [];
		let lastStart = 0;
		let next = from;
		while (next < items.length && indexes.length < limit.messages && writer.length() < limit.bytes) {
			const item = items[next] as T;
			const start = writer.length();
			const refusal = encode(writer, item);
			if (refusal === undefined) {
				writer.finish(start, sequence);
				sequence = (sequence + 1) & 0x7fffffff;
				indexes.push(next);
				lastStart = start;
			} else {
				writer.truncate(start);
				results[next] = invalid(describe(item), refusal);
			}
			next++;
		}
		if (indexes.length === 0) return { batch: undefined, next };
		const flagsAt = lastStart + 6;
		writer.buffer().writeUInt16LE(writer.buffer().readUInt16LE(flagsAt) | nl.NLM_F_ACK, flagsAt);
		const batch: Batch = {
			first,
			count: indexes.length,
			done: false,
			refused: (position, data, at, end) => {
				if (data.readInt32LE(at + 16) === 0) return;
				const index = indexes[position] as number;
				const error = errorOf(data, at, end, describe(items[index] as T));
				if (error !== undefined) results[index] = error;
			},
			failed: (errno) => {
				// Which of them were done is not known (an answer was lost, or the send was refused): all count as failed.
				const reason = errno === EBADF ? 'the kernel socket is closed' : '';
				for (const index of indexes) results[index] ??= kernelError(errno, describe(items[index] as T), reason);
			},
		};
		return { batch, next };
	};

	/** Reads until it is answered. */
	const settle = (batch: Batch, failure: number): void => {
		let errno = failure;
		while (errno === 0 && !batch.done) {
			const size = receive(fd, answers);
			if (size < 0) errno = -size;
			for (let at = 0; at + 20 <= size; ) {
				const length = answers.readUInt32LE(at);
				if (length < 20) break;
				take(answers, at, length);
				at += (length + 3) & ~3;
			}
		}
		pending.delete(batch);
		if (errno !== 0) batch.failed(errno);
	};

	const one = <T>(
		items: readonly T[],
		from: number,
		encode: Encode<T>,
		describe: (item: T) => string,
		results: (KernelError | undefined)[],
	): number => {
		const { batch, next } = write(items, from, encode, describe, results, small);
		if (batch === undefined) return next;
		pending.add(batch);
		settle(batch, send(writer.buffer(), writer.length()));
		return next;
	};

	const inThread = async <T>(
		items: readonly T[],
		encode: Encode<T>,
		describe: (item: T) => string,
		results: (KernelError | undefined)[],
	): Promise<void> => {
		let sent: Promise<void> = Promise.resolve();
		for (let at = 0; at < items.length; ) {
			const { batch, next } = write(items, at, encode, describe, results, large);
			at = next;
			if (batch === undefined) continue;
			const length = writer.length();
			flights.reverse();
			// Others may write meanwhile.
			if (flights[0].length < length) flights[0] = Buffer.allocUnsafeSlow(writer.buffer().length);
			writer.buffer().copy(flights[0], 0, 0, length);
			await sent;
			pending.add(batch);
			sent = later(flights[0], length).then((failure) => {
				inFlight = undefined;
				settle(batch, failure);
			});
			inFlight = sent;
		}
		await sent;
	};

	return {
		take,
		whenIdle: (run) => {
			if (inFlight === undefined) run();
			else void inFlight.finally(run);
		},
		now: (items, from, encode, describe) => {
			const errors: (KernelError | undefined)[] = [];
			const next = one(items, from, encode, describe, errors);
			return { errors, next };
		},
		all: async (items, encode, describe) => {
			const results = new Array<KernelError | undefined>(items.length).fill(undefined);
			if (items.length >= many) {
				const done = turn.then(() => inThread(items, encode, describe, results));
				turn = done.catch(() => {});
				await done;
				return results;
			}
			for (let next = 0; next < items.length; ) {
				next = one(items, next, encode, describe, results);
				if (next < items.length) await setImmediate();
			}
			return results;
		},
	};
};
