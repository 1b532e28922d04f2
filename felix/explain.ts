import type { Table } from 'iptables-wrapper';
import type { Route } from '../src/kernel/kernel.ts';
import { canonicalAddress, contains, type Family, familyOf, parseAddress, parseCidr } from '../src/net/ip.ts';
import type { Direction } from './calc/compile-policy.ts';
import type { PodInfo, PolicyCalc, PolicyRule, PolicyState } from './calc/types.ts';
import { type Packet, type Reason, setOf, verdict } from './calc/verdict.ts';
import { chain, groupChain, indexInChain, mergedWith } from './render/index.ts';

/**
 * What becomes of a packet on this node, and why: the evaluator's verdict in words, the route, and the rule in the
 * kernel that decides with its live counter. Each end that is a pod of this node is judged; the other node is asked
 * for its own.
 */

export type ExplainQuery = {
	/** `namespace/pod`, or an address. */
	readonly source: string;
	readonly destination: string;
	readonly protocol: Packet['protocol'];
	/** A number, or the name of a port of the destination. Absent for ICMP. */
	readonly port?: number | string;
};

export type ExplainedEnd = {
	readonly address: string;
	readonly pod?: string;
	readonly node?: string;
	/** A pod wired here, the node itself, or anything else. */
	readonly place: 'local pod' | 'this node' | 'elsewhere';
};

export type ExplainedDirection = {
	readonly direction: Direction;
	readonly pod: string;
	readonly outcome: 'open' | 'allowed' | 'denied';
	/** Policies that select the pod in this direction, sorted. */
	readonly policies: readonly string[];
	/** Policy and rule that allow. */
	readonly policy?: string;
	readonly rule?: string;
	/** Where the decision is taken in the kernel. */
	readonly chain: string;
	/** From 1, as iptables counts. */
	readonly number: number;
	/** How many rules of policies that one stands for, when it is more than one. */
	readonly together?: number;
	/** Absent when the kernel does not have that rule (yet). */
	readonly packets?: number;
	readonly text: string;
};

export type Explanation = {
	readonly family: Family;
	readonly protocol: Packet['protocol'];
	readonly port?: number;
	readonly source: ExplainedEnd;
	readonly destination: ExplainedEnd;
	readonly allowed: boolean;
	readonly route: string;
	readonly directions: readonly ExplainedDirection[];
	readonly notes: readonly string[];
};

export type ExplainResult =
	| { readonly ok: true; readonly node: string; readonly explanations: readonly Explanation[] }
	| { readonly ok: false; readonly reason: string };

export type ExplainDeps = {
	readonly node: string;
	readonly calc: Pick<PolicyCalc, 'state' | 'pod' | 'podAt' | 'port'>;
	readonly isNode: (address: string) => boolean;
	readonly routes: () => Promise<readonly Route[]>;
	/** Whether the rules tell what they decide. */
	readonly logging: () => boolean;
	readonly counters: (family: Family, table: Table, chain: string) => Promise<readonly { readonly packets: number }[]>;
};

const families = [4, 6] as const;
const few = 5;
/** Where addresses of Services are taken from. */
const privateRanges = ['10.0.0.0/8', '172.16.0.0/12', '192.168.0.0/16', 'fc00::/7'].flatMap(
	(cidr) => parseCidr(cidr) ?? [],
);
const mayBeService = (address: string): boolean => {
	const parsed = parseAddress(address);
	return parsed !== undefined && privateRanges.some((cidr) => contains(cidr, parsed));
};

/** The route of the main table that the kernel takes, in the words of `ip route`. */
export const routeText = (routes: readonly Route[], address: string): string => {
	const wanted = parseAddress(address);
	let best: { readonly route: Route; readonly length: number } | undefined;
	for (const route of routes) {
		const cidr = parseCidr(route.dst);
		if (cidr === undefined || wanted === undefined || !contains(cidr, wanted)) continue;
		const better =
			best === undefined ||
			cidr.length > best.length ||
			(cidr.length === best.length && route.metric < best.route.metric);
		if (better) best = { route, length: cidr.length };
	}
	if (best === undefined) return `none: the kernel has no route to ${address}`;
	const { route } = best;
	const hops = route.nextHops.map(({ via, dev }) =>
		[via !== undefined && `via ${via}`, dev !== undefined && `dev ${dev}`].filter(Boolean).join(' '),
	);
	const kind = route.type === 'blackhole' ? 'blackhole ' : '';
	return `${kind}${[route.dst, ...hops].join(' ')} proto ${route.protocol}`;
};

