import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { createCounters } from '../../bird/counters.ts';
import type { PeerSessionStatus } from '../../bird/index.ts';
import { createSessionReporter, entryOf, forgottenNodes } from '../../src/daemon/session-reporter.ts';
import type { Clock } from '../../src/datastore/kubernetes/transport-types.ts';
import type { Logger } from '../../src/logging.ts';

const log: Logger = { debug: () => {}, info: () => {}, warn: () => {}, error: () => {}, child: () => log };
const session = (name: string, given: Partial<PeerSessionStatus> = {}): PeerSessionStatus => ({
	name,
	address: '192.0.2.1',
	asNumber: 65001,
	state: 'Established',
	since: '2026-01-01T00:00:00.123Z',
	uptimeSeconds: 1,
	lastError: '',
	received: 2,
	receivedByFamily: { 4: 1, 6: 1 },
	advertised: 1,
	holdTime: 90,
	families: ['1/1'],
	gracefulRestart: { agreed: true, peerRestartTime: 120, helping: false },
	counters: createCounters().read(),
	...given,
});

/** A reporter on a clock that is put forward by hand, before an API server of a few lines. */
const rig = (given: { nodes?: number; nodesOf?: number; others?: readonly string[] } = {}) => {
	let now = 0;
	const timers: { at: number; run: () => void }[] = [];
	const clock: Clock = {
		now: () => now,
		after: (milliseconds, run) => {
			const timer = { at: now + milliseconds, run };
			timers.push(timer);
			return () => timers.splice(timers.indexOf(timer), 1);
		},
		random: () => 0.5,
	};
	const status = Object.fromEntries((given.others ?? []).map((name) => [name, { state: 'Active' }]));
	const writes: { at: number; peer: string; entry: unknown }[] = [];
	const rigged = {
		sessions: [session('peer/tor'), session('mesh/n2')] as PeerSessionStatus[] | undefined,
		failing: false,
		writes,
		/** Seconds. */
		pass: async (seconds: number): Promise<void> => {
			const end = now + seconds * 1000;
			for (;;) {
				const next = timers.filter(({ at }) => at <= end).sort((a, b) => a.at - b.at)[0];
				if (next === undefined) break;
				now = next.at;
				timers.splice(timers.indexOf(next), 1);
				next.run();
				for (let turn = 0; turn < 8; turn++) await Promise.resolve();
			}
			now = end;
		},
	};
	createSessionReporter({
		client: {
			patchStatus: async (_kind, peer, body) => {
				if (rigged.failing) {
					const failure = { type: 'refused' as const, code: 500, reason: 'no', retryAfter: 0, tooLarge: false };
					return { ok: false, failure } as never;
				}
				writes.push({ at: now / 1000, peer, entry: (body as { nodes: Record<string, unknown> }).nodes.n1 });
				return { ok: true, changed: true };
			},
			readObject: async () => ({ ok: true, value: { status: { nodes: status } } }),
		},
		nodeName: 'n1',
		sessions: () => rigged.sessions,
		nodes: () => given.nodes ?? 3,
		nodesOf: () => given.nodesOf ?? 3,
		log,
		clock,
	});
	return rigged;
};
const states = (writes: readonly { entry: unknown }[]): (string | null)[] =>
	writes.map(({ entry }) => (entry === null ? null : (entry as { state: string }).state));

describe('the state of sessions on BGPPeers', () => {
	it('is written once, without the mesh, and not again while nothing changes', async () => {
		const { writes, pass } = rig();
		await pass(3600);
		assert.deepEqual(
			writes.map(({ peer, entry }) => [peer, entry]),
			[['tor', { state: 'Established', since: '2026-01-01T00:00:00Z', received: 2, advertised: 1, lastError: null }]],
		);
	});

	it('is nothing while nobody knows, and goes with the session', async () => {
		const r = rig();
		r.sessions = undefined;
		await r.pass(60);
		assert.equal(r.writes.length, 0);
		r.sessions = [session('peer/tor')];
		await r.pass(60);
		r.sessions = [];
		await r.pass(60);
		assert.deepEqual(states(r.writes), ['Established', null]);
	});

	it('follows what lasts, and not what flaps in between', async () => {
		const r = rig();
		await r.pass(60);
		for (let i = 0; i < 5; i++) {
			r.sessions = [session('peer/tor', { state: i % 2 ? 'Active' : 'Connect', lastError: 'refused' })];
			await r.pass(4);
		}
		assert.equal(r.writes.length, 2);
		assert.notEqual(states(r.writes)[1], 'Established');
		r.sessions = [session('peer/tor', { since: '2026-01-01T00:01:00Z' })];
		await r.pass(60);
		assert.equal(r.writes.length, 3);
		assert.equal(states(r.writes)[2], 'Established');
	});

	it('numbers alone are written a few times an hour', async () => {
		const r = rig();
		await r.pass(60);
		for (let i = 0; i < 360; i++) {
			r.sessions = [session('peer/tor', { received: i })];
			await r.pass(10);
		}
		assert.ok(r.writes.length <= 8, `${r.writes.length} writes in an hour`);
		assert.ok(r.writes.length >= 4, `${r.writes.length} writes in an hour`);
	});

	it('nodes of a large cluster do not speak at once', async () => {
		const r = rig({ nodes: 1000 });
		await r.pass(15);
		assert.equal(r.writes.length, 0);
		await r.pass(60);
		assert.equal(r.writes.length, 1);
	});

	it('of a peer of many nodes only what is not up is told, and only so much of it', async () => {
		const up = rig({ nodes: 1000, nodesOf: 1000 });
		await up.pass(600);
		assert.deepEqual(up.writes, []);
		up.sessions = [session('peer/tor', { state: 'Active', lastError: 'no route' })];
		await up.pass(120);
		up.sessions = [session('peer/tor')];
		await up.pass(120);
		assert.deepEqual(states(up.writes), ['Active', null]);
		const others = Array.from({ length: 50 }, (_, i) => `m${i}`);
		const crowded = rig({ nodes: 1000, nodesOf: 1000, others });
		crowded.sessions = [session('peer/tor', { state: 'Active' })];
		await crowded.pass(300);
		assert.deepEqual(crowded.writes, []);
	});

	it('an API server that fails is asked ever less often', async () => {
		const r = rig();
		r.failing = true;
		await r.pass(1800);
		r.failing = false;
		await r.pass(900);
		assert.deepEqual(states(r.writes), ['Established']);
	});

	it('of several sessions it is that of the first that is not up', () => {
		const entry = entryOf([
			session('peer/rr/n2'),
			session('peer/rr/n3', { state: 'Connect', held: 'too many prefixes', received: 5 }),
		]);
		assert.deepEqual([entry?.state, entry?.received, entry?.lastError], ['Held', 7, 'too many prefixes']);
		assert.equal(entryOf([]), undefined);
	});

	it('entries of nodes that are gone, or that have no session any more, are taken away', () => {
		const status = { nodes: { n1: {}, n2: {}, gone: {} } };
		const isNode = (name: string): boolean => name !== 'gone';
		assert.deepEqual(forgottenNodes(status, isNode, 'n1', true), { nodes: { gone: null } });
		assert.deepEqual(forgottenNodes(status, isNode, 'n1', false), { nodes: { n1: null, gone: null } });
		assert.equal(forgottenNodes({ nodes: { n2: {} } }, isNode, 'n1', false), undefined);
		assert.equal(forgottenNodes(undefined, isNode, 'n1', false), undefined);
	});
});
