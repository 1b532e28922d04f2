import {
	type CodecOptions,
	createFramer,
	type DecodeError,
	decodeMessage,
	describeNotification,
	ERROR_CODE,
	encodeMessage,
	type Framer,
	MAX_MESSAGE_LENGTH,
	type Message,
	type OpenMessage,
	type RouteRefreshMessage,
	type UpdateMessage,
} from 'bgp-js-lite';
import type { Logger } from '../src/logging.ts';
import { type ConnectionTimers, createConnectionTimers } from './connection-timers.ts';
import type { Action, Cause, Event, FsmState } from './session/fsm.ts';
import type { Notification } from './session/notification.ts';
import { type LocalOpen, type Negotiated, negotiate } from './session/open.ts';
import {
	type ConnectionId,
	foremost,
	newPeer,
	type Peer,
	type PeerConfig,
	type PeerInput,
	stepPeer,
} from './session/peer.ts';
import type { Timers } from './timers.ts';
import type { Connection, DialTarget, Transport } from './transport/transport.ts';

/**
 * Runs the state machines of one peer (session/peer.ts) on real connections and timers: bytes become events, actions
 * become bytes, dials and timers. At most one connection is Established; what is sent through `send` goes there.
 */

export type ConnectionsPorts = {
	readonly transport: Transport;
	readonly timers: Timers;
	readonly log: Logger;
};

export type SessionHandlers = {
	readonly up: (negotiated: Negotiated, connection: Connection) => void;
	readonly down: (negotiated: Negotiated, cause: Cause) => void;
	readonly update: (update: UpdateMessage) => void;
	readonly routeRefresh: (message: RouteRefreshMessage) => void;
	readonly drained: () => void;
	/** A connection ended without a session. */
	readonly failed: (cause: Cause) => void;
	/** The state as told, that of the connection which is furthest. */
	readonly entered: (state: FsmState) => void;
};

export type ConnectionsOptions = {
	readonly local: LocalOpen;
	readonly fsm: PeerConfig;
	/** Asked for at each dial. */
	readonly dial: () => DialTarget;
	/** Made anew for each connection: the R bit changes. */
	readonly openMessage: () => OpenMessage;
};

export type Connections = {
	readonly start: () => void;
	/** Ends every connection by this event; with ManualStop and a notification the peer is told. */
	readonly stop: (event: Event) => void;
	readonly accept: (connection: Connection) => void;
	/** To the Established connection. False: no room for more before `drained`. */
	readonly send: (messages: readonly Uint8Array[]) => boolean;
	/** The peer has read nothing for the send hold time (RFC 9687). */
	readonly stalled: () => void;
	/** Something ended the session: an event for its machine, if there is a session. */
	readonly fail: (event: Event) => void;
	/** Called now and then within long work: sends the KEEPALIVE whose timer cannot run. */
	readonly pulse: () => void;
	/** Another password for the session, which goes on; false: it has to start anew. */
	readonly rekey: (password: string) => boolean;
	readonly state: () => FsmState;
	readonly negotiated: () => Negotiated | undefined;
};

/** In words. */
export const describeCause = ({ kind, notification, reason }: Cause): string => {
	if (notification === undefined) return reason;
	const words = describeNotification(notification.code, notification.subcode, notification.data);
	if (kind === 'received') return `the peer sent NOTIFICATION ${words}`;
	return `${reason}; sent NOTIFICATION ${words}`;
};

type Live = {
	readonly id: ConnectionId;
	connection?: Connection;
	abortDial?: () => void;
	framer: Framer;
	codec: CodecOptions;
	readonly timers: ConnectionTimers;
};

/** So long a peer has to change its password as well: twice as long as files of passwords take to be read again. */
const REKEY_MS = 10_000;

const keepalive = encodeMessage({ type: 'KEEPALIVE' });

