import assert from 'node:assert/strict';
import { after, it } from 'node:test';
import { bgpOf } from './bgp-topologies.ts';
import type { Harness } from './harness.ts';
import { manx } from './manx-object.ts';
import { fabricAddress } from './network.ts';
import { type Rack, torAsNumber } from './rack.ts';

/** What is told of sessions on the objects they come from, and passwords that change while sessions live. */

type Status = {
	readonly nodes?: Readonly<
		Record<string, { state: string; received: number; advertised: number; lastError?: string }>
	>;
	readonly conditions?: readonly { type: string; status: string; reason: string; message: string }[];
};

export const sessionTests = (get: () => { readonly cluster: Harness; readonly rack: Rack }): void => {
	const all = ['n1', 'n2', 'n3'];
	const tor = (more: object = {}) =>
		manx('BGPPeer', 'tor', { peerIP: fabricAddress, asNumber: torAsNumber, password: null, ...more });
	const nonsense = manx('BGPPeer', 'nonsense', { peerIP: '172.30.0.12', asNumber: 64999 });
	const nodeMeshPassword = (value: object | null) => manx('BGPConfiguration', 'default', { nodeMeshPassword: value });
	const statusOf = async (peer: string): Promise<Status> =>
		(await get().cluster.api.json<{ status?: Status }>('GET', `/apis/manx.dev/v1/bgppeers/${peer}`)).status ?? {};
	const { sessions } = bgpOf(get);
	const secret = (values: Readonly<Record<string, string>>): Promise<void> =>
		get().cluster.api.apply([
			{
				apiVersion: 'v1',
				kind: 'Secret',
				metadata: { name: 'bgp-passwords', namespace: 'kube-system' },
				stringData: values,
			},
		]);
	/** Of a node's sessions with these: since when they are up; the reason in words when one is not. */
	const upSince = async (node: string, prefix: string): Promise<readonly string[] | string> => {
		const found = (await sessions(node)).filter(({ name }) => name.startsWith(prefix));
		const down = found.filter(({ state }) => state !== 'Established');
		if (down.length > 0 || found.length === 0)
			return down.map(({ name, state }) => `${name} ${state}`).join() || 'none';
		return found.map(({ name, since }) => `${name} ${since}`);
	};
	/** Of all nodes, once all are up and it is another list than before where that is asked for. */
	const untilUp = async (
		prefix: string,
		before?: Readonly<Record<string, string>>,
	): Promise<Record<string, string>> => {
		const found: Record<string, string> = {};
		for (const node of all) {
			await get().cluster.eventually(`${prefix} is up on ${node}`, 60, async () => {
				const since = await upSince(node, prefix);
				found[node] = String(since);
				if (typeof since === 'string') return since;
				return found[node] === before?.[node] ? `still those of ${found[node]}` : undefined;
			});
		}
		return found;
	};

	after(async () => {
		const { cluster, rack } = get();
		await cluster.api.apply([tor(), nodeMeshPassword(null)]);
		await cluster.api.delete([nonsense]);
		await rack.configure({});
	});

	it('each node says on the BGPPeer how its session is', async () => {
		const { cluster, rack } = get();
		const until = (what: string, is: (status: Status) => boolean): Promise<void> =>
			cluster.eventually(what, 60, async () => {
				const status = await statusOf('tor');
				return is(status) ? undefined : JSON.stringify(status);
			});
		await until('all are up', ({ nodes = {} }) => all.every((node) => nodes[node]?.state === 'Established'));
		await rack.configure({ without: ['n2'] });
		await until(
			'n2 says why it is not',
			({ nodes }) => nodes?.n2?.state !== 'Established' && nodes?.n2?.lastError !== undefined,
		);
		const { nodes = {} } = await statusOf('tor');
		console.log(`status of n2: ${JSON.stringify(nodes.n2)}`);
		assert.equal(nodes.n1?.state, 'Established');
		await rack.configure({});
		await until('all are up again', ({ nodes: now = {} }) => all.every((node) => now[node]?.state === 'Established'));
	});

	it('nonsense is told as an Event and a condition on the object, and nothing else suffers', async () => {
		const { cluster } = get();
		const before = await untilUp('');
		await cluster.api.apply([nonsense]);
		await cluster.eventually('the condition', 60, async () => {
			const accepted = (await statusOf('nonsense')).conditions?.find(({ type }) => type === 'Accepted');
			return accepted?.status === 'False' && accepted.reason === 'PeerIsNode'
				? undefined
				: JSON.stringify(accepted ?? null);
		});
		type Event = {
			readonly involvedObject: { kind: string; name: string };
			readonly type: string;
			readonly reason: string;
		};
		await cluster.eventually('the Event', 60, async () => {
			const { items } = await cluster.api.json<{ items: readonly Event[] }>('GET', '/api/v1/events');
			const found = items.filter(({ involvedObject }) => involvedObject.name === 'nonsense');
			const right = found.some(({ type, reason }) => type === 'Warning' && reason === 'PeerIsNode');
			return right ? undefined : JSON.stringify(found);
		});
		await cluster.api.delete([nonsense]);
		assert.deepEqual(await untilUp(''), before);
	});

	it('a password between nodes changes under their sessions', async () => {
		const { cluster } = get();
		await secret({ mesh: 'first', tor: 'first' });
		const without = await untilUp('mesh/');
		const secretKeyRef = { name: 'bgp-passwords', key: 'mesh' };
		await cluster.api.apply([nodeMeshPassword({ secretKeyRef })]);
		const first = await untilUp('mesh/', without);
		await secret({ mesh: 'second' });
		const at = performance.now();
		// A session whose ends do not have the same is given up after 10 s.
		await cluster.eventually('the time in which they would have noticed', 30, async () => {
			for (const node of all) assert.equal(String(await upSince(node, 'mesh/')), first[node], node);
			return performance.now() - at > 12_000 ? undefined : 'not yet';
		});
		await cluster.api.apply([nodeMeshPassword(null)]);
		await untilUp('mesh/', first);
	});

	it('a password that router and nodes change, one node after another, takes no range from the router', async () => {
		const { cluster, rack } = get();
		const range = '10.96.0.0/16';
		const open = await untilUp('peer/tor');
		await cluster.api.apply([tor({ password: { secretKeyRef: { name: 'bgp-passwords', key: 'tor' } } })]);
		await rack.configure({ passwords: { '*': 'first' } });
		const first = await untilUp('peer/tor', open);
		const byAll = (): Promise<void> =>
			cluster.eventually('the router has the range by all nodes', 60, async () => {
				const nodes = String(await rack.nodesOf(range));
				return nodes === String(all) ? undefined : nodes;
			});
		await byAll();
		const routes = rack.watchRoutes();
		await secret({ tor: 'second' });
		for (const [index, node] of all.entries()) {
			const changed = all.slice(0, index + 1).map((one) => [one, 'second']);
			await rack.configure({ passwords: { '*': 'first', ...Object.fromEntries(changed) } });
			await cluster.eventually(`${node} has its session anew`, 60, async () => {
				const since = await upSince(node, 'peer/tor');
				return typeof since === 'string' || String(since) === first[node] ? String(since) : undefined;
			});
			await byAll();
		}
		routes.close();
		await untilUp('peer/tor', first);
		const gone = routes.changes().filter(({ line }) => line.startsWith('Deleted'));
		console.log(`taken from the router for a moment: ${gone.map(({ line }) => line.split(' ')[1]).join(', ')}`);
		assert.ok(!gone.some(({ line }) => line.includes(range)), 'the range was gone for a moment');
	});
};
