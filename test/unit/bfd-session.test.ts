import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { ControlPacket } from '../../bird/bfd/packet.ts';
import {
	administrativelyDown,
	configure,
	deadline,
	detectionTime,
	expire,
	newSession,
	receive,
	type Session,
	transmitInterval,
} from '../../bird/bfd/session.ts';
import { type BfdProfile, type BfdState, DIAGNOSTIC, defaultBfdProfile } from '../../bird/bfd/types.ts';

const random = (): number => 0.5;
const fresh = (profile: Partial<BfdProfile> = {}): Session =>
	newSession({ ...defaultBfdProfile, ...profile }, 7, 0, random);
const from = (state: BfdState, more: Partial<ControlPacket> = {}): ControlPacket => ({
	diagnostic: 0,
	state,
	poll: false,
	final: false,
	controlPlaneIndependent: false,
	demand: false,
	detectMultiplier: 3,
	myDiscriminator: 9,
	yourDiscriminator: 7,
	desiredMinTx: 300_000,
	requiredMinRx: 300_000,
	requiredMinEchoRx: 0,
	...more,
});
const hear = (session: Session, packet: ControlPacket, now = 0) => receive(session, packet, now, random);
/** Up, and the Poll Sequence about the faster pace over. */
const upSession = (profile: Partial<BfdProfile> = {}): Session => {
	const up = hear(fresh(profile), from('Init')).session;
	return hear(up, from('Up', { final: true })).session;
};

describe('BFD state machine (RFC 5880 §6.8.6)', () => {
	const init = hear(fresh(), from('Down')).session;
	const admin = administrativelyDown(upSession(), 0, random).session;
	const sessions: Readonly<Record<BfdState, Session>> = {
		Down: fresh(),
		Init: init,
		Up: upSession(),
		AdminDown: admin,
	};
	const table: Readonly<Record<BfdState, Readonly<Record<BfdState, BfdState>>>> = {
		Down: { AdminDown: 'Down', Down: 'Init', Init: 'Up', Up: 'Down' },
		Init: { AdminDown: 'Down', Down: 'Init', Init: 'Up', Up: 'Up' },
		Up: { AdminDown: 'Down', Down: 'Down', Init: 'Up', Up: 'Up' },
		AdminDown: { AdminDown: 'AdminDown', Down: 'AdminDown', Init: 'AdminDown', Up: 'AdminDown' },
	};
	for (const [state, row] of Object.entries(table)) {
		for (const [heard, next] of Object.entries(row)) {
			it(`${state} hears ${heard}: ${next}`, () => {
				const { session, send } = hear(sessions[state as BfdState], from(heard as BfdState));
				assert.equal(session.state, next);
				assert.equal(send.length, state === next ? 0 : 1, 'a change is told at once');
				if (send[0]) assert.equal(send[0].state, next);
			});
		}
	}

	it('the peer going down is told with diagnostic 3, its AdminDown too', () => {
		for (const heard of ['Down', 'AdminDown'] as const) {
			const { session } = hear(sessions.Up, from(heard));
			assert.equal(session.localDiagnostic, DIAGNOSTIC.neighborSignaledDown);
		}
	});

	it('a Poll is answered with a Final at once, in the same packet as a change of state', () => {
		const [answer] = hear(sessions.Up, from('Up', { poll: true })).send;
		assert.deepEqual([answer?.final, answer?.poll], [true, false]);
		const change = hear(fresh(), from('Init', { poll: true })).send;
		assert.deepEqual(
			change.map(({ state, final, poll }) => [state, final, poll]),
			[['Up', true, false]],
		);
	});

	it('the C bit is never set: our BFD dies with our BGP', () => {
		assert.equal(hear(fresh(), from('Init')).send[0]?.controlPlaneIndependent, false);
	});
});

