import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { clusterOf } from '../../src/api/cluster.ts';
import type { BGPPeer } from '../../src/api/objects.ts';
import { validate } from '../../src/api/validate.ts';
import { speakerConfigOf } from '../../src/daemon/speaker-config.ts';

const made = (name: string, spec: object) =>
	validate({ apiVersion: 'manx.dev/v1', kind: 'BGPPeer', metadata: { name }, spec });
const peer = (name: string, spec: object): BGPPeer => {
	const result = made(name, spec);
	assert.ok(result.type === 'object' && result.object.kind === 'BGPPeer', JSON.stringify(result));
	return result.object;
};
const configOf = (peers: readonly BGPPeer[]) => {
	const node = validate({
		apiVersion: 'v1',
		kind: 'Node',
		metadata: { name: 'n1' },
		spec: { podCIDRs: ['10.244.1.0/24'] },
		status: { addresses: [{ type: 'InternalIP', address: '192.0.2.1' }] },
	});
	assert.ok(node.type === 'object' && node.object.kind === 'Node');
	return speakerConfigOf({
		nodeName: 'n1',
		cluster: clusterOf([node.object]),
		configuration: undefined,
		addresses: { 4: '192.0.2.1' },
		peers,
	});
};

describe('a BGPPeer by interface alone', () => {
	it('is a peer without an address, from whatever address, and has us listen on IPv6', () => {
		const { config, problems } = configOf([peer('up', { interface: 'eth0', asNumber: 'external' })]);
		assert.deepEqual(problems, []);
		const [up] = config?.peers ?? [];
		assert.deepEqual([up?.address, up?.interface, up?.asNumber, up?.localAddress], ['', 'eth0', 0, undefined]);
		assert.ok(config?.listen.some(({ address }) => address === '::'));
	});

	it('is the only one of its link', () => {
		const { config, problems } = configOf([
			peer('a', { interface: 'eth0', asNumber: 'external' }),
			peer('b', { interface: 'eth0', asNumber: 65000 }),
			peer('c', { interface: 'eth0', peerIP: 'fe80::1', asNumber: 65000 }),
			peer('d', { interface: 'eth1', asNumber: 65000 }),
		]);
		assert.deepEqual(
			config?.peers.map(({ name }) => name),
			['peer/a', 'peer/d'],
		);
		assert.deepEqual(
			problems.map(({ object, code }) => [object, code]),
			[
				['BGPPeer b', 'DuplicatePeer'],
				['BGPPeer c', 'DuplicatePeer'],
			],
		);
	});

	it('without address, prefix and interface there is no peer', () => {
		const result = made('none', { asNumber: 65000 });
		assert.ok(result.type === 'refused');
		assert.equal(result.field, 'spec.peerIP');
		assert.match(result.reason, /or interface alone/);
	});
});
