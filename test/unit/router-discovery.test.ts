import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { encodeAdvertisement, encodeSolicitation, readDiscovery } from '../../bird/discovery/advertisement.ts';
import { createRouterDiscovery } from '../../bird/discovery/router-discovery.ts';
import type { Timers } from '../../bird/timers.ts';
import { createUnnumbered } from '../../bird/unnumbered.ts';
import type { Logger } from '../../src/logging.ts';
import { routerPeer } from '../interop/harness.ts';

const silent: Logger = { debug: () => {}, info: () => {}, warn: () => {}, error: () => {}, child: () => silent };

/** A clock that only the test moves. */
const clock = () => {
	let now = 0;
	let waiting: { at: number; run: () => void }[] = [];
	const timers: Timers = {
		now: () => now,
		start: (milliseconds, run) => {
			const timer = { at: now + milliseconds, run };
			waiting.push(timer);
			const cancel = (): void => {
				waiting = waiting.filter((one) => one !== timer);
			};
			return { refresh: () => {}, cancel };
		},
		soon: (task) => task(),
		random: () => 0,
	};
	const pass = (milliseconds: number): void => {
		const end = now + milliseconds;
		for (;;) {
			const [next] = waiting.toSorted((a, b) => a.at - b.at);
			if (next === undefined || next.at > end) break;
			waiting = waiting.filter((one) => one !== next);
			now = next.at;
			next.run();
		}
		now = end;
	};
	return { timers, pass };
};

describe('messages of router discovery', () => {
	for (const [what, hex, expected] of [
		['an advertisement', '86000000000000000000000000000000', 'advertisement'],
		['one of FRR, with its link-layer address', '8600a5f40000001e00000000000000000101b2d6a12c3d4e', 'advertisement'],
		['a solicitation', '8500000000000000', 'solicitation'],
		['too short an advertisement', '860000000000000000000000000000', undefined],
		['an option of no length', '8600000000000000000000000000000001000000000000', undefined],
		['an option beyond the end', '860000000000000000000000000000000102000000000000', undefined],
		['a code', '86010000000000000000000000000000', undefined],
		['another message', '87000000000000000000000000000000', undefined],
		['nothing', '', undefined],
	] as const) {
		it(what, () => assert.equal(readDiscovery(Buffer.from(hex, 'hex')), expected));
	}
	it('ours are what they should be, with router lifetime 0', () => {
		assert.equal(readDiscovery(encodeSolicitation()), 'solicitation');
		const bytes = encodeAdvertisement();
		assert.equal(readDiscovery(bytes), 'advertisement');
		assert.deepEqual([...bytes.subarray(6, 8)], [0, 0]);
	});
	it('any bytes are read to an end', () => {
		fc.assert(fc.property(fc.uint8Array({ maxLength: 1600 }), (bytes) => void readDiscovery(bytes)));
	});
});

describe('router discovery', () => {
	const setup = () => {
		const { timers, pass } = clock();
		const sent: string[] = [];
		const inbox: { link: string; source: string; bytes: Uint8Array }[] = [];
		const heard: string[] = [];
		const discovery = createRouterDiscovery({
			timers,
			log: silent,
			open: () => ({
				ok: true,
				socket: {
					send: (link, group) => {
						sent.push(`${link} ${group}`);
						return '';
					},
					receive: () => inbox.shift(),
					join: () => {},
					close: () => {},
				},
			}),
			heard: (link, address) => heard.push(`${link} ${address}`),
		});
		const count = (what: string): number => sent.filter((one) => one === what).length;
		return { discovery, pass, sent, inbox, heard, count };
	};

	it('asks and tells at once, a few times quickly, then every ten seconds, and no more when it is not wanted', () => {
		const { discovery, pass, sent, count } = setup();
		discovery.follow(new Set(['eth0']));
		assert.deepEqual(sent, ['eth0 allNodes', 'eth0 allRouters']);
		pass(5_000);
		assert.deepEqual([count('eth0 allNodes'), count('eth0 allRouters')], [4, 4]);
		pass(100_000);
		assert.deepEqual([count('eth0 allNodes'), count('eth0 allRouters')], [14, 4]);
		discovery.follow(new Set());
		const before = sent.length;
		pass(60_000);
		assert.equal(sent.length, before);
	});

	it('answers whoever asks, but a flood of questions no faster than every three seconds', () => {
		const { discovery, pass, inbox, count } = setup();
		discovery.follow(new Set(['eth0']));
		pass(5_000);
		const before = count('eth0 allNodes');
		for (let second = 0; second < 6; second++) {
			for (let i = 0; i < 1000; i++) inbox.push({ link: 'eth0', source: 'fe80::2', bytes: encodeSolicitation() });
			pass(1_000);
		}
		assert.ok(count('eth0 allNodes') - before <= 3);
	});

	it('tells of routers on its links, by link-local addresses only', () => {
		const { discovery, pass, inbox, heard } = setup();
		discovery.follow(new Set(['eth0']));
		const bytes = encodeAdvertisement();
		inbox.push({ link: 'eth0', source: 'fe80::2', bytes });
		inbox.push({ link: 'eth1', source: 'fe80::3', bytes });
		inbox.push({ link: 'eth0', source: '2001:db8::4', bytes });
		pass(1_000);
		assert.deepEqual(heard, ['eth0 fe80::2']);
	});
});

describe('peers known by their link', () => {
	it('one router a link: another takes its place when it has been silent and has no session', () => {
		const { timers, pass } = clock();
		const found: string[] = [];
		let busy = false;
		const unnumbered = createUnnumbered({
			timers,
			log: silent,
			inUse: () => busy,
			found: (_, address) => found.push(address),
		});
		const peer = routerPeer({ address: '', interface: 'eth0' });
		unnumbered.follow([peer]);
		assert.equal(unnumbered.resolve(peer).address, '');
		unnumbered.heard('eth1', 'fe80::9');
		unnumbered.heard('eth0', 'fe80::2');
		unnumbered.heard('eth0', 'fe80::3');
		assert.deepEqual(found, ['fe80::2']);
		assert.equal(unnumbered.resolve(peer).address, 'fe80::2');
		busy = true;
		pass(60_000);
		unnumbered.heard('eth0', 'fe80::3');
		assert.deepEqual(found, ['fe80::2']);
		busy = false;
		unnumbered.heard('eth0', 'fe80::3');
		assert.deepEqual(found, ['fe80::2', 'fe80::3']);
		unnumbered.follow([]);
		unnumbered.follow([peer]);
		assert.equal(unnumbered.resolve(peer).address, '');
	});
});
