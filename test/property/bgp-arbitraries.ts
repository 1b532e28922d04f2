import type { AsPathSegment, Capability, CodecOptions, Nlri, PathAttributes } from 'bgp-js-lite';
import fc from 'fast-check';
import { addressFromBytes, canonicalCidr } from '../../src/net/ip.ts';

export const u8 = fc.integer({ min: 0, max: 0xff });
export const u16 = fc.integer({ min: 0, max: 0xffff });
export const u32 = fc.integer({ min: 0, max: 0xffffffff });
const asNumber = fc.oneof(fc.integer({ min: 1, max: 0xffff }), fc.integer({ min: 0x10000, max: 0xffffffff }));
const octets = (length: number) => fc.uint8Array({ minLength: length, maxLength: length });

export const v4 = octets(4).map((bytes) => addressFromBytes(bytes, 4));
const v4Host = octets(4)
	.filter(([first = 0]) => first !== 0 && first !== 127 && first < 224)
	.map((bytes) => addressFromBytes(bytes, 4));
/** Zero groups are likely: they are what shortening is about. */
export const v6 = fc
	.array(fc.oneof({ weight: 2, arbitrary: fc.constant(0) }, u16), { minLength: 8, maxLength: 8 })
	.map((groups) => addressFromBytes(Uint8Array.from(groups.flatMap((group) => [group >> 8, group & 255])), 6));
const v6Host = v6.filter((text) => text !== '::' && text !== '::1' && !text.startsWith('ff'));
const linkLocal = v6.map((text) => `fe80::${text.split(':').at(-1) || '1'}`).filter((text) => !text.includes('::0'));

const prefix = (address: fc.Arbitrary<string>, bits: number): fc.Arbitrary<string> =>
	fc
		.tuple(address, fc.integer({ min: 0, max: bits }))
		.map(([text, length]) => canonicalCidr(`${text}/${length}`) as string);
export const v4Prefix = prefix(v4, 32);
export const v6Prefix = prefix(v6, 128);

const nlri = (arbitrary: fc.Arbitrary<string>, addPath: boolean): fc.Arbitrary<readonly Nlri[]> =>
	fc.array(addPath ? fc.record({ prefix: arbitrary, pathId: u32 }) : fc.record({ prefix: arbitrary }), {
		minLength: 1,
		maxLength: 30,
	});

const segments = (types: readonly AsPathSegment['type'][]): fc.Arbitrary<readonly AsPathSegment[]> =>
	fc.array(
		fc.record({
			type: fc.constantFrom(...types),
			asNumbers: fc.array(asNumber, { minLength: 1, maxLength: 20 }),
		}),
		{ maxLength: 5 },
	);

export const optionsArbitrary: fc.Arbitrary<CodecOptions> = fc
	.record({ fourOctetAs: fc.boolean(), ibgp: fc.boolean(), addPath: fc.boolean(), extended: fc.boolean() })
	.map(({ fourOctetAs, ibgp, addPath, extended }) => {
		const families = new Set(addPath ? ['1/1', '2/1'] : []);
		const maxMessageLength = extended ? 65535 : 4096;
		return { fourOctetAs, ibgp, maxMessageLength, addPathReceive: families, addPathSend: families };
	});

const unknownAttributes = fc
	.uniqueArray(
		fc.record({
			flags: fc.constant(0xe0),
			code: fc.integer({ min: 40, max: 255 }),
			value: fc.uint8Array({ maxLength: 300 }),
		}),
		{ selector: ({ code }) => code, minLength: 1, maxLength: 3 },
	)
	.map((list) => list.sort((a, b) => a.code - b.code));

