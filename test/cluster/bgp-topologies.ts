import assert from 'node:assert/strict';
import { after, before, it } from 'node:test';
import type { PeerSessionStatus, RouteLine } from '../../bird/index.ts';
import { ranges } from './bgp-services.ts';
import type { Harness, Pod, Program } from './harness.ts';
import { manx } from './manx-object.ts';
import { fabricAddress } from './network.ts';
import { type Rack, torAsNumber } from './rack.ts';

/** Who speaks with whom, changed on a cluster that runs, under traffic between pods of all nodes. */

type Get = () => { readonly cluster: Harness; readonly rack: Rack };

/** What bird says on its control socket, which is what `manx bgp` asks; from the node, since an exec for each is slow. */
export const bgpOf = (get: Get) => {
	const ask = async <T>(node: string, path: string): Promise<T> => {
		const argv = ['curl', '-sS', '-m', '60', '--unix-socket', '/run/manx/bird.sock', `http://bird${path}`];
		return JSON.parse(await get().cluster.output(node, ...argv)) as T;
	};
	return {
		sessions: async (node: string) => (await ask<{ sessions: readonly PeerSessionStatus[] }>(node, '/status')).sessions,
		/** All ways to an address. */
		routes: async (node: string, address: string) =>
			(await ask<{ routes: readonly RouteLine[] }>(node, `/bgp/routes?table=all&prefix=${address}`)).routes,
	};
};

