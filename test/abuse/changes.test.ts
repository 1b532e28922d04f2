import assert from 'node:assert/strict';
import { mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, describe, it } from 'node:test';
import { stringify } from 'yaml';
import { rekeyConnection } from '../../bird/transport/socket.ts';
import { addresses, createWire, output, type Process, until, type Wire } from '../interop/harness.ts';
import { announcement, keepAlive, prefixes24 } from './rig.ts';
import { dialPeer, establish, openOf, type WirePeer } from './wire-peer.ts';

/**
 * A hundred changes of objects a minute while sessions are up: peers come and go, filters are edited, passwords rotated. No
 * session ends that the change does not concern, and memory stays. 15 s, with the changes of a minute;
 * CHANGES_SECONDS=600 is the recorded run (docs/reference/bgp.md).
 */

const SECONDS = Number(process.env.CHANGES_SECONDS ?? 15);
const PERIOD = Math.min(600, SECONDS * 10);
const AS = 65000;
const ROUTES = 50;
const host = (n: number): string => `192.0.2.${n}`;
/** By the last octet of their address. */
const filtered = [61, 62, 63, 64, 65, 66, 67, 68];
const signed = [71, 72, 73];
const passing = Array.from({ length: 100 }, (_, i) => 100 + i);
const SLACK = 40;

