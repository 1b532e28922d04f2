import type { Fib } from './fib/types.ts';
import type { PeerSession } from './peer-session-types.ts';
import { listedMap } from './rib/listed-map.ts';
import type { Decision, Rib } from './rib/types.ts';
import type { StartUp } from './start-up.ts';
import type { Timers } from './timers.ts';

/**
 * Work is coalesced: whatever changed, one pass soon after moves next hops to the resolver, decisions to the kernel and
 * UPDATEs to the peers. Only peers that have something to do are asked: with a thousand of them each pass would be long.
 */

export type Passes = {
	/** Something changed, of the peer named or of what it is to be told. */
	readonly schedule: (peer?: string) => void;
	/** The same for all peers. */
	readonly scheduleAll: () => void;
	/** At once; with a limit, so many decisions of those that wait. */
	readonly pass: (limit?: number) => void;
	/** Decisions to the FIB; without any given, all that the RIB has not given yet. */
	readonly hand: (decisions?: Decisions) => void;
	/** Long work does not starve sessions: their timers cannot run meanwhile. */
	readonly pulse: () => void;
};

type Decisions = ReadonlyMap<string, Decision | undefined>;

export type PassesPorts = {
	readonly rib: Pick<Rib, 'nextHops' | 'setNextHop' | 'takeDecisions' | 'undecided' | 'takeWaiting'>;
	readonly fib: Pick<Fib, 'update' | 'watchNextHops'>;
	readonly timers: Timers;
	/** By name. */
	readonly peers: ReadonlyMap<string, Pick<PeerSession, 'pump' | 'pulse'>>;
	readonly startUp: () => Pick<StartUp, 'sift' | 'judge'> | undefined;
	readonly running: () => boolean;
};

/** Decisions handed to the FIB at a time. */
const PORTION = 8192;
const PULSE_MS = 200;
/** So many peers told at a time rest for a moment: what comes meanwhile, as at a start, goes in the same messages. */
const MANY = 64;
const REST_MS = 25;

export const createPasses = ({ rib, fib, timers, peers, startUp, running }: PassesPorts): Passes => {
	let scheduled = false;
	let pulsedAt = 0;
	/** When the first of what is not decided yet was told. */
	let changedAt: number | undefined;
	let watched: ReadonlySet<string> | undefined;
	/** Names of those to be pumped. */
	let due = new Set<string>();
	/** Many were told; the next time is not before. */
	let restUntil = 0;
	let resting = false;

	const schedule: Passes['schedule'] = (peer) => {
		if (peer !== undefined) due.add(peer);
		changedAt ??= timers.now();
		if (scheduled || !running()) return;
		scheduled = true;
		timers.soon(() => {
			scheduled = false;
			if (running()) pass(2 * PORTION);
		});
	};

	const resolve = (): void => {
		const nextHops = rib.nextHops();
		if (nextHops === watched) return;
		watched = nextHops;
		fib.watchNextHops(nextHops, (nextHop, metric, interfaces) => {
			rib.setNextHop(nextHop, metric, interfaces);
			schedule();
		});
	};

	const pulse = (): void => {
		if (timers.now() - pulsedAt < PULSE_MS) return;
		pulsedAt = timers.now();
		for (const peer of peers.values()) peer.pulse();
	};

	const give = (decisions: Decisions): void => {
		if (decisions.size <= PORTION) {
			if (decisions.size > 0) fib.update(decisions, changedAt);
			return;
		}
		let prefixes: string[] = [];
		let values: (Decision | undefined)[] = [];
		const flush = (): void => {
			fib.update(listedMap(prefixes, values), changedAt);
			prefixes = [];
			values = [];
		};
		decisions.forEach((decision, prefix) => {
			prefixes.push(prefix);
			values.push(decision);
			if (prefixes.length < PORTION) return;
			flush();
			pulse();
		});
		if (prefixes.length > 0) flush();
	};

	/** In portions, so that the kernel has the first to write while the next are decided. */
	const handOver = (limit?: number): void => {
		const decisions = rib.takeDecisions(limit);
		give(startUp()?.sift(decisions) ?? decisions);
	};

	/** True: some have more to be told at once. */
	const pump = (): boolean => {
		for (const name of rib.takeWaiting()) due.add(name);
		if (due.size > MANY && rest()) return false;
		const now = due;
		due = new Set();
		let asked = 0;
		for (const name of now) {
			if (peers.get(name)?.pump()) due.add(name);
			if (++asked % 16 === 0) pulse();
		}
		if (now.size > MANY) restUntil = timers.now() + REST_MS;
		return due.size > 0;
	};

	/** True: the peers that are due wait for a moment. */
	const rest = (): boolean => {
		if (resting) return true;
		const milliseconds = restUntil - timers.now();
		if (milliseconds <= 0) return false;
		resting = true;
		timers.start(milliseconds, () => {
			resting = false;
			restUntil = 0;
			schedule();
		});
		return true;
	};

	const pass = (limit?: number): void => {
		if (limit === undefined) {
			restUntil = 0;
			resting = false;
		}
		resolve();
		handOver(limit);
		const more = rib.undecided();
		if (!more) {
			changedAt = undefined;
			startUp()?.judge();
		}
		if (pump() || more) schedule();
	};

	return {
		schedule,
		scheduleAll: () => {
			for (const name of peers.keys()) due.add(name);
			schedule();
		},
		pass,
		hand: (decisions) => {
			if (decisions === undefined) handOver();
			else give(decisions);
		},
		pulse,
	};
};
