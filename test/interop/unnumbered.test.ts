import assert from 'node:assert/strict';
import { afterEach, beforeEach, describe, it } from 'node:test';
import { bfd, isUp, sessionOf } from './bfd-peer.ts';
import { startBirdRouter } from './bird-router.ts';
import { startFrr } from './frr-router.ts';
import { addresses, changesIn, createWire, prefixes, routerPeer, speakerConfig, until, type Wire } from './harness.ts';

/** IPv4 prefixes over IPv6 sessions (RFC 8950), between global and between link-local addresses. */

describe('IPv4 over IPv6', () => {
	let wire: Wire;

	beforeEach(async () => {
		wire = await createWire();
	});
	afterEach(async () => {
		await wire.close();
	});

	/** Without IPv4 on the link, and what the link calls itself. */
	const unnumber = async (): Promise<{ node: string; router: string }> => {
		const linkLocal = async (netns: string): Promise<string> => {
			let found: string | undefined;
			await until('a link-local address', async () => {
				const text = await wire.ip(netns, '-6 -j address show dev eth0 scope link');
				const [link] = JSON.parse(text) as { addr_info?: { local: string; tentative?: boolean }[] }[];
				found = link?.addr_info?.find(({ tentative }) => tentative !== true)?.local;
				return found !== undefined;
			});
			return found as string;
		};
		for (const netns of [wire.node, wire.router]) await wire.ip(netns, 'address flush dev eth0 scope global');
		await wire.ip(wire.node, `address add ${addresses.node.ipv4}/32 dev lo`);
		return { node: await linkLocal(wire.node), router: await linkLocal(wire.router) };
	};
	const routesText = async (): Promise<string> =>
		(await wire.ip(wire.node, 'route show proto 174')) + (await wire.ip(wire.node, '-6 route show proto 174'));

	it('FRR on an unnumbered link: one session by link-local addresses, both families, both ways', async () => {
		const link = await unnumber();
		const conf = `
router bgp 65001
 bgp router-id ${addresses.router.ipv4}
 no bgp ebgp-requires-policy
 no bgp network import-check
 neighbor ${link.node} remote-as 64512
 neighbor ${link.node} interface eth0
 neighbor ${link.node} timers connect 1
 neighbor ${link.node} capability extended-nexthop
 address-family ipv4 unicast
  network ${prefixes.router[0]}
 exit-address-family
 address-family ipv6 unicast
  neighbor ${link.node} activate
  network ${prefixes.router[1]}
 exit-address-family
`;
		const frr = await startFrr(wire);
		frr.start('bgpd', conf);
		const ours = wire.speaker(
			speakerConfig(routerPeer({ address: link.router, interface: 'eth0', localAddress: link.node, asNumber: 65001 }), {
				addresses: { ipv4: addresses.node.ipv4 },
			}),
		);
		try {
			await until('our kernel has both', async () => {
				const text = await routesText();
				return prefixes.router.every((prefix) => text.includes(prefix));
			});
			await until('the kernel of FRR has both', async () => {
				const text = (await wire.ip(wire.router, 'route show')) + (await wire.ip(wire.router, '-6 route show'));
				return prefixes.node.every((prefix) => text.includes(prefix));
			});
		} catch (error) {
			assert.fail(
				`${error}\n${ours.log()}\n${await frr.vtysh('show bgp neighbors')}\n${await frr.vtysh('show bgp ipv4 unicast')}`,
			);
		}
		const text = await routesText();
		assert.match(text, new RegExp(`198\\.51\\.100\\.0/24 via inet6 ${link.router} dev eth0 .*src 192\\.0\\.2\\.1`));
		assert.match(text, new RegExp(`2001:db8:99::/64 via ${link.router} dev eth0`));
	});

	it('FRR and ours know each other by the interface alone: sessions, both families, restarts of either, BFD', async () => {
		const link = await unnumber();
		const frr = await startFrr(wire);
		const conf = `
router bgp 65001
 bgp router-id ${addresses.router.ipv4}
 no bgp ebgp-requires-policy
 no bgp network import-check
 bgp graceful-restart
 bgp graceful-restart preserve-fw-state
 neighbor eth0 interface remote-as external
 neighbor eth0 timers connect 1
 neighbor eth0 bfd
 address-family ipv4 unicast
  network ${prefixes.router[0]}
 exit-address-family
 address-family ipv6 unicast
  neighbor eth0 activate
  network ${prefixes.router[1]}
 exit-address-family
`;
		frr.start('bfdd', '');
		let bgpd = frr.start('bgpd', conf);
		const { localAddress: _, ...peer } = routerPeer({ address: '', interface: 'eth0', asNumber: 0, bfd: bfd() });
		const config = speakerConfig(peer, { addresses: { ipv4: addresses.node.ipv4 } });
		let ours = wire.speaker(config);
		const both = async (): Promise<void> => {
			try {
				await until('our kernel has both', async () => {
					const text = await routesText();
					return prefixes.router.every((prefix) => text.includes(prefix));
				});
				await until('the kernel of FRR has both', async () => {
					const text = (await wire.ip(wire.router, 'route show')) + (await wire.ip(wire.router, '-6 route show'));
					return prefixes.node.every((prefix) => text.includes(prefix));
				});
				await until('BFD is up', () => isUp(ours));
				await until('nothing is stale', async () => {
					const session = await sessionOf(ours);
					return session.state === 'Established' && !session.gracefulRestart.helping;
				});
			} catch (error) {
				assert.fail(`${error}\n${ours.log()}\n${await frr.vtysh('show bgp neighbors')}\n${frr.logs()}`);
			}
		};
		await both();
		const session = await sessionOf(ours);
		assert.deepEqual([session.address, session.interface, session.asNumber], [link.router, 'eth0', 65001]);
		assert.match(await routesText(), new RegExp(`198\\.51\\.100\\.0/24 via inet6 ${link.router} dev eth0`));
		// Nobody takes us for a default router.
		assert.doesNotMatch(await wire.ip(wire.router, '-6 route show default'), /default/);

		const monitor = await wire.monitor(wire.node);
		await ours.end('SIGKILL');
		ours = wire.speaker(config);
		await both();
		await bgpd.end('SIGKILL');
		await until('we help', async () => (await sessionOf(ours)).gracefulRestart.helping).catch((error: unknown) =>
			assert.fail(`${error}\n${ours.log()}\n${frr.logs()}`),
		);
		bgpd = frr.start('bgpd', conf);
		await both();
		assert.deepEqual(changesIn(monitor), []);
	});

	it('a router nobody hears is waited for, by name of the interface', async () => {
		await unnumber();
		const { localAddress: _, ...peer } = routerPeer({ address: '', interface: 'eth7', asNumber: 0 });
		const ours = wire.speaker(speakerConfig(peer, { addresses: { ipv4: addresses.node.ipv4 } }));
		await until('it says why', async () => /there is no such interface/.test((await sessionOf(ours)).lastError));
		ours.update(speakerConfig({ ...peer, interface: 'eth0' }, { addresses: { ipv4: addresses.node.ipv4 } }));
		await until('it says why', async () =>
			/no router has been heard on eth0: does it send router advertisements/.test((await sessionOf(ours)).lastError),
		);
		assert.equal((await ours.status()).converged, false);
	});

	it('BIRD: IPv4 with IPv6 next hops on a session of global IPv6 addresses, both ways', async () => {
		for (const netns of [wire.node, wire.router]) await wire.ip(netns, '-4 address flush dev eth0');
		const bird = startBirdRouter(wire, {
			body: `local ${addresses.router.ipv6} as 65000;
			neighbor ${addresses.node.ipv6} as 64512;
			ipv4 { import all; export where source = RTS_STATIC; extended next hop; };
			ipv6 { import all; export where source = RTS_STATIC; };`,
		});
		const ours = wire.speaker(
			speakerConfig(routerPeer({ address: addresses.router.ipv6, localAddress: addresses.node.ipv6 }), {
				addresses: { ipv6: addresses.node.ipv6 },
			}),
		);
		await until('our kernel has both', async () => {
			const text = await routesText();
			return prefixes.router.every((prefix) => text.includes(prefix));
		});
		assert.match(await routesText(), /198\.51\.100\.0\/24 via inet6 2001:db8::2 dev eth0/);
		await until('BIRD has both', async () => {
			const text = await bird.birdc('show route all protocol manx');
			return prefixes.node.every((prefix) => text.includes(prefix)) && /BGP.next_hop: 2001:db8::1/.test(text);
		});
		assert.equal((await ours.status()).sessions[0]?.state, 'Established');
	});
});
