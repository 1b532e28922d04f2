import { familyOf } from '../net/ip.ts';
import { watchFabric } from './capture.ts';
import { diagnose } from './diagnose.ts';
import type { Lab } from './plan.ts';
import { forwardsToPods } from './routers/index.ts';
import { inNetns, pool, run, until } from './shell.ts';
import { table } from './table.ts';

/**
 * Every pod to every pod, every pod to the outside and back, each in both families, by one ping a pair; and on the
 * fabric, that pods' packets bear the pods' own addresses (the node's where they are masqueraded) with no outer header.
 */

export type Endpoint = {
	/** `default/p1`, `out/out1` */
	readonly title: string;
	readonly netns: string;
	/** '' for a host outside. */
	readonly node: string;
	readonly addresses: readonly string[];
};

export type Pair = {
	readonly from: Endpoint;
	readonly to: Endpoint;
	readonly source: string;
	readonly target: string;
};

export type CheckResult = { readonly ok: boolean; readonly text: string };

/** Seconds a ping waits for its answer: long, for the answer comes at once when it comes. */
const deadline = 3;
const diagnosedAtMost = 3;

export const endpointsOf = (lab: Lab): Endpoint[] => [
	...lab.sandboxes
		.filter(({ ips }) => ips.length > 0)
		.map(({ namespace, name, netns, node, ips }) => ({ title: `${namespace}/${name}`, netns, node, addresses: ips })),
	...lab.outside.map(({ name, netns, addresses }) => ({ title: `out/${name}`, netns, node: '', addresses })),
];

const isOutside = (pair: Pair): boolean => pair.from.node === '' || pair.to.node === '';

/** Pairs of every source and target, but not of two hosts outside: they are not what the lab is about. */
export const pairsOf = (endpoints: readonly Endpoint[]): Pair[] =>
	endpoints.flatMap((from) =>
		endpoints
			.filter((to) => to !== from && (from.node !== '' || to.node !== ''))
			.flatMap((to) =>
				to.addresses.flatMap((target) => {
					const source = from.addresses.find((address) => familyOf(address) === familyOf(target));
					return source === undefined ? [] : [{ from, to, source, target }];
				}),
			),
	);

/** Pings all targets from one namespace, some at a time; returns those that did not answer. */
const pingAll = async (netns: string, targets: readonly string[]): Promise<Set<string>> => {
	const atOnce = 16;
	const lines = targets.flatMap((target, index) => [
		`(ping -n -q -c 1 -W ${deadline} ${target} >/dev/null 2>&1 && echo ${target}) &`,
		...(index % atOnce === atOnce - 1 ? ['wait'] : []),
	]);
	const { stdout } = await run(...inNetns(netns, ['sh']), { input: `${lines.join('\n')}\nwait\n` });
	const answered = new Set(stdout.split('\n'));
	return new Set(targets.filter((target) => !answered.has(target)));
};

const matrix = (endpoints: readonly Endpoint[], pairs: readonly Pair[], state: (pair: Pair) => string): string => {
	const cells = new Map<string, string[]>();
	for (const pair of pairs) {
		const key = `${pair.from.title} ${pair.to.title}`;
		cells.set(key, [...(cells.get(key) ?? []), state(pair)]);
	}
	const cell = (from: Endpoint, to: Endpoint): string => {
		const states = cells.get(`${from.title} ${to.title}`);
		if (states === undefined) return '.';
		return states.every((one) => one === 'n/a') ? 'n/a' : states.join('');
	};
	return table(
		['from \\ to', ...endpoints.map(({ title }) => title)],
		endpoints.map((from) => [from.title, ...endpoints.map((to) => cell(from, to))]),
	);
};

/** How a pair's packets have to look on the fabric, or undefined when they do not cross it. */
const onFabric = (lab: Lab, pair: Pair): string | undefined => {
	if (pair.from.node === pair.to.node) return undefined;
	if (pair.to.node !== '' || !lab.masquerade) return `${pair.source} > ${pair.target}`;
	const machine = lab.machines.find(({ name }) => name === pair.from.node);
	const address = machine?.addresses.find((text) => familyOf(text) === familyOf(pair.target));
	return `${address} > ${pair.target}`;
};