describe('BFD timers', () => {
	it('slow until Up, then the faster pace at once, told by a Poll Sequence (§6.8.3)', () => {
		const down = fresh();
		assert.equal(down.desiredMinTx, 1_000_000);
		const { session: up, send } = hear(down, from('Init'));
		assert.deepEqual([up.polling, send[0]?.poll, send[0]?.desiredMinTx], [true, true, 300_000]);
		assert.equal(transmitInterval(up), 300);
		const over = hear(up, from('Up', { final: true })).session;
		assert.equal(over.polling, false);
	});

	it('the slower of both sides counts (§6.8.2, §6.8.4)', () => {
		const up = hear(upSession(), from('Up', { requiredMinRx: 700_000, desiredMinTx: 500_000, detectMultiplier: 4 }));
		assert.equal(transmitInterval(up.session), 700);
		assert.equal(detectionTime(up.session), 2000);
		assert.equal(up.session.detectAt, 2000);
	});

	it('jitter takes up to a quarter; 10 to 25 % with multiplier 1 (§6.8.7)', () => {
		for (const [detectMultiplier, least, most] of [
			[3, 225, 300],
			[1, 225, 270],
		] as const) {
			for (const value of [0, 0.999999]) {
				const due = { ...upSession({ detectMultiplier }), transmitAt: 1000 };
				const { session, send } = expire({ ...due, detectAt: undefined }, 1000, () => value);
				assert.equal(send.length, 1);
				const wait = (session.transmitAt ?? 0) - 1000;
				assert.ok(wait >= least && wait <= most, `${wait}`);
			}
		}
	});

	it('silence for the detection time: Down with diagnostic 1, told at once, and the discriminator forgotten', () => {
		const up = { ...upSession(), transmitAt: 10_000 };
		assert.equal(up.detectAt, 900);
		assert.equal(expire(up, 899, random).session.state, 'Up');
		const { session, send } = expire(up, 900, random);
		assert.equal(session.state, 'Down');
		assert.equal(session.remoteDiscriminator, 0);
		assert.deepEqual([send[0]?.state, send[0]?.diagnostic, send[0]?.yourDiscriminator], ['Down', 1, 0]);
		assert.match(session.reason, /detection time of 900 ms/);
	});

	it('slower intervals while Up hold only when the Poll Sequence is over, faster ones at once (§6.8.3)', () => {
		const profile = { ...defaultBfdProfile, transmitInterval: 600, receiveInterval: 200 };
		const polling = configure(upSession(), profile);
		assert.deepEqual([polling.desiredMinTx, polling.requiredMinRx, polling.polling], [600_000, 200_000, true]);
		assert.deepEqual([polling.effectiveTx, polling.effectiveRx], [300_000, 300_000]);
		const over = hear(polling, from('Up', { final: true })).session;
		assert.deepEqual([over.effectiveTx, over.effectiveRx, over.polling], [600_000, 200_000, false]);
		const faster = configure(upSession(), { ...defaultBfdProfile, transmitInterval: 100, receiveInterval: 400 });
		assert.deepEqual([faster.effectiveTx, faster.effectiveRx], [100_000, 400_000]);
	});

	it('a change during a Poll Sequence is polled after it', () => {
		const once = configure(upSession(), { ...defaultBfdProfile, transmitInterval: 600 });
		const twice = configure(once, { ...defaultBfdProfile, transmitInterval: 900 });
		const first = hear(twice, from('Up', { final: true })).session;
		assert.deepEqual([first.polling, first.effectiveTx], [true, 300_000]);
		const second = hear(first, from('Up', { final: true })).session;
		assert.deepEqual([second.polling, second.effectiveTx], [false, 900_000]);
	});

	it('nothing periodic to a peer that wants none (RequiredMinRx 0) or is in demand mode', () => {
		assert.equal(hear(upSession(), from('Up', { requiredMinRx: 0 })).session.transmitAt, undefined);
		assert.equal(hear(upSession(), from('Up', { demand: true })).session.transmitAt, undefined);
		assert.notEqual(hear(upSession(), from('Up')).session.transmitAt, undefined);
	});

	it('a passive side is silent until it hears its peer', () => {
		const passive = fresh({ passive: true });
		assert.equal(deadline(passive), undefined);
		const { session, send } = hear(passive, from('Down'));
		assert.deepEqual([session.state, send.length], ['Init', 1]);
	});
});
