import { createServer, type Server, Socket, type SocketConstructorOpts } from 'node:net';
import { getSystemErrorName } from 'node:util';
import { canonicalAddress, familyOf } from '../../src/net/ip.ts';
import { openDialSocket, openListenSocket, protectListener, readRest, rekeyConnection, unheardFor } from './socket.ts';
import type { Connection, ListenTarget, Protection, Transport } from './transport.ts';

/** The transport over the host's TCP (RFC 4271 §8.2.1: port 179, one connection a session). */

const BACKLOG = 4096;
/** What a peer may take to read our last words. */
const LINGER_MS = 2_000;
const RELISTEN_MS = 2_000;
/** Of 64 kB, read from a connection that failed. */
const LAST_PIECES = 64;
/** Connections accepted and not yet attached, or lingering: all the strangers we bear at a time. */
const LINGERING_MAX = 128;

const plain = (address: string | undefined): string => {
	const text = (address ?? '').replace(/%.*$/, '').replace(/^::ffff:(?=\d+\.)/i, '');
	return canonicalAddress(text) ?? text;
};

const words: Readonly<Record<string, string>> = {
	ECONNREFUSED: 'connection refused: nothing listens there (yet)',
	ECONNRESET: 'the peer reset the connection',
	EPIPE: 'the peer has closed the connection',
	EHOSTUNREACH: 'the host does not answer',
	ENETUNREACH: 'there is no route to it',
	ETIMEDOUT: 'the connection timed out',
	EADDRNOTAVAIL: 'our address for this session is not on this host',
	EADDRINUSE: 'another process uses this address and port: stop it, or give another port',
	EAFNOSUPPORT: 'this host has no such address family',
	EACCES: 'not permitted: ports below 1024 need CAP_NET_BIND_SERVICE',
};

export const describeSocketError = (error: NodeJS.ErrnoException): string =>
	words[error.code ?? ''] ?? (error.message || error.code || 'unknown error');

let lingering = 0;

const asConnection = (socket: Socket): Connection => {
	let reason = 'the peer closed the connection';
	let done = false;
	socket.setNoDelay(true);
	socket.pause();
	// Without a listener an error would end the process.
	socket.on('error', (error) => {
		reason = describeSocketError(error);
	});
	const leave = (): void => {
		done = true;
		socket.removeAllListeners('data');
	};
	/** Not documented, but the only way to that of an accepted connection. */
	const descriptor = (): number =>
		done ? -1 : ((socket as { readonly _handle?: { readonly fd?: number } })._handle?.fd ?? -1);
	return {
		remoteAddress: plain(socket.remoteAddress),
		remotePort: socket.remotePort ?? 0,
		localAddress: plain(socket.localAddress),
		localPort: socket.localPort ?? 0,
		interface: /%(.+)$/.exec(socket.remoteAddress ?? '')?.[1] ?? '',
		attach: (handlers) => {
			// A write that fails closes the socket at once, though the peer's last words, why it went, lie there unread.
			socket.destroy = (error?: Error) => {
				for (let i = 0; error !== undefined && i < LAST_PIECES && descriptor() >= 0; i++) {
					const piece = readRest(descriptor());
					if (piece === undefined) break;
					handlers.data(piece);
				}
				return Socket.prototype.destroy.call(socket, error);
			};
			socket.on('data', (chunk: Buffer) => {
				if (!done) handlers.data(chunk);
			});
			socket.on('drain', () => {
				if (!done) handlers.drained();
			});
			socket.on('close', () => {
				if (done) return;
				done = true;
				handlers.closed(reason);
			});
			// Lost before anybody looked: 'close' will not come again.
			if (socket.closed) {
				setImmediate(() => {
					if (!done) handlers.closed(reason);
					done = true;
				});
			}
			socket.resume();
		},
		send: (messages) => {
			if (done || socket.destroyed || !socket.writable) return true;
			const [first] = messages;
			if (first === undefined) return true;
			// One after the other each would cost a request to libuv, and there may be thousands.
			return socket.write(messages.length === 1 ? first : Buffer.concat(messages));
		},
		rekey: (password) => {
			const fd = descriptor();
			return fd >= 0 && rekeyConnection(fd, plain(socket.remoteAddress), password);
		},
		unheardFor: () => {
			const fd = descriptor();
			return fd < 0 ? 0 : unheardFor(fd);
		},
		close: () => {
			if (done) return;
			leave();
			if (lingering >= LINGERING_MAX || socket.destroyed) {
				socket.destroy();
				return;
			}
			lingering++;
			const timer = setTimeout(() => socket.destroy(), LINGER_MS);
			socket.once('close', () => {
				lingering--;
				clearTimeout(timer);
			});
			socket.resume();
			socket.end();
		},
		destroy: () => {
			leave();
			socket.destroy();
		},
	};
};

