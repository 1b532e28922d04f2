import type { Logger } from '../src/logging.ts';
import type { PeerConfig } from './config.ts';
import type { RouterDiscovery } from './discovery/router-discovery.ts';
import type { Timers } from './timers.ts';

/**
 * Peers that are known by their link alone: which address the router there has, as router discovery or a connection of its
 * own tells. One router a link: another one takes its place only when it has been silent and has no session.
 */

export type Unnumbered = {
	/** Replaces the peers; those with an address are none of ours. */
	readonly follow: (peers: readonly PeerConfig[]) => void;
	/** With the address of its router, where that is known. */
	readonly resolve: (peer: PeerConfig) => PeerConfig;
	/** The router of a link showed itself: by an advertisement, or by a connection from there. */
	readonly heard: (link: string, address: string) => void;
	/** Why a peer has no address yet. */
	readonly missing: (peer: PeerConfig) => string;
	readonly stop: () => void;
};

export type UnnumberedPorts = {
	readonly timers: Pick<Timers, 'now'>;
	readonly log: Logger;
	readonly discover?: ((heard: Unnumbered['heard']) => RouterDiscovery) | undefined;
	/** Whether a session goes by this link just now. */
	readonly inUse: (link: string) => boolean;
	/** The router of a link has an address, or another one. */
	readonly found: (link: string, address: string) => void;
};

/** Without an advertisement for so long a router is gone; FRR sends one every 10 s. */
const SILENT_MS = 30_000;

export const createUnnumbered = ({ timers, log, discover, inUse, found }: UnnumberedPorts): Unnumbered => {
	const routers = new Map<string, { readonly address: string; at: number }>();
	/** Links where there was more than one router, told once. */
	const crowded = new Set<string>();
	let links: ReadonlySet<string> = new Set();
	let discovery: RouterDiscovery | undefined;

	const heard = (link: string, address: string): void => {
		if (!links.has(link)) return;
		const known = routers.get(link);
		const now = timers.now();
		if (known?.address === address) {
			known.at = now;
			return;
		}
		if (known !== undefined && (inUse(link) || now - known.at < SILENT_MS)) {
			if (crowded.has(link)) return;
			crowded.add(link);
			const why = `there are two routers on ${link}, ${known.address} and ${address}: the first is taken`;
			log.warn({ link, address }, `${why}; give a peer of its address for each`);
			return;
		}
		routers.set(link, { address, at: now });
		crowded.delete(link);
		log.info({ link, address }, `the router on ${link} is ${address}`);
		found(link, address);
	};

	return {
		follow: (peers) => {
			links = new Set(peers.flatMap(({ address, interface: link }) => (address === '' && link ? [link] : [])));
			for (const link of routers.keys()) if (!links.has(link)) routers.delete(link);
			if (discovery === undefined && links.size > 0) discovery = discover?.(heard);
			discovery?.follow(links);
		},
		resolve: (peer) =>
			peer.address !== '' ? peer : { ...peer, address: routers.get(peer.interface ?? '')?.address ?? '' },
		heard,
		missing: ({ interface: link = '' }) =>
			discovery?.problem(link) || `no router has been heard on ${link}: does it send router advertisements there?`,
		stop: () => discovery?.stop(),
	};
};
