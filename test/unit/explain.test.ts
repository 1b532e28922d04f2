import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createPolicyCalc } from '../../felix/calc/index.ts';
import { createExplain, type ExplainQuery, routeText } from '../../felix/explain.ts';
import { explanationText, parseTarget } from '../../src/cli/explain.ts';
import type { Route } from '../../src/kernel/kernel.ts';
import { makeNamespace, makePod, makePolicy, selector } from '../property/calc-world.ts';

const calc = createPolicyCalc();
calc.set(makeNamespace('x'));
const http = { name: 'http', containerPort: 8080, protocol: 'TCP' } as const;
calc.set(makePod('x/a', { app: 'a' }, ['10.0.0.1', 'fd00::1']));
calc.set(makePod('x/b', { app: 'b' }, ['10.0.0.2', 'fd00::2'], { ports: [http] }));
calc.set(makePod('x/far', { app: 'far' }, ['10.0.1.1']));
calc.set(makePod('x/host', {}, ['192.0.2.9'], { hostNetwork: true }));
for (const [key, n] of [
	['x/a', 1],
	['x/b', 2],
] as const) {
	calc.setLocalPod({ key, addresses: [`10.0.0.${n}`, `fd00::${n}`] });
}
const many = Array.from({ length: 20 }, (_, i) => ({ protocol: 'UDP' as const, port: 2 * i + 101 }));
calc.set(
	makePolicy('x/p', {
		podSelector: selector({ app: 'b' }),
		ingress: [
			{ peers: [{ podSelector: selector({ app: 'a' }) }], ports: [{ protocol: 'TCP', port: 'http' }] },
			{ peers: [], ports: many },
		],
	}),
);
calc.set(makePolicy('x/q', { podSelector: selector({ app: 'b' }) }));

const route = (dst: string, more: Partial<Route> = {}): Route => ({
	dst,
	type: 'unicast',
	scope: 'universe',
	protocol: 174,
	metric: 174,
	nextHops: [{ via: '192.0.2.2', dev: 'eth0' }],
	...more,
});
const explain = createExplain({
	node: 'n1',
	calc,
	isNode: (address) => address === '192.0.2.1',
	routes: async () => [route('10.0.1.0/24'), route('0.0.0.0/0', { protocol: 3, metric: 0 })],
	logging: () => false,
	counters: async () => Array.from({ length: 8 }, (_, i) => ({ packets: 10 * (i + 1) })),
});
const ask = async (source: string, destination: string, more: Partial<ExplainQuery> = {}) => {
	const result = await explain({ source, destination, protocol: 'TCP', ...more });
	assert.ok(result.ok, JSON.stringify(result));
	return result.explanations;
};

test('both families; policies considered, the rule that allows, and where it stands in the kernel', async () => {
	const [v4, v6, ...more] = await ask('x/a', 'x/b', { port: 'http' });
	assert.deepEqual(more, []);
	assert.equal(v6?.family, 6);
	assert.equal(v4?.allowed, true);
	assert.equal(v4?.port, 8080);
	const [egress, ingress] = v4?.directions ?? [];
	assert.deepEqual([egress?.outcome, egress?.chain, egress?.number, egress?.packets], ['open', 'MANX-EGRESS', 1, 10]);
	assert.deepEqual(ingress?.policies, ['x/p', 'x/q']);
	assert.equal(ingress?.policy, 'x/p');
	assert.equal(ingress?.rule, 'from x/a, TCP, named port x/b 8080');
	assert.equal(ingress?.number, 1);
	assert.match(ingress?.chain ?? '', /^MANX-I-/);
	assert.match(
		explanationText('n1', v4 as NonNullable<typeof v4>),
		/ALLOWED on n1.*allowed by x\/p.*rule 1: 10 packets/s,
	);
});

test('a denial names who isolates and the last rule; a port in the second list names the second rule', async () => {
	const [denied] = await ask('x/a', 'x/b', { port: 9 });
	assert.equal(denied?.allowed, false);
	assert.equal(denied?.directions[1]?.text, 'isolated by x/p, x/q; no rule allows');
	const drop = denied?.directions[1]?.number ?? 0;
	const [late] = await ask('x/a', 'x/b', { protocol: 'UDP', port: 139 });
	assert.equal(late?.directions[1]?.number, 3);
	assert.ok(drop > 3);
});

