import { CEASE, encodeShutdownMessage, hardReset } from 'bgp-js-lite';
import type { Logger } from '../src/logging.ts';
import { createAcceptor } from './acceptor.ts';
import type { Bfd } from './bfd/bfd.ts';
import { createPeerWatch } from './bfd/peer-watch.ts';
import type { PeerConfig, SpeakerConfig } from './config.ts';
import { changeOf, toldToAll } from './config-change.ts';
import { dynamicPeer, protectionsOf, rangeOf } from './configured-peers.ts';
import type { Fib } from './fib/types.ts';
import { createListeners } from './listeners.ts';
import { createOriginator, type Originator } from './originator.ts';
import { createPasses } from './passes.ts';
import { createPeerSession } from './peer-session.ts';
import type { Done, PeerSession, PeerSessionStatus } from './peer-session-types.ts';
import type { Rib } from './rib/types.ts';
import type { Event, FsmConfig } from './session/fsm.ts';
import { cease } from './session/notification.ts';
import { createStartUp, type StartUp } from './start-up.ts';
import { createStaticRoutes } from './static-routes.ts';
import { createStrangers } from './strangers.ts';
import type { Timers } from './timers.ts';
import type { Connection, Transport } from './transport/transport.ts';
import { createUnnumbered, type UnnumberedPorts } from './unnumbered.ts';

/** All peers of one BGP speaker, between RIB and FIB; what is to be done when something changed is in passes.ts. */

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

export type SpeakerFib = Pick<
	Fib,
	'update' | 'converged' | 'watchNextHops' | 'felixHolds' | 'felixHosts' | 'onFelixChange'
> &
	Partial<Pick<Fib, 'addressesBeside' | 'holds'>>;

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
	/** Stopped with the speaker. */
	readonly bfd?: Bfd;
	readonly discover?: UnnumberedPorts['discover'];
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
	/** To be called within long work of others on the same event loop. */
	readonly pulse: () => void;
	/** One peer by name or address, or all (`*`). Hard: ends the session, which then starts anew. */
	readonly clear: (peer: string, message?: string) => Done;
	/** Soft: routes are told again, nothing ends. */
	readonly refresh: (peer: string, direction: 'in' | 'out') => Done;
	/**
	 * Graceful: closes connections without a NOTIFICATION, so that peers keep our routes (a Cease would defeat graceful
	 * restart). Otherwise peers are told that we are gone for good.
	 */
	readonly stop: (how: { readonly graceful: boolean }) => Promise<void>;
};

