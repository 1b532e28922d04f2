import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, renameSync, rmSync, unlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, it } from 'node:test';
import type { Change, Datastore, DatastoreEvent } from '../../src/datastore/datastore.ts';
import { createDirectoryDatastore } from '../../src/datastore/directory.ts';
import type { Logger } from '../../src/logging.ts';

const silent: Logger = { debug: () => {}, info: () => {}, warn: () => {}, error: () => {}, child: () => silent };

const node = (name: string, cidr: string) =>
	`apiVersion: v1\nkind: Node\nmetadata: {name: ${name}}\nspec: {podCIDRs: ["${cidr}"]}\n`;
const policy = (cidr: string) =>
	`apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: p, namespace: a}\nspec:\n  podSelector: {}\n  egress:\n  - to:\n    - ipBlock: {cidr: ${cidr}}\n`;

let folder: string;
let store: Datastore;
let events: DatastoreEvent[];
let wake: () => void = () => {};

const write = (name: string, text: string): void => {
	writeFileSync(join(folder, `.tmp-${process.pid}`), text);
	renameSync(join(folder, `.tmp-${process.pid}`), join(folder, name));
};
/** Waits until some event satisfies the condition over everything delivered so far. */
const until = async (condition: () => boolean): Promise<void> => {
	const deadline = Date.now() + 10_000;
	while (!condition()) {
		assert.ok(
			Date.now() < deadline,
			`not reached; events: ${JSON.stringify(events)}; ${JSON.stringify(store.refusals())}`,
		);
		await new Promise<void>((resolve) => {
			const timer = setTimeout(resolve, 100);
			wake = () => {
				clearTimeout(timer);
				resolve();
			};
		});
	}
};
const changes = (): Change[] => events.flatMap((event) => event.changes);
const ids = (): string[] =>
	changes().map((change) =>
		change.type === 'set' ? `+${change.object.kind}/${change.object.metadata.name}` : `-${change.kind}/${change.key}`,
	);

const open = (): void => {
	events = [];
	store = createDirectoryDatastore({ path: folder, log: silent });
	store.start((event) => {
		events.push(event);
		wake();
	});
};

describe('directory datastore', () => {
	beforeEach(() => {
		folder = mkdtempSync(join(tmpdir(), 'manx-directory-'));
	});
	afterEach(async () => {
		await store.close();
		rmSync(folder, { recursive: true, force: true });
	});

	it('is in sync at once in an empty folder', async () => {
		open();
		await until(() => events.length > 0);
		assert.deepEqual(events, [{ changes: [], inSync: true, generation: 0 }]);
	});

	it('delivers adds, edits and deletes, and nothing for a rewrite without change', async () => {
		write('n1.yaml', node('n1', '10.0.1.0/24'));
		open();
		await until(() => ids().length === 1);
		write('n2.yaml', node('n2', '10.0.2.0/24'));
		await until(() => ids().length === 2);
		write('n2.yaml', `# same\n${node('n2', '10.0.2.0/24')}`);
		write('n1.yaml', node('n1', '10.0.9.0/24'));
		await until(() => ids().length === 3);
		unlinkSync(join(folder, 'n2.yaml'));
		await until(() => ids().length === 4);
		assert.deepEqual(ids(), ['+Node/n1', '+Node/n2', '+Node/n1', '-Node/n2']);
	});

	it('sees files in folders made later', async () => {
		open();
		mkdirSync(join(folder, 'more'));
		write('more/n1.yaml', node('n1', '10.0.1.0/24'));
		await until(() => ids().length === 1);
	});

	it('refuses a bad object with file, object, field and reason, and keeps its last good version and all else', async () => {
		write('p.yaml', `${policy('10.0.0.0/8')}---\n${node('n1', '10.0.1.0/24')}`);
		open();
		await until(() => ids().length === 2);
		write('p.yaml', `${policy('10.0.0.0/40')}---\n${node('n1', '10.0.7.0/24')}`);
		await until(() => store.refusals().length === 1 && ids().length === 3);
		assert.deepEqual(store.refusals(), [
			{
				source: join(folder, 'p.yaml'),
				object: 'NetworkPolicy a/p',
				field: 'spec.egress[0].to[0].ipBlock.cidr',
				reason: "'10.0.0.0/40' is not a CIDR such as 10.0.0.0/8 or fd00::/64",
			},
		]);
		assert.equal(ids()[2], '+Node/n1');
		write('p.yaml', `${policy('10.0.0.0/9')}---\n${node('n1', '10.0.7.0/24')}`);
		await until(() => store.refusals().length === 0 && ids().length === 4);
	});

	it('keeps everything of a file that is no YAML any more', async () => {
		write('n.yaml', node('n1', '10.0.1.0/24'));
		open();
		await until(() => ids().length === 1);
		write('n.yaml', 'a: [1, 2\nb: }');
		await until(() => store.refusals().length > 0);
		assert.match(store.refusals()[0]?.reason ?? '', /^line \d+ is not YAML/);
		write('n.yaml', node('n1', '10.0.1.0/24'));
		await until(() => store.refusals().length === 0);
		assert.deepEqual(ids(), ['+Node/n1']);
	});

	it('takes the first of two files with the same object, and the second when the first goes', async () => {
		write('a.yaml', node('n1', '10.0.1.0/24'));
		write('b.yaml', node('n1', '10.0.2.0/24'));
		open();
		await until(() => ids().length === 1 && store.refusals().length === 1);
		assert.match(store.refusals()[0]?.reason ?? '', /a\.yaml already/);
		unlinkSync(join(folder, 'a.yaml'));
		await until(() => ids().length === 2 && store.refusals().length === 0);
		const last = changes().at(-1);
		assert.ok(last?.type === 'set' && last.object.kind === 'Node');
		assert.deepEqual(last.object.spec.podCIDRs, ['10.0.2.0/24']);
	});

	it('declares a generation only after everything written before it', async () => {
		open();
		await until(() => events.length === 1);
		for (let i = 0; i < 50; i++) write(`n${i}.yaml`, node(`n${i}`, `10.0.${i}.0/24`));
		write('.generation', '7');
		await until(() => events.at(-1)?.generation === 7);
		assert.equal(new Set(ids()).size, 50);
	});

	it('reads a List and leaves kinds it does not know alone', async () => {
		write(
			'l.yaml',
			`kind: List\nitems:\n- {apiVersion: apps/v1, kind: Deployment, metadata: {name: d}}\n- {apiVersion: v1, kind: Namespace, metadata: {name: a}}\n`,
		);
		open();
		await until(() => ids().length === 1);
		assert.deepEqual(ids(), ['+Namespace/a']);
		assert.deepEqual(store.refusals(), []);
	});
});
