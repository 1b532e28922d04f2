import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { PathAttributes } from 'bgp-js-lite';
import { createInterner } from '../../bird/rib/attributes.ts';

/** Every attribute there is: another one does not compile without a value here. */
const all: Required<PathAttributes> = {
	origin: 'egp',
	asPath: [{ type: 'sequence', asNumbers: [65000] }],
	nextHop: '192.0.2.1',
	linkLocalNextHop: 'fe80::1',
	med: 1,
	localPref: 2,
	atomicAggregate: true,
	aggregator: { asNumber: 65000, address: '192.0.2.1' },
	communities: [3],
	extendedCommunities: [4n],
	largeCommunities: [[5, 6, 7]],
	originatorId: '192.0.2.2',
	clusterList: ['192.0.2.3'],
	onlyToCustomer: 8,
	partial: [8],
	unknown: [{ flags: 0xe0, code: 99, value: Uint8Array.of(1) }],
};

test('interned attributes say all that was said, and differ where one of them differs', () => {
	const { intern } = createInterner(
		() => [],
		() => {},
	);
	const first = intern(all);
	assert.deepEqual(first, all);
	assert.equal(intern(structuredClone(all)), first);
	for (const key of Object.keys(all) as (keyof PathAttributes)[]) {
		if (key === 'origin' || key === 'asPath') continue;
		const { [key]: _left, ...others } = all;
		const other = intern(others as PathAttributes);
		assert.deepEqual(other, others);
		assert.notEqual(other, first, key);
	}
});