/** A way to pass, in words; `nameOf` gives the pod of an address. */
export const ruleText = (
	rule: PolicyRule,
	direction: Direction,
	state: PolicyState,
	nameOf: (address: string) => string | undefined = () => undefined,
): string => {
	const word = direction === 'ingress' ? 'from' : 'to';
	/** `10.0.0.2,tcp:80` is read as a pod's port. */
	const inWords = (member: string): string => {
		const [address = '', port] = member.split(',');
		const pod = nameOf(address);
		return pod === undefined ? member : port === undefined ? pod : `${pod} ${port.replace(/^.*:/, '')}`;
	};
	const members = (name: string, what: string): string => {
		const found = [...(setOf(state, name)?.members ?? [])];
		if (found.length > few) return `${found.length} ${what} in set ${name}`;
		return found.map(inWords).join(', ') || `no ${what}`;
	};
	const parts = [rule.peerSet === undefined ? `${word} anyone` : `${word} ${members(rule.peerSet, 'addresses')}`];
	if (rule.exceptSet !== undefined) parts.push(`except ${members(rule.exceptSet, 'prefixes')}`);
	if (rule.protocol !== undefined) parts.push(rule.protocol);
	if (rule.destinationPortSet !== undefined) parts.push(`named port ${members(rule.destinationPortSet, 'ports')}`);
	if (rule.ports !== undefined && rule.ports.length > 0) {
		parts.push(`port ${rule.ports.map(([from, to]) => (from === to ? from : `${from}-${to}`)).join(', ')}`);
	}
	return parts.join(', ');
};

/** Why a direction's policies said what they said, as `explain` and `flows` say it. */
export const reasonText = ({ outcome, group, rule }: Reason): string => {
	if (outcome === 'open') return 'no policy isolates it';
	if (outcome === 'allowed') return `allowed by ${group?.rules[rule ?? 0]?.policy}`;
	return `isolated by ${group?.policies.join(', ')}; no rule allows`;
};

type End = { readonly info: PodInfo | undefined; readonly addresses: readonly string[] };

