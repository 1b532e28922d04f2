import { CEASE, encodeShutdownMessage, hardReset, type UpdateMessage } from 'bgp-js-lite';
import { isLinkLocal } from '../src/net/ip.ts';
import { createAnnouncer } from './announcer.ts';
import { createComplaints } from './complaints.ts';
import type { PeerConfig, SpeakerConfig } from './config.ts';
import { type Connections, createConnections, describeCause } from './connections.ts';
import { createCounters } from './counters.ts';
import type { Hold, PeerSession, PeerSessionPorts } from './peer-session-types.ts';
import { createPrefixLimit } from './prefix-limit.ts';
import { ribPeerOf } from './rib-peer.ts';
import { createRouteRefresh } from './route-refresh.ts';
import { endOfRib, noSession, type PeerProgress, QUIET, sessionUp } from './session/convergence.ts';
import { type Cause, defaultFsmConfig } from './session/fsm.ts';
import { retained } from './session/graceful-restart.ts';
import { importUpdate } from './session/import.ts';
import { cease, type Notification } from './session/notification.ts';
import { type Negotiated, openMessage } from './session/open.ts';
import { identifierValue } from './session/peer.ts';
import { dialTarget, localOpen, silenceHint } from './session-options.ts';
import { createStaleRoutes } from './stale-routes.ts';
import type { Timer } from './timers.ts';
import type { Connection } from './transport/transport.ts';

/**
 * One configured peer between its connections and the RIB: what comes in is checked and handed over, what is pending
 * goes out as fast as the peer reads it, and its routes are kept over its restarts (RFC 4724, helper).
 */

const QUIET_MS = 3_000;
const VACANT_MS = 5_000;
/** The same failure is logged once in this time. */
const REPEAT_MS = 60_000;
const LOGGED_MAX = 16;

const shutdown = ({ message }: NonNullable<PeerConfig['shutdown']>): Hold => ({
	notification: cease(CEASE.administrativeShutdown, message === '' ? undefined : encodeShutdownMessage(message)),
	reason: `shut down by configuration${message === '' ? '' : `: ${message}`}`,
});

const familyText = { '1/1': 'IPv4', '2/1': 'IPv6' } as const;
const familyNames = (keys: Iterable<string>): string =>
	[...keys].map((key) => familyText[key as keyof typeof familyText] ?? key).join(' and ');

