import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import type { PeerSessionStatus } from '../../bird/index.ts';
import { createRun } from '../../src/kernel/run.ts';
import { calicoObjects, calicoRouter } from './calico-peer.ts';
import { labHarness, until } from './lab-harness.ts';
import { createRacks, examples, type Racks } from './racks.ts';

/**
 * The examples of manifests/examples as docs/topologies.md tells them, one after the other in a lab that runs: each is applied as it
 * is, pods of all nodes reach each other along the ways it means, and the world reaches them where it has routers.
 */

const run = createRun();
const rackA = ['a1', 'a2', 'a3'];
const nodes = [...rackA, 'b1'];
/** podCIDRs, IPv4. */
const networks = { a1: '10.244.1.0/24', a2: '10.244.2.0/24', a3: '10.244.3.0/24', b1: '10.244.4.0/24' } as const;
const networks6 = { a2: 'fd00:244:0:2::/64', b1: 'fd00:244:0:4::/64' } as const;

describe('topologies', { timeout: 600_000 }, () => {
	const harness = labHarness('topo');
	let racks: Racks;
	let applied: string | undefined;
	const apply = async (example: string): Promise<void> => {
		const file = join(examples, example, 'objects.yaml');
		if (applied !== undefined) await harness.lab(['delete', '-f', applied]);
		applied = file;
		await harness.lab(['apply', '-f', file]);
	};
	const sessionsOf = async (node: string): Promise<readonly PeerSessionStatus[]> =>
		((await harness.daemonStatus(node, 'bird')) as { sessions?: PeerSessionStatus[] } | undefined)?.sessions ?? [];
	/** All sessions of the node are up, and named so. */
	const sessions = (node: string, ...names: string[]): Promise<void> =>
		until(`sessions of ${node}`, 90, async () => {
			const found = await sessionsOf(node);
			const up = found.filter(({ state }) => state === 'Established').map(({ name }) => name);
			return (
				(found.length === names.length && String(up.sort()) === String(names.sort())) ||
				found.map(({ name, state, lastError }) => `${name} ${state} ${lastError}`).join(', ')
			);
		});
	const way = (node: string, prefix: string, ...gateways: string[]): Promise<void> =>
		until(`the way of ${node} to ${prefix}`, 90, async () => {
			const found = await racks.ways(node, prefix);
			return found === gateways.sort().join(' ') || found;
		});
	const atRouter = async (router: string, prefix: string): Promise<string> =>
		(await racks.birdc(router, 'show', 'route', prefix, 'all')) as string;

	before(async () => {
		await harness.lab(['up', '-f', join(examples, 'nodes.yaml'), '--pods', '4']);
		const lab = nodes.map((node) => ({ kind: 'BGPPeer', metadata: { name: `tor-${node}` } }));
		await harness.lab(['delete', '-f', '-'], lab.map((object) => JSON.stringify(object)).join('\n---\n'));
		racks = await createRacks(harness);
	});
	after(() => harness.down());

	it('mesh: each node has a session with each other', async () => {
		await apply('mesh');
		for (const node of nodes) {
			await sessions(node, ...nodes.filter((other) => other !== node).map((other) => `mesh/${other}`));
		}
		await way('a1', networks.a2, '192.0.2.12');
		await racks.reach({ nodes: rackA });
	});

	it('routes have the metric, and the owner, that BGPConfiguration says', async () => {
		const configure = (spec: object): Promise<unknown> =>
			harness.lab(
				['apply', '-f', '-'],
				JSON.stringify({ apiVersion: 'manx.dev/v1', kind: 'BGPConfiguration', metadata: { name: 'default' }, spec }),
			);
		/** Protocols and metrics of the routes to a2, IPv4 and IPv6. */
		const are = (...wanted: string[]): Promise<void> =>
			until(wanted.join('; '), 90, async () => {
				const texts = [
					await racks.ip('a1', 'route', 'show', networks.a2),
					await racks.ip('a1', '-6', 'route', 'show', networks6.a2),
				];
				const found = texts.map((text) =>
					[...text.matchAll(/proto (\d+) .*metric (\d+)/g)]
						.map(([, protocol, metric]) => `${protocol}/${metric}`)
						.join(' '),
				);
				return found.join('; ') === wanted.join('; ') || found.join('; ');
			});
		await are('174/174 173/175', '174/174 173/175');
		await configure({ ipv4NormalRoutePriority: 1024 });
		await are('174/1024', '174/174 173/175');
		await racks.reach({ nodes: rackA });
		await configure({ programClusterRoutes: 'Disabled' });
		await are('173/175', '173/175');
		await racks.reach({ nodes: rackA });
		await configure({});
		await are('174/174 173/175', '174/174 173/175');
	});

	it('reflectors in the cluster: two of them, and nobody else has more than two sessions', async () => {
		const reflector = {
			labels: { reflector: 'yes' },
			annotations: { 'manx.dev/route-reflector-cluster-id': '244.0.0.1' },
		};
		await racks.nodes({ a1: reflector, b1: reflector });
		await apply('reflectors');
		await sessions('a2', 'peer/to-reflectors/a1', 'peer/to-reflectors/b1');
		await sessions('a3', 'peer/to-reflectors/a1', 'peer/to-reflectors/b1');
		await sessions('a1', 'peer/to-reflectors/a2', 'peer/to-reflectors/a3', 'peer/between-reflectors/b1');
		await way('a2', networks.a1, '192.0.2.11');
		await way('a2', networks.a3, '192.0.2.13');
		await racks.reach({ nodes: rackA });
	});

	it('a ToR for each rack, the rack has an AS', async () => {
		const as = (number: string) => ({ annotations: { 'manx.dev/as-number': number } });
		await racks.nodes({ a1: as('65101'), a2: as('65101'), a3: as('65101'), b1: as('65102') });
		await racks.routers({ a1: 'as-per-rack/tor-a.bird.conf', b: 'as-per-rack/tor-b.bird.conf' });
		await apply('as-per-rack');
		await sessions('a1', 'peer/tor-a');
		await sessions('b1', 'peer/tor-b');
		await way('a1', networks.a2, '192.0.2.12');
		await way('a1', networks.b1, '192.0.2.2');
		await way('a1', networks6.b1, '2001:db8:0:2::2');
		await racks.reach({ outside: true });
		assert.match(await atRouter('tor-a1', networks.b1), /BGP\.as_path: 65000 65102\n/);
	});

	it('a ToR for each rack, all nodes have one AS', async () => {
		await racks.nodes({});
		await racks.routers({ a1: 'shared-as/tor-a.bird.conf', b: 'shared-as/tor-b.bird.conf' });
		await apply('shared-as');
		await way('a1', networks.a2, '192.0.2.12');
		await way('a1', networks.b1, '192.0.2.2');
		await way('a1', networks6.b1, '2001:db8:0:2::2');
		await racks.reach({ outside: true });
		assert.match(await atRouter('tor-a1', networks.b1), /BGP\.as_path: 65000 65102 64512\n/);
	});

	it('two ToRs in a rack: both ways are used, and that of a ToR that dies is not', async () => {
		await racks.routers({
			a1: 'two-tors/tor-a1.bird.conf',
			a2: 'two-tors/tor-a2.bird.conf',
			b: 'two-tors/tor-b.bird.conf',
		});
		await apply('two-tors');
		await sessions('a1', 'peer/tor-a1', 'peer/tor-a2');
		await way('a1', networks.b1, '192.0.2.2', '192.0.2.3');
		await way('a2', networks6.b1, '2001:db8:0:2::2', '2001:db8:0:2::3');
		await way('b1', networks.a1, '203.0.113.2');
		await racks.reach({ outside: true });
		await until('BFD', 20, async () =>
			(await Promise.all(rackA.map(sessionsOf))).flat().every(({ bfd }) => bfd?.state === 'Up'),
		);
		const cut =
			'table inet cut { chain in { type filter hook prerouting priority -300; drop; }; chain out { type filter hook postrouting priority -300; drop; }; }';
		await run('ip', ['netns', 'exec', racks.netns('tor-a1'), 'nft', cut]);
		for (const node of rackA) await way(node, networks.b1, '192.0.2.3');
		await racks.reach({ outside: true });
		await run('ip', ['netns', 'exec', racks.netns('tor-a1'), 'nft', 'delete', 'table', 'inet', 'cut']);
		await way('a1', networks.b1, '192.0.2.2', '192.0.2.3');
		await racks.reach({ outside: true });
	});

	it('bird on a node exposes what came of all that', async () => {
		const script = "fetch('http://127.0.0.1:9474/metrics').then((answer) => answer.text()).then(console.log)";
		const { stdout } = await run('ip', ['netns', 'exec', racks.netns('a1'), process.execPath, '-e', script]);
		const value = (name: string, labels = ''): number =>
			Number(new RegExp(`^${name}\\{${labels}[^}]*\\} (\\S+)$`, 'm').exec(stdout)?.[1] ?? Number.NaN);
		assert.equal(value('manx_bird_session_up', 'peer="peer/tor-a2"'), 1);
		assert.equal(value('manx_bird_bfd_session_up', 'peer="peer/tor-a2"'), 1);
		assert.equal(value('manx_bird_sessions', 'state="Established"'), 2);
		// The others' podCIDRs, its own, and the world's.
		assert.equal(value('manx_bird_rib_prefixes', 'family="ipv4"'), 5);
		assert.equal(value('manx_bird_session_received_prefixes', 'peer="peer/tor-a2",family="ipv4"'), 4);
		assert.equal(value('manx_bird_routes_programmed'), value('manx_bird_routes_wanted'));
		for (const name of ['session_updates_received_total', 'session_updates_sent_total']) {
			assert.ok(value(`manx_bird_${name}`, 'peer="peer/tor-a2"') > 0, name);
		}
		assert.ok(value('manx_bird_session_state_changes_total', 'peer="peer/tor-a1",state="Established"') >= 1);
		assert.ok(value('manx_bird_change_to_kernel_seconds_count') > 0);
	});

	it('unnumbered links to a leaf with FRR', async () => {
		await racks.routers({});
		await run('ip', ['netns', 'add', racks.netns('leaf')]);
		await run('ip', [
			'netns',
			'exec',
			racks.netns('leaf'),
			'sysctl',
			'-qw',
			'net.ipv4.ip_forward=1',
			'net.ipv6.conf.all.forwarding=1',
		]);
		for (const node of rackA) {
			await racks.ip(node, 'link', 'add', 'up0', 'type', 'veth', 'peer', 'name', node, 'netns', racks.netns('leaf'));
			await racks.ip(node, 'link', 'set', 'up0', 'up');
			await racks.ip('leaf', 'link', 'set', node, 'up');
		}
		racks.frr('leaf', 'unnumbered/leaf.frr.conf');
		await apply('unnumbered');
		for (const node of rackA) await sessions(node, 'peer/leaf');
		await until('by the link', 90, async () => {
			const text = await racks.ip('a1', 'route', 'show', networks.a2, 'proto', '174');
			return /via inet6 fe80:\S+ dev up0/.test(text) || text;
		});
		await racks.reach({ nodes: rackA });
	});

	/** Where a1 listens for BGP on these ports. */
	const listens = (ports: readonly number[], ...wanted: string[]): Promise<void> =>
		until('where a1 listens', 90, async () => {
			const { stdout } = await run('ip', ['netns', 'exec', racks.netns('a1'), 'ss', '-Hltn']);
			const all = stdout.split('\n').map((line) => line.split(/\s+/)[3] ?? '');
			const found = all.filter((address) => ports.includes(Number(address.split(':').at(-1))));
			return String(found.sort()) === String(wanted.sort()) || String(found);
		});

	it('beside another speaker: at an address of its own', async () => {
		await racks.ip('a1', 'address', 'add', '192.0.2.111/24', 'dev', 'eth0');
		await racks.routers({ a1: 'beside-address/tor-a.bird.conf' });
		await apply('beside-address');
		const ours = ['192.0.2.11:179', '[2001:db8:0:2::11]:179'];
		await listens([179], ...ours);
		// BIRD gives up when the port is not free yet.
		racks.bird('a1', 'beside-address/other.bird.conf');
		await listens([179], '192.0.2.111:179', ...ours);
		await sessions('a1', 'mesh/a2', 'mesh/a3', 'mesh/b1', 'peer/tor-a');
		await until('both sessions at the router', 90, async () => {
			const [pods, other] = [await atRouter('tor-a1', networks.a1), await atRouter('tor-a1', '198.18.0.7/32')];
			return (/as_path: 64512\n/.test(pods) && /as_path: 64900\n/.test(other)) || pods + other;
		});
		await racks.reach({ nodes: rackA });
	});

	it('beside another speaker: at another port', async () => {
		await racks.routers({ a1: 'shared-as/tor-a.bird.conf', a2: 'beside-port/tor-a2.bird.conf' });
		await apply('beside-port');
		const ours = ['0.0.0.0:1790', '[::]:1790'];
		await listens([179, 1790], ...ours);
		racks.bird('a1', 'beside-port/other.bird.conf');
		await listens([179, 1790], '0.0.0.0:179', ...ours);
		for (const node of ['a1', 'b1']) {
			const mesh = nodes.filter((other) => other !== node).map((other) => `mesh/${other}`);
			await sessions(node, ...mesh, ...(node === 'a1' ? ['peer/tor-a'] : []));
		}
		await until('the other session', 90, async () => {
			const text = await atRouter('tor-a2', '198.18.0.7/32');
			return /as_path: 64900\n/.test(text) || text;
		});
		await until('ours', 90, async () => /as_path: 64512\n/.test(await atRouter('tor-a1', networks.a1)));
		await racks.reach({ nodes: rackA });
	});

	it("a peer with Calico's fields, as Calico writes them", async () => {
		const conf = join(harness.state, 'racks/calico.conf');
		writeFileSync(conf, calicoRouter);
		await racks.routers({ a1: conf });
		const file = join(harness.state, 'racks/calico.yaml');
		writeFileSync(file, calicoObjects);
		if (applied !== undefined) await harness.lab(['delete', '-f', applied]);
		applied = file;
		await harness.lab(['apply', '-f', file]);
		await sessions('a1', 'mesh/a2', 'mesh/a3', 'mesh/b1', 'peer/tor-a');
		await until('its route', 90, async () => {
			const text = await atRouter('tor-a1', networks.a1);
			const all = [/as_path: 64999\n/, /next_hop: 192\.0\.2\.11\n/, /community: \(64512,7\)/];
			return all.every((one) => one.test(text)) || text;
		});
		assert.match(await racks.birdc('tor-a1', 'show', 'protocols', 'all', 'node'), /Restart time: +60\n/);
	});

	it('one session for pods and the addresses that a load balancer gave out', async () => {
		await racks.routers({ a1: 'shared-as/tor-a.bird.conf' });
		await apply('one-session');
		// As the controller of MetalLB writes it.
		const service = {
			apiVersion: 'v1',
			kind: 'Service',
			metadata: { name: 'web', namespace: 'default' },
			spec: { type: 'LoadBalancer', externalTrafficPolicy: 'Cluster' },
			status: { loadBalancer: { ingress: [{ ip: '198.18.0.7' }] } },
		};
		await harness.lab(['apply', '-f', '-'], JSON.stringify(service));
		// In place of kube-proxy.
		for (const node of ['a1', 'a2']) await racks.ip(node, 'address', 'add', '198.18.0.7/32', 'dev', 'lo');
		await sessions('a1', 'mesh/a2', 'mesh/a3', 'mesh/b1', 'peer/tor-a');
		await until('the router has it from both', 90, async () => {
			const text = await atRouter('tor-a1', '198.18.0.7/32');
			return (text.includes('via 192.0.2.11') && text.includes('via 192.0.2.12')) || text;
		});
		await until('the world reaches it', 90, async () => {
			const { code } = await run('ip', [
				'netns',
				'exec',
				racks.netns('out1'),
				'ping',
				'-c',
				'1',
				'-W',
				'2',
				'198.18.0.7',
			]);
			return code === 0;
		});
	});
});
