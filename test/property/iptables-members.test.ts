/** Canonical members are what ipset prints, on the real kernel. */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import fc from 'fast-check';
import type { SetType } from 'iptables-wrapper';
import { canonicalMember, canonicalMembers } from '../../felix/iptables-wrapper/src/members.ts';
import { createTestNetns, type TestNetns } from '../netns/iptables-netns.ts';

const v6 = fc.oneof(
	fc.ipV6(),
	fc.constantFrom('::', '::1', 'FD00:0:0:1::5', '::ffff:10.1.2.3', '::10.1.2.3', '1:0:0:2:0:0:0:3', '0:0:1::'),
);
const address = (family: 4 | 6) => (family === 4 ? fc.ipV4() : v6);
const prefix = (family: 4 | 6) =>
	fc.oneof(
		address(family),
		fc.tuple(address(family), fc.integer({ min: 0, max: family === 4 ? 32 : 128 })).map((parts) => parts.join('/')),
	);
const port = fc
	.tuple(fc.constantFrom('', 'tcp:', 'udp:', 'sctp:', 'UDP:'), fc.integer({ min: 0, max: 65535 }))
	.map((parts) => parts.join(''));
const member = (type: SetType, family: 4 | 6): fc.Arbitrary<string> => {
	const single = address(family).filter((text) => !/^[0:.]*$/.test(text));
	if (type === 'hash:ip') return single;
	const first = type === 'hash:ip,port' ? single : prefix(family);
	if (type.endsWith(',port')) return fc.tuple(first, port).map((parts) => parts.join(','));
	if (type === 'hash:net,iface')
		return fc.tuple(first, fc.constantFrom('lo', 'manx01', 'eth0.7')).map((parts) => parts.join(','));
	return first;
};

describe('members', () => {
	let netns: TestNetns;
	before(() => {
		netns = createTestNetns();
	});
	after(() => netns?.remove());

	for (const family of [4, 6] as const) {
		for (const type of ['hash:ip', 'hash:net', 'hash:ip,port', 'hash:net,iface', 'hash:net,port'] as const) {
			test(`what ipset prints of a ${type}, IPv${family}`, async () => {
				await fc.assert(
					fc.asyncProperty(fc.uniqueArray(member(type, family), { maxLength: 40 }), async (given) => {
						const { members, refused } = canonicalMembers(new Set(given), type, family);
						assert.deepEqual(refused, []);
						await netns.run('ipset', ['destroy']);
						const lines = [`create x ${type} family ${family === 4 ? 'inet' : 'inet6'}`];
						for (const each of members) lines.push(`add x ${each}`);
						const written = await netns.run('ipset', ['restore', '-exist'], `${lines.join('\n')}\n`);
						assert.equal(written.code, 0, written.stderr);
						const printed = (await netns.run('ipset', ['save', 'x'])).stdout.match(/(?<=^add x )\S+/gm) ?? [];
						assert.deepEqual(printed.toSorted(), [...members].sort());
					}),
					{ numRuns: 15, endOnFailure: true },
				);
			});
		}
	}

	test('what is no member is refused, whatever it is', () => {
		for (const text of [
			'',
			'localhost',
			'10.0.0.1-10.0.0.9',
			'010.0.0.1',
			'1.2.3',
			'10.0.0.1/33',
			'10.0.0.1 ',
			'10.0.0.1\nx',
			'::1',
			'1.2.3.4.',
		]) {
			assert.equal(canonicalMember(text, 'hash:ip', 4), undefined, text);
			assert.equal(canonicalMember(text, 'hash:net', 4), undefined, text);
		}
		assert.equal(canonicalMember('0.0.0.0', 'hash:ip', 4), undefined);
		assert.equal(canonicalMember('::', 'hash:ip', 6), undefined);
		for (const text of [
			'10.0.0.1',
			'10.0.0.1,',
			'10.0.0.1,tcp:99999',
			'10.0.0.1,80-90',
			'10.0.0.0/8,80',
			'10.0.0.1,tcp:80,x',
		]) {
			assert.equal(canonicalMember(text, 'hash:ip,port', 4), undefined, text);
		}
		for (const text of [':::', '1::2::3', '1:2:3:4:5:6:7', '::1%eth0', '::1.2.3', 'fffff::', '1.2.3.4::']) {
			assert.equal(canonicalMember(text, 'hash:ip', 6), undefined, text);
		}
	});
});
