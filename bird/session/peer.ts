import { CEASE, ERROR_CODE, FSM_ERROR, MESSAGE_TYPE } from 'bgp-js-lite';
import { type Event, type Fsm, type Action as FsmAction, type FsmConfig, idle, idleHoldSeconds, step } from './fsm.ts';
import { cease, notification } from './notification.ts';

/**
 * One peer: the machine that dials and a machine for each connection the peer opened, and who survives when there are
 * two (connection collision, RFC 4271 §6.8, RFC 6286 §2.3). Pure, as fsm.ts.
 *
 * The connection opened by the router with the higher BGP identifier is kept. Two things beyond the RFC's text:
 * - An OPEN on the connection that is going to lose is held back while the winner's has not come, so that neither side
 *   gets to Established on one connection while the other side drops it for the other.
 * - A new connection with a valid OPEN while a session with graceful restart looks Established means the peer restarted
 *   (RFC 4724 §4.2). The RFC replaces the session when TCP connects; we wait for the OPEN, so that a stray connect does
 *   not end a session, and while the session is young take it for the other half of two crossed dials.
 */

export type ConnectionId = 'outgoing' | number;

type Incoming = { readonly id: number; readonly fsm: Fsm };

export type Peer = {
	readonly started: boolean;
	readonly outgoing: Fsm;
	readonly incoming: readonly Incoming[];
	/** Whether the Established session has lasted for the settle time. */
	readonly settled: boolean;
	/** The dialling machine rests while a connection the peer opened has its OPEN. */
	readonly parked: boolean;
	/** What came on the connection that waits for a collision to be decided, its OPEN first. */
	readonly held?: { readonly connection: ConnectionId; readonly events: readonly Event[] };
};

export type PeerConfig = FsmConfig & {
	/** Unsigned 32-bit value of our BGP identifier, and our AS for the tie of RFC 6286. */
	readonly bgpIdentifier: number;
	readonly asNumber: number;
};

export type PeerInput =
	| { readonly type: 'start' }
	/** `event` goes to every connection: ManualStop, or TcpConnectionFails to leave without a word. */
	| { readonly type: 'stop'; readonly event: Event }
	| { readonly type: 'accepted'; readonly id: number }
	| { readonly type: 'event'; readonly connection: ConnectionId; readonly event: Event };

export type PeerAction = { readonly connection: ConnectionId; readonly action: FsmAction };
export type PeerStep = { readonly peer: Peer; readonly actions: readonly PeerAction[] };

export const newPeer: Peer = { started: false, outgoing: idle, incoming: [], settled: false, parked: false };

export const fsmOf = (peer: Peer, id: ConnectionId): Fsm | undefined =>
	id === 'outgoing' ? peer.outgoing : peer.incoming.find((c) => c.id === id)?.fsm;

const idsOf = (peer: Peer): ConnectionId[] => ['outgoing', ...peer.incoming.map((c) => c.id)];

const rank = { Idle: 0, Active: 1, Connect: 2, OpenSent: 3, OpenConfirm: 4, Established: 5 } as const;

/** The machine that is furthest: what a person means by the state of the peer. */
export const foremost = (peer: Peer): Fsm =>
	peer.incoming.reduce((best, { fsm }) => (rank[fsm.state] > rank[best.state] ? fsm : best), peer.outgoing);

/** Unsigned value of a dotted quad. */
export const identifierValue = (dottedQuad: string): number =>
	dottedQuad.split('.').reduce((value, octet) => value * 256 + Number(octet), 0);

type Draft = { peer: Peer; readonly actions: PeerAction[] };

const put = (draft: Draft, id: ConnectionId, fsm: Fsm): void => {
	draft.peer =
		id === 'outgoing'
			? { ...draft.peer, outgoing: fsm }
			: { ...draft.peer, incoming: draft.peer.incoming.map((c) => (c.id === id ? { id, fsm } : c)) };
};

