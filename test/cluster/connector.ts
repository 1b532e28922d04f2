/**
 * Somebody who makes a new connection time and again. Run as a program:
 *   connector.ts INTERVAL HOST:PORT...   prints `ready`; asks each target for its host name by HTTP, each time by a new
 *                                        connection, every INTERVAL milliseconds; at the end of its input it waits for what
 *                                        is under way and prints, by target, what became of all of them (rack.ts, Attempts)
 * How often a SYN is sent again is up to the kernel (net.ipv4.tcp_syn_retries).
 */
import { connect } from 'node:net';

type Seen = {
	started: number;
	connected: number;
	answered: number;
	failures: string[];
	broken: string[];
	secondSyn: number;
	laterSyn: number;
	slowestConnectMs: number;
};

const [interval, ...targets] = process.argv.slice(2);
const seen = new Map<string, Seen>();
const patience = 20_000;
let underWay = 0;

const attempt = (target: string): void => {
	const [host = '', port = ''] = target.split(':');
	const of = seen.get(target) ?? {
		started: 0,
		connected: 0,
		answered: 0,
		failures: [],
		broken: [],
		secondSyn: 0,
		laterSyn: 0,
		slowestConnectMs: 0,
	};
	seen.set(target, of);
	of.started++;
	underWay++;
	const at = performance.now();
	const when = new Date().toISOString();
	let connected = false;
	let text = '';
	let error = '';
	const socket = connect({ host, port: Number(port), noDelay: true });
	const timer = setTimeout(() => socket.destroy(new Error('no answer')), patience);
	socket.on('connect', () => {
		connected = true;
		of.connected++;
		const took = performance.now() - at;
		if (took > 2990) of.laterSyn++;
		else if (took > 990) of.secondSyn++;
		of.slowestConnectMs = Math.max(of.slowestConnectMs, Math.round(took));
		socket.write(`GET /hostname HTTP/1.0\r\nHost: ${host}\r\nConnection: close\r\n\r\n`);
	});
	socket.on('data', (data) => {
		text += data.toString();
	});
	socket.on('error', ({ message }) => {
		error = message;
	});
	socket.on('close', () => {
		clearTimeout(timer);
		underWay--;
		const where = `${when} port ${socket.localPort ?? '?'}: ${error || 'closed'}`;
		if (!connected) of.failures.push(where);
		else if (/^HTTP\/1\.. 200 /.test(text)) of.answered++;
		else of.broken.push(where);
	});
};

const timer = setInterval(() => targets.forEach(attempt), Number(interval));
console.log('ready');
process.stdin.resume();
process.stdin.on('end', () => {
	clearInterval(timer);
	const waiting = setInterval(() => {
		if (underWay > 0) return;
		clearInterval(waiting);
		console.log(JSON.stringify(Object.fromEntries(seen)));
	}, 20);
});
