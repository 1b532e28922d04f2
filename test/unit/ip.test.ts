import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { Address4, Address6 } from 'ip-address';
import {
	addressFromBytes,
	addressToBytes,
	canonicalAddress,
	canonicalCidr,
	contains,
	formatAddress,
	overlaps,
	parseAddress,
	parseCidr,
} from '../../src/net/ip.ts';

const cidr = (text: string) => {
	const parsed = parseCidr(text);
	assert.ok(parsed, text);
	return parsed;
};

describe('addresses', () => {
	const refused = [
		'',
		'1.2.3',
		'1.2.3.4.5',
		'010.1.1.1',
		'256.1.1.1',
		'1.2.3.4 ',
		'1..2.3',
		':',
		':::',
		'1:2:3:4:5:6:7',
		'1:2:3:4:5:6:7:8:9',
		'::1::',
		'12345::',
		'fe80::1%eth0',
		'1:2:3:4:5:6:7::8:9',
		'::1.2.3',
		'g::',
	];
	for (const text of refused) it(`refuses '${text}'`, () => assert.equal(parseAddress(text), undefined));

	const canonical: [string, string][] = [
		['1.2.3.4', '1.2.3.4'],
		['0.0.0.0', '0.0.0.0'],
		['::', '::'],
		['FD00:0:0:1:0:0:0:7', 'fd00:0:0:1::7'],
		['1:0:0:2:3:0:0:4', '1::2:3:0:0:4'],
		['1:0:2:3:4:5:6:7', '1:0:2:3:4:5:6:7'],
		['::ffff:1.2.3.4', '::ffff:102:304'],
		['1::', '1::'],
	];
	for (const [text, wanted] of canonical) {
		it(`reads ${text} as ${wanted}`, () => assert.equal(canonicalAddress(text), wanted));
	}

	it('agrees with ip-address on every IPv4 address', () => {
		fc.assert(
			fc.property(fc.ipV4(), (text) => {
				const parsed = parseAddress(text);
				assert.ok(parsed);
				assert.equal(parsed.value, new Address4(text).bigInt());
				assert.equal(formatAddress(parsed), text);
			}),
		);
	});

	it('agrees with ip-address on every IPv6 address', () => {
		fc.assert(
			fc.property(fc.ipV6(), (text) => {
				const parsed = parseAddress(text);
				assert.ok(parsed, text);
				assert.equal(parsed.value, new Address6(text).bigInt());
				assert.equal(formatAddress(parsed), new Address6(text).correctForm());
			}),
			{ numRuns: 1000 },
		);
	});

	it('goes to bytes and back', () => {
		fc.assert(
			fc.property(fc.oneof(fc.ipV4(), fc.ipV6()), (text) => {
				const bytes = addressToBytes(text);
				assert.ok(bytes);
				assert.equal(addressFromBytes(bytes, bytes.length === 4 ? 4 : 6), canonicalAddress(text));
			}),
		);
	});

	it('never throws on any text', () => {
		fc.assert(fc.property(fc.string(), (text) => void [parseAddress(text), parseCidr(text), addressToBytes(text)]));
	});
});

describe('prefixes', () => {
	for (const text of ['1.2.3.4', '1.2.3.4/33', '::/129', '1.2.3.4/-1', '1.2.3.4/08', '1.2.3.4/ 8', '/8']) {
		it(`refuses '${text}'`, () => assert.equal(parseCidr(text), undefined));
	}
	it('clears host bits and tells of them', () => {
		assert.equal(canonicalCidr('192.168.1.1/24'), '192.168.1.0/24');
		assert.equal(cidr('192.168.1.1/24').hostBits, true);
		assert.equal(cidr('fd00::/64').hostBits, false);
	});
	it('knows what lies in what', () => {
		assert.ok(contains(cidr('10.0.0.0/8'), cidr('10.1.0.0/16')));
		assert.ok(!contains(cidr('10.1.0.0/16'), cidr('10.0.0.0/8')));
		assert.ok(!contains(cidr('0.0.0.0/0'), cidr('::/0')));
		assert.ok(overlaps(cidr('10.1.0.0/16'), cidr('10.0.0.0/8')));
		assert.ok(!overlaps(cidr('10.1.0.0/16'), cidr('10.2.0.0/16')));
	});
});
