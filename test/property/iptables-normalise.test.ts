/** What iptables-save prints of a rule normalises to what the rule as written does: on the real kernel. */
import assert from 'node:assert/strict';
import { afterEach, beforeEach, describe, test } from 'node:test';
import fc from 'fast-check';
import { normaliseRule, parseSave } from 'iptables-wrapper';
import { createTestNetns, type TestNetns } from '../netns/iptables-netns.ts';

type Family = 4 | 6;

const not = fc.constantFrom('', '', '', '! ');
const maybe = (part: fc.Arbitrary<string>): fc.Arbitrary<string> =>
	fc.oneof({ weight: 3, arbitrary: fc.constant('') }, { weight: 2, arbitrary: part });
const joined = (...parts: fc.Arbitrary<string>[]): fc.Arbitrary<string> =>
	fc.tuple(...parts).map((texts) => texts.filter((text) => text !== '').join(' '));

const addressOf = (family: Family): fc.Arbitrary<string> => {
	if (family === 4) {
		return fc.oneof(
			fc.tuple(fc.ipV4(), fc.integer({ min: 0, max: 32 })).map(([ip, length]) => `${ip}/${length}`),
			fc.ipV4(),
			fc.tuple(fc.ipV4(), fc.constantFrom('255.0.0.0', '255.255.240.0', '255.255.255.255')).map((p) => p.join('/')),
		);
	}
	const v6 = fc.oneof(
		fc.ipV6().filter((ip) => !ip.includes('%')),
		fc.constantFrom(
			'::1',
			'fd00::',
			'FD00:0:0:1::5',
			'::ffff:10.1.2.3',
			'::10.1.2.3',
			'1:0:0:2:0:0:0:3',
			'0:0:0:0:1:2:3:4',
		),
	);
	return fc.oneof(
		v6,
		fc.tuple(v6, fc.integer({ min: 0, max: 128 })).map(([ip, length]) => `${ip}/${length}`),
	);
};

// Below the last: iptables-nft 1.8.9 forgets `! --dport :65535`, which matches nothing.
const port = fc.integer({ min: 1, max: 65534 });
const ports = fc.oneof(
	port.map(String),
	fc.tuple(port, port).map(([a, b]) => `${Math.min(a, b)}:${Math.max(a, b)}`),
	port.map((p) => `:${p}`),
	port.map((p) => `${p}:`),
	fc.constant('0:65535'),
);
const portMatch = joined(
	maybe(fc.tuple(not, ports).map(([n, p]) => `${p === '0:65535' ? '' : n}--sport ${p}`)),
	maybe(fc.tuple(not, ports).map(([n, p]) => `${p === '0:65535' ? '' : n}--dport ${p}`)),
);
const flags = fc.subarray(['SYN', 'ACK', 'FIN', 'RST', 'URG', 'PSH'], { minLength: 1 }).map((list) => list.join(','));
const tcpFlags = fc.oneof(
	not.map((n) => `${n}--syn`),
	fc
		.tuple(not, fc.oneof(flags, fc.constant('ALL')), fc.oneof(flags, fc.constant('NONE')))
		.map(([n, a, b]) => `${n}--tcp-flags ${a} ${b}`),
);
const multiport = fc
	.tuple(
		not,
		fc.constantFrom('--dports', '--sports', '--ports'),
		fc.array(
			fc.oneof(
				port.map(String),
				fc
					.tuple(port, port)
					.filter(([a, b]) => a !== b)
					.map(([a, b]) => `${Math.min(a, b)}:${Math.max(a, b)}`),
			),
			{ minLength: 1, maxLength: 7 },
		),
	)
	.map(([n, option, list]) => `-m multiport ${n}${option} ${list.join(',')}`);

const protocolPart = (family: Family): fc.Arbitrary<string> =>
	fc.oneof(
		fc.constantFrom('', '-p all', '-p 4', '-p esp', '-p 200', '! -p tcp', '-p 47'),
		joined(fc.constantFrom('-p tcp', '-p 6', '-p TCP -m tcp'), portMatch, maybe(tcpFlags)),
		joined(fc.constantFrom('-p udp', '-p udp -m udp', '-p sctp', '-p 132 -m sctp', '-p 17'), portMatch),
		joined(fc.constantFrom('-p tcp', '-p udp', '-p sctp'), multiport),
		fc.constantFrom(
			...(family === 4
				? [
						'-p icmp',
						'-p icmp --icmp-type 8',
						'-p icmp -m icmp --icmp-type echo-reply',
						'-p icmp ! --icmp-type fragmentation-needed',
						'-p 1 --icmp-type 3/1',
						'-p icmp --icmp-type any',
						'-p icmp --icmp-type time-exceeded',
					]
				: [
						'-p icmpv6',
						'-p ipv6-icmp --icmpv6-type 135',
						'-p 58 -m icmp6 --icmpv6-type neighbour-advertisement',
						'-p icmpv6 ! --icmpv6-type packet-too-big',
						'-p icmpv6 --icmpv6-type 1/4',
						'-p icmpv6 --icmpv6-type echo-request',
					]),
		),
	);

