import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';

const root = join(import.meta.dirname, '../..');

test('the example in the README of bgp-js-lite prints what it says', () => {
	const readme = readFileSync(join(root, 'bird/bgp-js-lite/README.md'), 'utf8');
	const [, source, output] = /```ts\n(.*?)```.*?```text\n(.*?)```/s.exec(readme) ?? [];
	assert.ok(source !== undefined && output !== undefined);
	const { stdout, stderr } = spawnSync(
		process.execPath,
		['--input-type=module-typescript', '--no-warnings', '--eval', source],
		{ cwd: root, encoding: 'utf8' },
	);
	assert.equal(stdout, output, stderr);
});
