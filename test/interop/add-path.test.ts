import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { type BirdRouter, startBirdRouter } from './bird-router.ts';
import { createWire, routerPeer, speakerConfig, until, type Wire } from './harness.ts';

/** Two BIRDs with the same prefix, a third that gets both paths from us and tells us both of its own (RFC 7911). */

describe('add-path with BIRD', () => {
	let wire: Wire;
	before(async () => {
		wire = await createWire();
	});
	after(async () => {
		await wire.close();
	});

	it('both paths reach a router that takes them, and both of its own reach us', async () => {
		const shared = ['203.0.113.0/24', '2001:db8:77::/64'] as const;
		const [atB, atC] = [await wire.branch(), await wire.branch()];
		startBirdRouter(wire, { asNumber: 65001, prefixes: shared });
		startBirdRouter(wire, { asNumber: 65002, at: atB, prefixes: shared });
		const c: BirdRouter = startBirdRouter(wire, {
			asNumber: 65003,
			at: atC,
			channel: 'add paths on;',
			more: `protocol static alt1 { ipv4 { preference 150; }; route 198.18.0.0/24 via ${atC.node.ipv4}; }`,
		});
		const peer = (
			name: string,
			asNumber: number,
			at: { node: { ipv4: string }; router: { ipv4: string } } | undefined,
		) =>
			routerPeer({
				name,
				asNumber,
				...(at && { address: at.router.ipv4, localAddress: at.node.ipv4 }),
				addPath: { receive: true, sendPaths: 4 },
			});
		const ours = wire.speaker(
			speakerConfig(routerPeer(), {
				peers: [peer('a', 65001, undefined), peer('b', 65002, atB), peer('c', 65003, atC)],
			}),
		);
		for (const prefix of shared.slice(0, 1)) {
			await until(`two paths to ${prefix}`, async () => {
				const text = await c.birdc(`show route ${prefix} all protocol manx`);
				return /BGP.as_path: 64512 65001/.test(text) && /BGP.as_path: 64512 65002/.test(text);
			});
		}
		await until('its route', async () => (await wire.ip(wire.node, 'route show proto 174')).includes('198.18.0.0/24'));
		assert.match(await c.birdc('show protocols all manx'), /Add-path RX|ADD-PATH|add-path/i);
		assert.ok((await ours.status()).sessions.every(({ state }) => state === 'Established'));
	});
});
