/**
 * Whatever changes at once: at no step of writing it does the kernel allow what neither the state before nor the one after
 * allows. The writer is run against a kernel of a few lines, which looks after every single member and every ruleset.
 */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import type { ApplyResult, Chains, IpsetSpec, Ipsets } from 'iptables-wrapper';
import { createPolicyCalc, type Packet, type PolicyState, verdict } from '../../felix/calc/index.ts';
import type { MergeLimits } from '../../felix/calc/merged-rules.ts';
import type { Desired } from '../../felix/dataplane/desired.ts';
import { createPolicyWriter } from '../../felix/dataplane/policy-writer.ts';
import { keyOf, type Labels, type NetworkPolicy } from '../../src/api/objects.ts';
import type { Logger } from '../../src/logging.ts';
import { makeNamespace, makePod, makePolicy, policyArbitrary, selector, type World } from './calc-world.ts';

const log: Logger = { debug: () => {}, info: () => {}, warn: () => {}, error: () => {}, child: () => log };
const pods = ['x/1', 'x/2', 'x/3', 'y/1', 'y/2'];
const local = pods.slice(0, 4);
const addressOf = (key: string): string => `10.0.0.${pods.indexOf(key) + 1}`;

const labels = fc.dictionary(fc.constantFrom('app', 'tier'), fc.constantFrom('', 'a', 'b'), { noNullPrototype: true });
const worldArbitrary = fc.record({
	labels: fc.tuple(...pods.map(() => labels)),
	spaces: fc.tuple(labels, labels),
	policies: fc.array(policyArbitrary, { minLength: 1, maxLength: 4 }),
});
type Drawn = typeof worldArbitrary extends fc.Arbitrary<infer T> ? T : never;

/** Only some things differ from one world to the next, as in life. */
const stepArbitrary = fc.tuple(worldArbitrary, worldArbitrary, fc.infiniteStream(fc.boolean())).map(([a, b, coins]) => {
	const pick = <T>(from: T, to: T): T => ((coins.next().value as boolean) ? from : to);
	const mixed: Drawn = {
		labels: a.labels.map((own, i) => pick(own, b.labels[i] as typeof own)) as Drawn['labels'],
		spaces: a.spaces.map((own, i) => pick(own, b.spaces[i] as typeof own)) as Drawn['spaces'],
		policies: pick(a.policies, b.policies),
	};
	return [a, mixed] as const;
});

const objectsOf = (
	drawn: Drawn,
): (World['namespaces'][number] | World['pods'][number] | World['policies'][number])[] => [
	...drawn.spaces.map((found, i) => makeNamespace(['x', 'y'][i] as string, found)),
	...pods.map((key, i) => makePod(key, drawn.labels[i] ?? {}, [addressOf(key)])),
	...new Map(drawn.policies.map((policy) => [keyOf(policy.metadata), policy])).values(),
];

const packets: readonly Packet[] = [...pods, 'outside'].flatMap((from) =>
	local
		.flatMap((here) => [
			[from, here],
			[here, from],
		])
		.filter(([source, destination]) => source !== destination)
		.map(([source = '', destination = '']) => ({
			source: source === 'outside' ? '198.51.100.7' : addressOf(source),
			destination: destination === 'outside' ? '198.51.100.7' : addressOf(destination),
			protocol: 'TCP' as const,
			destinationPort: 80,
		})),
);

/** Rules that are merged as the kernel has them: one over one set, of which packets to port 80 see the part for that. */
const asTheKernel = (state: PolicyState): PolicyState => {
	const sets = new Map(state.sets);
	const groups = state.groups.map((group) => {
		let merged = 0;
		const rules = group.merged.map(({ set, kind, rules: count }) => {
			merged += count;
			const { members = new Set<string>() } = sets.get(set) ?? {};
			const port = ',tcp:80';
			const peers = [...members].filter((one) => kind === 'peers' || one.endsWith(port));
			const seen = new Set(peers.map((one) => (kind === 'peers' ? one : one.slice(0, -port.length))));
			const type = 'hash:net' as const;
			sets.set(`${set} 80`, { name: `${set} 80`, type, family: 4, members: seen });
			return { peerSet: `${set} 80`, policy: '' };
		});
		return { ...group, merged: [], rules: [...rules, ...group.rules.slice(merged)] };
	});
	return { ...state, groups, sets };
};

