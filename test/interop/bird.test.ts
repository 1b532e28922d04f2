import assert from 'node:assert/strict';
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

const birdConf = (asNumber: number): string => `
router id ${addresses.router.ipv4};
log stderr all;
protocol device {}
protocol kernel { persist; ipv4 { import none; export all; }; }
protocol kernel { persist; ipv6 { import none; export all; }; }
protocol static { ipv4; route ${prefixes.router[0]} blackhole; }
protocol static { ipv6; route ${prefixes.router[1]} blackhole; }
protocol bgp manx {
	direct;
	local ${addresses.router.ipv4} as ${asNumber};
	neighbor ${addresses.node.ipv4} as 64512;
	graceful restart;
	connect delay time 1;
	connect retry time 1;
	error wait time 1, 2;
	ipv4 { import all; export where source = RTS_STATIC; next hop self; };
	ipv6 { import all; export where source = RTS_STATIC; next hop address ${addresses.router.ipv6}; };
}
`;

describe('BIRD 2', () => {
	let wire: Wire;
	let ours: OurSpeaker;

	beforeEach(async () => {
		wire = await createWire();
	});
	afterEach(async () => {
		await wire.close();
	});

	const startBird = (asNumber = 65000, ...options: string[]): Process => {
		const conf = wire.file('bird.conf', birdConf(asNumber));
		const args = ['-f', '-c', conf, '-s', join(wire.folder, 'bird.ctl'), '-P', join(wire.folder, 'bird.pid')];
		return wire.start(wire.router, 'bird', [...args, ...options]);
	};
	const birdc = (command: string): Promise<string> =>
		output('birdc', ['-s', join(wire.folder, 'bird.ctl'), ...command.split(' ')]).catch(() => '');
	const birdHas = async (): Promise<boolean> => {
		const text = await birdc('show route protocol manx');
		return prefixes.node.every((prefix) => text.includes(prefix));
	};
	const weHave = async (): Promise<boolean> =>
		assertDeepEqual(await wire.routes(wire.node, ourProtocol), [...prefixes.router].sort());
	const assertDeepEqual = (a: unknown, b: unknown): boolean => JSON.stringify(a) === JSON.stringify(b);
	const both = async (): Promise<void> => {
		try {
			await until('BIRD has our prefixes', birdHas);
			await until('the kernel has the prefixes of BIRD', weHave);
			await until('converged', async () => (await ours.status()).converged);
		} catch (error) {
			assert.fail(`${error}\nours:\n${ours.log()}\nBIRD: ${await birdc('show protocols all manx')}`);
		}
	};

	for (const [kind, asNumber] of [
		['eBGP', 65000],
		['iBGP', 64512],
	] as const) {
		it(`${kind}: both families over one IPv4 session, both ways`, async () => {
			startBird(asNumber);
			ours = wire.speaker(speakerConfig(routerPeer({ asNumber })));
			await both();
			const show = await birdc('show route protocol manx all');
			assert.match(show, /BGP.next_hop: 192\.0\.2\.1/);
			assert.match(show, /BGP.next_hop: 2001:db8::1/);
			const routes = await wire.ip(wire.node, '-6 route show proto 174');
			assert.match(routes, /2001:db8:99::\/64 via 2001:db8::2 dev eth0 src 2001:db8::1/);
			const [session] = (await ours.status()).sessions;
			assert.equal(session?.state, 'Established');
			assert.deepEqual([session?.received, session?.advertised], [2, 2]);
			assert.equal(session?.gracefulRestart.agreed, true);
		});
	}

	it('ours killed, three times: nothing changes in either kernel, and it comes back', async () => {
		startBird();
		ours = wire.speaker(speakerConfig());
		await both();
		const monitors = [await wire.monitor(wire.node), await wire.monitor(wire.router)];
		for (const signal of ['SIGKILL', 'SIGTERM', 'SIGKILL'] as const) {
			await ours.end(signal);
			await until('BIRD noticed', async () => !/BGP state: +Established/.test(await birdc('show protocols all manx')));
			assert.ok(await birdHas(), `BIRD keeps our routes after ${signal}`);
			assert.ok(await weHave());
			ours = wire.speaker(speakerConfig());
			await both();
			await until('the session', async () => /BGP state: +Established/.test(await birdc('show protocols all manx')));
		}
		assert.deepEqual(monitors.flatMap(changesIn), []);
	});

	it('BIRD killed: its routes stay in our kernel, untouched, until it is back', async () => {
		const bird = startBird();
		ours = wire.speaker(speakerConfig());
		await both();
		const monitor = await wire.monitor(wire.node);
		await bird.end('SIGKILL');
		await until('we noticed', async () => (await ours.status()).sessions[0]?.gracefulRestart.helping === true);
		assert.ok(await weHave());
		startBird(65000, '-R');
		await until('it is back', async () => {
			const [session] = (await ours.status()).sessions;
			return session?.state === 'Established' && !session.gracefulRestart.helping;
		});
		await both();
		assert.deepEqual(changesIn(monitor), []);
	});

	it('BIRD shut down by hand: its routes go, and come back with it', async () => {
		startBird();
		ours = wire.speaker(speakerConfig());
		await both();
		const monitor = await wire.monitor(wire.node);
		await birdc('disable manx');
		await until('its routes are gone', async () => (await wire.routes(wire.node, ourProtocol)).length === 0);
		assert.match((await ours.status()).sessions[0]?.lastError ?? '', /NOTIFICATION Cease, Administrative Shutdown/);
		await birdc('enable manx');
		await both();
		assert.ok(changesIn(monitor).some((line) => line.startsWith(`Deleted ${prefixes.router[0]}`)));
	});

	it('a router that went without a trace and comes back is taken for restarted (RFC 4724 §4.2)', async () => {
		const bird = startBird();
		ours = wire.speaker(speakerConfig(routerPeer({ passive: true })));
		await both();
		const since = (await ours.status()).sessions[0]?.since;
		const monitor = await wire.monitor(wire.node);
		// Nothing of the old connection gets out any more, not even its end.
		const sockets = await output('ip', ['netns', 'exec', wire.router, 'ss', '-Htn', 'dport', '=', ':179']);
		const port = /192\.0\.2\.2(?:%\w+)?:(\d+)/.exec(sockets)?.[1] as string;
		const drop = `-A OUTPUT -p tcp --sport ${port} -j DROP`.split(' ');
		await output('ip', ['netns', 'exec', wire.router, 'iptables', ...drop]);
		await bird.end('SIGKILL');
		assert.equal((await ours.status()).sessions[0]?.state, 'Established');
		startBird(65000, '-R');
		await until('a new session in place of the old', async () => {
			const [session] = (await ours.status()).sessions;
			return session?.state === 'Established' && session.since !== since;
		});
		await both();
		assert.deepEqual(changesIn(monitor), []);
		assert.match(ours.log(), /the peer restarted: it opened a new session/);
	});

	it('garbage on port 179, from strangers and from the router itself, leaves the session alone', async () => {
		startBird();
		ours = wire.speaker(speakerConfig());
		await both();
		const since = (await ours.status()).sessions[0]?.since;
		await wire.ip(wire.router, 'address add 192.0.2.77/24 dev eth0');
		const send = (from: string, to: string): Process =>
			wire.start(wire.router, process.execPath, [
				'-e',
				`const s = require('net').connect({host:'${to}',port:179,localAddress:'${from}'});
				s.on('error',()=>{}); s.resume(); s.on('close',()=>process.exit());
				s.write(require('crypto').randomBytes(20000)); setTimeout(()=>process.exit(),5000);`,
			]);
		const { node, router } = addresses;
		const senders = [
			...Array.from({ length: 4 }, () => send('192.0.2.77', node.ipv4)),
			...Array.from({ length: 4 }, () => send(router.ipv4, node.ipv4)),
			send(router.ipv6, node.ipv6),
		];
		await Promise.all(senders.map(({ child }) => new Promise((resolve) => child.once('exit', resolve))));
		await both();
		const [session] = (await ours.status()).sessions;
		assert.equal(session?.since, since);
		assert.match(ours.log(), /connection from 192\.0\.2\.77 rejected: no peer with this address is configured/);
		assert.match(ours.log(), /marker/);
	});
});
