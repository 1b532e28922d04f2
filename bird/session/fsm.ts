import { CEASE, ERROR_CODE, FSM_ERROR, MESSAGE_TYPE } from 'bgp-js-lite';
import type { Action, Cause, Event, Fsm, FsmConfig, Step, TimerName } from './events.ts';
import { cease, notification } from './notification.ts';
import type { Negotiated } from './open.ts';

/**
 * The BGP finite state machine of one connection (RFC 4271 §8), as a function: a state and an event give the next state
 * and the actions to take. State and event names are the RFC's. Optional attributes chosen: DampPeerOscillations is on
 * (IdleHoldTimer), DelayOpen is not used. Two connections to one peer are two of these machines: see peer.ts.
 *
 * Where the RFC is known to be wrong or silent: a NOTIFICATION is never answered with one (§6.4 over §8.2.2 OpenSent);
 * a header error in Established is answered with its own code (§6.1 over §8.2.2).
 */

export type { Action, Cause, Event, Fsm, FsmConfig, FsmState, Step, TimerName } from './events.ts';

export const defaultFsmConfig: FsmConfig = {
	passive: false,
	connectRetryTime: 3,
	openTime: 15,
	idleHoldTime: { first: 1, longest: 60 },
	settleTime: 5,
};

export const idle: Fsm = { state: 'Idle', connectRetryCounter: 0, dialFailures: 0 };

/** What peers say by type octet; RFC 6608 wants it in the data of an FSM error. */
const messageTypes: Partial<Record<Event['type'], number>> = {
	BGPOpen: MESSAGE_TYPE.OPEN,
	BGPOpenMsgErr: MESSAGE_TYPE.OPEN,
	UpdateMsg: MESSAGE_TYPE.UPDATE,
	UpdateMsgErr: MESSAGE_TYPE.UPDATE,
	KeepAliveMsg: MESSAGE_TYPE.KEEPALIVE,
	RouteRefreshMsg: MESSAGE_TYPE.ROUTE_REFRESH,
};

const startTimer = (timer: TimerName, seconds: number, jitter = true): Action => ({
	type: 'startTimer',
	timer,
	seconds,
	jitter,
});
const holdTimer = (seconds: number): Action[] => (seconds > 0 ? [startTimer('hold', seconds, false)] : []);
const keepaliveTimer = (seconds: number): Action[] => (seconds > 0 ? [startTimer('keepalive', seconds)] : []);

/** Seconds of IdleHoldTimer: constant while a peer does not answer, doubling while sessions with it keep failing. */
export const idleHoldSeconds = (fsm: Fsm, config: FsmConfig): number => {
	const { first, longest } = config.idleHoldTime;
	if (fsm.connectRetryCounter > 0) return Math.min(longest, first * 2 ** Math.min(fsm.connectRetryCounter - 1, 20));
	return Math.min(5 * first, first * Math.max(1, Math.floor(fsm.dialFailures / 20)));
};

type Count = 'keep' | 'reset' | 'increment';

/** Any way into Idle: what is left is released; unless stopped by hand the IdleHoldTimer brings the machine back. */
const toIdle = (fsm: Fsm, config: FsmConfig, cause: Cause, count: Count, dialFailed = false): Step => {
	const connectRetryCounter =
		count === 'reset' ? 0 : count === 'increment' ? fsm.connectRetryCounter + 1 : fsm.connectRetryCounter;
	const next: Fsm = {
		state: 'Idle',
		connectRetryCounter,
		dialFailures: dialFailed ? fsm.dialFailures + 1 : fsm.dialFailures,
	};
	return {
		fsm: next,
		actions: [
			...(cause.kind !== 'received' && cause.notification
				? [{ type: 'sendNotification', notification: cause.notification } as const]
				: []),
			{ type: 'stopTimers' },
			fsm.state === 'Established' && fsm.negotiated
				? { type: 'sessionDown', negotiated: fsm.negotiated, cause }
				: { type: 'attemptFailed', cause },
			{ type: 'dropConnection' },
			...(count === 'reset' ? [] : [startTimer('idleHold', idleHoldSeconds(next, config))]),
		],
	};
};

const stay = (fsm: Fsm, ...actions: Action[]): Step => ({ fsm, actions });

const connected = (fsm: Fsm, config: FsmConfig): Step => ({
	fsm: { ...fsm, state: 'OpenSent', dialFailures: 0 },
	actions: [{ type: 'stopTimers' }, { type: 'sendOpen' }, startTimer('hold', config.openTime, false)],
});

const start = (fsm: Fsm, config: FsmConfig): Step =>
	config.passive
		? { fsm: { ...fsm, state: 'Active' }, actions: [{ type: 'stopTimers' }] }
		: {
				fsm: { ...fsm, state: 'Connect' },
				actions: [{ type: 'stopTimers' }, startTimer('connectRetry', config.connectRetryTime), { type: 'connect' }],
			};

