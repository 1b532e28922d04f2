import assert from 'node:assert/strict';
import { test } from 'node:test';
import { fuzz } from './run.ts';

/** A short run of test/fuzz/fuzz.ts: RANDOM_SEED plays another one. */

test('sessions end where the RFCs say so, and only there, whatever comes', async () => {
	const seed = Number(process.env.RANDOM_SEED ?? 1);
	const { failures, ended } = await fuzz({ count: 20_000, seed });
	assert.deepEqual(failures, [], `seed ${seed}`);
	assert.ok(ended > 1000 && ended < 15_000, `${ended} of the messages ended a session`);
});
