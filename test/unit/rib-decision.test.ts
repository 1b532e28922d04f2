import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { PathAttributes } from 'bgp-js-lite';
import { createDecide } from '../../bird/rib/decision.ts';
import type { Path, PathSource } from '../../bird/rib/types.ts';

const source = (peer: string, kind: PathSource['kind'], address: string): PathSource => ({
	peer,
	kind,
	bgpIdentifier: kind === 'local' ? '' : address,
	peerAddress: kind === 'local' ? '' : address,
});
const local = source('local', 'local', '');
const e1 = source('e1', 'ebgp', '192.0.2.1');
const e2 = source('e2', 'ebgp', '192.0.2.2');
const e10 = source('e10', 'ebgp', '192.0.2.10');
const i3 = source('i3', 'ibgp', '192.0.2.3');
const i4 = source('i4', 'ibgp', '192.0.2.4');

const sequence = (...asNumbers: number[]): PathAttributes['asPath'] => [{ type: 'sequence', asNumbers }];
const path = (from: PathSource, attributes: Partial<PathAttributes> = {}): Path => ({
	source: from,
	attributes: {
		origin: 'igp',
		asPath: from.kind === 'ebgp' ? sequence(65001) : [],
		...(from.kind === 'local' ? {} : { nextHop: from.peerAddress }),
		...attributes,
	},
	stale: false,
});

const metrics = new Map([
	['192.0.2.1', 0],
	['192.0.2.2', 0],
	['192.0.2.10', 0],
	['192.0.2.3', 0],
	['192.0.2.4', 0],
	['198.51.100.1', 5],
	['198.51.100.2', 0],
]);
const decide = createDecide({
	asNumber: 64512,
	routerId: '192.0.2.99',
	maximumPaths: 2,
	metricOf: (nextHop) => metrics.get(nextHop),
});

const permutations = <T>(items: readonly T[]): T[][] =>
	items.length <= 1
		? [[...items]]
		: items.flatMap((item, i) => permutations(items.toSpliced(i, 1)).map((rest) => [item, ...rest]));

// The first of the paths is the one to win, whatever the order they stand in.
const wins: readonly [string, readonly Path[]][] = [
	['a local route beats any LOCAL_PREF', [path(local), path(i3, { localPref: 4_000_000_000 })]],
	['higher LOCAL_PREF', [path(i3, { localPref: 200 }), path(i4, { localPref: 150 })]],
	['a path not in doubt before LOCAL_PREF', [path(e2), { ...path(i3, { localPref: 200 }), doubtful: true }]],
	['LOCAL_PREF absent is 100', [path(i3), path(i4, { localPref: 99 })]],
	['LOCAL_PREF before AS_PATH', [path(i3, { localPref: 101, asPath: sequence(1, 2, 3) }), path(i4)]],
	['shorter AS_PATH', [path(e2, { asPath: sequence(65002) }), path(e1, { asPath: sequence(65001, 65001) })]],
	[
		'an AS set counts one',
		[
			path(e2, { asPath: [...sequence(65002), { type: 'set', asNumbers: [1, 2, 3] }] }),
			path(e1, { asPath: sequence(65001, 1, 2) }),
		],
	],
	[
		'confederation segments count nothing',
		[
			path(e2, { asPath: [{ type: 'confedSequence', asNumbers: [1, 2] }, ...sequence(7)] }),
			path(e1, { asPath: sequence(1, 2) }),
		],
	],
	['lower origin', [path(e2), path(e1, { origin: 'egp' })]],
	['egp before incomplete', [path(e2, { origin: 'egp' }), path(e1, { origin: 'incomplete' })]],
	['lower MED of one neighbour AS', [path(e2, { med: 5 }), path(e1, { med: 6 })]],
	['MED absent is 0', [path(e2), path(e1, { med: 1 })]],
	[
		'MEDs of different neighbours do not compare',
		[path(e1, { med: 9 }), path(e2, { asPath: sequence(65002), med: 1 })],
	],
	['MEDs of paths born in our AS compare', [path(i4, { med: 1 }), path(i3, { med: 2 })]],
	[
		// Pairwise comparison goes round in circles here: 1 beats 2 by identifier, 2 beats 10 by it too, 10 beats 1 by MED.
		'MED decided per neighbour before anything after it',
		[path(e2, { asPath: sequence(65002) }), path(e1, { med: 2 }), path(e10, { med: 1 })],
	],
	['eBGP before iBGP', [path(e2), path(i3, { asPath: sequence(65001) })]],
	['eBGP before a nearer iBGP', [path(e1, { nextHop: '198.51.100.1' }), path(i3, { asPath: sequence(65001) })]],
	['nearer next hop', [path(i4), path(i3, { nextHop: '198.51.100.1' })]],
	['lowest BGP identifier, compared as a number', [path(e2), path(e10)]],
	['ORIGINATOR_ID instead of the identifier', [path(i4, { originatorId: '192.0.2.1' }), path(i3)]],
	[
		'shorter CLUSTER_LIST',
		[
			path(i4, { originatorId: '192.0.2.7', clusterList: ['1.1.1.1'] }),
			path(i3, { originatorId: '192.0.2.7', clusterList: ['1.1.1.1', '2.2.2.2'] }),
		],
	],
	[
		'lowest peer address, as a number',
		[path({ ...e2, bgpIdentifier: '1.1.1.1' }), path({ ...e10, bgpIdentifier: '1.1.1.1' })],
	],
	['an unreachable next hop is out', [path(e10), path(e1, { nextHop: '203.0.113.1', localPref: 999 })]],
	['our AS in the path is out', [path(e10, { asPath: sequence(1, 2, 3) }), path(e1, { asPath: sequence(64512) })]],
	['our identifier as ORIGINATOR_ID is out', [path(i4), path(i3, { originatorId: '192.0.2.99' })]],
];

