import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { createRib } from '../../bird/rib/rib.ts';
import type { Negotiated } from '../../bird/session/open.ts';
import { createStaleRoutes, EMPTY_MS } from '../../bird/stale-routes.ts';
import type { Timers } from '../../bird/timers.ts';
import type { Logger } from '../../src/logging.ts';

/** The helper's side of graceful restart (RFC 4724 §4.2), with a clock of its own. */

const families = new Set(['1/1', '2/1']);
const back = {
	families,
	gracefulRestart: {
		restartState: true,
		notification: false,
		restartTime: 60,
		families: new Map([...families].map((family) => [family, true])),
	},
} as unknown as Negotiated;
const routes = { 4: '198.51.100.0/24', 6: '2001:db8:99::/48' } as const;

const createPeer = () => {
	let now = 0;
	const timeouts = new Set<{ at: number; expired: () => void }>();
	const timers: Timers = {
		now: () => now,
		soon: () => {},
		random: () => 0,
		start: (milliseconds, expired) => {
			const timeout = { at: now + milliseconds, expired };
			timeouts.add(timeout);
			return { refresh: () => {}, cancel: () => timeouts.delete(timeout) };
		},
	};
	const log: Logger = { debug: () => {}, info: () => {}, warn: () => {}, error: () => {}, child: () => log };
	const rib = createRib({ asNumber: 64512, maximumPaths: 1 });
	rib.addPeer({
		source: { peer: 'tor', kind: 'ebgp', bgpIdentifier: '192.0.2.2', peerAddress: '192.0.2.2' },
		families,
		exportLearnt: false,
		peerAS: 65001,
		nextHopSelf: {},
	});
	const stale = createStaleRoutes({ peer: 'tor', rib, timers, log, changed: () => {} });
	const announce = (family: 4 | 6): void => {
		const nextHop = family === 4 ? '192.0.2.2' : '2001:db8::2';
		const asPath = [{ type: 'sequence', asNumbers: [65001] }] as const;
		rib.announce('tor', family, [routes[family]], { origin: 'igp', asPath, nextHop });
		stale.told(family);
	};
	announce(4);
	announce(6);
	stale.keep({ families, seconds: 60 });
	return {
		stale,
		announce,
		held: () => rib.adjRibIn('tor').map(({ prefix }) => prefix),
		isStale: () => rib.adjRibIn('tor').some((path) => path.stale),
		pass: (milliseconds: number) => {
			now += milliseconds;
			for (const timeout of [...timeouts]) {
				if (timeout.at > now || !timeouts.delete(timeout)) continue;
				timeout.expired();
			}
		},
		timeouts,
	};
};

describe('routes of a peer that restarted', () => {
	it('go with the End-of-RIB of their family, those it told again stay', () => {
		const { stale, announce, held } = createPeer();
		stale.back(back);
		announce(4);
		stale.endOfRib('1/1');
		assert.deepEqual(held(), [routes[4], routes[6]]);
		announce(4);
		stale.told(6);
		stale.endOfRib('2/1');
		assert.deepEqual(held(), [routes[4]]);
	});

	it('outlast an End-of-RIB before which no route of the family was told: FRR loads its route-maps after it', () => {
		const { stale, announce, held, isStale, pass, timeouts } = createPeer();
		stale.back(back);
		announce(4);
		stale.endOfRib('2/1');
		stale.endOfRib('1/1');
		pass(EMPTY_MS - 1);
		assert.deepEqual(held(), [routes[4], routes[6]]);
		announce(6);
		pass(1);
		assert.deepEqual(held(), [routes[4], routes[6]]);
		assert.equal(isStale(), false);
		assert.equal(timeouts.size, 0);
	});

	it('go when it tells none in the moment after', () => {
		const { stale, held, pass } = createPeer();
		stale.back(back);
		stale.endOfRib('2/1');
		stale.endOfRib('1/1');
		pass(EMPTY_MS);
		assert.deepEqual(held(), []);
	});

	it('are kept as before when its session ends in that moment', () => {
		const { stale, announce, held, isStale, pass } = createPeer();
		stale.back(back);
		stale.endOfRib('2/1');
		announce(4);
		announce(6);
		stale.keep({ families, seconds: 60 });
		pass(EMPTY_MS);
		assert.deepEqual([held().length, isStale()], [2, true]);
		pass(60_000);
		assert.deepEqual(held(), []);
	});
});
