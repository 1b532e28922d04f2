import assert from 'node:assert/strict';
import { after, afterEach, before, describe, it } from 'node:test';
import { createRetiringRoutes } from '../../felix/retiring-routes.ts';
import { clusterOf } from '../../src/api/cluster.ts';
import type { Node } from '../../src/api/objects.ts';
import { validate } from '../../src/api/validate.ts';
import { createLearntLeftovers } from '../../src/daemon/learnt-leftovers.ts';
import { createTestNetns, type TestNetns } from './kernel-netns.ts';

/** What a change of mode leaves in the kernel, and who takes it away when; test/lab/mode.test.ts shows the whole. */

const node = (name: string, address: string, ...podCIDRs: string[]): Node => {
	const result = validate({
		apiVersion: 'v1',
		kind: 'Node',
		metadata: { name },
		spec: { podCIDRs },
		status: { addresses: [{ type: 'InternalIP', address }] },
	});
	assert.ok(result.type === 'object' && result.object.kind === 'Node');
	return result.object;
};
const cluster = clusterOf([
	node('n1', '192.0.2.2', '10.1.0.0/24'),
	node('n2', '192.0.2.3', '10.2.0.0/24'),
	node('n3', '192.0.2.4', '10.3.0.0/24'),
	node('far', '203.0.113.1', '10.4.0.0/24'),
]);

describe('change of mode', { timeout: 60_000 }, () => {
	let netns: TestNetns;
	before(() => {
		netns = createTestNetns();
	});
	after(() => netns.remove());
	afterEach(() => {
		for (const protocol of [173, 174]) netns.ip(`route flush proto ${protocol}`);
	});
	const routes = (protocol: number): string[] =>
		netns
			.ip(`route show proto ${protocol}`)
			.split('\n')
			.filter((line) => line !== '')
			.map((line) => line.replace(/^(blackhole )?(\S+) .*/, '$2'));
	const until = async (what: string, condition: () => Promise<boolean> | boolean): Promise<void> => {
		const deadline = Date.now() + 20_000;
		while (!(await condition())) {
			assert.ok(Date.now() < deadline, what);
			await new Promise((resolve) => setTimeout(resolve, 20));
		}
	};

	it('bird in host-gw mode keeps what it learnt until felix has every route, and takes it away then', async () => {
		const kernel = netns.kernel();
		for (const dst of ['10.2.0.0/24', '10.3.0.0/24', '10.4.0.0/24', '198.51.100.0/24'])
			netns.ip(`route add ${dst} via 192.0.2.3 proto 174 metric 174`);
		const leftovers = createLearntLeftovers({ nodeName: 'n1', kernel, log: netns.log });
		const interfaces = await kernel.listAddresses();
		assert.match((await leftovers.unsettled()).join(), /not been read/);
		// The node's own object is gone for a moment: that says nothing of the others.
		leftovers.review(clusterOf([]), interfaces);
		assert.equal((await leftovers.unsettled()).length, 1);
		leftovers.review(cluster, interfaces);
		assert.match(
			(await leftovers.unsettled()).join(),
			/4 routes .* stay until felix has its own to 10\.1\.0\.0\/24, 10\.2/,
		);
		netns.ip('route add blackhole 10.1.0.0/24 proto 173 metric 173');
		netns.ip('route add 10.2.0.0/24 via 192.0.2.3 proto 173 metric 173');
		assert.match((await leftovers.unsettled()).join(), /to 10\.3\.0\.0\/24$/);
		assert.equal(routes(174).length, 4);
		netns.ip('route add 10.3.0.0/24 via 192.0.2.4 proto 173 metric 173');
		// Nobody asks: the kernel tells.
		await until('what was learnt goes', () => routes(174).length === 0);
		await until('all is settled', async () => (await leftovers.unsettled()).length === 0);
		assert.deepEqual(routes(173), ['10.1.0.0/24', '10.2.0.0/24', '10.3.0.0/24']);
		leftovers.close();
	});

	it('felix in bgp mode keeps what it made in host-gw mode until bird has learnt a way there', async () => {
		const kernel = netns.kernel();
		netns.ip('route add 10.2.0.0/24 via 192.0.2.3 proto 173 metric 173');
		netns.ip('route add 10.3.0.0/24 via 192.0.2.4 proto 173 metric 175');
		netns.ip('route add 10.9.0.0/24 via 192.0.2.4 proto 4 metric 173');
		netns.ip('route add blackhole 10.1.0.0/24 proto 173 metric 173');
		const retiring = createRetiringRoutes(kernel);
		let changes = 0;
		await retiring.start(() => changes++);
		assert.deepEqual([...retiring.prefixes()], ['10.2.0.0/24', '10.3.0.0/24']);
		netns.ip('route add 10.3.0.0/24 via 192.0.2.4 proto 174 metric 174');
		await until('the first is learnt', () => changes === 1);
		assert.deepEqual([...retiring.prefixes()], ['10.2.0.0/24']);
		// A router that tells of an aggregate leads there too.
		netns.ip('route add 10.0.0.0/8 via 192.0.2.9 proto 174 metric 174');
		await until('the second is learnt', () => changes === 2);
		assert.equal(retiring.prefixes().size, 0);
		retiring.close();
		const again = createRetiringRoutes(kernel);
		await again.start(() => assert.fail('nothing is left'));
		assert.equal(again.prefixes().size, 0);
		again.close();
		netns.ip('route del 10.9.0.0/24 proto 4');
	});
});
