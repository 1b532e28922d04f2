import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type CodecOptions, encodeUpdates, type PathAttributes, type UpdateMessage } from 'bgp-js-lite';
import { decodeWhole, EBGP, IBGP, toHex } from './bgp-hex.ts';

const V4 = { afi: 1, safi: 1 };
const V6 = { afi: 2, safi: 1 };
const BASE: PathAttributes = { origin: 'igp', asPath: [{ type: 'sequence', asNumbers: [65001] }] };

const v4Prefixes = (count: number) =>
	Array.from({ length: count }, (_, i) => ({ prefix: `${10 + (i >> 16)}.${(i >> 8) & 255}.${i & 255}.64/26` }));
const v6Prefixes = (count: number) =>
	Array.from({ length: count }, (_, i) => ({ prefix: `fd00:1:${(i + 1).toString(16)}::/64` }));

const decodeAll = (messages: readonly Uint8Array[], options: CodecOptions = EBGP): UpdateMessage[] =>
	messages.map((whole) => {
		assert.ok(whole.length <= options.maxMessageLength);
		const decoded = decodeWhole(whole, options);
		assert.ok(decoded.ok && decoded.value.type === 'UPDATE');
		assert.equal(decoded.value.errors, undefined);
		return decoded.value;
	});

test('100,000 prefixes with the same attributes take 124 messages, and come back in order', () => {
	const nlri = v4Prefixes(100_000);
	const messages = encodeUpdates({ attributes: BASE, announced: { ...V4, nextHop: '192.0.2.1', nlri } }, EBGP);
	assert.equal(messages.length, 124);
	assert.deepEqual(
		decodeAll(messages).flatMap((update) => update.announced.flatMap((part) => part.nlri)),
		nlri,
	);
});

test('IPv6 prefixes are split over messages, announced and withdrawn', () => {
	const nlri = v6Prefixes(2000);
	const announced = encodeUpdates({ attributes: BASE, announced: { ...V6, nextHop: 'fd00::1', nlri } }, EBGP);
	const withdrawn = encodeUpdates({ withdrawn: { ...V6, nlri } }, EBGP);
	assert.deepEqual([announced.length, withdrawn.length], [5, 5]);
	assert.deepEqual(
		decodeAll(announced).flatMap((update) => update.announced.flatMap((part) => part.nlri)),
		nlri,
	);
	assert.deepEqual(
		decodeAll(withdrawn).flatMap((update) => update.withdrawn.flatMap((part) => part.nlri)),
		nlri,
	);
});

for (const [name, w, a] of [
	['IPv4, IPv4', V4, V4],
	['IPv4, IPv6', V4, V6],
	['IPv6, IPv4', V6, V4],
	['IPv6, IPv6', V6, V6],
] as const) {
	test(`withdrawn and announced (${name}) never share a message (RFC 7606 §5.1)`, () => {
		const list = (afi: number) => (afi === 1 ? v4Prefixes(1000) : v6Prefixes(1000));
		const nextHop = a === V4 ? '192.0.2.1' : 'fd00::1';
		const withdrawn = { ...w, nlri: list(w.afi) };
		const announced = { ...a, nextHop, nlri: list(a.afi) };
		const updates = decodeAll(encodeUpdates({ attributes: BASE, announced, withdrawn }, EBGP));
		assert.ok(updates.every((update) => update.withdrawn.length + update.announced.length === 1));
		const collect = (parts: readonly { readonly nlri: readonly unknown[] }[]) => parts.flatMap((part) => part.nlri);
		assert.deepEqual(collect(updates.flatMap((update) => update.withdrawn)), withdrawn.nlri);
		assert.deepEqual(collect(updates.flatMap((update) => update.announced)), announced.nlri);
		// Withdrawals first: what was announced must not be withdrawn after.
		const lastWithdrawal = updates.findLastIndex((update) => update.withdrawn.length > 0);
		assert.ok(updates.findIndex((update) => update.announced.length > 0) > lastWithdrawal);
	});
}

test('extended messages take more prefixes each (RFC 8654)', () => {
	const options = { ...EBGP, maxMessageLength: 65535 };
	const nlri = v4Prefixes(100_000);
	const messages = encodeUpdates({ attributes: BASE, announced: { ...V4, nextHop: '192.0.2.1', nlri } }, options);
	assert.equal(messages.length, 8);
	decodeAll(messages, options);
});

