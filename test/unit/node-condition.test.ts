import assert from 'node:assert/strict';
import { describe, it, mock } from 'node:test';
import { setImmediate as turn } from 'node:timers/promises';
import { validate } from '../../src/api/validate.ts';
import { createNodeCondition } from '../../src/daemon/node-condition.ts';
import type { Change, DatastoreEvent } from '../../src/datastore/datastore.ts';
import type { KubernetesClient, WriteResult } from '../../src/datastore/kubernetes/client.ts';
import { unreachable } from '../../src/datastore/kubernetes/failure.ts';
import type { Logger } from '../../src/logging.ts';

const silent: Logger = { debug: () => {}, info: () => {}, warn: () => {}, error: () => {}, child: () => silent };

const node = (name: string, uid: string, podCIDRs: readonly string[]): Change => {
	const result = validate({ apiVersion: 'v1', kind: 'Node', metadata: { name, uid }, spec: { podCIDRs } });
	assert.ok(result.type === 'object');
	return { type: 'set', object: result.object };
};
const event = (changes: readonly Change[], inSync = true): DatastoreEvent => ({ changes, inSync, generation: 0 });

const bench = () => {
	const told: string[] = [];
	let answer: WriteResult = { ok: true, changed: true };
	const unused = (): Promise<WriteResult> => Promise.reject(new Error('not asked'));
	const client: KubernetesClient = {
		patchNodeStatus: async (name, { type, status, reason }) => {
			told.push(`${name} ${type}=${status} ${reason}`);
			return answer;
		},
		createEvent: unused,
		patchStatus: unused,
		readObject: () => Promise.reject(new Error('not asked')),
	};
	const condition = createNodeCondition({ client, nodeName: 'n1', log: silent });
	const fail = (): void => {
		answer = { ok: false, failure: unreachable('down') };
	};
	const work = (): void => {
		answer = { ok: true, changed: true };
	};
	return { ...condition, told, fail, work };
};

describe('the condition NetworkUnavailable', () => {
	it('is set once felix serves, everything is read and the node has its networks', async () => {
		const b = bench();
		b.onEvent(event([node('n1', 'u1', ['10.0.0.0/24'])], false));
		b.serving();
		await turn();
		assert.deepEqual(b.told, []);
		b.onEvent(event([]));
		await turn();
		b.onEvent(event([node('n1', 'u1', ['10.0.0.0/24']), node('n2', 'u2', ['10.0.1.0/24'])]));
		await turn();
		assert.deepEqual(b.told, ['n1 NetworkUnavailable=False ManxIsUp']);
		b.close();
	});

	it('waits for the networks, and is said again of a node made anew', async () => {
		const b = bench();
		b.serving();
		b.onEvent(event([node('n1', 'u1', [])]));
		await turn();
		assert.equal(b.told.length, 0);
		b.onEvent(event([node('n1', 'u1', ['10.0.0.0/24'])]));
		await turn();
		assert.equal(b.told.length, 1);
		b.onEvent(event([{ type: 'delete', kind: 'Node', key: 'n1' }]));
		b.onEvent(event([node('n1', 'u2', ['10.0.0.0/24'])]));
		await turn();
		assert.equal(b.told.length, 2);
		b.close();
	});

	it('is tried again, slower each time, until it is set', async () => {
		mock.timers.enable({ apis: ['setTimeout'] });
		const b = bench();
		b.fail();
		b.onEvent(event([node('n1', 'u1', ['10.0.0.0/24'])]));
		b.serving();
		await turn();
		for (const wait of [1000, 2000, 4000]) {
			const before = b.told.length;
			b.onEvent(event([]));
			mock.timers.tick(wait - 1);
			await turn();
			assert.equal(b.told.length, before);
			mock.timers.tick(1);
			await turn();
			assert.equal(b.told.length, before + 1);
		}
		b.work();
		mock.timers.tick(8000);
		await turn();
		mock.timers.tick(100_000);
		await turn();
		assert.equal(b.told.length, 5);
		b.close();
		mock.timers.reset();
	});
});
