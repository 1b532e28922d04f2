import type { ControlPacket } from './packet.ts';
import { type BfdProfile, type BfdState, DIAGNOSTIC, describeDiagnostic } from './types.ts';

/**
 * One BFD session in asynchronous mode (RFC 5880 §6), as functions from session and event to session and packets. Pure:
 * time comes in as milliseconds of any clock that never goes back, chance as a function. Whoever runs it calls `expire`
 * at `deadline`, hands in packets that decodeControl took and that are for this session, and sends what comes out.
 *
 * Demand mode, echo and authentication are not offered; a peer in demand mode is obeyed.
 */

/** State variables of §6.8.1 under their names; intervals in microseconds. */
export type Session = {
	readonly profile: BfdProfile;
	readonly state: BfdState;
	readonly localDiscriminator: number;
	readonly remoteDiscriminator: number;
	readonly localDiagnostic: number;
	/** What our packets say. */
	readonly desiredMinTx: number;
	readonly requiredMinRx: number;
	/** What we do: the old values while a Poll Sequence about a change for the slower is not over (§6.8.3). */
	readonly effectiveTx: number;
	readonly effectiveRx: number;
	readonly polling: boolean;
	/** Something changed during the Poll Sequence: another one follows. */
	readonly pollAgain: boolean;
	readonly remoteState: BfdState;
	readonly remoteMinRx: number;
	readonly remoteDesiredMinTx: number;
	readonly remoteDetectMultiplier: number;
	readonly remoteDemand: boolean;
	readonly remoteControlPlaneIndependent: boolean;
	/** When the last periodic packet went, and how much of the interval jitter leaves, 0.75..1. */
	readonly sentAt: number;
	readonly jitter: number;
	/** When the next packet is due, and when the peer is called dead. */
	readonly transmitAt: number | undefined;
	readonly detectAt: number | undefined;
	/** Why the state is what it is, in words. */
	readonly reason: string;
};

export type Step = { readonly session: Session; readonly send: readonly ControlPacket[] };
export type Random = () => number;

/** §6.8.3: no faster than this while not Up. Microseconds. */
const SLOW = 1_000_000;

const microseconds = (milliseconds: number): number => Math.round(milliseconds * 1000);

const desiredTx = (profile: BfdProfile, state: BfdState): number => {
	const wanted = microseconds(profile.transmitInterval);
	return state === 'Up' ? wanted : Math.max(wanted, SLOW);
};

/** Milliseconds between our packets before jitter (§6.8.2). */
export const transmitInterval = (session: Session): number => Math.max(session.effectiveTx, session.remoteMinRx) / 1000;

/** Milliseconds without a packet after which the peer is dead (§6.8.4); 0 when it never said anything. */
export const detectionTime = (session: Session): number =>
	(session.remoteDetectMultiplier * Math.max(session.effectiveRx, session.remoteDesiredMinTx)) / 1000;

/** Milliseconds after which the peer calls us dead when we are silent. */
export const remoteDetectionTime = (session: Session): number =>
	session.profile.detectMultiplier * transmitInterval(session);

/** §6.8.7: up to a quarter less, and never more than 90 % when one missed packet is too many. */
const drawJitter = (profile: BfdProfile, random: Random): number =>
	0.75 + random() * (profile.detectMultiplier === 1 ? 0.15 : 0.25);

/** Whether packets go out periodically (§6.8.7). */
const transmits = (session: Session): boolean =>
	(!session.profile.passive || session.remoteDiscriminator !== 0) &&
	session.remoteMinRx !== 0 &&
	(!session.remoteDemand || session.state !== 'Up' || session.remoteState !== 'Up' || session.polling);

const schedule = (session: Session): Session => ({
	...session,
	transmitAt: transmits(session) ? session.sentAt + transmitInterval(session) * session.jitter : undefined,
});

const packetOf = (session: Session, final: boolean): ControlPacket => ({
	diagnostic: session.localDiagnostic,
	state: session.state,
	poll: session.polling && !final,
	final,
	// Our BFD dies with the process that speaks BGP.
	controlPlaneIndependent: false,
	demand: false,
	detectMultiplier: session.profile.detectMultiplier,
	myDiscriminator: session.localDiscriminator,
	yourDiscriminator: session.remoteDiscriminator,
	desiredMinTx: session.desiredMinTx,
	requiredMinRx: session.requiredMinRx,
	requiredMinEchoRx: 0,
});

/** A packet that counts as the periodic one. */
const transmit = (session: Session, now: number, random: Random, final = false): Step => ({
	session: schedule({ ...session, sentAt: now, jitter: drawJitter(session.profile, random) }),
	send: [packetOf(session, final)],
});

/** Other intervals to tell: what makes us slower waits for the end of the Poll Sequence if the session is Up (§6.8.3). */
const announce = (session: Session, desiredMinTx: number, requiredMinRx: number): Session => {
	const next = { ...session, desiredMinTx, requiredMinRx };
	// Not Up nobody relies on the old values, and every packet tells the new ones: no Poll Sequence.
	if (session.state !== 'Up') {
		return { ...next, effectiveTx: desiredMinTx, effectiveRx: requiredMinRx, polling: false, pollAgain: false };
	}
	if (desiredMinTx === session.desiredMinTx && requiredMinRx === session.requiredMinRx) return session;
	return {
		...next,
		effectiveTx: Math.min(session.effectiveTx, desiredMinTx),
		effectiveRx: Math.max(session.effectiveRx, requiredMinRx),
		polling: true,
		pollAgain: session.polling,
	};
};

const pollEnded = (session: Session): Session =>
	session.pollAgain
		? { ...session, pollAgain: false }
		: { ...session, polling: false, effectiveTx: session.desiredMinTx, effectiveRx: session.requiredMinRx };

