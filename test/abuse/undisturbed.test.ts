import assert from 'node:assert/strict';
import { afterEach, describe, it } from 'node:test';
import { randomMessage } from '../fuzz/messages.ts';
import { verdictOn } from '../fuzz/oracle.ts';
import { caseSeed, createRandom } from '../fuzz/random.ts';
import { addresses, output, until } from '../interop/harness.ts';
import { bytes, message, TYPE } from './build.ts';
import { announcement, createRig, type Rig } from './rig.ts';
import { establish, KEEPALIVE, openOf, soon, type WirePeer } from './wire-peer.ts';

/**
 * A session with 10,000 routes and the packets along them, while others misbehave. Each is of a size for every day; FUZZ_COUNT
 * and HALF_OPEN make the recorded runs (docs/reference/bgp.md).
 */

const FUZZ = Number(process.env.FUZZ_COUNT ?? 3_000);
const HALF_OPEN = Number(process.env.HALF_OPEN ?? 1_500);

const hostile = { name: 'hostile', address: addresses.router.ipv4, asNumber: 65000 };
const hostileOpen = openOf(65000, '192.0.2.2');

describe('a session with 10,000 routes is undisturbed by', () => {
	let rig: Rig | undefined;
	afterEach(async () => {
		await rig?.close();
		rig = undefined;
	});

	it(`${FUZZ} random messages to another session`, { timeout: 10_000_000 }, async (t) => {
		const seed = Number(process.env.RANDOM_SEED ?? 1);
		const addressesOf = ['192.0.2.2', '192.0.2.11', '192.0.2.12', '192.0.2.13', '192.0.2.14', '192.0.2.15'];
		rig = await createRig(addressesOf.map((address) => ({ ...hostile, name: `hostile ${address}`, address })));
		const { peer: dial } = rig;
		const dialect = { peerAS: 65000, ibgp: false, fourOctetAs: true, addPath: false, maxMessageLength: 4096 };
		let index = 0;
		let ended = 0;
		const attack = async (address: string): Promise<void> => {
			let peer: WirePeer | undefined;
			while (index < FUZZ) {
				if (peer === undefined || peer.closed()) {
					peer = dial(address);
					await establish(peer, openOf(65000, address));
				}
				// So many at a time as leave the session up, then one that ends it.
				let expected = 'stays';
				const batch: Uint8Array[] = [];
				while (index < FUZZ && batch.length < 500 && expected === 'stays') {
					const next = randomMessage(createRandom(caseSeed(seed, index++)), dialect);
					expected = verdictOn(next, dialect);
					batch.push(next);
				}
				const before = peer.frames.length;
				// Answered once all before it was read.
				if (expected === 'stays') batch.push(bytes(message(TYPE.ROUTE_REFRESH, '00010001')));
				peer.socket.write(Buffer.concat(batch));
				const current: WirePeer = peer;
				if (expected !== 'incomplete')
					await soon('an answer', () => current.closed() || (expected === 'stays' && current.frames.length > before));
				assert.equal(current.closed(), expected === 'ends', `before message ${index}: ${current.notification()}`);
				if (expected === 'ends') ended++;
				if (ended % 25_000 === 24_999) console.log(`${index} messages, ${ended} sessions ended`);
				if (expected === 'incomplete') {
					current.end();
					await soon('it is closed', current.closed);
				}
			}
			peer?.end();
		};
		const started = performance.now();
		const early = rig.memory();
		await Promise.all(addressesOf.map(attack));
		const seconds = (performance.now() - started) / 1000;
		t.diagnostic(
			`seed ${seed}: ${FUZZ} messages in ${seconds.toFixed(0)} s, ${Math.round(FUZZ / seconds)} a second, ${ended} sessions ended; ` +
				`memory ${early.toFixed(0)} MB before, ${rig.memory().toFixed(0)} MB after`,
		);
		assert.ok(rig.memory() < early + 150, `${rig.memory()} MB`);
		await rig.undisturbed();
	});

	it('a peer that sends byte by byte', async () => {
		rig = await createRig([hostile]);
		const peer = rig.peer(hostile.address);
		peer.socket.setNoDelay(true);
		const bytes = Buffer.concat([
			hostileOpen,
			KEEPALIVE,
			...announcement(['10.1.0.0/16'], 65000, '192.0.2.2'),
			KEEPALIVE,
		]);
		for (const byte of bytes) await new Promise((resolve) => peer.socket.write(Uint8Array.of(byte), resolve));
		await until('its route is in the kernel', async () =>
			(await (rig as Rig).wire.routes((rig as Rig).wire.node, '174')).includes('10.1.0.0/16'),
		);
		await rig.undisturbed();
	});

	it('random bytes on port 179, from strangers and from a peer', async () => {
		rig = await createRig([hostile]);
		await rig.addAddresses(['192.0.2.77']);
		const random = createRandom(1);
		for (let round = 0; round < 60; round++) {
			const peer = rig.peer(round % 2 === 0 ? '192.0.2.77' : hostile.address);
			peer.socket.write(Buffer.from(Array.from({ length: 1 + random.int(5000) }, () => random.int(256))));
			await soon('it is closed', peer.closed);
		}
		assert.ok(rig.descriptors() < 100, `${rig.descriptors()} descriptors`);
		await rig.undisturbed();
	});

	it(`${HALF_OPEN} connections that say nothing, from strangers, a peer and neighbours of a range`, {
		timeout: 600_000,
	}, async (t) => {
		rig = await createRig([hostile], {
			dynamicPeers: [{ name: 'range', prefix: '192.0.2.96/28', limit: 4, peer: { ...dynamicPeer, asNumber: 0 } }],
		});
		const range = Array.from({ length: 14 }, (_, i) => `192.0.2.${97 + i}`);
		await rig.addAddresses(['192.0.2.77', ...range]);
		const sources = ['192.0.2.77', hostile.address, ...range];
		const early = rig.memory();
		let most = 0;
		const open: WirePeer[] = [];
		for (let i = 0; i < HALF_OPEN; i++) {
			const from = sources[i % sources.length] as string;
			const peer = rig.peer(from, { deaf: true });
			open.push(peer);
			if (i % 50 === 49) {
				await soon('they are connected', () => open.slice(-50).every(({ socket }) => !socket.connecting));
				most = Math.max(most, rig.descriptors());
			}
		}
		// 15 s for an OPEN; nobody says one.
		await until('nothing is held open', () => (rig as Rig).descriptors() < 60, 60);
		t.diagnostic(`at most ${most} descriptors; memory ${early.toFixed(0)} to ${rig.memory().toFixed(0)} MB`);
		assert.ok(most < 400, `${most} descriptors`);
		assert.ok(rig.memory() < early + 100);
		for (const peer of open) peer.end();
		const peer = rig.peer(hostile.address);
		await establish(peer, hostileOpen);
		await rig.undisturbed();
	});

	it('strangers while there are no descriptors left', async () => {
		rig = await createRig([hostile]);
		await rig.addAddresses(['192.0.2.77']);
		const { pid } = rig.ours.child;
		const limit = (count: number) => output('prlimit', ['--pid', `${pid}`, `--nofile=${count}:`]);
		await limit(rig.descriptors() + 4);
		const strangers = Array.from({ length: 60 }, () => (rig as Rig).peer('192.0.2.77'));
		await until('all are closed', () => strangers.every((peer) => peer.closed()));
		await limit(1024);
		assert.doesNotMatch(rig.ours.log(), /cannot listen/);
		await establish(rig.peer(hostile.address), hostileOpen);
		await rig.undisturbed();
	});

	it('200 peers that dial at once', { timeout: 300_000 }, async (t) => {
		rig = await createRig([], {
			dynamicPeers: [{ name: 'many', prefix: '198.18.0.0/24', limit: 200, peer: { ...dynamicPeer, asNumber: 0 } }],
		});
		await rig.wire.ip(rig.wire.node, 'route add 198.18.0.0/24 dev eth0');
		const all = Array.from({ length: 200 }, (_, i) => `198.18.0.${i + 1}`);
		await rig.addAddresses(all);
		const early = rig.memory();
		const started = performance.now();
		const peers = all.map((address) => {
			const peer = (rig as Rig).peer(address);
			peer.write(
				openOf(65000, address),
				KEEPALIVE,
				...announcement([`10.1.${address.split('.')[3]}.0/24`], 65000, '192.0.2.2'),
			);
			return peer;
		});
		await until(
			'all have their session and route',
			async () =>
				(await (rig as Rig).ours.status()).sessions.filter(
					({ state, received }) => state === 'Established' && received > 0,
				).length === 201,
		);
		t.diagnostic(
			`${Math.round(performance.now() - started)} ms; memory ${early.toFixed(0)} to ${rig.memory().toFixed(0)} MB`,
		);
		assert.ok(rig.memory() < early + 100);
		for (const peer of peers) peer.end();
		await rig.undisturbed();
	});
});

const dynamicPeer = {
	port: 179,
	holdTime: 90,
	restartTime: 120,
	passive: true,
	families: ['1/1'] as const,
	exportLearnt: false,
};
