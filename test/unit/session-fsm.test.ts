import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { UpdateMessage } from 'bgp-js-lite';
import {
	type Action,
	defaultFsmConfig,
	type Event,
	type Fsm,
	type FsmState,
	idle,
	step,
} from '../../bird/session/fsm.ts';
import { notification } from '../../bird/session/notification.ts';
import type { Negotiated } from '../../bird/session/open.ts';

const config = defaultFsmConfig;
const negotiated: Negotiated = {
	peerAS: 64513,
	ibgp: false,
	bgpIdentifier: '192.0.2.2',
	holdTime: 90,
	keepaliveTime: 30,
	families: new Set(['1/1']),
	routeRefresh: true,
	enhancedRouteRefresh: false,
	extendedNextHop: false,
	codec: { fourOctetAs: true, ibgp: false, maxMessageLength: 4096 },
};
const update: UpdateMessage = { type: 'UPDATE', withdrawn: [], announced: [] };
const refresh = { type: 'ROUTE_REFRESH', afi: 1, safi: 1, subtype: 0 } as const;
const theirs = notification(6, 4);

const events = {
	ManualStart: { type: 'ManualStart' },
	AutomaticStart: { type: 'AutomaticStart' },
	ManualStop: { type: 'ManualStop', notification: notification(6, 2), reason: 'by hand' },
	AutomaticStop: { type: 'AutomaticStop', notification: notification(6, 8), reason: 'of itself' },
	ConnectRetryTimer_Expires: { type: 'ConnectRetryTimer_Expires' },
	HoldTimer_Expires: { type: 'HoldTimer_Expires' },
	KeepaliveTimer_Expires: { type: 'KeepaliveTimer_Expires' },
	IdleHoldTimer_Expires: { type: 'IdleHoldTimer_Expires' },
	SettleTimer_Expires: { type: 'SettleTimer_Expires' },
	SendHoldTimer_Expires: { type: 'SendHoldTimer_Expires' },
	Tcp_CR_Acked: { type: 'Tcp_CR_Acked' },
	TcpConnectionConfirmed: { type: 'TcpConnectionConfirmed' },
	TcpConnectionFails: { type: 'TcpConnectionFails', reason: 'reset' },
	BGPOpen: { type: 'BGPOpen', negotiated },
	BGPHeaderErr: { type: 'BGPHeaderErr', notification: notification(1, 1), reason: 'marker' },
	BGPOpenMsgErr: { type: 'BGPOpenMsgErr', notification: notification(2, 2), reason: 'AS' },
	OpenCollisionDump: { type: 'OpenCollisionDump' },
	NotifMsgVerErr: { type: 'NotifMsgVerErr', notification: notification(2, 1) },
	NotifMsg: { type: 'NotifMsg', notification: theirs },
	KeepAliveMsg: { type: 'KeepAliveMsg' },
	UpdateMsg: { type: 'UpdateMsg', update },
	UpdateMsgErr: { type: 'UpdateMsgErr', notification: notification(3, 1), reason: 'list' },
	RouteRefreshMsg: { type: 'RouteRefreshMsg', message: refresh },
} satisfies Record<Event['type'], Event>;
type EventName = keyof typeof events;

/** One word an action: what the tables below are written in. */
const word = (action: Action): string => {
	switch (action.type) {
		case 'startTimer':
			return `${action.timer}=${action.seconds}`;
		case 'stopTimer':
			return `${action.timer}=0`;
		case 'sendNotification': {
			const { code, subcode, data } = action.notification;
			return `notification ${code}/${subcode}${data.length > 0 ? ` [${data}]` : ''}`;
		}
		case 'sessionDown':
		case 'attemptFailed':
			return `${action.type} ${action.cause.kind}`;
		default:
			return action.type;
	}
};

