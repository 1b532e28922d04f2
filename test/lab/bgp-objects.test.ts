import assert from 'node:assert/strict';
import { renameSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import type { PeerSessionStatus } from '../../bird/index.ts';
import { createRun } from '../../src/kernel/run.ts';
import { labHarness, until } from './lab-harness.ts';

/** BGP objects applied to a lab that runs, as its router (BIRD) then sees the nodes. */

const main = join(import.meta.dirname, '../../src/main.ts');
const run = createRun();
const object = (kind: string, name: string, spec: object): string =>
	JSON.stringify({ apiVersion: 'manx.dev/v1', kind, metadata: { name }, spec });

describe('BGP objects', { timeout: 300_000 }, () => {
	const harness = labHarness('obj');
	const bgp = async (...args: string[]): Promise<string> =>
		(await run(process.execPath, [main, 'bgp', ...args, '--socket', `${harness.state}/n1/run/bird.sock`])).stdout;
	const apply = (...objects: string[]) => harness.lab(['apply', '-f', '-'], objects.join('\n---\n'));
	const sessions = async (): Promise<string[]> =>
		(JSON.parse(await bgp('peers', '-o', 'json')) as PeerSessionStatus[]).map(
			({ name, state, since }) => `${name} ${state} ${since}`,
		);
	/** The router's routes to a prefix. */
	const atRouter = async (prefix: string): Promise<string> =>
		(await run('birdc', ['-s', `${harness.state}/tor/bird.ctl`, 'show', 'route', prefix, 'all'])).stdout;
	const has = (prefix: string, pattern: RegExp) => async (): Promise<boolean | string> => {
		const text = await atRouter(prefix);
		return pattern.test(text) || text;
	};
	const tor = (filters: readonly string[]): string =>
		object('BGPPeer', 'tor', { peerIP: '192.0.2.1:179', asNumber: '64513', filters });
	let atStart: string[];

	before(async () => {
		await harness.lab(['up', '--nodes', '2', '--pods', '0']);
		await until('sessions', 20, async () => (await sessions()).every((text) => text.includes('Established')));
		atStart = await sessions();
	});
	after(() => harness.down());

	it('a BGPFilter named by a BGPPeer decides at once, and explain says so', async () => {
		const operations = [{ addCommunity: { value: '64512:7' } }];
		const learnt = { cidr: '10.244.0.0/16', matchOperator: 'In', source: 'RemotePeers', action: 'Accept', operations };
		await apply(
			object('BGPFilter', 'mine', {
				exportV4: [learnt],
				exportV6: [{ action: 'Reject' }],
				importV4: [{ action: 'Reject' }],
			}),
			tor(['mine']),
		);
		// What n1 learnt from n2 goes to the router too, by both nodes.
		await until('what was learnt', 10, has('10.244.2.0/24', /\[n1 [\s\S]*\(64512,7\)/));
		await until('IPv6 is withdrawn', 10, async () => !/fd00/.test(await atRouter('fd00:244:0:1::/64')));
		assert.match(await bgp('explain', '10.244.2.0/24', '192.0.2.1'), /told +BGPFilter mine exportV4\[0\] accepts it/);
		const text = await bgp('explain', '198.51.100.1');
		assert.match(text, /^198.51.100.0\/24\n[\s\S]*rejected +BGPFilter mine importV4\[0\] rejects it/);
		await apply(tor([]));
		await until('as before', 10, has('fd00:244:0:1::/64', /fd00/));
		await until('the community is gone', 10, async () => !/64512,7/.test(await atRouter('10.244.2.0/24')));
		assert.deepEqual(await sessions(), atStart, 'no session ended');
	});

	it('a filter that does not exist lets nothing through, and is told', async () => {
		await apply(tor(['nonsuch']));
		await until('nothing is told', 10, async () => !/10\.244/.test(await atRouter('10.244.1.0/24')));
		const { problems } = (await harness.daemonStatus('n1', 'bird')) as { problems: { code: string }[] };
		assert.deepEqual(
			problems.map(({ code }) => code),
			['NoFilter'],
		);
		await apply(tor([]));
		await until('as before', 10, has('10.244.1.0/24', /10\.244/));
		assert.deepEqual(await sessions(), atStart, 'no session ended');
	});

	it('an address of a Service is announced by the nodes with a ready endpoint', async () => {
		const slice = (...nodes: string[]): string =>
			JSON.stringify({
				apiVersion: 'discovery.k8s.io/v1',
				kind: 'EndpointSlice',
				metadata: { name: 'web-1', labels: { 'kubernetes.io/service-name': 'web' } },
				endpoints: nodes.map((nodeName) => ({ addresses: ['10.244.1.9'], nodeName })),
			});
		const service = {
			apiVersion: 'v1',
			kind: 'Service',
			metadata: { name: 'web' },
			spec: { type: 'LoadBalancer', externalTrafficPolicy: 'Local' },
			status: { loadBalancer: { ingress: [{ ip: '203.0.113.7' }] } },
		};
		const ranges = {
			serviceLoadBalancerIPs: [{ cidr: '203.0.113.0/24' }],
			communities: [{ name: 'balanced', value: '64512:99' }],
			prefixAdvertisements: [{ cidr: '203.0.113.0/24', communities: ['balanced'] }],
		};
		await apply(object('BGPConfiguration', 'default', ranges), JSON.stringify(service), slice('n1', 'n2'));
		const address = '203.0.113.7/32';
		await until('both nodes', 10, has(address, /^(?=[\s\S]*\[n1 )(?=[\s\S]*\[n2 )[\s\S]*\(64512,99\)/));
		await until('the range', 10, has('203.0.113.0/24', /^(?=[\s\S]*\[n1 )(?=[\s\S]*\[n2 )/));
		// The router sends it to a node by the range, and that would send it back by its default route, and so on.
		const { outside } = await harness.status();
		const { stdout } = await harness.inNetns(
			outside[0]?.netns ?? '',
			'ping',
			'-n',
			'-c',
			'2',
			'-W',
			'1',
			'203.0.113.9',
		);
		assert.match(stdout, /2 packets transmitted, 0 received/);
		assert.doesNotMatch(stdout, /exceeded|unreachable/i, 'it ends at the node');
		await apply(slice('n2'));
		await until('n2 alone', 10, async () => {
			const text = await atRouter(address);
			return (/\[n2 /.test(text) && !/\[n1 /.test(text)) || text;
		});
		await apply(slice());
		await until('nobody', 10, async () => !/\[n/.test(await atRouter(address)));
		assert.match(await atRouter('203.0.113.0/24'), /\[n1 /);
		await apply(slice('n1', 'n2'));
		await until('both again', 10, has(address, /^(?=[\s\S]*\[n1 )(?=[\s\S]*\[n2 )/));
		// Its Node deleted, a node leaves Services to the others, and keeps all else.
		const file = `${harness.state}/objects/node.n2.yaml`;
		renameSync(file, `${harness.state}/n2/node.yaml`);
		await until('n1 alone', 10, async () => {
			const text = `${await atRouter(address)}${await atRouter('203.0.113.0/24')}`;
			return (/\[n1 /.test(text) && !/\[n2 /.test(text)) || text;
		});
		assert.match(await atRouter('10.244.2.0/24'), /\[n2 /);
		renameSync(`${harness.state}/n2/node.yaml`, file);
		await until('and both once more', 10, has(address, /^(?=[\s\S]*\[n1 )(?=[\s\S]*\[n2 )/));
		await until('the mesh', 20, async () => (await sessions()).every((text) => text.includes('Established')));
		atStart = await sessions();
		await apply(object('BGPConfiguration', 'default', {}));
		await until('no range', 10, async () => !/\[n/.test(await atRouter('203.0.113.0/24')));
		assert.deepEqual(await sessions(), atStart, 'no session ended');
	});
});
