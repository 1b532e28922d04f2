import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { defaultFsmConfig, type Event } from '../../bird/session/fsm.ts';
import type { Negotiated } from '../../bird/session/open.ts';
import {
	type ConnectionId,
	fsmOf,
	identifierValue,
	newPeer,
	type Peer,
	type PeerAction,
	type PeerConfig,
	type PeerInput,
	stepPeer,
} from '../../bird/session/peer.ts';

const configOf = (id: string, asNumber = 64512): PeerConfig => ({
	...defaultFsmConfig,
	bgpIdentifier: identifierValue(id),
	asNumber,
});
const agreed = (bgpIdentifier: string, gr = true, peerAS = 64512): Negotiated => ({
	peerAS,
	ibgp: true,
	bgpIdentifier,
	holdTime: 90,
	keepaliveTime: 30,
	families: new Set(['1/1']),
	routeRefresh: true,
	enhancedRouteRefresh: false,
	extendedNextHop: false,
	...(gr && {
		gracefulRestart: {
			restartState: false,
			notification: false,
			restartTime: 120,
			families: new Map([['1/1', true]]),
		},
	}),
	codec: { fourOctetAs: true, ibgp: true, maxMessageLength: 4096 },
});

const play = (peer: Peer, config: PeerConfig, ...inputs: PeerInput[]): { peer: Peer; actions: PeerAction[] } => {
	const actions: PeerAction[] = [];
	let current = peer;
	for (const input of inputs) {
		const next = stepPeer(current, input, config);
		current = next.peer;
		actions.push(...next.actions);
	}
	return { peer: current, actions };
};
const on = (connection: ConnectionId, event: Event): PeerInput => ({ type: 'event', connection, event });
const said = (actions: readonly PeerAction[], id: ConnectionId): string[] =>
	actions.flatMap(({ connection, action }) =>
		connection !== id
			? []
			: action.type === 'sendNotification'
				? [`${action.notification.code}/${action.notification.subcode}`]
				: action.type === 'dropConnection' || action.type === 'sessionUp' || action.type === 'sessionDown'
					? [action.type]
					: [],
	);

const start: PeerInput = { type: 'start' };
const accepted: PeerInput = { type: 'accepted', id: 1 };
const dialled = on('outgoing', { type: 'Tcp_CR_Acked' });
const open = (connection: ConnectionId, id: string, gr = true, peerAS = 64512): PeerInput =>
	on(connection, { type: 'BGPOpen', negotiated: agreed(id, gr, peerAS) });
const alive = (connection: ConnectionId): PeerInput => on(connection, { type: 'KeepAliveMsg' });

