import { familyOf } from '../src/net/ip.ts';
import type { SpeakerConfig } from './config.ts';
import type { Rib, RibFamily } from './rib/types.ts';

/**
 * Host routes to peers by a gateway, for peers that no route leads to until they have told some. They are paths like any
 * other, of a peer that does not exist: the best there are, and told to nobody.
 */

export type StaticRoutes = { readonly want: (routes: SpeakerConfig['reachable']) => void };

const name = 'static';
const NO_ADVERTISE = 0xffffff02;
const highest = 0xffffffff;

export const createStaticRoutes = (rib: Pick<Rib, 'addPeer' | 'announce' | 'withdraw'>): StaticRoutes => {
	let known = new Map<string, string>();
	let added = false;
	return {
		want: (routes = []) => {
			if (!added && routes.length === 0) return;
			if (!added) {
				rib.addPeer({
					source: { peer: name, kind: 'ebgp', bgpIdentifier: '0.0.0.0', peerAddress: '' },
					families: new Set(),
					exportLearnt: false,
					peerAS: 0,
					nextHopSelf: {},
				});
				added = true;
			}
			const next = new Map(routes.map(({ prefix, via }) => [prefix, via]));
			const familyIs = (prefix: string): RibFamily => familyOf(prefix);
			for (const prefix of known.keys()) if (!next.has(prefix)) rib.withdraw(name, familyIs(prefix), [prefix]);
			for (const [prefix, nextHop] of next) {
				const attributes = {
					origin: 'igp',
					asPath: [],
					nextHop,
					localPref: highest,
					communities: [NO_ADVERTISE],
				} as const;
				rib.announce(name, familyIs(prefix), [prefix], attributes);
			}
			known = next;
		},
	};
};
