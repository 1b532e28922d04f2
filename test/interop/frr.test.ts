import assert from 'node:assert/strict';
import { chmodSync, mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, it } from 'node:test';
import {
	addresses,
	changesIn,
	createWire,
	type OurSpeaker,
	ourProtocol,
	output,
	type Process,
	prefixes,
	routerPeer,
	speakerConfig,
	until,
	type Wire,
} from './harness.ts';

const bgpdConf = `
router bgp 65001
 bgp router-id ${addresses.router.ipv4}
 no bgp ebgp-requires-policy
 no bgp network import-check
 bgp graceful-restart
 bgp graceful-restart preserve-fw-state
 bgp graceful-restart restart-time 60
 neighbor ${addresses.node.ipv4} remote-as 64512
 neighbor ${addresses.node.ipv4} timers connect 1
 address-family ipv4 unicast
  network ${prefixes.router[0]}
 exit-address-family
 address-family ipv6 unicast
  neighbor ${addresses.node.ipv4} activate
  neighbor ${addresses.node.ipv4} route-map out6 out
  network ${prefixes.router[1]}
 exit-address-family
route-map out6 permit 10
 set ipv6 next-hop global ${addresses.router.ipv6}
`;

describe('FRR', () => {
	let wire: Wire;
	let ours: OurSpeaker;
	let sockets: string;

	beforeEach(async () => {
		wire = await createWire();
		sockets = join(wire.folder, 'frr');
		mkdirSync(sockets);
		// The daemons change to the user frr.
		chmodSync(wire.folder, 0o755);
		chmodSync(sockets, 0o777);
		const zebra = startDaemon('zebra', '');
		await until('zebra answers', () => vtysh('show version').then((text) => text !== ''));
		assert.equal(zebra.child.exitCode, null, zebra.log());
	});
	afterEach(async () => {
		await wire.close();
	});

	const startDaemon = (name: 'zebra' | 'bgpd', conf: string, ...more: string[]): Process =>
		wire.start(wire.router, `/usr/lib/frr/${name}`, [
			...['-f', wire.file(`${name}.conf`, conf), '-i', join(sockets, `${name}.pid`)],
			...['-z', join(sockets, 'zserv.api'), '--vty_socket', sockets, '-P', '0', '--log', 'stdout', ...more],
		]);
	const startBgpd = (): Process => startDaemon('bgpd', bgpdConf);
	const vtysh = (command: string): Promise<string> =>
		output('vtysh', ['--vty_socket', sockets, '-c', command]).catch(() => '');
	const frrHas = async (): Promise<boolean> => {
		const text = (await vtysh('show bgp ipv4 unicast')) + (await vtysh('show bgp ipv6 unicast'));
		return prefixes.node.every((prefix) => text.includes(prefix));
	};
	const neighbour = (): Promise<string> => vtysh(`show bgp neighbors ${addresses.node.ipv4}`);
	const weHave = async (): Promise<boolean> =>
		String(await wire.routes(wire.node, ourProtocol)) === String([...prefixes.router].sort());
	const both = async (): Promise<void> => {
		try {
			await until('FRR has our prefixes', frrHas);
			await until('the kernel has the prefixes of FRR', weHave);
			await until('converged', async () => (await ours.status()).converged);
		} catch (error) {
			assert.fail(`${error}\nours:\n${ours.log()}\nFRR: ${await neighbour()}`);
		}
	};
	const config = speakerConfig(routerPeer({ asNumber: 65001 }));

	it('both families over one IPv4 session, both ways', async () => {
		startBgpd();
		ours = wire.speaker(config);
		await both();
		const text = await neighbour();
		assert.match(text, /4 Byte AS: advertised and received/);
		assert.match(text, /Address Family IPv6 Unicast: advertised and received/);
		assert.match(text, /Remote GR Mode: Restart/);
		assert.match(await wire.ip(wire.node, 'route show proto 174'), /198\.51\.100\.0\/24 via 192\.0\.2\.2 dev eth0/);
	});

	it('ours killed: FRR and the kernel keep everything', async () => {
		startBgpd();
		ours = wire.speaker(config);
		await both();
		const monitor = await wire.monitor(wire.node);
		for (const signal of ['SIGKILL', 'SIGTERM'] as const) {
			await ours.end(signal);
			await until('FRR noticed', async () => !/BGP state = Established/.test(await neighbour()));
			assert.ok(await frrHas(), `FRR keeps our routes after ${signal}`);
			ours = wire.speaker(config);
			await both();
			await until('the session', async () => /BGP state = Established/.test(await neighbour()));
		}
		assert.deepEqual(changesIn(monitor), []);
	});

	it('FRR killed: its routes stay in our kernel until it is back', async () => {
		const bgpd = startBgpd();
		ours = wire.speaker(config);
		await both();
		const monitor = await wire.monitor(wire.node);
		await bgpd.end('SIGKILL');
		await until('we noticed', async () => (await ours.status()).sessions[0]?.gracefulRestart.helping === true);
		assert.ok(await weHave());
		startBgpd();
		await until('it is back', async () => {
			const [session] = (await ours.status()).sessions;
			return session?.state === 'Established' && !session.gracefulRestart.helping;
		});
		// With its route-map, which it has not loaded when it says End-of-RIB.
		await until('it has told its routes again', () => ours.log().includes('has told its routes again'));
		await both();
		assert.deepEqual(changesIn(monitor), [], ours.log());
	});

	it('a route refresh asked for by FRR is answered', async () => {
		startBgpd();
		ours = wire.speaker(config);
		await both();
		await vtysh(`clear bgp ipv4 unicast ${addresses.node.ipv4} soft in`);
		await both();
		assert.match(await neighbour(), /Route Refresh: +[1-9]/);
		assert.match(await neighbour(), /BGP state = Established/);
	});
});
