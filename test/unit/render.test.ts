import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { PolicyState } from '../../felix/calc/index.ts';
import { renderPolicy, renderRuleset, sourceProgram, staticSets } from '../../felix/render/index.ts';
import { multiportLists } from '../../felix/render/render-policy.ts';

const state = (groups: PolicyState['groups'], family: 4 | 6 = 4): PolicyState => ({
	family,
	groups,
	open: { ingress: `manx-${family}-open-ingress`, egress: `manx-${family}-open-egress` },
	sets: new Map(),
	mergedSets: new Map(),
});

const text = (chains: ReadonlyMap<string, readonly string[]>): string =>
	[...chains].map(([name, rules]) => [name, ...rules.map((rule) => `  ${rule}`)].join('\n')).join('\n');

test('the whole ruleset of a node without policies', () => {
	const { chains, hooks } = renderRuleset({ family: 6, policy: state([], 6), settings: { masquerade: true } });
	assert.equal(
		text(chains),
		`filter MANX-FORWARD
  -i manx+ -m conntrack --ctstatus CONFIRMED -j ACCEPT
  -o manx+ -m conntrack --ctstatus CONFIRMED -j ACCEPT
  -m conntrack --ctstate RELATED -j MANX-RELATED
  -i manx+ -g MANX-FROM-POD
  -o manx+ -g MANX-TO-POD
filter MANX-RELATED
  -i manx+ -j ACCEPT
  -o manx+ -j ACCEPT
filter MANX-FROM-POD
  -o manx+ -g MANX-POD-TO-POD
  -p tcp -m tcp ! --tcp-flags FIN,SYN,RST,ACK SYN -m conntrack --ctstate NEW -j MANX-RESET
  -j MANX-EGRESS
filter MANX-TO-POD
  -p tcp -m tcp ! --tcp-flags FIN,SYN,RST,ACK SYN -m conntrack --ctstate NEW -j MANX-RESET
  -j MANX-INGRESS
filter MANX-POD-TO-POD
  -m set --match-set manx-6-src dst,src -j RETURN
  -p tcp -m tcp ! --tcp-flags FIN,SYN,RST,ACK SYN -m conntrack --ctstate NEW -j MANX-RESET
  -j MANX-EGRESS
  -j MANX-INGRESS
filter MANX-ACCEPT
  -i manx+ -j ACCEPT
  -o manx+ -j ACCEPT
filter MANX-INPUT
  -m conntrack --ctstatus CONFIRMED -j ACCEPT
  -m conntrack --ctstate RELATED -j ACCEPT
  -p tcp -m tcp ! --tcp-flags FIN,SYN,RST,ACK SYN -m conntrack --ctstate NEW -j MANX-RESET
  -j MANX-EGRESS
filter MANX-OUTPUT
  -p tcp -m tcp ! --tcp-flags FIN,SYN,RST,ACK SYN -m conntrack --ctstate NEW -m set ! --match-set manx-6-open-egress dst -j REJECT --reject-with tcp-reset
filter MANX-RESET
  -i manx+ -p tcp -m set ! --match-set manx-6-open-egress src -j REJECT --reject-with tcp-reset
  -i manx+ -p tcp -m set ! --match-set manx-6-open-ingress src -j REJECT --reject-with tcp-reset
  -o manx+ -p tcp -m set ! --match-set manx-6-open-ingress dst -j REJECT --reject-with tcp-reset
  -o manx+ -p tcp -m set ! --match-set manx-6-open-egress dst -j REJECT --reject-with tcp-reset
filter MANX-EGRESS
  -m set --match-set manx-6-open-egress src -j RETURN
  -j DROP
filter MANX-INGRESS
  -m set --match-set manx-6-open-ingress dst -j RETURN
  -j DROP
raw MANX-PREROUTING
  -m set ! --match-set manx-6-src src,src -j DROP
nat MANX-POSTROUTING
  ! -o manx+ -m set ! --match-set manx-6-nomasq dst -m set --match-set manx-6-local src -j MASQUERADE --random-fully`,
	);
	assert.deepEqual(
		hooks.map((hook) => Object.values(hook).join(' ')),
		[
			'raw PREROUTING first -i manx+ -j MANX-PREROUTING',
			'filter FORWARD first -j MANX-FORWARD',
			'filter FORWARD append -j MANX-ACCEPT',
			'filter INPUT first -i manx+ -j MANX-INPUT',
			'filter OUTPUT first -o manx+ -j MANX-OUTPUT',
			'nat POSTROUTING append -j MANX-POSTROUTING',
		],
	);
});

