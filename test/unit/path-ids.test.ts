import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createPathIds } from '../../bird/rib/path-ids.ts';
import type { Path } from '../../bird/rib/types.ts';

const path = (peer: string, pathId: number): Path => ({
	source: { peer, kind: 'ebgp', bgpIdentifier: '', peerAddress: '' },
	attributes: { origin: 'igp', asPath: [] },
	stale: false,
	pathId,
});

test('an identifier stands for a peer and its own identifier, and is nobody else’s', () => {
	const idOf = createPathIds(() => []);
	assert.deepEqual([path('a', 1), path('a', 2), path('b', 1), path('a', 1)].map(idOf), [1, 2, 3, 1]);
});

test('identifiers of paths that are gone are given again, those of paths that live stay', () => {
	const live: Path[] = [path('a', 0)];
	const idOf = createPathIds(() => live, 100);
	const stays = idOf(live[0] as Path);
	let highest = 0;
	for (let i = 1; i < 10_000; i++) {
		const id = idOf(path('a', i));
		assert.notEqual(id, stays);
		highest = Math.max(highest, id);
	}
	assert.equal(idOf(path('a', 0)), stays);
	assert.ok(highest <= 102, `${highest}`);
});
