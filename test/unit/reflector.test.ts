import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import type { Kind } from '../../src/api/objects.ts';
import { type Failure, garbled, statusFailure, unreachable } from '../../src/datastore/kubernetes/failure.ts';
import { createObjectCache } from '../../src/datastore/kubernetes/object-cache.ts';
import { createReflector } from '../../src/datastore/kubernetes/reflector.ts';
import { resources } from '../../src/datastore/kubernetes/resources.ts';
import type { Clock, ListHandlers, Transport, WatchHandlers } from '../../src/datastore/kubernetes/transport-types.ts';

/** A reflector whose server is the test's own hand and whose time passes only when told. */
const bench = (kind: Kind = 'Namespace') => {
	const resource = resources[kind];
	let now = 0;
	let nextTimer = 0;
	const timers = new Map<number, { at: number; run: () => void }>();
	const requests: string[] = [];
	const changes: string[] = [];
	const troubles: (string | undefined)[] = [];
	const refused: string[] = [];
	const state = new Map<string, string>();
	let listed = 0;
	let listing: ListHandlers | undefined;
	let watching: WatchHandlers | undefined;
	const clock: Clock = {
		now: () => now,
		random: () => 0.5,
		after: (milliseconds, run) => {
			const id = nextTimer++;
			timers.set(id, { at: now + milliseconds, run });
			return () => timers.delete(id);
		},
	};
	const transport: Transport = {
		list: (query, handlers) => {
			listing = handlers;
			requests.push(
				`list rv=${query.resourceVersion}${query.limit ? ` limit=${query.limit}` : ''}${query.continue ? ` continue=${query.continue}` : ''}`,
			);
			return () => {
				if (listing === handlers) listing = undefined;
			};
		},
		watch: (query, handlers) => {
			watching = handlers;
			requests.push(`watch rv=${query.resourceVersion}`);
			assert.ok(query.timeoutSeconds >= 300 && query.timeoutSeconds < 600);
			return () => {
				if (watching === handlers) watching = undefined;
			};
		},
	};
	const cache = createObjectCache(resource, (refusal) => refused.push(`${refusal.source} ${refusal.field}`));
	const reflector = createReflector({
		resource,
		cache,
		transport,
		clock,
		onChanges: (all) => {
			for (const change of all) {
				if (change.type === 'delete') state.delete(change.key);
				else state.set(change.object.metadata.name, change.object.metadata.labels.v ?? '');
				changes.push(change.type === 'delete' ? `-${change.key}` : `+${change.object.metadata.name}`);
			}
		},
		onListed: () => listed++,
		onTrouble: (reason) => troubles.push(reason),
	});
	const raw = (name: string, resourceVersion: string, v = 'a'): object => ({
		metadata: { name, uid: name, resourceVersion, labels: { v }, managedFields: [{ long: 'x' }] },
		...(kind === 'Node' && { spec: { podCIDRs: [v] } }),
	});
	const self = {
		requests,
		changes,
		troubles,
		refused,
		state,
		cache,
		reflector,
		raw,
		listed: () => listed,
		now: () => now,
		/** Answers the list under way. */
		list: (items: readonly object[], resourceVersion: string, token = '') => {
			assert.ok(listing, `no list under way: ${reflector.status().phase}`);
			for (const item of items) listing?.item(item);
			listing?.done({ resourceVersion, continue: token });
		},
		listItem: (item: object) => listing?.item(item),
		fail: (failure: Failure) => {
			const handlers = listing ?? watching;
			assert.ok(handlers, `nothing under way: ${reflector.status().phase}`);
			handlers.failed(failure);
		},
		open: () => {
			assert.ok(watching, `no watch under way: ${reflector.status().phase}`);
			watching?.opened();
		},
		event: (type: string, object: object) => watching?.event({ type, object }),
		rawEvent: (event: unknown) => watching?.event(event),
		end: () => watching?.ended(),
		endAfter: (milliseconds: number) => {
			self.pass(milliseconds);
			self.end();
		},
		bookmarkAndEnd: (version: string) => {
			self.event('BOOKMARK', { metadata: { resourceVersion: version } });
			self.end();
		},
		openThen: (next: () => void) => {
			self.open();
			next();
		},
		/** Lets time pass, timers running at their time. */
		pass: (milliseconds: number) => {
			const end = now + milliseconds;
			for (;;) {
				const next = [...timers].filter(([, one]) => one.at <= end).sort(([, a], [, b]) => a.at - b.at)[0];
				if (next === undefined) break;
				timers.delete(next[0]);
				now = next[1].at;
				next[1].run();
			}
			now = end;
		},
		/** Listed with one object, and watching. */
		settled: () => {
			reflector.start();
			self.list([raw('a', '5')], '10');
			self.open();
			requests.length = changes.length = troubles.length = 0;
			return self;
		},
	};
	return self;
};

