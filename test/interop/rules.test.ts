import assert from 'node:assert/strict';
import { afterEach, beforeEach, describe, it } from 'node:test';
import { startBirdRouter } from './bird-router.ts';
import { createWire, prefixes, routerPeer, speakerConfig, until, type Wire } from './harness.ts';

/** What we write into routes, as BIRD reads it. */

describe('rules of a session with BIRD', () => {
	let wire: Wire;
	beforeEach(async () => {
		wire = await createWire();
	});
	afterEach(async () => {
		await wire.close();
	});

	it('roles: customer and provider agree and mark routes, two customers are refused, corrected live (RFC 9234)', async () => {
		const bird = startBirdRouter(wire, { options: 'local role provider; require roles;' });
		const ours = wire.speaker(speakerConfig(routerPeer({ role: 'provider', strictRole: true })));
		await until('refused', () => /Role Mismatch|its role is provider/i.test(ours.log()));
		ours.update(speakerConfig(routerPeer({ role: 'customer', strictRole: true })));
		await until('the session', () => bird.established());
		await until('its route', async () => (await wire.routes(wire.node, '174')).includes(prefixes.router[0]));
		await until('ours', async () => (await bird.birdc('show route protocol manx')).includes(prefixes.node[0]));
		assert.match(await bird.birdc('show protocols all manx'), /Role/);
	});

	it('graceful shutdown and another AS of ours', async () => {
		const bird = startBirdRouter(wire, {
			body: `local 192.0.2.2 as 65000;
			neighbor 192.0.2.1 as 64999;
			ipv4 { import all; export none; };`,
		});
		const config = speakerConfig(routerPeer({ localAS: { asNumber: 64999, noPrepend: false, replaceAS: false } }));
		const ours = wire.speaker(config);
		const route = (): Promise<string> => bird.birdc(`show route ${prefixes.node[0]} all`);
		await until('our route', async () => /BGP.as_path: 64999 64512/.test(await route()));
		assert.doesNotMatch(await route(), /65535,0/);
		ours.update({ ...config, gracefulShutdown: true });
		await until('the community', async () => /BGP.community: \(65535,0\)/.test(await route()));
		assert.ok(await bird.established());
	});
});
