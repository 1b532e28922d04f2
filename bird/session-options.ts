import type { PeerConfig, SpeakerConfig } from './config.ts';
import { minimumTtlOf } from './configured-peers.ts';
import type { PeerRules } from './rib/types.ts';
import type { Cause } from './session/fsm.ts';
import type { LocalOpen } from './session/open.ts';
import type { DialTarget } from './transport/transport.ts';

/** What a peer's configuration makes of its connections, its OPEN and what it is told. Pure. */

export const localOpen = (speaker: SpeakerConfig, peer: PeerConfig): LocalOpen => ({
	asNumber: peer.localAS?.asNumber ?? speaker.asNumber,
	bgpIdentifier: speaker.routerId,
	peerAS: peer.asNumber,
	holdTime: peer.holdTime,
	families: peer.families,
	restartTime: peer.restartTime,
	...(peer.keepaliveTime !== undefined && { keepaliveTime: peer.keepaliveTime }),
	...(peer.role && { role: peer.role }),
	...(peer.strictRole && { strictRole: true }),
	...(peer.addPath && { addPath: { send: peer.addPath.sendPaths > 0, receive: peer.addPath.receive } }),
});

export const rulesOf = (peer: PeerConfig, speaker: SpeakerConfig): PeerRules => ({
	...(peer.rejectExport && { reject: true }),
	...(peer.localAS && { localAS: { asNumber: peer.localAS.asNumber, replaceAS: peer.localAS.replaceAS } }),
	...(peer.asOverride && { asOverride: true }),
	...(peer.removePrivateAS && { removePrivateAS: true }),
	...((peer.gracefulShutdown || speaker.gracefulShutdown) && { gracefulShutdown: true }),
	...(peer.role && { role: peer.role }),
	...(peer.nextHop && { nextHop: peer.nextHop }),
});

/** A signature or TTL that does not fit shows as silence: the kernel drops the segments. */
export const silenceHint = ({ kind, notification }: Cause, { password, ttlSecurity }: PeerConfig): string => {
	if (kind !== 'tcp' || notification !== undefined) return '';
	if (password !== undefined) return ' (is the password the same on both sides?)';
	return ttlSecurity === undefined ? '' : ` (does the peer send with TTL 255, at most ${ttlSecurity} hops away?)`;
};

export const dialTarget = (peer: PeerConfig): DialTarget => ({
	address: peer.address,
	port: peer.port,
	...(peer.interface && { interface: peer.interface }),
	...(peer.localAddress && { localAddress: peer.localAddress }),
	...(peer.password !== undefined && { password: peer.password }),
	...(peer.ttlSecurity !== undefined && { minimumTtl: minimumTtlOf(peer.ttlSecurity) }),
});
