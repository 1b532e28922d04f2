import { createServer, Socket, type SocketConstructorOpts } from 'node:net';
import { createFramer, describeNotification, encodeMessage, type OpenMessage } from 'bgp-js-lite';
import { openDialSocket, openListenSocket } from '../../bird/transport/socket.ts';
import { inNetns } from '../../src/kernel/netns.ts';
import { until } from '../interop/harness.ts';

/** A BGP peer of bytes: says what a test gives it, checks nothing of it, and remembers what it was told. */

/** Polls often: hundreds of rows wait a moment each. */
export const soon = (what: string, condition: () => boolean): Promise<void> => until(what, condition, 120, 2);

export type Frame = { readonly type: number; readonly body: Uint8Array };

export type WirePeer = {
	readonly socket: Socket;
	/** All whole messages but KEEPALIVEs, unless `forget` took them. */
	readonly frames: Frame[];
	readonly keepalives: () => number;
	/** `code/subcode data` of the NOTIFICATION that came, the data in hex. */
	readonly notification: () => string | undefined;
	readonly closed: () => boolean;
	readonly write: (...messages: Uint8Array[]) => void;
	readonly end: () => void;
};

export type Dial = {
	/** Namespace it dials from; undefined: the one of this process. */
	readonly netns?: string;
	readonly from: string;
	readonly to: string;
	readonly port?: number;
	/** Called for every message instead of keeping it. */
	readonly onFrame?: (frame: Frame) => void;
	/** Of TCP MD5 (RFC 2385). */
	readonly password?: string;
	/** Reads nothing. */
	readonly deaf?: boolean;
};

const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex');

export const KEEPALIVE = encodeMessage({ type: 'KEEPALIVE' });

export const openOf = (asNumber: number, bgpIdentifier: string, extra: Partial<OpenMessage> = {}): Uint8Array =>
	encodeMessage({
		type: 'OPEN',
		version: 4,
		asNumber: asNumber > 0xffff ? 23456 : asNumber,
		holdTime: 90,
		bgpIdentifier,
		capabilities: [
			{ code: 1, afi: 1, safi: 1 },
			{ code: 1, afi: 2, safi: 1 },
			{ code: 2 },
			{ code: 70 },
			{ code: 65, asNumber },
		],
		...extra,
	});

/** What comes by a socket, whoever opened it. */
const onSocket = (socket: Socket, { onFrame, deaf = false }: Pick<Dial, 'onFrame' | 'deaf'> = {}): WirePeer => {
	const framer = createFramer(65535);
	const frames: Frame[] = [];
	let keepalives = 0;
	let closed = false;
	let notification: string | undefined;
	socket.on('error', () => {});
	socket.on('close', () => {
		closed = true;
	});
	if (!deaf) {
		socket.on('data', (chunk) => {
			framer.push(chunk);
			for (let next = framer.next(); next?.ok; next = framer.next()) {
				const { type, body } = next.value;
				if (type === 3) {
					const [code = 0, subcode = 0] = body;
					notification = `${code}/${subcode} ${hex(body.subarray(2))}`.trim();
				}
				if (type === 4) keepalives++;
				else if (onFrame === undefined) frames.push({ type, body: body.slice() });
				else onFrame({ type, body });
			}
		});
	}
	return {
		socket,
		frames,
		keepalives: () => keepalives,
		notification: () => notification,
		closed: () => closed,
		write: (...messages) => {
			for (const message of messages) socket.write(message);
		},
		end: () => socket.destroy(),
	};
};

export type WireListener = {
	/** Connections that came, in order. */
	readonly peers: readonly WirePeer[];
	readonly close: () => void;
};

/** Takes connections at an address and port 179 of a namespace. */
export const listenPeer = (netns: string, address: string): WireListener => {
	const opened = inNetns(`/run/netns/${netns}`, () => openListenSocket(address, 179));
	if (!opened.ok) throw new Error(`no listening socket: errno ${opened.code}`);
	const peers: WirePeer[] = [];
	const server = createServer((socket) => peers.push(onSocket(socket)));
	server.listen({ fd: opened.fd });
	return {
		peers,
		close: () => {
			server.close();
			for (const peer of peers) peer.end();
		},
	};
};

/** Not yet connected: what is written waits. */
export const dialPeer = ({ netns, from, to, port = 179, onFrame, deaf = false, password }: Dial): WirePeer => {
	const open = (): number => {
		const opened = openDialSocket(to, password === undefined ? {} : { password });
		if (!opened.ok) throw new Error(`no socket: errno ${opened.code}`);
		return opened.fd;
	};
	const fd = netns === undefined ? open() : inNetns(`/run/netns/${netns}`, open);
	const socket = new Socket({ fd, manualStart: true } as SocketConstructorOpts);
	const peer = onSocket(socket, { deaf, ...(onFrame && { onFrame }) });
	socket.connect({ host: to, port, localAddress: from });
	return peer;
};

/** Says OPEN and KEEPALIVE, and waits for those of the other side. */
export const establish = async (peer: WirePeer, open: Uint8Array): Promise<void> => {
	peer.write(open, KEEPALIVE);
	await soon('a session', () => peer.keepalives() > 0 || peer.closed());
	if (peer.closed()) throw new Error(`no session: ${describe(peer.notification())}`);
};

export const describe = (notification: string | undefined): string => {
	const parts = /^(\d+)\/(\d+) ?(.*)$/.exec(notification ?? '');
	if (parts === null) return 'no NOTIFICATION';
	return describeNotification(Number(parts[1]), Number(parts[2]), Uint8Array.from(Buffer.from(parts[3] ?? '', 'hex')));
};
