import { CEASE, hardReset } from 'bgp-js-lite';
import type { Logger } from '../src/logging.ts';
import { hostCidr } from '../src/net/ip.ts';
import type { PeerConfig, SpeakerConfig } from './config.ts';
import type { Fib } from './fib/types.ts';
import { createPeerSession, minimumTtlOf, type PeerSession, type PeerSessionStatus } from './peer-session.ts';
import type { Rib } from './rib/types.ts';
import { complete, selectable } from './session/convergence.ts';
import type { Event, FsmConfig } from './session/fsm.ts';
import { cease } from './session/notification.ts';
import { createStrangers } from './strangers.ts';
import type { Timer, Timers } from './timers.ts';
import type { Connection, Listener, Protection, Transport } from './transport/transport.ts';

/**
 * All peers of one BGP speaker, between RIB and FIB. Work is coalesced: whatever changed, one pass soon after moves next
 * hops to the resolver, decisions to the kernel and UPDATEs to the peers.
 *
 * As restarting speaker (RFC 4724 §4.1): our own prefixes are announced at once, since nothing about them waits for others;
 * routes of others and the End-of-RIB to peers that get them wait until all peers have told us theirs; what the kernel
 * keeps from the last run stays until then, or until the longest restart time has passed.
 */

export type SpeakerStatus = {
	readonly asNumber: number;
	readonly routerId: string;
	/** Everybody's routes are known, or were waited for long enough. */
	readonly converged: boolean;
	/** Started with routes of an earlier run in the kernel, and not yet converged. */
	readonly restarting: boolean;
	/** Listening sockets that could not be opened, with the reason. */
	readonly listenErrors: readonly string[];
	readonly sessions: readonly PeerSessionStatus[];
};

export type SpeakerFib = Pick<Fib, 'update' | 'converged' | 'watchNextHops' | 'felixHolds' | 'onFelixChange'>;

export type SpeakerOptions = {
	readonly config: SpeakerConfig;
	readonly rib: Rib;
	/** Started. */
	readonly fib: SpeakerFib;
	readonly log: Logger;
	readonly timers: Timers;
	readonly transport: Transport;
	/** Asked at start: the kernel still has routes of an earlier run, forwarding went on (RFC 4724, R bit). */
	readonly restarting: () => boolean;
	/** For tests. */
	readonly fsm?: Partial<FsmConfig>;
};

export type Speaker = {
	readonly start: () => void;
	/** AS number, router ID and maximum paths must be the same: those need another speaker. */
	readonly update: (config: SpeakerConfig) => void;
	readonly status: () => SpeakerStatus;
	/** Does at once what was left for later. */
	readonly flush: () => void;
	/**
	 * Graceful: closes connections without a NOTIFICATION, so that peers keep our routes (a Cease would defeat graceful
	 * restart). Otherwise peers are told that we are gone for good.
	 */
	readonly stop: (how: { readonly graceful: boolean }) => Promise<void>;
};

/** A prefix whose blackhole is gone from the kernel is still announced for so long: felix puts it back in less. */
const WITHDRAW_DELAY_MS = 10_000;

const same = (a: unknown, b: unknown): boolean => JSON.stringify(a) === JSON.stringify(b);
/** Another peer, under the same name. */
const replaced = (a: PeerConfig, b: PeerConfig): boolean => a.address !== b.address || a.asNumber !== b.asNumber;
/** What only a new connection can change. */
const session = ({ exportLearnt: _, routeReflectorClient: _c, ...rest }: PeerConfig): object => rest;

/** What listening sockets must know of the peers, since it holds from the first segment on. */
const protectionsOf = ({ peers }: SpeakerConfig): Protection[] =>
	peers
		.filter(({ password, ttlSecurity }) => password !== undefined || ttlSecurity !== undefined)
		.map(({ address, password, ttlSecurity }) => ({
			prefix: hostCidr(address),
			...(password !== undefined && { password }),
			...(ttlSecurity !== undefined && { minimumTtl: minimumTtlOf(ttlSecurity) }),
		}));