describe(`${Math.round(60_000 / PERIOD)} configuration changes a minute for ${SECONDS} s`, () => {
	let wire: Wire | undefined;
	afterEach(() => wire?.close());

	it('end no session that they do not concern, and memory stays', { timeout: (SECONDS + 200) * 1000 }, async (t) => {
		wire = await createWire();
		const { router, node, folder } = wire;
		const all = [...filtered, ...signed, ...passing];
		const file = wire.file('addresses', all.map((n) => `address add ${host(n)}/24 dev eth0\n`).join(''));
		await output('ip', ['-n', router, '-batch', file]);
		const objects = join(folder, 'objects');
		mkdirSync(objects);
		const put = (kind: string, name: string, object: object, apiVersion = 'manx.dev/v1'): void => {
			const path = join(objects, `${kind}-${name}.yaml`);
			const namespace = kind === 'Secret' ? { namespace: 'kube-system' } : {};
			writeFileSync(`${path}.new`, stringify({ apiVersion, kind, metadata: { name, ...namespace }, ...object }));
			renameSync(`${path}.new`, path);
		};
		const remove = (kind: string, name: string): void => rmSync(join(objects, `${kind}-${name}.yaml`));
		const peer = (n: number, more: object = {}): void =>
			put('BGPPeer', `p${n}`, { spec: { peerIP: host(n), asNumber: AS, passive: true, ...more } });
		const filter = (n: number, round: number): void => {
			const community = { addCommunity: { value: `${AS}:${round % 1000}` } };
			const rules = [
				{ cidr: `10.${100 + (round % 50)}.0.0/16`, matchOperator: 'In', action: 'Reject' },
				{ cidr: '10.0.0.0/8', matchOperator: 'In', action: 'Accept', operations: [community] },
			];
			put('BGPFilter', `f${n}`, { spec: { importV4: rules, exportV4: rules } });
		};
		const password = (n: number, round: number): string => `secret ${n} ${round}`;
		const secret = (n: number, round: number): void =>
			put('Secret', `s${n}`, { stringData: { password: password(n, round) } }, 'v1');

		put('Node', 'n1', { status: { addresses: [{ type: 'InternalIP', address: addresses.node.ipv4 }] } }, 'v1');
		put('BGPConfiguration', 'default', { spec: { nodeToNodeMeshEnabled: false } });
		for (const n of filtered) {
			filter(n, 0);
			peer(n, { filters: [`f${n}`] });
		}
		for (const n of signed) {
			secret(n, 0);
			peer(n, { password: { secretKeyRef: { name: `s${n}`, key: 'password' } } });
		}
		const settings = { nodeName: 'n1', datastore: { kind: 'directory', path: objects }, runDir: join(folder, 'run') };
		const config = wire.file('bird.yaml', stringify({ ...settings, metricsAddress: '' }));
		const main = join(import.meta.dirname, '../../src/main.ts');
		const ours: Process = wire.start(node, process.execPath, ['--no-warnings', main, 'bird', '--config', config]);
		await until('it listens', () => ours.log().includes('listening on 0.0.0.0'));

		const dial = async (n: number, key?: string): Promise<WirePeer> => {
			const wirePeer = dialPeer({
				netns: router,
				from: host(n),
				to: addresses.node.ipv4,
				...(key !== undefined && { password: key }),
			});
			await establish(wirePeer, openOf(AS, host(n)));
			keepAlive(wirePeer);
			return wirePeer;
		};
		const lasting = new Map<number, WirePeer>();
		for (const n of filtered) lasting.set(n, await dial(n));
		for (const n of signed) lasting.set(n, await dial(n, password(n, 0)));
		for (const [i, n] of [...lasting.keys()].entries()) {
			lasting.get(n)?.write(...announcement(prefixes24(ROUTES, 100 + i), AS, host(n)));
		}
		const memory = (): number =>
			Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${ours.child.pid}/status`, 'utf8'))?.[1]) / 1024;

		const here: number[] = [];
		const guests = new Map<number, Promise<WirePeer | undefined>>();
		const kinds = { come: 0, go: 0, edited: 0, rotated: 0 };
		const deconfigured: Promise<void>[] = [];
		let refused = 0;
		const change = (round: number): void => {
			const turn = Math.floor(round / 4);
			if (round % 4 === 0) {
				// Another one each time: a peer that goes and comes within a moment has not gone.
				const n = passing[kinds.come++ % passing.length] as number;
				here.push(n);
				peer(n);
				// It may dial before it is known, as peers do, and tries again.
				const attempt = async (): Promise<WirePeer | undefined> => {
					for (let tries = 0; tries < 20 && here.includes(n); tries++) {
						const got = await dial(n).catch(() => undefined);
						if (got !== undefined) return got;
						refused++;
						await new Promise((resolve) => setTimeout(resolve, 200));
					}
					return undefined;
				};
				guests.set(n, attempt());
			} else if (round % 4 === 1 && here.length > 3) {
				const n = here.shift() as number;
				kinds.go++;
				remove('BGPPeer', `p${n}`);
				deconfigured.push(
					(async () => {
						const guest = await guests.get(n);
						if (guest === undefined) return;
						await until(`guest ${n} has gone`, guest.closed, 60).catch((error) =>
							assert.fail(`${error}\n${ours.log().slice(-6000)}`),
						);
						assert.equal(guest.notification(), '6/3');
					})(),
				);
			} else if (round % 4 === 3 && turn % 2 === 0) {
				const n = signed[(turn / 2) % signed.length] as number;
				kinds.rotated++;
				secret(n, round);
				const socket = lasting.get(n)?.socket as { readonly _handle?: { readonly fd: number } } | undefined;
				const fd = socket?._handle?.fd;
				if (fd !== undefined) assert.ok(rekeyConnection(fd, addresses.node.ipv4, password(n, round)));
			} else {
				kinds.edited++;
				filter(filtered[round % filtered.length] as number, round);
			}
		};
		const started = performance.now();
		let early = 0;
		let round = 0;
		for (; performance.now() - started < SECONDS * 1000; round++) {
			change(round);
			if (early === 0 && performance.now() - started > SECONDS * 400) early = memory();
			const next = started + (round + 1) * PERIOD;
			await new Promise((resolve) => setTimeout(resolve, Math.max(0, next - performance.now())));
		}
		const late = memory();
		await Promise.all(deconfigured);
		const closed = [...lasting].filter(([, one]) => one.closed()).map(([n, one]) => `${n}: ${one.notification()}`);
		t.diagnostic(
			`${round} changes: ${JSON.stringify(kinds)}, ${refused} dials too early; ${lasting.size} sessions with ${ROUTES} routes ` +
				`each lasted; memory ${early.toFixed(0)} MB at 40 %, ${late.toFixed(0)} MB at the end`,
		);
		assert.deepEqual(closed, [], ours.log().slice(-4000));
		// What was edited last is what holds.
		const last = filtered[0] as number;
		filter(last, 49);
		const first = `10.${100 + filtered.indexOf(last)}.0.0/24`;
		const table = (): Promise<string> => output('ip', ['-n', node, 'route', 'show', 'proto', '174']);
		await until('routes are as the filter says', async () => (await table()).includes(first)).catch(async (error) =>
			assert.fail(`${error}: ${(await table()).slice(0, 500)}\n${ours.log().slice(-4000)}`),
		);
		assert.ok(late <= early * 1.1 + SLACK, `${early} to ${late} MB`);
	});
});
