import type { Timer, Timers } from '../timers.ts';
import { type ControlPacket, decodeControl, encodeControl } from './packet.ts';
import { looksDifferent, reportOf, type SessionReport } from './report.ts';
import {
	administrativelyDown,
	configure,
	deadline,
	expire,
	newSession,
	receive,
	remoteDetectionTime,
	type Session,
	type Step,
} from './session.ts';
import { type BfdSockets, type Listener, MULTIHOP_PORT, type Sender, SINGLE_HOP_PORT } from './sockets.ts';
import type { BfdSessionOptions, BfdStateChange } from './types.ts';

/**
 * All BFD sessions on their sockets and timers: finds the session of a packet (RFC 5880 §6.8.6, RFC 5881 §3), runs it and
 * tells of what changed. Runs in a thread of its own (worker.ts).
 */

/** Counted in shared memory, so that counting costs no message. */
export const COUNTER = { sent: 0, received: 1, refused: 2 } as const;
export type Counters = Int32Array;
export const COUNTERS = 3;

export type EngineHandlers = {
	/** A state change has its report before it. */
	readonly report: (report: SessionReport) => void;
	readonly changed: (change: BfdStateChange) => void;
};

export type EnginePorts = { readonly sockets: BfdSockets; readonly timers: Timers; readonly wallClock: () => Date };

export type Engine = {
	/** Known by its `peer` already: other intervals are negotiated, anything else starts it anew. */
	readonly add: (options: BfdSessionOptions, counters: Counters) => void;
	/** The peer is told that it is on purpose (AdminDown). */
	readonly remove: (peer: string) => void;
	/** With `adminDown` every peer is told so; `done` when that is out. */
	readonly stop: (how: { readonly adminDown: boolean }, done: () => void) => void;
};

type Shared = { readonly listener: Listener; readonly sessions: Map<string, Live> };

type Live = {
	readonly options: BfdSessionOptions;
	readonly counters: Counters;
	session: Session;
	since: Date;
	lastError: string;
	/** Undefined while sockets cannot be opened. */
	sockets: { readonly sender: Sender; readonly shared: Shared; readonly key: string } | undefined;
	timer: Timer | undefined;
	/** Sending failed: perhaps for an interface that is another one by now. */
	broken: boolean;
	/** AdminDown was told; forgotten soon. */
	leaving: boolean;
};

const REOPEN_MS = 2_000;
/** AdminDown is told so often, in case a packet is lost: nobody will be here to tell it again. */
const FAREWELLS = 3;
const FAREWELL_MS = 20;
/** Rounds of the event loop that a detection waits for packets unread after a pause of this thread. */
const CATCH_UP_ROUNDS = 1_000;

const portOf = (options: BfdSessionOptions): number => (options.multihop ? MULTIHOP_PORT : SINGLE_HOP_PORT);
const minimumTtlOf = (options: BfdSessionOptions): number => (options.multihop ? options.profile.minimumTtl : 255);
const endpointOf = (options: BfdSessionOptions) => ({
	localAddress: options.localAddress,
	...(options.interface !== undefined && { interface: options.interface }),
});
const keyOf = (options: BfdSessionOptions): string =>
	`${portOf(options)} ${options.localAddress} ${options.interface ?? ''}`;

/** Whether a session goes on with other options, by negotiation alone. */
const sameSession = (a: BfdSessionOptions, b: BfdSessionOptions): boolean =>
	keyOf(a) === keyOf(b) && a.address === b.address && a.profile.passive === b.profile.passive;

