import assert from 'node:assert/strict';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, it, type TestContext } from 'node:test';
import { startFrr } from './frr-router.ts';
import { createWire, type OurSpeaker, output, type Process, prefixes, until, type Wire } from './harness.ts';
import { createRack, type Rack, SPINE_AS, type Tor } from './rack.ts';

/** What a pod notices of its rack's ToRs dying or being drained, and of our own restarts. */

const GRACEFUL_SHUTDOWN = '(65535,0)';
const timing = 'connect delay time 1; connect retry time 1; error wait time 1, 2;';
const bfdProtocol = 'protocol bfd { interface "*" { interval 200 ms; multiplier 3; }; }';
const kernelProtocols = ['ipv4', 'ipv6']
	.map(
		(family) =>
			`protocol kernel { persist; graceful restart; merge paths on; ${family} { import none; export where source = RTS_BGP; }; }`,
	)
	.join('\n');

type BfdMode = 'on' | 'graceful';

const torConf = (tor: Tor, mode: BfdMode, drained: boolean): string => `
router id ${tor.own.ipv4};
log stderr all;
protocol device {}
${kernelProtocols}
${bfdProtocol}
filter told { ${drained ? `bgp_community.add(${GRACEFUL_SHUTDOWN});` : ''} accept; }
protocol bgp node {
	local ${tor.own.ipv4} as ${tor.asNumber};
	neighbor ${tor.node.ipv4} as 64512;
	graceful restart;
	bfd ${mode};
	${timing}
	ipv4 { import all; export filter told; next hop self; };
	ipv6 { import all; export filter told; next hop address ${tor.own.ipv6}; };
}
protocol bgp spine {
	local ${tor.up.ipv4} as ${tor.asNumber};
	neighbor ${tor.spine.ipv4} as ${SPINE_AS};
	bfd on;
	${timing}
	ipv4 { import all; export filter told; next hop self; };
	ipv6 { import all; export filter told; next hop address ${tor.up.ipv6}; };
}
`;

const frrConf = (tor: Tor): string => `
router bgp ${tor.asNumber}
 bgp router-id ${tor.own.ipv4}
 no bgp ebgp-requires-policy
 bgp graceful-restart
 bgp graceful-restart preserve-fw-state
 neighbor ${tor.node.ipv4} remote-as 64512
 neighbor ${tor.node.ipv4} bfd check-control-plane-failure
 neighbor ${tor.spine.ipv4} remote-as ${SPINE_AS}
${[tor.node, tor.spine].map(({ ipv4 }) => ` neighbor ${ipv4} timers connect 1\n neighbor ${ipv4} bfd profile quick`).join('\n')}
 address-family ipv6 unicast
${[tor.node, tor.spine].map(({ ipv4 }) => `  neighbor ${ipv4} activate`).join('\n')}
 exit-address-family
`;

const spineConf = (tors: readonly Tor[]): string => `
router id 10.8.0.1;
log stderr all;
protocol device {}
${kernelProtocols}
${bfdProtocol}
protocol static { ipv4; route ${prefixes.router[0]} blackhole; }
protocol static { ipv6; route ${prefixes.router[1]} blackhole; }
filter heard { if ${GRACEFUL_SHUTDOWN} ~ bgp_community then bgp_local_pref = 0; accept; }
${tors
	.map(
		(tor, i) => `protocol bgp tor${i} {
	local ${tor.spine.ipv4} as ${SPINE_AS};
	neighbor ${tor.up.ipv4} as ${tor.asNumber};
	bfd on;
	${timing}
	ipv4 { import filter heard; export where source = RTS_STATIC; next hop self; };
	ipv6 { import filter heard; export where source = RTS_STATIC; next hop address ${tor.spine.ipv6}; };
}`,
	)
	.join('\n')}
`;

