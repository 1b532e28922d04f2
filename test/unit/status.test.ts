import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer, type Server } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, it } from 'node:test';

const main = join(import.meta.dirname, '../../src/main.ts');

describe('manx status', () => {
	let runDir: string;
	let servers: Server[] = [];
	const daemon = async (name: 'felix' | 'bird', status: object): Promise<void> => {
		const server = createServer((_, response) => response.end(JSON.stringify(status)));
		server.listen(join(runDir, `${name}.sock`));
		await once(server, 'listening');
		servers.push(server);
	};
	const run = async (...args: string[]): Promise<{ code: number; text: string }> => {
		const child = spawn(process.execPath, [main, 'status', ...args], {
			env: { ...process.env, MANX_RUN_DIR: runDir },
			stdio: ['ignore', 'pipe', 'pipe'],
		});
		let text = '';
		for (const stream of [child.stdout, child.stderr]) {
			stream.on('data', (data: Buffer) => {
				text += data.toString();
			});
		}
		const [code] = (await once(child, 'close')) as [number];
		return { code, text };
	};
	const common = { node: 'n1', mode: 'bgp', inSync: true, unready: [], problems: [], refusals: [], lastError: '' };
	const felix = {
		...common,
		podCIDRs: ['10.244.1.0/24'],
		backend: 'nft',
		pods: [{}, {}],
		routes: { wanted: 3, programmed: 3 },
		policies: 4,
		warnings: [],
		datastore: { connected: true, lastContact: '', ages: { Node: 2, Pod: 7 }, lastError: '' },
	};
	const session = {
		name: 'mesh/n2',
		address: '192.0.2.12',
		asNumber: 64512,
		state: 'Established',
		uptimeSeconds: 300,
		received: 1,
		advertised: 2,
		lastError: '',
	};
	const bird = { ...common, sessions: [session], fib: { wanted: 1, programmed: 1 } };

	beforeEach(() => {
		runDir = mkdtempSync(join(tmpdir(), 'manx-status-'));
	});
	afterEach(() => {
		for (const server of servers) server.close();
		servers = [];
		rmSync(runDir, { recursive: true });
	});

	it('is one screen, and ends with 0 when all is well', async () => {
		await daemon('felix', felix);
		await daemon('bird', bird);
		const { code, text } = await run();
		assert.equal(code, 0, text);
		for (const part of [
			/^node +n1, mode bgp$/m,
			/^felix +in sync, heard 7 s ago$/m,
			/^pods +2$/m,
			/^routes of pods +3 of 3$/m,
			/^sessions +1 of 1 Established$/m,
			/^mesh\/n2 +192\.0\.2\.12 +64512 +Established +5 min +1 +2$/m,
			/^all is well$/m,
		]) {
			assert.match(text, part);
		}
	});

	it('names everything that is wrong, and ends with 1', async () => {
		await daemon('felix', {
			...felix,
			unready: ['Node n1 does not exist'],
			routes: { wanted: 3, programmed: 1 },
			lastError: 'the kernel says no',
			datastore: { connected: false, ages: {}, lastError: 'ECONNREFUSED' },
			problems: [{ object: 'Node n1', field: 'spec.podCIDRs[0]', reason: 'overlaps' }],
			refusals: [{ object: 'NetworkPolicy a/b', field: 'spec', reason: 'is odd' }],
		});
		await daemon('bird', { ...bird, sessions: [{ ...session, state: 'Active', lastError: 'hold timer expired' }] });
		const { code, text } = await run();
		assert.equal(code, 1);
		for (const part of [
			/felix: Node n1 does not exist/,
			/felix: no contact with the API server: ECONNREFUSED\. What is in force stays\./,
			/felix: 2 routes are not in the kernel/,
			/felix: Node n1 spec\.podCIDRs\[0\] overlaps/,
			/bird: session mesh\/n2 is Active: hold timer expired/,
			/warning: refused: NetworkPolicy a\/b spec is odd/,
		]) {
			assert.match(text, part);
		}
		const json = await run('-o', 'json');
		assert.equal(json.code, 1);
		const { degraded } = JSON.parse(json.text) as { degraded: string[] };
		assert.ok(degraded.includes('felix: Node n1 does not exist'));
	});

	it('warns of nodes without a speaker, as in host-gw mode, and is well', async () => {
		const refused = { state: 'Active', lastError: 'connection refused: nothing listens there (yet)' };
		await daemon('felix', felix);
		await daemon('bird', { ...bird, sessions: [session, { ...session, name: 'mesh/n3', ...refused }] });
		const { code, text } = await run();
		assert.equal(code, 0, text);
		assert.match(text, /^warning: no speaker on n3: in host-gw mode, or bird is not running there$/m);
	});

	it('tells of a daemon that is not running', async () => {
		await daemon('felix', felix);
		const { code, text } = await run();
		assert.equal(code, 1);
		assert.match(text, /bird: it is not running/);
	});

	it('refuses a format it does not know', async () => {
		const { code, text } = await run('-o', 'xml');
		assert.equal(code, 2);
		assert.match(text, /there is -o text and -o json, not 'xml'/);
	});
});