/** Writes the one world, then the other, and looks at every step. */
const check = async ([first, second]: readonly [Drawn, Drawn], limits?: MergeLimits): Promise<void> => {
	const kernel = new Map<string, Set<string>>();
	let groups: PolicyState['groups'] = [];
	let open: PolicyState['open'] = { ingress: '', egress: '' };
	let wanted: ReadonlyMap<string, IpsetSpec> = new Map();
	let next: PolicyState | undefined;
	let look = (): void => {};

	const done: ApplyResult = { changed: [] };
	const ipsets: Ipsets = {
		want: (sets) => {
			wanted = sets;
		},
		applyAdditions: async (except) => {
			for (const [name, { members }] of wanted) {
				if (except?.has(name) && kernel.has(name)) continue;
				const set = kernel.get(name) ?? new Set();
				kernel.set(name, set);
				for (const member of members) {
					set.add(member);
					look();
				}
			}
			return done;
		},
		removeMembers: async (only) => {
			for (const name of only ?? wanted.keys()) {
				const set = kernel.get(name);
				for (const member of set ?? []) {
					if (wanted.get(name)?.members.has(member) ?? true) continue;
					set?.delete(member);
					look();
				}
			}
			return done;
		},
		applyRemovals: async () => done,
		resync: async () => ({ drifted: [] }),
		remove: async () => undefined,
	};
	const chains: Chains = {
		apply: async () => {
			if (next !== undefined) ({ groups, open } = next);
			look();
			return done;
		},
		resync: async () => ({ drifted: [] }),
		counters: async () => [],
		remove: async () => undefined,
	};
	const idle: Chains = { ...chains, apply: async () => done };
	const writer = createPolicyWriter({ chains: { 4: chains, 6: idle }, ipsets, now: () => 0, log });

	const calc = createPolicyCalc(limits);
	for (const key of local) calc.setLocalPod({ key, addresses: [addressOf(key)] });
	const write = async (): Promise<PolicyState> => {
		next = calc.state(4);
		const empty = { chains: new Map(), hooks: [] };
		const desired: Desired = {
			policies: { 4: next, 6: calc.state(6) },
			sets: next.sets,
			rulesets: { 4: empty, 6: empty },
			routes: [],
			fallback: [],
			covers: () => true,
		};
		assert.equal(await writer.write(desired), undefined);
		return next;
	};

	for (const object of objectsOf(first)) calc.set(object);
	const before = await write();
	const kept = new Set(objectsOf(second).map(({ kind, metadata }) => `${kind} ${keyOf(metadata)}`));
	for (const { kind, metadata } of objectsOf(first)) {
		if (!kept.has(`${kind} ${keyOf(metadata)}`)) calc.delete(kind, keyOf(metadata));
	}
	for (const object of objectsOf(second)) calc.set(object);
	const after = calc.state(4);

	const denied = packets.filter((packet) => !verdict(packet, before).allowed && !verdict(packet, after).allowed);
	look = () => {
		const sets = new Map<string, IpsetSpec>(
			[...kernel].map(([name, members]) => [
				name,
				{
					name,
					type: (wanted.get(name) ?? before.sets.get(name))?.type ?? 'hash:ip',
					family: 4,
					members: new Set(members),
				},
			]),
		);
		const now = asTheKernel({ family: 4, groups, open, sets, mergedSets: new Map() });
		for (const packet of denied) {
			const { allowed, reasons } = verdict(packet, now);
			// Nobody judges a pod that is in no group for the moment: the kernel drops what it sends and gets.
			const judged = reasons.filter(({ pod }) => local.map(addressOf).includes(pod)).length;
			const ends = [packet.source, packet.destination].filter((end) => local.map(addressOf).includes(end)).length;
			assert.ok(!allowed || judged < ends, `${JSON.stringify(packet)} is allowed on the way`);
		}
	};
	await write();
	for (const packet of packets) {
		look = () => {};
		const sets = new Map(
			[...kernel].map(([name, members]) => [name, { ...(wanted.get(name) as IpsetSpec), name, members }]),
		);
		const now = asTheKernel({ family: 4, groups, open, sets, mergedSets: new Map() });
		assert.equal(verdict(packet, now).allowed, verdict(packet, after).allowed, 'in the end it is as wanted');
	}
};

