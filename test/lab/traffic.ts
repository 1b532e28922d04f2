/**
 * Numbered datagrams, to count what is lost. Run as a program:
 *   traffic.ts receive PORT               prints `ready`, then at the end of its input one JSON line of what it got
 *   traffic.ts send PORT RATE NAME ADDRESS...   sends RATE datagrams a second to each address; at the end of its
 *                                         input it stops and prints how many it sent to each
 * A datagram is `NAME NUMBER`, NUMBER from 0.
 */
import { createSocket } from 'node:dgram';

const untilInputEnds = (): Promise<void> =>
	new Promise((resolve) => {
		process.stdin.resume();
		process.stdin.on('end', resolve);
		process.stdin.on('close', resolve);
	});

const receive = async (port: number): Promise<void> => {
	const seen = new Map<string, { last: number; count: number; missing: number[] }>();
	const socket = createSocket({ type: 'udp6', ipv6Only: false });
	socket.on('message', (data) => {
		const [name = '', number = ''] = data.toString().split(' ');
		const flow = seen.get(name) ?? { last: -1, count: 0, missing: [] };
		seen.set(name, flow);
		const now = Number(number);
		for (let lost = flow.last + 1; lost < now; lost++) flow.missing.push(lost);
		const late = flow.missing.indexOf(now);
		if (late >= 0) flow.missing.splice(late, 1);
		flow.last = Math.max(flow.last, now);
		flow.count++;
	});
	socket.bind(port, '::', () => console.log('ready'));
	await untilInputEnds();
	console.log(JSON.stringify(Object.fromEntries(seen)));
	socket.close();
};

const send = async (port: number, rate: number, name: string, addresses: readonly string[]): Promise<void> => {
	const sockets = { 4: createSocket('udp4'), 6: createSocket('udp6') };
	let number = 0;
	const errors: string[] = [];
	const startedAt = performance.now();
	const timer = setInterval(() => {
		// What a late timer missed is caught up, so that the rate holds however busy the machine is.
		for (const due = ((performance.now() - startedAt) * rate) / 1000; number < due; number++) {
			for (const address of addresses) {
				const socket = address.includes(':') ? sockets[6] : sockets[4];
				socket.send(`${name}>${address} ${number}`, port, address, (error) => {
					if (error !== null && errors.length < 5) errors.push(`${address}: ${error.message}`);
				});
			}
		}
	}, 1000 / rate);
	console.log('ready');
	await untilInputEnds();
	clearInterval(timer);
	console.log(JSON.stringify({ sent: number, errors }));
	setTimeout(() => {
		sockets[4].close();
		sockets[6].close();
	}, 200);
};

const [mode, port, rate, name, ...addresses] = process.argv.slice(2);
if (mode === 'receive') await receive(Number(port));
else await send(Number(port), Number(rate), name ?? '', addresses);
