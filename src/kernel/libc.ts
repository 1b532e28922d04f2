import koffi from 'koffi';

/**
 * The few libc calls Node has no word for. All are synchronous and act on the calling thread only.
 * A negative result means failure; `errno()` must be read before the next call.
 */

const libc = koffi.load('libc.so.6');

type Bytes = Uint8Array;

export const socket = libc.func('int socket(int, int, int)') as unknown as (
	domain: number,
	type: number,
	protocol: number,
) => number;
export const bind = libc.func('int bind(int, void *, uint32_t)') as unknown as (
	fd: number,
	address: Bytes,
	length: number,
) => number;
export const getsockname = libc.func('int getsockname(int, void *, void *)') as unknown as (
	fd: number,
	address: Bytes,
	length: Bytes,
) => number;
export const setsockopt = libc.func('int setsockopt(int, int, int, void *, uint32_t)') as unknown as (
	fd: number,
	level: number,
	option: number,
	value: Bytes,
	length: number,
) => number;
export const getsockopt = libc.func('int getsockopt(int, int, int, void *, void *)') as unknown as (
	fd: number,
	level: number,
	option: number,
	value: Bytes,
	length: Bytes,
) => number;
const sendFunction = libc.func('int64_t send(int, void *, size_t, int)');
export const send = sendFunction as unknown as (fd: number, data: Bytes, length: number, flags: number) => number;
/** The same in a thread of the pool, for what keeps the kernel busy for long. errno is not known then. */
export const sendInThread = (fd: number, data: Bytes, length: number, flags: number): Promise<number> =>
	new Promise((resolve, reject) => {
		sendFunction.async(fd, data, length, flags, (error: Error | null, result: number) => {
			if (error !== null) reject(error);
			else resolve(Number(result));
		});
	});
export const recv = libc.func('int64_t recv(int, void *, size_t, int)') as unknown as (
	fd: number,
	data: Bytes,
	length: number,
	flags: number,
) => number;
export const sendto = libc.func('int64_t sendto(int, void *, size_t, int, void *, uint32_t)') as unknown as (
	fd: number,
	data: Bytes,
	length: number,
	flags: number,
	address: Bytes,
	addressLength: number,
) => number;
/** `address` and `addressLength` are written to. */
export const recvfrom = libc.func('int64_t recvfrom(int, void *, size_t, int, void *, void *)') as unknown as (
	fd: number,
	data: Bytes,
	length: number,
	flags: number,
	address: Bytes,
	addressLength: Bytes,
) => number;
/** 0: there is no such interface. */
export const ifNameToIndex = libc.func('uint32_t if_nametoindex(const char *)') as unknown as (name: string) => number;
export const setns = libc.func('int setns(int, int)') as unknown as (fd: number, type: number) => number;

export const errno = (): number => koffi.errno();

/** Address of a buffer, for structures that point at one. The caller keeps the buffer alive. */
export const addressOf = (bytes: Bytes): bigint => BigInt(koffi.address(bytes) as bigint | number);

export const SOCK_RAW = 3;
export const SOCK_NONBLOCK = 0o4000;
export const SOCK_CLOEXEC = 0o2000000;
export const MSG_TRUNC = 0x20;
export const SOL_SOCKET = 1;
export const SO_SNDBUF = 7;
export const SO_RCVBUF = 8;
export const SO_ATTACH_FILTER = 26;
export const SO_SNDBUFFORCE = 32;
export const SO_RCVBUFFORCE = 33;
export const SO_MEMINFO = 55;
export const CLONE_NEWNET = 0x40000000;

/** Value of an `int` socket option. */
export const int32 = (value: number): Buffer => {
	const bytes = Buffer.alloc(4);
	bytes.writeInt32LE(value);
	return bytes;
};