test('addresses of announced ranges that no Service has end after all rules that may refuse them', () => {
	const { chains } = renderRuleset({
		family: 4,
		policy: state([]),
		settings: { masquerade: false, logging: true },
		services: true,
	});
	assert.equal(chains.get('filter MANX-ACCEPT')?.[0], '-m set --match-set manx-4-svc dst -j DROP');
	const input = { family: 4, podNetworks: [], localPodCIDRs: [], nonMasqueradeCIDRs: [], attachments: [] } as const;
	assert.deepEqual(
		[...(staticSets({ ...input, serviceRanges: ['10.96.0.0/12'] }).get('manx-4-svc')?.members ?? [])],
		['10.96.0.0/12'],
	);
	assert.equal(staticSets(input).get('manx-4-svc'), undefined);
});

test('where each veth has a filter the raw table is left alone', () => {
	const { chains, hooks } = renderRuleset({
		family: 4,
		policy: state([]),
		settings: { masquerade: true, sourceRule: false },
	});
	assert.ok(![...chains.keys(), ...hooks.map(({ table }) => table)].some((key) => key.startsWith('raw')));
});

test('a source filter is a program any reader of classic BPF can follow', () => {
	assert.equal(
		sourceProgram(['10.244.1.2', 'fd00:244::2']),
		[
			'20',
			'40 0 0 4294963200', // ldh protocol
			'21 4 0 2048', // IP: 6
			'21 7 0 34525', // IPv6: 10
			'21 1 0 2054', // ARP: 5
			'6 0 0 2', // drop
			`6 0 0 ${2 ** 32 - 1}`, // on
			'32 0 0 26', // ld saddr
			`21 0 1 ${0x0af40102}`,
			`6 0 0 ${2 ** 32 - 1}`,
			'6 0 0 2',
			'32 0 0 22', // ld the first word of saddr
			`21 0 7 ${0xfd000244}`,
			'32 0 0 26',
			'21 0 5 0',
			'32 0 0 30',
			'21 0 3 0',
			'32 0 0 34',
			'21 0 1 2',
			`6 0 0 ${2 ** 32 - 1}`,
			'6 0 0 2',
		].join(','),
	);
	assert.equal(
		sourceProgram([]),
		'8,40 0 0 4294963200,21 4 0 2048,21 4 0 34525,21 1 0 2054,6 0 0 2,6 0 0 4294967295,6 0 0 2,6 0 0 2',
	);
});

test('without masquerade the nat table is left alone', () => {
	const { chains, hooks } = renderRuleset({ family: 4, policy: state([]), settings: { masquerade: false } });
	assert.ok(![...chains.keys(), ...hooks.map(({ table }) => table)].some((key) => key.startsWith('nat')));
});

test('with logging every drop of ours is told of first, and what is accepted; at most ten a second and rule', () => {
	const group = { id: 'aaaa', direction: 'egress', policies: ['x/p'], memberSet: 'M', rules: [], merged: [] } as const;
	const { chains } = renderRuleset({
		family: 4,
		policy: state([group]),
		settings: { masquerade: false, logging: true },
	});
	const logged = [...chains].flatMap(([name, rules]) =>
		rules.flatMap((rule, i) => (rule.includes('NFLOG') ? [`${name}: ${rule} / ${rules[i + 1]}`] : [])),
	);
	const nflog = (prefix: string) =>
		`-m limit --limit 10/sec --limit-burst 20 -j NFLOG --nflog-prefix ${prefix} --nflog-group 173`;
	assert.deepEqual(logged, [
		`filter MANX-ACCEPT: -i manx+ -m conntrack --ctstate NEW ${nflog('MANX-ACCEPT')} / ! -i manx+ -o manx+ -m conntrack --ctstate NEW ${nflog('MANX-ACCEPT')}`,
		`filter MANX-ACCEPT: ! -i manx+ -o manx+ -m conntrack --ctstate NEW ${nflog('MANX-ACCEPT')} / -i manx+ -j ACCEPT`,
		`filter MANX-EGRESS: ${nflog('MANX-EGRESS')} / -j DROP`,
		`filter MANX-INGRESS: ${nflog('MANX-INGRESS')} / -j DROP`,
		`filter MANX-E-aaaa: ${nflog('MANX-E-aaaa')} / -j DROP`,
	]);
});

