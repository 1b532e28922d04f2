import assert from 'node:assert/strict';
import { it } from 'node:test';
import { encodeMessage, encodeUpdates } from 'bgp-js-lite';
import { createRib } from '../../bird/rib/rib.ts';
import { createSpeaker } from '../../bird/speaker.ts';
import { systemTimers } from '../../bird/timers.ts';
import type { Connection, ConnectionHandlers } from '../../bird/transport/transport.ts';
import type { Logger } from '../../src/logging.ts';
import { ipv4, pathOf, peerConfig, until } from './raw-peer.ts';

it('KEEPALIVEs go out while one pass over many routes takes longer than the hold time', async () => {
	const log: Logger = { debug: () => {}, info: () => {}, warn: () => {}, error: () => {}, child: () => log };
	// Work takes its time on this clock only.
	let late = 0;
	const timers = { ...systemTimers, now: () => performance.now() + late };
	let pulse = (): void => {};
	const rib = createRib({ asNumber: 64512, maximumPaths: 16, pulse: () => pulse() });
	const sentAt: number[] = [];
	let handlers: ConnectionHandlers | undefined;
	const connection: Connection = {
		remoteAddress: '127.0.2.2',
		remotePort: 179,
		localAddress: '127.0.2.1',
		localPort: 1,
		interface: '',
		attach: (attached) => {
			handlers = attached;
		},
		send: (messages) => {
			for (const message of messages) if (message[18] === 4) sentAt.push(timers.now());
			return true;
		},
		close: () => {},
		destroy: () => {},
	};
	let blockedFrom = 0;
	let blockedTo = 0;
	const speaker = createSpeaker({
		config: {
			asNumber: 64512,
			routerId: '127.0.2.1',
			listen: [],
			addresses: { ipv4: '192.0.2.1' },
			peers: [peerConfig(2, { passive: false, holdTime: 3 })],
			originate: [],
			maximumPaths: 16,
		},
		rib,
		fib: {
			update: (changes) => {
				if (changes.size < 8192) return;
				blockedFrom ||= timers.now();
				late += 600;
				blockedTo = timers.now();
			},
			converged: () => {},
			watchNextHops: (nextHops, onChange) => {
				for (const nextHop of nextHops) onChange(nextHop, 0);
			},
			felixHolds: () => true,
			felixHosts: () => [],
			onFelixChange: () => () => {},
		},
		log,
		timers,
		transport: {
			dial: (_target, { connected }) => {
				setImmediate(() => connected(connection));
				return () => {};
			},
			listen: () => ({ close: async () => {}, protect: () => {} }),
		},
		restarting: () => false,
	});
	pulse = speaker.pulse;
	speaker.start();
	await until('dialled', () => handlers !== undefined);
	const say = (bytes: Uint8Array): void => handlers?.data(bytes);
	const families = {
		capabilities: [
			{ code: 1, afi: 1, safi: 1 },
			{ code: 65, asNumber: 65002 },
		],
	} as const;
	const open = {
		type: 'OPEN',
		version: 4,
		asNumber: 65002,
		holdTime: 3,
		bgpIdentifier: '127.0.2.2',
		...families,
	} as const;
	say(encodeMessage(open));
	say(encodeMessage({ type: 'KEEPALIVE' }));
	await until('established', () => speaker.status().sessions[0]?.state === 'Established');
	const prefixes = Array.from({ length: 10 * 8192 }, (_, i) => `10.${i >> 14}.${(i >> 6) & 255}.${(i & 63) << 2}/30`);
	const codec = { fourOctetAs: true, ibgp: false, maxMessageLength: 4096 };
	const attributes = { origin: 'igp', asPath: pathOf(65002) } as const;
	for (const message of encodeUpdates({ attributes, announced: ipv4('192.0.2.2', ...prefixes) }, codec)) say(message);
	await until('the long pass', () => blockedTo - blockedFrom > 5000);
	const within = sentAt.filter((at) => at >= blockedFrom && at <= blockedTo + 1);
	assert.ok(within.length >= 3, `${within.length} KEEPALIVEs in ${Math.round(blockedTo - blockedFrom)} ms`);
	await speaker.stop({ graceful: true });
});
