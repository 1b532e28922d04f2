import assert from 'node:assert/strict';
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

const conf = `
[global.config]
as = 65002
router-id = "${addresses.router.ipv4}"
local-address-list = ["${addresses.router.ipv4}"]
[[neighbors]]
[neighbors.config]
neighbor-address = "${addresses.node.ipv4}"
peer-as = 64512
[neighbors.timers.config]
connect-retry = 5
[neighbors.graceful-restart.config]
enabled = true
restart-time = 60
[[neighbors.afi-safis]]
[neighbors.afi-safis.config]
afi-safi-name = "ipv4-unicast"
[neighbors.afi-safis.mp-graceful-restart.config]
enabled = true
[[neighbors.afi-safis]]
[neighbors.afi-safis.config]
afi-safi-name = "ipv6-unicast"
[neighbors.afi-safis.mp-graceful-restart.config]
enabled = true
`;

describe('GoBGP', () => {
	let wire: Wire;
	let ours: OurSpeaker;

	beforeEach(async () => {
		wire = await createWire();
	});
	afterEach(async () => {
		await wire.close();
	});

	const gobgp = (command: string): Promise<string> =>
		output('ip', ['netns', 'exec', wire.router, 'gobgp', ...command.split(' ')]).catch(() => '');
	const startGobgpd = async (...options: string[]): Promise<Process> => {
		const file = wire.file('gobgpd.toml', conf);
		const gobgpd = wire.start(wire.router, 'gobgpd', ['-f', file, '--api-hosts', '127.0.0.1:50051', ...options]);
		await until('gobgpd answers', async () => (await gobgp('global')).includes('65002'));
		await gobgp(`global rib add ${prefixes.router[0]} nexthop ${addresses.router.ipv4}`);
		await gobgp(`global rib add -a ipv6 ${prefixes.router[1]} nexthop ${addresses.router.ipv6}`);
		return gobgpd;
	};
	const theyHave = async (): Promise<boolean> => {
		const text = (await gobgp('global rib')) + (await gobgp('global rib -a ipv6'));
		return prefixes.node.every((prefix) => text.includes(prefix));
	};
	const weHave = async (): Promise<boolean> =>
		String(await wire.routes(wire.node, ourProtocol)) === String([...prefixes.router].sort());
	const both = async (): Promise<void> => {
		try {
			await until('GoBGP has our prefixes', theyHave);
			await until('the kernel has the prefixes of GoBGP', weHave);
			await until('converged', async () => (await ours.status()).converged);
		} catch (error) {
			assert.fail(`${error}\nours:\n${ours.log()}\nGoBGP: ${await gobgp(`neighbor ${addresses.node.ipv4}`)}`);
		}
	};
	const config = speakerConfig(routerPeer({ asNumber: 65002 }));

	it('both families over one IPv4 session, both ways', async () => {
		await startGobgpd();
		ours = wire.speaker(config);
		await both();
		assert.match(await gobgp(`neighbor ${addresses.node.ipv4}`), /graceful-restart:\s+advertised and received/);
	});

	it('ours killed: GoBGP and the kernel keep everything', async () => {
		await startGobgpd();
		ours = wire.speaker(config);
		await both();
		const monitor = await wire.monitor(wire.node);
		for (const signal of ['SIGKILL', 'SIGTERM'] as const) {
			await ours.end(signal);
			await until('GoBGP noticed', async () => !/ESTABLISHED/.test(await gobgp(`neighbor ${addresses.node.ipv4}`)));
			assert.ok(await theyHave(), `GoBGP keeps our routes after ${signal}`);
			ours = wire.speaker(config);
			await both();
			await until('the session', async () => /ESTABLISHED/.test(await gobgp(`neighbor ${addresses.node.ipv4}`)));
		}
		assert.deepEqual(changesIn(monitor), []);
	});

	it('GoBGP killed: its routes stay in our kernel until it is back', async () => {
		const gobgpd = await startGobgpd();
		ours = wire.speaker(config);
		await both();
		const monitor = await wire.monitor(wire.node);
		await gobgpd.end('SIGKILL');
		await until('we noticed', async () => (await ours.status()).sessions[0]?.gracefulRestart.helping === true);
		assert.ok(await weHave());
		assert.deepEqual(changesIn(monitor), []);
		// It has forgotten what it was told to announce: its End-of-RIB may come before that is told again.
		await startGobgpd('-r');
		await until('it is back', async () => (await ours.status()).sessions[0]?.state === 'Established');
		await both();
	});
});
