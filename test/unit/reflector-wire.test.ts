import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { setImmediate as turn } from 'node:timers/promises';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import fc from 'fast-check';
import type { Change } from '../../src/datastore/datastore.ts';
import type { ApiRequest, ApiServer, StreamHandlers } from '../../src/datastore/kubernetes/api-server.ts';
import { statusFailure } from '../../src/datastore/kubernetes/failure.ts';
import type { Keep } from '../../src/datastore/kubernetes/json-cut.ts';
import { createKubernetesDatastore } from '../../src/datastore/kubernetes/kubernetes.ts';
import { createLineSplitter } from '../../src/datastore/kubernetes/line-splitter.ts';
import { createListScanner } from '../../src/datastore/kubernetes/list-scanner.ts';
import { objectPath, resources } from '../../src/datastore/kubernetes/resources.ts';
import type { Logger } from '../../src/logging.ts';

const silent: Logger = { debug: () => {}, info: () => {}, warn: () => {}, error: () => {}, child: () => silent };

/** The text's bytes, cut at the given places. */
const pieces = (text: string, cuts: readonly number[]): Uint8Array[] => {
	const bytes = Buffer.from(text);
	const places = [...new Set(cuts.map((cut) => cut % (bytes.length + 1)))].sort((a, b) => a - b);
	return [...places, bytes.length].map((end, i) => bytes.subarray(i === 0 ? 0 : places[i - 1], end));
};

const scan = (chunks: readonly Uint8Array[], maxBytes = 1_000_000, keep: Keep = true) => {
	const items: unknown[] = [];
	const scanner = createListScanner(maxBytes, (item) => items.push(item), keep);
	for (const chunk of chunks) {
		const problem = scanner.feed(chunk);
		if (problem !== undefined) return { ok: false, reason: problem, items } as const;
	}
	return { ...scanner.end(), items };
};