const fabricProblems = (lab: Lab, pairs: readonly Pair[], echoes: ReadonlySet<string>): string[] =>
	pairs.flatMap((pair) => {
		const wanted = onFabric(lab, pair);
		return wanted === undefined || echoes.has(wanted)
			? []
			: [`${pair.from.title} -> ${pair.to.title}: answered, but the fabric did not carry ${wanted}`];
	});

export const checkLab = async (lab: Lab): Promise<CheckResult> => {
	const endpoints = endpointsOf(lab);
	const all = pairsOf(endpoints);
	const tested = all.filter((pair) => !isOutside(pair) || forwardsToPods(lab));
	const capture = await watchFabric(lab);
	const silentPairs = new Set<Pair>();
	await pool(endpoints, 4, async (from) => {
		const pairs = tested.filter((pair) => pair.from === from);
		const silent = await pingAll(
			from.netns,
			pairs.map(({ target }) => target),
		);
		for (const pair of pairs) if (silent.has(pair.target)) silentPairs.add(pair);
	});
	// In the order of the table, not in that of the answers.
	const failed = new Set(tested.filter((pair) => silentPairs.has(pair)));
	const answered = tested.filter((pair) => !failed.has(pair));
	// tcpdump hands frames over a moment after they passed.
	await until(2000, async () => fabricProblems(lab, answered, capture.echoes)[0], 10);
	await capture.stop();
	const wrong = fabricProblems(lab, answered, capture.echoes);
	const encapsulated = new Set(
		capture.encapsulated.map(({ src, dst, protocol }) => `${src} > ${dst} (IP protocol ${protocol})`),
	);
	const onWire = answered.filter((pair) => onFabric(lab, pair) !== undefined).length;
	const notApplicable = all.length - tested.length;

	const lines: string[] = [];
	if (endpoints.length <= 20) {
		const state = (pair: Pair): string =>
			!tested.includes(pair) ? 'n/a' : failed.has(pair) ? '-' : String(familyOf(pair.target));
		lines.push(matrix(endpoints, all, state), '');
	}
	lines.push(`${answered.length} of ${tested.length} pairs answer (46: IPv4 and IPv6).`);
	const unwired = lab.sandboxes.filter(({ ips }) => ips.length === 0).map((one) => `${one.namespace}/${one.name}`);
	if (unwired.length > 0) lines.push(`Left out, not wired: ${unwired.join(', ')}.`);
	if (notApplicable > 0) {
		lines.push(
			`${notApplicable} pairs with the outside are not applicable: ${lab.tor} as router is control plane only, it forwards nothing.`,
		);
	}
	lines.push(
		`Fabric: ${capture.frames()} frames; ${onWire - wrong.length} of ${onWire} pairs between machines seen with the ` +
			`pods' own addresses${lab.masquerade && lab.outside.length > 0 ? " (the node's towards the outside)" : ''}; ` +
			`${encapsulated.size === 0 ? 'no encapsulation' : `ENCAPSULATED: ${[...encapsulated].join(', ')}`}.`,
	);
	for (const line of wrong.slice(0, 10)) lines.push(`✗ ${line}`);
	const shown = [...failed].slice(0, diagnosedAtMost);
	for (const pair of shown) {
		lines.push(
			`✗ ${pair.from.title} -> ${pair.to.title} (${pair.source} -> ${pair.target}): ${await diagnose(lab, pair)}`,
		);
	}
	if (failed.size > shown.length) {
		const others = [...failed].slice(diagnosedAtMost, diagnosedAtMost + 10);
		lines.push(...others.map((pair) => `✗ ${pair.from.title} -> ${pair.to.title} (${pair.target}): no answer`));
		const rest = failed.size - shown.length - others.length;
		if (rest > 0) lines.push(`✗ and ${rest} more pairs`);
	}
	const ok = failed.size === 0 && wrong.length === 0 && encapsulated.size === 0 && tested.length > 0;
	if (tested.length === 0) lines.push('There is nothing to check: no two endpoints with addresses.');
	return { ok, text: lines.join('\n') };
};