export const createSpeaker = (options: SpeakerOptions): Speaker => {
	const { rib, fib, log, timers, transport } = options;
	const peers = new Map<string, PeerSession>();
	const listeners = new Map<string, Listener>();
	const listenErrors = new Map<string, string>();
	const reject = createStrangers(log, timers);
	/** Announced prefixes whose blackhole the kernel lost, and when they are withdrawn for it. */
	const leaving = new Map<string, Timer>();
	let announced: ReadonlySet<string> = new Set();
	let config = options.config;
	let running = false;
	let scheduled = false;
	let restarting = false;
	let deferring = false;
	let converged = false;
	let deferral: Timer | undefined;
	let watched: ReadonlySet<string> | undefined;
	let stopFelix = (): void => {};

	const schedule = (): void => {
		if (scheduled || !running) return;
		scheduled = true;
		timers.soon(() => {
			scheduled = false;
			if (running) pass();
		});
	};

	const resolve = (): void => {
		const nextHops = rib.nextHops();
		if (nextHops === watched) return;
		watched = nextHops;
		fib.watchNextHops(nextHops, (nextHop, metric) => {
			rib.setNextHop(nextHop, metric);
			schedule();
		});
	};

	const pass = (): void => {
		resolve();
		const decisions = rib.takeDecisions();
		if (decisions.size > 0) fib.update(decisions);
		judge();
		let more = false;
		for (const peer of peers.values()) more = peer.pump() || more;
		if (more) schedule();
	};

	const endDeferring = (): void => {
		if (!deferring) return;
		deferring = false;
		for (const peer of peers.values()) peer.review(peer.config, config);
	};

	const converge = (why: string): void => {
		if (converged) return;
		converged = true;
		deferral?.cancel();
		endDeferring();
		fib.converged();
		log.info({ peers: peers.size }, `converged: ${why}`);
	};

	/** After the decisions went to the FIB: what is swept there is not wanted any more. */
	const judge = (): void => {
		if (converged) return;
		const progress = [...peers.values()].map((peer) => peer.progress());
		if (selectable(progress)) endDeferring();
		if (complete(progress)) converge(peers.size === 0 ? 'there are no peers' : 'all peers have announced their routes');
	};

	const startDeferral = (): void => {
		const seconds = Math.max(0, ...config.peers.map((peer) => peer.restartTime));
		deferral = timers.start(seconds * 1000, () => {
			const missing = [...peers.values()].filter((peer) => peer.progress().awaited?.size !== 0);
			converge(`after ${seconds} s without the routes of ${missing.map((peer) => peer.config.name).join(', ')}`);
			schedule();
		});
	};

	/** Prefixes of ours that the kernel holds for felix, and for a little while those it just lost. */
	const originate = (): void => {
		const wanted = new Set(config.originate);
		for (const prefix of announced) {
			if (!wanted.has(prefix) || fib.felixHolds(prefix) || leaving.has(prefix)) continue;
			log.warn(
				{ prefix },
				`${prefix}: its blackhole route is gone; withdrawn in ${WITHDRAW_DELAY_MS / 1000} s unless it is back`,
			);
			leaving.set(
				prefix,
				timers.start(WITHDRAW_DELAY_MS, () => {
					leaving.delete(prefix);
					announced = new Set([...announced].filter((other) => other !== prefix));
					originate();
				}),
			);
		}
		for (const [prefix, timer] of leaving) {
			if (wanted.has(prefix) && !fib.felixHolds(prefix)) continue;
			timer.cancel();
			leaving.delete(prefix);
		}
		const next = new Set([...wanted].filter((prefix) => fib.felixHolds(prefix) || leaving.has(prefix)));
		if (next.size === announced.size && [...next].every((prefix) => announced.has(prefix))) return;
		for (const prefix of next) if (!announced.has(prefix)) log.info({ prefix }, `announcing ${prefix}`);
		for (const prefix of announced) if (!next.has(prefix)) log.info({ prefix }, `withdrawing ${prefix}`);
		announced = next;
		rib.setLocal([...next]);
		schedule();
	};

	const accept = (connection: Connection): void => {
		const candidates = [...peers.values()].filter((peer) => peer.config.address === connection.remoteAddress);
		const peer =
			candidates.find(({ config: { localAddress } }) => localAddress === connection.localAddress) ??
			candidates.find(({ config: { localAddress } }) => localAddress === undefined) ??
			candidates[0];
		if (peer === undefined || !running) reject(connection);
		else peer.accept(connection);
	};

	const listen = (): void => {
		const wanted = new Map(config.listen.map((target) => [`${target.address} port ${target.port}`, target]));
		const protections = protectionsOf(config);
		for (const [key, listener] of listeners) {
			if (wanted.has(key)) {
				listener.protect(protections);
				continue;
			}
			void listener.close();
			listeners.delete(key);
			listenErrors.delete(key);
		}
		for (const [key, target] of wanted) {
			if (listeners.has(key)) continue;
			const listener = transport.listen(target, protections, {
				connection: accept,
				listening: () => {
					listenErrors.delete(key);
					log.info({ ...target }, `listening on ${key}`);
				},
				failed: (reason) => {
					const text = `cannot listen on ${key}: ${reason}`;
					if (listenErrors.get(key) !== text) log.error({ ...target }, `${text}; trying again`);
					listenErrors.set(key, text);
				},
			});
			listeners.set(key, listener);
		}
	};

	const add = (peerConfig: PeerConfig): void => {
		const peer = createPeerSession(peerConfig, config, {
			rib,
			transport,
			timers,
			log,
			deferring: () => deferring,
			changed: schedule,
			...(options.fsm && { fsm: options.fsm }),
		});
		peers.set(peerConfig.name, peer);
		peer.start();
	};

	/** A peer that keeps routes over NOTIFICATIONs is told that these are not to be kept (RFC 8538 §3.1). */
	const remove = (peer: PeerSession, subcode: number, reason: string): void => {
		const why = cease(subcode);
		const event: Event = {
			type: 'ManualStop',
			notification: peer.negotiated()?.gracefulRestart?.notification ? hardReset(why) : why,
			reason,
		};
		peer.stop(event);
		peers.delete(peer.config.name);
	};

	return {
		start: () => {
			running = true;
			restarting = options.restarting();
			deferring = restarting;
			stopFelix = fib.onFelixChange(originate);
			originate();
			listen();
			for (const peer of config.peers) add(peer);
			startDeferral();
			log.info(
				{ asNumber: config.asNumber, routerId: config.routerId, peers: peers.size, restarting },
				`BGP speaker started: AS ${config.asNumber}, identifier ${config.routerId}, ${peers.size} peers` +
					(restarting ? ', with routes of an earlier run in the kernel' : ''),
			);
			schedule();
		},
		update: (next) => {
			const before = config;
			config = next;
			if (!running) return;
			listen();
			const wanted = new Map(next.peers.map((peer) => [peer.name, peer]));
			for (const peer of [...peers.values()]) {
				const { name } = peer.config;
				const now = wanted.get(name);
				if (now === undefined || replaced(peer.config, now)) {
					remove(peer, CEASE.peerDeconfigured, `${name} is no longer configured`);
					continue;
				}
				const reset = !same(session(peer.config), session(now));
				if (reset || !same(peer.config, now) || !same(before.addresses, next.addresses)) peer.review(now, next);
				if (reset) peer.restart('its configuration changed');
			}
			for (const peer of next.peers) if (!peers.has(peer.name)) add(peer);
			originate();
			schedule();
		},
		status: () => ({
			asNumber: config.asNumber,
			routerId: config.routerId,
			converged,
			restarting: restarting && !converged,
			listenErrors: [...listenErrors.values()],
			sessions: [...peers.values()].map((peer) => peer.status()),
		}),
		flush: () => {
			if (running) pass();
		},
		stop: async ({ graceful }) => {
			if (!running) return;
			if (!graceful) for (const peer of [...peers.values()]) remove(peer, CEASE.administrativeShutdown, 'bird stops');
			running = false;
			deferral?.cancel();
			for (const timer of leaving.values()) timer.cancel();
			stopFelix();
			await Promise.all([...listeners.values()].map((listener) => listener.close()));
			for (const peer of peers.values()) peer.stop({ type: 'TcpConnectionFails', reason: 'bird stops' });
			peers.clear();
			log.info({ graceful }, graceful ? 'BGP speaker stopped; peers keep our routes' : 'BGP speaker stopped');
		},
	};
};
