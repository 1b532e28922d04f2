import assert from 'node:assert/strict';
import { connect, createServer, type Socket } from 'node:net';
import { afterEach, describe, it } from 'node:test';
import { createFramer, decodeMessage, encodeMessage } from 'bgp-js-lite';
import type { PeerConfig, SpeakerConfig } from '../../bird/config.ts';
import { createRib } from '../../bird/rib/rib.ts';
import type { Decision } from '../../bird/rib/types.ts';
import { createSpeaker, type Speaker, type SpeakerFib } from '../../bird/speaker.ts';
import { systemTimers } from '../../bird/timers.ts';
import { tcpTransport } from '../../bird/transport/tcp.ts';
import type { Connection, Transport } from '../../bird/transport/transport.ts';
import type { Logger } from '../../src/logging.ts';

/** Two and more speakers in this process over loopback addresses, the kernel played by a map. */

const lines: string[] = [];
const logger = (who: string): Logger => {
	const log = (_fields: object, message: string): void => {
		lines.push(`${who}: ${message}`);
		if (process.env.SHOW) console.log(`${who}: ${message}`);
	};
	return { debug: process.env.SHOW ? log : () => {}, info: log, warn: log, error: log, child: () => logger(who) };
};

const until = async (what: string, condition: () => boolean, milliseconds = 20_000): Promise<void> => {
	const end = Date.now() + milliseconds;
	while (!condition()) {
		if (Date.now() > end) assert.fail(`${what}: not within ${milliseconds} ms\n${lines.slice(-30).join('\n')}`);
		await new Promise((resolve) => setTimeout(resolve, 5));
	}
};

type FakeFib = SpeakerFib & {
	readonly routes: Map<string, Decision>;
	sweeps: number;
	hold: (prefixes: string[]) => void;
};

const fakeFib = (held: string[]): FakeFib => {
	let holds = new Set(held);
	let changed = (): void => {};
	const fib: FakeFib = {
		routes: new Map(),
		sweeps: 0,
		hold: (prefixes) => {
			holds = new Set(prefixes);
			changed();
		},
		update: (changes) => {
			for (const [prefix, decision] of changes) {
				if (decision === undefined || decision.best.source.kind === 'local') fib.routes.delete(prefix);
				else fib.routes.set(prefix, decision);
			}
		},
		converged: () => {
			fib.sweeps++;
		},
		watchNextHops: (nextHops, onChange) => {
			for (const nextHop of nextHops) onChange(nextHop, 0);
		},
		felixHolds: (prefix) => holds.has(prefix),
		felixHosts: () => [],
		onFelixChange: (callback) => {
			changed = callback;
			return () => {};
		},
	};
	return fib;
};

let port = 20_000 + (process.pid % 500) * 20;
const running: Speaker[] = [];

const node = (n: number, prefixes: string[], peers: number[], extra: Partial<SpeakerConfig> = {}): SpeakerConfig => ({
	asNumber: 64512,
	routerId: `127.0.1.${n}`,
	listen: [{ address: `127.0.1.${n}`, port }],
	addresses: { ipv4: `192.0.2.${n}`, ipv6: `fd00::${n}` },
	peers: peers.map((peer) => peerOf(n, peer)),
	originate: prefixes,
	maximumPaths: 16,
	...extra,
});
const peerOf = (own: number, peer: number, extra: Partial<PeerConfig> = {}): PeerConfig => ({
	name: `mesh/n${peer}`,
	address: `127.0.1.${peer}`,
	port,
	asNumber: 64512,
	localAddress: `127.0.1.${own}`,
	holdTime: 90,
	restartTime: 120,
	passive: false,
	families: ['1/1', '2/1'],
	exportLearnt: false,
	...extra,
});

