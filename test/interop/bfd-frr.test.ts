import assert from 'node:assert/strict';
import { chmodSync, mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, it, type TestContext } from 'node:test';
import type { SpeakerConfig } from '../../bird/config.ts';
import { bfd, bfdOf, isUp, sessionOf } from './bfd-peer.ts';
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

const bgpdConf = (family: 'ipv4' | 'ipv6', more = ''): string => `
router bgp 65001
${more}
 bgp router-id ${addresses.router.ipv4}
 no bgp ebgp-requires-policy
 no bgp network import-check
 no bgp default ipv4-unicast
 neighbor ${addresses.node[family]} remote-as 64512
 neighbor ${addresses.node[family]} timers connect 1
 neighbor ${addresses.node[family]} bfd
 neighbor ${addresses.node[family]} bfd profile fast
 address-family ${family} unicast
  neighbor ${addresses.node[family]} activate
  network ${prefixes.router[family === 'ipv4' ? 0 : 1]}
 exit-address-family
`;
const bfddConf = `
bfd
 profile fast
  detect-multiplier 4
  receive-interval 500
  transmit-interval 250
 exit
exit
`;

describe("BFD with FRR's bfdd", () => {
	let wire: Wire;
	let ours: OurSpeaker;
	let sockets: string;
	let bfdd: Process;
	let bgpd: Process;
	let config: SpeakerConfig;

	beforeEach(async () => {
		wire = await createWire();
		sockets = join(wire.folder, 'frr');
		mkdirSync(sockets);
		// The daemons change to the user frr.
		chmodSync(wire.folder, 0o755);
		chmodSync(sockets, 0o777);
		startDaemon('zebra', '');
		await until('zebra answers', () => vtysh('show version').then((text) => text !== ''));
	});
	afterEach(async () => {
		await wire.close();
	});

	const startDaemon = (name: 'zebra' | 'bgpd' | 'bfdd', conf: string): Process =>
		wire.start(wire.router, `/usr/lib/frr/${name}`, [
			...['-f', wire.file(`${name}.conf`, conf), '-i', join(sockets, `${name}.pid`)],
			...['-z', join(sockets, 'zserv.api'), '--vty_socket', sockets, '-P', '0', '--log', 'stdout'],
			...(name === 'bfdd' ? ['--bfdctl', join(sockets, 'bfdd.sock')] : []),
		]);
	const vtysh = (...commands: string[]): Promise<string> =>
		output('vtysh', ['--vty_socket', sockets, ...commands.flatMap((command) => ['-c', command])]).catch(() => '');
	const weHave = async (): Promise<boolean> => (await wire.routes(wire.node, ourProtocol)).length === 1;

	type FrrPeer = { readonly status: string; readonly [counter: string]: unknown };
	const frrPeer = async (): Promise<FrrPeer | undefined> => {
		const text = await vtysh('show bfd peers json');
		return text.trimStart().startsWith('[') ? (JSON.parse(text) as FrrPeer[])[0] : undefined;
	};
	const bothUp = async (): Promise<void> => {
		try {
			await until('the kernel has the prefix of FRR', weHave);
			await until('BFD is up', () => isUp(ours));
			await until('FRR says so too', async () => (await frrPeer())?.status === 'up');
		} catch (error) {
			assert.fail(`${error}\nours:\n${ours.log()}\nFRR: ${JSON.stringify(await frrPeer())}\n${bfdd.log()}`);
		}
	};
	const start = async (family: 'ipv4' | 'ipv6' = 'ipv4', more = ''): Promise<void> => {
		bfdd = startDaemon('bfdd', bfddConf);
		bgpd = startDaemon('bgpd', bgpdConf(family, more));
		const [address, localAddress] = [addresses.router[family], addresses.node[family]];
		config = speakerConfig(routerPeer({ asNumber: 65001, address, localAddress, bfd: bfd() }));
		ours = wire.speaker(config);
		await bothUp();
	};
	const measured = async (t: TestContext, what: string, work: () => Promise<void>): Promise<void> => {
		const begin = performance.now();
		await work();
		t.diagnostic(`${what}: ${Math.round(performance.now() - begin)} ms`);
	};

	for (const family of ['ipv4', 'ipv6'] as const) {
		it(`${family}: up, timers negotiated`, async () => {
			await start(family);
			await until('our pace', async () => (await bfdOf(ours))?.transmitInterval === 500);
			await until('their pace', async () => (await bfdOf(ours))?.detectionTime === 4 * 300);
			await until('FRR agrees', async () => {
				const peer = await frrPeer();
				return (
					peer?.['remote-receive-interval'] === 300 &&
					peer['remote-transmit-interval'] === 300 &&
					peer['remote-detect-multiplier'] === 3
				);
			});
		});
	}

	it('bfdd and bgpd freeze: the session ends and the route is gone long before the hold time', async (t) => {
		await start();
		bfdd.child.kill('SIGSTOP');
		bgpd.child.kill('SIGSTOP');
		await measured(t, 'silence to withdrawal (detection time 1200 ms)', () =>
			until('no route', async () => !(await weHave())),
		);
		assert.match((await sessionOf(ours)).lastError, /BFD went down/);
		bfdd.child.kill('SIGCONT');
		bgpd.child.kill('SIGCONT');
		await bothUp();
	});

	it('we freeze: FRR notices and drops us', async (t) => {
		await start();
		ours.child.kill('SIGSTOP');
		await measured(t, 'silence to FRR dropping us', () =>
			until('FRR dropped us', async () => !(await vtysh('show bgp ipv4 unicast')).includes(prefixes.node[0])),
		);
		ours.child.kill('SIGCONT');
		await bothUp();
	});

	it('ours killed, FRR with `check-control-plane-failure`: it keeps our route, and the kernel the one of FRR', async () => {
		const restart = ' bgp graceful-restart\n bgp graceful-restart preserve-fw-state';
		await start(
			'ipv4',
			`${restart}\n neighbor ${addresses.node.ipv4} remote-as 64512\n neighbor ${addresses.node.ipv4} bfd check-control-plane-failure`,
		);
		const monitor = await wire.monitor(wire.node);
		for (const signal of ['SIGKILL', 'SIGTERM'] as const) {
			await ours.end(signal);
			await until('bfdd noticed', async () => (await frrPeer())?.status !== 'up');
			const said = String((await frrPeer())?.['remote-diagnostic']);
			if (signal === 'SIGTERM') assert.match(said, /admin/i, 'AdminDown is told');
			assert.ok(
				(await vtysh('show bgp ipv4 unicast')).includes(prefixes.node[0]),
				`FRR keeps our route after ${signal}`,
			);
			ours = wire.speaker(config);
			await bothUp();
		}
		assert.deepEqual(changesIn(monitor), []);
	});

	it('link-local addresses, one hop', async () => {
		const linkLocal = async (netns: string): Promise<string> => {
			let found: string | undefined;
			await until('a link-local address', async () => {
				const text = await wire.ip(netns, '-6 -j address show dev eth0 scope link');
				const links = JSON.parse(text) as { addr_info?: { local?: string; tentative?: boolean }[] }[];
				const all = links.flatMap((link) => link.addr_info ?? []);
				found = all.find(({ local, tentative }) => local !== undefined && tentative !== true)?.local;
				return found !== undefined;
			});
			return found as string;
		};
		const node = await linkLocal(wire.node);
		const router = await linkLocal(wire.router);
		bfdd = startDaemon('bfdd', bfddConf);
		const conf = bgpdConf('ipv6').replaceAll(addresses.node.ipv6, node);
		bgpd = startDaemon(
			'bgpd',
			conf.replace(' timers connect 1', ` interface eth0\n neighbor ${node} timers connect 1`),
		);
		const { localAddress: _, ...peer } = routerPeer({
			asNumber: 65001,
			address: router,
			interface: 'eth0',
			bfd: bfd(),
		});
		ours = wire.speaker(speakerConfig(peer));
		await bothUp();
		const session = await bfdOf(ours);
		assert.deepEqual([session?.address, session?.localAddress], [router, node]);
	});

	it("bfdd's peer shut down on purpose (AdminDown): the BGP session goes on, and BFD comes back", async () => {
		await start();
		const before = await sessionOf(ours);
		const peer = `peer ${addresses.node.ipv4} local-address ${addresses.router.ipv4} interface eth0`;
		await vtysh('configure terminal', 'bfd', peer, 'shutdown');
		await until('AdminDown seen', async () => (await bfdOf(ours))?.remote.state === 'AdminDown');
		assert.equal((await sessionOf(ours)).state, 'Established');
		assert.equal((await sessionOf(ours)).since, before.since);
		await vtysh('configure terminal', 'bfd', peer, 'no shutdown');
		await until('up again', () => isUp(ours));
	});
});
