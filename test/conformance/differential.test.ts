/**
 * Random clusters with random policies, each made from the one before by changes as they come: every packet's fate on
 * the real kernel must be what the evaluator says of the same state, and what a direct reading of the objects says.
 * MANX_CLUSTERS: how many (a backend); MANX_SEED: where to begin. A failure prints the seed of its cluster.
 */
import assert from 'node:assert/strict';
import { after, describe, test } from 'node:test';
import fc from 'fast-check';
import { type Packet, verdict } from '../../felix/calc/index.ts';
import { keyOf, type Protocol } from '../../src/api/objects.ts';
import { familyOf } from '../../src/net/ip.ts';
import { makeNamespace, makePod, naiveVerdict, policyArbitrary, type World } from '../property/calc-world.ts';
import { type Rig, type Shot, startRig } from './rig.ts';

const clusters = Number(process.env.MANX_CLUSTERS ?? 25);
const firstSeed = Number(process.env.MANX_SEED ?? Math.floor(Math.random() * 1e9));

const local = new Map(['x/1', 'x/2', 'y/1', 'z/1'].map((key, i) => [key, [`10.0.0.${i + 1}`, `fd00::${i + 1}`]]));
const remote = new Map(['y/2', 'z/2'].map((key, i) => [key, [`10.0.0.${i + 5}`, `fd00::${i + 5}`]]));
const node = ['192.0.2.1', '2001:db8::1'];
const outside = ['198.51.100.7', 'fd00:1::1'];

const labels = fc.dictionary(fc.constantFrom('app', 'tier'), fc.constantFrom('', 'a', 'b'), { noNullPrototype: true });
const ports = fc.array(
	fc.record({
		name: fc.constantFrom('http', 'dns'),
		containerPort: fc.constantFrom(80, 81, 443),
		protocol: fc.constantFrom<Protocol>('TCP', 'UDP', 'SCTP'),
	}),
	{ maxLength: 2 },
);
const phase = fc.constantFrom('Running', 'Running', 'Running', 'Running', 'Pending', 'Succeeded');
const podsArbitrary = fc.tuple(
	...[...local, ...remote].map(([key, addresses]) =>
		fc.record({ labels, ports, phase }).map((found) => makePod(key, found.labels, addresses, found)),
	),
);
const hostPod = makePod('z/host', { app: 'a' }, outside, { hostNetwork: true });

const last = <T>(list: readonly T[], key: (item: T) => string): T[] => [
	...new Map(list.map((item) => [key(item), item])).values(),
];
const worldArbitrary: fc.Arbitrary<World> = fc
	.record({
		// All are there: what a wired pod keeps of one that is gone, a reading of the objects cannot know.
		namespaces: fc.tuple(...['x', 'y', 'z'].map((name) => labels.map((found) => makeNamespace(name, found)))),
		pods: podsArbitrary,
		policies: fc.array(policyArbitrary, { minLength: 1, maxLength: 6 }),
	})
	.map(({ namespaces, pods, policies }) => ({
		namespaces,
		pods: [...pods, hostPod],
		policies: last(policies, ({ metadata }) => keyOf(metadata)),
		local: [...local].map(([key, addresses]) => ({ key, addresses })),
	}));

const shots: readonly Shot[] = (() => {
	const own = [...local.values()].flat();
	const all = [...own, ...[...remote.values()].flat(), ...node, ...outside];
	const pairs = all.flatMap((source) =>
		all
			.filter((destination) => source !== destination && familyOf(source) === familyOf(destination))
			.filter((destination) => own.includes(source) || own.includes(destination))
			.map((destination) => ({ source, destination })),
	);
	return pairs
		.flatMap((pair) => [
			...[80, 81, 443].map((destinationPort) => ({ ...pair, protocol: 'TCP' as const, destinationPort })),
			...[80, 443].map((destinationPort) => ({ ...pair, protocol: 'UDP' as const, destinationPort })),
			{ ...pair, protocol: 'SCTP' as const, destinationPort: 80 },
			{ ...pair, protocol: 'ICMP' as const, destinationPort: 0 },
		])
		.map((shot, i) => ({ ...shot, sourcePort: 10_000 + i }));
})();

const nameOf = new Map([...local].flatMap(([key, addresses]) => addresses.map((address) => [address, key])));
const placeOf = (address: string): string => nameOf.get(address) ?? (node.includes(address) ? 'node' : 'uplink');

/** The changes from one world to the next. */
const change = (rig: Rig, before: World | undefined, after: World): void => {
	const objects = (world: World | undefined) => [
		...(world?.namespaces ?? []),
		...(world?.pods ?? []),
		...(world?.policies ?? []),
	];
	const kept = new Set(objects(after).map((object) => `${object.kind} ${keyOf(object.metadata)}`));
	for (const { kind, metadata } of objects(before)) {
		if (!kept.has(`${kind} ${keyOf(metadata)}`)) rig.calc.delete(kind, keyOf(metadata));
	}
	for (const object of objects(after)) rig.calc.set(object);
};

for (const backend of ['legacy', 'nft'] as const) {
	describe(`iptables-${backend}`, () => {
		const rig = startRig({
			backend,
			pods: local,
			node,
			podNetworks: ['10.0.0.0/24', 'fd00::/64'],
			localPodCIDRs: ['10.0.0.0/30', 'fd00::/125'],
			// So low that groups of these few policies have rules of every kind.
			limits: { rules: 2, members: 4 },
		});
		after(() => rig.stop());
		for (const [key, addresses] of local) rig.calc.setLocalPod({ key, addresses });

		test(`kernel, evaluator and a direct reading agree on ${clusters} clusters from seed ${firstSeed}`, async (t) => {
			let world: World | undefined;
			let denied = 0;
			for (let seed = firstSeed; seed < firstSeed + clusters; seed++) {
				const [next] = fc.sample(worldArbitrary, { seed, numRuns: 1 });
				assert.ok(next !== undefined);
				change(rig, world, next);
				world = next;
				await rig.apply();
				rig.flush();
				const arrivals = await rig.shoot(shots);
				const states = { 4: rig.calc.state(4), 6: rig.calc.state(6) };
				for (const [i, shot] of shots.entries()) {
					const { source, destination, destinationPort } = shot;
					const protocol = shot.protocol as Packet['protocol'];
					const fromNode = node.includes(shot.source);
					const packet = {
						source,
						destination,
						protocol,
						...(shot.protocol !== 'ICMP' && { destinationPort }),
						...(fromNode && { fromNode }),
					};
					const told = verdict(packet, states[familyOf(shot.source)]);
					const read: boolean = fromNode || naiveVerdict(world, packet);
					const arrival = arrivals[i];
					const say = (): string => `seed ${seed}: ${JSON.stringify({ packet, arrival, told, world })}`;
					assert.equal(arrival !== undefined, told.allowed, `the kernel and the evaluator differ, ${say()}`);
					assert.equal(told.allowed, read, `the evaluator and the objects differ, ${say()}`);
					if (arrival === undefined) denied++;
					else assert.equal(arrival.at, placeOf(shot.destination), say());
				}
			}
			t.diagnostic(`${clusters} clusters, ${clusters * shots.length} packets, ${denied} of them denied`);
		});
	});
}
