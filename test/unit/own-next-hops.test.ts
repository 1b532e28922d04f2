import assert from 'node:assert/strict';
import { it } from 'node:test';
import { ownNextHops } from '../../bird/own-next-hops.ts';

const node = { ipv4: '10.0.0.1', ipv6: 'fd00::1' };
const external = { ibgp: false, extendedNextHop: false };
const internal = { ibgp: true, extendedNextHop: false };

for (const [what, localAddress, besides, agreed, expected] of [
	['external, IPv4 on another link', '10.9.1.1', ['10.9.1.1', 'fd09::1'], external, { 4: '10.9.1.1', 6: 'fd09::1' }],
	['external, on the link of the node', '10.0.0.1', ['fd00::0', 'fd00::1'], external, { 4: '10.0.0.1', 6: 'fd00::1' }],
	['external, no IPv6 on the link', '10.9.1.1', ['10.9.1.1'], external, { 4: '10.9.1.1', 6: 'fd00::1' }],
	['internal, on another link', '10.9.1.1', ['10.9.1.1', 'fd09::1'], internal, { 4: '10.0.0.1', 6: 'fd00::1' }],
	['external, IPv6 on another link', 'fd09::1', ['10.9.1.1', 'fd09::1'], external, { 4: '10.9.1.1', 6: 'fd09::1' }],
	[
		'external, RFC 8950',
		'fd09::1',
		['10.9.1.1', 'fd09::1'],
		{ ibgp: false, extendedNextHop: true },
		{ 4: 'fd09::1', 6: 'fd09::1' },
	],
	['external, link-local', 'fe80::1', ['fd09::1'], external, { 4: '10.0.0.1', 6: 'fd00::1' }],
] as const) {
	it(`our next hops: ${what}`, () => {
		assert.deepEqual(ownNextHops(node, localAddress, besides, agreed), expected);
	});
}