const hexOrDecimal = fc
	.tuple(fc.integer({ min: 0, max: 0xffffffff }), fc.boolean())
	.map(([n, hex]) => (hex ? `0x${n.toString(16)}` : `${n}`));
const marks = fc.oneof(
	hexOrDecimal,
	fc.tuple(hexOrDecimal, hexOrDecimal).map((p) => p.join('/')),
	hexOrDecimal.map((value) => `${value}/0xffffffff`),
);
const words = fc.string({ minLength: 1, maxLength: 40, unit: fc.constantFrom(...'abcXYZ019 -_/:."\\\'$!;(){}#*,') });
const quoted = words.map((text) => `"${text.replace(/["\\]/g, '\\$&')}"`);
const states = fc.subarray(['NEW', 'ESTABLISHED', 'RELATED', 'INVALID', 'UNTRACKED', 'DNAT', 'SNAT'], { minLength: 1 });
// net/netfilter/xt_addrtype.c refuses broadcast and blackhole for IPv6.
const types = (family: Family) =>
	fc.subarray(['LOCAL', 'UNICAST', 'MULTICAST', ...(family === 4 ? ['BROADCAST', 'BLACKHOLE'] : [])], { minLength: 1 });
const shuffled = (list: fc.Arbitrary<string[]>): fc.Arbitrary<string> =>
	list.chain((items) => fc.shuffledSubarray(items, { minLength: items.length })).map((items) => items.join(','));

const extraMatch = (family: Family): fc.Arbitrary<string> =>
	fc.oneof(
		fc.tuple(not, shuffled(states)).map(([n, s]) => `-m conntrack ${n}--ctstate ${s}`),
		fc.tuple(not, marks).map(([n, m]) => `-m mark ${n}--mark ${m}`),
		fc
			.tuple(not, fc.constantFrom('hs-ip src', 'hs-ip dst', 'hs-ipport dst,dst', 'hs-netiface src,src'))
			.map(([n, s]) => `-m set ${n}--match-set ${s}`),
		quoted.map((text) => `-m comment --comment ${text}`),
		fc.constant('-m comment --comment plain'),
		fc
			.tuple(
				// Slower ones with a large burst overflow in the kernel (net/netfilter/xt_limit.c).
				fc.integer({ min: 50, max: 9999 }),
				fc.constantFrom('sec', 'second', 's', 'min', 'minute', 'm', 'hour', 'h', 'day', 'd'),
				fc.constantFrom('', ' --limit-burst 5', ' --limit-burst 17'),
			)
			.map(([rate, unit, burst]) => `-m limit --limit ${rate}/${unit}${burst}`),
		fc
			.tuple(not, shuffled(types(family)), not, shuffled(types(family)))
			.map(([n, a, m, b]) => `-m addrtype ${n}--dst-type ${a} ${m}--src-type ${b}`),
		fc.tuple(not, shuffled(types(family))).map(([n, a]) => `-m addrtype ${n}--dst-type ${a}`),
	);

const iface = fc
	.tuple(not, fc.constantFrom('eth0', 'manx+', 'e+', 'lo', 'manx0123456789a'))
	.map(([n, i]) => `${n}${i}`);
const ifacePart = (option: string): fc.Arbitrary<string> =>
	iface.map((text) => (text.startsWith('! ') ? `! ${option} ${text.slice(2)}` : `${option} ${text}`));

const targets = (family: Family): fc.Arbitrary<string> =>
	fc.oneof(
		fc.constantFrom(
			'-j ACCEPT',
			'-j DROP',
			'-j RETURN',
			'-j HS-OTHER',
			'-g HS-OTHER',
			'--jump ACCEPT',
			'--goto HS-OTHER',
			'',
			'-j REJECT',
		),
		fc.constantFrom(
			...(family === 4
				? [
						'-j REJECT --reject-with icmp-port-unreachable',
						'-j REJECT --reject-with icmp-admin-prohibited',
						'-j REJECT --reject-with host-unreach',
					]
				: [
						'-j REJECT --reject-with icmp6-port-unreachable',
						'-j REJECT --reject-with icmp6-adm-prohibited',
						'-j REJECT --reject-with addr-unreach',
					]),
		),
		joined(
			fc.constant('-j NFLOG'),
			maybe(fc.integer({ min: 0, max: 65535 }).map((group) => `--nflog-group ${group}`)),
			maybe(quoted.map((text) => `--nflog-prefix ${text}`)),
			maybe(fc.constantFrom('--nflog-size 80', '--nflog-threshold 1', '--nflog-threshold 7')),
		),
	);

