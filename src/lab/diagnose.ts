import { familyOf } from '../net/ip.ts';
import { startTcpdump } from './capture.ts';
import type { Pair } from './check.ts';
import { type Lab, torNetns } from './plan.ts';
import { inNetns, run, sleep } from './shell.ts';

/**
 * Finds the hop at which a pair's packets stop: pings again while every namespace on the way is watched, sees how far
 * request and answer came, and asks the kernel there what it would do with them.
 */

type Hop = { readonly title: string; readonly netns: string };

type Sighting = { readonly dev: string; readonly direction: 'In' | 'Out'; readonly kind: 'request' | 'reply' };

/** Namespaces in the order a packet meets them. The router is on the way when an end or another segment is behind it. */
const pathOf = (lab: Lab, pair: Pair): Hop[] => {
	const end = (title: string, netns: string): Hop => ({ title, netns });
	const machine = (name: string) => lab.machines.find((one) => one.name === name);
	const [from, to] = [machine(pair.from.node), machine(pair.to.node)];
	const routed = from === undefined || to === undefined || from.segment !== to.segment;
	const node = (one: typeof from) => (one === undefined ? [] : [{ title: `node ${one.name}`, netns: one.netns }]);
	return [
		end(pair.from.title, pair.from.netns),
		...node(from),
		...(routed && lab.tor !== 'none' ? [{ title: 'the router tor', netns: torNetns(lab.name) }] : []),
		...(to?.name === from?.name ? [] : node(to)),
		end(pair.to.title, pair.to.netns),
	];
};

/** A line of `tcpdump -i any`: `12:00:00.0 eth0  Out IP 10.244.1.2 > 10.244.2.2: ICMP echo request, id 1, ...` */
export const parseSighting = (line: string): Sighting | undefined => {
	const match = /^\S+ (\S+)\s+(In|Out)\s.*echo (request|reply)/.exec(line);
	if (match === null) return undefined;
	return { dev: match[1] as string, direction: match[2] as 'In' | 'Out', kind: match[3] as 'request' | 'reply' };
};

/** What the kernel of a hop says about a packet it got and did not send on. */
const explain = async (hop: Hop, source: string, target: string, dev: string | undefined): Promise<string> => {
	const family = `-${familyOf(target)}`;
	const from = dev === undefined ? [] : ['from', source, 'iif', dev];
	const route = await run('ip', ['-n', hop.netns, family, 'route', 'get', target, ...from]);
	if (!route.ok) {
		return `its kernel has no usable route to ${target} (${route.stderr.trim().split('\n')[0]})`;
	}
	const text = route.stdout.trim().split('\n')[0] ?? '';
	if (/^(blackhole|unreachable|prohibit)/.test(text)) return `its kernel drops packets to ${target} by route: ${text}`;
	const via = /via (?:inet6? )?(\S+)/.exec(text)?.[1] ?? target;
	const out = / dev (\S+)/.exec(text)?.[1] ?? '';
	const neighbour = await run('ip', ['-n', hop.netns, 'neigh', 'show', 'to', via, 'dev', out]);
	if (/FAILED|INCOMPLETE/.test(neighbour.stdout)) return `nobody answers for the next hop ${via} on ${out}`;
	const link = await run('ip', ['-n', hop.netns, 'link', 'show', 'dev', out]);
	if (!/[<,]UP[,>]/.test(link.stdout)) return `its interface ${out} is down`;
	return `its route is there (${text.trim()}), so a rule drops it: a NetworkPolicy, or another one in iptables`;
};

const walk = async (
	hops: readonly Hop[],
	sightings: readonly (readonly Sighting[])[],
	kind: Sighting['kind'],
	source: string,
	target: string,
): Promise<string | undefined> => {
	const what = kind === 'request' ? 'the packet' : 'the answer';
	for (const [index, hop] of hops.entries()) {
		const seen = (sightings[index] ?? []).filter((sighting) => sighting.kind === kind);
		const arrived = seen.find(({ direction }) => direction === 'In');
		if (index > 0 && arrived === undefined) {
			return `${what} leaves ${hops[index - 1]?.title} and never comes to ${hop.title}: look at the link between them`;
		}
		if (index === hops.length - 1) return undefined;
		if (seen.some(({ direction }) => direction === 'Out')) continue;
		const where = index === 0 ? `${what} does not leave ${hop.title}` : `${what} stops at ${hop.title}`;
		return `${where}: ${await explain(hop, source, target, index === 0 ? undefined : arrived?.dev)}`;
	}
	return undefined;
};

export const diagnose = async (lab: Lab, pair: Pair): Promise<string> => {
	const hops = pathOf(lab, pair);
	const lines = hops.map(() => '');
	// Masquerade changes the pod's address, never that of the host outside: that one is watched.
	const fixed = pair.to.node === '' ? pair.target : pair.from.node === '' ? pair.source : pair.target;
	const filter = `(icmp or icmp6) and host ${fixed}`;
	const stops: (() => Promise<void>)[] = [];
	let answered = false;
	try {
		for (const [index, hop] of hops.entries()) {
			const onData = (piece: Buffer) => {
				lines[index] += piece.toString('utf8');
			};
			stops.push(await startTcpdump(hop.netns, ['-i', 'any', '-l', filter], onData));
		}
		const ping = await run(
			...inNetns(pair.from.netns, ['ping', '-n', '-q', '-c', '2', '-i', '0.5', '-W', '2', pair.target]),
		);
		answered = ping.ok;
		await sleep(100);
	} catch (error) {
		return `no answer (${(error as Error).message})`;
	} finally {
		await Promise.all(stops.map((stop) => stop()));
	}
	if (answered) return 'no answer at first, but now it answers: lost once';
	const sightings = lines.map((text) =>
		text
			.split('\n')
			.map(parseSighting)
			.filter((one) => one !== undefined),
	);
	const forth = await walk(hops, sightings, 'request', pair.source, pair.target);
	if (forth !== undefined) return forth;
	const back = await walk([...hops].reverse(), [...sightings].reverse(), 'reply', pair.target, pair.source);
	return back ?? 'request and answer were seen at every hop, yet ping got none';
};
