import { createPeerSession } from '../../bird/peer-session.ts';
import type { PeerSession } from '../../bird/peer-session-types.ts';
import { createRib } from '../../bird/rib/rib.ts';
import type { Timers } from '../../bird/timers.ts';
import type { Connection, ConnectionHandlers, Transport } from '../../bird/transport/transport.ts';
import type { Logger } from '../../src/logging.ts';
import { KEEPALIVE, openOf } from '../abuse/wire-peer.ts';
import { routerPeer, speakerConfig } from '../interop/harness.ts';
import type { Dialect } from './messages.ts';

/** One session of the speaker, from the bytes of a connection to the RIB, without sockets and clocks. */

export type FuzzedSession = {
	readonly dialect: Dialect;
	readonly established: () => boolean;
	/** Ends what is there and comes up anew. */
	readonly begin: () => void;
	/** In chunks, cut as told. */
	readonly receive: (message: Uint8Array, cuts: readonly number[]) => void;
	/** Takes what the RIB decided, as the speaker does. */
	readonly settle: () => void;
	readonly prefixes: () => number;
	/** Lines of the log. */
	readonly logged: () => number;
};

const OUR_AS = 64512;
const transport: Transport = {
	dial: () => () => {},
	listen: () => ({ close: async () => {}, protect: () => {} }),
};

export const createFuzzedSession = (dialect: Dialect): FuzzedSession => {
	let logged = 0;
	let now = 0;
	const count = (): void => {
		logged++;
	};
	const log: Logger = { debug: () => {}, info: count, warn: count, error: count, child: () => log };
	const timers: Timers = {
		now: () => now++,
		start: () => ({ refresh: () => {}, cancel: () => {} }),
		soon: () => {},
		random: () => 0.5,
	};
	const rib = createRib({ asNumber: OUR_AS, maximumPaths: 4, routerId: '192.0.2.1', clusterId: '192.0.2.1' });
	const peer = routerPeer({
		asNumber: dialect.peerAS,
		passive: true,
		...(dialect.addPath && { addPath: { receive: true, sendPaths: 0 } }),
	});
	const session: PeerSession = createPeerSession(peer, speakerConfig(peer), {
		rib,
		transport,
		timers,
		log,
		deferring: () => false,
		changed: () => {},
		vacant: () => {},
		isDynamic: false,
	});
	session.start();
	const open = openOf(dialect.peerAS, '192.0.2.2', {
		asNumber:
			dialect.fourOctetAs || dialect.peerAS < 0x10000 ? Math.min(dialect.peerAS, 23456 + 0xffff) & 0xffff : 23456,
		capabilities: [
			{ code: 1, afi: 1, safi: 1 },
			{ code: 1, afi: 2, safi: 1 },
			{ code: 2 },
			{ code: 70 },
			...(dialect.fourOctetAs ? [{ code: 65 as const, asNumber: dialect.peerAS }] : []),
			...(dialect.maxMessageLength > 4096 ? [{ code: 6 as const }] : []),
			...(dialect.addPath
				? [{ code: 69 as const, families: [1, 2].map((afi) => ({ afi, safi: 1, send: true, receive: false })) }]
				: []),
		],
	});
	let handlers: ConnectionHandlers | undefined;
	const data = (chunk: Uint8Array): void => handlers?.data(chunk);

	const begin = (): void => {
		handlers?.closed('the peer closed the connection');
		handlers = undefined;
		const connection: Connection = {
			remoteAddress: '192.0.2.2',
			remotePort: 50_000,
			localAddress: '192.0.2.1',
			localPort: 179,
			interface: '',
			attach: (given) => {
				handlers = given;
			},
			send: () => true,
			close: () => {
				handlers = undefined;
			},
			destroy: () => {
				handlers = undefined;
			},
		};
		session.accept(connection);
		data(open);
		data(KEEPALIVE);
	};

	return {
		dialect,
		established: () => handlers !== undefined && session.negotiated() !== undefined,
		begin,
		receive: (message, cuts) => {
			let from = 0;
			for (const cut of cuts) {
				if (cut <= from || cut >= message.length) continue;
				data(message.subarray(from, cut));
				from = cut;
			}
			data(from === 0 ? message : message.subarray(from));
		},
		settle: () => {
			for (const nextHop of rib.nextHops()) rib.setNextHop(nextHop, 0);
			rib.takeDecisions();
		},
		prefixes: () => rib.counts(peer.name).received,
		logged: () => logged,
	};
};
