import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { createServer, type Server, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { buildShim } from '../../felix/cni/build-shim.ts';
import { type CniReply, type CniRequest, decodeRequest, encodeReply } from '../../felix/cni/protocol.ts';
import { createCniServer } from '../../felix/cni/server.ts';
import type { Logger } from '../../src/logging.ts';

/** The real plugin against the real server, or against something that is none. */

const root = mkdtempSync(join(tmpdir(), 'manxt-shim-'));
const shim = join(root, 'manx');
const silent = (): void => {};
const log: Logger = { debug: silent, info: silent, warn: silent, error: silent, child: () => log };

before(() => {
	const built = buildShim(shim);
	assert.ok(built.ok, built.ok ? '' : built.error);
});
after(() => rmSync(root, { recursive: true }));

let directories = 0;
const freshRunDir = (): string => {
	const directory = join(root, `run${directories++}`);
	mkdirSync(directory);
	return directory;
};

type Outcome = { readonly code: number | null; readonly stdout: string };

const run = (env: Record<string, string>, stdin: string): Promise<Outcome> =>
	new Promise((resolve, reject) => {
		const child = spawn(shim, { env, stdio: ['pipe', 'pipe', 'inherit'] });
		let stdout = '';
		child.stdout.setEncoding('utf8').on('data', (text: string) => {
			stdout += text;
		});
		child.on('error', reject);
		child.stdin.on('error', silent);
		child.on('close', (code) => resolve({ code, stdout }));
		child.stdin.end(stdin);
	});

const call = (command: string, runDir: string, extra: Record<string, string> = {}): Promise<Outcome> =>
	run(
		{ CNI_COMMAND: command, CNI_CONTAINERID: 'abc', CNI_IFNAME: 'eth0', CNI_NETNS: '/run/netns/x', ...extra },
		JSON.stringify({
			cniVersion: '1.0.0',
			name: 'n',
			nested: { runDir: '/nowhere', list: ['"}]'] },
			type: 'manx',
			runDir,
		}),
	);

const codeOf = (outcome: Outcome): number => JSON.parse(outcome.stdout).code;

const withServer = async (
	handler: (request: CniRequest) => Promise<CniReply>,
	use: (runDir: string) => Promise<void>,
): Promise<void> => {
	const runDir = freshRunDir();
	const server = createCniServer({ socketPath: join(runDir, 'cni.sock'), handler, log });
	assert.deepEqual(await server.listen(), { ok: true });
	try {
		await use(runDir);
	} finally {
		await server.close();
	}
};

test('environment and configuration reach felix, its answer and exit code come back', async () => {
	let seen: CniRequest | undefined;
	const handler = async (request: CniRequest): Promise<CniReply> => {
		seen = request;
		return { exitCode: 3, stdout: 'ünï\n' };
	};
	await withServer(handler, async (runDir) => {
		assert.equal(statSync(join(runDir, 'cni.sock')).mode & 0o777, 0o600);
		const outcome = await call('ADD', runDir, { CNI_ARGS: 'K8S_POD_NAME=web', HOME: '/root' });
		assert.deepEqual(outcome, { code: 3, stdout: 'ünï\n' });
		assert.equal(seen?.env.get('CNI_ARGS'), 'K8S_POD_NAME=web');
		assert.equal(seen?.env.has('HOME'), false);
		assert.equal(JSON.parse(seen?.stdin ?? '').runDir, runDir);
	});
});

test('a handler with a bug is a CNI error', async () => {
	const handler = (): Promise<CniReply> => Promise.reject(new Error('boom'));
	await withServer(handler, async (runDir) => {
		const outcome = await call('ADD', runDir);
		assert.equal(outcome.code, 1);
		const error = JSON.parse(outcome.stdout);
		assert.equal(error.cniVersion, '1.0.0');
		assert.match(error.details, /boom/);
	});
});

test('a megabyte of configuration arrives whole, a byte more is refused', async () => {
	const handler = async (request: CniRequest): Promise<CniReply> => ({
		exitCode: 0,
		stdout: String(request.stdin.length),
	});
	await withServer(handler, async (runDir) => {
		const base = JSON.stringify({ cniVersion: '1.0.0', runDir });
		const env = { CNI_COMMAND: 'ADD', CNI_CONTAINERID: 'abc', CNI_IFNAME: 'eth0' };
		const full = base + ' '.repeat(1024 * 1024 - base.length);
		assert.deepEqual(await run(env, full), { code: 0, stdout: String(1024 * 1024) });
		assert.equal(codeOf(await run(env, `${full} `)), 6);
	});
});

for (const [command, code] of [
	['ADD', 11],
	['CHECK', 11],
	['GC', 11],
	['STATUS', 50],
] as const) {
	test(`${command} without felix: code ${code}`, async () => {
		const outcome = await call(command, freshRunDir());
		assert.equal(outcome.code, 1);
		assert.equal(JSON.parse(outcome.stdout).cniVersion, '1.0.0');
		assert.equal(codeOf(outcome), code);
	});
}

test('VERSION needs no felix', async () => {
	const outcome = await call('VERSION', freshRunDir());
	assert.deepEqual(outcome, {
		code: 0,
		stdout: '{"cniVersion":"1.0.0","supportedVersions":["0.3.1","0.4.0","1.0.0","1.1.0"]}\n',
	});
});

test('a DEL without felix is remembered, whole, as a request', async () => {
	const runDir = join(freshRunDir(), 'not', 'there');
	assert.equal((await call('DEL', runDir)).code, 1, 'nowhere to remember it');
	const existing = freshRunDir();
	assert.deepEqual(await call('DEL', existing), { code: 0, stdout: '' });
	assert.deepEqual(readdirSync(join(existing, 'pending-dels')), ['abc:eth0']);
	const decoded = decodeRequest(readFileSync(join(existing, 'pending-dels', 'abc:eth0')));
	assert.ok(decoded.type === 'request');
	assert.equal(decoded.request.env.get('CNI_COMMAND'), 'DEL');
});

/** A server that answers with `bytes` and closes. */
const withBytes = async (bytes: Buffer, use: (runDir: string) => Promise<void>): Promise<void> => {
	const runDir = freshRunDir();
	const sockets = new Set<Socket>();
	const server: Server = createServer((socket) => {
		sockets.add(socket);
		socket.on('error', silent);
		socket.once('data', () => socket.end(bytes));
	});
	await new Promise<void>((resolve) => server.listen(join(runDir, 'cni.sock'), resolve));
	try {
		await use(runDir);
	} finally {
		for (const socket of sockets) socket.destroy();
		server.close();
	}
};

for (const [what, bytes] of [
	['nothing', Buffer.alloc(0)],
	['half an answer', encodeReply({ exitCode: 0, stdout: '{"cniVersion":"1.0.0"}' }).subarray(0, 20)],
	['half a header', encodeReply({ exitCode: 0, stdout: '' }).subarray(0, 6)],
	['something else', Buffer.from('HTTP/1.1 400 Bad Request\r\n\r\n')],
] as const) {
	test(`a felix that dies having said ${what}: ADD tries later, DEL is remembered`, async () => {
		await withBytes(bytes, async (runDir) => {
			assert.equal(codeOf(await call('ADD', runDir)), 11);
			assert.deepEqual(await call('DEL', runDir), { code: 0, stdout: '' });
			assert.deepEqual(readdirSync(join(runDir, 'pending-dels')), ['abc:eth0']);
		});
	});
}

for (const [what, env, stdin, code] of [
	['no JSON', {}, '{"name":', 6],
	['no object', {}, '[]', 6],
	['text behind the object', {}, '{} x', 6],
	['a broken string', {}, '{"a":"\\x"}', 6],
	['nesting without end', {}, '['.repeat(100_000), 6],
	['nothing at all', {}, '', 6],
	['a container ID with a path', { CNI_CONTAINERID: '../../etc/passwd' }, '{}', 4],
	['an interface with a path', { CNI_IFNAME: 'a/b' }, '{}', 4],
	['an interface named ..', { CNI_IFNAME: '..' }, '{}', 4],
	['an unknown command', { CNI_COMMAND: 'FROB' }, '{}', 4],
	['a relative runDir', {}, '{"runDir":"run"}', 7],
] as const) {
	test(`${what} is refused with code ${code}, a DEL of it too`, async () => {
		for (const CNI_COMMAND of ['ADD', 'DEL']) {
			const outcome = await run({ CNI_COMMAND, CNI_CONTAINERID: 'abc', CNI_IFNAME: 'eth0', ...env }, stdin);
			assert.equal(outcome.code, 1);
			assert.equal(codeOf(outcome), code);
		}
	});
}

test('the server takes the place of a dead one, never of a living one or of a file', async () => {
	const runDir = freshRunDir();
	const socketPath = join(runDir, 'cni.sock');
	const handler = async (): Promise<CniReply> => ({ exitCode: 0, stdout: 'me\n' });
	const script = `require('node:net').createServer().listen(${JSON.stringify(socketPath)}, () => process.kill(process.pid, 'SIGKILL'))`;
	await new Promise((resolve) => spawn(process.execPath, ['-e', script]).on('close', resolve));
	assert.ok(statSync(socketPath).isSocket(), 'the dead one left its socket');
	const first = createCniServer({ socketPath, handler, log });
	assert.deepEqual(await first.listen(), { ok: true });
	const second = await createCniServer({ socketPath, handler, log }).listen();
	assert.ok(!second.ok && /Another felix answers/.test(second.error));
	assert.deepEqual(await call('ADD', runDir), { code: 0, stdout: 'me\n' });
	await first.close();
	writeFileSync(socketPath, 'precious');
	const third = await createCniServer({ socketPath, handler, log }).listen();
	assert.ok(!third.ok && /not a socket/.test(third.error));
	assert.equal(readFileSync(socketPath, 'utf8'), 'precious');
});

test('garbage on the socket is dropped and the next request served', async () => {
	const handler = async (): Promise<CniReply> => ({ exitCode: 0, stdout: 'fine\n' });
	await withServer(handler, async (runDir) => {
		const { connect } = await import('node:net');
		await new Promise<void>((resolve) => {
			const socket = connect(join(runDir, 'cni.sock'), () => socket.write('GET / HTTP/1.1\r\n\r\n'));
			socket.on('error', silent);
			socket.on('close', () => resolve());
			socket.resume();
		});
		assert.deepEqual(await call('ADD', runDir), { code: 0, stdout: 'fine\n' });
	});
});