const at = (state: FsmState): Fsm => ({
	...idle,
	state,
	...(state === 'OpenConfirm' || state === 'Established' ? { negotiated } : {}),
});
const run = (state: FsmState, event: EventName): string => {
	const { fsm, actions } = step(at(state), events[event], config);
	return [fsm.state, ...actions.map(word)].join(', ');
};

const ignored = (state: FsmState, ...names: EventName[]): Partial<Record<EventName, string>> =>
	Object.fromEntries(names.map((name) => [name, state]));
/** The way into Idle: what is sent, what ended, why; the IdleHoldTimer brings it back. */
const toIdle = (what: string, kind: string, sent?: string): string =>
	[
		'Idle',
		...(sent ? [`notification ${sent}`] : []),
		'stopTimers',
		`${what} ${kind}`,
		'dropConnection',
		'idleHold=1',
	].join(', ');
const stopped = (what: string, sent?: string): string =>
	['Idle', ...(sent ? [`notification ${sent}`] : []), 'stopTimers', `${what} stopped`, 'dropConnection'].join(', ');
const fails = (kind: string, sent?: string): string => toIdle('attemptFailed', kind, sent);
const ends = (kind: string, sent?: string): string => toIdle('sessionDown', kind, sent);

const dialling = 'Connect, stopTimers, connectRetry=3, connect';
const openSent = 'OpenSent, stopTimers, sendOpen, hold=15';

