import assert from 'node:assert/strict';
import { afterEach, beforeEach, describe, it } from 'node:test';
import { type BirdRouter, startBirdRouter } from './bird-router.ts';
import { createWire, type OurSpeaker, ourProtocol, routerPeer, speakerConfig, until, type Wire } from './harness.ts';

/** What an operator does to a session, and what the router at its other end makes of it. */

describe('operations', () => {
	let wire: Wire;
	let ours: OurSpeaker;
	let bird: BirdRouter;

	beforeEach(async () => {
		wire = await createWire();
	});
	afterEach(async () => {
		await wire.close();
	});
	const first = async () => (await ours.status()).sessions[0];
	const routes = async (): Promise<number> => (await wire.routes(wire.node, ourProtocol)).length;
	const up = async (): Promise<void> => {
		await until('the session', async () => (await bird.established()) && (await first())?.state === 'Established');
		await until('its routes', async () => (await routes()) > 0);
	};
	const many = (count: number): string => {
		const list = Array.from({ length: count }, (_, i) => `route 10.77.${i}.0/24 blackhole;`).join(' ');
		return `protocol static many { ipv4; ${list} }`;
	};

	it('shut down by configuration: the router reads why, routes go, and it comes back when that is taken out', async () => {
		bird = startBirdRouter(wire);
		ours = wire.speaker(speakerConfig());
		await up();
		ours.update(speakerConfig(routerPeer({ shutdown: { message: 'rack 7 is rewired' } })));
		await until('BIRD knows', () => /Administrative shutdown.*rack 7 is rewired/.test(bird.log()));
		await until('routes are gone', async () => (await routes()) === 0);
		assert.match((await first())?.held ?? '', /shut down by configuration: rack 7 is rewired/);
		assert.equal((await first())?.state, 'Idle');
		ours.update(speakerConfig());
		await up();
		assert.equal((await first())?.held, undefined);
	});

	it('cleared by hand: reset with a message, and up again; a peer taken out is told so', async () => {
		bird = startBirdRouter(wire);
		ours = wire.speaker(speakerConfig());
		await up();
		const since = (await first())?.since;
		ours.tell('clear new filters');
		await until('BIRD knows', () => /Administrative reset.*new filters|Hard reset/i.test(bird.log()));
		await until('another session', async () => (await first())?.since !== since);
		await up();
		ours.update(speakerConfig(routerPeer(), { peers: [] }));
		await until('BIRD knows', () => /de-configured|Hard reset/i.test(bird.log()));
	});

	it('soft: asks for routes again and tells ours again, while the session stays', async () => {
		bird = startBirdRouter(wire);
		ours = wire.speaker(speakerConfig());
		await up();
		const since = (await first())?.since;
		const imports = async (): Promise<number> =>
			Number(/Import updates: +(\d+)/.exec(await bird.birdc('show protocols all manx'))?.[1]);
		const before = await imports();
		ours.tell('refresh out');
		await until('BIRD got them again', async () => (await imports()) > before);
		ours.tell('refresh in');
		await until('asked', async () => /refresh/i.test(await bird.birdc('show protocols all manx')));
		assert.equal((await first())?.since, since);
		assert.equal(await routes(), 2);
	});

	it('prefix limit: warns, ends the session and keeps it down, comes back by itself and by clear', async () => {
		bird = startBirdRouter(wire, { more: many(8) });
		const limited = (maximum: number, restartSeconds?: number) =>
			speakerConfig(
				routerPeer({
					prefixLimit: { maximum, warnPercent: 75, action: 'hold', ...(restartSeconds && { restartSeconds }) },
				}),
			);
		ours = wire.speaker(limited(10));
		await up();
		await until('a warning', () => /announces 9 IPv4 prefixes, 90 % of the 10 it may/.test(ours.log()));
		await bird.reconfigure({ more: many(20) });
		await until('BIRD knows', () => /Maximum number of prefixes reached|Received: Hard reset/i.test(bird.log()));
		await until('routes are gone', async () => (await routes()) === 0);
		const held = await first();
		assert.equal(held?.state, 'Idle');
		assert.match(held?.held ?? '', /more than the 10 IPv4 prefixes it may$/);
		await bird.reconfigure({ more: many(5) });
		ours.tell('clear go on');
		await up();

		ours.update(limited(10, 1));
		await bird.reconfigure({ more: many(30) });
		await until('held for a second', () => ours.log().split('prefixes it may; sent NOTIFICATION').length >= 4);
		await bird.reconfigure({ more: many(5) });
		await up();
		await until('all of them', async () => (await routes()) === 7);
	});
});
