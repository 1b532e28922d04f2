import { CEASE } from 'bgp-js-lite';
import type { PeerSession } from '../peer-session-types.ts';
import type { Bfd } from './bfd.ts';
import type { BfdSessionStatus, BfdStateChange } from './types.ts';

/**
 * What BFD means for BGP sessions (RFC 5882). A BFD session that goes down ends the BGP session, except when the peer took
 * it down on purpose (§3.2). Without its C bit the peer's BFD may have died with its BGP alone: with graceful restart
 * that is a restart, its routes stay (§4.3), if the peer's configuration does not say otherwise.
 */

export type PeerWatch = {
	/** Brings BFD in line with the peer's configuration; `localAddress`: as its session has it. */
	readonly follow: (peer: PeerSession, localAddress?: string) => void;
	readonly forget: (peer: string) => void;
	readonly status: () => ReadonlyMap<string, BfdSessionStatus>;
};

export const createPeerWatch = (bfd: Bfd): PeerWatch => {
	/** Our address on the last session of peers that have none configured. */
	const seen = new Map<string, string>();
	const watched = new Set<string>();

	const changed = (peer: PeerSession, change: BfdStateChange): void => {
		const { bfd: settings } = peer.config;
		if (change.previous !== 'Up' || change.state !== 'Down' || change.remoteAdminDown || settings === undefined) return;
		const negotiated = peer.negotiated();
		const restartable = negotiated === undefined || (negotiated.gracefulRestart?.families.size ?? 0) > 0;
		peer.dead({
			reason: `BFD went down: ${change.reason}`,
			subcode: CEASE.bfdDown,
			keepRoutes: settings.gracefulRestart && !change.remoteControlPlaneIndependent && restartable,
		});
	};

	const forget = (name: string): void => {
		seen.delete(name);
		if (watched.delete(name)) bfd.removeSession(name);
	};

	return {
		follow: (peer, sessionAddress) => {
			const { name, address, interface: device, bfd: settings, localAddress: configured } = peer.config;
			if (sessionAddress !== undefined) seen.set(name, sessionAddress);
			const localAddress = configured ?? seen.get(name);
			if (settings === undefined) {
				forget(name);
				return;
			}
			// Which of our addresses it will be is known once there is a session.
			if (localAddress === undefined || address === '') return;
			watched.add(name);
			bfd.addSession({
				peer: name,
				address,
				localAddress,
				...(device !== undefined && { interface: device }),
				multihop: settings.multihop,
				profile: settings.profile,
				onState: (change) => changed(peer, change),
			});
		},
		forget,
		status: () => new Map(bfd.status().map((session) => [session.peer, session])),
	};
};