const withZone = (address: string, zone: string | undefined): string =>
	zone !== undefined && /^fe[89ab]/i.test(address) ? `${address}%${zone}` : address;

const systemError = (code: number, what: string): string => {
	const name = getSystemErrorName(-code);
	if (what === 'TCP_MD5SIG') return `the kernel refuses the password (TCP_MD5SIG, ${name})`;
	return words[name] ?? `${what} failed with ${name}`;
};

const dial: Transport['dial'] = (target, handlers) => {
	let done = false;
	const opened = openDialSocket(target.address, target);
	if (!opened.ok) {
		const timer = setImmediate(() => handlers.failed(systemError(opened.code, opened.what)));
		return () => clearImmediate(timer);
	}
	// Not documented: without it the socket is read before it is connected.
	const socket = new Socket({ fd: opened.fd, manualStart: true } as SocketConstructorOpts);
	socket.once('connect', () => {
		if (done) return;
		done = true;
		socket.removeAllListeners('error');
		handlers.connected(asConnection(socket));
	});
	socket.on('error', (error) => {
		if (done) return;
		done = true;
		handlers.failed(describeSocketError(error));
	});
	socket.connect({
		host: withZone(target.address, target.interface),
		port: target.port,
		autoSelectFamily: false,
		...(target.localAddress === undefined ? {} : { localAddress: withZone(target.localAddress, target.interface) }),
	});
	return () => {
		if (done) return;
		done = true;
		socket.destroy();
	};
};

const listen: Transport['listen'] = (target: ListenTarget, first: readonly Protection[], handlers) => {
	const family = familyOf(target.address);
	let server: Server | undefined;
	let socket: number | undefined;
	let protections = first;
	let retry: ReturnType<typeof setTimeout> | undefined;
	let ended = false;
	const failed = (reason: string): void => {
		// Nobody is called from within a call.
		setImmediate(() => {
			if (!ended) handlers.failed(reason);
		});
		retry = setTimeout(open, RELISTEN_MS);
	};
	const guard = (fd: number, before: readonly Protection[]): void => {
		for (const { prefix } of protectListener(fd, family, before, protections)) {
			handlers.failed(`the kernel refuses the password for ${prefix} (TCP_MD5SIG)`);
		}
	};
	const open = (): void => {
		if (ended) return;
		const opened = openListenSocket(target.address, target.port);
		if (!opened.ok) {
			failed(systemError(opened.code, opened.what));
			return;
		}
		const { fd } = opened;
		const current = createServer((accepted) => handlers.connection(asConnection(accepted)));
		server = current;
		current.on('error', (error: NodeJS.ErrnoException) => {
			// No descriptor for one connection: libuv has closed it, and goes on listening.
			if (ended || error.syscall === 'accept') return;
			socket = undefined;
			current.close();
			failed(describeSocketError(error));
		});
		current.on('listening', () => {
			socket = fd;
			handlers.listening();
			guard(fd, []);
		});
		// Before anybody can connect.
		protectListener(fd, family, [], protections);
		current.listen({ fd, backlog: BACKLOG });
	};
	open();
	return {
		// Not waiting for connections: the server calls back only when the last of them has ended.
		close: () =>
			new Promise((resolve) => {
				ended = true;
				socket = undefined;
				clearTimeout(retry);
				if (server?.listening) server.close();
				resolve();
			}),
		protect: (next) => {
			const before = protections;
			protections = next;
			if (socket !== undefined) guard(socket, before);
		},
	};
};

export const tcpTransport: Transport = { dial, listen };
