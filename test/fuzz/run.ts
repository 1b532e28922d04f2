import { setImmediate } from 'node:timers/promises';
import type { Dialect } from './messages.ts';
import { randomMessage } from './messages.ts';
import { verdictOn } from './oracle.ts';
import { caseSeed, createRandom } from './random.ts';
import { createFuzzedSession } from './session.ts';

/** Plays random messages to sessions of each kind, and compares what they do with what the RFCs say. */

export type FuzzOptions = {
	readonly count: number;
	readonly seed: number;
	/** First case; to play one alone, `count` 1. */
	readonly from?: number;
	readonly progress?: (line: string) => void;
};

export type FuzzResult = {
	readonly cases: number;
	readonly seconds: number;
	/** Sessions that ended, as they had to. */
	readonly ended: number;
	/** Milliseconds of the slowest case, and which. */
	readonly slowest: { readonly milliseconds: number; readonly index: number };
	/** Most prefixes held at a time. */
	readonly mostPrefixes: number;
	readonly logLines: number;
	/** Megabytes: resident after a tenth of the cases, and at the end. */
	readonly memory: { readonly early: number; readonly end: number };
	readonly failures: readonly Failure[];
};
export type Failure = { readonly index: number; readonly what: string; readonly message: string };

const basic: Dialect = { peerAS: 65000, ibgp: false, fourOctetAs: true, addPath: false, maxMessageLength: 4096 };
const dialects: readonly Dialect[] = [
	basic,
	{ ...basic, peerAS: 64512, ibgp: true },
	{ ...basic, fourOctetAs: false },
	{ ...basic, addPath: true },
	{ ...basic, maxMessageLength: 65535 },
	{ ...basic, peerAS: 64512, ibgp: true, addPath: true, fourOctetAs: false },
];

/** Beyond it a session starts anew: routers have limits, fuzzers do not. */
const PREFIXES = 20_000;
const SETTLE = 64;
const MEGABYTE = 2 ** 20;
const resident = (): number => Math.round(process.memoryUsage().rss / MEGABYTE);

export const fuzz = async ({ count, seed, from = 0, progress = () => {} }: FuzzOptions): Promise<FuzzResult> => {
	const sessions = dialects.map(createFuzzedSession);
	for (const session of sessions) session.begin();
	const failures: Failure[] = [];
	let ended = 0;
	let mostPrefixes = 0;
	let slowest = { milliseconds: 0, index: 0 };
	let early = 0;
	const started = performance.now();
	for (let index = from; index < from + count && failures.length < 20; index++) {
		const random = createRandom(caseSeed(seed, index));
		const session = random.pick(sessions);
		const message = randomMessage(random, session.dialect);
		const cuts = random.once(8) ? [1 + random.int(20), 20 + random.int(20)] : [];
		const expected = verdictOn(message, session.dialect);
		const fail = (what: string): void => {
			failures.push({ index, what, message: Buffer.from(message).toString('hex') });
		};
		if (!session.established()) fail('there is no session');
		const before = performance.now();
		try {
			session.receive(message, cuts);
		} catch (error) {
			fail(`it throws ${error instanceof Error ? error.stack : String(error)}`);
		}
		const milliseconds = performance.now() - before;
		if (milliseconds > slowest.milliseconds) slowest = { milliseconds, index };
		const stays = session.established();
		if (stays !== (expected !== 'ends'))
			fail(stays ? 'the session should have ended' : 'the session ended, and should not have');
		if (!stays) ended++;
		mostPrefixes = Math.max(mostPrefixes, session.prefixes());
		if (!stays || expected === 'incomplete' || session.prefixes() > PREFIXES) session.begin();
		if (index % SETTLE === 0) session.settle();
		// As between two reads of a socket; V8 gives memory back then.
		if (index % 1024 === 0) await setImmediate();
		const done = index - from + 1;
		if (done === Math.ceil(count / 10)) early = resident();
		if (done % 500_000 === 0) {
			const rate = Math.round(done / ((performance.now() - started) / 1000));
			progress(`${done} messages, ${rate} a second, ${ended} sessions ended, ${resident()} MB`);
		}
	}
	return {
		cases: count,
		seconds: (performance.now() - started) / 1000,
		ended,
		slowest,
		mostPrefixes,
		logLines: sessions.reduce((sum, session) => sum + session.logged(), 0),
		memory: { early, end: resident() },
		failures,
	};
};
