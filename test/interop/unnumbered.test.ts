import assert from 'node:assert/strict';
import { chmodSync, mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, it } from 'node:test';
import { startBirdRouter } from './bird-router.ts';
import { addresses, createWire, output, prefixes, routerPeer, speakerConfig, until, type Wire } from './harness.ts';

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
		const sockets = join(wire.folder, 'frr');
		mkdirSync(sockets);
		chmodSync(wire.folder, 0o755);
		chmodSync(sockets, 0o777);
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
		const daemon = (name: string, text: string) =>
			wire.start(wire.router, `/usr/lib/frr/${name}`, [
				...['-f', wire.file(`${name}.conf`, text), '-i', join(sockets, `${name}.pid`)],
				...['-z', join(sockets, 'zserv.api'), '--vty_socket', sockets, '-P', '0', '--log', 'stdout'],
			]);
		const vtysh = (command: string): Promise<string> =>
			output('vtysh', ['--vty_socket', sockets, '-c', command]).catch(() => '');
		daemon('zebra', '');
		await until('zebra answers', async () => (await vtysh('show version')) !== '');
		daemon('bgpd', conf);
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
				`${error}\n${ours.log()}\n${await vtysh('show bgp neighbors')}\n${await vtysh('show bgp ipv4 unicast')}`,
			);
		}
		const text = await routesText();
		assert.match(text, new RegExp(`198\\.51\\.100\\.0/24 via inet6 ${link.router} dev eth0 .*src 192\\.0\\.2\\.1`));
		assert.match(text, new RegExp(`2001:db8:99::/64 via ${link.router} dev eth0`));
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
