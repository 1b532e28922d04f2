import assert from 'node:assert/strict';
import { afterEach, describe, it } from 'node:test';
import type { Capability } from 'bgp-js-lite';
import { createLab, ipv4, type Lab, pathOf, peerConfig, until } from './raw-peer.ts';

/** Route refresh (RFC 2918, RFC 7313), extended messages (RFC 8654), no hold timer. */

let lab: Lab;
afterEach(() => lab.close());

const v4: Capability = { code: 1, afi: 1, safi: 1 };
const routes = { origin: 'igp', asPath: pathOf(65002) } as const;
const refreshes = (messages: readonly { type: string }[]): unknown[] =>
	messages
		.filter((m) => m.type === 'ROUTE_REFRESH' || m.type === 'UPDATE')
		.map((m) => ('subtype' in m ? m.subtype : m.type));

describe('route refresh', () => {
	for (const [what, capabilities, expected] of [
		['enhanced: between begin and end', [v4, { code: 2 }, { code: 70 }], [1, 'UPDATE', 2]],
		['plain: without marks', [v4, { code: 2 }], ['UPDATE']],
	] as const) {
		it(`tells the peer our routes again, ${what}`, async () => {
			lab = createLab([peerConfig(2)]);
			const peer = lab.dial(2, { capabilities });
			await peer.established();
			await until('the first time', () => peer.table().size === 1);
			const before = peer.messages.length;
			peer.send({ type: 'ROUTE_REFRESH', afi: 1, safi: 1, subtype: 0 });
			await until('again', () => refreshes(peer.messages.slice(before)).length >= expected.length);
			assert.deepEqual(refreshes(peer.messages.slice(before)), expected);
		});
	}

	it('what the peer does not tell again between begin and end goes, and only that', async () => {
		lab = createLab([peerConfig(2)]);
		const peer = lab.dial(2, { capabilities: [v4, { code: 2 }, { code: 70 }] });
		await peer.established();
		peer.update({ attributes: routes, announced: ipv4('192.0.2.2', '10.1.0.0/24', '10.2.0.0/24') });
		await until('two routes', () => lab.kernel.size === 2);
		const [stays] = [lab.kernel.get('10.1.0.0/24')];
		assert.deepEqual(lab.speaker.refresh('p2', 'in'), { ok: true });
		await until('we ask', () => peer.messages.some((m) => m.type === 'ROUTE_REFRESH' && m.subtype === 0));
		peer.send({ type: 'ROUTE_REFRESH', afi: 1, safi: 1, subtype: 1 });
		peer.update({ attributes: routes, announced: ipv4('192.0.2.2', '10.1.0.0/24') });
		peer.send({ type: 'ROUTE_REFRESH', afi: 1, safi: 1, subtype: 2 });
		await until('one is gone', () => lab.kernel.size === 1);
		assert.equal(lab.kernel.get('10.1.0.0/24'), stays, 'the other was not touched');
	});

	it('ignores marks that were not agreed, subtypes nobody knows and families of no session', async () => {
		lab = createLab([peerConfig(2)]);
		const peer = lab.dial(2, { capabilities: [v4, { code: 2 }] });
		await peer.established();
		peer.update({ attributes: routes, announced: ipv4('192.0.2.2', '10.1.0.0/24') });
		for (const [afi, subtype] of [
			[1, 1],
			[1, 2],
			[1, 9],
			[2, 0],
			[77, 0],
		] as const) {
			peer.send({ type: 'ROUTE_REFRESH', afi, safi: 1, subtype });
		}
		peer.update({ attributes: routes, announced: ipv4('192.0.2.2', '10.2.0.0/24') });
		await until('all was read', () => lab.kernel.has('10.2.0.0/24'));
		assert.equal(lab.kernel.size, 2);
	});

	it('says so when the peer has no route refresh, or there is no such peer', async () => {
		lab = createLab([peerConfig(2)]);
		const peer = lab.dial(2, { capabilities: [v4] });
		await peer.established();
		assert.match(JSON.stringify(lab.speaker.refresh('p2', 'in')), /no route refresh.*clear the session instead/);
		assert.match(JSON.stringify(lab.speaker.refresh('p9', 'out')), /there is no peer p9; there are p2/);
	});
});

describe('a session', () => {
	it('uses extended messages once both sides can, both ways (RFC 8654)', async () => {
		lab = createLab([peerConfig(2), peerConfig(3)]);
		const big = { maxMessageLength: 65_535 };
		const peer = lab.dial(2, { capabilities: [v4, { code: 6 }] }, big);
		const other = lab.dial(3, { capabilities: [v4] });
		await Promise.all([peer.established(), other.established()]);
		const prefixes = Array.from({ length: 3000 }, (_, i) => `10.${i >> 8}.${i & 255}.0/24`);
		peer.update({ attributes: routes, announced: ipv4('192.0.2.2', ...prefixes) });
		await until('passed on', () => other.table().size === 3001);
		assert.ok(other.lengths.every((length) => length <= 4096));
		other.update({
			attributes: { origin: 'igp', asPath: pathOf(65003) },
			announced: ipv4('192.0.2.3', ...prefixes.map((p) => p.replace('10.', '11.'))),
		});
		await until('passed back', () => peer.table().size === 3001);
		assert.ok(Math.max(...peer.lengths) > 4096);
	});

	it('refuses a message over 4096 octets where that was not agreed', async () => {
		lab = createLab([peerConfig(2)]);
		const peer = lab.dial(2, { capabilities: [v4] }, { maxMessageLength: 65_535 });
		await peer.established();
		const prefixes = Array.from({ length: 3000 }, (_, i) => `10.${i >> 8}.${i & 255}.0/24`);
		peer.update({ attributes: routes, announced: ipv4('192.0.2.2', ...prefixes) });
		await until('told', () => peer.messages.some((m) => m.type === 'NOTIFICATION' && m.code === 1 && m.subcode === 2));
	});

	it('has no hold timer and sends no KEEPALIVE when either side says 0', async () => {
		lab = createLab([peerConfig(2, { holdTime: 0 })]);
		const peer = lab.dial(2, { holdTime: 3 });
		await peer.established();
		assert.equal(lab.speaker.status().sessions[0]?.holdTime, 0);
		peer.update({ attributes: routes, announced: ipv4('192.0.2.2', '10.1.0.0/24') });
		await until('it works', () => lab.kernel.size === 1);
	});
});
