/**
 * One TCP connection with numbered messages both ways, to tell whether it lives. Run as a program:
 *   stream.ts echo PORT                   prints `ready`; answers every message with itself
 *   stream.ts send ADDRESS PORT RATE      prints `ready` once connected; at the end of its input waits for the last
 *                                         answers and prints {sent, answered, longestMs, errors}
 */
import { connect, createServer } from 'node:net';

const messageBytes = 8;
const [mode, ...rest] = process.argv.slice(2);

const echo = (port: number): void => {
	createServer((socket) => {
		socket.setNoDelay(true);
		socket.on('error', () => {});
		socket.pipe(socket);
	}).listen(port, '0.0.0.0', () => console.log('ready'));
};

const send = (address: string, port: number, rate: number): void => {
	const errors: string[] = [];
	const sentAt: number[] = [];
	let answeredBytes = 0;
	let longestMs = 0;
	let timer: NodeJS.Timeout | undefined;
	const socket = connect({ host: address, port, noDelay: true });
	const finish = (): void => {
		const answered = answeredBytes / messageBytes;
		console.log(JSON.stringify({ sent: sentAt.length, answered, longestMs: Math.round(longestMs), errors }));
		process.exit(0);
	};
	socket.on('error', (error) => errors.push(error.message));
	socket.on('close', () => errors.push('closed'));
	socket.on('connect', () => {
		console.log('ready');
		const startedAt = performance.now();
		timer = setInterval(() => {
			for (const due = ((performance.now() - startedAt) * rate) / 1000; sentAt.length < due; ) {
				const message = Buffer.alloc(messageBytes);
				message.writeBigUInt64BE(BigInt(sentAt.length));
				sentAt.push(performance.now());
				socket.write(message);
			}
		}, 1000 / rate);
	});
	socket.on('data', (data) => {
		const first = Math.floor(answeredBytes / messageBytes);
		answeredBytes += data.length;
		for (let number = first; number < Math.floor(answeredBytes / messageBytes); number++) {
			longestMs = Math.max(longestMs, performance.now() - (sentAt[number] ?? 0));
		}
	});
	process.stdin.resume();
	process.stdin.on('end', () => {
		clearInterval(timer);
		const started = performance.now();
		const waiting = setInterval(() => {
			const done = answeredBytes === sentAt.length * messageBytes;
			if (!done && errors.length === 0 && performance.now() - started < 30_000) return;
			clearInterval(waiting);
			finish();
		}, 20);
	});
};

if (mode === 'echo') echo(Number(rest[0]));
else send(rest[0] ?? '', Number(rest[1]), Number(rest[2]));
