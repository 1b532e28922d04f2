import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { describe, it } from 'node:test';
import { createMetrics } from '../../src/daemon/metrics.ts';
import { startProbeServer } from '../../src/daemon/probe-server.ts';
import type { Logger } from '../../src/logging.ts';
import { parseListenAddress } from '../../src/net/listen-address.ts';

const log: Logger = { debug: () => {}, info: () => {}, warn: () => {}, error: () => {}, child: () => log };

const freePort = async (): Promise<number> => {
	const server = createServer().listen(0, '127.0.0.1');
	await once(server, 'listening');
	const { port } = server.address() as AddressInfo;
	server.close();
	await once(server, 'close');
	return port;
};

const ask = async (port: number, path: string, method = 'GET'): Promise<readonly [number, string]> => {
	for (;;) {
		try {
			const response = await fetch(`http://127.0.0.1:${port}${path}`, { method });
			return [response.status, await response.text()];
		} catch {
			await new Promise((resolve) => setTimeout(resolve, 20));
		}
	}
};

describe('probes and metrics', () => {
	it('say why a daemon is not ready', async () => {
		let reasons: readonly string[] = ['the CNI socket is not open yet', 'Node n1 does not exist'];
		const port = await freePort();
		const figures = () => ({
			inSync: true,
			ready: true,
			routes: { wanted: 3, programmed: 2 },
			refused: 1,
			problems: 0,
		});
		const metrics = createMetrics('felix', 'n1', '1.2.3', () => ({ ...figures(), pods: 7, policies: 4 }));
		const server = startProbeServer(
			{ host: '127.0.0.1', port },
			{ unready: () => reasons, metrics: metrics.text },
			log,
		);
		assert.deepEqual(await ask(port, '/livez'), [200, 'ok\n']);
		const why = 'not ready: the CNI socket is not open yet; Node n1 does not exist\n';
		assert.deepEqual(await ask(port, '/readyz'), [503, why]);
		reasons = [];
		assert.deepEqual(await ask(port, '/readyz'), [200, 'ok\n']);
		const [status, text] = await ask(port, '/metrics');
		assert.equal(status, 200);
		for (const line of [
			'manx_felix_info{version="1.2.3",node="n1"} 1',
			'manx_felix_routes_programmed{node="n1"} 2',
			'manx_felix_pods{node="n1"} 7',
		]) {
			assert.ok(text.includes(line), text);
		}
		assert.match(text, /process_resident_memory_bytes/);
		assert.equal((await ask(port, '/other'))[0], 404);
		assert.equal((await ask(port, '/livez', 'POST'))[0], 405);
		server.close();
	});

	it('come when the address is free at last', async () => {
		const port = await freePort();
		const occupant = createServer((_, response) => response.end('occupant')).listen(port, '127.0.0.1');
		await once(occupant, 'listening');
		const warned: string[] = [];
		const server = startProbeServer(
			{ host: '127.0.0.1', port },
			{ unready: () => [], metrics: async () => '' },
			{ ...log, warn: (_, message) => warned.push(message) },
		);
		while (warned.length === 0) await new Promise((resolve) => setTimeout(resolve, 10));
		assert.match(warned[0] ?? '', /127\.0\.0\.1 port \d+: .*EADDRINUSE.*Set metricsAddress/);
		occupant.close();
		occupant.closeAllConnections();
		assert.deepEqual(await ask(port, '/livez'), [200, 'ok\n']);
		server.close();
	});

	it('are at an address with or without a port', () => {
		const cases = {
			'127.0.0.1': { host: '127.0.0.1', port: 1 },
			'0.0.0.0:9100': { host: '0.0.0.0', port: 9100 },
			'::1': { host: '::1', port: 1 },
			'[::]': { host: '::', port: 1 },
			'[fd00::1]:65535': { host: 'fd00::1', port: 65535 },
			'': undefined,
			localhost: undefined,
			'127.0.0.1:0': undefined,
			'127.0.0.1:65536': undefined,
			'1.2.3': undefined,
			'1.2.3.400': undefined,
			'[127.0.0.1': undefined,
		};
		for (const [text, wanted] of Object.entries(cases)) assert.deepEqual(parseListenAddress(text, 1), wanted, text);
	});
});
