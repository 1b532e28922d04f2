import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { type ControlPacket, decodeControl, encodeControl } from '../../bird/bfd/packet.ts';
import {
	configure,
	deadline,
	detectionTime,
	expire,
	newSession,
	receive,
	type Session,
	transmitInterval,
} from '../../bird/bfd/session.ts';
import { type BfdProfile, defaultBfdProfile } from '../../bird/bfd/types.ts';

const uint32 = fc.nat({ max: 0xffffffff });
const packet: fc.Arbitrary<ControlPacket> = fc.record({
	diagnostic: fc.nat({ max: 31 }),
	state: fc.constantFrom('AdminDown', 'Down', 'Init', 'Up'),
	poll: fc.boolean(),
	final: fc.boolean(),
	controlPlaneIndependent: fc.boolean(),
	demand: fc.boolean(),
	detectMultiplier: fc.integer({ min: 1, max: 255 }),
	myDiscriminator: fc.integer({ min: 1, max: 0xffffffff }),
	yourDiscriminator: fc.integer({ min: 1, max: 0xffffffff }),
	desiredMinTx: uint32,
	requiredMinRx: uint32,
	requiredMinEchoRx: uint32,
});
const profile: fc.Arbitrary<BfdProfile> = fc.record({
	transmitInterval: fc.integer({ min: 10, max: 3000 }),
	receiveInterval: fc.integer({ min: 10, max: 3000 }),
	detectMultiplier: fc.integer({ min: 1, max: 10 }),
	passive: fc.boolean(),
	minimumTtl: fc.constant(254),
});

test('what is encoded is decoded', () => {
	fc.assert(
		fc.property(packet, ({ ...value }) =>
			assert.deepEqual(decodeControl(encodeControl(value)), { ok: true, packet: value }),
		),
	);
});

test('random bytes never throw, and what is taken is well formed', () => {
	fc.assert(
		fc.property(fc.uint8Array({ maxLength: 64 }), (bytes) => {
			const decoded = decodeControl(bytes);
			if (decoded.ok) assert.ok(decoded.packet.myDiscriminator !== 0 && decoded.packet.detectMultiplier > 0);
		}),
		{ numRuns: 5000 },
	);
});

test('a session fed with any packets at any times stays sane', () => {
	const event = fc.record({ after: fc.nat({ max: 5000 }), packet: fc.option(packet), profile: fc.option(profile) });
	fc.assert(
		fc.property(profile, fc.array(event, { maxLength: 30 }), (first, events) => {
			let session = newSession(first, 7, 0, () => 0.5);
			let now = 0;
			for (const { after, packet: heard, profile: next } of events) {
				now += after;
				if (next !== null) session = configure(session, { ...next, passive: first.passive });
				const step = heard === null ? expire(session, now, () => 0.5) : receive(session, heard, now, () => 0.5);
				session = step.session;
				for (const sent of step.send) assert.ok(decodeControl(encodeControl({ ...sent, diagnostic: 0 })).ok);
				assert.ok(Number.isFinite(deadline(session) ?? 0));
				assert.ok(session.state === 'Up' || session.effectiveTx >= 1_000_000);
				assert.ok(!session.polling || session.state === 'Up');
			}
		}),
	);
});

/** A small generator of its own: fast-check draws its seed. */
const randomFrom = (seed: number) => (): number => {
	seed = (Math.imul(seed, 1664525) + 1013904223) >>> 0;
	return seed / 2 ** 32;
};

type Flight = { readonly at: number; readonly to: 0 | 1; readonly packet: ControlPacket };
/** Two sessions on a wire that loses and delays packets, until `end` (ms). */
const world = (profiles: readonly [BfdProfile, BfdProfile], loss: number, delay: number, random: () => number) => {
	const sessions: [Session, Session] = [newSession(profiles[0], 1, 0, random), newSession(profiles[1], 2, 0, random)];
	let flights: Flight[] = [];
	let now = 0;
	const state = { loss, changes: 0 };
	const put = (who: 0 | 1, step: { session: Session; send: readonly ControlPacket[] }): void => {
		if (sessions[who].state !== step.session.state) state.changes++;
		sessions[who] = step.session;
		for (const sent of step.send) {
			if (random() >= state.loss) flights.push({ at: now + random() * delay, to: who === 0 ? 1 : 0, packet: sent });
		}
	};
	const run = (end: number): void => {
		for (;;) {
			const due = [deadline(sessions[0]) ?? Infinity, deadline(sessions[1]) ?? Infinity] as const;
			const arrival = Math.min(Infinity, ...flights.map((flight) => flight.at));
			const next = Math.min(due[0], due[1], arrival);
			if (next > end) break;
			now = Math.max(now, next);
			if (arrival === next) {
				const flight = flights.find(({ at }) => at === arrival) as Flight;
				flights = flights.filter((other) => other !== flight);
				const yours = flight.packet.yourDiscriminator;
				if (yours === 0 || yours === sessions[flight.to].localDiscriminator) {
					put(flight.to, receive(sessions[flight.to], flight.packet, now, random));
				}
			} else {
				const who = due[0] === next ? 0 : 1;
				put(who, expire(sessions[who], now, random));
			}
		}
		now = end;
	};
	return { sessions, run, state, cut: () => (state.loss = 1) };
};

test('two sessions on a lossy link come up, agree on timers, stay up when it is clean, and both see it die', () => {
	const active = profile.map((one) => ({
		...one,
		detectMultiplier: Math.max(2, one.detectMultiplier),
		passive: false,
	}));
	fc.assert(
		fc.property(active, active, fc.integer(), fc.double({ min: 0, max: 0.4, noNaN: true }), (a, b, seed, loss) => {
			const { sessions, run, state, cut } = world([a, b], loss, 2, randomFrom(seed));
			run(60_000);
			state.loss = 0;
			run(120_000);
			assert.deepEqual(
				sessions.map((one) => one.state),
				['Up', 'Up'],
			);
			assert.equal(transmitInterval(sessions[0]), Math.max(a.transmitInterval, b.receiveInterval));
			assert.equal(transmitInterval(sessions[1]), Math.max(b.transmitInterval, a.receiveInterval));
			assert.equal(detectionTime(sessions[0]), b.detectMultiplier * transmitInterval(sessions[1]));
			assert.equal(detectionTime(sessions[1]), a.detectMultiplier * transmitInterval(sessions[0]));
			assert.ok(!sessions[0].polling && !sessions[1].polling);
			state.changes = 0;
			run(180_000);
			assert.equal(state.changes, 0, 'no flap on a clean link');
			cut();
			run(180_000 + Math.max(detectionTime(sessions[0]), detectionTime(sessions[1])) + 2);
			assert.deepEqual(
				sessions.map((one) => one.state),
				['Down', 'Down'],
			);
		}),
		{ numRuns: 60 },
	);
});

test('one passive side comes up too', () => {
	fc.assert(
		fc.property(fc.integer(), (seed) => {
			const { sessions, run, state } = world(
				[defaultBfdProfile, { ...defaultBfdProfile, passive: true }],
				0.2,
				2,
				randomFrom(seed),
			);
			run(60_000);
			state.loss = 0;
			run(70_000);
			assert.deepEqual(
				sessions.map((one) => one.state),
				['Up', 'Up'],
			);
		}),
		{ numRuns: 30 },
	);
});