export const createExplain = (deps: ExplainDeps): ((query: ExplainQuery) => Promise<ExplainResult>) => {
	const { calc, isNode } = deps;

	const endOf = (text: string, what: 'source' | 'destination'): End | string => {
		if (text.includes('/')) {
			const info = calc.pod(text);
			if (info === undefined) {
				const hint = what === 'source' && text.includes(':') ? ' A source has no port.' : '';
				return `There is no pod ${text} in the objects that felix on ${deps.node} has read.${hint}`;
			}
			if (info.addresses.length === 0) return `Pod ${text} has no address yet.`;
			return { info, addresses: info.addresses };
		}
		const address = canonicalAddress(text);
		if (address === undefined) return `'${text}' is neither NAMESPACE/POD nor an IP address.`;
		return { info: calc.podAt(address), addresses: [address] };
	};

	const nameOf = (address: string): string | undefined => calc.podAt(address)?.key;

	const explainedEnd = ({ info }: End, address: string): ExplainedEnd => ({
		address,
		...(info !== undefined && { pod: info.key }),
		...(info !== undefined && info.nodeName !== '' && { node: info.nodeName }),
		place: isNode(address) ? 'this node' : info?.local ? 'local pod' : 'elsewhere',
	});

	const explainDirection = async (reason: Reason, state: PolicyState, port?: number): Promise<ExplainedDirection> => {
		const { direction, outcome, group, rule } = reason;
		const name = group === undefined ? chain[direction] : groupChain(direction, group.id);
		const index = group === undefined ? 0 : indexInChain(group, rule, port, deps.logging());
		const packets = (await deps.counters(state.family, 'filter', name))[index]?.packets;
		const allowing = rule === undefined ? undefined : group?.rules[rule];
		const together = group && rule !== undefined ? mergedWith(group, rule)?.rules : undefined;
		return {
			direction,
			pod: nameOf(reason.pod) ?? reason.pod,
			outcome,
			policies: group?.policies ?? [],
			...(allowing !== undefined && { policy: allowing.policy, rule: ruleText(allowing, direction, state, nameOf) }),
			chain: name,
			number: index + 1,
			...(together !== undefined && { together }),
			...(packets !== undefined && { packets }),
			text: reasonText(reason),
		};
	};

	const notesOf = (end: ExplainedEnd, info: PodInfo | undefined, direction: Direction): string[] => {
		if (end.place !== 'elsewhere' || info === undefined) return [];
		if (!info.eligible) return [`${info.key} uses its node's network or is finished: policies do not know it as a pod`];
		const where = info.nodeName === '' ? 'another node' : `node ${info.nodeName}`;
		return [`${info.key} is on ${where}: whether its ${direction} policies allow it, felix there says`];
	};

	return async (query) => {
		const source = endOf(query.source, 'source');
		if (typeof source === 'string') return { ok: false, reason: source };
		const destination = endOf(query.destination, 'destination');
		if (typeof destination === 'string') return { ok: false, reason: destination };
		let port = typeof query.port === 'number' ? query.port : undefined;
		if (typeof query.port === 'string') {
			port = destination.info && calc.port(destination.info.key, query.protocol, query.port);
			const reason = `${query.destination} has no ${query.protocol} port named '${query.port}'; give its number.`;
			if (port === undefined) return { ok: false, reason };
		}
		if (port === undefined && query.protocol !== 'ICMP') {
			return { ok: false, reason: `A ${query.protocol} packet has a port: write ${query.destination}:PORT.` };
		}
		if (port !== undefined && query.protocol === 'ICMP') {
			return { ok: false, reason: `ICMP has no ports: write ${query.destination} alone, or PORT/TCP.` };
		}
		if (port !== undefined && (port < 1 || port > 65_535)) {
			return { ok: false, reason: `There is no port ${port}: they go from 1 to 65535.` };
		}
		const routes = await deps.routes();
		const explanations: Explanation[] = [];
		for (const family of families) {
			const from = source.addresses.find((address) => familyOf(address) === family);
			const to = destination.addresses.find((address) => familyOf(address) === family);
			if (from === undefined || to === undefined) continue;
			const state = calc.state(family);
			const ends = { source: explainedEnd(source, from), destination: explainedEnd(destination, to) };
			const packet: Packet = {
				source: from,
				destination: to,
				protocol: query.protocol,
				...(port !== undefined && { destinationPort: port }),
				...(ends.source.place === 'this node' && { fromNode: true }),
			};
			const judged = verdict(packet, state);
			const notes = [
				...notesOf(ends.source, source.info, 'egress'),
				...notesOf(ends.destination, destination.info, 'ingress'),
			];
			const route = ends.destination.place === 'this node' ? 'local: the node itself' : routeText(routes, to);
			if (/^(none|blackhole)/.test(route))
				notes.push(`no pod or host has ${to}, as far as routes tell: it gets nowhere`);
			if (destination.info === undefined && /^(0\.0\.0\.0|::)\/0 /.test(route) && mayBeService(to)) {
				notes.push(`if ${to} is the address of a Service, ask for a pod behind it: that is what policies see`);
			}
			if (packet.fromNode) notes.push('a node always reaches its own pods');
			else if (from === to) notes.push('a pod always reaches itself');
			let { allowed } = judged;
			for (const [end, direction] of [
				[ends.source, 'egress'],
				[ends.destination, 'ingress'],
			] as const) {
				if (packet.fromNode || from === to || end.place !== 'local pod') continue;
				if (judged.reasons.some((reason) => reason.direction === direction)) continue;
				allowed = false;
				notes.push(`${end.pod ?? end.address} is not in any set of felix yet: its ${direction} is dropped`);
			}
			explanations.push({
				family,
				protocol: query.protocol,
				...(port !== undefined && { port }),
				...ends,
				allowed,
				route,
				directions: await Promise.all(judged.reasons.map((reason) => explainDirection(reason, state, port))),
				notes,
			});
		}
		if (explanations.length === 0) {
			return { ok: false, reason: `${query.source} and ${query.destination} have no address family in common.` };
		}
		return { ok: true, node: deps.node, explanations };
	};
};
