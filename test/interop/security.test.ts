import assert from 'node:assert/strict';
import { afterEach, beforeEach, describe, it } from 'node:test';
import { type BirdRouter, startBirdRouter } from './bird-router.ts';
import { addresses, createWire, type OurSpeaker, routerPeer, speakerConfig, until, type Wire } from './harness.ts';

/** Signatures (RFC 2385) and GTSM (RFC 5082), with BIRD 2, whoever dials. */

describe('a session that is protected', () => {
	let wire: Wire;
	let ours: OurSpeaker;
	let bird: BirdRouter;

	beforeEach(async () => {
		wire = await createWire();
	});
	afterEach(async () => {
		await wire.close();
	});

	const up = async (): Promise<boolean> =>
		(await ours.status()).sessions[0]?.state === 'Established' && (await bird.established());
	const session = async (what: string): Promise<void> => {
		try {
			await until(what, up);
		} catch (error) {
			assert.fail(`${error}\nours:\n${ours.log()}\nBIRD: ${await bird.birdc('show protocols all manx')}`);
		}
	};
	const lastError = async (): Promise<string> => (await ours.status()).sessions[0]?.lastError ?? '';

	for (const [who, options, passive] of [
		['we dial', 'passive;', false],
		['the peer dials', '', true],
	] as const) {
		it(`MD5, ${who}: right, wrong and corrected on either side while running`, async () => {
			const password = 'correct horse';
			bird = startBirdRouter(wire, { options: `${options} password "${password}";` });
			ours = wire.speaker(speakerConfig(routerPeer({ passive, password: 'wrong' })));
			await until('BIRD is up', async () => (await bird.birdc('show status')) !== '');
			if (!passive) {
				await until('it was tried', async () => /is the password the same on both sides/.test(await lastError()));
			}
			assert.notEqual((await ours.status()).sessions[0]?.state, 'Established');
			ours.update(speakerConfig(routerPeer({ passive, password })));
			await session('with the right password');

			ours.update(speakerConfig(routerPeer({ passive, password: 'wrong again' })));
			await until('it ended', async () => (await ours.status()).sessions[0]?.state !== 'Established');
			await bird.reconfigure({ options: `${options} password "wrong again";` });
			await session('with the new password on both sides');

			ours.update(speakerConfig(routerPeer({ passive })));
			await bird.reconfigure({ options });
			await session('without a password');
			assert.doesNotMatch(ours.log() + JSON.stringify(await ours.status()), /correct horse|wrong again/);
		});

		it(`GTSM, ${who}: a peer on the wire passes, one from further away is not heard`, async () => {
			const far = `POSTROUTING -t mangle -p tcp -d ${addresses.node.ipv4} -j TTL --ttl-set 254`;
			const sent = async (): Promise<number> =>
				Number(
					/^ *(\d+)/m.exec((await wire.inRouter('iptables -t mangle -vnxL POSTROUTING')).split('\n')[2] ?? '')?.[1],
				);
			// Its packets seem to come from behind another router.
			await wire.inRouter(`iptables -A ${far}`);
			bird = startBirdRouter(wire, { options: `${options} ttl security on;` });
			ours = wire.speaker(speakerConfig(routerPeer({ passive, ttlSecurity: 1 })));
			await until('it was tried', async () => (await sent()) >= 3);
			assert.notEqual((await ours.status()).sessions[0]?.state, 'Established');
			if (!passive) {
				await until('the reason', async () =>
					/does the peer send with TTL 255, at most 1 hops away/.test(await lastError()),
				);
			}
			ours.update(speakerConfig(routerPeer({ passive, ttlSecurity: 2 })));
			await session('one hop more is allowed');
			await wire.inRouter(`iptables -D ${far}`);
			ours.update(speakerConfig(routerPeer({ passive, ttlSecurity: 1 })));
			await session('on the wire');
		});
	}
});
