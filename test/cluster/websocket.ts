import { randomBytes } from 'node:crypto';
import { request as httpsRequest } from 'node:https';
import type { Duplex } from 'node:stream';
import type { Api } from './api.ts';

/** A WebSocket (RFC 6455) to the API server, as `exec` and `port-forward` speak it: binary messages only. */
export type WebSocketLink = {
	readonly send: (message: Uint8Array) => void;
	readonly close: () => void;
	/** Resolves when the other side has closed. */
	readonly closed: Promise<void>;
};

const opcodes = { continuation: 0, text: 1, binary: 2, close: 8, ping: 9, pong: 10 } as const;

const frame = (opcode: number, payload: Uint8Array): Buffer => {
	const mask = randomBytes(4);
	const length =
		payload.length < 126
			? Buffer.from([0x80 | payload.length])
			: Buffer.from([0x80 | 126, payload.length >> 8, payload.length & 255]);
	if (payload.length > 0xffff) throw new Error('messages of more than 64 KiB are not sent');
	const masked = Buffer.from(payload.map((byte, index) => byte ^ (mask[index & 3] as number)));
	return Buffer.concat([Buffer.from([0x80 | opcode]), length, mask, masked]);
};

export const openWebSocket = (
	api: Api,
	path: string,
	protocol: string,
	onMessage: (message: Buffer) => void,
): Promise<WebSocketLink> =>
	new Promise((resolve, reject) => {
		const outgoing = httpsRequest({
			socketPath: api.socketPath,
			path,
			rejectUnauthorized: false,
			agent: false,
			headers: {
				authorization: `Bearer ${api.token}`,
				connection: 'Upgrade',
				upgrade: 'websocket',
				'sec-websocket-version': '13',
				'sec-websocket-key': randomBytes(16).toString('base64'),
				'sec-websocket-protocol': protocol,
			},
		});
		outgoing.on('error', reject);
		outgoing.on('response', (response) => {
			let text = '';
			response.on('data', (chunk: Buffer) => {
				text += chunk.toString();
			});
			response.on('end', () => reject(new Error(`${path}: ${response.statusCode} ${text}`)));
		});
		outgoing.on('upgrade', (_response, socket: Duplex, head: Buffer) => {
			let buffer = Buffer.alloc(0);
			let message: Buffer[] = [];
			let done = (): void => {};
			const closed = new Promise<void>((end) => {
				done = end;
			});
			const take = (chunk: Buffer): void => {
				buffer = Buffer.concat([buffer, chunk]);
				for (;;) {
					if (buffer.length < 2) return;
					const short = (buffer[1] as number) & 127;
					const header = short === 126 ? 4 : short === 127 ? 10 : 2;
					if (buffer.length < header) return;
					const length =
						short === 126 ? buffer.readUInt16BE(2) : short === 127 ? Number(buffer.readBigUInt64BE(2)) : short;
					if (buffer.length < header + length) return;
					const opcode = (buffer[0] as number) & 15;
					const payload = buffer.subarray(header, header + length);
					const final = ((buffer[0] as number) & 0x80) !== 0;
					buffer = buffer.subarray(header + length);
					if (opcode === opcodes.ping) socket.write(frame(opcodes.pong, payload));
					else if (opcode === opcodes.close) socket.end(frame(opcodes.close, payload.subarray(0, 2)));
					else if (opcode <= opcodes.binary) {
						message.push(Buffer.from(payload));
						if (!final) continue;
						onMessage(Buffer.concat(message));
						message = [];
					}
				}
			};
			socket.on('data', take);
			socket.on('error', () => done());
			socket.on('close', () => done());
			socket.on('end', () => socket.end());
			if (head.length > 0) take(head);
			resolve({
				send: (data) => void socket.write(frame(opcodes.binary, data)),
				close: () => socket.end(frame(opcodes.close, Buffer.from([3, 232]))),
				closed,
			});
		});
		outgoing.end();
	});