type Running = { readonly speaker: Speaker; readonly fib: FakeFib };
const run = (
	config: SpeakerConfig,
	{ held = [...config.originate], restarting = false, idleHold = 0.1, transport = tcpTransport } = {},
): Running => {
	const fib = fakeFib(held);
	const { asNumber, routerId, maximumPaths } = config;
	const speaker = createSpeaker({
		config,
		rib: createRib({ asNumber, maximumPaths, routerId }),
		fib,
		log: logger(routerId),
		timers: systemTimers,
		transport,
		restarting: () => restarting,
		fsm: { idleHoldTime: { first: idleHold, longest: 1 } },
	});
	running.push(speaker);
	speaker.start();
	return { speaker, fib };
};
const states = ({ speaker }: Running): string[] => speaker.status().sessions.map((s) => s.state);
const established = (...all: Running[]): boolean => all.every((r) => states(r).every((s) => s === 'Established'));

describe('speaker', { concurrency: false }, () => {
	afterEach(async () => {
		for (const speaker of running.splice(0)) await speaker.stop({ graceful: true });
		lines.length = 0;
		port++;
	});
	it('two speakers that dial each other at once agree on one session and exchange both families', async () => {
		const a = run(node(1, ['10.244.1.0/24', 'fd00:1::/64'], [2]));
		const b = run(node(2, ['10.244.2.0/24', 'fd00:2::/64'], [1]));
		await until('routes both ways', () => a.fib.routes.size === 2 && b.fib.routes.size === 2);
		assert.equal(b.fib.routes.get('fd00:1::/64')?.best.attributes.nextHop, 'fd00::1');
		assert.equal(b.fib.routes.get('10.244.1.0/24')?.best.attributes.nextHop, '192.0.2.1');
		await until('both converged', () => a.speaker.status().converged && b.speaker.status().converged);
		assert.ok(established(a, b));
		const [session] = a.speaker.status().sessions;
		assert.equal(session?.received, 2);
		assert.equal(session?.advertised, 2);
		assert.deepEqual(session?.gracefulRestart, { agreed: true, peerRestartTime: 120, helping: false });
	});

	it('fifty pairs started at the same instant never lose both connections', async () => {
		const pairs = Array.from({ length: 50 }, (_, i) => {
			const [m, n] = [10 + 2 * i, 11 + 2 * i];
			return [run(node(m, [`10.${m}.0.0/24`], [n])), run(node(n, [`10.${n}.0.0/24`], [m]))] as const;
		});
		const all = pairs.flat();
		await until('all established', () => established(...all));
		assert.equal(lines.filter((line) => / ended: /.test(line)).length, 0, lines.join('\n'));
	});

	/** A raw TCP client or server playing a peer at a loopback address. */
	const rawConnection = (
		from: number,
		to: number,
	): Promise<{ socket: Socket; received: () => Buffer; closed: () => boolean }> =>
		new Promise((resolve, reject) => {
			const socket = connect({ host: `127.0.1.${to}`, port, localAddress: `127.0.1.${from}` });
			const chunks: Buffer[] = [];
			let closed = false;
			socket.on('data', (chunk: Buffer) => chunks.push(chunk));
			socket.on('close', () => {
				closed = true;
			});
			socket.once('error', reject);
			socket.once('connect', () => {
				socket.on('error', () => {});
				resolve({ socket, received: () => Buffer.concat(chunks), closed: () => closed });
			});
		});
	const notificationIn = (bytes: Buffer): string => {
		for (let at = 0; at + 19 <= bytes.length; at += bytes.readUInt16BE(at + 16)) {
			if (bytes[at + 18] === 3) return `${bytes[at + 19]}/${bytes[at + 20]}`;
		}
		return '';
	};

	it('announces a prefix only once felix holds its blackhole, and withdraws one that is configured no more', async () => {
		const a = run(node(1, ['10.244.1.0/24', '10.244.9.0/24'], [2]), { held: ['10.244.1.0/24'] });
		const b = run(node(2, [], [1]));
		await until('the first prefix', () => b.fib.routes.has('10.244.1.0/24') && b.speaker.status().converged);
		assert.deepEqual([...b.fib.routes.keys()], ['10.244.1.0/24']);
		a.fib.hold(['10.244.1.0/24', '10.244.9.0/24']);
		await until('the second prefix', () => b.fib.routes.has('10.244.9.0/24'));
		a.fib.hold(['10.244.9.0/24']);
		a.speaker.update(node(1, ['10.244.1.0/24'], [2]));
		await until('the second prefix gone', () => !b.fib.routes.has('10.244.9.0/24'));
		assert.ok(b.fib.routes.has('10.244.1.0/24'), 'a lost blackhole is waited for');
	});

	it('keeps the routes of a peer that goes without a word, and takes it back with what it still has', async () => {
		const a = run(node(1, ['10.244.1.0/24', '10.244.9.0/24'], [2]));
		const b = run(node(2, ['10.244.2.0/24'], [1]));
		await until('routes', () => b.fib.routes.size === 2 && a.fib.routes.size === 1);
		await until('converged', () => a.speaker.status().converged && b.speaker.status().converged);
		await a.speaker.stop({ graceful: true });
		await until('the session ends', () => !established(b));
		assert.equal(b.fib.routes.size, 2);
		assert.equal(b.speaker.status().sessions[0]?.gracefulRestart.helping, true);
		const again = run(node(1, ['10.244.1.0/24'], [2]), { restarting: true });
		assert.equal(again.speaker.status().restarting, true);
		await until('the swept route', () => !b.fib.routes.has('10.244.9.0/24'));
		assert.ok(b.fib.routes.has('10.244.1.0/24'));
		assert.equal(b.speaker.status().sessions[0]?.gracefulRestart.helping, false);
		await until('converged again', () => again.speaker.status().converged);
		assert.equal(again.fib.sweeps, 1);
		assert.equal(again.speaker.status().restarting, false);
	});

	it('two peers that restart together converge without waiting for the restart time', async () => {
		const learnt = { exportLearnt: true };
		const first = run(node(1, ['10.244.1.0/24'], [], { peers: [peerOf(1, 2, learnt)] }), { restarting: true });
		const second = run(node(2, ['10.244.2.0/24'], [], { peers: [peerOf(2, 1, learnt)] }), { restarting: true });
		await until('both converged', () => first.speaker.status().converged && second.speaker.status().converged);
		assert.deepEqual([first.fib.routes.size, second.fib.routes.size], [1, 1]);
	});

	it('drops what a stopped peer announced when it says that it is gone', async () => {
		const a = run(node(1, ['10.244.1.0/24'], [2]));
		const b = run(node(2, [], [1]));
		await until('the route', () => b.fib.routes.size === 1);
		await a.speaker.stop({ graceful: false });
		await until('the route gone', () => b.fib.routes.size === 0);
		assert.match(b.speaker.status().sessions[0]?.lastError ?? '', /Hard Reset: reason: Cease, Administrative Shutdown/);
	});

	it('a changed configuration touches only the sessions it is about', async () => {
		const a = run(node(1, ['10.244.1.0/24'], [2, 3]));
		const b = run(node(2, ['10.244.2.0/24'], [1]));
		const c = run(node(3, ['10.244.3.0/24'], [1]));
		await until('all up', () => established(a, b, c) && a.fib.routes.size === 2);
		const since = b.speaker.status().sessions[0]?.since;
		a.speaker.update(node(1, ['10.244.1.0/24', '10.244.8.0/24'], [2]));
		a.fib.hold(['10.244.1.0/24', '10.244.8.0/24']);
		await until('the removed peer', () => !established(c) && a.fib.routes.size === 1);
		await until('the new prefix', () => b.fib.routes.has('10.244.8.0/24'));
		assert.match(c.speaker.status().sessions[0]?.lastError ?? '', /Peer De-configured|Connection Rejected/);
		a.speaker.update(node(1, ['10.244.1.0/24'], [2, 3]));
		await until('the peer back', () => established(a, c) && a.fib.routes.size === 2);
		assert.equal(b.speaker.status().sessions[0]?.since, since, 'the other session was left alone');
	});

	it('a new hold time takes effect through a graceful restart: no route is lost', async () => {
		const a = run(node(1, ['10.244.1.0/24'], [2]));
		const b = run(node(2, ['10.244.2.0/24'], [1]));
		await until('routes', () => a.fib.routes.size === 1 && b.fib.routes.size === 1);
		const seen: number[] = [];
		const { update } = b.fib;
		Object.assign(b.fib, {
			update: (changes: Parameters<typeof update>[0]) => {
				update(changes);
				seen.push(b.fib.routes.size);
			},
		});
		a.speaker.update(node(1, ['10.244.1.0/24'], [], { peers: [peerOf(1, 2, { holdTime: 30 })] }));
		await until('the hold time', () => b.speaker.status().sessions[0]?.holdTime === 30 && established(a, b));
		await until('no help needed', () => b.speaker.status().sessions[0]?.gracefulRestart.helping === false);
		assert.ok(seen.every((size) => size === 1));
	});

	it('garbage, strangers, silence and half a message disturb no session', async () => {
		const a = run(node(1, ['10.244.1.0/24'], [2, 5]));
		const b = run(node(2, ['10.244.2.0/24'], [1]));
		await until('the session', () => a.speaker.status().sessions[0]?.state === 'Established' && established(b));
		const since = a.speaker.status().sessions[0]?.since;
		const stranger = await rawConnection(7, 1);
		await until('the stranger is told', () => notificationIn(stranger.received()) === '6/5' && stranger.closed());
		const noise = await rawConnection(5, 1);
		noise.socket.write('GET / HTTP/1.1\r\nHost: bgp\r\n\r\n');
		await until('the noise is answered', () => notificationIn(noise.received()) === '1/1' && noise.closed());
		const short = await rawConnection(5, 1);
		short.socket.write(Buffer.concat([Buffer.alloc(16, 255), Buffer.from([0, 18, 4])]));
		await until('the impossible length', () => notificationIn(short.received()) === '1/2' && short.closed());
		const early = await rawConnection(5, 1);
		early.socket.write(Buffer.concat([Buffer.alloc(16, 255), Buffer.from([0, 19, 4])]));
		await until('a KEEPALIVE before the OPEN', () => notificationIn(early.received()) === '5/1' && early.closed());
		const masquerading = await rawConnection(2, 1);
		masquerading.socket.write(Buffer.alloc(5000, 7));
		await until('rubbish from the peer itself', () => masquerading.closed());
		const silent = await Promise.all(Array.from({ length: 20 }, () => rawConnection(5, 1)));
		await until('only the last silent one stays', () => silent.filter((one) => !one.closed()).length === 1);
		assert.equal(a.speaker.status().sessions[0]?.since, since);
		assert.equal(lines.filter((line) => line.includes('127.0.1.7')).length, 1);
		for (const { socket } of silent) socket.destroy();
	});

	it('answers a wrong AS with its reason, both sides name it, and the session comes once it is right', async () => {
		const a = run(node(1, [], [], { peers: [peerOf(1, 2, { asNumber: 64999 })] }));
		const b = run(node(2, [], [1]));
		await until('the refusal', () =>
			/AS 64512, but AS 64999 is configured/.test(a.speaker.status().sessions[0]?.lastError ?? ''),
		);
		await until('the other side', () => /Bad Peer AS/.test(b.speaker.status().sessions[0]?.lastError ?? ''));
		a.speaker.update(node(1, [], [2]));
		await until('the session', () => established(a, b));
	});

	it('a peer that stops reading holds nobody back, and gets everything when it reads on', async () => {
		const prefixes = Array.from({ length: 60_000 }, (_, i) => `10.${i >> 14}.${(i >> 6) & 255}.${(i & 63) << 2}/30`);
		const slow = { ...peerOf(1, 4), name: 'slow' };
		const server = createServer({ pauseOnConnect: true });
		await new Promise<void>((resolve) => server.listen(port, '127.0.1.4', resolve));
		const socket = new Promise<Socket>((resolve) => server.once('connection', resolve));
		// Its buffers say full after every send, and have room again when the test says so.
		let full = false;
		let pushed = 0;
		let makeRoom = (): void => {};
		const narrow = (connection: Connection): Connection => ({
			...connection,
			attach: (handlers) => {
				makeRoom = () => {
					full = false;
					handlers.drained();
				};
				connection.attach({ ...handlers, drained: () => {} });
			},
			send: (messages) => {
				const updates = messages.some((message) => message[18] === 2);
				if (updates && full) pushed++;
				connection.send(messages);
				if (updates) full = true;
				return !full;
			},
		});
		const transport: Transport = {
			...tcpTransport,
			dial: (target, handlers) =>
				tcpTransport.dial(target, {
					...handlers,
					connected: (connection) =>
						handlers.connected(target.address === '127.0.1.4' ? narrow(connection) : connection),
				}),
		};
		const a = run(node(1, prefixes, [], { peers: [peerOf(1, 2), slow] }), { transport });
		const b = run(node(2, [], [1]));
		const peer = await socket;
		peer.write(
			Buffer.concat([
				encodeMessage({
					type: 'OPEN',
					version: 4,
					asNumber: 64512,
					holdTime: 90,
					bgpIdentifier: '127.0.1.4',
					capabilities: [{ code: 65, asNumber: 64512 }],
				}),
				encodeMessage({ type: 'KEEPALIVE' }),
			]),
		);
		await until('the slow session', () => a.speaker.status().sessions[1]?.state === 'Established');
		await until('the quick one has all', () => b.fib.routes.size === prefixes.length, 60_000);
		const framer = createFramer(4096);
		let prefixesRead = 0;
		peer.on('data', (chunk: Buffer) => {
			framer.push(chunk);
			for (let next = framer.next(); next !== undefined; next = framer.next()) {
				assert.ok(next.ok);
				const message = decodeMessage(next.value.type, next.value.body, {
					fourOctetAs: true,
					ibgp: true,
					maxMessageLength: 4096,
				});
				assert.ok(message.ok);
				if (message.value.type === 'UPDATE')
					for (const { nlri } of message.value.announced) prefixesRead += nlri.length;
			}
		});
		peer.resume();
		assert.equal(pushed, 0, 'nothing is sent into full buffers');
		await until('the first portion', () => prefixesRead === 16_384);
		await until(
			'the slow one has all',
			() => {
				makeRoom();
				return prefixesRead === prefixes.length;
			},
			60_000,
		);
		assert.equal(pushed, 0);
		peer.destroy();
		server.close();
	});

	it('says what is wrong when its port is taken, and listens once it is free', async () => {
		const taken = createServer();
		await new Promise<void>((resolve) => taken.listen(port, '127.0.1.1', resolve));
		const a = run(node(1, ['10.244.1.0/24'], [], { peers: [peerOf(1, 2, { passive: true })] }));
		await until('the error', () => a.speaker.status().listenErrors.length === 1);
		assert.match(
			a.speaker.status().listenErrors[0] ?? '',
			/cannot listen on 127\.0\.1\.1 port \d+: another process uses/,
		);
		await new Promise((resolve) => taken.close(resolve));
		const b = run(node(2, [], [1]));
		await until('the session', () => established(a, b) && a.speaker.status().listenErrors.length === 0);
	});

	it('passive on one side: only the other dials', async () => {
		const a = run(node(1, ['10.244.1.0/24'], [], { peers: [peerOf(1, 2, { passive: true })] }));
		await until('it waits', () => states(a)[0] === 'Active');
		const b = run(node(2, [], [1]));
		await until('the session', () => established(a, b));
	});

	it('learns a route of an eBGP peer and passes it on where told, next hop and AS_PATH rewritten', async () => {
		const tor = run(node(1, ['0.0.0.0/0'], [], { asNumber: 65000, peers: [peerOf(1, 2, { asNumber: 64512 })] }));
		const middle = run(
			node(2, [], [], {
				peers: [peerOf(2, 1, { asNumber: 65000 }), peerOf(2, 3, { asNumber: 65001, exportLearnt: true })],
			}),
		);
		const far = run(node(3, [], [], { asNumber: 65001, peers: [peerOf(3, 2, { asNumber: 64512 })] }));
		await until('the route', () => far.fib.routes.has('0.0.0.0/0'));
		const attributes = far.fib.routes.get('0.0.0.0/0')?.best.attributes;
		assert.deepEqual(attributes?.asPath, [{ type: 'sequence', asNumbers: [64512, 65000] }]);
		assert.equal(attributes?.nextHop, '192.0.2.2');
		assert.ok(established(tor, middle, far));
	});
});
