import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { parse } from 'yaml';
import { clusterOf } from '../../src/api/cluster.ts';
import type { BGPPeer } from '../../src/api/objects.ts';
import { validate } from '../../src/api/validate.ts';
import { speakerConfigOf } from '../../src/daemon/speaker-config.ts';

const peer = (bfd: string) =>
	validate(
		parse(
			`{apiVersion: manx.dev/v1, kind: BGPPeer, metadata: {name: tor}, spec: {peerIP: 192.0.2.254, asNumber: 65000, bfd: ${bfd}}}`,
		),
	);
const taken = (bfd: string): BGPPeer => {
	const result = peer(bfd);
	assert.ok(result.type === 'object' && result.object.kind === 'BGPPeer', JSON.stringify(result));
	return result.object;
};

describe('spec.bfd of a BGPPeer', () => {
	it('an empty object means the defaults', () => {
		assert.deepEqual(taken('{}').spec.bfd, {
			transmitInterval: 300,
			receiveInterval: 300,
			detectMultiplier: 3,
			passive: false,
			multihop: false,
			minimumTtl: 1,
			gracefulRestart: true,
		});
		assert.equal(taken('null').spec.bfd, undefined);
	});

	for (const [bfd, field, reason] of [
		['{transmitInterval: 9}', 'spec.bfd.transmitInterval', /10 to 60000 ms/],
		['{receiveInterval: 60001}', 'spec.bfd.receiveInterval', /10 to 60000 ms/],
		['{detectMultiplier: 0}', 'spec.bfd.detectMultiplier', /1 to 255/],
		['{minimumTtl: 250}', 'spec.bfd.minimumTtl', /multihop/],
		['{interval: 300}', 'spec.bfd', /interval/],
	] as const) {
		it(`refused: ${bfd}`, () => {
			const result = peer(bfd);
			assert.ok(result.type === 'refused');
			assert.equal(result.field, field);
			assert.match(result.reason, reason);
		});
	}

	it('becomes the peer of the speaker', () => {
		const node = validate(
			parse(
				'{apiVersion: v1, kind: Node, metadata: {name: n1}, spec: {podCIDRs: [10.244.1.0/24]}, status: {addresses: [{type: InternalIP, address: 192.0.2.1}]}}',
			),
		);
		assert.ok(node.type === 'object' && node.object.kind === 'Node');
		const { config } = speakerConfigOf({
			nodeName: 'n1',
			cluster: clusterOf([node.object]),
			configuration: undefined,
			peers: [taken('{multihop: true, minimumTtl: 250, transmitInterval: 100}')],
			addresses: { 4: '192.0.2.1' },
		});
		assert.deepEqual(config?.peers[0]?.bfd, {
			multihop: true,
			gracefulRestart: true,
			profile: {
				transmitInterval: 100,
				receiveInterval: 300,
				detectMultiplier: 3,
				passive: false,
				minimumTtl: 250,
			},
		});
	});
});
