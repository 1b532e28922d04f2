import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { createKernelView } from '../../bird/fib/kernel-view.ts';
import type { Route } from '../../src/kernel/kernel.ts';
import { type Address, type Cidr, contains, formatAddress, formatCidr, parseCidr } from '../../src/net/ip.ts';

const OWN = 174;
const family = fc.constantFrom<4 | 6>(4, 6);
const address: fc.Arbitrary<Address> = family.chain((each) =>
	fc.record({
		family: fc.constant(each),
		value: fc.bigInt({ min: 0n, max: each === 4 ? (1n << 32n) - 1n : (1n << 128n) - 1n }),
	}),
);
const prefixOf = (target: Address): fc.Arbitrary<Cidr> =>
	fc.integer({ min: 0, max: target.family === 4 ? 32 : 128 }).map((length) => {
		const { hostBits: _, ...cidr } = parseCidr(`${formatAddress(target)}/${length}`) as Cidr & { hostBits: boolean };
		return cidr;
	});
const route = (cidr: Cidr, metric: number, protocol: number): Route => ({
	dst: formatCidr(cidr),
	type: 'unicast',
	scope: 'link',
	protocol,
	metric,
	nextHops: [{ dev: `eth${metric}` }],
});
/** Prefixes that mostly hold one another, as they are made of few addresses. */
const scene = fc.array(address, { minLength: 1, maxLength: 3 }).chain((targets) =>
	fc.record({
		targets: fc.constant(targets),
		steps: fc.array(
			fc.record({
				cidr: fc.constantFrom(...targets).chain(prefixOf),
				metric: fc.integer({ min: 0, max: 2 }),
				protocol: fc.constantFrom(2, 3, OWN),
				removed: fc.boolean(),
			}),
			{ maxLength: 40 },
		),
	}),
);

test('fib: told step by step or read at once, the view answers as a search through all routes does', () => {
	fc.assert(
		fc.property(scene, ({ targets, steps }) => {
			const told = createKernelView(OWN);
			const table = new Map<string, { readonly cidr: Cidr; readonly route: Route }>();
			for (const { cidr, metric, protocol, removed } of steps) {
				const each = route(cidr, metric, protocol);
				const key = `${each.dst} ${metric}`;
				const held = table.get(key);
				// The kernel keeps one route of a prefix and metric (here), and deletes what it has.
				if (removed && held === undefined) continue;
				if (!removed && held !== undefined) continue;
				if (removed) table.delete(key);
				else table.set(key, { cidr, route: each });
				told.apply({ type: 'route', removed, route: held?.route ?? each });
			}
			const read = createKernelView(OWN);
			read.load(
				[],
				[],
				[...table.values()].map((entry) => entry.route),
			);
			for (const target of targets) {
				const holding = [...table.values()]
					.filter(({ cidr, route: { protocol } }) => protocol !== OWN && cidr.length > 0 && contains(cidr, target))
					.sort((a, b) => b.cidr.length - a.cidr.length || a.route.metric - b.route.metric);
				const expected = holding
					.filter(({ cidr }) => cidr.length === holding[0]?.cidr.length)
					.map((entry) => entry.route);
				assert.deepEqual(told.lookup(formatAddress(target)), expected);
				assert.deepEqual(read.lookup(formatAddress(target)), expected);
			}
		}),
		{ numRuns: 500 },
	);
});
