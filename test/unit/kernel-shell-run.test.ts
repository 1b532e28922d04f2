import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { createShellRun } from '../../src/kernel/shell-run.ts';

describe('programs run by a shell that stays', () => {
	let folder: string;
	let shell: ReturnType<typeof createShellRun>;
	before(() => {
		folder = mkdtempSync(join(tmpdir(), 'manx shell-'));
		shell = createShellRun({ folder: join(folder, "it's here"), timeoutMs: 5000 });
	});
	after(() => {
		shell.close();
		rmSync(folder, { recursive: true });
	});

	it('gives status, output and errors, and takes input', async () => {
		assert.deepEqual(await shell.run('cat', [], 'a\nb'), { code: 0, stdout: 'a\nb', stderr: '' });
		assert.deepEqual(await shell.run('sh', ['-c', 'echo out; echo err >&2; exit 3']), {
			code: 3,
			stdout: 'out\n',
			stderr: 'err\n',
		});
	});

	it('takes every word as it is', async () => {
		const words = ["it's", '$HOME', '`id`', 'a b', '', '*', '"', '\\', 'line\nbreak', '; exit 7'];
		assert.equal((await shell.run('printf', ['%s|', ...words])).stdout, `${words.join('|')}|`);
	});

	it('gives each call its own answer when many come at once', async () => {
		const results = await Promise.all([...Array(20).keys()].map((i) => shell.run('cat', [], `${i}`)));
		assert.deepEqual(
			results.map((result) => result.stdout),
			[...Array(20).keys()].map(String),
		);
	});

	it('has no input left from the call before', async () => {
		await shell.run('cat', [], 'old');
		assert.equal((await shell.run('cat', [])).stdout, '');
	});

	it('gives big output whole', async () => {
		assert.equal((await shell.run('seq', ['200000'])).stdout.length, 1_288_895);
	});

	it('tells of a program that is not there', async () => {
		const result = await shell.run('manx-no-such-program', []);
		assert.equal(result.code, 127);
		assert.match(result.stderr, /not found/);
	});

	it('ends a program that takes too long, with what it started, and goes on', async () => {
		const impatient = createShellRun({ folder: join(folder, 'impatient'), timeoutMs: 200 });
		const result = await impatient.run('sh', ['-c', 'sleep 600 & echo $!; wait']);
		assert.equal(result.code, 124);
		assert.match(result.stderr, /did not end within 0.2 s/);
		assert.equal((await impatient.run('echo', ['next'])).stdout, 'next\n');
		impatient.close();
	});

	it('goes on after the shell was killed', async () => {
		const killed = await shell.run('sh', ['-c', 'kill -9 $PPID; sleep 1']);
		assert.equal(killed.code, 128);
		assert.equal((await shell.run('echo', ['again'])).stdout, 'again\n');
	});
});