const table: Record<FsmState, Record<EventName, string>> = {
	Idle: {
		...(ignored('Idle', ...(Object.keys(events) as EventName[])) as Record<EventName, string>),
		ManualStart: dialling,
		AutomaticStart: dialling,
		IdleHoldTimer_Expires: dialling,
		ManualStop: 'Idle, stopTimers',
		AutomaticStop: 'Idle, stopTimers',
		Tcp_CR_Acked: 'Idle, dropConnection',
		TcpConnectionConfirmed: 'Idle, dropConnection',
	},
	Connect: {
		...(ignored('Connect', 'ManualStart', 'AutomaticStart', 'SettleTimer_Expires') as Record<EventName, string>),
		ManualStop: stopped('attemptFailed'),
		AutomaticStop: fails('stopped'),
		ConnectRetryTimer_Expires: 'Connect, attemptFailed tcp, dropConnection, connectRetry=3, connect',
		HoldTimer_Expires: fails('tcp'),
		SendHoldTimer_Expires: fails('tcp'),
		KeepaliveTimer_Expires: fails('tcp'),
		IdleHoldTimer_Expires: fails('tcp'),
		Tcp_CR_Acked: openSent,
		TcpConnectionConfirmed: openSent,
		TcpConnectionFails: fails('tcp'),
		BGPOpen: fails('tcp'),
		BGPHeaderErr: fails('tcp'),
		BGPOpenMsgErr: fails('tcp'),
		OpenCollisionDump: fails('tcp'),
		NotifMsgVerErr: fails('received'),
		NotifMsg: fails('received'),
		KeepAliveMsg: fails('tcp'),
		UpdateMsg: fails('tcp'),
		UpdateMsgErr: fails('tcp'),
		RouteRefreshMsg: fails('tcp'),
	},
	Active: {
		...(ignored('Active', 'ManualStart', 'AutomaticStart', 'SettleTimer_Expires') as Record<EventName, string>),
		ManualStop: stopped('attemptFailed'),
		AutomaticStop: fails('stopped'),
		ConnectRetryTimer_Expires: 'Connect, connectRetry=3, connect',
		HoldTimer_Expires: fails('tcp'),
		SendHoldTimer_Expires: fails('tcp'),
		KeepaliveTimer_Expires: fails('tcp'),
		IdleHoldTimer_Expires: fails('tcp'),
		Tcp_CR_Acked: openSent,
		TcpConnectionConfirmed: openSent,
		TcpConnectionFails: fails('tcp'),
		BGPOpen: fails('tcp'),
		BGPHeaderErr: fails('tcp'),
		BGPOpenMsgErr: fails('tcp'),
		OpenCollisionDump: fails('tcp'),
		NotifMsgVerErr: fails('received'),
		NotifMsg: fails('received'),
		KeepAliveMsg: fails('tcp'),
		UpdateMsg: fails('tcp'),
		UpdateMsgErr: fails('tcp'),
		RouteRefreshMsg: fails('tcp'),
	},
	OpenSent: {
		...(ignored(
			'OpenSent',
			'ManualStart',
			'AutomaticStart',
			'Tcp_CR_Acked',
			'TcpConnectionConfirmed',
			'IdleHoldTimer_Expires',
			'SettleTimer_Expires',
		) as Record<EventName, string>),
		ManualStop: stopped('attemptFailed', '6/2'),
		AutomaticStop: fails('stopped', '6/8'),
		ConnectRetryTimer_Expires: fails('sent', '5/1'),
		HoldTimer_Expires: fails('sent', '4/0'),
		SendHoldTimer_Expires: fails('sent', '8/0'),
		KeepaliveTimer_Expires: fails('sent', '5/1'),
		TcpConnectionFails: 'Active, stopTimers, attemptFailed tcp, dropConnection, connectRetry=3',
		BGPOpen: 'OpenConfirm, stopTimers, sendKeepalive, keepalive=30, hold=90',
		BGPHeaderErr: fails('sent', '1/1'),
		BGPOpenMsgErr: fails('sent', '2/2'),
		OpenCollisionDump: fails('sent', '6/7'),
		NotifMsgVerErr: fails('received'),
		NotifMsg: fails('received'),
		KeepAliveMsg: fails('sent', '5/1 [4]'),
		UpdateMsg: fails('sent', '5/1 [2]'),
		UpdateMsgErr: fails('sent', '5/1 [2]'),
		RouteRefreshMsg: fails('sent', '5/1 [5]'),
	},
	OpenConfirm: {
		...(ignored(
			'OpenConfirm',
			'ManualStart',
			'AutomaticStart',
			'Tcp_CR_Acked',
			'TcpConnectionConfirmed',
			'IdleHoldTimer_Expires',
			'SettleTimer_Expires',
		) as Record<EventName, string>),
		ManualStop: stopped('attemptFailed', '6/2'),
		AutomaticStop: fails('stopped', '6/8'),
		ConnectRetryTimer_Expires: fails('sent', '5/2'),
		HoldTimer_Expires: fails('sent', '4/0'),
		SendHoldTimer_Expires: fails('sent', '8/0'),
		KeepaliveTimer_Expires: 'OpenConfirm, sendKeepalive, keepalive=30',
		TcpConnectionFails: fails('tcp'),
		BGPOpen: fails('sent', '5/2 [1]'),
		BGPHeaderErr: fails('sent', '1/1'),
		BGPOpenMsgErr: fails('sent', '2/2'),
		OpenCollisionDump: fails('sent', '6/7'),
		NotifMsgVerErr: fails('received'),
		NotifMsg: fails('received'),
		KeepAliveMsg: 'Established, hold=90, settle=5, sessionUp',
		UpdateMsg: fails('sent', '5/2 [2]'),
		UpdateMsgErr: fails('sent', '5/2 [2]'),
		RouteRefreshMsg: fails('sent', '5/2 [5]'),
	},
	Established: {
		...(ignored(
			'Established',
			'ManualStart',
			'AutomaticStart',
			'Tcp_CR_Acked',
			'TcpConnectionConfirmed',
			'IdleHoldTimer_Expires',
			'SettleTimer_Expires',
		) as Record<EventName, string>),
		ManualStop: stopped('sessionDown', '6/2'),
		AutomaticStop: ends('stopped', '6/8'),
		ConnectRetryTimer_Expires: ends('sent', '5/3'),
		HoldTimer_Expires: ends('sent', '4/0'),
		SendHoldTimer_Expires: ends('sent', '8/0'),
		KeepaliveTimer_Expires: 'Established, sendKeepalive, keepalive=30',
		TcpConnectionFails: ends('tcp'),
		BGPOpen: ends('sent', '5/3 [1]'),
		BGPHeaderErr: ends('sent', '1/1'),
		BGPOpenMsgErr: ends('sent', '5/3 [1]'),
		OpenCollisionDump: ends('sent', '6/7'),
		NotifMsgVerErr: ends('received'),
		NotifMsg: ends('received'),
		KeepAliveMsg: 'Established, hold=90',
		UpdateMsg: 'Established, hold=90, deliverUpdate',
		UpdateMsgErr: ends('sent', '3/1'),
		RouteRefreshMsg: 'Established, hold=90, deliverRouteRefresh',
	},
};

