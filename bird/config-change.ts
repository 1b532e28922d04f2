import type { PeerConfig, SpeakerConfig } from './config.ts';

/** What another configuration means for what runs. Pure. */

const same = (a: unknown, b: unknown): boolean => JSON.stringify(a) === JSON.stringify(b);

/** Changes when all peers are to be told something else. */
export const toldToAll = ({ addresses, gracefulShutdown }: SpeakerConfig): string =>
	JSON.stringify({ addresses, gracefulShutdown });

/** What only a new connection can change. */
const session = (peer: PeerConfig): PeerConfig => {
	const { exportLearnt: _a, routeReflectorClient: _b, prefixLimit: _c, allowOwnAS: _d, ...rest } = peer;
	const { asOverride: _e, removePrivateAS: _f, gracefulShutdown: _g, rejectExport: _h, nextHop: _i, ...more } = rest;
	const { importFilter: _j, exportFilter: _k, rejectImport: _l, ...kept } = more;
	return { ...kept, exportLearnt: false };
};

const withoutPassword = ({ password: _, ...peer }: PeerConfig): object => peer;

/**
 * How a peer changes: `another peer` under the same name, what only a new `session` can bring about, its `password` for
 * another one, what its session takes over as it is (`live`), or `nothing`.
 */
export const changeOf = (
	before: PeerConfig,
	now: PeerConfig,
): 'another peer' | 'session' | 'password' | 'live' | 'nothing' => {
	if (before.address !== now.address || before.asNumber !== now.asNumber) return 'another peer';
	if (same(before, now)) return 'nothing';
	const [old, next] = [session(before), session(now)];
	if (same(old, next)) return 'live';
	const rekeyed = before.password !== undefined && now.password !== undefined;
	return rekeyed && same(withoutPassword(old), withoutPassword(next)) ? 'password' : 'session';
};
