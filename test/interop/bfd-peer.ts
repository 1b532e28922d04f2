import type { BfdProfile } from '../../bird/bfd/types.ts';
import { defaultBfdProfile } from '../../bird/bfd/types.ts';
import type { PeerBfd } from '../../bird/config.ts';
import type { BfdSessionStatus } from '../../bird/index.ts';
import type { OurSpeaker } from './harness.ts';

/** What the BFD tests with BIRD and FRR share. */

export const bfd = (extra: Partial<PeerBfd> = {}, profile: Partial<BfdProfile> = {}): PeerBfd => ({
	multihop: false,
	gracefulRestart: true,
	profile: { ...defaultBfdProfile, ...profile },
	...extra,
});

export const bfdOf = async (ours: OurSpeaker): Promise<BfdSessionStatus | undefined> =>
	(await ours.status()).sessions[0]?.bfd;

export const sessionOf = async (ours: OurSpeaker) => {
	const [session] = (await ours.status()).sessions;
	if (session === undefined) throw new Error('the speaker has no session');
	return session;
};

/** Both ends are up and the faster pace is agreed. */
export const isUp = async (ours: OurSpeaker): Promise<boolean> => {
	const session = await bfdOf(ours);
	return session?.state === 'Up' && session.remote.state === 'Up' && session.remote.transmitInterval < 1000;
};
