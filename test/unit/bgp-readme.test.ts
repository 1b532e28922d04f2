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

test('the other pieces of code in it run, and what a hostile peer sends there is answered as it says', () => {
	const readme = readFileSync(join(root, 'bird/bgp-js-lite/README.md'), 'utf8');
	const [, speaker = '', hostile = ''] = [...readme.matchAll(/```ts\n(.*?)```/gs)].map(([, source]) => source);
	const code = `${speaker}
		import { createFramer, decodeMessage } from 'bgp-js-lite';
		const options = agree(open);
		const socket = { write: (whole) => {
			const framer = createFramer(options.maxMessageLength);
			framer.push(whole);
			const { type, body } = framer.next().value;
			const { code, subcode, data } = notificationFor(decodeMessage(type, body, options).error);
			console.log(options.maxMessageLength, code, subcode, Buffer.from(data).toString('hex'));
		} };
		${hostile}`;
	const { stdout, stderr } = spawnSync(
		process.execPath,
		['--input-type=module-typescript', '--no-warnings', '--eval', code],
		{ cwd: root, encoding: 'utf8' },
	);
	assert.equal(stdout, '65535 3 2 40630100\n', stderr);
});
