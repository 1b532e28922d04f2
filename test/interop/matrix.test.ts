import assert from 'node:assert/strict';
import { afterEach, beforeEach, describe, it } from 'node:test';
import type { PeerConfig, SpeakerConfig } from '../../bird/config.ts';
import { type AnyRouter, type AnySession, anyRouters, markedExport, secondClient } from './any-router.ts';
import { type BirdRouter, startBirdRouter } from './bird-router.ts';
import {
	addresses,
	type Branch,
	createWire,
	type OurSpeaker,
	ourProtocol,
	prefixes,
	routerPeer,
	speakerConfig,
	until,
	type Wire,
} from './harness.ts';

/** What is to hold whoever the router is, both ways: docs/reference/bgp-interop.md says which test shows what. */

const marks = [/65000[,:] ?77/, /65000[,:] ?1[,:] ?2\b/, /65000[,:] ?5\b/] as const;
const others = ['198.51.200.0/24', '2001:db8:98::/64'] as const;

for (const [name, startAny] of Object.entries(anyRouters)) {
	describe(`any router: ${name}`, () => {
		let wire: Wire;
		let ours: OurSpeaker;
		let router: AnyRouter;
		let other: BirdRouter | undefined;

		beforeEach(async () => {
			wire = await createWire();
			other = undefined;
		});
		afterEach(async () => {
			await wire.close();
		});

		const holds = async (what: string, condition: () => Promise<boolean>): Promise<void> => {
			try {
				await until(what, condition);
			} catch (error) {
				const theirs = `${await router.describe()}\nother: ${await other?.birdc('show route all')}`;
				assert.fail(`${error}\nours:\n${ours.log()}\n${JSON.stringify(await ours.status())}\n${name}: ${theirs}`);
			}
		};
		const start = async (session: AnySession, peer: Partial<PeerConfig> = {}, extra: Partial<SpeakerConfig> = {}) => {
			router = await startAny(wire, session);
			const { family = 'ipv4', asNumber } = session;
			const first = routerPeer({
				address: addresses.router[family],
				localAddress: addresses.node[family],
				asNumber,
				...peer,
			});
			ours = wire.speaker(speakerConfig(first, { ...extra, peers: [first, ...(extra.peers ?? [])] }));
		};
		const session = async () => (await ours.status()).sessions[0];
		const weHave = async (wanted: readonly string[]): Promise<boolean> => {
			const found = await wire.routes(wire.node, ourProtocol);
			return wanted.every((prefix) => found.includes(prefix));
		};
		const theyHave = async (wanted: readonly string[]): Promise<boolean> => {
			for (const prefix of wanted) if (!(await router.route(prefix)).includes(prefix.split('/')[0] ?? '')) return false;
			return true;
		};
		const branchPeer = (branch: Branch, extra: Partial<PeerConfig> = {}): PeerConfig =>
			routerPeer({ name: 'peer/other', address: branch.router.ipv4, localAddress: branch.node.ipv4, ...extra });

		it('iBGP, both families over IPv4, both ways', async () => {
			await start({ asNumber: 64512 });
			await holds('its routes', () => weHave(prefixes.router));
			await holds('ours', () => theyHave(prefixes.node));
		});

		it('eBGP over IPv6, both ways', async () => {
			await start({ asNumber: 65001, family: 'ipv6' });
			await holds('its route', () => weHave([prefixes.router[1]]));
			await holds('ours', () => theyHave([prefixes.node[1]]));
		});

		it('communities, large and extended ones too, pass through us both ways', async () => {
			const branch = await wire.branch();
			other = startBirdRouter(wire, { asNumber: 65009, at: branch, prefixes: others, channel: markedExport });
			const bird = other;
			await start({ asNumber: 65001, communities: true }, {}, { peers: [branchPeer(branch, { asNumber: 65009 })] });
			const marked = (text: string): boolean => marks.every((mark) => mark.test(text));
			for (const prefix of prefixes.router) {
				await holds(`${prefix} at the other`, async () => marked(await bird.birdc(`show route for ${prefix} all`)));
			}
			for (const prefix of others) await holds(`${prefix} here`, async () => marked(await router.route(prefix)));
		});

		it('is our client: reflected both ways, with ORIGINATOR_ID and CLUSTER_LIST', async () => {
			const branch = await wire.branch();
			other = startBirdRouter(wire, { asNumber: 64512, at: branch, prefixes: others });
			const bird = other;
			await start(
				{ asNumber: 64512 },
				{ routeReflectorClient: true },
				{ clusterId: '0.0.0.77', peers: [branchPeer(branch, { asNumber: 64512, exportLearnt: true })] },
			);
			await holds('the other has its routes', async () => {
				const text = await bird.birdc(`show route for ${prefixes.router[0]} all`);
				return /originator_id: 192\.0\.2\.2/.test(text) && /cluster_list: 0\.0\.0\.77/.test(text);
			});
			for (const prefix of others) {
				await holds(`it has ${prefix}`, async () => {
					const text = await router.route(prefix);
					return /originator/i.test(text) && text.includes(branch.router.ipv4) && text.includes('0.0.0.77');
				});
			}
		});

		it('is our reflector: what it reflects is taken, and says where it is from', async () => {
			const branch = await wire.branch();
			await wire.inNode('sysctl -qw net.ipv4.ip_forward=1');
			await wire.ip(wire.router, `route add 10.9.0.0/16 via ${addresses.node.ipv4}`);
			other = startBirdRouter(wire, {
				at: branch,
				prefixes: others,
				body: `local ${secondClient} as 64512;
				neighbor ${addresses.router.ipv4} as 64512;
				ipv4 { import all; export where source = RTS_STATIC; next hop self; };`,
			});
			await start({ asNumber: 64512, reflector: true }, { exportLearnt: false });
			await holds('the route of the other client', () => weHave([others[0]]));
			const [route] = await ours.routes({ table: 'in', peer: 'peer/tor', prefix: others[0] });
			assert.equal(route?.originatorId, secondClient);
			assert.deepEqual(route?.clusterList, [addresses.router.ipv4]);
			assert.equal(route?.nextHop, secondClient);
			await holds('ours at the other', async () =>
				(await (other as BirdRouter).birdc(`show route for ${prefixes.node[0]} all`)).includes(
					'originator_id: 192.0.2.1',
				),
			);
		});

		it('routes are told again when it asks, and when we ask', async () => {
			await start({ asNumber: 65001 });
			await holds('its routes', () => weHave(prefixes.router));
			await holds('ours', () => theyHave(prefixes.node));
			const [before, since] = [await router.heard(), (await session())?.since];
			await router.askForRefresh?.();
			if (router.askForRefresh) await holds('told again', async () => (await router.heard()) > before);
			ours.tell('refresh in');
			await holds('asked', () => router.wasAsked());
			assert.equal((await session())?.since, since);
			assert.ok(await weHave(prefixes.router));
		});

		it('a prefix limit of its ends the session, and we say why', async () => {
			const more = Array.from({ length: 4 }, (_, i) => `10.244.${i + 2}.0/24`);
			for (const prefix of more) await wire.ip(wire.node, `route add blackhole ${prefix} proto 173 metric 173`);
			await start({ asNumber: 65001, limit: 2 }, {}, { originate: [...prefixes.node, ...more] });
			await holds('we know why', async () =>
				/the peer sent NOTIFICATION Cease, .*Maximum Number of Prefixes Reached|reset the connection/i.test(
					(await session())?.lastError ?? '',
				),
			);
			ours.update(speakerConfig(routerPeer({ asNumber: 65001, shutdown: { message: '' } })));
			await until('it is down', async () => (await session())?.held !== undefined);
		});

		it('a prefix limit of ours: the session is ended and kept down, routes go', async () => {
			const prefixLimit = { maximum: 5, warnPercent: 75, action: 'hold' } as const;
			await start({ asNumber: 65001, more: 8 }, { prefixLimit });
			await holds('it is held', async () =>
				/announces more than the 5 IPv4 prefixes it may/.test((await session())?.held ?? ''),
			);
			await holds('no routes', async () => (await wire.routes(wire.node, ourProtocol)).length === 0);
			assert.equal(await router.established(), false);
		});

		it('several paths to a prefix, both ways', async () => {
			const shared = ['203.0.113.0/24', '2001:db8:77::/64'] as const;
			const branches = [await wire.branch(), await wire.branch()];
			for (const [i, at] of branches.entries()) {
				startBirdRouter(wire, { asNumber: 65008 + i, at, prefixes: shared });
			}
			await start(
				{ asNumber: 65001, addPath: true },
				{ addPath: { receive: true, sendPaths: 4 } },
				{
					peers: branches.map((branch, i) =>
						branchPeer(branch, {
							name: `peer/other${i}`,
							asNumber: 65008 + i,
							addPath: { receive: true, sendPaths: 0 },
						}),
					),
				},
			);
			for (const prefix of shared) {
				await holds(`two paths to ${prefix}`, async () => {
					const text = await router.route(prefix);
					return /64512 65008/.test(text) && /64512 65009/.test(text);
				});
			}
			await holds('its routes, by paths with identifiers', () => weHave(prefixes.router));
		});
	});
}