/** What the session carries as it is: no confederations or local preference to the outside, AS numbers that merge back. */
export const attributesArbitrary = ({ ibgp, fourOctetAs }: CodecOptions): fc.Arbitrary<PathAttributes> =>
	fc.record(
		{
			origin: fc.constantFrom('igp' as const, 'egp' as const, 'incomplete' as const),
			// On a 2-octet session confederation segments survive a merge only at the head.
			asPath: segments(ibgp && fourOctetAs ? ['set', 'sequence', 'confedSequence', 'confedSet'] : ['set', 'sequence']),
			med: u32,
			...(ibgp ? { localPref: u32, originatorId: v4, clusterList: fc.array(v4, { minLength: 1, maxLength: 5 }) } : {}),
			atomicAggregate: fc.constant(true),
			aggregator: fc.record({
				// RFC 6793 §4.2.3: an aggregator of two octets voids AS4_PATH.
				asNumber: fourOctetAs ? asNumber : fc.integer({ min: 0x10000, max: 0xffffffff }),
				address: v4,
			}),
			communities: fc.array(u32, { minLength: 1, maxLength: 100 }),
			extendedCommunities: fc.array(fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }), { minLength: 1, maxLength: 5 }),
			largeCommunities: fc.uniqueArray(fc.tuple(u32, u32, u32), { minLength: 1, maxLength: 5, selector: String }),
			unknown: unknownAttributes,
		},
		{ requiredKeys: ['origin', 'asPath', ...(ibgp ? (['localPref'] as const) : [])] },
	);

export const announcedArbitrary = (options: CodecOptions) => {
	const addPath = options.addPathSend?.has('1/1') ?? false;
	const v4Nlri = nlri(v4Prefix, addPath);
	const v6Nlri = nlri(v6Prefix, addPath);
	const requiredKeys: ('afi' | 'safi' | 'nextHop' | 'nlri')[] = ['afi', 'safi', 'nextHop', 'nlri'];
	const safi = fc.constant(1);
	return fc.oneof(
		fc.record({ afi: fc.constant(1), safi, nextHop: v4Host, nlri: v4Nlri }),
		fc.record(
			{ afi: fc.constant(1), safi, nextHop: v6Host, linkLocalNextHop: linkLocal, nlri: v4Nlri },
			{ requiredKeys },
		),
		fc.record(
			{ afi: fc.constant(2), safi, nextHop: v6Host, linkLocalNextHop: linkLocal, nlri: v6Nlri },
			{ requiredKeys },
		),
	);
};

export const withdrawnArbitrary = (options: CodecOptions) => {
	const addPath = options.addPathSend?.has('1/1') ?? false;
	return fc.oneof(
		fc.record({ afi: fc.constant(1), safi: fc.constant(1), nlri: nlri(v4Prefix, addPath) }),
		fc.record({ afi: fc.constant(2), safi: fc.constant(1), nlri: nlri(v6Prefix, addPath) }),
	);
};

const unknownCapability = fc.record({
	code: fc.integer({ min: 128, max: 255 }),
	unknown: fc.constant(true as const),
	value: fc.uint8Array({ maxLength: 255 }),
});

export const capabilityArbitrary: fc.Arbitrary<Capability> = fc.oneof(
	fc.record({ code: fc.constant(1 as const), afi: u16, safi: u8 }),
	fc.constantFrom({ code: 2 as const }, { code: 6 as const }, { code: 70 as const }),
	fc.record({
		code: fc.constant(5 as const),
		tuples: fc.array(fc.record({ afi: u16, safi: u16, nextHopAfi: u16 }), { maxLength: 4 }),
	}),
	fc.record({
		code: fc.constant(64 as const),
		restartState: fc.boolean(),
		notification: fc.boolean(),
		restartTime: fc.integer({ min: 0, max: 4095 }),
		families: fc.array(fc.record({ afi: u16, safi: u8, forwardingState: fc.boolean() }), { maxLength: 4 }),
	}),
	fc.record({ code: fc.constant(65 as const), asNumber }),
	unknownCapability,
);

export const smallMessageArbitrary = fc.oneof(
	fc.constant({ type: 'KEEPALIVE' as const }),
	fc.record({
		type: fc.constant('OPEN' as const),
		version: fc.constant(4),
		asNumber: fc.integer({ min: 1, max: 0xffff }),
		holdTime: u16.filter((seconds) => seconds !== 1 && seconds !== 2),
		bgpIdentifier: v4.filter((text) => text !== '0.0.0.0'),
		capabilities: fc.array(capabilityArbitrary, { maxLength: 12 }),
	}),
	fc.record({
		type: fc.constant('NOTIFICATION' as const),
		code: u8,
		subcode: u8,
		data: fc.uint8Array({ maxLength: 300 }),
	}),
	fc.record({ type: fc.constant('ROUTE_REFRESH' as const), afi: u16, safi: u8, subtype: u8 }),
);