export const createEngine = ({ sockets, timers, wallClock }: EnginePorts, handlers: EngineHandlers): Engine => {
	const lives = new Map<string, Live>();
	const byDiscriminator = new Map<number, Live>();
	const listeners = new Map<string, Shared>();
	/** Packets read so far, of whatever session: tells whether there may be more to read. */
	let read = 0;

	const report = (live: Live): void => {
		const { session, options } = live;
		if (live.leaving) return;
		handlers.report(reportOf(options, session, live.since, live.lastError));
	};

	const fail = (live: Live, error: string): void => {
		if (live.lastError === error) return;
		live.lastError = error;
		report(live);
	};

	const send = (live: Live, packets: readonly ControlPacket[]): void => {
		if (live.sockets === undefined) return;
		for (const packet of packets) {
			live.counters[COUNTER.sent] = (live.counters[COUNTER.sent] ?? 0) + 1;
			live.sockets.sender.send(encodeControl(packet), (reason) => {
				live.broken = true;
				if (live.session.state !== 'Up') fail(live, `cannot send to ${live.options.address}: ${reason}`);
			});
		}
	};

	const arm = (live: Live): void => {
		// Without sockets its timer is the one that tries them again.
		if (live.sockets === undefined) return;
		live.timer?.cancel();
		const due = deadline(live.session);
		live.timer = due === undefined ? undefined : timers.start(Math.max(0, due - timers.now()), () => tick(live));
	};

	const apply = (live: Live, { session, send: packets }: Step): void => {
		const before = live.session;
		live.session = session;
		send(live, packets);
		if (deadline(before) !== deadline(session) || live.timer === undefined) arm(live);
		if (before.state !== session.state) {
			live.since = wallClock();
			live.lastError = session.state === 'Up' ? '' : session.state === 'Init' ? live.lastError : session.reason;
		}
		if (looksDifferent(before, session)) report(live);
		if (before.state !== session.state && !live.leaving) {
			handlers.changed({
				peer: live.options.peer,
				state: session.state,
				previous: before.state,
				reason: session.reason,
				remoteAdminDown: session.remoteState === 'AdminDown',
				remoteControlPlaneIndependent: session.remoteControlPlaneIndependent,
			});
		}
	};

	const gone = (live: Live): boolean => live.sockets === undefined;

	const tick = (live: Live): void => {
		live.timer = undefined;
		if (live.broken && live.session.state === 'Down' && !live.leaving) reopen(live);
		if (live.sockets === undefined) return;
		const now = timers.now();
		const { detectAt, state } = live.session;
		const dead = detectAt !== undefined && detectAt <= now && (state === 'Up' || state === 'Init');
		if (dead) catchUp(live, CATCH_UP_ROUNDS);
		else apply(live, expire(live.session, now, timers.random));
	};

	/** After a pause of this thread (or of the machine) the peer's packets may lie unread: they are read first. */
	const catchUp = (live: Live, rounds: number): void => {
		const before = read;
		timers.soon(() => {
			if (gone(live)) return;
			const { detectAt } = live.session;
			const now = timers.now();
			if (detectAt !== undefined && detectAt <= now && read !== before && rounds > 0) catchUp(live, rounds - 1);
			else apply(live, expire(live.session, now, timers.random));
		});
	};

	const received = (shared: Shared, bytes: Uint8Array, source: string): void => {
		read++;
		const here = shared.sessions.get(source);
		const decoded = decodeControl(bytes);
		const live =
			decoded.ok && decoded.packet.yourDiscriminator !== 0
				? byDiscriminator.get(decoded.packet.yourDiscriminator)
				: here;
		if (!decoded.ok || live === undefined || live !== here) {
			// Counted for who seems to have sent it; a stranger has no counter.
			if (here !== undefined) here.counters[COUNTER.refused] = (here.counters[COUNTER.refused] ?? 0) + 1;
			return;
		}
		live.counters[COUNTER.received] = (live.counters[COUNTER.received] ?? 0) + 1;
		apply(live, receive(live.session, decoded.packet, timers.now(), timers.random));
	};

	const listen = (live: Live): Shared | string => {
		const { options } = live;
		const key = keyOf(options);
		let shared = listeners.get(key);
		if (shared === undefined) {
			const opened = sockets.listen({ ...endpointOf(options), port: portOf(options) }, (bytes, source) => {
				const current = listeners.get(key);
				if (current !== undefined) received(current, bytes, source);
			});
			if (!opened.ok) return opened.error;
			shared = { listener: opened.socket, sessions: new Map() };
			listeners.set(key, shared);
		}
		const other = shared.sessions.get(options.address);
		if (other?.leaving) forget(other);
		else if (other !== undefined) return `${other.options.peer} has a BFD session with ${options.address} already`;
		// Forgetting the last session closes its listener.
		if (!listeners.has(key)) return listen(live);
		shared.sessions.set(options.address, live);
		allow(shared);
		return shared;
	};

	const allow = ({ listener, sessions }: Shared): void =>
		listener.allow(
			[...sessions.values()].map(({ options }) => ({
				address: options.address,
				minimumTtl: minimumTtlOf(options),
			})),
		);

	const leaveListener = (key: string, address: string): void => {
		const shared = listeners.get(key);
		shared?.sessions.delete(address);
		if (shared?.sessions.size !== 0) return;
		shared.listener.close();
		listeners.delete(key);
	};

	const open = (live: Live): void => {
		const retry = (error: string): void => {
			fail(live, error);
			live.timer = timers.start(REOPEN_MS, () => open(live));
		};
		const { options } = live;
		const shared = listen(live);
		if (typeof shared === 'string') {
			retry(shared);
			return;
		}
		const sender = sockets.sender({ ...endpointOf(options), address: options.address, port: portOf(options) });
		const key = keyOf(options);
		if (!sender.ok) {
			leaveListener(key, options.address);
			retry(sender.error);
			return;
		}
		live.sockets = { sender: sender.socket, shared, key };
		arm(live);
	};

	const reopen = (live: Live): void => {
		live.broken = false;
		close(live);
		open(live);
	};

	const forget = (live: Live): void => {
		live.timer?.cancel();
		byDiscriminator.delete(live.session.localDiscriminator);
		close(live);
	};

	const close = (live: Live): void => {
		if (live.sockets === undefined) return;
		live.sockets.sender.close();
		leaveListener(live.sockets.key, live.options.address);
		live.sockets = undefined;
	};

	/** Tells the peer, a few times; `done` when the last is out. */
	const farewell = (live: Live, done: () => void): void => {
		const step = administrativelyDown(live.session, timers.now(), timers.random);
		live.leaving = true;
		apply(live, step);
		const again = (left: number): void => {
			if (left === 0 || gone(live)) {
				done();
				return;
			}
			timers.start(FAREWELL_MS, () => {
				send(live, step.send);
				again(left - 1);
			});
		};
		again(FAREWELLS - 1);
	};

	const remove = (peer: string): void => {
		const live = lives.get(peer);
		if (live === undefined) return;
		lives.delete(peer);
		const linger = remoteDetectionTime(live.session);
		// Who never heard of us needs no farewell.
		if (live.session.remoteDiscriminator === 0) forget(live);
		else farewell(live, () => timers.start(linger, () => forget(live)));
	};

	const discriminator = (): number => {
		for (;;) {
			const value = 1 + Math.floor(timers.random() * 0xffffffff);
			if (!byDiscriminator.has(value)) return value;
		}
	};

	return {
		add: (options, counters) => {
			const known = lives.get(options.peer);
			if (known !== undefined && sameSession(known.options, options)) {
				const session = configure(known.session, options.profile);
				const live = Object.assign(known, { options });
				apply(live, { session, send: [] });
				if (live.sockets !== undefined) allow(live.sockets.shared);
				report(live);
				return;
			}
			remove(options.peer);
			const live: Live = {
				options,
				counters,
				session: newSession(options.profile, discriminator(), timers.now(), timers.random),
				since: wallClock(),
				lastError: '',
				sockets: undefined,
				timer: undefined,
				broken: false,
				leaving: false,
			};
			lives.set(options.peer, live);
			byDiscriminator.set(live.session.localDiscriminator, live);
			open(live);
			report(live);
		},
		remove,
		stop: ({ adminDown }, done) => {
			const all = [...lives.values()];
			lives.clear();
			let left = all.length;
			const one = (live: Live): void => {
				forget(live);
				if (--left === 0) done();
			};
			if (left === 0) done();
			for (const live of all) {
				if (adminDown && live.session.remoteDiscriminator !== 0) farewell(live, () => one(live));
				else one(live);
			}
		},
	};
};
