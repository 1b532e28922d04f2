/**
 * One end of many flows of datagrams, to see for how long each of them was cut: `probe.ts FLOWS OWN PEER [OWN PEER]`, an
 * address of either family and the one of the other end. On each flow (a source port of its own, so that routers spread
 * them over equal paths) it sends a datagram a millisecond, numbered by the milliseconds since its start; on a busy machine fewer,
 * each with the number of the one before it, so that only what was sent can be missing. Each line of
 * input is answered by a ProbeReport as JSON.
 */
import { createSocket, type Socket } from 'node:dgram';

export type ProbeReport = {
	/** Numbers below this were sent, on every flow. */
	readonly sent: number;
	/** What came from the other end, by flow: numbers up to `last`, but for the `missing`, as pairs of first and last. */
	readonly flows: Readonly<Record<string, { readonly last: number; readonly missing: readonly [number, number][] }>>;
};

const PORT = 5000;
const FIRST_SOURCE_PORT = 40_000;

const open = async (address: string, port: number): Promise<Socket> => {
	const socket = createSocket({ type: address.includes(':') ? 'udp6' : 'udp4', recvBufferSize: 4 << 20 });
	// No route for a moment is what is to be measured.
	socket.on('error', () => {});
	await new Promise<void>((resolve) => socket.bind(port, address, resolve));
	return socket;
};

const seen = new Map<string, { last: number; missing: Set<number> }>();
const received = (data: Buffer): void => {
	const [name = '', text = '', before = ''] = data.toString().split(' ');
	const [number, previous] = [Number(text), Number(before)];
	let flow = seen.get(name);
	// What was sent before both ends were there is not lost.
	if (flow === undefined) {
		flow = { last: number - 1, missing: new Set() };
		seen.set(name, flow);
	}
	for (let lost = flow.last + 1; lost <= previous; lost++) flow.missing.add(lost);
	for (let found = previous + 1; found <= number; found++) flow.missing.delete(found);
	flow.last = Math.max(flow.last, number);
};

const ranges = (numbers: Iterable<number>): [number, number][] => {
	const found: [number, number][] = [];
	for (const number of [...numbers].sort((a, b) => a - b)) {
		const before = found.at(-1);
		if (before !== undefined && before[1] === number - 1) before[1] = number;
		else found.push([number, number]);
	}
	return found;
};

const run = async ([count = '1', ...addresses]: readonly string[]): Promise<void> => {
	const senders: { readonly name: string; readonly socket: Socket; readonly peer: string }[] = [];
	for (let at = 0; at + 1 < addresses.length; at += 2) {
		const [own, peer] = [addresses[at] as string, addresses[at + 1] as string];
		(await open(own, PORT)).on('message', received);
		for (let i = 0; i < Number(count); i++) {
			senders.push({ name: `${own}#${i}`, socket: await open(own, FIRST_SOURCE_PORT + i), peer });
		}
	}
	const started = performance.now();
	let last = -1;
	setInterval(() => {
		const now = Math.floor(performance.now() - started);
		if (now === last) return;
		for (const { name, socket, peer } of senders) socket.send(`${name} ${now} ${last}`, PORT, peer, () => {});
		last = now;
	}, 1);
	process.stdin.on('data', () => {
		const flows = [...seen].map(([name, { last, missing }]) => [name, { last, missing: ranges(missing) }]);
		console.log(JSON.stringify({ sent: last + 1, flows: Object.fromEntries(flows) } satisfies ProbeReport));
	});
	process.stdin.on('end', () => process.exit());
};

await run(process.argv.slice(2));
