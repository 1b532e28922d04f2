import { connect, createServer, type Server, type Socket } from 'node:net';
import { canonicalAddress, familyOf } from '../../src/net/ip.ts';
import type { Connection, ListenTarget, Transport } from './transport.ts';

/** The transport over the host's TCP (RFC 4271 §8.2.1: port 179, one connection a session). */

const BACKLOG = 4096;
/** What a peer may take to read our last words. */
const LINGER_MS = 2_000;
const RELISTEN_MS = 2_000;
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
	return {
		remoteAddress: plain(socket.remoteAddress),
		remotePort: socket.remotePort ?? 0,
		localAddress: plain(socket.localAddress),
		localPort: socket.localPort ?? 0,
		attach: (handlers) => {
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
			socket.cork();
			let room = true;
			for (const message of messages) room = socket.write(message);
			socket.uncork();
			return room;
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

const dial: Transport['dial'] = ({ address, port, localAddress }, handlers) => {
	let done = false;
	const socket = connect({
		host: address,
		port,
		autoSelectFamily: false,
		...(localAddress === undefined ? {} : { localAddress }),
	});
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
	return () => {
		if (done) return;
		done = true;
		socket.destroy();
	};
};

const listen: Transport['listen'] = (target: ListenTarget, handlers) => {
	let server: Server | undefined;
	let retry: ReturnType<typeof setTimeout> | undefined;
	let ended = false;
	const open = (): void => {
		if (ended) return;
		const current = createServer((socket) => handlers.connection(asConnection(socket)));
		server = current;
		current.on('error', (error) => {
			if (ended) return;
			handlers.failed(describeSocketError(error));
			current.close();
			retry = setTimeout(open, RELISTEN_MS);
		});
		current.on('listening', () => handlers.listening());
		current.listen({
			host: target.address,
			port: target.port,
			backlog: BACKLOG,
			ipv6Only: familyOf(target.address) === 6,
		});
	};
	open();
	return () =>
		new Promise((resolve) => {
			ended = true;
			clearTimeout(retry);
			if (server?.listening) server.close();
			// Not waiting for connections: close() calls back only when the last of them has ended.
			resolve();
		});
};

export const tcpTransport: Transport = { dial, listen };
