import type { RouteRefreshMessage, UpdateMessage } from 'bgp-js-lite';
import type { Logger } from '../src/logging.ts';
import { createAnnouncer } from './announcer.ts';
import type { PeerConfig, SpeakerConfig } from './config.ts';
import { minimumTtlOf } from './configured-peers.ts';
import { type Connections, createConnections, describeCause } from './connections.ts';
import type { PathSource, Rib } from './rib/types.ts';
import { endOfRib, noSession, type PeerProgress, QUIET, sessionUp } from './session/convergence.ts';
import { type Cause, defaultFsmConfig, type Event, type FsmConfig, type FsmState } from './session/fsm.ts';
import { retained } from './session/graceful-restart.ts';
import { importUpdate, ribFamilyOf } from './session/import.ts';
import { type LocalOpen, type Negotiated, openMessage } from './session/open.ts';
import { identifierValue } from './session/peer.ts';
import { createStaleRoutes } from './stale-routes.ts';
import type { Timer, Timers } from './timers.ts';
import type { Connection, Transport } from './transport/transport.ts';

/**
 * One configured peer between its connections and the RIB: what comes in is checked and handed over, what is pending
 * goes out as fast as the peer reads it, and its routes are kept over its restarts (RFC 4724, helper).
 */

export type PeerSessionStatus = {
	readonly name: string;
	readonly address: string;
	readonly asNumber: number;
	readonly state: FsmState;
	/** When it came into being, or ended: ISO 8601. */
	readonly since: string;
	/** Seconds in Established; 0 otherwise. */
	readonly uptimeSeconds: number;
	/** Why it is not up, or last was not; '' when it never failed. */
	readonly lastError: string;
	readonly received: number;
	readonly advertised: number;
	/** Seconds, as agreed; as configured while down. */
	readonly holdTime: number;
	/** Keys `afi/safi`, as agreed; as configured while down. */
	readonly families: readonly string[];
	readonly gracefulRestart: {
		/** Both sides have it. */
		readonly agreed: boolean;
		/** Seconds the peer asks for; 0 when not agreed. */
		readonly peerRestartTime: number;
		/** Routes of the peer's last session are kept while it restarts. */
		readonly helping: boolean;
	};
};

export type PeerSession = {
	readonly config: PeerConfig;
	readonly start: () => void;
	/** Tells the peer why, when there is a notification; its routes go. */
	readonly stop: (event: Event) => void;
	/** Ends the connection without a word and starts again as `review` said: graceful restart keeps routes on both sides. */
	readonly restart: (reason: string) => void;
	readonly accept: (connection: Connection) => void;
	/** Sends what is pending, in bounded portions; true: there is more to send at once. */
	readonly pump: () => boolean;
	/** Takes over another configuration; what the OPEN says and whom to dial only counts from `restart` on. */
	readonly review: (config: PeerConfig, speaker: SpeakerConfig) => void;
	readonly progress: () => PeerProgress;
	readonly negotiated: () => Negotiated | undefined;
	readonly status: () => PeerSessionStatus;
};

export type PeerSessionPorts = {
	readonly rib: Rib;
	readonly transport: Transport;
	readonly timers: Timers;
	readonly log: Logger;
	/** Whether our OPENs carry the R bit, and routes of others and the End-of-RIB are still held back. */
	readonly deferring: () => boolean;
	/** The RIB, or the progress of this peer, changed. */
	readonly changed: () => void;
	/** A peer that nobody configured by name has no session, no connection and no routes any more. */
	readonly vacant: () => void;
	readonly isDynamic: boolean;
	readonly fsm?: Partial<FsmConfig>;
};

const QUIET_MS = 3_000;
const VACANT_MS = 5_000;
/** The same failure is logged once in this time. */
const REPEAT_MS = 60_000;

const familyText = { '1/1': 'IPv4', '2/1': 'IPv6' } as const;
const familyNames = (keys: Iterable<string>): string =>
	[...keys].map((key) => familyText[key as keyof typeof familyText] ?? key).join(' and ');
export const localOpen = (speaker: SpeakerConfig, peer: PeerConfig): LocalOpen => ({
	asNumber: speaker.asNumber,
	bgpIdentifier: speaker.routerId,
	peerAS: peer.asNumber,
	holdTime: peer.holdTime,
	families: peer.families,
	restartTime: peer.restartTime,
});