const enter = (session: Session, state: BfdState, diagnostic: number, reason: string): Session => {
	const entered = { ...session, state, localDiagnostic: diagnostic, reason, polling: false, pollAgain: false };
	return announce(entered, desiredTx(session.profile, state), session.requiredMinRx);
};

/** The discriminator is not 0 and unique in this system. The first packet goes soon, not at once: many start together. */
export const newSession = (profile: BfdProfile, localDiscriminator: number, now: number, random: Random): Session => {
	const desiredMinTx = desiredTx(profile, 'Down');
	const requiredMinRx = microseconds(profile.receiveInterval);
	const session: Session = {
		profile,
		state: 'Down',
		localDiscriminator,
		remoteDiscriminator: 0,
		localDiagnostic: DIAGNOSTIC.none,
		desiredMinTx,
		requiredMinRx,
		effectiveTx: desiredMinTx,
		effectiveRx: requiredMinRx,
		polling: false,
		pollAgain: false,
		remoteState: 'Down',
		remoteMinRx: 1,
		remoteDesiredMinTx: 0,
		remoteDetectMultiplier: 0,
		remoteDemand: false,
		remoteControlPlaneIndependent: false,
		sentAt: now,
		jitter: 1,
		transmitAt: undefined,
		detectAt: undefined,
		reason: '',
	};
	return { ...session, transmitAt: transmits(session) ? now + random() * 50 : undefined };
};

/** When `expire` is due; undefined: never. */
export const deadline = ({ transmitAt, detectAt }: Session): number | undefined =>
	transmitAt === undefined ? detectAt : detectAt === undefined ? transmitAt : Math.min(transmitAt, detectAt);

/** The state that a packet of the peer leads to (§6.8.6); undefined: none other. */
const react = (session: Session, remote: ControlPacket): Session | undefined => {
	const { state } = session;
	if (remote.state === 'AdminDown') {
		if (state === 'Down') return undefined;
		return enter(session, 'Down', DIAGNOSTIC.neighborSignaledDown, 'the peer took BFD down on purpose');
	}
	if (state === 'Down') {
		if (remote.state === 'Down') return enter(session, 'Init', DIAGNOSTIC.none, 'the peer is there');
		if (remote.state === 'Init') return enter(session, 'Up', DIAGNOSTIC.none, 'both sides hear each other');
	} else if (state === 'Init') {
		if (remote.state !== 'Down') return enter(session, 'Up', DIAGNOSTIC.none, 'both sides hear each other');
	} else if (remote.state === 'Down') {
		const why = `the peer signalled the session down: ${describeDiagnostic(remote.diagnostic)}`;
		return enter(session, 'Down', DIAGNOSTIC.neighborSignaledDown, why);
	}
	return undefined;
};

/** A packet for this session, past the checks of decodeControl (§6.8.6). */
export const receive = (before: Session, packet: ControlPacket, now: number, random: Random): Step => {
	let session: Session = {
		...before,
		remoteDiscriminator: packet.myDiscriminator,
		remoteState: packet.state,
		remoteDemand: packet.demand,
		remoteMinRx: packet.requiredMinRx,
		remoteDesiredMinTx: packet.desiredMinTx,
		remoteDetectMultiplier: packet.detectMultiplier,
		remoteControlPlaneIndependent: packet.controlPlaneIndependent,
	};
	if (packet.final && session.polling) session = pollEnded(session);
	if (session.state === 'AdminDown') return { session: { ...schedule(session), detectAt: undefined }, send: [] };
	const reacted = react(session, packet);
	session = reacted ?? session;
	session = { ...session, detectAt: now + detectionTime(session) };
	// What changed is told at once, between the periodic packets, and so is the answer to a Poll (§6.8.7).
	if (reacted !== undefined && session.remoteMinRx !== 0) return transmit(session, now, random, packet.poll);
	return { session: schedule(session), send: packet.poll ? [packetOf(session, true)] : [] };
};

const detected = (session: Session): Session => {
	// The discriminator of who restarts is another one (§6.8.1); what it allowed us to send counts no more either.
	const silent = { ...session, remoteDiscriminator: 0, remoteMinRx: 1, remoteDemand: false, detectAt: undefined };
	if (session.state !== 'Init' && session.state !== 'Up') return schedule(silent);
	const reason = `nothing came from the peer within the detection time of ${Math.round(detectionTime(session))} ms`;
	return enter(silent, 'Down', DIAGNOSTIC.detectionTimeExpired, reason);
};

/** Time has come to `now`: detection (§6.8.4), then what is due to be sent. */
export const expire = (before: Session, now: number, random: Random): Step => {
	let session = before;
	if (session.detectAt !== undefined && session.detectAt <= now) {
		session = detected(session);
		if (session.state !== before.state && transmits(session)) return transmit(session, now, random);
	}
	if (session.transmitAt !== undefined && session.transmitAt <= now) return transmit(session, now, random);
	return { session, send: [] };
};

/** Other intervals, from now on; told by a Poll Sequence (§6.8.3, §6.8.12). */
export const configure = (session: Session, profile: BfdProfile): Session =>
	schedule(announce({ ...session, profile }, desiredTx(profile, session.state), microseconds(profile.receiveInterval)));

/** Down on purpose (§6.8.16): told at once, and from then on at the slow pace until the session is forgotten. */
export const administrativelyDown = (session: Session, now: number, random: Random): Step => {
	if (session.state === 'AdminDown') return { session, send: [] };
	const down = enter(session, 'AdminDown', DIAGNOSTIC.administrativelyDown, 'taken down on purpose');
	const step = transmit({ ...down, detectAt: undefined }, now, random);
	return transmits(down) ? step : { session: step.session, send: [] };
};