describe('two connections to one peer (RFC 4271 §6.8)', () => {
	const low = '192.0.2.1';
	const high = '192.0.2.9';

	it('keeps the connection of the higher identifier when both have their OPEN', () => {
		for (const [own, peer, kept, gone] of [
			[high, low, 'outgoing', 1],
			[low, high, 1, 'outgoing'],
		] as const) {
			for (const order of [
				[kept, gone],
				[gone, kept],
			]) {
				const opens = order.map((id) => open(id, peer));
				const { peer: after, actions } = play(newPeer, configOf(own), start, dialled, accepted, ...opens);
				assert.equal(fsmOf(after, kept)?.state, 'OpenConfirm', `${own} against ${peer}, ${order}`);
				assert.ok(said(actions, gone).includes('6/7'));
				assert.ok(!said(actions, kept).includes('6/7'));
			}
		}
	});

	it('compares AS numbers when the identifiers are the same (RFC 6286 §2.3)', () => {
		const config = configOf(low, 64513);
		const { actions } = play(newPeer, config, start, dialled, accepted, open(1, low), open('outgoing', low));
		assert.deepEqual(said(actions, 1), ['6/7', 'dropConnection']);
	});

	it('holds back what comes on the losing connection until the other has failed, then goes on with it', () => {
		const before = play(newPeer, configOf(high), start, dialled, accepted, open(1, low), alive(1));
		assert.equal(fsmOf(before.peer, 1)?.state, 'OpenSent');
		const after = play(before.peer, configOf(high), on('outgoing', { type: 'TcpConnectionFails', reason: 'reset' }));
		assert.equal(fsmOf(after.peer, 1)?.state, 'Established');
		assert.equal(after.peer.outgoing.state, 'Idle');
	});

	it('ends the dial when the peer was faster, and dials again when that connection ends', () => {
		const config = configOf(high);
		const up = play(newPeer, config, start, accepted, open(1, low), alive(1));
		assert.equal(up.peer.outgoing.state, 'Idle');
		assert.ok(said(up.actions, 'outgoing').includes('dropConnection'));
		const down = play(up.peer, config, on(1, { type: 'TcpConnectionFails', reason: 'reset' }));
		assert.deepEqual(
			down.actions.filter(({ action }) => action.type === 'startTimer' && action.timer === 'idleHold').at(-1)
				?.connection,
			'outgoing',
		);
		const again = play(down.peer, config, on('outgoing', { type: 'IdleHoldTimer_Expires' }));
		assert.equal(again.peer.outgoing.state, 'Connect');
	});

	it('closes a second connection while a session without graceful restart is established', () => {
		const config = configOf(low);
		const up = play(newPeer, config, start, dialled, open('outgoing', high, false), alive('outgoing'), {
			...accepted,
		});
		const { peer, actions } = play(up.peer, config, open(1, high, false));
		assert.deepEqual(said(actions, 1), ['6/7', 'dropConnection']);
		assert.equal(peer.outgoing.state, 'Established');
	});

	it('takes a new session of a peer with graceful restart for its restart, without a NOTIFICATION (RFC 4724 §4.2)', () => {
		const config = configOf(low);
		const up = play(newPeer, config, start, accepted, open(1, high), alive(1), { type: 'accepted', id: 2 });
		const { peer, actions } = play(up.peer, config, open(2, high), alive(2));
		assert.deepEqual(said(actions, 1), ['sessionDown', 'dropConnection']);
		assert.equal(fsmOf(peer, 2)?.state, 'Established');
		assert.equal(fsmOf(peer, 1), undefined);
	});

	it('takes a connection that crossed ours for a collision while the session is young, later for a restart', () => {
		const config = configOf(low);
		const up = play(newPeer, config, start, dialled, open('outgoing', high), alive('outgoing'), accepted);
		assert.deepEqual(said(play(up.peer, config, open(1, high)).actions, 1), ['6/7', 'dropConnection']);
		const later = play(up.peer, config, on('outgoing', { type: 'SettleTimer_Expires' }), open(1, high));
		assert.deepEqual(said(later.actions, 'outgoing'), ['sessionDown', 'dropConnection']);
		assert.equal(fsmOf(later.peer, 1)?.state, 'OpenConfirm');
	});

	it('does not let a connection that says nothing keep the next one out', () => {
		const config = configOf(low);
		const { peer, actions } = play(newPeer, config, start, accepted, { type: 'accepted', id: 2 });
		assert.deepEqual(said(actions, 1), ['6/7', 'dropConnection']);
		assert.equal(fsmOf(peer, 2)?.state, 'OpenSent');
	});

	it('leaves dialling alone when rubbish comes from the address of the peer', () => {
		const config = configOf(low);
		const rubbish = on(1, {
			type: 'BGPHeaderErr',
			notification: { code: 1, subcode: 1, data: new Uint8Array() },
			reason: '',
		});
		const { peer, actions } = play(newPeer, config, start, dialled, accepted, rubbish);
		assert.deepEqual(said(actions, 1), ['1/1', 'dropConnection']);
		assert.equal(peer.outgoing.state, 'OpenSent');
		assert.equal(peer.outgoing.connectRetryCounter, 0);
	});

	it('rejects connections while stopped, and tells every connection when it stops', () => {
		assert.deepEqual(said(play(newPeer, configOf(low), accepted).actions, 1), ['6/5', 'dropConnection']);
		const up = play(newPeer, configOf(low), start, accepted, open(1, high), alive(1));
		const { peer, actions } = play(up.peer, configOf(low), {
			type: 'stop',
			event: { type: 'ManualStop', notification: { code: 6, subcode: 3, data: new Uint8Array() }, reason: 'gone' },
		});
		assert.deepEqual(said(actions, 1), ['6/3', 'sessionDown', 'dropConnection']);
		assert.deepEqual(peer, newPeer);
	});

	/**
	 * Both routers as pure machines, each connection a pair of queues, delivered in any order that keeps each queue's own:
	 * whatever the interleaving, they end with the same one connection, without ever having dropped both.
	 */
	it('two routers that dial each other always end up with one common session (any interleaving)', () => {
		type Side = 'a' | 'b';
		const ids = { a: low, b: high };
		const other = { a: 'b', b: 'a' } as const;
		fc.assert(
			fc.property(fc.infiniteStream(fc.nat()), (choices) => {
				const peers = { a: newPeer, b: newPeer };
				const configs = { a: configOf(low), b: configOf(high) };
				/** What is on its way to a side on the connection dialled by `by`; 'closed' ends it. */
				const queues = new Map<string, (PeerInput | 'closed')[]>();
				const idOn = (side: Side, by: Side): ConnectionId => (side === by ? 'outgoing' : 1);
				const queue = (to: Side, by: Side): (PeerInput | 'closed')[] => {
					const key = `${to}${by}`;
					const found = queues.get(key) ?? [];
					queues.set(key, found);
					return found;
				};
				let lost = 0;
				const feed = (side: Side, input: PeerInput): void => {
					const { peer, actions } = stepPeer(peers[side], input, configs[side]);
					peers[side] = peer;
					for (const { connection, action } of actions) {
						const by = connection === 'outgoing' ? side : other[side];
						const remote = other[side];
						const message = (event: Event): void => {
							queue(remote, by).push(on(idOn(remote, by), event));
						};
						if (action.type === 'connect') {
							queue(remote, by).push({ type: 'accepted', id: 1 });
							queue(side, by).push(on('outgoing', { type: 'Tcp_CR_Acked' }));
						} else if (action.type === 'sendOpen') {
							message({ type: 'BGPOpen', negotiated: agreed(ids[side]) });
						} else if (action.type === 'sendKeepalive') {
							message({ type: 'KeepAliveMsg' });
						} else if (action.type === 'sendNotification') {
							message({ type: 'NotifMsg', notification: action.notification });
						} else if (action.type === 'dropConnection') {
							queue(remote, by).push('closed');
							queue(side, by).length = 0;
						} else if (action.type === 'sessionDown') {
							lost++;
						}
					}
				};
				feed('a', start);
				feed('b', start);
				for (const choice of choices) {
					const ready = [...queues].filter(([, messages]) => messages.length > 0);
					const picked = ready[choice % Math.max(1, ready.length)];
					if (picked === undefined) break;
					const [key, messages] = picked;
					const [side, by] = key.split('') as [Side, Side];
					const message = messages.shift();
					if (message === undefined) continue;
					if (message !== 'closed') feed(side, message);
					else if (fsmOf(peers[side], idOn(side, by)) !== undefined) {
						feed(side, on(idOn(side, by), { type: 'TcpConnectionFails', reason: 'closed' }));
					}
				}
				const established = (side: Side): string[] =>
					(['a', 'b'] as const).filter((by) => fsmOf(peers[side], idOn(side, by))?.state === 'Established');
				assert.equal(lost, 0);
				assert.equal(established('a').length, 1);
				assert.deepEqual(established('a'), established('b'));
			}),
			{ numRuns: 2000 },
		);
	});
});