const unexpected = (event: Event): Cause => ({ kind: 'tcp', reason: `${event.type} is not possible in this state` });

const inIdle = (fsm: Fsm, event: Event, config: FsmConfig): Step => {
	switch (event.type) {
		case 'ManualStart':
		case 'AutomaticStart':
			return start({ ...fsm, connectRetryCounter: 0, dialFailures: 0 }, config);
		case 'IdleHoldTimer_Expires':
			return start(fsm, config);
		case 'ManualStop':
		case 'AutomaticStop':
			// The RFC ignores these here; the IdleHoldTimer must not bring a stopped machine back.
			return stay({ ...fsm, connectRetryCounter: 0, dialFailures: 0 }, { type: 'stopTimers' });
		case 'Tcp_CR_Acked':
		case 'TcpConnectionConfirmed':
			return stay(fsm, { type: 'dropConnection' });
		default:
			return stay(fsm);
	}
};

/** Connect and Active differ only in what a retry and a failed connection mean. */
const inConnectOrActive = (fsm: Fsm, event: Event, config: FsmConfig): Step => {
	switch (event.type) {
		case 'ManualStart':
		case 'AutomaticStart':
		case 'SettleTimer_Expires':
			return stay(fsm);
		case 'ManualStop':
			return toIdle(fsm, config, { kind: 'stopped', reason: event.reason }, 'reset');
		case 'ConnectRetryTimer_Expires':
			if (config.passive) return stay(fsm);
			return {
				fsm: { ...fsm, state: 'Connect', dialFailures: fsm.dialFailures + (fsm.state === 'Connect' ? 1 : 0) },
				actions: [
					...(fsm.state === 'Connect'
						? [
								{ type: 'attemptFailed', cause: { kind: 'tcp', reason: 'no answer' } } as const,
								{ type: 'dropConnection' } as const,
							]
						: []),
					startTimer('connectRetry', config.connectRetryTime),
					{ type: 'connect' },
				],
			};
		case 'Tcp_CR_Acked':
		case 'TcpConnectionConfirmed':
			return connected(fsm, config);
		case 'TcpConnectionFails':
			return toIdle(
				fsm,
				config,
				{ kind: 'tcp', reason: event.reason },
				fsm.state === 'Active' ? 'increment' : 'keep',
				true,
			);
		case 'BGPHeaderErr':
		case 'BGPOpenMsgErr':
			// No OPEN was sent, so no NOTIFICATION is (SendNOTIFICATIONwithoutOPEN is off).
			return toIdle(fsm, config, { kind: 'tcp', reason: event.reason }, 'increment');
		case 'NotifMsg':
		case 'NotifMsgVerErr':
			return toIdle(fsm, config, { kind: 'received', notification: event.notification, reason: '' }, 'increment');
		case 'AutomaticStop':
			return toIdle(fsm, config, { kind: 'stopped', reason: event.reason }, 'increment');
		default:
			return toIdle(fsm, config, unexpected(event), 'increment');
	}
};

const fsmErrorSubcode = {
	OpenSent: FSM_ERROR.inOpenSent,
	OpenConfirm: FSM_ERROR.inOpenConfirm,
	Established: FSM_ERROR.inEstablished,
} as const;
type OpenState = keyof typeof fsmErrorSubcode;

/** What OpenSent, OpenConfirm and Established have in common. */
const inOpen = (fsm: Fsm & { readonly state: OpenState }, event: Event, config: FsmConfig): Step => {
	switch (event.type) {
		case 'ManualStart':
		case 'AutomaticStart':
		case 'Tcp_CR_Acked':
		case 'TcpConnectionConfirmed':
			return stay(fsm);
		case 'ManualStop':
		case 'AutomaticStop':
			return toIdle(
				fsm,
				config,
				{
					kind: 'stopped',
					...(event.notification && { notification: event.notification }),
					reason: event.reason,
				},
				event.type === 'ManualStop' ? 'reset' : 'increment',
			);
		case 'HoldTimer_Expires':
			return toIdle(
				fsm,
				config,
				{
					kind: 'sent',
					notification: notification(ERROR_CODE.holdTimerExpired, 0),
					reason:
						fsm.state === 'OpenSent'
							? `no OPEN came within ${config.openTime} s`
							: `nothing came within the hold time of ${fsm.negotiated?.holdTime ?? '?'} s`,
				},
				'increment',
			);
		case 'BGPHeaderErr':
		case 'BGPOpenMsgErr':
		case 'UpdateMsgErr':
			if (event.type === 'UpdateMsgErr' && fsm.state !== 'Established') break;
			// §8.2.2: an OPEN is not expected there, whatever it says.
			if (event.type === 'BGPOpenMsgErr' && fsm.state === 'Established') break;
			return toIdle(fsm, config, { kind: 'sent', notification: event.notification, reason: event.reason }, 'increment');
		case 'SendHoldTimer_Expires':
			return toIdle(
				fsm,
				config,
				{
					kind: 'sent',
					notification: notification(ERROR_CODE.sendHoldTimerExpired, 0),
					reason: 'the peer does not read what we send',
				},
				'increment',
			);
		case 'OpenCollisionDump':
			return toIdle(
				fsm,
				config,
				{
					kind: 'sent',
					notification: cease(CEASE.connectionCollisionResolution),
					reason: 'the other connection is kept',
				},
				'keep',
			);
		case 'NotifMsgVerErr':
		case 'NotifMsg': {
			const { code, subcode } = event.notification;
			// A lost collision, or a peer that does not know us yet, is no failure: it does not lengthen the idle hold.
			const harmless =
				code === ERROR_CODE.cease &&
				(subcode === CEASE.connectionCollisionResolution || subcode === CEASE.connectionRejected);
			return toIdle(
				fsm,
				config,
				{ kind: 'received', notification: event.notification, reason: '' },
				event.type === 'NotifMsgVerErr' || harmless ? 'keep' : 'increment',
				harmless,
			);
		}
		case 'TcpConnectionFails':
			return toIdle(fsm, config, { kind: 'tcp', reason: event.reason }, 'increment');
		case 'IdleHoldTimer_Expires':
		case 'SettleTimer_Expires':
			return stay(fsm);
		default:
			break;
	}
	const messageType = messageTypes[event.type];
	return toIdle(
		fsm,
		config,
		{
			kind: 'sent',
			notification: notification(
				ERROR_CODE.fsm,
				fsmErrorSubcode[fsm.state],
				messageType === undefined ? undefined : Uint8Array.of(messageType),
			),
			reason: `${event.type} in ${fsm.state}`,
		},
		'increment',
	);
};