test('ends elsewhere are said to be so; the node reaches its pods; what nobody wired yet is dropped', async () => {
	const [far] = await ask('x/b', 'x/far', { port: 80 });
	assert.equal(far?.route, '10.0.1.0/24 via 192.0.2.2 dev eth0 proto 174');
	assert.match(
		far?.notes.join() ?? '',
		/x\/far is on node n1: whether its ingress policies allow it, felix there says/,
	);
	assert.equal((await ask('192.0.2.1', 'x/b', { port: 9 }))[0]?.allowed, true);
	assert.match((await ask('x/a', 'x/host', { port: 9 }))[0]?.notes.join() ?? '', /uses its node's network/);
	assert.equal((await ask('x/b', '192.0.2.1', { protocol: 'ICMP' }))[0]?.route, 'local: the node itself');
});

test('what goes on between others is not judged here, and said to be so', async () => {
	const [one] = await ask('x/far', '10.0.1.9', { port: 80 });
	assert.match(explanationText('n1', one as NonNullable<typeof one>), /NOT JUDGED on n1: neither end is a pod/);
});

test('an address that no route leads to is said to get nowhere', async () => {
	assert.match((await ask('x/a', 'fd00::77', { port: 9 }))[0]?.notes.join() ?? '', /has fd00::77.*it gets nowhere/);
});

test('what may be the address of a Service is not what policies see', async () => {
	assert.match((await ask('x/a', '10.96.0.1', { port: 443 }))[0]?.notes.join() ?? '', /ask for a pod behind it/);
	for (const address of ['198.51.100.7', '10.0.1.1']) {
		assert.doesNotMatch((await ask('x/a', address, { port: 443 }))[0]?.notes.join() ?? '', /Service/);
	}
});

test('questions that make no sense are answered by what to do', async () => {
	const refusal = async (source: string, destination: string, more: Partial<ExplainQuery> = {}) => {
		const result = await explain({ source, destination, protocol: 'TCP', ...more });
		return result.ok ? '' : result.reason;
	};
	assert.match(await refusal('x/none', 'x/b', { port: 1 }), /There is no pod x\/none/);
	assert.match(await refusal('fish', 'x/b', { port: 1 }), /'fish' is neither/);
	assert.match(await refusal('x/a', 'x/b'), /write x\/b:PORT/);
	assert.match(await refusal('x/a', 'x/b', { port: 'dns' }), /no TCP port named 'dns'/);
	assert.match(await refusal('x/a', 'x/b', { port: 65536 }), /from 1 to 65535/);
	assert.match(await refusal('x/a', 'x/b', { port: 80, protocol: 'ICMP' }), /ICMP has no ports/);
	assert.match(await refusal('x/a:80', 'x/b', { port: 80 }), /A source has no port/);
	assert.match(await refusal('x/far', 'fd00::2', { port: 1 }), /no address family in common/);
});

test('the destination on the command line', () => {
	for (const [text, expected] of [
		['x/b:80/tcp', { host: 'x/b', protocol: 'TCP', port: '80' }],
		['x/b:80/tcp/x', { host: 'x/b', protocol: 'TCP/X', port: '80' }],
		['x/b:http', { host: 'x/b', protocol: 'TCP', port: 'http' }],
		['10.0.0.1:53/UDP', { host: '10.0.0.1', protocol: 'UDP', port: '53' }],
		['[fd00::1]:53/udp', { host: 'fd00::1', protocol: 'UDP', port: '53' }],
		['fd00::1', { host: 'fd00::1', protocol: 'ICMP' }],
		['x/b', { host: 'x/b', protocol: 'ICMP' }],
		['x/b:icmp', { host: 'x/b', protocol: 'ICMP' }],
	] as const) {
		assert.deepEqual(parseTarget(text), expected, text);
	}
});

test('the route is the longest prefix, then the lowest metric', () => {
	const routes = [
		route('0.0.0.0/0'),
		route('10.0.0.0/8', { metric: 20, protocol: 4 }),
		route('10.0.0.0/8', { metric: 10 }),
	];
	assert.equal(routeText(routes, '10.1.1.1'), '10.0.0.0/8 via 192.0.2.2 dev eth0 proto 174');
	assert.equal(routeText([], '10.1.1.1'), 'none: the kernel has no route to 10.1.1.1');
	const unused = route('10.0.0.0/24', { type: 'blackhole', nextHops: [], protocol: 173 });
	assert.equal(routeText([...routes, unused], '10.0.0.9'), 'blackhole 10.0.0.0/24 proto 173');
});
