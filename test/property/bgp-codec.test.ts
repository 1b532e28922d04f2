import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type CodecOptions, createFramer, decodeMessage, encodeMessage, encodeUpdates } from 'bgp-js-lite';
import fc from 'fast-check';
import { canonicalAddress, canonicalCidr } from '../../src/net/ip.ts';
import {
	announcedArbitrary,
	attributesArbitrary,
	optionsArbitrary,
	smallMessageArbitrary,
	v4,
	v6,
	withdrawnArbitrary,
} from './bgp-arbitraries.ts';

const OPTIONS: CodecOptions = { fourOctetAs: true, ibgp: true, maxMessageLength: 4096 };

const decodeWhole = (whole: Uint8Array, options: CodecOptions = OPTIONS) => {
	const framer = createFramer(options.maxMessageLength);
	framer.push(whole);
	const frame = framer.next();
	if (frame === undefined || !frame.ok) return frame;
	return decodeMessage(frame.value.type, frame.value.body, options);
};

/** An UPDATE's parts with the options they are for. */
const updateArbitrary = optionsArbitrary.chain((options) =>
	fc.record({
		options: fc.constant(options),
		update: fc.record(
			{
				attributes: attributesArbitrary(options),
				announced: announcedArbitrary(options),
				withdrawn: withdrawnArbitrary(options),
			},
			{ requiredKeys: ['attributes'] },
		),
	}),
);

test('decode(encode(x)) = x for all messages but UPDATE', () => {
	fc.assert(
		fc.property(smallMessageArbitrary, (value) => {
			assert.deepEqual(decodeWhole(encodeMessage(value)), { ok: true, value: structuredClone(value) });
		}),
		{ numRuns: 1000 },
	);
});

test('decode(encode(x)) = x for UPDATE, on every kind of session', () => {
	fc.assert(
		fc.property(updateArbitrary, ({ options, update: made }) => {
			// A clone has the prototypes deepEqual asks for.
			const update = structuredClone(made);
			const withdrawn: unknown[] = [];
			const announced: unknown[] = [];
			for (const whole of encodeUpdates(update, options)) {
				assert.ok(whole.length <= options.maxMessageLength);
				const decoded = decodeWhole(whole, options);
				assert.ok(decoded?.ok && decoded.value.type === 'UPDATE');
				assert.equal(decoded.value.errors, undefined);
				assert.equal(decoded.value.endOfRib, undefined);
				withdrawn.push(...decoded.value.withdrawn);
				announced.push(...decoded.value.announced);
				assert.deepEqual(decoded.value.attributes, decoded.value.announced.length > 0 ? update.attributes : undefined);
			}
			assert.deepEqual(withdrawn, update.withdrawn ? [update.withdrawn] : []);
			assert.deepEqual(announced, update.announced ? [update.announced] : []);
		}),
		{ numRuns: 1000 },
	);
});

test('addresses read and print as they do in the rest of the program', () => {
	fc.assert(
		fc.property(fc.oneof(v4, v6), (address) => {
			const afi = address.includes(':') ? 2 : 1;
			const prefix = `${address}/${afi === 1 ? 32 : 128}`;
			const [whole] = encodeUpdates({ withdrawn: { afi, safi: 1, nlri: [{ prefix }] } }, OPTIONS);
			const decoded = decodeWhole(whole as Uint8Array);
			assert.ok(decoded?.ok && decoded.value.type === 'UPDATE');
			assert.deepEqual(decoded.value.withdrawn[0]?.nlri, [{ prefix }]);
		}),
		{ numRuns: 2000 },
	);
});

const isIn = (value: number | undefined, max: number): boolean =>
	value === undefined || (Number.isInteger(value) && value >= 0 && value <= max);
const isV4 = (text: string | undefined): boolean =>
	text === undefined || (!text.includes(':') && canonicalAddress(text) === text);

/** Nothing throws, and every value is one that types.ts allows. */
const decodesSanely = (type: number, body: Uint8Array, options: CodecOptions): void => {
	const decoded = decodeMessage(type, body, options);
	if (!decoded.ok) {
		assert.equal(decoded.error.action, 'sessionReset');
		assert.ok(isIn(decoded.error.code, 255) && isIn(decoded.error.subcode, 255) && decoded.error.message.length > 0);
		return;
	}
	const message = decoded.value;
	if (message.type === 'OPEN') {
		assert.ok(message.version === 4 && message.asNumber > 0 && isIn(message.asNumber, 0xffff));
		assert.ok(isIn(message.holdTime, 0xffff) && isV4(message.bgpIdentifier));
		encodeMessage(message);
		return;
	}
	if (message.type !== 'UPDATE') {
		assert.deepEqual(decodeWhole(encodeMessage(message), { ...options, maxMessageLength: 65535 }), decoded);
		return;
	}
	for (const part of [...message.withdrawn, ...message.announced]) {
		assert.ok(part.nlri.length > 0);
		for (const { prefix, pathId } of part.nlri) {
			assert.equal(canonicalCidr(prefix), prefix);
			assert.equal(prefix.includes(':'), part.afi === 2);
			assert.ok(isIn(pathId, 0xffffffff));
		}
	}
	const { attributes } = message;
	assert.equal(attributes !== undefined, message.announced.length > 0);
	if (attributes === undefined) return;
	assert.ok(isIn(attributes.med, 0xffffffff) && isIn(attributes.localPref, 0xffffffff));
	assert.ok(isV4(attributes.originatorId) && isV4(attributes.aggregator?.address));
	assert.ok((attributes.clusterList ?? []).every(isV4));
	assert.ok((attributes.communities ?? []).every((community) => isIn(community, 0xffffffff)));
	for (const segment of attributes.asPath) {
		assert.ok(segment.asNumbers.length > 0);
		for (const asNumber of segment.asNumbers) assert.ok(asNumber > 0 && isIn(asNumber, 0xffffffff));
	}
	for (const announced of message.announced) {
		assert.equal(canonicalAddress(announced.nextHop), announced.nextHop);
		// What was received can be passed on.
		encodeUpdates({ attributes, announced }, options);
	}
};

