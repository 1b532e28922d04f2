/**
 * Runs in a pod's netns: serves TCP (says the peer's address, then echoes) and UDP (answers with the peer's address) on
 * the ports given as arguments, and does what it is told by JSON lines on stdin, answering each by a JSON line.
 */
import { createSocket } from 'node:dgram';
import { createConnection, createServer, type Socket } from 'node:net';
import { createInterface } from 'node:readline';

export type Command =
	| {
			readonly do: 'probe';
			readonly protocol: 'TCP' | 'UDP';
			readonly address: string;
			readonly port: number;
			readonly from?: string;
			readonly patience: number;
	  }
	/** Opens a connection and keeps it under a name. */
	| { readonly do: 'open'; readonly name: string; readonly address: string; readonly port: number }
	/** Sends on a kept connection, or as the server on every connection, until the connection ends; how it ended. */
	| { readonly do: 'send'; readonly name: string }
	| { readonly do: 'serverSend' }
	/** Writes on a kept connection; answers once anything comes back. */
	| { readonly do: 'echo'; readonly name: string }
	| { readonly do: 'close'; readonly name: string }
	/** Sends a datagram every 20 ms from now on; answers once one comes back. */
	| { readonly do: 'stream'; readonly name: string; readonly address: string; readonly port: number }
	/** Datagrams sent and answered so far, as `SENT RECEIVED`. */
	| { readonly do: 'streamed'; readonly name: string }
	/** Waits until every connection served has ended. */
	| { readonly do: 'serverEnded' }
	/** How the kept connection ended; waits until it did. */
	| { readonly do: 'ended'; readonly name: string };

const kept = new Map<string, { readonly socket: Socket; readonly ended: Promise<string> }>();
const served = new Set<Socket>();
const streams = new Map<string, { readonly stop: () => void; sent: number; received: number }>();

const endOf = (socket: Socket): Promise<string> =>
	new Promise((resolve) => {
		socket.once('error', (error: NodeJS.ErrnoException) => resolve(error.code ?? 'error'));
		socket.once('close', () => resolve('closed'));
	});

const keepSending = (socket: Socket): void => {
	const timer = setInterval(() => socket.write('x'), 50);
	socket.once('close', () => clearInterval(timer));
};

const probeTCP = (address: string, port: number, from: string | undefined, patience: number): Promise<string> =>
	new Promise((resolve) => {
		const socket = createConnection({ host: address, port, ...(from !== undefined && { localAddress: from }) });
		const finish = (result: string): void => {
			clearTimeout(timer);
			socket.destroy();
			resolve(result);
		};
		const timer = setTimeout(() => finish('silence'), patience);
		socket.once('data', (data) => finish(String(data).trim()));
		socket.once('error', (error: NodeJS.ErrnoException) => finish(error.code ?? 'error'));
	});

const probeUDP = (address: string, port: number, from: string | undefined, patience: number): Promise<string> =>
	new Promise((resolve) => {
		const socket = createSocket(address.includes(':') ? 'udp6' : 'udp4');
		const send = (): void => socket.send('?', port, address, () => {});
		const again = setInterval(send, 200);
		const finish = (result: string): void => {
			clearTimeout(timer);
			clearInterval(again);
			socket.close();
			resolve(result);
		};
		const timer = setTimeout(() => finish('silence'), patience);
		socket.once('message', (data) => finish(String(data)));
		socket.once('error', (error: NodeJS.ErrnoException) => finish(error.code ?? 'error'));
		socket.bind({ port: 0, ...(from !== undefined && { address: from }) }, send);
	});

const carryOut = async (command: Command): Promise<string> => {
	switch (command.do) {
		case 'probe': {
			const probe = command.protocol === 'TCP' ? probeTCP : probeUDP;
			return probe(command.address, command.port, command.from, command.patience);
		}
		case 'open': {
			const socket = createConnection({ host: command.address, port: command.port });
			const ended = endOf(socket);
			kept.set(command.name, { socket, ended });
			return Promise.race([new Promise<string>((resolve) => socket.once('data', () => resolve('open'))), ended]);
		}
		case 'send': {
			const found = kept.get(command.name);
			if (found) keepSending(found.socket);
			return 'sending';
		}
		case 'echo': {
			const found = kept.get(command.name);
			if (!found) return 'never opened';
			found.socket.write('?');
			return Promise.race([
				new Promise<string>((resolve) => found.socket.once('data', () => resolve('echo'))),
				found.ended,
			]);
		}
		case 'close': {
			kept.get(command.name)?.socket.destroy();
			kept.delete(command.name);
			streams.get(command.name)?.stop();
			streams.delete(command.name);
			return 'closed';
		}
		case 'stream': {
			const socket = createSocket(command.address.includes(':') ? 'udp6' : 'udp4');
			const stop = (): void => {
				clearInterval(again);
				socket.close();
			};
			const stream = { stop, sent: 0, received: 0 };
			const send = (): void => {
				stream.sent++;
				socket.send('?', command.port, command.address, () => {});
			};
			const again = setInterval(send, 20);
			streams.set(command.name, stream);
			socket.on('message', () => stream.received++);
			return new Promise((resolve) => socket.once('message', () => resolve('open')));
		}
		case 'streamed': {
			const found = streams.get(command.name);
			return `${found?.sent} ${found?.received}`;
		}
		case 'serverSend':
			for (const socket of served) keepSending(socket);
			return `sending to ${served.size}`;
		case 'serverEnded':
			await Promise.all([...served].map((socket) => new Promise((resolve) => socket.once('close', resolve))));
			return 'ended';
		case 'ended':
			return kept.get(command.name)?.ended ?? 'never opened';
	}
};

const plainAddress = (address: string | undefined): string => (address ?? '?').replace(/^::ffff:/, '');

const serve = async (port: number): Promise<void> => {
	const tcp = createServer((socket) => {
		served.add(socket);
		socket.on('error', () => {});
		socket.once('close', () => served.delete(socket));
		socket.write(`${plainAddress(socket.remoteAddress)}\n`);
		socket.on('data', (data) => socket.write(data));
	});
	await new Promise<void>((resolve) => tcp.listen(port, '::', resolve));
	for (const type of ['udp4', 'udp6'] as const) {
		const udp = createSocket({ type, ipv6Only: type === 'udp6' });
		udp.on('message', (_, peer) => udp.send(peer.address, peer.port, peer.address, () => {}));
		await new Promise<void>((resolve) => udp.bind(port, resolve));
	}
};

for (const port of process.argv.slice(2)) await serve(Number(port));
process.stdout.write('"ready"\n');
createInterface({ input: process.stdin }).on('line', (line) => {
	const { id, command } = JSON.parse(line) as { id: number; command: Command };
	void carryOut(command).then((result) => process.stdout.write(`${JSON.stringify({ id, result })}\n`));
});
process.stdin.once('end', () => process.exit(0));
