import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import {
	addresses,
	createWire,
	type OurSpeaker,
	routerPeer,
	speakerConfig,
	until,
	type Wire,
} from '../interop/harness.ts';
import { attribute, bytes, update } from './build.ts';
import { dialPeer, establish, KEEPALIVE, openOf, soon, type WirePeer } from './wire-peer.ts';

/** What takes time, or two connections: timers (RFC 4271 §6.5), Cease (§6.7, RFC 4486), collisions (§6.8). */

const hosts = { plain: '192.0.2.2', restarting: '192.0.2.3', limited: '192.0.2.4', stranger: '192.0.2.77' } as const;

describe('a session', () => {
	let wire: Wire;
	let ours: OurSpeaker;
	const dial = (address: string): WirePeer => dialPeer({ netns: wire.router, from: address, to: addresses.node.ipv4 });
	const open = (address: string, more: Parameters<typeof openOf>[2] = {}): Uint8Array => openOf(65000, address, more);
	const routes = (count: number): Uint8Array =>
		bytes(
			update({
				attributes: `${attribute(0x40, 1, '00')}${attribute(0x40, 2, '02010000fde8')}${attribute(0x40, 3, 'c0000202')}`,
				nlri: Array.from({ length: count }, (_, i) => `180a01${i.toString(16).padStart(2, '0')}`).join(''),
			}),
		);
	const ends = async (peer: WirePeer, notification: string | undefined): Promise<void> => {
		await until('it ends', peer.closed);
		assert.equal(peer.notification(), notification);
	};

	before(async () => {
		wire = await createWire();
		for (const address of Object.values(hosts).slice(1))
			await wire.ip(wire.router, `address add ${address}/24 dev eth0`);
		const peers = Object.entries(hosts)
			.filter(([name]) => name !== 'stranger')
			.map(([name, address]) =>
				routerPeer({
					name,
					address,
					passive: true,
					...(name === 'limited' && {
						prefixLimit: { maximum: 2, warnPercent: 75, action: 'hold', restartSeconds: 1 },
					}),
				}),
			);
		ours = wire.speaker(speakerConfig(routerPeer(), { peers }));
		await until('it listens', () => ours.log().includes('listening on 0.0.0.0'));
	});
	after(() => wire.close());

	it('whose hold time passes in silence ends with 4/0 (RFC 4271 §6.5)', async () => {
		const peer = dial(hosts.plain);
		await establish(peer, open(hosts.plain, { holdTime: 3 }));
		const started = performance.now();
		await ends(peer, '4/0');
		assert.ok(performance.now() - started > 2_900);
		// RFC 4271 §4.4: a third of the hold time, and never more than one a second.
		assert.ok(peer.keepalives() <= 4, `${peer.keepalives()} KEEPALIVEs`);
	});

	it('whose peer sends a message octet by octet, and never all of it, ends with 4/0', async () => {
		const peer = dial(hosts.plain);
		await establish(peer, open(hosts.plain, { holdTime: 3 }));
		const message = routes(100);
		let at = 0;
		const timer = setInterval(() => peer.write(message.subarray(at, ++at)), 100);
		try {
			await ends(peer, '4/0');
		} finally {
			clearInterval(timer);
		}
	});

	it('with hold time 0 has no KEEPALIVEs, and outlasts one with 3 s', async () => {
		const lasting = dial(hosts.plain);
		await establish(lasting, open(hosts.plain, { holdTime: 0 }));
		const other = dial(hosts.limited);
		await establish(other, open(hosts.limited, { holdTime: 3 }));
		await ends(other, '4/0');
		assert.deepEqual([lasting.closed(), lasting.keepalives()], [false, 1]);
		lasting.end();
	});

	it('whose OPEN does not come ends with 4/0, after 15 s', async () => {
		const peer = dial(hosts.plain);
		const started = performance.now();
		await ends(peer, '4/0');
		assert.ok(performance.now() - started > 14_500);
	});

	it('is refused with 6/5 where the address is no peer’s', async () => {
		await ends(dial(hosts.stranger), '6/5');
	});

	it('ends with 6/1, the family and the maximum, at one prefix too many (RFC 4486 §4)', async () => {
		const peer = dial(hosts.limited);
		await establish(peer, open(hosts.limited));
		peer.write(routes(3));
		await ends(peer, '6/1 00010100000002');
	});

	it('that lasts is kept: a second connection ends with 6/7 when it has said its OPEN (RFC 4271 §6.8)', async () => {
		const first = dial(hosts.plain);
		await establish(first, open(hosts.plain));
		const second = dial(hosts.plain);
		await soon('its OPEN', () => second.frames.length > 0);
		second.write(open(hosts.plain));
		await ends(second, '6/7');
		assert.equal(first.closed(), false);
		first.end();
	});

	it('of two that have said nothing the older ends with 6/7', async () => {
		const first = dial(hosts.plain);
		await soon('its OPEN', () => first.frames.length > 0);
		const second = dial(hosts.plain);
		await ends(first, '6/7');
		await establish(second, open(hosts.plain));
		second.end();
	});

	it('is replaced, without a word, where graceful restart is agreed and the peer is back (RFC 4724 §5)', async () => {
		const capabilities = [
			{ code: 1, afi: 1, safi: 1 },
			{ code: 65, asNumber: 65000 },
			{
				code: 64,
				restartState: true,
				notification: false,
				restartTime: 120,
				families: [{ afi: 1, safi: 1, forwardingState: true }],
			},
		] as const;
		const first = dial(hosts.restarting);
		await establish(first, open(hosts.restarting, { capabilities }));
		first.write(routes(5));
		const inKernel = async (): Promise<number> => (await wire.routes(wire.node, '174')).length;
		await until('its routes are in the kernel', async () => (await inKernel()) === 5);
		const second = dial(hosts.restarting);
		await soon('its OPEN', () => second.frames.length > 0);
		second.write(open(hosts.restarting, { capabilities }), KEEPALIVE);
		await ends(first, undefined);
		await soon('its KEEPALIVE', () => second.keepalives() > 0);
		assert.equal(await inKernel(), 5);
		second.end();
	});
});
