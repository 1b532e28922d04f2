import assert from 'node:assert/strict';
import { beforeEach, describe, it } from 'node:test';
import { COUNTER, COUNTERS, createEngine, type Engine } from '../../bird/bfd/engine.ts';
import { type ControlPacket, decodeControl, encodeControl } from '../../bird/bfd/packet.ts';
import type { SessionReport } from '../../bird/bfd/report.ts';
import type { BfdSockets } from '../../bird/bfd/sockets.ts';
import type { TtlRule } from '../../bird/bfd/ttl-filter.ts';
import { type BfdSessionOptions, type BfdStateChange, defaultBfdProfile } from '../../bird/bfd/types.ts';
import type { Timers } from '../../bird/timers.ts';

/** A clock that tests move, and what is to be done later. */
const createClock = () => {
	let now = 0;
	let drawn = 0;
	let tasks: { at: number; run: () => void }[] = [];
	let soon: (() => void)[] = [];
	const timers: Timers = {
		now: () => now,
		start: (milliseconds, run) => {
			// As Node does: whole milliseconds, at least one.
			const task = { at: now + Math.max(1, Math.trunc(milliseconds)), run };
			tasks.push(task);
			return {
				refresh: () => {},
				cancel: () => {
					tasks = tasks.filter((other) => other !== task);
				},
			};
		},
		soon: (task) => void soon.push(task),
		random: () => {
			drawn = (drawn + 0.61803) % 1;
			return drawn;
		},
	};
	/** Runs what is due; what waits for the event loop runs after `meanwhile`, as after packets were read. */
	const step = (meanwhile: () => void = () => {}): boolean => {
		const [due] = tasks.filter((task) => task.at <= now).sort((a, b) => a.at - b.at);
		if (due === undefined && soon.length === 0) return false;
		tasks = tasks.filter((task) => task !== due);
		due?.run();
		meanwhile();
		const now_ = soon;
		soon = [];
		for (const task of now_) task();
		return true;
	};
	const pass = (milliseconds: number): void => {
		for (const end = now + milliseconds; ; ) {
			while (step());
			const next = Math.min(end, ...tasks.map((task) => task.at));
			now = next;
			if (next === end && !tasks.some((task) => task.at <= end)) return;
		}
	};
	return { timers, pass, step, jump: (milliseconds: number) => (now += milliseconds) };
};

const options: BfdSessionOptions = {
	peer: 'tor',
	address: '192.0.2.2',
	localAddress: '192.0.2.1',
	multihop: false,
	profile: defaultBfdProfile,
};