type Bench = ReturnType<typeof bench>;

const gone = statusFailure(410, { message: 'too old resource version: 10 (20)' });
const tooLarge = statusFailure(504, { message: 'Too large resource version: 10, current: 3' });
const down = unreachable('connect ECONNREFUSED');

describe('a reflector', () => {
	it('lists from the cache, then watches from there', () => {
		const b = bench();
		b.reflector.start();
		assert.deepEqual(b.requests, ['list rv=0']);
		b.list([b.raw('a', '5'), b.raw('b', '7')], '10');
		assert.deepEqual(b.changes, ['+a', '+b']);
		assert.equal(b.listed(), 1);
		assert.deepEqual(b.requests, ['list rv=0', 'watch rv=10']);
		b.open();
		b.event('ADDED', b.raw('c', '11'));
		b.event('MODIFIED', b.raw('a', '12', 'b'));
		b.event('DELETED', b.raw('b', '13'));
		assert.deepEqual(b.changes, ['+a', '+b', '+c', '+a', '-b']);
		assert.equal(b.reflector.status().resourceVersion, '13');
	});

	it('says that it is in sync when there is nothing at all', () => {
		const b = bench();
		b.reflector.start();
		b.list([], '10');
		assert.equal(b.listed(), 1);
	});

	it('tells no change where nothing we use has changed, and keeps what it knew', () => {
		const b = bench().settled();
		b.event('MODIFIED', b.raw('a', '11'));
		assert.deepEqual(b.changes, []);
		assert.equal(b.reflector.status().resourceVersion, '11');
	});

	it('refuses one object by itself and keeps its last good version', () => {
		const b = bench('Node');
		b.reflector.start();
		b.list([b.raw('a', '5', '10.0.0.0/24'), b.raw('b', '6', '10.0.1.1/24')], '10');
		b.open();
		assert.deepEqual(b.changes, ['+a']);
		assert.deepEqual(b.refused, ['/api/v1/nodes/b spec.podCIDRs[0]']);
		b.event('MODIFIED', b.raw('a', '11', 'nonsense'));
		b.event('MODIFIED', b.raw('a', '12', 'nonsense'));
		assert.deepEqual(b.changes, ['+a']);
		assert.equal(b.refused.length, 2);
		b.event('MODIFIED', b.raw('b', '13', '10.0.1.0/24'));
		assert.deepEqual(b.changes, ['+a', '+b']);
		assert.deepEqual(
			[...b.cache.refusals()].map((refusal) => refusal.object),
			['Node a'],
		);
		b.event('DELETED', b.raw('a', '14', 'nonsense'));
		assert.deepEqual(b.changes, ['+a', '+b', '-a']);
		assert.deepEqual([...b.cache.refusals()], []);
	});

	it('lists again what a refused object was when the list still holds it', () => {
		const b = bench('Node');
		b.reflector.start();
		b.list([b.raw('a', '5', '10.0.0.0/24')], '10');
		b.open();
		b.fail(gone);
		b.pass(1000);
		b.list([b.raw('a', '15', 'nonsense')], '20');
		assert.deepEqual(b.changes, ['+a']);
	});

	/** Name, what happens to a watching reflector, the requests that follow within 5 s (server silent), the changes. */
	const table: [string, (b: Bench) => void, string[], string[]][] = [
		['ends its watch in good order: on from where it was', (b) => b.endAfter(400_000), ['watch rv=10'], []],
		['sends a bookmark, then ends', (b) => b.bookmarkAndEnd('90'), ['watch rv=90'], []],
		['says 410: the difference is found by a list', (b) => b.fail(gone), ['list rv=10'], []],
		['sends an ERROR of 410', (b) => b.event('ERROR', { code: 410, message: 'gone' }), ['list rv=10'], []],
		['sends an ERROR of 500: the watch is opened again', (b) => b.event('ERROR', { code: 500 }), ['watch rv=10'], []],
		['sends what is no JSON', (b) => b.fail(garbled('a line')), ['list rv=10'], []],
		['sends an event of a type nobody knows', (b) => b.rawEvent({ type: 'X', object: {} }), ['list rv=10'], []],
		['sends null', (b) => b.rawEvent(null), ['list rv=10'], []],
		['sends another kind', (b) => b.event('ADDED', { ...b.raw('x', '11'), kind: 'Pod' }), ['list rv=10'], []],
		['sends an object without a version', (b) => b.event('ADDED', { metadata: { name: 'x' } }), ['list rv=10'], []],
		['breaks the connection: its data is compared first', (b) => b.fail(down), ['list rv= limit=1'], []],
		['refuses the watch as nonsense', (b) => b.fail(statusFailure(400, null)), ['list rv=10'], []],
		['is overloaded: waits as told', (b) => b.fail(statusFailure(429, null, '7')), [], []],
		[
			'restored from a backup: reads it anew',
			(b) => {
				b.fail(down);
				b.pass(1000);
				b.list([], '3');
				b.list([b.raw('z', '2')], '3');
				b.requests.splice(0, 2);
			},
			['watch rv=3'],
			['-a', '+z'],
		],
		[
			'is back with newer data: on from where it was',
			(b) => {
				b.fail(down);
				b.pass(1000);
				b.list([], '50');
			},
			['list rv= limit=1', 'watch rv=10'],
			[],
		],
		[
			'lags behind what we have: the store is asked, in pages',
			(b) => {
				b.fail(gone);
				b.pass(1000);
				b.fail(tooLarge);
				b.pass(1000);
				b.list([b.raw('a', '5')], '20', 'token');
				b.list([b.raw('b', '6')], '20');
			},
			['list rv=10', 'list rv= limit=500', 'list rv= limit=500 continue=token', 'watch rv=20'],
			['+b'],
		],
		[
			'lets a continue token expire: all is asked for at once',
			(b) => {
				b.fail(gone);
				b.pass(1000);
				b.fail(gone);
				b.pass(1000);
				b.list([], '20', 'token');
				b.fail(gone);
			},
			['list rv=10', 'list rv= limit=500', 'list rv= limit=500 continue=token', 'list rv='],
			[],
		],
		[
			'breaks off in the middle of a list: nothing of it counts, pages next',
			(b) => {
				b.fail(gone);
				b.pass(1000);
				b.listItem(b.raw('half', '5'));
				b.fail(down);
			},
			['list rv=10', 'list rv= limit=500'],
			[],
		],
		[
			'lists fewer objects than were known',
			(b) => {
				b.fail(gone);
				b.pass(1000);
				b.list([b.raw('b', '6')], '20');
			},
			['list rv=10', 'watch rv=20'],
			['-a', '+b'],
		],
		[
			'lists something of another kind: nothing of it counts',
			(b) => {
				b.fail(gone);
				b.pass(1000);
				b.list([{ kind: 'Pod', apiVersion: 'v1' }], '20');
			},
			['list rv=10', 'list rv=10'],
			[],
		],
	];
	for (const [name, script, requests, changes] of table) {
		it(`when the server ${name}`, () => {
			const b = bench().settled();
			script(b);
			b.pass(5000);
			assert.deepEqual(b.requests, requests);
			assert.deepEqual(b.changes, changes);
			assert.equal(b.listed(), 1);
		});
	}

	it('waits longer and longer while nobody answers, at most half a minute, and is quick again once it worked', () => {
		const b = bench().settled();
		b.pass(20_000);
		const gaps: number[] = [];
		for (let i = 0; i < 12; i++) {
			b.fail(down);
			const before = b.now();
			const count = b.requests.length;
			while (b.requests.length === count) b.pass(10);
			gaps.push(b.now() - before);
		}
		assert.ok((gaps[0] as number) <= 200, `${gaps}`);
		assert.deepEqual(
			gaps,
			gaps.toSorted((x, y) => x - y),
		);
		assert.ok((gaps.at(-1) as number) >= 15_000 && (gaps.at(-1) as number) <= 30_000, `${gaps}`);
		b.list([], '50');
		b.open();
		b.pass(15_000);
		b.end();
		const count = b.requests.length;
		b.pass(210);
		assert.equal(b.requests.length, count + 1);
	});

	for (const [name, once] of [
		['closes every watch at once', (b: Bench) => b.openThen(() => b.end())],
		['cuts every watch at once', (b: Bench) => b.openThen(() => b.fail(down))],
		['sends garbage on every watch', (b: Bench) => b.openThen(() => b.fail(garbled('x')))],
		['answers every watch with 410', (b: Bench) => b.fail(gone)],
		['answers every watch with 500', (b: Bench) => b.fail(statusFailure(500, null))],
		['refuses every connection', (b: Bench) => b.fail(down)],
	] as const) {
		it(`does not turn hot when the server ${name}`, () => {
			const b = bench().settled();
			const serve = (): void => {
				if (b.reflector.status().phase === 'opening') once(b);
				else if (name.startsWith('refuses') && b.reflector.status().phase !== 'waiting') b.fail(down);
				else if (b.reflector.status().phase !== 'waiting') b.list([b.raw('a', '5')], '10');
			};
			b.fail(down);
			for (let t = 0; t < 600_000; t += 10) {
				b.pass(10);
				for (let i = 0; i < 3 && ['opening', 'listing', 'checking'].includes(b.reflector.status().phase); i++) serve();
			}
			// Ten minutes: at 5 s (watches that open) or 15 s, with up to two requests each, and a few at the start.
			assert.ok(b.requests.length < 600, `${b.requests.length} requests in ten minutes`);
			assert.ok(b.requests.length > 20, `${b.requests.length} requests: it has given up`);
			assert.deepEqual([...b.state.keys()], ['a']);
		});
	}

	it('cuts a watch on which bookmarks have stopped', () => {
		const b = bench().settled();
		b.event('BOOKMARK', b.raw('', '20'));
		b.pass(179_000);
		assert.deepEqual(b.requests, []);
		b.pass(2_000);
		assert.deepEqual(b.requests, ['list rv= limit=1']);
		assert.match(b.troubles.join(), /nothing was heard from the API server for 180 s/);
	});

	it('leaves a quiet watch alone until the server should have ended it', () => {
		const b = bench().settled();
		b.pass(450_000 + 29_000);
		assert.deepEqual(b.requests, []);
		b.pass(2_000);
		assert.deepEqual(b.requests, ['list rv= limit=1']);
	});

	it('gives up an answer that does not come or stops coming', () => {
		const b = bench();
		b.reflector.start();
		b.pass(20_000);
		b.listItem(b.raw('a', '1'));
		b.pass(20_000);
		assert.deepEqual(b.requests, ['list rv=0']);
		b.pass(11_000);
		assert.deepEqual(b.requests, ['list rv=0', 'list rv= limit=500']);
		assert.equal(b.listed(), 0);
	});

	it('takes a kind the cluster does not have for empty, and looks again from time to time', () => {
		const b = bench('BGPPeer');
		const absent = statusFailure(404, null);
		b.reflector.start();
		b.fail(absent);
		assert.equal(b.listed(), 0, 'a server that has just started says 404 too');
		for (let i = 0; i < 10 && b.listed() === 0; i++) {
			b.pass(800);
			b.fail(absent);
		}
		assert.equal(b.listed(), 1);
		assert.equal(b.reflector.status().phase, 'absent');
		const count = b.requests.length;
		b.pass(14_000);
		assert.equal(b.requests.length, count);
		b.pass(17_000);
		b.list([], '10');
		b.open();
		assert.equal(b.reflector.status().phase, 'watching');
	});

	it('believes that a kind with objects is gone only after a minute', () => {
		const b = bench('BGPConfiguration');
		b.reflector.start();
		b.list([b.raw('default', '5')], '10');
		b.open();
		b.changes.length = 0;
		b.fail(statusFailure(404, null));
		const serve = (until: number): void => {
			while (b.now() < until) {
				b.pass(100);
				if (b.reflector.status().phase === 'listing') b.fail(statusFailure(404, null));
			}
		};
		serve(59_000);
		assert.deepEqual(b.changes, []);
		serve(65_000);
		assert.deepEqual(b.changes, ['-default']);
		assert.ok(b.requests.length < 60);
	});

	it('does nothing any more once closed', () => {
		const b = bench().settled();
		b.reflector.close();
		b.end();
		b.pass(1_000_000);
		assert.deepEqual(b.requests, []);
		assert.equal(b.reflector.status().phase, 'closed');
	});

	it('ends at what the server has, whatever happened on the way', () => {
		const names = ['a', 'b', 'c', 'd'];
		const step = fc.record({
			name: fc.constantFrom(...names),
			op: fc.constantFrom('set', 'set', 'delete'),
			v: fc.constantFrom('x', 'y'),
			seen: fc.boolean(),
			fault: fc.constantFrom('', '', '', 'down', 'gone', 'garbled', 'end', 'error', 'silence', 'regress'),
		});
		fc.assert(
			fc.property(fc.array(step, { maxLength: 40 }), (steps) => {
				const b = bench();
				let version = 100;
				let regressed = false;
				const store = new Map<string, { v: string; version: string }>();
				/** Events the watch has not been sent. */
				let log: { type: string; name: string; v: string; version: number }[] = [];
				let from = 0;
				const serve = (): void => {
					for (let i = 0; i < 50; i++) {
						const { phase } = b.reflector.status();
						if (phase === 'listing' || phase === 'checking') {
							b.list(
								[...store].map(([name, one]) => b.raw(name, one.version, one.v)),
								String(version),
							);
						} else if (phase === 'opening') {
							from = Number(b.reflector.status().resourceVersion);
							b.open();
						} else if (phase === 'watching') {
							const unseen = log.filter((event) => event.version > from);
							for (const { type, name, v, version: at } of unseen) b.event(type, b.raw(name, String(at), v));
							from = version;
							break;
						} else b.pass(5000);
					}
				};
				b.reflector.start();
				serve();
				for (const { name, op, v, seen, fault } of steps) {
					version++;
					if (op === 'set') store.set(name, { v, version: String(version) });
					else store.delete(name);
					log.push({ type: op === 'set' ? 'MODIFIED' : 'DELETED', name, v, version });
					if (seen) serve();
					if (fault === '' || !['watching', 'opening'].includes(b.reflector.status().phase)) continue;
					if (fault === 'end') b.end();
					if (fault === 'down') b.fail(down);
					if (fault === 'garbled') b.fail(garbled('x'));
					if (fault === 'gone') {
						log = [];
						b.fail(gone);
					}
					if (fault === 'error') b.event('ERROR', { code: 500 });
					if (fault === 'silence') b.pass(700_000);
					// Once a run: after more, 40 steps could lead back to the very version that was read before.
					if (fault === 'regress' && !regressed) {
						regressed = true;
						version = Math.max(1, version - 50);
						for (const one of store.values()) one.version = '1';
						log = [];
						b.fail(down);
					}
				}
				serve();
				serve();
				assert.deepEqual([...b.state].sort(), [...store].map(([name, one]) => [name, one.v]).sort());
			}),
			{ numRuns: 300 },
		);
	});
});
