import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { createIpam, quarantineMs } from '../../felix/cni/ipam.ts';
import { contains, familyOf, parseAddress, parseCidr } from '../../src/net/ip.ts';

/** Small enough to run full. */
const cidrLists = [
	['10.0.0.0/29'],
	['10.0.0.0/30', 'fd00::/124'],
	['fd00::/126'],
	['10.0.0.0/31', '10.0.1.0/30'],
	['10.0.0.0/32', 'fd00::1/128'],
] as const;

type Step =
	| { readonly type: 'allocate' | 'release' | 'cancel'; readonly owner: number }
	| { readonly type: 'wait'; readonly ms: number }
	| { readonly type: 'pools'; readonly index: number }
	| { readonly type: 'restart' };

const steps = fc.array(
	fc.oneof(
		{ weight: 6, arbitrary: fc.record({ type: fc.constant('allocate' as const), owner: fc.nat(9) }) },
		{ weight: 5, arbitrary: fc.record({ type: fc.constant('release' as const), owner: fc.nat(9) }) },
		{ weight: 1, arbitrary: fc.record({ type: fc.constant('cancel' as const), owner: fc.nat(9) }) },
		{ weight: 2, arbitrary: fc.record({ type: fc.constant('wait' as const), ms: fc.nat(2 * quarantineMs) }) },
		{ weight: 1, arbitrary: fc.record({ type: fc.constant('pools' as const), index: fc.nat(cidrLists.length - 1) }) },
		{ weight: 1, arbitrary: fc.record({ type: fc.constant('restart' as const) }) },
	),
	{ maxLength: 60 },
);

const usableIn = (cidrs: readonly string[], address: string): boolean =>
	cidrs.some((text) => {
		const cidr = parseCidr(text);
		const parsed = parseAddress(address);
		if (cidr === undefined || parsed === undefined || !contains(cidr, parsed)) return false;
		const host = (cidr.family === 4 ? 32 : 128) - cidr.length;
		if (host < 2) return true;
		const offset = parsed.value - cidr.value;
		return offset !== 0n && !(cidr.family === 4 && offset === (1n << BigInt(host)) - 1n);
	});

test('whatever happens, no address is out twice, the cool ones go first, and restarts change nothing', () => {
	fc.assert(
		fc.property(fc.nat(cidrLists.length - 1), steps, (first, run) => {
			let now = 1_000_000;
			const clock = { now: () => now };
			let cidrs: readonly string[] = cidrLists[first] as readonly string[];
			let ipam = createIpam({ clock });
			ipam.setPools(cidrs);
			const has = new Map<number, readonly string[]>();
			const releasedAt = new Map<string, number>();
			const before = new Map<string, number>();
			for (const step of run as readonly Step[]) {
				if (step.type === 'wait') now += step.ms;
				if (step.type === 'pools') {
					cidrs = cidrLists[step.index] as readonly string[];
					ipam.setPools(cidrs);
				}
				if (step.type === 'restart') {
					const released = ipam.released();
					ipam = createIpam({ clock });
					ipam.setPools(cidrs);
					for (const [owner, addresses] of has) assert.deepEqual(ipam.restore(String(owner), addresses), []);
					ipam.restoreReleased(released);
				}
				if (step.type === 'release' || step.type === 'cancel') {
					const had = has.get(step.owner) ?? [];
					has.delete(step.owner);
					if (step.type === 'release') {
						assert.deepEqual(ipam.release(String(step.owner)), had);
						for (const address of had) releasedAt.set(address, now);
					} else {
						ipam.cancel(String(step.owner));
						for (const address of had) {
							const at = before.get(address);
							if (at !== undefined) releasedAt.set(address, at);
						}
					}
				}
				if (step.type === 'allocate') {
					const used = new Set([...has].flatMap(([owner, list]) => (owner === step.owner ? [] : list)));
					const result = ipam.allocate(String(step.owner));
					const had = has.get(step.owner);
					if (had !== undefined) {
						assert.deepEqual(result, { ok: true, addresses: had });
						continue;
					}
					const families = new Set(cidrs.map(familyOf));
					if (!result.ok) {
						// Some family must really be full.
						const full = [...families].some((family) => {
							const own = cidrs.filter((cidr) => familyOf(cidr) === family);
							const size = own.reduce((sum, text) => sum + sizeOf(text), 0);
							return [...used].filter((address) => usableIn(own, address)).length === size;
						});
						assert.ok(full, result.error);
						assert.ok(result.error.includes('in use'), result.error);
						continue;
					}
					assert.deepEqual(new Set(result.addresses.map(familyOf)), families);
					for (const address of result.addresses) {
						assert.ok(!used.has(address), `${address} is out twice`);
						assert.ok(usableIn(cidrs, address), `${address} is not one for pods`);
						const at = releasedAt.get(address);
						if (at !== undefined) {
							// Nothing released earlier was free in its family.
							for (const [other, otherAt] of releasedAt) {
								if (other === address || familyOf(other) !== familyOf(address) || !usableIn(cidrs, other)) continue;
								assert.ok(otherAt >= at || used.has(other), `${other} was released before ${address}`);
							}
						}
						releasedAt.delete(address);
						if (at === undefined) before.delete(address);
						else before.set(address, at);
					}
					has.set(step.owner, result.addresses);
				}
			}
		}),
		{
			numRuns: 500,
			examples: [
				[
					// An address of a /31 that is the network address of the /29 after it.
					3,
					[
						{ type: 'allocate', owner: 8 },
						{ type: 'pools', index: 0 },
						{ type: 'cancel', owner: 8 },
						{ type: 'allocate', owner: 0 },
					],
				],
			],
		},
	);
});

const sizeOf = (text: string): number => {
	const cidr = parseCidr(text);
	if (cidr === undefined) throw new Error(text);
	const host = (cidr.family === 4 ? 32 : 128) - cidr.length;
	return host < 2 ? 2 ** host : 2 ** host - (cidr.family === 4 ? 2 : 1);
};
