import { contains, familyOf, overlaps, parseCidr } from '../net/ip.ts';
import { isBody, textAt } from './manifests.ts';
import { type Lab, outside, torNetns } from './plan.ts';
import { forwardsToPods } from './routers/index.ts';
import { pool, run, until } from './shell.ts';

/** Whether the routes the lab is for are in the kernels: every node's podCIDRs everywhere, the outside on the nodes. */

/** podCIDRs of a node that nothing is wrong with: canonical, no host bits, nobody else's. */
export const soundPodCIDRs = (lab: Lab, node: string): string[] => {
	const of = (name: string) => lab.machines.find((machine) => machine.name === name)?.podCIDRs ?? [];
	const others = lab.machines
		.filter(({ name }) => name !== node)
		.flatMap(({ podCIDRs }) => podCIDRs)
		.map(parseCidr)
		.filter((cidr) => cidr !== undefined);
	return of(node).filter((text) => {
		const cidr = parseCidr(text);
		return cidr !== undefined && !cidr.hostBits && !others.some((other) => overlaps(other, cidr));
	});
};

/** Destinations of the routes in a namespace that lead to another machine. */
export const routedPrefixes = async (netns: string): Promise<string[]> => {
	const families = await pool([4, 6] as const, 2, async (family) => {
		const { stdout } = await run('ip', ['-n', netns, `-${family}`, '-j', 'route', 'show', 'table', 'main']);
		try {
			const routes: unknown = JSON.parse(stdout || '[]');
			return (Array.isArray(routes) ? routes : [])
				.filter(isBody)
				.filter((route) => 'gateway' in route || 'nexthops' in route || 'via' in route)
				.map((route) => textAt(route, 'dst'))
				.map((dst) => (dst === 'default' ? (family === 4 ? '0.0.0.0/0' : '::/0') : dst));
		} catch {
			return [];
		}
	});
	return families.flat();
};

const reaches = (prefixes: readonly string[], wanted: string): boolean => {
	const target = parseCidr(wanted);
	return prefixes.some((text) => {
		const cidr = parseCidr(text);
		return cidr !== undefined && cidr.length > 0 && target !== undefined && contains(cidr, target);
	});
};

type Expectation = { readonly who: string; readonly netns: string; readonly wanted: readonly string[] };

const expectations = (lab: Lab): Expectation[] => {
	const families = (addresses: readonly string[]) => new Set(addresses.map(familyOf));
	const outsidePrefixes = lab.mode === 'bgp' && lab.tor !== 'none' ? [outside.ipv4.prefix, outside.ipv6.prefix] : [];
	/** To those on another segment the router knows the way: next hops are not looked for by a default route. */
	const direct = (from: number, to: number): boolean => lab.tor === 'none' || from === to;
	const nodes = lab.machines.map(({ name, netns, addresses, segment }) => ({
		who: `node ${name}`,
		netns,
		wanted: [
			...lab.machines
				.filter((other) => other.name !== name && direct(segment, other.segment))
				.flatMap((other) => soundPodCIDRs(lab, other.name)),
			...outsidePrefixes,
		].filter((prefix) => families(addresses).has(familyOf(prefix))),
	}));
	if (!forwardsToPods(lab)) return nodes;
	const wanted = lab.machines.flatMap(({ name, addresses }) =>
		soundPodCIDRs(lab, name).filter((prefix) => families(addresses).has(familyOf(prefix))),
	);
	return [...nodes, { who: 'the router tor', netns: torNetns(lab.name), wanted }];
};

/** Waits at most `timeout` milliseconds; then the answer says who lacks which routes. */
export const waitForRoutes = async (lab: Lab, timeout: number): Promise<string | undefined> => {
	let open = expectations(lab);
	return until(
		timeout,
		async () => {
			const missing = await pool(open, 2, async ({ netns, wanted }) => {
				const there = await routedPrefixes(netns);
				return wanted.filter((prefix) => !reaches(there, prefix));
			});
			const lacking = open.map((one, index) => ({ ...one, missing: missing[index] ?? [] }));
			open = open.filter((_, index) => (missing[index] ?? []).length > 0);
			const reason = lacking
				.filter((one) => one.missing.length > 0)
				.map((one) => `${one.who} has no route to ${one.missing.join(', ')}`)
				.join('; ');
			return reason === '' ? undefined : reason;
		},
		100,
	);
};