const inOpenSent = (fsm: Fsm & { readonly state: 'OpenSent' }, event: Event, config: FsmConfig): Step => {
	switch (event.type) {
		case 'BGPOpen': {
			const { negotiated } = event;
			return {
				fsm: { ...fsm, state: 'OpenConfirm', negotiated },
				actions: [
					{ type: 'stopTimers' },
					{ type: 'sendKeepalive' },
					...keepaliveTimer(negotiated.keepaliveTime),
					...holdTimer(negotiated.holdTime),
				],
			};
		}
		case 'TcpConnectionFails':
			return {
				fsm: { ...fsm, state: 'Active' },
				actions: [
					{ type: 'stopTimers' },
					{ type: 'attemptFailed', cause: { kind: 'tcp', reason: event.reason } },
					{ type: 'dropConnection' },
					startTimer('connectRetry', config.connectRetryTime),
				],
			};
		default:
			return inOpen(fsm, event, config);
	}
};

const inOpenConfirm = (fsm: Fsm & { readonly state: 'OpenConfirm' }, event: Event, config: FsmConfig): Step => {
	const negotiated = fsm.negotiated as Negotiated;
	switch (event.type) {
		case 'KeepaliveTimer_Expires':
			return stay(fsm, { type: 'sendKeepalive' }, ...keepaliveTimer(negotiated.keepaliveTime));
		case 'KeepAliveMsg':
			return {
				fsm: { ...fsm, state: 'Established' },
				actions: [
					...holdTimer(negotiated.holdTime),
					startTimer('settle', config.settleTime, false),
					{ type: 'sessionUp', negotiated },
				],
			};
		default:
			return inOpen(fsm, event, config);
	}
};

const inEstablished = (fsm: Fsm & { readonly state: 'Established' }, event: Event, config: FsmConfig): Step => {
	const negotiated = fsm.negotiated as Negotiated;
	switch (event.type) {
		case 'KeepaliveTimer_Expires':
			return stay(fsm, { type: 'sendKeepalive' }, ...keepaliveTimer(negotiated.keepaliveTime));
		case 'KeepAliveMsg':
			return stay(fsm, ...holdTimer(negotiated.holdTime));
		case 'UpdateMsg':
			return stay(fsm, ...holdTimer(negotiated.holdTime), { type: 'deliverUpdate', update: event.update });
		case 'RouteRefreshMsg':
			return stay(fsm, ...holdTimer(negotiated.holdTime), {
				type: 'deliverRouteRefresh',
				message: event.message,
			});
		case 'SettleTimer_Expires':
			return stay({ ...fsm, connectRetryCounter: 0 });
		default:
			return inOpen(fsm, event, config);
	}
};

/** One event. `actions` are to be taken in order. */
export const step = (fsm: Fsm, event: Event, config: FsmConfig): Step => {
	switch (fsm.state) {
		case 'Idle':
			return inIdle(fsm, event, config);
		case 'Connect':
		case 'Active':
			return inConnectOrActive(fsm, event, config);
		case 'OpenSent':
			return inOpenSent({ ...fsm, state: fsm.state }, event, config);
		case 'OpenConfirm':
			return inOpenConfirm({ ...fsm, state: fsm.state }, event, config);
		case 'Established':
			return inEstablished({ ...fsm, state: fsm.state }, event, config);
	}
};
