import assert from 'node:assert/strict';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, it, type TestContext } from 'node:test';
import type { PeerConfig } from '../../bird/config.ts';
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

type Options = {
	readonly family?: 'ipv4' | 'ipv6';
	readonly hops?: 'direct' | 'multihop 3';
	readonly bfd?: 'on' | 'graceful';
	readonly restart?: 'graceful restart' | 'graceful restart aware';
};

const birdConf = ({ family = 'ipv4', hops = 'direct', bfd: mode = 'on', restart }: Options): string => `
router id ${addresses.router.ipv4};
log stderr all;
protocol device {}
protocol kernel { persist; ipv4 { import none; export all; }; }
protocol static { ipv4; route ${prefixes.router[0]} blackhole; }
protocol static { ipv6; route ${prefixes.router[1]} blackhole; }
protocol bfd {
	interface "eth0" { min rx interval 400 ms; min tx interval 200 ms; multiplier 5; };
	multihop { min rx interval 400 ms; min tx interval 200 ms; multiplier 5; };
}
protocol bgp manx {
	${hops};
	local ${addresses.router[family]} as 65000;
	neighbor ${addresses.node[family]} as 64512;
	bfd ${mode};
	${restart ?? 'graceful restart aware'};
	connect delay time 1;
	connect retry time 1;
	error wait time 1, 2;
	ipv4 { import all; export where source = RTS_STATIC; next hop address ${addresses.router.ipv4}; };
	ipv6 { import all; export where source = RTS_STATIC; next hop address ${addresses.router.ipv6}; };
}
`;