for (const [name, paths] of wins) {
	test(`decision: ${name}`, () => {
		for (const order of permutations(paths)) assert.equal(decide(order)?.best, paths[0]);
	});
}

test('decision: nothing usable, nothing decided', () => {
	assert.equal(decide([]), undefined);
	assert.equal(decide([path(e1, { nextHop: '203.0.113.1' })]), undefined);
	assert.equal(decide([path(e1, { nextHop: '203.0.113.1' }), path(e2, { asPath: sequence(64512) })]), undefined);
});

test('decision: equal paths are used in parallel, best first, one per next hop, at most maximumPaths', () => {
	const first = path(e1);
	const second = path(e2, { asPath: sequence(65002) });
	const third = path(e10, { asPath: sequence(65003) });
	const sameHop = path(i3, { nextHop: '192.0.2.1', asPath: sequence(65001) });
	for (const order of permutations([first, second, third])) {
		assert.deepEqual(decide(order)?.multipath, [first, second]);
	}
	assert.deepEqual(decide([first, sameHop])?.multipath, [first]);
	assert.deepEqual(decide([path(e2, { nextHop: '192.0.2.1' }), first])?.multipath, [first]);
	assert.deepEqual(decide([first, path(e2, { asPath: sequence(65002, 1) })])?.multipath, [first]);
	assert.deepEqual(decide([first, path(e2, { nextHop: '198.51.100.1' })])?.multipath, [first]);
});

test('decision: a stale path competes like any other', () => {
	const stale = { ...path(e1), stale: true };
	assert.equal(decide([path(e2), stale])?.best, stale);
});

test('a path in doubt (BFD) is out of the multipath, and in use where it is the only one', () => {
	const doubtful: Path = { ...path(e1), stale: true, doubtful: true };
	assert.deepEqual(decide([doubtful, path(e2)])?.multipath, [path(e2)]);
	assert.deepEqual(decide([doubtful])?.multipath, [doubtful]);
	assert.equal(decide([doubtful, { ...path(e2), doubtful: true }])?.multipath.length, 2);
});