export const createPeerSession = (
	initialConfig: PeerConfig,
	initialSpeaker: SpeakerConfig,
	ports: PeerSessionPorts,
): PeerSession => {
	const { rib, timers } = ports;
	const { name } = initialConfig;
	const log = ports.log.child({ peer: name, address: initialConfig.address });
	let local = localOpen(initialSpeaker, initialConfig);
	let config = initialConfig;
	let speaker = initialSpeaker;
	let progress: PeerProgress = noSession;
	let negotiated: Negotiated | undefined;
	let localAddress = '';
	let link = '';
	let ownAddresses: ReadonlySet<string> = new Set();
	let stopping = false;
	let sinceWall = new Date();
	let upSince = 0;
	let lastError = '';
	let lastEnd = '';
	/** Failures lately logged, and when. */
	const logged = new Map<string, number>();
	let quietTimer: Timer | undefined;
	let vacancy: Timer | undefined;
	let release: Timer | undefined;
	let heldFor: string | undefined;
	let wasShutdown = false;
	/** The session that is ending was found dead by BFD: other ways are better than what is kept of it. */
	let doubted = false;

	const complain = createComplaints(name, log, timers);
	const counters = createCounters();
	const limit = createPrefixLimit(name, log);
	const stale = createStaleRoutes({ peer: name, rib, timers, log, changed: ports.changed });

	/** Looked at some time after the peer was last seen. */
	const lookForVacancy = (): void => {
		vacancy?.cancel();
		vacancy = timers.start(VACANT_MS, () => {
			if (stopping) return;
			if (negotiated !== undefined || stale.helping() || connections.state() !== 'Active') lookForVacancy();
			else {
				stopping = true;
				connections.stop({ type: 'ManualStop', reason: 'the neighbour is gone' });
				stale.drop();
				ports.vacant();
			}
		});
	};

	const advance = (next: PeerProgress): void => {
		progress = next;
		ports.changed();
	};

	const tellRib = (): void => {
		if (negotiated === undefined) return;
		const besides = ports.besides?.(localAddress) ?? [];
		ownAddresses = new Set([localAddress, ...Object.values(speaker.addresses)]);
		rib.addPeer(ribPeerOf({ config, speaker, negotiated, localAddress, besides, deferring: ports.deferring() }));
	};

	const up = (agreed: Negotiated, connection: Connection): void => {
		negotiated = agreed;
		localAddress = connection.localAddress;
		link = isLinkLocal(connection.remoteAddress) ? connection.interface || (config.interface ?? '') : '';
		sinceWall = new Date();
		upSince = timers.now();
		logged.clear();
		const gr = agreed.gracefulRestart;
		log.info(
			{ localAddress, holdTime: agreed.holdTime, families: [...agreed.families] },
			`session with ${name} established: AS ${agreed.peerAS}, ${familyNames(agreed.families)}, hold time ${agreed.holdTime} s, ` +
				`${gr === undefined ? 'no graceful restart' : `graceful restart ${gr.restartTime} s`}${gr?.restartState ? ', it has restarted' : ''}`,
		);
		stale.back(agreed);
		tellRib();
		announcer.up(agreed);
		quietTimer?.cancel();
		quietTimer = undefined;
		if (gr === undefined) {
			quietTimer = timers.start(QUIET_MS, () => advance(endOfRib(progress, QUIET)));
		}
		advance(sessionUp(agreed));
		ports.established?.(localAddress);
	};

	const down = (agreed: Negotiated, cause: Cause): void => {
		counters.ended(cause);
		negotiated = undefined;
		progress = noSession;
		announcer.down();
		routeRefresh.down();
		quietTimer?.cancel();
		quietTimer = undefined;
		sinceWall = new Date();
		lastError = describeCause(cause);
		lastEnd = lastError;
		const keep = retained(agreed, cause, config.restartTime);
		const asked = cause.kind === 'stopped' || stopping;
		stale.keep(keep, doubted);
		log[asked ? 'info' : 'warn'](
			{ cause: cause.kind },
			`session with ${name} ended: ${lastError}; ` +
				(stopping
					? 'asked for'
					: keep.families.size === 0
						? 'its routes are removed'
						: `its ${familyNames(keep.families)} routes are kept for ${keep.seconds} s`),
		);
		ports.changed();
	};

	const failed = (cause: Cause): void => {
		counters.ended(cause);
		if (cause.kind === 'stopped') return;
		lastError = describeCause(cause) + silenceHint(cause, config);
		const repeated = timers.now() - (logged.get(lastError) ?? Number.NEGATIVE_INFINITY) < REPEAT_MS;
		// Lost collisions and the like while a session is up are nobody's concern.
		const level = repeated || negotiated !== undefined ? 'debug' : 'info';
		log[level]({ cause: cause.kind }, `no session with ${name}: ${lastError}`);
		if (repeated) return;
		if (logged.size >= LOGGED_MAX) logged.clear();
		logged.set(lastError, timers.now());
	};

	const update = (message: UpdateMessage): void => {
		if (negotiated === undefined) return;
		quietTimer?.refresh();
		const { changes, refused } = importUpdate(message, negotiated, {
			ownAddresses,
			routerId: speaker.routerId,
			link,
			...(config.localAS && !config.localAS.noPrepend && { localAS: config.localAS.asNumber }),
			...(config.role && { role: config.role }),
		});
		counters.received(message, refused.length);
		for (const { family, prefixes, attributes } of changes) {
			if (attributes === undefined) rib.withdraw(name, family, prefixes);
			else {
				rib.announce(name, family, prefixes, attributes);
				stale.told(family);
			}
		}
		for (const { message: words } of message.errors ?? []) complain(`malformed UPDATE from ${name}: ${words}`);
		for (const words of refused) complain(`route of ${name} refused: ${words}`);
		if (message.endOfRib !== undefined) {
			const key = `${message.endOfRib.afi}/${message.endOfRib.safi}`;
			stale.endOfRib(key);
			advance(endOfRib(progress, key));
		} else {
			ports.changed();
		}
		const over = limit(config.prefixLimit, rib.counts(name).receivedByFamily);
		if (over !== undefined) hold(over);
	};

	/** Told to a peer that keeps routes over NOTIFICATIONs too: these are not to be kept (RFC 8538 §3.1). */
	const firmly = (why: Notification): Notification =>
		negotiated?.gracefulRestart?.notification === true ? hardReset(why) : why;

	const hold = ({ notification, reason, seconds }: Hold): void => {
		heldFor = seconds === undefined ? reason : `${reason}; tried again after ${seconds} s`;
		release?.cancel();
		release = seconds === undefined ? undefined : timers.start(seconds * 1000, start);
		connections.stop({ type: 'ManualStop', notification: firmly(notification), reason });
		lastError = heldFor;
		progress = noSession;
		ports.changed();
	};

	const start = (): void => {
		heldFor = undefined;
		release?.cancel();
		connections.start();
		if (ports.isDynamic) lookForVacancy();
	};

	const newConnections = (): Connections =>
		createConnections(
			{
				local,
				fsm: {
					...defaultFsmConfig,
					...ports.fsm,
					// Where its address is still to be found, it may find us.
					passive: config.passive || config.address === '',
					bgpIdentifier: identifierValue(local.bgpIdentifier),
					asNumber: local.asNumber,
				},
				dial: () => dialTarget(config),
				openMessage: () => openMessage(local, ports.deferring()),
			},
			{ transport: ports.transport, timers, log },
			{
				up,
				down,
				update,
				routeRefresh: (message) => {
					if (negotiated !== undefined) routeRefresh.received(message, negotiated);
				},
				failed,
				entered: counters.entered,
				drained: () => {
					announcer.drained();
					ports.changed();
				},
			},
		);
	let connections = newConnections();

	const announcer = createAnnouncer({
		peer: name,
		rib,
		timers,
		send: (messages) => {
			counters.sent(messages.length);
			return connections.send(messages);
		},
		stalled: () => connections.stalled(),
		deferring: () => config.exportLearnt && ports.deferring(),
	});

	const routeRefresh = createRouteRefresh({
		peer: name,
		rib,
		announcer,
		timers,
		log,
		send: (messages) => connections.send(messages),
		changed: ports.changed,
	});

	return {
		get config() {
			return config;
		},
		start: () => {
			wasShutdown = config.shutdown !== undefined;
			if (config.shutdown === undefined) start();
			else hold(shutdown(config.shutdown));
		},
		stop: (event) => {
			stopping = true;
			vacancy?.cancel();
			release?.cancel();
			connections.stop(event);
			quietTimer?.cancel();
			stale.drop();
		},
		restart: (reason) => {
			const { shutdown: down } = config;
			// Without graceful restart the peer loses our routes either way: at least it hears why (RFC 4486 §4).
			const told = negotiated !== undefined && negotiated.gracefulRestart === undefined;
			const why = cease(CEASE.otherConfigurationChange);
			if (told && down === undefined) connections.stop({ type: 'ManualStop', notification: why, reason });
			else if (down === undefined) connections.stop({ type: 'TcpConnectionFails', reason });
			else hold(shutdown(down));
			connections = newConnections();
			if (down === undefined && (heldFor === undefined || wasShutdown)) start();
			wasShutdown = down !== undefined;
		},
		clear: (message) => {
			const why = cease(CEASE.administrativeReset, message === '' ? undefined : encodeShutdownMessage(message));
			connections.stop({ type: 'ManualStop', notification: firmly(why), reason: 'cleared by hand' });
			if (config.shutdown === undefined) start();
		},
		refresh: (direction) => routeRefresh.start(direction, negotiated),
		hold,
		held: () => heldFor !== undefined,
		dead: ({ reason, subcode, keepRoutes }) => {
			if (negotiated === undefined && stale.helping() && !keepRoutes) {
				log.warn({}, `routes of ${name} kept over its restart are removed: ${reason}`);
				stale.drop();
				ports.changed();
			}
			doubted = keepRoutes;
			connections.fail(
				keepRoutes
					? { type: 'TcpConnectionFails', reason }
					: { type: 'AutomaticStop', notification: firmly(cease(subcode)), reason },
			);
			doubted = false;
		},
		accept: (connection) => connections.accept(connection),
		pump: announcer.pump,
		review: (nextConfig, nextSpeaker) => {
			const anotherLimit = JSON.stringify(config.prefixLimit) !== JSON.stringify(nextConfig.prefixLimit);
			config = nextConfig;
			speaker = nextSpeaker;
			local = localOpen(speaker, config);
			tellRib();
			if (anotherLimit && heldFor !== undefined && !wasShutdown && config.shutdown === undefined) start();
		},
		rekey: (password) => connections.rekey(password),
		pulse: () => connections.pulse(),
		progress: () => progress,
		negotiated: () => negotiated,
		status: () => ({
			name,
			address: config.address,
			...(config.interface !== undefined && { interface: config.interface }),
			asNumber: negotiated?.peerAS ?? config.asNumber,
			state: connections.state(),
			since: sinceWall.toISOString(),
			uptimeSeconds: negotiated === undefined ? 0 : Math.floor((timers.now() - upSince) / 1000),
			lastError,
			...(negotiated === undefined && lastEnd !== '' && { lastEnd }),
			...(heldFor !== undefined && { held: heldFor }),
			...rib.counts(name),
			holdTime: negotiated?.holdTime ?? config.holdTime,
			families: negotiated === undefined ? config.families : [...negotiated.families],
			gracefulRestart: {
				agreed: negotiated?.gracefulRestart !== undefined,
				peerRestartTime: negotiated?.gracefulRestart?.restartTime ?? 0,
				helping: stale.helping(),
			},
			counters: counters.read(),
		}),
	};
};