describe('BFD with BIRD 2', () => {
	let wire: Wire;
	let ours: OurSpeaker;
	let bird: Process;

	beforeEach(async () => {
		wire = await createWire();
	});
	afterEach(async () => {
		await wire.close();
	});

	const birdc = (command: string): Promise<string> =>
		output('birdc', ['-s', join(wire.folder, 'bird.ctl'), ...command.split(' ')]).catch(() => '');
	const birdHas = async (): Promise<boolean> => {
		const text = await birdc('show route protocol manx');
		return prefixes.node.every((prefix) => text.includes(prefix));
	};
	const weHave = async (): Promise<boolean> =>
		String(await wire.routes(wire.node, ourProtocol)) === String([...prefixes.router].sort());
	const routesOf = (count: number) => async (): Promise<boolean> =>
		(await wire.routes(wire.node, ourProtocol)).length === count;

	const bothUp = async (): Promise<void> => {
		try {
			await until('BIRD has our prefixes', birdHas);
			await until('the kernel has the prefixes of BIRD', weHave);
			await until('BFD is up', () => isUp(ours));
			await until('BIRD says so too', async () => / Up /.test(await birdc('show bfd sessions')));
		} catch (error) {
			assert.fail(`${error}\nours:\n${ours.log()}\nBIRD: ${await birdc('show bfd sessions')}\n${bird.log()}`);
		}
	};
	const startBird = (options: Options, ...more: string[]): void => {
		const conf = wire.file('bird.conf', birdConf(options));
		const args = ['-f', '-c', conf, '-s', join(wire.folder, 'bird.ctl'), '-P', join(wire.folder, 'bird.pid')];
		bird = wire.start(wire.router, 'bird', [...args, ...more]);
	};
	const start = async (options: Options, peer: Partial<PeerConfig>): Promise<void> => {
		startBird(options);
		ours = wire.speaker(speakerConfig(routerPeer(peer)));
		await bothUp();
	};
	const measured = async (t: TestContext, what: string, work: () => Promise<void>): Promise<void> => {
		const begin = performance.now();
		await work();
		t.diagnostic(`${what}: ${Math.round(performance.now() - begin)} ms`);
	};

	for (const [family, hops] of [
		['ipv4', 'direct'],
		['ipv6', 'direct'],
		['ipv4', 'multihop 3'],
		['ipv6', 'multihop 3'],
	] as const) {
		it(`${family}, ${hops}: up, timers negotiated`, async () => {
			const peer = { address: addresses.router[family], localAddress: addresses.node[family] };
			await start({ family, hops }, { ...peer, bfd: bfd({ multihop: hops !== 'direct' }) });
			const session = await bfdOf(ours);
			assert.equal(session?.multihop, hops !== 'direct');
			// Ours 300 ms both ways, times 3; BIRD takes no more than one in 400 ms and sends one in 200 ms, times 5.
			assert.equal(session?.transmitInterval, 400);
			assert.equal(session?.detectionTime, 5 * 300);
			assert.equal(session?.refused, 0);
			await until('BIRD agrees', async () => /Up .* 0\.300 +1\.200/.test(await birdc('show bfd sessions')));
		});
	}

	it('BIRD stops answering: its routes are gone long before the hold time, and come back with it', async (t) => {
		await start({}, { bfd: bfd({}, { transmitInterval: 100, receiveInterval: 100 }) });
		bird.child.kill('SIGSTOP');
		await measured(t, 'silence to withdrawal (detection time 1000 ms)', () => until('no routes', routesOf(0)));
		const session = await sessionOf(ours);
		assert.notEqual(session.state, 'Established');
		assert.match(session.lastError, /BFD went down: nothing came from the peer within the detection time/);
		assert.match(session.lastError, /BFD Down/);
		bird.child.kill('SIGCONT');
		await bothUp();
	});

	it('we stop answering: BIRD notices', async (t) => {
		await start({}, { bfd: bfd() });
		ours.child.kill('SIGSTOP');
		await measured(t, 'silence to BIRD dropping us', () => until('BIRD dropped us', async () => !(await birdHas())));
		ours.child.kill('SIGCONT');
		await bothUp();
	});

	it('a busy main thread keeps the session', async () => {
		await start({}, { bfd: bfd({}, { transmitInterval: 50, receiveInterval: 50 }) });
		const before = await sessionOf(ours);
		ours.tell('block 2500');
		// Answered when the main thread is free again.
		const after = await sessionOf(ours);
		assert.equal(after.bfd?.since, before.bfd?.since);
		assert.equal(after.since, before.since);
		assert.equal(after.state, 'Established');
		assert.match(await birdc('show bfd sessions'), / Up /);
	});

	it('ours killed, BIRD with `bfd graceful`: nothing changes in either kernel, and it comes back', async () => {
		const peer = { bfd: bfd() };
		await start({ bfd: 'graceful', restart: 'graceful restart' }, peer);
		const monitors = [await wire.monitor(wire.node), await wire.monitor(wire.router)];
		for (const signal of ['SIGKILL', 'SIGTERM', 'SIGKILL'] as const) {
			await ours.end(signal);
			await until('BFD of BIRD noticed', async () => !/ Up /.test(await birdc('show bfd sessions')));
			assert.ok(await birdHas(), `BIRD keeps our routes after ${signal}`);
			ours = wire.speaker(speakerConfig(routerPeer(peer)));
			await until('the session', async () => /BGP state: +Established/.test(await birdc('show protocols all manx')));
			await bothUp();
		}
		assert.deepEqual(monitors.flatMap(changesIn), []);
	});

	it('BIRD freezes or dies, with graceful restart and without its C bit: its routes stay until it is back', async () => {
		const options = { bfd: 'graceful', restart: 'graceful restart' } as const;
		await start(options, { bfd: bfd() });
		const monitor = await wire.monitor(wire.node);
		bird.child.kill('SIGSTOP');
		await until('we help', async () => (await sessionOf(ours)).gracefulRestart.helping);
		assert.equal((await bfdOf(ours))?.state, 'Down');
		assert.ok(await weHave());
		await bird.end('SIGKILL');
		startBird(options, '-R');
		await until('it is back', async () => !(await sessionOf(ours)).gracefulRestart.helping);
		await bothUp();
		// TCP tells first this time, BFD after it.
		await bird.end('SIGKILL');
		await until('we help', async () => (await sessionOf(ours)).gracefulRestart.helping);
		await until('BFD is down', async () => (await bfdOf(ours))?.state === 'Down');
		assert.ok(await weHave());
		startBird(options, '-R');
		await until('it is back', async () => !(await sessionOf(ours)).gracefulRestart.helping);
		await bothUp();
		assert.deepEqual(changesIn(monitor), []);
	});

	it('the same where the peer is set not to: its routes go', async () => {
		await start({ restart: 'graceful restart' }, { bfd: bfd({ gracefulRestart: false }) });
		bird.child.kill('SIGSTOP');
		await until('no routes', routesOf(0));
		assert.equal((await sessionOf(ours)).gracefulRestart.helping, false);
	});

	it('two routers with graceful restart, one freezes: traffic leaves it at once, and its routes are still kept', async () => {
		const branch = await wire.branch();
		const text = birdConf({ restart: 'graceful restart' });
		const other = text
			.replaceAll(addresses.router.ipv4, branch.router.ipv4)
			.replaceAll(addresses.node.ipv4, branch.node.ipv4)
			.replaceAll(addresses.router.ipv6, branch.router.ipv6)
			.replace('"eth0"', '"*"');
		wire.start(branch.netns, 'bird', [
			...['-f', '-c', wire.file('other.conf', other), '-s', join(wire.folder, 'other.ctl')],
			...['-P', join(wire.folder, 'other.pid')],
		]);
		startBird({ restart: 'graceful restart' });
		const second = {
			name: 'peer/other',
			address: branch.router.ipv4,
			localAddress: branch.node.ipv4,
			bfd: bfd(),
		};
		ours = wire.speaker(
			speakerConfig(routerPeer({ bfd: bfd() }), { peers: [routerPeer({ bfd: bfd() }), routerPeer(second)] }),
		);
		const nextHops = async (): Promise<string> => {
			const [route] = JSON.parse(await wire.ip(wire.node, `-j route show ${prefixes.router[0]}`)) as {
				gateway?: string;
				nexthops?: { gateway: string }[];
			}[];
			return String(
				(route?.nexthops ?? (route?.gateway ? [{ gateway: route.gateway }] : [])).map((hop) => hop.gateway).sort(),
			);
		};
		const both = String([addresses.router.ipv4, branch.router.ipv4].sort());
		const allUp = async (): Promise<void> => {
			await until('both next hops', async () => (await nextHops()) === both);
			await until('BFD with both', async () => (await ours.status()).sessions.every(({ bfd }) => bfd?.state === 'Up'));
		};
		await allUp();
		bird.child.kill('SIGSTOP');
		await until('only the other next hop', async () => (await nextHops()) === branch.router.ipv4);
		assert.equal((await sessionOf(ours)).gracefulRestart.helping, true);
		assert.equal((await sessionOf(ours)).received, 2);
		bird.child.kill('SIGCONT');
		await allUp();
	});

	it('packets that came over a router are not let in, malformed ones are counted', async () => {
		ours = wire.speaker(speakerConfig(routerPeer({ bfd: bfd() })));
		await until('its sockets are open', async () => ((await bfdOf(ours))?.sent ?? 0) > 0);
		// State Down, multiplier 3, discriminator 9, 1 s both ways; the last with version 7.
		const down = '20400318 00000009 00000000 000f4240 000f4240 00000000'.replaceAll(' ', '');
		const script = wire.file(
			'send.mjs',
			`import { createSocket } from 'node:dgram';
			const socket = createSocket('udp4').bind(50000, '${addresses.router.ipv4}', async () => {
				const send = (ttl, hex) => new Promise((sent) => {
					socket.setTTL(ttl);
					socket.send(Buffer.from(hex, 'hex'), 3784, '${addresses.node.ipv4}', sent);
				});
				for (const ttl of [1, 64, 254]) await send(ttl, '${down}');
				await send(255, 'e0${down.slice(2)}');
				await send(255, '${down}');
				process.exit();
			});`,
		);
		wire.start(wire.router, process.execPath, [script]);
		await until('the last one is in', async () => (await bfdOf(ours))?.state === 'Init');
		const session = await bfdOf(ours);
		assert.deepEqual([session?.received, session?.refused], [1, 1]);
	});

	it('other intervals are negotiated live; without BFD in the configuration the BGP session goes on', async () => {
		await start({}, { bfd: bfd() });
		const before = await sessionOf(ours);
		ours.update(speakerConfig(routerPeer({ bfd: bfd({}, { transmitInterval: 700, receiveInterval: 600 }) })));
		await until('slower', async () => (await bfdOf(ours))?.transmitInterval === 700);
		await until('detection follows', async () => (await bfdOf(ours))?.detectionTime === 5 * 600);
		assert.equal((await bfdOf(ours))?.since, before.bfd?.since, 'it stayed up');
		ours.update(speakerConfig(routerPeer()));
		await until('no BFD', async () => (await bfdOf(ours)) === undefined);
		await until('BIRD heard that it is on purpose', async () => !/ Up /.test(await birdc('show bfd sessions')));
	});
});