const feed = (draft: Draft, id: ConnectionId, event: Event, config: PeerConfig): void => {
	const before = fsmOf(draft.peer, id);
	if (before === undefined) return;
	const { fsm, actions } = step(before, event, config);
	put(draft, id, fsm);
	for (const action of actions) draft.actions.push({ connection: id, action });
	if (before.state !== 'Established' && fsm.state === 'Established') draft.peer = { ...draft.peer, settled: false };
	if (event.type === 'SettleTimer_Expires') draft.peer = { ...draft.peer, settled: true };
};

const hold = (draft: Draft, connection: ConnectionId, event: Event): void => {
	const events = draft.peer.held?.connection === connection ? draft.peer.held.events : [];
	draft.peer = { ...draft.peer, held: { connection, events: [...events, event] } };
};

const dump = (draft: Draft, id: ConnectionId, config: PeerConfig): void =>
	feed(draft, id, { type: 'OpenCollisionDump' }, config);

/** Whether the connections we opened win over those the peer opened. */
const weWin = (open: Event & { readonly type: 'BGPOpen' }, config: PeerConfig): boolean => {
	const theirs = identifierValue(open.negotiated.bgpIdentifier);
	return config.bgpIdentifier === theirs ? config.asNumber > open.negotiated.peerAS : config.bgpIdentifier > theirs;
};

/** A valid OPEN came on `id`: decides against every other connection that has got as far. */
const opened = (
	draft: Draft,
	id: ConnectionId,
	event: Event & { readonly type: 'BGPOpen' },
	config: PeerConfig,
): void => {
	const outgoing = id === 'outgoing';
	for (const otherId of idsOf(draft.peer)) {
		const other = otherId === id ? undefined : fsmOf(draft.peer, otherId);
		if (other === undefined || rank[other.state] < rank.OpenSent) continue;
		const crossed = outgoing !== (otherId === 'outgoing');
		if (other.state === 'Established') {
			if (other.negotiated?.gracefulRestart?.families.size && (!crossed || draft.peer.settled)) {
				feed(
					draft,
					otherId,
					{ type: 'TcpConnectionFails', reason: 'the peer restarted: it opened a new session' },
					config,
				);
				continue;
			}
			dump(draft, id, config);
			return;
		}
		// Two connections from the same side: the older one is a leftover.
		if (!crossed || weWin(event, config) === outgoing) {
			dump(draft, otherId, config);
			continue;
		}
		if (other.state === 'OpenSent') hold(draft, id, event);
		else dump(draft, id, config);
		return;
	}
	feed(draft, id, event, config);
	// One session is enough: the dial ends (it starts again when this connection does not last).
	if (!outgoing && rank[draft.peer.outgoing.state] < rank.OpenSent) {
		feed(draft, 'outgoing', { type: 'ManualStop', reason: 'the peer has connected to us' }, config);
	}
};

/** Forgets connections that ended, goes on with what was held for one of them, and lets the dialling machine run again. */
const settle = (draft: Draft, config: PeerConfig): void => {
	const { held } = draft.peer;
	const ended = draft.peer.incoming.filter(({ fsm }) => rank[fsm.state] < rank.OpenSent);
	if (ended.length > 0) {
		for (const { id } of ended) draft.actions.push({ connection: id, action: { type: 'stopTimers' } });
		draft.peer = {
			...draft.peer,
			incoming: draft.peer.incoming.filter((c) => !ended.includes(c)),
		};
	}
	if (held !== undefined) {
		const waiting = idsOf(draft.peer).some(
			(id) => id !== held.connection && fsmOf(draft.peer, id)?.state === 'OpenSent',
		);
		if (fsmOf(draft.peer, held.connection)?.state !== 'OpenSent') {
			const { held: _, ...rest } = draft.peer;
			draft.peer = rest;
		} else if (!waiting) {
			const { held: _, ...rest } = draft.peer;
			draft.peer = rest;
			for (const event of held.events) receive(draft, held.connection, event, config);
			settle(draft, config);
			return;
		}
	}
	const alive = draft.peer.incoming.some(({ fsm }) => rank[fsm.state] >= rank.OpenConfirm);
	const { outgoing, parked } = draft.peer;
	if (alive && !parked && outgoing.state === 'Idle') {
		draft.peer = { ...draft.peer, parked: true };
		draft.actions.push({ connection: 'outgoing', action: { type: 'stopTimers' } });
	} else if (!alive && parked) {
		const counters = ended.map(({ fsm }) => fsm.connectRetryCounter);
		const resumed = { ...outgoing, connectRetryCounter: Math.max(0, ...counters) };
		draft.peer = { ...draft.peer, parked: false, outgoing: resumed };
		draft.actions.push({
			connection: 'outgoing',
			action: { type: 'startTimer', timer: 'idleHold', seconds: idleHoldSeconds(resumed, config), jitter: true },
		});
	}
};