export const createSpeaker = (options: SpeakerOptions): Speaker => {
	const { rib, fib, log, timers, transport } = options;
	const peers = new Map<string, PeerSession>();
	const reject = createStrangers(log, timers);
	/** Peers that came from a range, by name. */
	const dynamic = new Set<string>();
	const watch = options.bfd && createPeerWatch(options.bfd);
	const unnumbered = createUnnumbered({
		timers,
		log,
		discover: options.discover,
		inUse: (link) => onLink(link).some((peer) => peer.negotiated() !== undefined),
		found: (link, address) => {
			if (!running) return;
			listen();
			for (const peer of onLink(link)) {
				peer.review({ ...peer.config, address }, config);
				acceptor.changed();
				peer.restart(`its router on ${link} is ${address}`);
			}
		},
	});
	let config = options.config;
	let running = false;
	let restarting = false;
	let startUp: StartUp | undefined;
	let originator: Originator | undefined;
	const staticRoutes = createStaticRoutes(rib);

	/** Peers known by this link alone. */
	const onLink = (link: string): PeerSession[] =>
		config.peers
			.filter((peer) => peer.address === '' && peer.interface === link)
			.flatMap(({ name }) => peers.get(name) ?? []);

	const { schedule, scheduleAll, pass, hand, pulse } = createPasses({
		rib,
		fib,
		timers,
		peers,
		startUp: () => startUp,
		running: () => running,
	});
	const acceptor = createAcceptor(peers);

	const accept = (connection: Connection): void => {
		if (running && connection.interface !== '') unnumbered.heard(connection.interface, connection.remoteAddress);
		const peer = acceptor.peerOf(connection);
		if (!running) reject(connection);
		else if (peer !== undefined) peer.accept(connection);
		else welcome(connection);
	};

	/** From no peer's address: perhaps from a range of neighbours. */
	const welcome = (connection: Connection): void => {
		const range = rangeOf(connection.remoteAddress, config.dynamicPeers);
		const name = range && `${range.name}/`;
		if (range === undefined || [...dynamic].filter((other) => other.startsWith(`${name}`)).length >= range.limit) {
			reject(connection, range && `${range.name} has its ${range.limit} neighbours already`);
			return;
		}
		const peerConfig = dynamicPeer(range, connection.remoteAddress);
		dynamic.add(peerConfig.name);
		add(peerConfig).accept(connection);
	};

	const listeners = createListeners({ transport, log, accept });
	const listen = (): void => {
		listeners.update(config.listen, protectionsOf({ ...config, peers: config.peers.map(unnumbered.resolve) }));
	};

	const add = (peerConfig: PeerConfig): PeerSession => {
		const peer = createPeerSession(peerConfig, config, {
			rib,
			transport,
			timers,
			log,
			deferring: () => startUp?.deferring() ?? false,
			changed: () => schedule(peerConfig.name),
			isDynamic: dynamic.has(peerConfig.name),
			established: (localAddress) => watch?.follow(peer, localAddress),
			besides: (localAddress) => fib.addressesBeside?.(localAddress) ?? [],
			vacant: () => {
				const { name } = peerConfig;
				watch?.forget(name);
				if (dynamic.delete(name)) peers.delete(name);
				acceptor.changed();
			},
			...(options.fsm && { fsm: options.fsm }),
		});
		peers.set(peerConfig.name, peer);
		acceptor.changed();
		peer.start();
		watch?.follow(peer);
		return peer;
	};

	const forPeers = (wanted: string, act: (peer: PeerSession) => Done): Done => {
		const chosen = [...peers.values()].filter(
			({ config: { name, address } }) => wanted === '*' || name === wanted || address === wanted,
		);
		if (chosen.length === 0) {
			const known = [...peers.keys()].join(', ');
			return { ok: false, error: `there is no peer ${wanted}; there ${known === '' ? 'are none' : `are ${known}`}` };
		}
		const errors = chosen.map(act).flatMap((done) => (done.ok ? [] : [done.error]));
		return errors.length === 0 ? { ok: true } : { ok: false, error: errors.join('; ') };
	};

	const statuses = (): PeerSessionStatus[] => {
		const bfd = watch?.status();
		return [...peers.values()].map((peer) => {
			const session = bfd?.get(peer.config.name);
			const lastError = peer.config.address === '' ? { lastError: unnumbered.missing(peer.config) } : {};
			return { ...peer.status(), ...lastError, ...(session && { bfd: session }) };
		});
	};

	/** A peer that keeps routes over NOTIFICATIONs is told that these are not to be kept (RFC 8538 §3.1). */
	const remove = (peer: PeerSession, subcode: number, reason: string): void => {
		const why = cease(subcode, subcode === CEASE.administrativeShutdown ? encodeShutdownMessage(reason) : undefined);
		const event: Event = {
			type: 'ManualStop',
			notification: peer.negotiated()?.gracefulRestart?.notification ? hardReset(why) : why,
			reason,
		};
		peer.stop(event);
		watch?.forget(peer.config.name);
		peers.delete(peer.config.name);
		acceptor.changed();
		dynamic.delete(peer.config.name);
	};

	return {
		start: () => {
			running = true;
			restarting = options.restarting();
			startUp = createStartUp({
				fib,
				timers,
				log,
				restarting,
				config: () => config,
				peers: () => peers.values(),
				awaits: (peer) => {
					const { name } = peer.config;
					return peers.get(name) === peer && !dynamic.has(name) && !peer.held();
				},
				hand,
				selected: () => {
					for (const peer of peers.values()) peer.review(peer.config, config);
					scheduleAll();
				},
				changed: schedule,
			});
			originator = createOriginator({ rib, fib, log, timers, changed: schedule });
			originator.want(config);
			staticRoutes.want(config.reachable);
			unnumbered.follow(config.peers);
			listen();
			for (const peer of config.peers) add(unnumbered.resolve(peer));
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
			unnumbered.follow(next.peers);
			listen();
			const wanted = new Map(next.peers.map((peer) => [peer.name, unnumbered.resolve(peer)]));
			for (const name of dynamic) {
				const address = peers.get(name)?.config.address ?? '';
				const range = rangeOf(address, next.dynamicPeers);
				const known = next.peers.some((peer) => peer.address === address);
				if (range !== undefined && !known) wanted.set(`${range.name}/${address}`, dynamicPeer(range, address));
			}
			for (const peer of [...peers.values()]) {
				const { name } = peer.config;
				const now = wanted.get(name);
				const change = now && changeOf(peer.config, now);
				if (now === undefined || change === 'another peer') {
					remove(peer, CEASE.peerDeconfigured, `${name} is no longer configured`);
					continue;
				}
				// A session that takes the new password goes on; one whose peer does the same loses nothing.
				const kept = change === 'password' && peer.rekey(now.password ?? '');
				const reset = change === 'session' || (change === 'password' && !kept);
				if (change !== 'nothing' || toldToAll(before) !== toldToAll(next)) peer.review(now, next);
				if (reset) peer.restart('its configuration changed');
				watch?.follow(peer);
			}
			for (const peer of next.peers) if (!peers.has(peer.name)) add(unnumbered.resolve(peer));
			originator?.want(next);
			staticRoutes.want(next.reachable);
			scheduleAll();
		},
		status: () => ({
			asNumber: config.asNumber,
			routerId: config.routerId,
			converged: startUp?.converged() ?? false,
			restarting: restarting && startUp?.converged() !== true,
			listenErrors: listeners.errors(),
			sessions: statuses(),
		}),
		flush: () => {
			if (running) pass();
		},
		pulse,
		clear: (wanted, message = '') =>
			forPeers(wanted, (peer) => {
				peer.clear(message);
				return { ok: true };
			}),
		refresh: (wanted, direction) => forPeers(wanted, (peer) => peer.refresh(direction)),
		stop: async ({ graceful }) => {
			if (!running) return;
			if (!graceful)
				for (const peer of [...peers.values()]) remove(peer, CEASE.administrativeShutdown, 'the node leaves');
			running = false;
			startUp?.stop();
			originator?.stop();
			unnumbered.stop();
			await listeners.close();
			for (const peer of peers.values()) peer.stop({ type: 'TcpConnectionFails', reason: 'bird stops' });
			peers.clear();
			// After TCP: a peer that is in its helper mode already does not take it for a failure (RFC 5882 §4.3).
			await options.bfd?.stop({ adminDown: true });
			log.info({ graceful }, graceful ? 'BGP speaker stopped; peers keep our routes' : 'BGP speaker stopped');
		},
	};
};
