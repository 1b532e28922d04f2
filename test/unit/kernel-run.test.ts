import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createRun } from '../../src/kernel/run.ts';

const run = createRun({ env: { MANX_TEST: 'yes' }, timeoutMs: 10_000 });

test('a program gets its input and environment, and its output and status come back', async () => {
	assert.deepEqual(await run('sh', ['-c', 'cat; echo $MANX_TEST >&2; exit 3'], 'words'), {
		code: 3,
		stdout: 'words',
		stderr: 'yes\n',
	});
});

test('large input and output pass', async () => {
	const text = 'a line of text\n'.repeat(200_000);
	const result = await run('cat', [], text);
	assert.equal(result.stdout, text);
});

test('a program that does not read its input is no failure of ours', async () => {
	const result = await run('true', [], 'x'.repeat(1_000_000));
	assert.equal(result.code, 0);
});

test('a program that is not there or cannot be run is a result with its reason', async () => {
	const missing = await run('manx-no-such-program', []);
	assert.equal(missing.code, 127);
	assert.match(missing.stderr, /not found in PATH/);
	const refused = await run(import.meta.filename, []);
	assert.equal(refused.code, 126);
	assert.match(refused.stderr, /EACCES/);
});

test('a program that takes too long is killed, and the result says so', async () => {
	const result = await createRun({ timeoutMs: 100 })('sh', ['-c', 'echo begun; sleep 600']);
	assert.equal(result.code, 124);
	assert.match(result.stderr, /did not end within 0.1 s/);
	assert.equal(result.stdout, 'begun\n');
});

test('a program ended by a signal is told as that', async () => {
	const result = await run('sh', ['-c', 'kill -9 $$']);
	assert.equal(result.code, 128);
	assert.match(result.stderr, /SIGKILL/);
});
