import type { PeerSession } from './peer-session-types.ts';
import type { Connection } from './transport/transport.ts';

/** Whose an accepted connection is: peers by their address, found at once however many there are. */

export type Acceptor = {
	/** The peer that is configured for its addresses, and for the interface where those are link-local. */
	readonly peerOf: (connection: Connection) => PeerSession | undefined;
	/** Peers came or went, or have other addresses. */
	readonly changed: () => void;
};

export const createAcceptor = (peers: ReadonlyMap<string, PeerSession>): Acceptor => {
	let byAddress: Map<string, PeerSession[]> | undefined;

	const at = (address: string): readonly PeerSession[] => {
		if (byAddress === undefined) {
			byAddress = new Map();
			for (const peer of peers.values()) {
				const others = byAddress.get(peer.config.address);
				if (others === undefined) byAddress.set(peer.config.address, [peer]);
				else others.push(peer);
			}
		}
		return byAddress.get(address) ?? [];
	};

	return {
		peerOf: (connection) => {
			const candidates = at(connection.remoteAddress).filter(
				({ config: { interface: dev = '' } }) => connection.interface === '' || dev === connection.interface,
			);
			return (
				candidates.find(({ config: { localAddress } }) => localAddress === connection.localAddress) ??
				candidates.find(({ config: { localAddress } }) => localAddress === undefined) ??
				candidates[0]
			);
		},
		changed: () => {
			byAddress = undefined;
		},
	};
};