describe('state machine of one connection (RFC 4271 §8.2.2)', () => {
	for (const [state, row] of Object.entries(table) as [FsmState, Record<EventName, string>][]) {
		for (const [event, expected] of Object.entries(row) as [EventName, string][]) {
			it(`${state}: ${event}`, () => assert.equal(run(state, event), expected));
		}
	}

	it('counts failures, doubles the idle hold up to its limit, and forgets them when a session lasts', () => {
		let fsm = idle;
		const holds: number[] = [];
		for (let i = 0; i < 9; i++) {
			fsm = step({ ...fsm, state: 'OpenSent' }, events.BGPOpenMsgErr, config).fsm;
			const { actions } = step({ ...fsm, state: 'OpenSent' }, events.BGPOpenMsgErr, config);
			const timer = actions.find((a) => a.type === 'startTimer');
			assert.ok(timer?.type === 'startTimer' && timer.timer === 'idleHold' && timer.jitter);
			holds.push(timer.seconds);
		}
		assert.deepEqual(holds, [2, 4, 8, 16, 32, 60, 60, 60, 60]);
		const { fsm: settled } = step({ ...fsm, state: 'Established', negotiated }, events.SettleTimer_Expires, config);
		assert.equal(settled.connectRetryCounter, 0);
	});

	it('keeps dialling a peer that does not answer once a second, later less often, never less than every 5 s', () => {
		let fsm: Fsm = { ...idle, state: 'Connect' };
		const holds = new Set<number>();
		for (let i = 0; i < 500; i++) {
			const failed = step({ ...fsm, state: 'Connect' }, events.TcpConnectionFails, config);
			fsm = failed.fsm;
			for (const action of failed.actions) if (action.type === 'startTimer') holds.add(action.seconds);
		}
		assert.deepEqual([...holds], [1, 2, 3, 4, 5]);
	});

	it('does not count a lost collision or a peer that does not know us yet as a failure', () => {
		for (const subcode of [5, 7]) {
			const { fsm } = step(at('OpenSent'), { type: 'NotifMsg', notification: notification(6, subcode) }, config);
			assert.equal(fsm.connectRetryCounter, 0);
		}
		assert.equal(step(at('OpenConfirm'), events.OpenCollisionDump, config).fsm.connectRetryCounter, 0);
	});

	it('listens only where it is passive', () => {
		const passive = { ...config, passive: true };
		const { fsm, actions } = step(idle, events.ManualStart, passive);
		assert.equal(fsm.state, 'Active');
		assert.deepEqual(actions.map(word), ['stopTimers']);
		assert.deepEqual(step(fsm, events.ConnectRetryTimer_Expires, passive).actions, []);
	});

	it('runs without hold and keepalive timers when a hold time of 0 is agreed', () => {
		const none = { ...negotiated, holdTime: 0, keepaliveTime: 0 };
		const { fsm, actions } = step(at('OpenSent'), { type: 'BGPOpen', negotiated: none }, config);
		assert.deepEqual(actions.map(word), ['stopTimers', 'sendKeepalive']);
		assert.deepEqual(step(fsm, events.KeepAliveMsg, config).actions.map(word), ['settle=5', 'sessionUp']);
	});
});
