import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { setImmediate as turn } from 'node:timers/promises';
import type { Problem } from '../../src/api/cluster.ts';
import type { Kind } from '../../src/api/objects.ts';
import { validate } from '../../src/api/validate.ts';
import type { AcceptedStatus } from '../../src/daemon/accepted.ts';
import { createProblemReporter, type ProblemReporter } from '../../src/daemon/problem-reporter.ts';
import type { Change } from '../../src/datastore/datastore.ts';
import type { KubernetesClient } from '../../src/datastore/kubernetes/client.ts';
import { type Failure, statusFailure, unreachable } from '../../src/datastore/kubernetes/failure.ts';
import type { Logger } from '../../src/logging.ts';

/** Reporters of several nodes on one clock that is moved by hand, before one API server of a few lines. */

const object = (kind: 'Node' | 'BGPPeer', name: string): Change => {
	const spec = kind === 'BGPPeer' ? { peerIP: '192.0.2.1', asNumber: 1 } : {};
	const apiVersion = kind === 'BGPPeer' ? 'manx.dev/v1' : 'v1';
	const result = validate({ apiVersion, kind, metadata: { name }, spec });
	assert.ok(result.type === 'object');
	return { type: 'set', object: result.object };
};

const bench = () => {
	let now = 0;
	const timers = new Set<{ at: number; run: () => void }>();
	const clock = {
		now: () => now,
		after: (milliseconds: number, run: () => void) => {
			const timer = { at: now + milliseconds, run };
			timers.add(timer);
			return () => void timers.delete(timer);
		},
		random: () => 0.5,
	};
	const pass = async (milliseconds: number): Promise<void> => {
		const end = now + milliseconds;
		for (;;) {
			const [next] = [...timers].filter(({ at }) => at <= end).sort((a, b) => a.at - b.at);
			if (next === undefined) break;
			timers.delete(next);
			now = next.at;
			next.run();
			for (let i = 0; i < 3; i++) await turn();
		}
		now = end;
	};

	const stored = new Map<string, { uid: string; version: number; status: AcceptedStatus | undefined }>();
	const put = (name: string, uid = name): void => {
		stored.set(name, { uid, version: 1, status: undefined });
	};
	const events = new Map<string, number>();
	const requests: string[] = [];
	const faults: { all?: Failure; of?: string; status?: Failure; onRead?: () => void } = {};
	const logged: string[] = [];
	const note = (_: object, message: string): void => void logged.push(message);
	const log: Logger = { debug: note, info: note, warn: note, error: note, child: () => log };
	const fails = (name: string): Failure | undefined =>
		faults.of === undefined || faults.of === name ? faults.all : undefined;
	const client: KubernetesClient = {
		patchNodeStatus: () => Promise.reject(new Error('not asked')),
		readObject: async (kind, key) => {
			requests.push(`GET ${kind} ${key}`);
			const failure = fails(`${kind} ${key}`);
			if (failure !== undefined) return { ok: false, failure };
			const found = stored.get(`${kind} ${key}`);
			if (found === undefined) return { ok: false, failure: statusFailure(404, {}) };
			const { uid, version, status } = found;
			const value = structuredClone({ metadata: { uid, resourceVersion: String(version) }, status });
			faults.onRead?.();
			return { ok: true, value };
		},
		patchStatus: async (kind, key, status, resourceVersion) => {
			requests.push(`PATCH ${kind} ${key}`);
			if (faults.status !== undefined) return { ok: false, failure: faults.status };
			const found = stored.get(`${kind} ${key}`);
			assert.ok(found);
			if (resourceVersion !== String(found.version)) return { ok: false, failure: statusFailure(409, {}) };
			found.version++;
			found.status = status as AcceptedStatus;
			return { ok: true, changed: true };
		},
		createEvent: async ({ kind, key, uid, type, reason, message, shared }) => {
			requests.push(`POST ${kind} ${key}`);
			assert.ok(shared && type === 'Warning' && uid === stored.get(`${kind} ${key}`)?.uid);
			const text = `${kind} ${key} ${uid}: ${reason}: ${message}`;
			const changed = !events.has(text);
			events.set(text, (events.get(text) ?? 0) + 1);
			return { ok: true, changed };
		},
	};
	const reporters: ProblemReporter[] = [];
	const reporter = (nodeName: string, problems: () => readonly Problem[] | undefined, kinds?: readonly Kind[]) => {
		const all: readonly Kind[] = ['Node', 'NetworkPolicy', 'BGPConfiguration', 'BGPPeer'];
		const date = (): Date => new Date(now);
		const made = createProblemReporter({ client, nodeName, kinds: kinds ?? all, problems, log, clock, date });
		reporters.push(made);
		return made;
	};
	/** Everybody is told of it. */
	const tell = (...changes: readonly Change[]): void => {
		for (const one of reporters) one.onEvent({ changes, inSync: true, generation: 0 });
	};
	const accepted = (name: string) => stored.get(name)?.status?.conditions.find(({ type }) => type === 'Accepted');
	return { pass, put, stored, events, requests, faults, logged, reporter, tell, accepted };
};

