import assert from 'node:assert/strict';
import { connect, type Socket } from 'node:net';
import {
	type Capability,
	type CodecOptions,
	createFramer,
	decodeMessage,
	encodeMessage,
	encodeUpdates,
	type Message,
	type OpenMessage,
	type UpdateMessage,
	type UpdateToEncode,
} from 'bgp-js-lite';
import type { PeerConfig, SpeakerConfig } from '../../bird/config.ts';
import { createRib } from '../../bird/rib/rib.ts';
import type { Decision, Rib } from '../../bird/rib/types.ts';
import { createSpeaker, type Speaker } from '../../bird/speaker.ts';
import { systemTimers } from '../../bird/timers.ts';
import { tcpTransport } from '../../bird/transport/tcp.ts';
import type { Logger } from '../../src/logging.ts';

/** A speaker of ours on a loopback address, its kernel a map, and peers that say just what a test tells them to. */

export const until = async (what: string, condition: () => boolean, milliseconds = 10_000): Promise<void> => {
	const end = Date.now() + milliseconds;
	while (!condition()) {
		if (Date.now() > end) assert.fail(`${what}: not within ${milliseconds} ms`);
		await new Promise((resolve) => setTimeout(resolve, 3));
	}
};

let port = 30_000 + (process.pid % 500) * 20;

export const ours = { asNumber: 64512, address: '127.0.2.1', routerId: '127.0.2.1' } as const;

export const peerConfig = (host: number, extra: Partial<PeerConfig> = {}): PeerConfig => ({
	name: `p${host}`,
	address: `127.0.2.${host}`,
	port,
	asNumber: 65000 + host,
	localAddress: ours.address,
	holdTime: 90,
	restartTime: 120,
	passive: true,
	families: ['1/1'],
	exportLearnt: true,
	...extra,
});

export type Lab = {
	readonly speaker: Speaker;
	readonly rib: Rib;
	readonly kernel: ReadonlyMap<string, Decision>;
	readonly log: readonly string[];
	readonly config: SpeakerConfig;
	readonly dial: (host: number, open?: Partial<OpenMessage>, codec?: Partial<CodecOptions>) => RawPeer;
	readonly close: () => Promise<void>;
};

export type RawPeer = {
	readonly socket: Socket;
	/** All but KEEPALIVEs, in order. */
	readonly messages: readonly Message[];
	readonly updates: () => readonly UpdateMessage[];
	/** Whole messages' lengths, in order. */
	readonly lengths: readonly number[];
	readonly send: (message: Exclude<Message, UpdateMessage>) => void;
	readonly update: (update: UpdateToEncode) => void;
	/** OPEN and KEEPALIVE went both ways. */
	readonly established: () => Promise<void>;
	readonly closed: () => boolean;
	/** Prefixes as last told. */
	readonly table: () => ReadonlyMap<string, UpdateMessage>;
};

const basic: Capability[] = [{ code: 1, afi: 1, safi: 1 }, { code: 2 }];