const mutate = (
	bytes: Uint8Array,
	edits: readonly (readonly [kind: number, at: number, value: number])[],
): Uint8Array => {
	let list = [...bytes];
	for (const [kind, at, value] of edits) {
		const index = list.length === 0 ? 0 : at % list.length;
		if (kind === 0) list[index] = value;
		else if (kind === 1) list.splice(index, 1);
		else if (kind === 2) list.splice(index, 0, value);
		else list = list.slice(0, index);
	}
	return Uint8Array.from(list);
};

const edits = fc.array(
	fc.tuple(
		fc.constantFrom(0, 0, 0, 1, 2, 3),
		fc.nat(70_000),
		fc.oneof(fc.integer({ min: 0, max: 255 }), fc.constantFrom(0, 255)),
	),
	{ minLength: 1, maxLength: 6 },
);

test('no bytes make the decoder throw or give a value out of range', () => {
	fc.assert(
		fc.property(fc.integer({ min: 0, max: 6 }), fc.uint8Array({ maxLength: 200 }), optionsArbitrary, decodesSanely),
		{ numRuns: 5000 },
	);
});

test('no attribute list makes the decoder throw or give a value out of range', () => {
	const attribute = fc
		.tuple(
			fc.constantFrom(0x40, 0x80, 0xc0, 0x50, 0xd0),
			fc.oneof(fc.integer({ min: 1, max: 18 }), fc.constantFrom(32, 99)),
			fc.uint8Array({ maxLength: 24 }),
		)
		.map(([flags, code, value]) => [flags, code, ...(flags & 0x10 ? [0] : []), value.length, ...value]);
	const body = fc.tuple(fc.array(attribute, { maxLength: 8 }), fc.uint8Array({ maxLength: 10 })).map(([list, nlri]) => {
		const attributes = [0x40, 1, 1, 0, 0x40, 2, 0, 0x40, 3, 4, 10, 0, 0, 1, ...list.flat()];
		return Uint8Array.of(0, 0, attributes.length >> 8, attributes.length & 255, ...attributes, ...nlri);
	});
	fc.assert(
		fc.property(body, optionsArbitrary, (bytes, options) => decodesSanely(2, bytes, options)),
		{ numRuns: 5000 },
	);
});

test('no damaged message makes the decoder throw or give a value out of range', () => {
	fc.assert(
		fc.property(smallMessageArbitrary, edits, (value, changes) => {
			const whole = encodeMessage(value);
			decodesSanely(whole[18] as number, mutate(whole.subarray(19), changes), OPTIONS);
		}),
		{ numRuns: 2000 },
	);
	fc.assert(
		fc.property(updateArbitrary, edits, ({ options, update }, changes) => {
			for (const whole of encodeUpdates(update, options))
				decodesSanely(2, mutate(whole.subarray(19), changes), options);
		}),
		{ numRuns: 3000 },
	);
});

test('the framer gives the same whatever the chunks', () => {
	const drain = (chunks: readonly Uint8Array[]): unknown[] => {
		const framer = createFramer(4096);
		const results: unknown[] = [];
		for (const chunk of chunks) {
			framer.push(chunk);
			for (let result = framer.next(); result !== undefined; result = framer.next()) {
				if (!result.ok) return [...results, result];
				results.push({ type: result.value.type, body: [...result.value.body] });
			}
		}
		return results;
	};
	const stream = fc
		.tuple(fc.array(smallMessageArbitrary, { maxLength: 6 }), fc.uint8Array({ maxLength: 30 }))
		.map(([messages, garbage]) =>
			Uint8Array.from([...messages.flatMap((message) => [...encodeMessage(message)]), ...garbage]),
		);
	fc.assert(
		fc.property(stream, fc.array(fc.nat(600), { maxLength: 20 }), fc.boolean(), (bytes, cuts, singly) => {
			const places = singly
				? Array.from(bytes, (_, i) => i)
				: cuts.map((cut) => Math.min(cut, bytes.length)).sort((a, b) => a - b);
			const chunks = [0, ...places].map((from, i) => bytes.subarray(from, [...places, bytes.length][i]));
			assert.deepEqual(drain(chunks), drain([bytes]));
		}),
		{ numRuns: 500 },
	);
});