const runs = Number(process.env.RUNS ?? 300);
const merging = { rules: 2, members: 64 };

describe('the order a change is written in', () => {
	it('allows nothing on the way that neither end allows', async () => {
		await fc.assert(
			fc.asyncProperty(stepArbitrary, (step) => check(step)),
			{ numRuns: runs },
		);
	});
	it('nor where rules are merged', async () => {
		await fc.assert(
			fc.asyncProperty(stepArbitrary, (step) => check(step, merging)),
			{ numRuns: runs / 3 },
		);
	});

	// A pod joins the peers of one policy while another stops allowing it: in the same direction, at the other end of the
	// way, and both; with plain rules, and where the one has its rules merged and the other has not.
	const to = (key: string): Labels => ({ app: key });
	const from = (...peers: Labels[]) =>
		peers.map((labels) => ({ peers: [{ podSelector: selector(labels) }], ports: [] }));
	const on = (port: number, ...peers: Labels[]) =>
		from(...peers).map((rule) => ({ ...rule, ports: [{ protocol: 'TCP' as const, port }] }));
	const world = (joined: boolean, ...policies: NetworkPolicy[]): Drawn => ({
		labels: [{ app: 'a' }, joined ? { app: 'b', tier: 'a' } : { app: 'b' }, {}, {}, {}] as Drawn['labels'],
		spaces: [{}, {}],
		policies,
	});
	const ingress = (name: string, rules: NetworkPolicy['spec']['ingress']): NetworkPolicy =>
		makePolicy(`x/${name}`, { podSelector: selector(to('a')), ingress: rules });
	const egress = (rules: NetworkPolicy['spec']['egress']): NetworkPolicy =>
		makePolicy('x/out', { podSelector: selector(to('b')), policyTypes: ['Egress'], egress: rules });
	const joins = ingress('joins', on(80, { tier: 'a' }));
	const many = ingress('many', [...on(80, { tier: 'a' }), ...on(443, { tier: 'b' }), ...from({ app: 'none' })]);
	const cases: [string, NetworkPolicy[], NetworkPolicy[]][] = [
		['same direction', [joins, ingress('stops', on(80, to('b')))], [joins, ingress('stops', on(80, to('c')))]],
		['other end', [joins, egress(from(to('a')))], [joins, egress(from(to('c')))]],
		['other end, merged', [many, egress(from(to('a')))], [many, egress(from(to('c')))]],
		['other port', [joins, ingress('stops', on(81, to('b')))], [joins, ingress('stops', on(80, to('c')))]],
		[
			'both',
			[many, ingress('stops', on(443, to('b'))), egress(on(443, to('a')))],
			[many, ingress('stops', on(443, to('c'))), egress(from(to('c'), to('none')))],
		],
	];
	for (const [name, before, after] of cases) {
		for (const [how, limits] of [['plain rules', undefined] as const, ['merged rules', merging] as const]) {
			it(`a pod joins the peers of a policy while another stops allowing it: ${name}, ${how}`, async () => {
				await check([world(false, ...before), world(true, ...after)], limits);
				await check([world(true, ...after), world(false, ...before)], limits);
			});
		}
	}
});