test('attributes that leave no room for a prefix turn the announcement into a withdrawal (RFC 4271 §9.2)', () => {
	const attributes = { ...BASE, communities: new Array<number>(1015).fill(1) };
	for (const [family, nextHop, nlri] of [
		[V4, '192.0.2.1', v4Prefixes(3)],
		[V6, 'fd00::1', v6Prefixes(3)],
	] as const) {
		const withdrawn = { ...family, nlri: [{ prefix: family === V4 ? '10.9.0.0/16' : 'fd00:9::/32' }] };
		const updates = decodeAll(encodeUpdates({ attributes, announced: { ...family, nextHop, nlri }, withdrawn }, EBGP));
		assert.deepEqual(
			updates.map(({ announced, withdrawn: gone }) => ({ announced, withdrawn: gone })),
			[
				{ announced: [], withdrawn: [withdrawn] },
				{ announced: [], withdrawn: [{ ...family, nlri }] },
			],
		);
		const options = { ...EBGP, maxMessageLength: 65535 };
		const large = decodeAll(encodeUpdates({ attributes, announced: { ...family, nextHop, nlri } }, options), options);
		assert.deepEqual(large[0]?.announced[0]?.nlri, nlri);
		assert.equal(large[0]?.attributes?.communities?.length, 1015);
	}
	const endless = { ...BASE, communities: new Array<number>(20_000).fill(1) };
	const options = { ...EBGP, maxMessageLength: 65535 };
	const announced = { ...V4, nextHop: '192.0.2.1', nlri: v4Prefixes(1) };
	assert.deepEqual(decodeAll(encodeUpdates({ attributes: endless, announced }, options), options)[0]?.announced, []);
});

test('an AS_PATH segment of more than 255 AS numbers is cut', () => {
	const asNumbers = Array.from({ length: 300 }, (_, i) => i + 1);
	const attributes: PathAttributes = { origin: 'igp', asPath: [{ type: 'sequence', asNumbers }] };
	const announced = { ...V4, nextHop: '192.0.2.1', nlri: v4Prefixes(1) };
	const [update] = decodeAll(encodeUpdates({ attributes, announced }, EBGP));
	assert.deepEqual(
		update?.attributes?.asPath.map((segment) => segment.asNumbers.length),
		[255, 45],
	);
	assert.deepEqual(
		update?.attributes?.asPath.flatMap((segment) => segment.asNumbers),
		asNumbers,
	);
});

test('attributes for internal peers stay inside, and LOCAL_PREF always goes along there (RFC 4271 §5.1.5)', () => {
	const attributes = { ...BASE, localPref: 7, originatorId: '10.0.0.1', clusterList: ['10.0.0.2'] };
	const announced = { ...V4, nextHop: '192.0.2.1', nlri: v4Prefixes(1) };
	assert.deepEqual(decodeAll(encodeUpdates({ attributes, announced }, EBGP))[0]?.attributes, BASE);
	assert.deepEqual(decodeAll(encodeUpdates({ attributes, announced }, IBGP), IBGP)[0]?.attributes, attributes);
	const [update] = decodeAll(encodeUpdates({ attributes: BASE, announced }, IBGP), IBGP);
	assert.equal(update?.attributes?.localPref, 100);
});

test('nothing to say takes no message', () => {
	assert.deepEqual(encodeUpdates({}, EBGP), []);
	assert.deepEqual(encodeUpdates({ withdrawn: { ...V4, nlri: [] } }, EBGP), []);
});

test('host bits of a prefix to encode are cleared', () => {
	const [whole] = encodeUpdates({ withdrawn: { ...V4, nlri: [{ prefix: '10.255.255.255/9' }] } }, EBGP);
	assert.equal(toHex((whole ?? new Uint8Array(0)).subarray(19)), '0003090a800000');
	const [v6] = encodeUpdates({ withdrawn: { ...V6, nlri: [{ prefix: 'fd00:ffff::1/17' }] } }, EBGP);
	assert.equal(toHex((v6 ?? new Uint8Array(0)).subarray(-4)), '11fd0080');
});

test('what is no prefix, next hop or family is refused', () => {
	const withdraw = (afi: number, safi: number, prefix: string) =>
		encodeUpdates({ withdrawn: { afi, safi, nlri: [{ prefix }] } }, EBGP);
	for (const prefix of [
		'',
		'10.0.0.0',
		'10.0.0/8',
		'10.0.0.256/8',
		'10.0.0.0/33',
		'10.0.0.0/',
		'10.0.0.0/x',
		'a/8',
		'::/0',
	]) {
		assert.throws(() => withdraw(1, 1, prefix), RangeError, prefix);
	}
	for (const prefix of [
		'::',
		':::/8',
		'1::2::3/8',
		'::/129',
		'12345::/8',
		'1:2:3:4:5:6:7:8:9/8',
		'1:2:3/8',
		':/8',
		'::1:/8',
		'10.0.0.0/8',
	]) {
		assert.throws(() => withdraw(2, 1, prefix), RangeError, prefix);
	}
	assert.throws(() => withdraw(1, 128, '10.0.0.0/8'), RangeError);
	const announced = { ...V6, nextHop: '192.0.2.1', nlri: v6Prefixes(1) };
	assert.throws(() => encodeUpdates({ attributes: BASE, announced }, EBGP), RangeError);
	assert.throws(() => encodeUpdates({ announced: { ...announced, nextHop: 'fd00::1' } }, EBGP), RangeError);
});
