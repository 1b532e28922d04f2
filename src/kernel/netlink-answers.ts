import { constants } from 'node:os';
import type { KernelError } from './kernel.ts';
import { kernelError } from './kernel-error.ts';
import * as libc from './libc.ts';
import * as nl from './netlink-constants.ts';

/** What the kernel answers on a netlink socket: datagrams, and the errors in them. */

const { EAGAIN, EINTR, ETIMEDOUT } = constants.errno;

/** One datagram into the buffer: its length, or a negative errno. */
export const receive = (fd: number, into: Buffer): number => {
	for (let waits = 0; ; ) {
		const size = libc.recv(fd, into, into.length, libc.MSG_TRUNC);
		if (size >= 0) return size;
		const error = libc.errno();
		if (error === EINTR) continue;
		// Never seen: the answer is queued before send returns. Up to a second is granted to a kernel that defers it.
		if (error !== EAGAIN || ++waits > 1000) return error === EAGAIN ? -ETIMEDOUT : -error;
		Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 1);
	}
};

/** The kernel's own words in an NLMSG_ERROR or failed NLMSG_DONE (NLMSGERR_ATTR_MSG), or ''. */
export const extendedText = (data: Buffer, flags: number, from: number, end: number): string => {
	if ((flags & nl.NLM_F_ACK_TLVS) === 0) return '';
	for (let at = from; at + 4 <= end; ) {
		const length = data.readUInt16LE(at);
		if (length < 4 || at + length > end) return '';
		if ((data.readUInt16LE(at + 2) & nl.NLA_TYPE_MASK) === nl.NLMSGERR_ATTR_MSG) {
			return data.toString('utf8', at + 4, at + length).replace(/\0+$/, '');
		}
		at += (length + 3) & ~3;
	}
	return '';
};

export const errorOf = (data: Buffer, at: number, end: number, tried: string): KernelError | undefined => {
	const errno = -data.readInt32LE(at + 16);
	if (errno === 0) return undefined;
	const flags = data.readUInt16LE(at + 6);
	const echoed = (flags & nl.NLM_F_CAPPED) !== 0 ? 16 : (data.readUInt32LE(at + 20) + 3) & ~3;
	return kernelError(errno, tried, extendedText(data, flags, at + 20 + echoed, end));
};
