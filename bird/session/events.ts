import type { RouteRefreshMessage, UpdateMessage } from 'bgp-js-lite';
import type { Notification } from './notification.ts';
import type { Negotiated } from './open.ts';

/** What goes into the state machine and what comes out of it (RFC 4271 §8.1); names are the RFC's. */

export type FsmState = 'Idle' | 'Connect' | 'Active' | 'OpenSent' | 'OpenConfirm' | 'Established';

export type Fsm = {
	readonly state: FsmState;
	/** Failures since the peer last held a session; grows the idle hold (RFC 4271 §8.1.1). */
	readonly connectRetryCounter: number;
	/** Dials without an answer since one had one. */
	readonly dialFailures: number;
	/** From OpenConfirm on. */
	readonly negotiated?: Negotiated;
};

export type FsmConfig = {
	/** PassiveTcpEstablishment: listens only. */
	readonly passive: boolean;
	/** Seconds a dial may take, and between dials in Active. */
	readonly connectRetryTime: number;
	/** Seconds a peer has for its OPEN (RFC 4271 suggests 4 minutes: too long to sit on a half-open connection). */
	readonly openTime: number;
	/** Seconds of quiet after a failure: first and longest. */
	readonly idleHoldTime: { readonly first: number; readonly longest: number };
	/** Seconds after which an established session counts as stable. */
	readonly settleTime: number;
};

export type Event =
	| { readonly type: 'ManualStart' }
	| { readonly type: 'AutomaticStart' }
	| { readonly type: 'ManualStop'; readonly notification?: Notification; readonly reason: string }
	| { readonly type: 'AutomaticStop'; readonly notification?: Notification; readonly reason: string }
	| { readonly type: 'ConnectRetryTimer_Expires' }
	| { readonly type: 'HoldTimer_Expires' }
	| { readonly type: 'KeepaliveTimer_Expires' }
	| { readonly type: 'IdleHoldTimer_Expires' }
	/** RFC 9687: the peer has not taken what we sent for so long. */
	| { readonly type: 'SendHoldTimer_Expires' }
	/** The session has lasted: earlier failures are forgotten. Not an event of the RFC. */
	| { readonly type: 'SettleTimer_Expires' }
	| { readonly type: 'Tcp_CR_Acked' }
	| { readonly type: 'TcpConnectionConfirmed' }
	| { readonly type: 'TcpConnectionFails'; readonly reason: string }
	| { readonly type: 'BGPOpen'; readonly negotiated: Negotiated }
	| { readonly type: 'BGPHeaderErr'; readonly notification: Notification; readonly reason: string }
	| { readonly type: 'BGPOpenMsgErr'; readonly notification: Notification; readonly reason: string }
	| { readonly type: 'OpenCollisionDump' }
	| { readonly type: 'NotifMsgVerErr'; readonly notification: Notification }
	| { readonly type: 'NotifMsg'; readonly notification: Notification }
	| { readonly type: 'KeepAliveMsg' }
	| { readonly type: 'UpdateMsg'; readonly update: UpdateMessage }
	| { readonly type: 'UpdateMsgErr'; readonly notification: Notification; readonly reason: string }
	/** RFC 2918. */
	| { readonly type: 'RouteRefreshMsg'; readonly message: RouteRefreshMessage };

export type TimerName = 'connectRetry' | 'hold' | 'keepalive' | 'idleHold' | 'settle';

/** Why a connection or session ended. */
export type Cause = {
	readonly kind: 'tcp' | 'sent' | 'received' | 'stopped';
	readonly notification?: Notification;
	/** In words, without what `notification` says already. */
	readonly reason: string;
};

export type Action =
	/** Restarts a running one. `jitter`: shorten by up to a quarter (RFC 4271 §10). */
	| { readonly type: 'startTimer'; readonly timer: TimerName; readonly seconds: number; readonly jitter: boolean }
	| { readonly type: 'stopTimer'; readonly timer: TimerName }
	| { readonly type: 'stopTimers' }
	| { readonly type: 'connect' }
	| { readonly type: 'sendOpen' }
	| { readonly type: 'sendKeepalive' }
	| { readonly type: 'sendNotification'; readonly notification: Notification }
	/** Closes the TCP connection or ends the dial, if there is one. */
	| { readonly type: 'dropConnection' }
	| { readonly type: 'sessionUp'; readonly negotiated: Negotiated }
	| { readonly type: 'sessionDown'; readonly negotiated: Negotiated; readonly cause: Cause }
	/** A connection ended before there was a session. */
	| { readonly type: 'attemptFailed'; readonly cause: Cause }
	| { readonly type: 'deliverUpdate'; readonly update: UpdateMessage }
	| { readonly type: 'deliverRouteRefresh'; readonly message: RouteRefreshMessage };

export type Step = { readonly fsm: Fsm; readonly actions: readonly Action[] };
