import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { decodeMessage, encodeMessage, type OpenMessage } from 'bgp-js-lite';
import { type LocalOpen, negotiate, openMessage } from '../../bird/session/open.ts';

const local: LocalOpen = {
	asNumber: 64512,
	bgpIdentifier: '192.0.2.1',
	peerAS: 64513,
	holdTime: 90,
	families: ['1/1', '2/1'],
	restartTime: 120,
};
const theirs = (change: Partial<OpenMessage> = {}): OpenMessage => ({
	type: 'OPEN',
	version: 4,
	asNumber: 64513,
	holdTime: 30,
	bgpIdentifier: '192.0.2.2',
	capabilities: [{ code: 1, afi: 1, safi: 1 }, { code: 2 }, { code: 65, asNumber: 64513 }],
	...change,
});

describe('OPEN (RFC 4271 §6.2)', () => {
	it('agrees on the smaller hold time, the common families and what both can', () => {
		const result = negotiate(theirs(), local);
		assert.ok(result.ok);
		assert.equal(result.negotiated.holdTime, 30);
		assert.equal(result.negotiated.keepaliveTime, 10);
		assert.deepEqual([...result.negotiated.families], ['1/1']);
		assert.equal(result.negotiated.routeRefresh, true);
		assert.equal(result.negotiated.codec.fourOctetAs, true);
		assert.equal(result.negotiated.gracefulRestart, undefined);
	});

	it('takes a peer without capabilities for IPv4 unicast with 2-octet AS numbers', () => {
		const result = negotiate(theirs({ capabilities: [] }), local);
		assert.ok(result.ok);
		assert.deepEqual([...result.negotiated.families], ['1/1']);
		assert.equal(result.negotiated.codec.fourOctetAs, false);
	});

	it('reads the AS number from capability 65 (RFC 6793)', () => {
		const open = theirs({ asNumber: 23456, capabilities: [{ code: 65, asNumber: 4_200_000_001 }] });
		assert.ok(negotiate(open, { ...local, peerAS: 4_200_000_001 }).ok);
	});

	it('lets both have no hold timer when one wants none', () => {
		const result = negotiate(theirs({ holdTime: 0 }), local);
		assert.ok(result.ok);
		assert.equal(result.negotiated.holdTime, 0);
	});

	it('takes the last graceful restart capability where there are several (RFC 4724 §3)', () => {
		const gr = { code: 64, restartState: false, notification: false, restartTime: 1, families: [] } as const;
		const last = {
			...gr,
			restartState: true,
			restartTime: 300,
			families: [{ afi: 1, safi: 1, forwardingState: true }],
		};
		const result = negotiate(theirs({ capabilities: [gr, last] }), local);
		assert.ok(result.ok);
		assert.deepEqual(result.negotiated.gracefulRestart, {
			restartState: true,
			notification: false,
			restartTime: 300,
			families: new Map([['1/1', true]]),
		});
	});

	const refused: [string, Partial<OpenMessage>, Partial<LocalOpen>, string, number[]][] = [
		['another version', { version: 3 }, {}, '2/1', [0, 4]],
		['another AS', { capabilities: [{ code: 65, asNumber: 70000 }] }, {}, '2/2', [0, 1, 0x11, 0x70]],
		['another AS in 2 octets', { asNumber: 64999, capabilities: [] }, {}, '2/2', [0, 0, 0xfd, 0xe7]],
		['identifier 0.0.0.0', { bgpIdentifier: '0.0.0.0' }, {}, '2/3', [0, 0, 0, 0]],
		[
			'our identifier in our AS',
			{ bgpIdentifier: '192.0.2.1', asNumber: 64512, capabilities: [] },
			{ peerAS: 64512 },
			'2/3',
			[192, 0, 2, 1],
		],
		['a hold time of 2 s', { holdTime: 2 }, {}, '2/6', [0, 2]],
		['no common family', {}, { families: ['2/1'] }, '2/7', [1, 4, 0, 2, 0, 1]],
	];
	for (const [what, open, change, codes, data] of refused) {
		it(`refuses ${what} with ${codes}`, () => {
			const result = negotiate(theirs(open), { ...local, ...change });
			assert.ok(!result.ok);
			const { notification } = result.error;
			assert.equal(`${notification.code}/${notification.subcode}`, codes);
			assert.deepEqual([...notification.data], data);
		});
	}

	it('accepts our identifier from another AS (RFC 6286 §2.1)', () => {
		assert.ok(negotiate(theirs({ bgpIdentifier: '192.0.2.1' }), local).ok);
	});

	it('says in ours what we can, restarting or not, and survives the wire', () => {
		const open = openMessage({ ...local, asNumber: 4_200_000_001 }, true);
		assert.equal(open.asNumber, 23456);
		const decoded = decodeMessage(1, encodeMessage(open).subarray(19), {
			fourOctetAs: true,
			ibgp: false,
			maxMessageLength: 4096,
		});
		assert.ok(decoded.ok);
		assert.deepEqual(decoded.value, open);
		assert.deepEqual(
			open.capabilities.find((c) => c.code === 64),
			{
				code: 64,
				restartState: true,
				notification: true,
				restartTime: 120,
				families: [
					{ afi: 1, safi: 1, forwardingState: true },
					{ afi: 2, safi: 1, forwardingState: true },
				],
			},
		);
	});
});
