import assert from 'node:assert/strict';
import { it } from 'node:test';
import { createCounters } from '../../bird/counters.ts';
import type { PeerSessionStatus, RouteLine } from '../../bird/index.ts';
import { routesText } from '../../src/cli/bgp.ts';
import { inOrder, peersText, peerText } from '../../src/cli/bgp-text.ts';

const now = Date.parse('2026-01-01T01:00:00Z');
const tor: PeerSessionStatus = {
	name: 'peer/tor',
	address: '192.0.2.1',
	asNumber: 64513,
	state: 'Established',
	since: '2026-01-01T00:58:30Z',
	uptimeSeconds: 90,
	lastError: '',
	received: 2,
	receivedByFamily: { 4: 1, 6: 1 },
	advertised: 3,
	holdTime: 90,
	families: ['1/1', '2/1'],
	gracefulRestart: { agreed: true, peerRestartTime: 120, helping: false },
	counters: createCounters().read(),
};
const down: PeerSessionStatus = {
	...tor,
	name: 'peer/up',
	address: '',
	interface: 'eth1',
	state: 'Active',
	lastError: 'the peer reset the connection',
	lastEnd: 'the peer sent NOTIFICATION Cease, Maximum Number of Prefixes Reached',
	received: 0,
	gracefulRestart: { agreed: false, peerRestartTime: 0, helping: false },
	bfd: {
		peer: 'peer/up',
		address: 'fe80::1',
		localAddress: 'fe80::2',
		multihop: false,
		state: 'Down',
		since: '2026-01-01T00:59:00Z',
		lastError: 'nothing came from the peer within the detection time of 900 ms',
		transmitInterval: 1000,
		detectionTime: 900,
		remote: {
			state: 'Down',
			transmitInterval: 0,
			receiveInterval: 0,
			detectMultiplier: 3,
			controlPlaneIndependent: false,
		},
		sent: 5,
		received: 4,
		refused: 0,
	},
};

it('sessions in a table, BFD where there is some, and why one is down', () => {
	assert.equal(
		peersText([tor], now),
		`PEER      ADDRESS    AS     STATE        SINCE   RECEIVED  TOLD
peer/tor  192.0.2.1  64513  Established  1m 30s  2         3`,
	);
	const [, , row = ''] = peersText([tor, down], now).split('\n');
	assert.match(row, /^peer\/up +\(eth1\) +64513 +Active +1m 30s +Down +0 /);
	assert.match(row, /the peer reset the connection; before: the peer sent NOTIFICATION Cease, Maximum Number/);
});

it('one session in detail', () => {
	assert.equal(
		peerText(tor, now),
		`peer              peer/tor, 192.0.2.1, AS 64513
session           Established for 1m 30s
families          IPv4, IPv6
hold time         90 s
routes            2 received (1 IPv4, 1 IPv6), 3 told
graceful restart  agreed, 120 s`,
	);
	assert.match(peerText(down, now), /^BFD +Down for 1m 0s, sent every 1000 ms, dead after 900 ms: nothing came/m);
});

it('routes by prefix, IPv4 first, however many', () => {
	const line = (prefix: string): RouteLine => ({
		prefix,
		peer: 'peer/tor',
		nextHop: '192.0.2.1',
		asPath: '64513',
		origin: 'igp',
		communities: [],
		stale: false,
	});
	const prefixes = ['2001:db8::/64', '10.10.0.0/16', '10.9.0.0/16', '10.9.0.0/24', '9.0.0.0/8'];
	assert.deepEqual(
		inOrder(prefixes.map(line)).map(({ prefix }) => prefix),
		['9.0.0.0/8', '10.9.0.0/16', '10.9.0.0/24', '10.10.0.0/16', '2001:db8::/64'],
	);
	const many = Array.from({ length: 200_000 }, (_, i) => line(`10.${(i >> 8) & 255}.${i & 255}.0/24`));
	assert.equal(routesText(many).split('\n').length, many.length + 1);
});