describe('a rack with two ToRs', () => {
	let wire: Wire;
	let rack: Rack;
	let ours: OurSpeaker;
	const birds = new Map<string, Process>();

	beforeEach(async () => {
		wire = await createWire();
		rack = await createRack(wire);
		startBird('spine', rack.spine, spineConf(rack.tors));
	});
	afterEach(async () => {
		await wire.close();
	});

	const birdc = (name: string, command: string): Promise<string> =>
		output('birdc', ['-s', join(wire.folder, `${name}.ctl`), ...command.split(' ')]).catch(() => '');
	/** BFD sessions that are up. */
	const upAt = async (name: string): Promise<number> =>
		(await birdc(name, 'show bfd sessions')).split(' Up ').length - 1;
	const startBird = (name: string, netns: string, conf: string, ...more: readonly string[]): void => {
		const file = wire.file(`${name}.conf`, conf);
		const args = ['-f', '-c', file, '-s', join(wire.folder, `${name}.ctl`), '-P', join(wire.folder, `${name}.pid`)];
		birds.set(name, wire.start(netns, 'bird', [...args, ...more]));
	};
	const startTor = (i: 0 | 1, mode: BfdMode, ...more: readonly string[]): void =>
		startBird(`tor${i}`, rack.tors[i].netns, torConf(rack.tors[i], mode, false), ...more);

	const settled = async (): Promise<void> => {
		try {
			await until('both ToRs are in use', () => rack.uses(...rack.tors));
			await until('BFD with both', async () => (await ours.status()).sessions.every(({ bfd }) => bfd?.state === 'Up'));
			await until('BFD of the spine', async () => (await upAt('spine')) === 2);
		} catch (error) {
			const status = JSON.stringify((await ours.status()).sessions, null, 1);
			const tables = ['route', '-6 route'].flatMap((table) =>
				[wire.node, rack.spine].map((netns) => wire.ip(netns, table)),
			);
			const route = (await Promise.all(tables)).join('');
			assert.fail(`${error}\n${status}\n${route}\n${await birdc('spine', 'show route all')}\nours:\n${ours.log()}`);
		}
	};
	const start = async (mode: BfdMode): Promise<void> => {
		startTor(0, mode);
		startTor(1, mode);
		ours = wire.speaker(rack.config());
		await settled();
		await rack.probe();
	};
	/** At most so many milliseconds of any flow. */
	const loses = async (t: TestContext, most: number, what: string, work: () => Promise<void>): Promise<void> => {
		const { up, down } = await rack.lost(work);
		t.diagnostic(`${what}: lost ${up} ms of the worst flow from the pod, ${down} ms of the worst to it`);
		assert.ok(up <= most && down <= most, `${what}: lost ${up} and ${down} ms, ${most} at most\n${ours.log()}`);
	};
	const SECOND = 999;

	it('either ToR dies without a word: under a second is lost, nothing when it is back', async (t) => {
		await start('graceful');
		for (const i of [0, 1] as const) {
			const [dead, other] = [rack.tors[i], rack.tors[1 - i] as Tor];
			await loses(t, SECOND, `ToR ${i + 1} dead`, async () => {
				await rack.cut(dead, 'all');
				await until('only the other is in use', () => rack.uses(other));
			});
			await loses(t, 0, `ToR ${i + 1} back`, async () => {
				await rack.mend(dead);
				await settled();
			});
		}
	});

	it('the wire between node and ToR is cut in silence: under a second is lost', async (t) => {
		await start('on');
		for (const i of [0, 1] as const) {
			const [dead, other] = [rack.tors[i], rack.tors[1 - i] as Tor];
			await loses(t, SECOND, `wire to ToR ${i + 1} cut`, async () => {
				await rack.cut(dead, 'node');
				await until('only the other is in use', () => rack.uses(other));
			});
			await rack.mend(dead);
			await settled();
		}
	});

	it('BIRD is killed on either ToR: what it leaves in its kernel goes on', async (t) => {
		await start('graceful');
		for (const i of [0, 1] as const) {
			await loses(t, SECOND, `BIRD of ToR ${i + 1} killed`, async () => {
				await birds.get(`tor${i}`)?.end('SIGKILL');
				await until('it is taken for restarting', async () => {
					const session = (await ours.status()).sessions[i];
					return session?.gracefulRestart.helping === true && session.bfd?.state === 'Down';
				});
				await until('the spine noticed', async () => (await upAt('spine')) === 1);
			});
			await loses(t, 0, `BIRD of ToR ${i + 1} back`, async () => {
				startTor(i, 'graceful', '-R');
				await settled();
			});
		}
	});

	it('either ToR is drained and then taken away: nothing is lost', async (t) => {
		await start('graceful');
		for (const i of [0, 1] as const) {
			const [tor, other] = [rack.tors[i], rack.tors[1 - i] as Tor];
			await loses(t, 0, `ToR ${i + 1} drained and gone`, async () => {
				wire.file(`tor${i}.conf`, torConf(tor, 'graceful', true));
				await birdc(`tor${i}`, 'configure');
				await until('only the other is in use', () => rack.uses(other));
				await birdc(`tor${i}`, 'down');
				await birds.get(`tor${i}`)?.end('SIGKILL');
				await rack.cut(tor, 'all');
			});
			await loses(t, 0, `ToR ${i + 1} back`, async () => {
				await rack.mend(tor);
				startTor(i, 'graceful');
				await settled();
			});
		}
	});

	it('ToRs with FRR, one after the other dead: under a second is lost', async (t) => {
		for (const tor of rack.tors) {
			const frr = await startFrr(wire, tor.netns);
			frr.start('bfdd', 'bfd\n profile quick\n  receive-interval 200\n  transmit-interval 200\n exit\nexit\n');
			frr.start('bgpd', frrConf(tor));
		}
		ours = wire.speaker(rack.config());
		await settled();
		await rack.probe();
		for (const i of [0, 1] as const) {
			const [dead, other] = [rack.tors[i], rack.tors[1 - i] as Tor];
			await loses(t, SECOND, `ToR ${i + 1} dead`, async () => {
				await rack.cut(dead, 'all');
				await until('only the other is in use', () => rack.uses(other));
			});
			await rack.mend(dead);
			await settled();
		}
	});

	it('ours is restarted, and killed: nothing is lost', async (t) => {
		await start('graceful');
		for (const signal of ['SIGTERM', 'SIGKILL'] as const) {
			await loses(t, 0, `ours ended by ${signal}`, async () => {
				await ours.end(signal);
				await until('BFD of both ToRs noticed', async () =>
					(await Promise.all(['tor0', 'tor1'].map(upAt))).every((count) => count === 1),
				);
				ours = wire.speaker(rack.config());
				await settled();
				await until('converged', async () => (await ours.status()).converged);
			});
		}
	});
});
