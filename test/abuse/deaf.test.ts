import assert from 'node:assert/strict';
import { afterEach, describe, it } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { addresses, until } from '../interop/harness.ts';
import { capability, open, parameter, parameters, u32 } from './build.ts';
import { observe } from './observer.ts';
import { announcement, createRig, keepAlive, type Rig } from './rig.ts';
import { establish, openOf } from './wire-peer.ts';

/**
 * Peers that never read while the whole table changes behind them, again and again: what they were not told waits in the RIB as
 * its last state, not as bytes. 30,000 routes; DEAF_ROUTES=100000 is the recorded run (docs/reference/bgp.md).
 */

const ROUTES = Number(process.env.DEAF_ROUTES ?? 30_000);
const ROUNDS = 8;
const deaf = ['192.0.2.31', '192.0.2.32', '192.0.2.33'];
const reader = '192.0.2.40';

/** `ROUTES` prefixes of 28 bits from 20.0.0.0 on. */
const prefixes = Array.from({ length: ROUTES }, (_, i) => {
	const value = 20 * 2 ** 24 + i * 16;
	return `${value >>> 24}.${(value >>> 16) & 255}.${(value >>> 8) & 255}.${value & 255}/28`;
});

/** So many sets of attributes, each an UPDATE of its own: more bytes than the buffers of TCP take. */
const GROUPS = Math.min(Math.ceil(ROUTES / 3), 30_000);
const groups = Array.from({ length: GROUPS }, (_, g) =>
	Array.from({ length: Math.ceil((ROUTES - g) / GROUPS) }, (_, n) => prefixes[g + n * GROUPS] as string),
);

describe('peers that never read', () => {
	let rig: Rig | undefined;
	afterEach(async () => {
		await rig?.close();
	});

	it(`${ROUTES} routes told ${ROUNDS} times: memory is bounded, others get all`, { timeout: 1_800_000 }, async (t) => {
		rig = await createRig(
			[
				{ name: 'source', address: addresses.router.ipv4, asNumber: 65000 },
				...deaf.map((address, i) => ({ name: `deaf${i}`, address, asNumber: 65010 + i, exportLearnt: true })),
				{ name: 'reader', address: reader, asNumber: 65020, exportLearnt: true },
			],
			{ routes: 1_000 },
		);
		const { ours } = rig;
		for (const [i, address] of deaf.entries()) {
			const peer = rig.peer(address, { deaf: true });
			peer.write(openOf(65010 + i, address));
			keepAlive(peer);
			peer.write(Uint8Array.from([...new Array<number>(16).fill(255), 0, 19, 4]));
		}
		await until('the deaf have sessions', async () =>
			(await ours.status()).sessions.every(({ name, state }) => !name.startsWith('deaf') || state === 'Established'),
		);
		const observer = await observe(
			rig.wire.router,
			reader,
			addresses.node.ipv4,
			open({
				as: 65020,
				id: 'c0000228',
				parameters: parameters(parameter(2, capability(1, '00010001') + capability(65, u32(65020)))),
			}),
		);
		const source = rig.peer(addresses.router.ipv4);
		await establish(source, openOf(65000, addresses.router.ipv4));
		keepAlive(source);
		/** What is held once garbage is collected, in megabytes: in the heap, and as bytes. */
		let asked = 0;
		const held = async (): Promise<readonly [heap: number, bytes: number]> => {
			asked++;
			ours.tell('memory');
			await until('it says what it holds', () => ours.log().split('memory {').length > asked);
			const said = JSON.parse(/^.*$/m.exec(ours.log().split('memory ').at(-1) ?? '')?.[0] ?? '') as NodeJS.MemoryUsage;
			return [said.heapUsed / 2 ** 20, said.external / 2 ** 20];
		};
		let early = await held();
		for (let round = 1; round <= ROUNDS; round++) {
			const community = 65000 * 65536 + round;
			for (const [i, group] of groups.entries()) {
				const communities = [community, i];
				source.socket.write(Buffer.concat(announcement(group, 65000, addresses.router.ipv4, { communities })));
			}
			const value = `c0 ${u32(community)}`;
			await until(
				`round ${round} was told`,
				() =>
					observer.table.size >= ROUTES &&
					prefixes.every((prefix) => observer.table.get(prefix)?.get(8)?.startsWith(value)),
				300,
			);
			if (round === 2) early = await held();
		}
		// What is on its way in or out at one moment is not held: what stays is.
		let late = await held();
		for (let i = 0; i < 20 && late[1] >= early[1] + 10; i++) {
			await sleep(500);
			late = await held();
		}
		const { sessions } = await ours.status();
		t.diagnostic(
			`heap ${early[0].toFixed(0)} MB after two rounds, ${late[0].toFixed(0)} MB after ${ROUNDS}; bytes outside of it ` +
				`${early[1].toFixed(0)} and ${late[1].toFixed(0)} MB; resident at the end ${rig.memory().toFixed(0)} MB`,
		);
		assert.ok(late[0] < 2 * early[0] + 20, `heap ${early[0]} to ${late[0]} MB`);
		assert.ok(late[1] < early[1] + 10, `bytes ${early[1]} to ${late[1]} MB`);
		for (const { name, state } of sessions) assert.equal(state, 'Established', name);
		await rig.undisturbed();
	});
});