describe('BFD engine', () => {
	let clock: ReturnType<typeof createClock>;
	let engine: Engine;
	let counters: Int32Array;
	let sent: { readonly to: string; readonly packet: ControlPacket }[];
	let changes: BfdStateChange[];
	let reports: SessionReport[];
	let inbound: Map<string, (bytes: Uint8Array, source: string) => void>;
	let rules: Map<string, readonly TtlRule[]>;
	let failing: string | undefined;

	beforeEach(() => {
		clock = createClock();
		counters = new Int32Array(COUNTERS);
		[sent, changes, reports, failing] = [[], [], [], undefined];
		inbound = new Map();
		rules = new Map();
		const sockets: BfdSockets = {
			listen: (at, received) => {
				const key = `${at.localAddress} ${at.port}`;
				if (failing !== undefined) return { ok: false, error: failing };
				inbound.set(key, received);
				return {
					ok: true,
					socket: { allow: (allowed) => void rules.set(key, allowed), close: () => void inbound.delete(key) },
				};
			},
			sender: ({ address }) => ({
				ok: true,
				socket: {
					send: (bytes, failed) => {
						if (failing !== undefined) {
							failed(failing);
							return;
						}
						const decoded = decodeControl(bytes);
						assert.ok(decoded.ok);
						sent.push({ to: address, packet: decoded.packet });
					},
					close: () => {},
				},
			}),
		};
		engine = createEngine(
			{ sockets, timers: clock.timers, wallClock: () => new Date(0) },
			{ report: (report) => reports.push(report), changed: (change) => changes.push(change) },
		);
	});

	const last = (): ControlPacket => {
		const found = sent.at(-1)?.packet;
		assert.ok(found);
		return found;
	};
	const hear = (state: ControlPacket['state'], more: Partial<ControlPacket> = {}, source = options.address): void =>
		inbound.get('192.0.2.1 3784')?.(
			encodeControl({
				...last(),
				state,
				diagnostic: 0,
				poll: false,
				final: false,
				myDiscriminator: 99,
				yourDiscriminator: last().myDiscriminator,
				desiredMinTx: 300_000,
				...more,
			}),
			source,
		);
	const up = (): void => {
		engine.add(options, counters);
		clock.pass(100);
		hear('Down', { yourDiscriminator: 0 });
		hear('Up');
		assert.equal(changes.at(-1)?.state, 'Up');
	};

	it('finds the session by discriminator, or by address while there is none', () => {
		up();
		assert.deepEqual(
			changes.map(({ previous, state }) => `${previous} ${state}`),
			['Down Init', 'Init Up'],
		);
		assert.equal(counters[COUNTER.received], 2);
	});

	it('a wrong discriminator, another source and rubbish are refused and change nothing', () => {
		up();
		hear('Down', { yourDiscriminator: last().myDiscriminator ^ 1 });
		hear('Down', {}, '192.0.2.9');
		inbound.get('192.0.2.1 3784')?.(new Uint8Array(3), options.address);
		assert.equal(changes.at(-1)?.state, 'Up');
		assert.equal(counters[COUNTER.refused], 2, 'a stranger is nobody to count for');
	});

	it('silence is found within the detection time', () => {
		up();
		clock.pass(899);
		assert.equal(changes.at(-1)?.state, 'Up');
		clock.pass(2);
		assert.equal(changes.at(-1)?.state, 'Down');
		assert.match(changes.at(-1)?.reason ?? '', /detection time of 900 ms/);
	});

	it('after a pause of this process what was not read yet is read before the peer is called dead', () => {
		up();
		clock.jump(5_000);
		let unread = 3;
		// Every turn of the event loop brings one packet in.
		while (
			clock.step(() => {
				if (unread-- > 0) hear('Up');
			})
		);
		assert.equal(changes.at(-1)?.state, 'Up');
		clock.pass(901);
		assert.equal(changes.at(-1)?.state, 'Down');
	});

	it('a removed session tells AdminDown three times, then lets its socket go', () => {
		up();
		sent = [...sent.slice(-1)];
		engine.remove('tor');
		clock.pass(50);
		const states = sent.slice(1).map(({ packet }) => `${packet.state} ${packet.diagnostic}`);
		assert.deepEqual(states, ['AdminDown 7', 'AdminDown 7', 'AdminDown 7']);
		assert.equal(changes.at(-1)?.state, 'Up', 'nobody is told of what was asked for');
		clock.pass(10_000);
		assert.equal(inbound.size, 0);
	});

	it('removed and added again at once: a new session on the same socket', () => {
		up();
		const before = last().myDiscriminator;
		engine.remove('tor');
		engine.add(options, counters);
		clock.pass(2_000);
		assert.notEqual(last().myDiscriminator, before);
		hear('Down', { yourDiscriminator: 0 });
		assert.equal(changes.at(-1)?.state, 'Init');
	});

	it('stop tells every peer, then is done', () => {
		up();
		let done = false;
		engine.stop({ adminDown: true }, () => {
			done = true;
		});
		assert.equal(last().state, 'AdminDown');
		assert.equal(done, false);
		clock.pass(100);
		assert.equal(done, true);
	});

	it('a socket that cannot be opened is told and tried again', () => {
		failing = 'another process uses this UDP port';
		engine.add(options, counters);
		assert.match(reports.at(-1)?.lastError ?? '', /another process/);
		failing = undefined;
		clock.pass(2_100);
		assert.ok(sent.length > 0);
	});

	it('when sending fails while down, sockets are opened anew: an interface may be another one by now', () => {
		engine.add(options, counters);
		clock.pass(100);
		const first = inbound.get('192.0.2.1 3784');
		failing = 'ENODEV';
		clock.pass(3_000);
		assert.match(reports.at(-1)?.lastError ?? '', /ENODEV/);
		assert.equal(inbound.size, 0);
		failing = undefined;
		clock.pass(2_100);
		assert.notEqual(inbound.get('192.0.2.1 3784'), first);
		sent = [];
		clock.pass(1_000);
		assert.ok(sent.length > 0);
	});

	it('multihop has a port and minimum TTLs of its own', () => {
		const profile = { ...defaultBfdProfile, minimumTtl: 250 };
		engine.add(options, counters);
		engine.add({ ...options, peer: 'far', address: '203.0.113.1', multihop: true, profile }, counters);
		assert.deepEqual(rules.get('192.0.2.1 3784'), [{ address: '192.0.2.2', minimumTtl: 255 }]);
		assert.deepEqual(rules.get('192.0.2.1 4784'), [{ address: '203.0.113.1', minimumTtl: 250 }]);
	});
});