/** Header, code and subcode. */
const NOTIFICATION_LENGTH = 21;
/** The NOTIFICATION with as much of its data as a message may have: that can be a whole message of the peer's (RFC 7313 §5). */
const farewell = ({ code, subcode, data }: Notification, maxMessageLength: number): Uint8Array =>
	encodeMessage({
		type: 'NOTIFICATION',
		code,
		subcode,
		data: data.subarray(0, maxMessageLength - NOTIFICATION_LENGTH),
	});

export const createConnections = (
	options: ConnectionsOptions,
	ports: ConnectionsPorts,
	handlers: SessionHandlers,
): Connections => {
	const { local, fsm: config } = options;
	const { transport, timers, log } = ports;
	const lives = new Map<ConnectionId, Live>();
	let peer: Peer = newPeer;
	let nextId = 1;
	let established: Live | undefined;
	/** When the last KEEPALIVE went out. */
	let spokeAt = 0;

	const fresh = (): Pick<Live, 'framer' | 'codec'> => ({
		framer: createFramer(MAX_MESSAGE_LENGTH),
		codec: {
			fourOctetAs: true,
			ibgp: local.peerAS === local.asNumber,
			maxMessageLength: MAX_MESSAGE_LENGTH,
		},
	});
	const liveOf = (id: ConnectionId): Live => {
		let live = lives.get(id);
		if (live === undefined) {
			const expired = (event: Event): void => dispatch({ type: 'event', connection: id, event });
			live = { id, ...fresh(), timers: createConnectionTimers(timers, expired) };
			lives.set(id, live);
		}
		return live;
	};

	const drop = (live: Live, lastWords: boolean): void => {
		live.abortDial?.();
		delete live.abortDial;
		if (lastWords) live.connection?.close();
		else live.connection?.destroy();
		delete live.connection;
		Object.assign(live, fresh());
		if (established === live) established = undefined;
	};

	const attach = (live: Live, connection: Connection): void => {
		live.connection = connection;
		const current = (): boolean => live.connection === connection;
		connection.attach({
			data: (chunk) => {
				live.framer.push(chunk);
				while (current()) {
					const next = live.framer.next();
					if (next === undefined) return;
					live.timers.heard();
					const event = next.ok ? decode(live, next.value.type, next.value.body) : fault(next.error);
					if (event !== undefined) dispatch({ type: 'event', connection: live.id, event });
				}
			},
			closed: (reason) => {
				if (!current()) return;
				delete live.connection;
				dispatch({ type: 'event', connection: live.id, event: { type: 'TcpConnectionFails', reason } });
			},
			drained: () => {
				if (current() && established === live) handlers.drained();
			},
		});
	};

	const decode = (live: Live, type: number, body: Uint8Array): Event => {
		const decoded = decodeMessage(type, body, live.codec);
		return decoded.ok ? eventOf(live, decoded.value) : fault(decoded.error);
	};

	const eventOf = (live: Live, message: Message): Event => {
		switch (message.type) {
			case 'OPEN': {
				const result = negotiate(message, local);
				if (!result.ok) {
					const { notification, message: reason } = result.error;
					return { type: 'BGPOpenMsgErr', notification, reason };
				}
				live.codec = result.negotiated.codec;
				live.framer.setMaxMessageLength(live.codec.maxMessageLength);
				return { type: 'BGPOpen', negotiated: result.negotiated };
			}
			case 'UPDATE':
				return { type: 'UpdateMsg', update: message };
			case 'KEEPALIVE':
				return { type: 'KeepAliveMsg' };
			case 'NOTIFICATION':
				return message.code === ERROR_CODE.open && message.subcode === 1
					? { type: 'NotifMsgVerErr', notification: message }
					: { type: 'NotifMsg', notification: message };
			case 'ROUTE_REFRESH':
				return { type: 'RouteRefreshMsg', message };
		}
	};

	const fault = ({ code, subcode, data, message }: DecodeError): Event => ({
		type: code === ERROR_CODE.open ? 'BGPOpenMsgErr' : code === ERROR_CODE.update ? 'UpdateMsgErr' : 'BGPHeaderErr',
		notification: { code, subcode, data },
		reason: message,
	});

	const perform = (live: Live, action: Action, spoke: boolean): void => {
		switch (action.type) {
			case 'startTimer':
				live.timers.start(action.timer, action.seconds, action.jitter);
				break;
			case 'stopTimer':
				live.timers.stop(action.timer);
				break;
			case 'stopTimers':
				live.timers.stopAll();
				break;
			case 'connect':
				live.abortDial = transport.dial(options.dial(), {
					connected: (connection) => {
						delete live.abortDial;
						attach(live, connection);
						dispatch({ type: 'event', connection: live.id, event: { type: 'Tcp_CR_Acked' } });
					},
					failed: (reason) => {
						delete live.abortDial;
						dispatch({ type: 'event', connection: live.id, event: { type: 'TcpConnectionFails', reason } });
					},
				});
				break;
			case 'sendOpen':
				live.connection?.send([encodeMessage(options.openMessage())]);
				break;
			case 'sendKeepalive':
				spokeAt = timers.now();
				live.connection?.send([keepalive]);
				break;
			case 'sendNotification':
				live.connection?.send([farewell(action.notification, live.codec.maxMessageLength)]);
				break;
			case 'dropConnection':
				drop(live, spoke);
				break;
			case 'sessionUp':
				established = live;
				if (live.connection) handlers.up(action.negotiated, live.connection);
				break;
			case 'sessionDown':
				established = undefined;
				handlers.down(action.negotiated, action.cause);
				break;
			case 'attemptFailed':
				handlers.failed(action.cause);
				break;
			case 'deliverUpdate':
				handlers.update(action.update);
				break;
			case 'deliverRouteRefresh':
				handlers.routeRefresh(action.message);
				break;
		}
	};

	const dispatch = (input: PeerInput): void => {
		const before = foremost(peer).state;
		const { peer: next, actions } = stepPeer(peer, input, config);
		peer = next;
		const spoke = new Set<ConnectionId>();
		for (const { connection, action } of actions) {
			if (action.type === 'sendNotification') spoke.add(connection);
			perform(liveOf(connection), action, spoke.has(connection));
		}
		for (const id of lives.keys()) {
			if (id !== 'outgoing' && !peer.incoming.some((c) => c.id === id)) lives.delete(id);
		}
		const after = foremost(peer).state;
		if (before !== after) {
			handlers.entered(after);
			const what = input.type === 'event' ? input.event.type : input.type;
			log.debug({ from: before, to: after }, `${before} to ${after}: ${what}`);
		}
	};

	const fail = (event: Event): void => {
		if (established !== undefined) dispatch({ type: 'event', connection: established.id, event });
	};

	return {
		start: () => dispatch({ type: 'start' }),
		stop: (event) => dispatch({ type: 'stop', event }),
		accept: (connection) => {
			const id = nextId++;
			attach(liveOf(id), connection);
			dispatch({ type: 'accepted', id });
		},
		send: (messages) => established?.connection?.send(messages) ?? true,
		stalled: () => fail({ type: 'SendHoldTimer_Expires' }),
		fail,
		pulse: () => {
			const seconds = established === undefined ? 0 : (foremost(peer).negotiated?.keepaliveTime ?? 0);
			if (seconds === 0 || timers.now() - spokeAt < seconds * 1000) return;
			spokeAt = timers.now();
			established?.timers.refresh('keepalive');
			established?.connection?.send([keepalive]);
		},
		rekey: (password) => {
			const connection = established?.connection;
			if (connection?.rekey?.(password) !== true) return false;
			connection.send([keepalive]);
			timers.start(REKEY_MS, () => {
				if (established?.connection !== connection || (connection.unheardFor?.() ?? 0) < REKEY_MS / 2) return;
				fail({ type: 'TcpConnectionFails', reason: 'the peer does not answer since the password was changed' });
			});
			return true;
		},
		state: () => foremost(peer).state,
		negotiated: () => {
			const fsm = foremost(peer);
			return fsm.state === 'Established' ? fsm.negotiated : undefined;
		},
	};
};
