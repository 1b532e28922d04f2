import assert from 'node:assert/strict';
import { afterEach, beforeEach, describe, it } from 'node:test';
import type { Filter, Rule } from '../../bird/policy/types.ts';
import { type BirdRouter, startBirdRouter } from './bird-router.ts';
import { createWire, prefixes, routerPeer, speakerConfig, until, type Wire } from './harness.ts';

/** Filters on a session with BIRD, changed while it is up. */

const filter = (four: readonly Partial<Rule>[], six: readonly Partial<Rule>[] = []): Filter => {
	const rules = (given: readonly Partial<Rule>[]): Rule[] =>
		given.map((rule, i) => ({ name: `rule ${i}`, action: 'Accept', ...rule }));
	return { 4: rules(four), 6: rules(six) };
};
const equal = (cidr: string): Partial<Rule> => ({ prefix: { cidr, operator: 'Equal' } });

describe('filters with BIRD', () => {
	let wire: Wire;
	let bird: BirdRouter;
	beforeEach(async () => {
		wire = await createWire();
	});
	afterEach(async () => {
		await wire.close();
	});
	const has = (prefix: string) => async (): Promise<boolean> =>
		(await bird.birdc(`show route ${prefix} protocol manx`)).includes(prefix);
	const hasNot = (prefix: string) => async (): Promise<boolean> => !(await has(prefix)());
	const learnt = (prefix: string) => async (): Promise<boolean> =>
		(await wire.routes(wire.node, '174')).includes(prefix);

	for (const [name, routeRefresh] of [
		['', ''],
		[' of a router without route refresh', 'enable route refresh off;'],
	] as const) {
		it(`what is taken changes both ways without a flap${name}`, async () => {
			bird = startBirdRouter(wire, { options: routeRefresh });
			const ours = wire.speaker(speakerConfig());
			const [four, six] = prefixes.router;
			await until('its routes', async () => (await learnt(four)()) && (await learnt(six)()));
			const since = (await ours.status()).sessions[0]?.since;
			ours.update(speakerConfig(routerPeer({ importFilter: filter([{ ...equal(four), action: 'Reject' }]) })));
			await until('the rejected one is gone', async () => !(await learnt(four)()));
			assert.ok(await learnt(six)());
			ours.update(speakerConfig(routerPeer({ importFilter: filter([equal(four)], [{ action: 'Reject' }]) })));
			await until('it is back', learnt(four));
			await until('the other is gone', async () => !(await learnt(six)()));
			ours.update(speakerConfig(routerPeer({ rejectImport: true, importFilter: filter([], [equal(six)]) })));
			await until('only what a filter accepts', async () => (await learnt(six)()) && !(await learnt(four)()));
			ours.update(speakerConfig());
			await until('all of it again', async () => (await learnt(four)()) && (await learnt(six)()));
			assert.equal((await ours.status()).sessions[0]?.since, since, 'the session stayed up');
		});
	}

	it('what is told changes both ways without a flap, with communities, path, MED and next hop', async () => {
		bird = startBirdRouter(wire);
		const ours = wire.speaker(speakerConfig());
		const [four, six] = prefixes.node;
		await until('our routes', async () => (await has(four)()) && (await has(six)()));
		const since = (await ours.status()).sessions[0]?.since;
		const show = (prefix: string): Promise<string> => bird.birdc(`show route ${prefix} protocol manx all`);
		const operations: Rule['operations'] = [
			{ type: 'addCommunity', value: '64512:7' },
			{ type: 'addCommunity', value: '4200000000:1:2' },
			{ type: 'prependASPath', asNumbers: [65010, 65011] },
			{ type: 'setMed', value: 77 },
			{ type: 'setNextHop', address: '192.0.2.9' },
		];
		ours.update(
			speakerConfig(routerPeer({ exportFilter: filter([{ ...equal(four), operations }], [{ action: 'Reject' }]) })),
		);
		await until('the IPv6 prefix is withdrawn', hasNot(six));
		await until('the community', async () => /BGP.community: \(64512,7\)/.test(await show(four)));
		const text = await show(four);
		for (const expected of [
			/BGP.as_path: 64512 65010 65011/,
			/BGP.med: 77/,
			/BGP.next_hop: 192.0.2.9/,
			/BGP.large_community: \(4200000000, 1, 2\)/,
		]) {
			assert.match(text, expected);
		}
		ours.update(speakerConfig());
		await until('as before', async () => (await has(six)()) && !/BGP.community/.test(await show(four)));
		assert.match(await show(four), /BGP.as_path: 64512\s/);
		assert.equal((await ours.status()).sessions[0]?.since, since, 'the session stayed up');
	});

	it('the interface of the next hop counts, and one that is ignored leads to none', async () => {
		bird = startBirdRouter(wire);
		const [four] = prefixes.router;
		const only = (name: string): Filter => filter([{ interface: name }, { action: 'Reject' }]);
		const ours = wire.speaker(speakerConfig(routerPeer({ importFilter: only('eth*') })));
		await until('by eth0', learnt(four));
		const since = (await ours.status()).sessions[0]?.since;
		ours.update(speakerConfig(routerPeer({ importFilter: only('wan*') })));
		await until('not by another', async () => !(await learnt(four)()));
		ours.update(speakerConfig());
		await until('by any', learnt(four));
		ours.update(speakerConfig(routerPeer(), { ignoredInterfaces: ['eth0'] }));
		await until('ignored', async () => !(await learnt(four)()));
		ours.update(speakerConfig());
		await until('not ignored', learnt(four));
		assert.equal((await ours.status()).sessions[0]?.since, since, 'the session stayed up');
	});

	it('a peer that no route leads to is reached by its gateway', async () => {
		// The router's address on its loopback: only the route that is asked for leads there.
		await wire.ip(wire.router, 'address add 203.0.113.1/32 dev lo');
		bird = startBirdRouter(wire, {
			body: `local 203.0.113.1 as 65000;
			neighbor 192.0.2.1 as 64512;
			multihop 2;
			ipv4 { import all; export where source = RTS_STATIC; };`,
		});
		const peer = routerPeer({ address: '203.0.113.1' });
		const reachable = [{ prefix: '203.0.113.1/32', via: '192.0.2.2' }];
		const ours = wire.speaker(speakerConfig(peer, { reachable }));
		await until('the session', () => bird.established());
		await until('its route', learnt(prefixes.router[0]));
		await until('our routes', has(prefixes.node[0]));
		assert.ok(await hasNot('203.0.113.1/32')(), 'the route to it is told to nobody');
		assert.ok(await learnt('203.0.113.1')());
		ours.update(speakerConfig(routerPeer()));
		await until('the route is gone', async () => !(await learnt('203.0.113.1')()));
	});

	it("own prefixes carry their communities, addresses of Services need no route of the kernel's", async () => {
		bird = startBirdRouter(wire);
		const config = speakerConfig();
		const [four] = prefixes.node;
		const ours = wire.speaker({ ...config, services: ['203.0.113.7/32'], communities: { [four]: ['64512:300'] } });
		await until('the Service', has('203.0.113.7/32'));
		await until('the community', async () =>
			/BGP.community: \(64512,300\)/.test(await bird.birdc(`show route ${four} protocol manx all`)),
		);
		ours.update(config);
		await until('it is withdrawn', hasNot('203.0.113.7/32'));
		await until('no community', async () =>
			/BGP.as_path: 64512\s+(?![\s\S]*BGP.community)/.test(await bird.birdc(`show route ${four} protocol manx all`)),
		);
	});
});
