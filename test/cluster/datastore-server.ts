import { type ChildProcess, execFileSync, spawn, spawnSync } from 'node:child_process';
import { mkdtempSync, openSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { type IncomingMessage, request } from 'node:http';
import { createServer as createHttpsServer, request as httpsRequest, type Server } from 'node:https';
import type { Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { CLONE_NEWNET, setns } from '../../src/kernel/libc.ts';
import { findBinaries } from './binaries.ts';

/**
 * etcd and a kube-apiserver on the loopback of a network namespace of the test's own, and between them and whoever is
 * tested a proxy that counts requests and does what networks and servers do: delay, cut, garble, refuse, say nothing.
 * The test's main thread lives in that namespace (setns is per thread), so 127.0.0.1 is its own.
 */

export type Faults = {
	/** Milliseconds before a request is passed on. */
	delay: number;
	/** Milliseconds after which a watch's connection is cut. */
	cutWatchesAfter: number | undefined;
	/** Watches are ended in good order as soon as they begin. */
	endWatches: boolean;
	/** Connections are accepted and nothing is ever said. */
	mute: boolean;
	/** Requests are answered so: code. */
	answer: number | undefined;
};

export type ApiAnswer = { readonly code: number; readonly body: Record<string, unknown> };

export type DatastoreServer = {
	readonly folder: string;
	readonly faults: Faults;
	/** `LIST /api/v1/nodes`, `WATCH /api/v1/nodes` and `PATCH ...` since `forget`. */
	readonly requests: string[];
	/** The API itself, as administrator and past the proxy. */
	readonly api: (method: string, path: string, body?: unknown, contentType?: string) => Promise<ApiAnswer>;
	/** Writes a line into every watch that is open. */
	readonly inject: (line: string) => number;
	/** Ends every watch's connection; returns how many there were. */
	readonly cutWatches: () => number;
	/** kubeconfig of a service account that may only read, through the proxy. */
	readonly kubeconfig: string;
	readonly tokenFile: string;
	readonly startApiServer: () => Promise<void>;
	readonly killApiServer: (signal?: NodeJS.Signals) => Promise<void>;
	readonly compact: () => Promise<void>;
	/** The store as it is now, to return to. */
	readonly backup: () => Promise<void>;
	readonly restore: () => Promise<void>;
	/** The proxy shows another certificate, of another authority, whose file takes the old one's place. */
	readonly rotateCertificate: () => void;
	readonly stop: () => Promise<void>;
};

const ports = { etcd: 2379, apiserver: 6443, proxy: 7443 };
const admin = 'admin-token';

const openssl = (...args: string[]): void => {
	execFileSync('openssl', args, { stdio: ['ignore', 'ignore', 'pipe'] });
};

export const startDatastoreServer = async (): Promise<DatastoreServer> => {
	const { etcd, apiserver } = findBinaries(console.log);
	const name = `manxt-${process.pid}-api`;
	const folder = mkdtempSync(join(tmpdir(), `manx-api-${process.pid}-`));
	execFileSync('ip', ['netns', 'add', name]);
	execFileSync('ip', ['-n', name, 'link', 'set', 'lo', 'up']);
	const home = openSync('/proc/thread-self/ns/net', 'r');
	if (setns(openSync(`/run/netns/${name}`, 'r'), CLONE_NEWNET) !== 0) throw new Error(`${name} cannot be entered`);

	const children = new Set<ChildProcess>();
	const start = (id: string, program: string, ...args: string[]): ChildProcess => {
		const log = openSync(join(folder, `${id}.log`), 'a');
		const child = spawn(program, args, { stdio: ['ignore', log, log] });
		children.add(child);
		child.on('exit', () => children.delete(child));
		return child;
	};
	const onExit = (): void => {
		for (const child of children) child.kill('SIGKILL');
		spawnSync('ip', ['netns', 'del', name]);
	};
	process.on('exit', onExit);
	const end = async (child: ChildProcess | undefined, signal: NodeJS.Signals = 'SIGKILL'): Promise<void> => {
		if (child === undefined || child.exitCode !== null || child.signalCode !== null) return;
		const exited = new Promise((resolve) => child.once('exit', resolve));
		child.kill(signal);
		await exited;
	};

	openssl('genrsa', '-out', join(folder, 'sa.key'), '2048');
	openssl('rsa', '-in', join(folder, 'sa.key'), '-pubout', '-out', join(folder, 'sa.pub'));
	writeFileSync(join(folder, 'tokens.csv'), `${admin},admin,1,"system:masters"\n`);

	const certificate = (to: string): void => {
		const [key, cert] = [join(folder, `${to}.key`), join(folder, `${to}.crt`)];
		const subject = ['-subj', '/CN=proxy', '-addext', 'subjectAltName=IP:127.0.0.1', '-days', '2'];
		openssl('req', '-x509', '-newkey', 'rsa:2048', '-nodes', '-keyout', key, '-out', cert, ...subject);
	};
	certificate('proxy');

	let etcdChild: ChildProcess | undefined;
	let data = join(folder, 'etcd');
	const startEtcd = async (): Promise<void> => {
		etcdChild = start(
			'etcd',
			etcd,
			`--data-dir=${data}`,
			'--unsafe-no-fsync',
			`--listen-client-urls=http://127.0.0.1:${ports.etcd}`,
			`--advertise-client-urls=http://127.0.0.1:${ports.etcd}`,
			'--listen-peer-urls=http://127.0.0.1:2380',
			'--initial-advertise-peer-urls=http://127.0.0.1:2380',
			'--initial-cluster=default=http://127.0.0.1:2380',
		);
		await poll('etcd', async () => (await etcdApi('/v3/maintenance/status', {})) !== undefined);
	};
	/** etcd's gRPC gateway. */
	const etcdApi = (path: string, body: object): Promise<Record<string, unknown> | undefined> =>
		new Promise((resolve) => {
			const asked = request({ host: '127.0.0.1', port: ports.etcd, path, method: 'POST' }, (response) => {
				readAll(response).then(
					(text) => resolve(JSON.parse(text) as Record<string, unknown>),
					() => resolve(undefined),
				);
			});
			asked.on('error', () => resolve(undefined));
			asked.end(JSON.stringify(body));
		});

	let apiChild: ChildProcess | undefined;
	const startApiServer = async (): Promise<void> => {
		apiChild = start(
			'apiserver',
			apiserver,
			`--etcd-servers=http://127.0.0.1:${ports.etcd}`,
			`--cert-dir=${join(folder, 'certs')}`,
			'--bind-address=127.0.0.1',
			`--secure-port=${ports.apiserver}`,
			'--advertise-address=127.0.0.1',
			'--endpoint-reconciler-type=none',
			'--service-account-issuer=https://kubernetes.default.svc',
			'--api-audiences=https://kubernetes.default.svc',
			`--service-account-key-file=${join(folder, 'sa.pub')}`,
			`--service-account-signing-key-file=${join(folder, 'sa.key')}`,
			`--token-auth-file=${join(folder, 'tokens.csv')}`,
			'--authorization-mode=RBAC',
			'--service-cluster-ip-range=10.96.0.0/16',
			'--disable-admission-plugins=ServiceAccount',
		);
		await poll('the API server', async () => (await api('GET', '/readyz').catch(() => undefined))?.code === 200);
	};

	const api: DatastoreServer['api'] = (method, path, body, contentType = 'application/json') =>
		new Promise((resolve, reject) => {
			const headers = { authorization: `Bearer ${admin}`, 'content-type': contentType };
			const asked = httpsRequest(
				{ host: '127.0.0.1', port: ports.apiserver, method, path, headers, rejectUnauthorized: false, agent: false },
				(response) => {
					readAll(response).then((text) => {
						const answer = text.startsWith('{') ? (JSON.parse(text) as Record<string, unknown>) : { text };
						resolve({ code: response.statusCode ?? 0, body: answer });
					}, reject);
				},
			);
			asked.on('error', reject);
			asked.end(body === undefined ? undefined : JSON.stringify(body));
		});

	const faults: Faults = { delay: 0, cutWatchesAfter: undefined, endWatches: false, mute: false, answer: undefined };
	const requests: string[] = [];
	const watches = new Map<Socket, (line: string) => void>();
	let proxy: Server | undefined;
	const startProxy = async (): Promise<void> => {
		const [key, cert] = [readFileSync(join(folder, 'proxy.key')), readFileSync(join(folder, 'proxy.crt'))];
		const server = createHttpsServer({ key, cert }, async (incoming, outgoing) => {
			const url = new URL(incoming.url ?? '/', 'http://proxy');
			const isWatch = url.searchParams.has('watch');
			requests.push(`${isWatch ? 'WATCH' : incoming.method === 'GET' ? 'LIST' : incoming.method} ${url.pathname}`);
			const { socket } = incoming;
			if (faults.mute) return;
			if (faults.delay > 0) await sleep(faults.delay);
			if (faults.answer !== undefined) {
				outgoing.writeHead(faults.answer).end();
				return;
			}
			if (isWatch && faults.endWatches) {
				outgoing.writeHead(200, { 'content-type': 'application/json' }).end();
				return;
			}
			const onward = httpsRequest({
				host: '127.0.0.1',
				port: ports.apiserver,
				method: incoming.method,
				path: incoming.url,
				headers: incoming.headers,
				rejectUnauthorized: false,
				agent: false,
			});
			onward.on('error', () => socket.destroy());
			onward.on('response', (response) => {
				outgoing.writeHead(response.statusCode ?? 502, response.headers);
				outgoing.flushHeaders();
				response.pipe(outgoing);
				response.on('error', () => socket.destroy());
				if (!isWatch) return;
				watches.set(socket, (line) => outgoing.write(line));
				const { cutWatchesAfter } = faults;
				if (cutWatchesAfter !== undefined) setTimeout(() => socket.destroy(), cutWatchesAfter);
			});
			socket.on('close', () => {
				watches.delete(socket);
				onward.destroy();
			});
			incoming.pipe(onward);
		});
		proxy = server;
		await new Promise<void>((resolve) => server.listen(ports.proxy, '127.0.0.1', resolve));
	};

	const kubeconfig = join(folder, 'kubeconfig.yaml');
	const tokenFile = join(folder, 'token');
	writeFileSync(
		kubeconfig,
		JSON.stringify({
			clusters: [
				{
					name: 'c',
					cluster: {
						server: `https://127.0.0.1:${ports.proxy}`,
						'certificate-authority': join(folder, 'proxy.crt'),
					},
				},
			],
			users: [{ name: 'u', user: { tokenFile } }],
			contexts: [{ name: 'x', context: { cluster: 'c', user: 'u' } }],
			'current-context': 'x',
		}),
	);
	writeFileSync(tokenFile, `${admin}\n`);

	await startEtcd();
	await startApiServer();
	await startProxy();

	const cutWatches = (): number => {
		const open = [...watches.keys()];
		for (const socket of open) socket.destroy();
		return open.length;
	};
	const killApiServer = async (signal: NodeJS.Signals = 'SIGKILL'): Promise<void> => end(apiChild, signal);

	return {
		folder,
		faults,
		requests,
		api,
		kubeconfig,
		tokenFile,
		startApiServer,
		killApiServer,
		cutWatches,
		inject: (line) => {
			for (const write of watches.values()) write(line);
			return watches.size;
		},
		compact: async () => {
			const found = await etcdApi('/v3/kv/range', { key: Buffer.from('/').toString('base64'), limit: '1' });
			const { revision } = (found as { header: { revision: string } }).header;
			await etcdApi('/v3/kv/compaction', { revision, physical: true });
		},
		backup: async () => {
			await end(etcdChild);
			execFileSync('cp', ['-a', data, join(folder, 'backup')]);
			await startEtcd();
		},
		restore: async () => {
			await killApiServer();
			await end(etcdChild);
			data = join(folder, 'backup');
			await startEtcd();
			await startApiServer();
		},
		rotateCertificate: () => {
			certificate('next');
			for (const suffix of ['key', 'crt']) renameSync(join(folder, `next.${suffix}`), join(folder, `proxy.${suffix}`));
			const [key, cert] = [readFileSync(join(folder, 'proxy.key')), readFileSync(join(folder, 'proxy.crt'))];
			proxy?.setSecureContext({ key, cert });
		},
		stop: async () => {
			proxy?.close();
			proxy?.closeAllConnections();
			for (const child of children) await end(child);
			setns(home, CLONE_NEWNET);
			execFileSync('ip', ['netns', 'del', name]);
			process.off('exit', onExit);
			if (process.env.MANX_KEEP === undefined) rmSync(folder, { recursive: true, force: true });
		},
	};
};

const readAll = async (stream: IncomingMessage): Promise<string> => {
	const chunks: Buffer[] = [];
	for await (const chunk of stream) chunks.push(chunk as Buffer);
	return Buffer.concat(chunks).toString('utf8');
};

/** Waits for a condition, at most two minutes. */
export const poll = async (
	what: string,
	condition: () => Promise<boolean> | boolean,
	limit = 120_000,
): Promise<void> => {
	const deadline = Date.now() + limit;
	while (!(await condition())) {
		if (Date.now() > deadline) throw new Error(`not within ${limit / 1000} s: ${what}`);
		await sleep(50);
	}
};