test('groups: dispatched by goto, judged by one rule for each way to pass, else dropped', () => {
	const policy = 'x/p';
	const { chains } = renderPolicy(
		state([
			{
				id: 'aaaa',
				direction: 'egress',
				policies: [policy],
				memberSet: 'manx-4-g-a',
				merged: [],
				rules: [
					{ policy },
					{
						policy,
						peerSet: 'S',
						exceptSet: 'X',
						protocol: 'TCP',
						ports: [
							[80, 80],
							[1000, 2000],
						],
					},
					{ policy, destinationPortSet: 'P', protocol: 'SCTP' },
					{ policy, protocol: 'UDP', ports: [[0, 65535]] },
				],
			},
			{
				id: 'bbbb',
				direction: 'ingress',
				policies: [policy],
				memberSet: 'manx-4-g-b',
				merged: [],
				rules: [{ policy, peerSet: 'S' }],
			},
		]),
	);
	assert.equal(
		text(chains),
		`MANX-EGRESS
  -m set --match-set manx-4-open-egress src -j RETURN
  -m set --match-set manx-4-g-a src -g MANX-E-aaaa
  -j DROP
MANX-INGRESS
  -m set --match-set manx-4-open-ingress dst -j RETURN
  -m set --match-set manx-4-g-b dst -g MANX-I-bbbb
  -j DROP
MANX-E-aaaa
  -m comment --comment "x/p" -j RETURN
  -p tcp -m multiport --dports 80,1000:2000 -m set --match-set S dst -m set ! --match-set X dst -m comment --comment "x/p" -j RETURN
  -p sctp -m set --match-set P dst,dst -m comment --comment "x/p" -j RETURN
  -p udp -m comment --comment "x/p" -j RETURN
  -j DROP
MANX-I-bbbb
  -m set --match-set S src -m comment --comment "x/p" -j RETURN
  -j DROP`,
	);
});

test('a comment holds 255 bytes at most', () => {
	const policy = `${'n'.repeat(63)}/${'p'.repeat(253)}`;
	const group = {
		id: 'a',
		direction: 'egress',
		policies: [policy],
		memberSet: 'M',
		rules: [{ policy }],
		merged: [],
	} as const;
	const [rule] = renderPolicy(state([group])).chains.get('MANX-E-a') ?? [];
	assert.equal(/--comment "(.*)"/.exec(rule ?? '')?.[1], policy.slice(0, 255));
});

test('a port list has 15 slots and a range takes two', () => {
	const single = Array.from({ length: 16 }, (_, i) => [2 * i + 1, 2 * i + 1] as const);
	assert.deepEqual(
		multiportLists(single).map((list) => list.split(',').length),
		[15, 1],
	);
	const ranges = Array.from({ length: 8 }, (_, i) => [10 * i, 10 * i + 5] as const);
	assert.deepEqual(
		multiportLists(ranges).map((list) => list.split(',').length),
		[7, 1],
	);
});

test('static sets: of the family, hosts without a length, /0 in halves', () => {
	const sets = staticSets({
		family: 4,
		attachments: [{ addresses: ['10.0.0.1', 'fd00::1'], hostInterface: 'manx0123' }],
		podNetworks: ['10.0.0.0/8', 'fd00::/64'],
		localPodCIDRs: ['10.0.0.0/24', 'fd00::/80'],
		nonMasqueradeCIDRs: ['192.0.2.1/32', '0.0.0.0/0'],
	});
	assert.deepEqual(
		[...sets.values()].map(({ name, type, members }) => [name, type, ...members]),
		[
			['manx-4-src', 'hash:net,iface', '10.0.0.1,manx0123'],
			['manx-4-local', 'hash:net', '10.0.0.0/24'],
			['manx-4-nomasq', 'hash:net', '10.0.0.0/8', '192.0.2.1', '0.0.0.0/1', '128.0.0.0/1'],
		],
	);
});

test('our accept is the last rule of FORWARD, or stands before a final reject by setting', () => {
	const position = (acceptBeforeReject?: boolean): string | undefined => {
		const settings = { masquerade: true, ...(acceptBeforeReject !== undefined && { acceptBeforeReject }) };
		return renderRuleset({ family: 4, policy: state([]), settings }).hooks.find(({ rule }) => rule === '-j MANX-ACCEPT')
			?.position;
	};
	assert.deepEqual([position(), position(false), position(true)], ['append', 'append', 'before-reject']);
});