export const topologyTests = (get: Get): void => {
	const all = ['n1', 'n2', 'n3'];
	let web: readonly Pod[] = [];

	const { routes, sessions } = bgpOf(get);
	/** Returns when each node has just these sessions, all up. */
	const untilSessions = async (wanted: Readonly<Record<string, readonly string[]>>): Promise<void> => {
		for (const [node, names] of Object.entries(wanted)) {
			await get().cluster.eventually(`sessions of ${node}`, 40, async () => {
				const found = await sessions(node);
				const right = String(found.map(({ name }) => name).sort()) === String([...names].sort());
				const up = found.every(({ state }) => state === 'Established');
				return right && up ? undefined : found.map(({ name, state }) => `${name} ${state}`).join(', ');
			});
		}
	};
	/** Returns when bird of each node has the way to all others' pods, learnt from such a peer. */
	const untilRoutes = async (from: RegExp): Promise<void> => {
		const { cluster } = get();
		for (const node of all) {
			for (const other of web.filter((pod) => pod.node !== node)) {
				await cluster.eventually(`${node} has the pods of ${other.node}`, 40, async () => {
					const best = (await routes(node, other.ip)).find(({ use }) => use === 'best');
					if (!from.test(best?.peer ?? '')) return `by ${best?.peer}`;
					const kernel = await cluster.output(node, 'ip', 'route', 'get', other.ip);
					return kernel.includes(`via ${cluster.node(other.node).address} `) ? undefined : kernel;
				});
			}
		}
	};
	/** Returns when each node could use the router's ways to the others' pods. */
	const untilAlsoByTor = async (): Promise<void> => {
		for (const node of all) {
			for (const other of web.filter((pod) => pod.node !== node)) {
				await get().cluster.eventually(`${node} has the pods of ${other.node} by the router too`, 40, async () => {
					const reason = (await routes(node, other.ip)).find(({ peer }) => peer === 'peer/tor')?.reason;
					return reason === undefined || /in its path/.test(reason) ? `${reason}` : undefined;
				});
			}
		}
	};
	const pingsThrough = async (what: string, change: () => Promise<void>): Promise<void> => {
		const { cluster } = get();
		const pings: Program[] = [];
		for (const [index, from] of web.entries()) {
			const to = web[(index + 1) % web.length] as Pod;
			pings.push(await cluster.startInPod(from, 'ping', '-i', '0.02', '-q', to.ip));
		}
		const losses: string[] = [];
		try {
			await change();
			await betweenAll();
			await fromOutside();
		} finally {
			for (const ping of pings) {
				const [, sent, received] =
					/(\d+) packets transmitted, (\d+) received/.exec(await ping.finish('interrupt')) ?? [];
				losses.push(`${Number(sent) - Number(received)} of ${sent}`);
			}
		}
		console.log(`${what}: lost ${losses.join(', ')}`);
		assert.ok(
			losses.every((text) => text.startsWith('0 of ')),
			`${what}: lost ${losses.join(', ')}`,
		);
	};
	const configure = (spec: object): Promise<void> =>
		get().cluster.api.apply([manx('BGPConfiguration', 'default', { ...ranges, ...spec })]);
	const patchNode = (node: string, metadata: object): Promise<unknown> =>
		get().cluster.api.json('PATCH', `/api/v1/nodes/${node}`, { metadata }, 'application/merge-patch+json');
	const tor = (more: object = {}) =>
		manx('BGPPeer', 'tor', {
			peerIP: fabricAddress,
			asNumber: torAsNumber,
			numAllowedLocalASNumbers: 0,
			exportLearnt: null,
			...more,
		});
	const reflectors = manx('BGPPeer', 'reflectors', {
		nodeSelector: '!has(reflector)',
		peerSelector: 'has(reflector)',
	});

	const fromOutside = async (): Promise<void> => {
		const { cluster, rack } = get();
		for (const { ip, name, node } of web) {
			// Not by a reflector, which tells of it too.
			await cluster.eventually(`the router has ${node}'s pods by itself`, 20, async () => {
				const nodes = String(await rack.nodesOf(ip.replace(/\.\d+$/, '.0/24')));
				return nodes === node ? undefined : nodes;
			});
			assert.equal(await rack.get(`${ip}:8080`), name);
		}
	};
	const betweenAll = async (): Promise<void> => {
		for (const from of web) {
			for (const to of web) assert.deepEqual(await get().cluster.dial(from, to.ip, 8080), [to.name]);
		}
	};

	before(async () => {
		web = await get().cluster.untilReady('default', 'app=web', 3);
	});
	after(() => get().cluster.api.delete([reflectors]));

	it('mesh: every node has a session with every other, and with the router', async () => {
		await untilSessions({
			n1: ['mesh/n2', 'mesh/n3', 'peer/tor'],
			n2: ['mesh/n1', 'mesh/n3', 'peer/tor'],
			n3: ['mesh/n1', 'mesh/n2', 'peer/tor'],
		});
		await untilRoutes(/^mesh/);
		await betweenAll();
		await fromOutside();
	});

	it('from the mesh to a reflector', async () => {
		await pingsThrough('mesh to reflector', async () => {
			await patchNode('n1', { labels: { reflector: 'yes' } });
			await get().cluster.api.apply([reflectors]);
			await patchNode('n1', { annotations: { 'manx.dev/route-reflector-cluster-id': '244.0.0.1' } });
			await untilSessions({
				n1: ['peer/reflectors/n2', 'peer/reflectors/n3', 'peer/tor'],
				n2: ['mesh/n3', 'peer/reflectors/n1', 'peer/tor'],
			});
			await configure({ nodeToNodeMeshEnabled: false });
			await untilSessions({
				n1: ['peer/reflectors/n2', 'peer/reflectors/n3', 'peer/tor'],
				n2: ['peer/reflectors/n1', 'peer/tor'],
				n3: ['peer/reflectors/n1', 'peer/tor'],
			});
			await untilRoutes(/^peer\/reflectors\//);
		});
	});

	it('from the reflector to the router alone', async () => {
		await pingsThrough('reflector to router', async () => {
			// As long as the reflector tells the router of the others too, it may be who the router believes, and hear nothing.
			await get().cluster.api.apply([tor({ numAllowedLocalASNumbers: 1, exportLearnt: false })]);
			await untilAlsoByTor();
			await get().cluster.api.delete([reflectors]);
			await patchNode('n1', {
				labels: { reflector: null },
				annotations: { 'manx.dev/route-reflector-cluster-id': null },
			});
			await untilSessions({ n1: ['peer/tor'], n2: ['peer/tor'], n3: ['peer/tor'] });
			await untilRoutes(/^peer\/tor$/);
		});
	});

	it('and back to the mesh', async () => {
		await pingsThrough('router to mesh', async () => {
			await configure({ nodeToNodeMeshEnabled: true });
			await untilSessions({
				n1: ['mesh/n2', 'mesh/n3', 'peer/tor'],
				n2: ['mesh/n1', 'mesh/n3', 'peer/tor'],
				n3: ['mesh/n1', 'mesh/n2', 'peer/tor'],
			});
			await get().cluster.api.apply([tor()]);
			await untilRoutes(/^mesh/);
		});
	});
};