const filterRule = (family: Family): fc.Arbitrary<string> =>
	joined(
		maybe(
			fc
				.tuple(not, fc.constantFrom('-s', '--source', '--src'), addressOf(family))
				.map(([n, o, a]) => `${/\/0$/.test(a) ? '' : n}${o} ${a}`),
		),
		maybe(ifacePart('-i')),
		maybe(ifacePart('-o')),
		protocolPart(family),
		maybe(
			fc
				.tuple(not, fc.constantFrom('-d', '--destination'), addressOf(family))
				.map(([n, o, a]) => `${/\/0$/.test(a) ? '' : n}${o} ${a}`),
		),
		maybe(extraMatch(family)),
		maybe(extraMatch(family)),
		targets(family),
	);

const mangleRule = joined(
	fc.constantFrom('', '-p tcp --dport 80', '-i manx+'),
	fc.tuple(fc.constantFrom('--set-mark', '--set-xmark'), marks).map(([option, mark]) => `-j MARK ${option} ${mark}`),
);
const bitRule = fc
	.tuple(fc.constantFrom('--or-mark', '--and-mark', '--xor-mark'), hexOrDecimal)
	.map(([option, mark]) => `-j MARK ${option} ${mark}`);
const natRule = joined(
	fc.constantFrom('', '-p tcp', '-o eth0', '-p udp --dport 53'),
	fc.constantFrom('-m set ! --match-set hs-ip dst', ''),
	fc.constantFrom('-j MASQUERADE', '-j MASQUERADE --random-fully', '-j MASQUERADE --random'),
);

describe('normaliseRule', () => {
	let netns: TestNetns | undefined;
	beforeEach(() => {
		netns = createTestNetns();
	});
	afterEach(() => netns?.remove());

	for (const family of [4, 6] as const) {
		for (const backend of ['legacy', 'nft'] as const) {
			test(`a rule as written and as iptables-${backend}-save prints it are one, IPv${family}`, async () => {
				const { run } = netns as TestNetns;
				const program = `${family === 4 ? 'iptables' : 'ip6tables'}-${backend}`;
				const inet = family === 4 ? 'inet' : 'inet6';
				for (const type of ['ip', 'ip,port', 'net,iface']) {
					netns?.sh(`ipset create hs-${type.replace(',', '')} hash:${type} family ${inet} -exist`);
				}
				const rulesets = fc.tuple(
					fc.array(filterRule(family), { minLength: 40, maxLength: 60, size: 'max' }),
					fc.array(fc.oneof(mangleRule, bitRule), { minLength: 5, maxLength: 10, size: 'max' }),
					fc.array(natRule, { minLength: 5, maxLength: 10, size: 'max' }),
				);
				await fc.assert(
					fc.asyncProperty(rulesets, async ([filter, mangle, nat]) => {
						const tables = { mangle, nat, filter };
						const input = Object.entries(tables)
							.map(([table, rules]) =>
								[
									`*${table}`,
									':HS-OTHER - [0:0]',
									':HS-RULES - [0:0]',
									...rules.map((rule) => `-A HS-RULES ${rule}`),
									'COMMIT',
									'',
								].join('\n'),
							)
							.join('');
						const written = await run(`${program}-restore`, ['--noflush'], input);
						assert.equal(written.code, 0, `${written.stderr}\n${input}`);
						const saved = parseSave((await run(`${program}-save`, ['-c'])).stdout);
						for (const [table, rules] of Object.entries(tables)) {
							const printed = saved.get(table)?.get('HS-RULES')?.rules ?? [];
							assert.equal(printed.length, rules.length);
							for (const [i, rule] of rules.entries()) {
								const text = printed[i]?.text ?? '';
								assert.equal(normaliseRule(text), normaliseRule(rule), `written: ${rule}\nprinted: ${text}`);
								assert.equal(normaliseRule(normaliseRule(rule)), normaliseRule(rule), 'idempotent');
							}
						}
					}),
					{ numRuns: 25, endOnFailure: true },
				);
			});
		}
	}
});