/** A signature or TTL that does not fit shows as silence: the kernel drops the segments. */
const silenceHint = ({ kind, notification }: Cause, { password, ttlSecurity }: PeerConfig): string => {
	if (kind !== 'tcp' || notification !== undefined) return '';
	if (password !== undefined) return ' (is the password the same on both sides?)';
	return ttlSecurity === undefined ? '' : ` (does the peer send with TTL 255, at most ${ttlSecurity} hops away?)`;
};

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
	let ownAddresses: ReadonlySet<string> = new Set();
	let stopping = false;
	let sinceWall = new Date();
	let upSince = 0;
	let lastError = '';
	let lastLogged = '';
	let lastLoggedAt = Number.NEGATIVE_INFINITY;
	let quietTimer: Timer | undefined;
	let vacancy: Timer | undefined;

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
		const source: PathSource = {
			peer: name,
			kind: negotiated.ibgp ? 'ibgp' : 'ebgp',
			bgpIdentifier: negotiated.bgpIdentifier,
			peerAddress: config.address,
			...(config.routeReflectorClient && { client: true }),
		};
		const v6 = localAddress.includes(':');
		const ipv4 = speaker.addresses.ipv4 ?? (v6 ? undefined : localAddress);
		const ipv6 = speaker.addresses.ipv6 ?? (v6 ? localAddress : undefined);
		ownAddresses = new Set([localAddress, ...Object.values(speaker.addresses)]);
		rib.addPeer({
			source,
			families: negotiated.families,
			exportLearnt: config.exportLearnt && !ports.deferring(),
			peerAS: negotiated.peerAS,
			nextHopSelf: { ...(ipv4 && { 4: ipv4 }), ...(ipv6 && { 6: ipv6 }) },
		});
	};

	const up = (agreed: Negotiated, connection: Connection): void => {
		negotiated = agreed;
		localAddress = connection.localAddress;
		sinceWall = new Date();
		upSince = timers.now();
		lastLogged = '';
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
	};

	const down = (agreed: Negotiated, cause: Cause): void => {
		negotiated = undefined;
		progress = noSession;
		announcer.down();
		quietTimer?.cancel();
		quietTimer = undefined;
		sinceWall = new Date();
		lastError = describeCause(cause);
		const keep = retained(agreed, cause, config.restartTime);
		const asked = cause.kind === 'stopped' || stopping;
		stale.keep(keep);
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
		if (cause.kind === 'stopped') return;
		lastError = describeCause(cause) + silenceHint(cause, config);
		const repeated = lastError === lastLogged && timers.now() - lastLoggedAt < REPEAT_MS;
		// Lost collisions and the like while a session is up are nobody's concern.
		const level = repeated || negotiated !== undefined ? 'debug' : 'info';
		log[level]({ cause: cause.kind }, `no session with ${name}: ${lastError}`);
		if (repeated) return;
		lastLogged = lastError;
		lastLoggedAt = timers.now();
	};

	const update = (message: UpdateMessage): void => {
		if (negotiated === undefined) return;
		quietTimer?.refresh();
		const { changes, refused } = importUpdate(message, negotiated, ownAddresses);
		for (const { family, prefixes, attributes } of changes) {
			if (attributes === undefined) rib.withdraw(name, family, prefixes);
			else rib.announce(name, family, prefixes, attributes);
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
	};

	let complaints = 0;
	let complaintsSince = Number.NEGATIVE_INFINITY;
	/** A peer that sends rubbish is logged ten times a minute at most. */
	const complain = (words: string): void => {
		const now = timers.now();
		if (now - complaintsSince > REPEAT_MS) {
			if (complaints > 10)
				log.warn({ count: complaints - 10 }, `${complaints - 10} more complaints about ${name} not logged`);
			complaints = 0;
			complaintsSince = now;
		}
		if (++complaints <= 10) log.warn({}, words);
	};

	const routeRefresh = (message: RouteRefreshMessage): void => {
		const key = `${message.afi}/${message.safi}`;
		const family = ribFamilyOf(key);
		if (family === undefined || !negotiated?.families.has(key) || message.subtype !== 0) return;
		rib.resend(name, family);
		ports.changed();
	};

	const newConnections = (): Connections =>
		createConnections(
			{
				local,
				fsm: {
					...defaultFsmConfig,
					...ports.fsm,
					passive: config.passive,
					bgpIdentifier: identifierValue(local.bgpIdentifier),
					asNumber: local.asNumber,
				},
				dial: {
					address: config.address,
					port: config.port,
					...(config.localAddress && { localAddress: config.localAddress }),
					...(config.password !== undefined && { password: config.password }),
					...(config.ttlSecurity !== undefined && { minimumTtl: minimumTtlOf(config.ttlSecurity) }),
				},
				openMessage: () => openMessage(local, ports.deferring()),
			},
			{ transport: ports.transport, timers, log },
			{
				up,
				down,
				update,
				routeRefresh,
				failed,
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
		send: (messages) => connections.send(messages),
		stalled: () => connections.stalled(),
		deferring: () => config.exportLearnt && ports.deferring(),
	});

	return {
		get config() {
			return config;
		},
		start: () => {
			connections.start();
			if (ports.isDynamic) lookForVacancy();
		},
		stop: (event) => {
			stopping = true;
			vacancy?.cancel();
			connections.stop(event);
			quietTimer?.cancel();
			stale.drop();
		},
		restart: (reason) => {
			connections.stop({ type: 'TcpConnectionFails', reason });
			connections = newConnections();
			connections.start();
		},
		accept: (connection) => connections.accept(connection),
		pump: announcer.pump,
		review: (nextConfig, nextSpeaker) => {
			config = nextConfig;
			speaker = nextSpeaker;
			local = localOpen(speaker, config);
			tellRib();
		},
		progress: () => progress,
		negotiated: () => negotiated,
		status: () => ({
			name,
			address: config.address,
			asNumber: negotiated?.peerAS ?? config.asNumber,
			state: connections.state(),
			since: sinceWall.toISOString(),
			uptimeSeconds: negotiated === undefined ? 0 : Math.floor((timers.now() - upSince) / 1000),
			lastError,
			...rib.counts(name),
			holdTime: negotiated?.holdTime ?? config.holdTime,
			families: negotiated === undefined ? config.families : [...negotiated.families],
			gracefulRestart: {
				agreed: negotiated?.gracefulRestart !== undefined,
				peerRestartTime: negotiated?.gracefulRestart?.restartTime ?? 0,
				helping: stale.helping(),
			},
		}),
	};
};
