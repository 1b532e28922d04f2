import { CEASE, encodeMessage } from 'bgp-js-lite';
import type { Logger } from '../src/logging.ts';
import { cease } from './session/notification.ts';
import type { Timers } from './timers.ts';
import type { Connection } from './transport/transport.ts';

/**
 * Connections from addresses no peer is configured for: told so (RFC 4486 §4, Connection Rejected) and closed at once,
 * whatever they sent. Logged once a minute for an address, and not at all beyond a number of addresses.
 */

const REPEAT_MS = 60_000;
const REMEMBERED = 256;

const rejection = encodeMessage({ type: 'NOTIFICATION', ...cease(CEASE.connectionRejected) });

export const createStrangers = (log: Logger, timers: Timers): ((connection: Connection, why?: string) => void) => {
	const seen = new Map<string, { at: number; unlogged: number }>();
	const forget = (now: number): void => {
		for (const [address, { at }] of seen) if (now - at > REPEAT_MS) seen.delete(address);
	};
	return (connection, why = 'no peer with this address is configured') => {
		const { remoteAddress, localAddress } = connection;
		connection.send([rejection]);
		connection.close();
		const now = timers.now();
		const known = seen.get(remoteAddress);
		if (known !== undefined && now - known.at <= REPEAT_MS) {
			known.unlogged++;
			return;
		}
		if (seen.size >= REMEMBERED) forget(now);
		if (seen.size >= REMEMBERED) return;
		seen.set(remoteAddress, { at: now, unlogged: 0 });
		log.warn(
			{ remoteAddress, localAddress, more: known?.unlogged ?? 0 },
			`connection from ${remoteAddress} rejected: ${why}`,
		);
	};
};