describe('a list taken apart as it arrives', () => {
	it('gives what JSON.parse gives, wherever it is cut', () => {
		const item = fc.dictionary(fc.oneof(fc.string(), fc.constant('items')), fc.jsonValue());
		const metadata = fc.record({ resourceVersion: fc.string(), continue: fc.string(), items: fc.array(fc.integer()) });
		fc.assert(
			fc.property(
				fc.array(item),
				metadata,
				fc.boolean(),
				fc.constantFrom(undefined, 1, '\t'),
				fc.array(fc.nat()),
				(items, meta, itemsFirst, indent, cuts) => {
					const list = itemsFirst
						? { apiVersion: 'v1', items, kind: 'items', metadata: meta }
						: { kind: 'PodList', apiVersion: 'items', metadata: meta, items };
					const found = scan(pieces(JSON.stringify(list, undefined, indent), cuts));
					assert.ok(found.ok, JSON.stringify(found));
					assert.deepEqual(found.items, JSON.parse(JSON.stringify(items)));
					assert.deepEqual(found.rest, JSON.parse(JSON.stringify({ ...list, items: [] })));
				},
			),
		);
	});

	/** What is wanted of a value, by a plain reading. */
	const wantedOf = (value: unknown, keep: Keep): unknown => {
		if (keep === true || typeof value !== 'object' || value === null) return value;
		if (Array.isArray(value)) return value.map((element) => wantedOf(element, keep));
		return Object.fromEntries(
			Object.entries(value).flatMap(([key, field]) => {
				const own = typeof keep === 'function' ? keep(key) || undefined : Object.hasOwn(keep, key) && keep[key];
				return own === undefined || own === false || key === '__proto__' ? [] : [[key, wantedOf(field, own)]];
			}),
		);
	};

	it('leaves out of items what is not wanted, wherever it is cut', () => {
		const key = fc.oneof(fc.constantFrom('a', 'b', 'c"\\', 'é', '__proto__'), fc.string({ maxLength: 4 }));
		const text = fc.oneof(
			fc.string(),
			fc.string({ minLength: 40, maxLength: 60, unit: fc.constantFrom('\\', '"', 'x') }),
		);
		const { value } = fc.letrec<{ value: unknown }>((tie) => ({
			value: fc.oneof(
				{ depthSize: 'small' },
				text,
				fc.double(),
				fc.constantFrom(true, false, null, [], {}),
				fc.array(tie('value'), { maxLength: 4 }),
				fc.dictionary(key, tie('value'), { maxKeys: 5 }),
			),
		}));
		const { keep } = fc.letrec<{ keep: Keep }>((tie) => ({
			keep: fc.oneof(
				{ depthSize: 'small' },
				fc.constant(true as const),
				fc.constant((name: string) => name < 'b'),
				fc.dictionary(key, tie('keep'), { maxKeys: 4 }) as fc.Arbitrary<Keep>,
			),
		}));
		const list = fc.array(fc.dictionary(key, value), { maxLength: 4 });
		fc.assert(
			fc.property(list, keep, fc.constantFrom(undefined, 1), fc.array(fc.nat()), (items, wanted, indent, cuts) => {
				const found = scan(pieces(JSON.stringify({ items }, undefined, indent), cuts), undefined, wanted);
				assert.ok(found.ok, JSON.stringify(found));
				const plain = (JSON.parse(JSON.stringify(items)) as object[]).map((item) => wantedOf(item, wanted));
				assert.equal(JSON.stringify(found.items), JSON.stringify(plain));
			}),
			{ numRuns: 500 },
		);
	});

	it('takes an item in many pieces', () => {
		const item = { long: 'x'.repeat(300_000), a: [1, { b: 2 }] };
		const bytes = Buffer.from(JSON.stringify({ items: [item, item] }));
		const chunks = Array.from({ length: Math.ceil(bytes.length / 1000) }, (_, i) =>
			bytes.subarray(i * 1000, i * 1000 + 1000),
		);
		assert.deepEqual(scan(chunks, 1_000_000, { a: true }).items, [{ a: item.a }, { a: item.a }]);
		assert.equal(scan(chunks, 200_000, { a: true }).ok, false);
	});

	for (const [name, text, reason] of [
		['breaks off', '{"kind":"PodList","items":[{"a":1},{"b"', /breaks off/],
		['breaks off in a word', '{"kind":"Pod', /breaks off/],
		['is nothing', '', /not JSON/],
		['is a page of HTML', '<html><body>502</body></html>', /not JSON/],
		['has an item that is no JSON', '{"items":[{"a":}]}', /not JSON/],
		['has an item that is no object', '{"items":[1]}', /no object|not an object/],
		['has an item that is text', '{"items":["a"]}', /not an object/],
		['closes more than it opened', '}{', /not JSON/],
		['goes on after its end', '{"items":[]}x', /not JSON/],
	] as const) {
		it(`is refused when it ${name}`, () => {
			const found = scan([Buffer.from(text)]);
			assert.ok(!found.ok);
			assert.match(found.reason, reason);
		});
	}

	it('may have null for its items', () => assert.ok(scan([Buffer.from('{"metadata":{},"items":null}')]).ok));

	it('holds no more than it was allowed, of one item or of the rest', () => {
		const item = `{"items":[{"a":"${'x'.repeat(2000)}"}]}`;
		const around = `{"a":"${'x'.repeat(2000)}","items":[]}`;
		for (const text of [item, around]) {
			const found = scan(pieces(text, [100, 200, 900, 1500]), 1000);
			assert.ok(!found.ok);
			assert.match(found.reason, /longer than 1000 bytes/);
		}
	});
});

describe('lines of a watch', () => {
	it('are the same wherever they are cut', () => {
		fc.assert(
			fc.property(fc.array(fc.json()), fc.array(fc.nat()), (lines, cuts) => {
				const found: string[] = [];
				const splitter = createLineSplitter(1_000_000, (line) => found.push(line));
				for (const chunk of pieces(lines.map((line) => `${line}\n`).join(''), cuts)) assert.ok(splitter.feed(chunk));
				assert.deepEqual(found, lines);
				assert.equal(splitter.rest(), 0);
			}),
		);
	});

	it('may not go on for ever', () => {
		const splitter = createLineSplitter(1000, () => assert.fail());
		for (let i = 0; i < 10; i++) assert.ok(splitter.feed(Buffer.alloc(100, 0x78)));
		assert.equal(splitter.feed(Buffer.from('x')), false);
		assert.equal(splitter.feed(Buffer.from('\n')), false);
	});
});

describe('errors of the API server', () => {
	for (const [name, failure, expected] of [
		['a Status', statusFailure(403, { message: 'pods is forbidden' }), { code: 403, retryAfter: 0 }],
		['a header that asks to wait', statusFailure(429, undefined, '3'), { code: 429, retryAfter: 3000 }],
		[
			'a Status that asks to wait too long',
			statusFailure(0, { code: 503, details: { retryAfterSeconds: 9999 } }),
			{ code: 503, retryAfter: 60_000 },
		],
		['nonsense', statusFailure(502, 'nonsense', 'soon'), { code: 502, retryAfter: 0 }],
		['nothing', statusFailure(0, null), { code: 500, retryAfter: 0 }],
		['a Status with odd causes', statusFailure(500, { details: { causes: [null, 7] } }), { code: 500, retryAfter: 0 }],
	] as const) {
		it(`are read from ${name}`, () => {
			assert.deepEqual({ code: failure.code, retryAfter: failure.retryAfter }, expected);
			assert.notEqual(failure.reason, '');
		});
	}
});

