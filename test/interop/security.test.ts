import assert from 'node:assert/strict';
import { afterEach, beforeEach, describe, it } from 'node:test';
import type { PeerConfig, SpeakerConfig } from '../../bird/config.ts';
import {
	addresses,
	createWire,
	type OurSpeaker,
	ourProtocol,
	prefixes,
	routerPeer,
	speakerConfig,
	until,
	type Wire,
} from './harness.ts';
import { type Family, type ProtectedPeer, protectedPeers } from './security-peers.ts';

/** Signatures (RFC 2385) and GTSM (RFC 5082), both families, whoever dials. */

for (const [name, startPeer] of Object.entries(protectedPeers)) {
	describe(`a session with ${name} that is protected`, () => {
		let wire: Wire;
		let ours: OurSpeaker;
		let peer: ProtectedPeer;

		beforeEach(async () => {
			wire = await createWire();
		});
		afterEach(async () => {
			await wire.close();
		});

		const first = async () => (await ours.status()).sessions[0];
		const session = async (what: string): Promise<void> => {
			try {
				await until(what, async () => (await first())?.state === 'Established' && (await peer.established()));
			} catch (error) {
				assert.fail(`${error}\nours:\n${ours.log()}\n${name}: ${await peer.describe()}`);
			}
		};
		const lastError = async (): Promise<string> => (await first())?.lastError ?? '';
		const config = (family: Family, extra: Partial<PeerConfig>): SpeakerConfig =>
			speakerConfig(routerPeer({ address: addresses.router[family], localAddress: addresses.node[family], ...extra }));

		for (const family of ['ipv4', 'ipv6'] as const) {
			for (const [who, passive] of [
				['we dial', false],
				['the peer dials', true],
			] as const) {
				it(`${family}, MD5, ${who}: right, wrong and corrected on either side while running`, async () => {
					const password = 'correct-horse';
					peer = await startPeer(wire, family, { passive: !passive, password });
					ours = wire.speaker(config(family, { passive, password: 'wrong' }));
					if (passive) {
						// Its segments come, and are dropped by the kernel.
						await until('it was tried', async () => (await refused()) > 0);
					} else
						await until('it was tried', async () => /is the password the same on both sides/.test(await lastError()));
					assert.notEqual((await first())?.state, 'Established');
					ours.update(config(family, { passive, password }));
					await session('with the right password');

					// Its session goes on with the new one. These routers reset theirs when their password changes.
					const since = (await first())?.since;
					ours.update(config(family, { passive, password: 'wrong-again' }));
					assert.equal((await first())?.since, since);
					await peer.change({ passive: !passive, password: 'wrong-again' });
					await until('another session', async () => (await first())?.since !== since);
					await session('with the new password on both sides');

					ours.update(config(family, { passive }));
					await peer.change({ passive: !passive });
					await session('without a password');
					assert.doesNotMatch(ours.log() + JSON.stringify(await ours.status()), /correct-horse|wrong-again/);
				});

				it(`${family}, GTSM, ${who}: a peer on the wire passes, one from further away is not heard`, async () => {
					const program = family === 'ipv4' ? 'iptables -w' : 'ip6tables -w';
					const set = family === 'ipv4' ? 'TTL --ttl-set 254' : 'HL --hl-set 254';
					const far = `POSTROUTING -t mangle -p tcp -d ${addresses.node[family]} -j ${set}`;
					const sent = async (): Promise<number> => {
						const [, , rule = ''] = (await wire.inRouter(`${program} -t mangle -vnxL POSTROUTING`)).split('\n');
						return Number(/^ *(\d+)/.exec(rule)?.[1]);
					};
					// Its packets seem to come from behind another router.
					await wire.inRouter(`${program} -A ${far}`);
					peer = await startPeer(wire, family, { passive: !passive, gtsm: true });
					ours = wire.speaker(config(family, { passive, ttlSecurity: 1 }));
					await until('it was tried', async () => (await sent()) >= 3);
					assert.notEqual((await first())?.state, 'Established');
					if (!passive) {
						await until('the reason', async () =>
							/does the peer send with TTL 255, at most 1 hops away/.test(await lastError()),
						);
					}
					ours.update(config(family, { passive, ttlSecurity: 2 }));
					await session('one hop more is allowed');
					await wire.inRouter(`${program} -D ${far}`);
					ours.update(config(family, { passive, ttlSecurity: 1 }));
					await session('on the wire');
				});
			}
		}

		/** Segments with a wrong signature, or none, that the kernel of the node did not take. */
		const refused = async (): Promise<number> => {
			const text = await wire.inNode('nstat -asz TcpExtTCPMD5NotFound TcpExtTCPMD5Unexpected TcpExtTCPMD5Failure');
			return [...text.matchAll(/TCPMD5\w+\s+(\d+)/g)].reduce((sum, [, count]) => sum + Number(count), 0);
		};
	});
}

describe('two of ours whose password changes', () => {
	let wire: Wire;
	beforeEach(async () => {
		wire = await createWire();
		for (const prefix of prefixes.router)
			await wire.ip(wire.router, `route add blackhole ${prefix} proto 173 metric 173`);
	});
	afterEach(async () => {
		await wire.close();
	});

	for (const family of ['ipv4', 'ipv6'] as const) {
		it(`${family}: one after the other, the session goes on`, async () => {
			const of = (own: 'node' | 'router', other: 'node' | 'router', password: string, prefixed = true): SpeakerConfig =>
				speakerConfig(
					routerPeer({
						name: `mesh/${other}`,
						address: addresses[other][family],
						localAddress: addresses[own][family],
						asNumber: 64512,
						holdTime: 9,
						password,
					}),
					{
						routerId: addresses[own].ipv4,
						addresses: addresses[own],
						originate: prefixed ? prefixes[own] : [],
					},
				);
			const node = wire.speaker(of('node', 'router', 'old', false));
			const router = wire.speaker(of('router', 'node', 'old'), wire.router);
			const sessions = async () =>
				(await Promise.all([node.status(), router.status()])).map(({ sessions: [session] }) => session);
			await until('the session', async () => (await sessions()).every((session) => session?.state === 'Established'));
			await until('its routes', async () => (await wire.routes(wire.node, ourProtocol)).length === 2);
			const before = await sessions();
			node.update(of('node', 'router', 'new'));
			router.update(of('router', 'node', 'new'));
			// What is told after the change is signed with the new password.
			await until('routes told since', async () => (await wire.routes(wire.router, ourProtocol)).length === 2);
			const after = await sessions();
			assert.deepEqual(
				after.map((session) => [session?.state, session?.since]),
				before.map((session) => ['Established', session?.since]),
			);
			// The next connection too.
			node.tell('clear once');
			await until('another session', async () =>
				(await sessions()).every(
					(session, i) => session?.state === 'Established' && session.since !== before[i]?.since,
				),
			);
		});
	}
});
