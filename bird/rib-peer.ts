import { isLinkLocal } from '../src/net/ip.ts';
import type { PeerConfig, SpeakerConfig } from './config.ts';
import { ownNextHops } from './own-next-hops.ts';
import type { RibPeer } from './rib/types.ts';
import type { Negotiated } from './session/open.ts';
import { rulesOf } from './session-options.ts';

/** What the RIB is to know of a peer whose session is up: by its configuration and what both agreed on. Pure. */

export type Established = {
	readonly config: PeerConfig;
	readonly speaker: SpeakerConfig;
	readonly negotiated: Negotiated;
	readonly localAddress: string;
	/** Global addresses on the link of ours. */
	readonly besides: readonly string[];
	/** Routes of others are held back. */
	readonly deferring: boolean;
};

export const ribPeerOf = ({ config, speaker, negotiated, localAddress, besides, deferring }: Established): RibPeer => ({
	source: {
		peer: config.name,
		kind: negotiated.ibgp ? 'ibgp' : 'ebgp',
		bgpIdentifier: negotiated.bgpIdentifier,
		peerAddress: config.address,
		...(config.routeReflectorClient && { client: true }),
		...(config.allowOwnAS && { allowOwnAS: config.allowOwnAS }),
	},
	families: negotiated.families,
	exportLearnt: config.exportLearnt && !deferring,
	peerAS: negotiated.peerAS,
	nextHopSelf: ownNextHops(speaker.addresses, localAddress, besides, negotiated),
	rules: rulesOf(config, speaker),
	...(config.importFilter && { importFilter: config.importFilter }),
	...(config.exportFilter && { exportFilter: config.exportFilter }),
	...(config.rejectImport && { rejectImport: true }),
	...(negotiated.codec.addPathSend &&
		config.addPath && {
			addPath: { families: negotiated.codec.addPathSend, paths: config.addPath.sendPaths },
		}),
	extendedNextHop: negotiated.extendedNextHop,
	...(isLinkLocal(localAddress) && { linkLocalSelf: localAddress }),
});
