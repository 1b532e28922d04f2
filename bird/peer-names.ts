import type { PeerConfig, SpeakerConfig } from './config.ts';

/**
 * What peers are called. A peer that is asked for under another name (one more object names its address, the mesh leaves it to
 * a BGPPeer) is the same peer: it goes on under the name that its session, its routes and its log have, and is shown under the
 * new one. Pure.
 */

export type PeerNames = {
	/** The configuration with the names that are used within. */
	readonly take: (next: SpeakerConfig) => SpeakerConfig;
	/** A name as people know it, of one used within; and back. Names of nobody stay as they are. */
	readonly shown: (name: string) => string;
	readonly within: (shown: string) => string;
	/** Nothing runs any more: names are those of the next configuration. */
	readonly forget: () => void;
};

const samePeer = (a: PeerConfig, b: PeerConfig): boolean =>
	a.address === b.address && a.asNumber === b.asNumber && (a.interface ?? '') === (b.interface ?? '');

export const createPeerNames = (): PeerNames => {
	/** By the name used within. */
	let running = new Map<string, { readonly shown: string; readonly peer: PeerConfig }>();
	/** Names within, by those shown, where they differ. */
	let renamed = new Map<string, string>();

	return {
		take: (next) => {
			const wanted = new Set(next.peers.map(({ name }) => name));
			const withinOf = new Map([...running].map(([name, { shown }]) => [shown, name]));
			const leaving = [...running].filter(([, { shown }]) => !wanted.has(shown));
			const now: typeof running = new Map();
			const taken = new Set(running.keys());
			const peers = next.peers.map((peer) => {
				const shown = peer.name;
				const heir = leaving.findIndex(([, other]) => samePeer(other.peer, peer));
				let name = withinOf.get(shown) ?? (heir < 0 ? undefined : leaving.splice(heir, 1)[0]?.[0]);
				// The old name of another one that goes on under it.
				for (let count = 1; name === undefined; count++) {
					const free = count === 1 ? shown : `${shown}#${count}`;
					if (!taken.has(free)) name = free;
				}
				taken.add(name);
				now.set(name, { shown, peer });
				return name === shown ? peer : { ...peer, name };
			});
			running = now;
			renamed = new Map([...now].flatMap(([name, { shown }]) => (name === shown ? [] : [[shown, name] as const])));
			return { ...next, peers };
		},
		shown: (name) => running.get(name)?.shown ?? name,
		within: (shown) => renamed.get(shown) ?? shown,
		forget: () => {
			running = new Map();
			renamed = new Map();
		},
	};
};