/** Messages of a connection that waits for a collision to be decided. */
const HELD_MAX = 16;
const secondOpen: Event = {
	type: 'BGPHeaderErr',
	notification: notification(ERROR_CODE.fsm, FSM_ERROR.inOpenSent, Uint8Array.of(MESSAGE_TYPE.OPEN)),
	reason: 'a second OPEN came',
};

const receive = (draft: Draft, id: ConnectionId, event: Event, config: PeerConfig): void => {
	const { held } = draft.peer;
	// Without our KEEPALIVE the peer has nothing to say but its own: what else comes breaks the protocol, and is not kept.
	const patience = event.type === 'KeepAliveMsg' && (held?.events.length ?? 0) < HELD_MAX;
	if (held?.connection === id && patience) hold(draft, id, event);
	else if (held?.connection === id && event.type === 'BGPOpen') feed(draft, id, secondOpen, config);
	else if (event.type === 'BGPOpen' && fsmOf(draft.peer, id)?.state === 'OpenSent') opened(draft, id, event, config);
	else feed(draft, id, event, config);
};

const accept = (draft: Draft, id: number, config: PeerConfig): void => {
	if (!draft.peer.started) {
		draft.actions.push(
			{
				connection: id,
				action: { type: 'sendNotification', notification: cease(CEASE.connectionRejected) },
			},
			{ connection: id, action: { type: 'dropConnection' } },
		);
		return;
	}
	// Of connections that have not said a word the newest stays: an abandoned one must not keep the peer out.
	for (const other of draft.peer.incoming) {
		if (other.fsm.state === 'OpenSent' && draft.peer.held?.connection !== other.id) dump(draft, other.id, config);
	}
	const { connectRetryCounter } = draft.peer.outgoing;
	const fsm: Fsm = { ...idle, state: 'Active', connectRetryCounter };
	draft.peer = { ...draft.peer, incoming: [...draft.peer.incoming, { id, fsm }] };
	feed(draft, id, { type: 'TcpConnectionConfirmed' }, config);
};

/** One thing that happened to a peer. `actions` are to be taken in order. */
export const stepPeer = (peer: Peer, input: PeerInput, config: PeerConfig): PeerStep => {
	const draft: Draft = { peer, actions: [] };
	switch (input.type) {
		case 'start':
			draft.peer = { ...peer, started: true };
			feed(draft, 'outgoing', { type: 'ManualStart' }, config);
			break;
		case 'stop':
			for (const id of idsOf(peer)) {
				feed(draft, id, input.event, config);
				draft.actions.push({ connection: id, action: { type: 'stopTimers' } });
			}
			return { peer: newPeer, actions: draft.actions };
		case 'accepted':
			accept(draft, input.id, config);
			break;
		case 'event':
			receive(draft, input.connection, input.event, config);
			break;
	}
	settle(draft, config);
	return { peer: draft.peer, actions: draft.actions };
};