export const createLab = (peers: readonly PeerConfig[], extra: Partial<SpeakerConfig> = {}): Lab => {
	const kernel = new Map<string, Decision>();
	const log: string[] = [];
	const write = (_: object, message: string): void => {
		log.push(message);
		if (process.env.SHOW) console.log(message);
	};
	const logger: Logger = { debug: () => {}, info: write, warn: write, error: write, child: () => logger };
	const config: SpeakerConfig = {
		asNumber: ours.asNumber,
		routerId: ours.routerId,
		listen: [{ address: ours.address, port }],
		addresses: { ipv4: '192.0.2.1', ipv6: '2001:db8::1' },
		peers,
		originate: ['10.244.1.0/24'],
		maximumPaths: 16,
		...extra,
	};
	port++;
	const rib = createRib({
		asNumber: config.asNumber,
		maximumPaths: config.maximumPaths,
		routerId: config.routerId,
		clusterId: config.clusterId ?? config.routerId,
	});
	const speaker = createSpeaker({
		config,
		rib,
		fib: {
			update: (changes) => {
				for (const [prefix, decision] of changes) {
					if (decision === undefined || decision.best.source.kind === 'local') kernel.delete(prefix);
					else kernel.set(prefix, decision);
				}
			},
			converged: () => {},
			watchNextHops: (nextHops, onChange) => {
				for (const nextHop of nextHops) onChange(nextHop, 0);
			},
			felixHolds: () => true,
			felixHosts: () => [],
			onFelixChange: () => () => {},
		},
		log: logger,
		timers: systemTimers,
		transport: tcpTransport,
		restarting: () => false,
		fsm: { idleHoldTime: { first: 0.1, longest: 1 } },
	});
	speaker.start();
	const sockets: Socket[] = [];

	const dial = (host: number, open: Partial<OpenMessage> = {}, codec: Partial<CodecOptions> = {}): RawPeer => {
		const asNumber = open.asNumber ?? 65000 + host;
		const options: CodecOptions = {
			fourOctetAs: true,
			ibgp: asNumber === ours.asNumber,
			maxMessageLength: 4096,
			...codec,
		};
		const messages: Message[] = [];
		const lengths: number[] = [];
		const framer = createFramer(options.maxMessageLength);
		let keepalives = 0;
		let isClosed = false;
		const target = config.listen[0] as { address: string; port: number };
		const socket = connect({ host: target.address, port: target.port, localAddress: `127.0.2.${host}` });
		sockets.push(socket);
		socket.on('error', () => {});
		socket.on('close', () => {
			isClosed = true;
		});
		const send = (message: Exclude<Message, UpdateMessage>): void => {
			socket.write(encodeMessage(message));
		};
		socket.on('connect', () =>
			send({
				type: 'OPEN',
				version: 4,
				asNumber,
				holdTime: 90,
				bgpIdentifier: `127.0.2.${host}`,
				...open,
				capabilities: [...(open.capabilities ?? basic), { code: 65, asNumber }],
			}),
		);
		socket.on('data', (chunk) => {
			framer.push(chunk);
			for (let next = framer.next(); next?.ok; next = framer.next()) {
				const decoded = decodeMessage(next.value.type, next.value.body, options);
				assert.ok(decoded.ok);
				if (decoded.value.type === 'KEEPALIVE') {
					if (keepalives++ === 0) send({ type: 'KEEPALIVE' });
				} else {
					messages.push(decoded.value);
					lengths.push(next.value.body.length + 19);
				}
			}
		});
		const updates = (): UpdateMessage[] => messages.filter((m): m is UpdateMessage => m.type === 'UPDATE');
		return {
			socket,
			messages,
			lengths,
			updates,
			send,
			update: (update) => {
				for (const message of encodeUpdates(update, options)) socket.write(message);
			},
			established: () =>
				until(
					`p${host} established`,
					() =>
						keepalives > 0 &&
						speaker.status().sessions.some((s) => s.address.endsWith(`.${host}`) && s.state === 'Established'),
				),
			closed: () => isClosed,
			table: () => {
				const table = new Map<string, UpdateMessage>();
				for (const update of updates()) {
					for (const { nlri } of update.withdrawn) for (const { prefix } of nlri) table.delete(prefix);
					for (const { nlri } of update.announced) for (const { prefix } of nlri) table.set(prefix, update);
				}
				return table;
			},
		};
	};
	return {
		speaker,
		rib,
		kernel,
		log,
		config,
		dial,
		close: async () => {
			for (const socket of sockets) socket.destroy();
			await speaker.stop({ graceful: true });
		},
	};
};

export const ipv4 = (nextHop: string, ...prefixes: string[]) => ({
	afi: 1,
	safi: 1,
	nextHop,
	nlri: prefixes.map((prefix) => ({ prefix })),
});
export const pathOf = (...asNumbers: number[]) => [{ type: 'sequence' as const, asNumbers }];