const self: Problem = {
	object: 'BGPPeer tor',
	field: 'spec.peerIP',
	reason: '192.0.2.11 is the address of Node n1',
	code: 'PeerIsSelf',
};
const refusal = (name: string): Problem => ({
	object: `NetworkPolicy default/${name}`,
	field: 'spec.ingress[0].ports[0].endPort',
	reason: 'needs a numeric port that is not greater',
});
const writes = (requests: readonly string[]): readonly string[] => requests.filter((one) => !one.startsWith('GET'));

describe('the problem reporter', () => {
	it('says an Event and a condition once, however long the problem lasts, and True again when it is gone', async () => {
		const b = bench();
		let found: readonly Problem[] = [self];
		b.put('BGPPeer tor');
		b.reporter('n1', () => found);
		b.tell(object('Node', 'n1'), object('BGPPeer', 'tor'));
		await b.pass(5000);
		assert.deepEqual(
			[...b.events.keys()],
			['BGPPeer tor BGPPeer tor: PeerIsSelf: spec.peerIP 192.0.2.11 is the address of Node n1'],
		);
		const { lastTransitionTime, ...condition } = b.accepted('BGPPeer tor') ?? {};
		assert.deepEqual(condition, {
			type: 'Accepted',
			status: 'False',
			reason: 'PeerIsSelf',
			message: 'spec.peerIP 192.0.2.11 is the address of Node n1',
		});
		const before = [...b.requests];
		await b.pass(1_200_000);
		assert.deepEqual(b.requests, before, 'nothing more');
		found = [];
		await b.pass(5000);
		assert.equal(b.accepted('BGPPeer tor')?.status, 'True');
		assert.notEqual(b.accepted('BGPPeer tor')?.lastTransitionTime, lastTransitionTime);
		assert.deepEqual(b.stored.get('BGPPeer tor')?.status?.problems, []);
		assert.deepEqual(writes(b.requests), ['PATCH BGPPeer tor', 'POST BGPPeer tor', 'PATCH BGPPeer tor']);
	});

	it('writes once for ten nodes that find the same, and leaves conditions of others alone', async () => {
		const b = bench();
		b.put('BGPPeer tor');
		const other = { type: 'Reachable', status: 'True', lastTransitionTime: '2026-01-01T00:00:00Z' };
		const tor = b.stored.get('BGPPeer tor');
		assert.ok(tor);
		tor.status = { problems: [], conditions: [other] };
		for (let n = 0; n < 10; n++) b.reporter(`n${n}`, () => [self]);
		b.tell(object('BGPPeer', 'tor'));
		await b.pass(60_000);
		assert.equal(b.events.size, 1);
		assert.equal(tor.version, 2, 'one write');
		assert.deepEqual(tor.status?.conditions[0], other);
	});

	it('keeps what only one node finds apart, until that node takes it back or is gone', async () => {
		const b = bench();
		b.put('BGPPeer tor');
		const here = (node: string): Problem => ({ ...self, node, code: 'NoPassword', reason: 'has no password' });
		let first: readonly Problem[] = [here('n1')];
		b.reporter('n1', () => first);
		b.reporter('n2', () => [here('n2')]);
		b.reporter('n3', () => []);
		b.tell(object('Node', 'n1'), object('Node', 'n2'), object('Node', 'n3'), object('BGPPeer', 'tor'));
		await b.pass(60_000);
		const nodes = (): unknown => b.stored.get('BGPPeer tor')?.status?.problems.map(({ node }) => node);
		assert.deepEqual(nodes(), ['n1', 'n2']);
		assert.match(b.accepted('BGPPeer tor')?.message ?? '', /^on Node n1: spec\.peerIP has no password; on Node n2: /);
		first = [];
		await b.pass(10_000);
		assert.deepEqual(nodes(), ['n2']);
		assert.equal(b.accepted('BGPPeer tor')?.status, 'False');
		b.tell({ type: 'delete', kind: 'Node', key: 'n2' });
		first = [{ ...self }];
		await b.pass(10_000);
		assert.deepEqual(nodes(), [undefined], 'n2 does not exist any more');
	});

	it('tells of good objects that they are accepted, of those made anew too, and of no other kind', async () => {
		const b = bench();
		b.put('BGPPeer tor');
		b.put('Node n1');
		b.reporter('n1', () => []);
		b.tell(object('Node', 'n1'), object('BGPPeer', 'tor'));
		await b.pass(5000);
		assert.equal(b.accepted('BGPPeer tor')?.status, 'True');
		b.tell({ type: 'delete', kind: 'BGPPeer', key: 'tor' });
		b.put('BGPPeer tor', 'another');
		b.tell(object('BGPPeer', 'tor'));
		await b.pass(5000);
		assert.equal(b.accepted('BGPPeer tor')?.status, 'True');
		assert.deepEqual(writes(b.requests), ['PATCH BGPPeer tor', 'PATCH BGPPeer tor']);
	});

	it('is silent before everything is read and while nothing is known', async () => {
		const b = bench();
		b.put('BGPPeer tor');
		let found: readonly Problem[] | undefined;
		const one = b.reporter('n1', () => found);
		one.onEvent({ changes: [object('BGPPeer', 'tor')], inSync: false, generation: 0 });
		found = [self];
		await b.pass(5000);
		found = undefined;
		b.tell();
		await b.pass(5000);
		assert.deepEqual(b.requests, []);
	});

	it('does not flood: a thousand refused objects come one after the other', async () => {
		const b = bench();
		const names = Array.from({ length: 1000 }, (_, n) => `p${n}`);
		for (const name of names) b.put(`NetworkPolicy default/${name}`);
		b.reporter('n1', () => names.map(refusal));
		b.tell();
		let before = 0;
		for (let second = 0; second < 60; second += 10) {
			await b.pass(10_000);
			assert.ok(b.requests.length - before <= (second === 0 ? 50 : 22), `${b.requests.length - before} in 10 s`);
			before = b.requests.length;
		}
		await b.pass(1_500_000);
		assert.equal(b.events.size, 1000, 'all in the end');
	});

	it('says an Event again once the API server may have forgotten it', async () => {
		const b = bench();
		b.put('NetworkPolicy default/p');
		b.reporter('n1', () => [refusal('p')]);
		b.tell();
		await b.pass(3 * 3_600_000);
		const [times = 0] = b.events.values();
		assert.ok(times >= 3 && times <= 8, `${times} times in 3 hours`);
		assert.match([...b.events.keys()][0] ?? '', /: Refused: spec\.ingress/);
	});

	it('waits longer and longer while the API server fails, says so once, and then catches up', async () => {
		const b = bench();
		b.put('BGPPeer tor');
		b.faults.all = unreachable('the API server cannot be reached');
		b.reporter('n1', () => [self]);
		b.tell(object('BGPPeer', 'tor'));
		await b.pass(600_000);
		assert.ok(b.requests.length < 25, `${b.requests.length} requests in ten minutes`);
		assert.equal(b.logged.length, 1);
		delete b.faults.all;
		await b.pass(62_000);
		assert.equal(b.accepted('BGPPeer tor')?.status, 'False');
		assert.equal(b.events.size, 1);
	});

	it('is not held up by one object that cannot be told, nor by a status that cannot be written', async () => {
		const b = bench();
		for (const name of ['BGPPeer tor', 'BGPPeer odd', 'NetworkPolicy default/p']) b.put(name);
		b.faults.all = statusFailure(422, { message: 'no' });
		b.faults.of = 'BGPPeer odd';
		b.faults.status = statusFailure(403, { message: 'no' });
		b.reporter('n1', () => [{ ...self, object: 'BGPPeer odd' }, self, refusal('p')]);
		b.tell(object('BGPPeer', 'odd'), object('BGPPeer', 'tor'));
		await b.pass(30_000);
		assert.equal(b.events.size, 2, [...b.events.keys()].join('\n'));
		assert.match(b.logged.join('\n'), /apply the ClusterRole/);
	});

	it('reads again when another node was faster', async () => {
		const b = bench();
		b.put('BGPPeer tor');
		const tor = b.stored.get('BGPPeer tor');
		assert.ok(tor);
		b.faults.onRead = () => {
			tor.version++;
			delete b.faults.onRead;
		};
		b.reporter('n1', () => [self]);
		b.tell(object('BGPPeer', 'tor'));
		await b.pass(10_000);
		assert.equal(b.accepted('BGPPeer tor')?.status, 'False');
		assert.deepEqual(b.logged, []);
	});

	it('has nothing to say of what was deleted, of other kinds and of what cannot be named', async () => {
		const b = bench();
		const found = [refusal('gone'), { ...self, object: 'Pod default/p' }, { ...self, object: '' }];
		b.reporter('n1', () => found);
		b.tell();
		await b.pass(60_000);
		assert.deepEqual(b.requests, ['GET NetworkPolicy default/gone']);
		assert.deepEqual(b.logged, []);
	});
});