it('an object is found under its own path', () => {
	assert.equal(objectPath(resources.Pod, 'a/b'), '/api/v1/namespaces/a/pods/b');
	assert.equal(objectPath(resources.NetworkPolicy, 'a/b'), '/apis/networking.k8s.io/v1/namespaces/a/networkpolicies/b');
	assert.equal(objectPath(resources.BGPPeer, 'r'), '/apis/manx.dev/v1/bgppeers/r');
	assert.equal(objectPath(resources.Node, ''), '/api/v1/nodes');
});

describe('ten thousand pods', () => {
	/** As the API server sends them: some 7 kB each. */
	const pod = (i: number): string =>
		JSON.stringify({
			metadata: {
				name: `app-${i % 100}-7d4b9c8f6-${i.toString(36)}`,
				namespace: `team-${i % 50}`,
				uid: `${i.toString(16).padStart(8, '0')}-1111-2222-3333-444444444444`,
				resourceVersion: String(i),
				creationTimestamp: '2026-01-01T00:00:00Z',
				labels: { app: `app-${i % 100}`, tier: 'backend', 'pod-template-hash': '7d4b9c8f6', version: 'v1.2.3' },
				annotations: { 'kubectl.kubernetes.io/last-applied-configuration': 'x'.repeat(1500) },
				managedFields: Array.from({ length: 3 }, (_, n) => ({
					manager: `m${n}`,
					fieldsV1: { 'f:x': 'y'.repeat(900) },
				})),
			},
			spec: {
				nodeName: `node-${i % 100}`,
				containers: [
					{
						name: 'c',
						image: 'registry/app:1',
						env: [{ name: 'A', value: 'z'.repeat(1500) }],
						ports: [{ name: 'http', containerPort: 8080 }],
					},
				],
			},
			status: {
				phase: 'Running',
				podIPs: [{ ip: `10.244.${i >> 8}.${i & 255}` }],
				conditions: [{ type: 'Ready', message: 'w'.repeat(800) }],
			},
		});

	it('are held in a fraction of their text, and read without holding the list', async () => {
		setFlagsFromString('--expose-gc');
		const gc = runInNewContext('gc') as () => void;
		const count = 10_000;
		let bytes = 0;
		let peak = 0;
		const feed = async (handlers: StreamHandlers): Promise<void> => {
			await turn();
			handlers.opened();
			const send = (text: string): void => {
				const chunk = Buffer.from(text);
				bytes += chunk.length;
				for (let at = 0; at < chunk.length; at += 65_536) handlers.data(chunk.subarray(at, at + 65_536));
			};
			send('{"kind":"PodList","apiVersion":"v1","metadata":{"resourceVersion":"99999"},"items":[');
			for (let i = 0; i < count; i += 100) {
				send(`${i === 0 ? '' : ','}${Array.from({ length: 100 }, (_, n) => pod(i + n)).join(',')}`);
				if (i % 1000 === 0) peak = Math.max(peak, process.memoryUsage().heapUsed);
				await turn();
			}
			send(']}');
			handlers.ended();
		};
		const api: ApiServer = {
			stream: ({ query }: ApiRequest, handlers) => {
				if (query?.watch === undefined) void feed(handlers);
				return () => {};
			},
			ask: () => Promise.reject(new Error('not asked')),
		};
		const store = createKubernetesDatastore({ api, kinds: ['Pod'], log: silent });
		gc();
		const before = process.memoryUsage().heapUsed;
		const started = performance.now();
		const held: Change[] = [];
		await new Promise<void>((resolve) =>
			store.start(({ changes, inSync }) => {
				held.push(...changes);
				if (inSync) resolve();
			}),
		);
		const ms = performance.now() - started;
		await store.close();
		gc();
		const heap = (process.memoryUsage().heapUsed - before) / 1e6;
		console.log(
			`10,000 pods: ${(bytes / 1e6).toFixed(0)} MB of JSON, ${heap.toFixed(1)} MB held, ` +
				`heap at most ${((peak - before) / 1e6).toFixed(0)} MB above the start, ${ms.toFixed(0)} ms`,
		);
		assert.equal(held.length, count);
		assert.ok(heap < 20, `${heap} MB`);
	});
});
