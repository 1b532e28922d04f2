import { CEASE } from 'bgp-js-lite';
import type { Logger } from '../src/logging.ts';
import type { PrefixLimit } from './config.ts';
import type { Hold } from './peer-session-types.ts';
import { cease } from './session/notification.ts';

/** How many prefixes a peer may announce in a family before we say so, or end its session (RFC 4486 §4, subcode 1). */

const families = { 4: { name: 'IPv4', afi: 1 }, 6: { name: 'IPv6', afi: 2 } } as const;

const data = (afi: number, maximum: number): Uint8Array => {
	const bytes = new Uint8Array(7);
	const view = new DataView(bytes.buffer);
	view.setUint16(0, afi);
	view.setUint8(2, 1);
	view.setUint32(3, maximum);
	return bytes;
};

export type CheckPrefixLimit = (
	limit: PrefixLimit | undefined,
	received: { readonly 4: number; readonly 6: number },
) => Hold | undefined;

export const createPrefixLimit = (peer: string, log: Logger): CheckPrefixLimit => {
	/** Said once on the way up, again after it was below. */
	const warned = new Map<string, boolean>();
	const warn = (key: string, isOver: boolean, words: string): void => {
		if (isOver && warned.get(key) !== true) log.warn({}, words);
		warned.set(key, isOver);
	};
	return (limit, received) => {
		if (limit === undefined) return undefined;
		const { maximum, warnPercent, action, restartSeconds } = limit;
		for (const family of [4, 6] as const) {
			const { name, afi } = families[family];
			const count = received[family];
			const over = `${peer} announces more than the ${maximum} ${name} prefixes it may`;
			if (action === 'warn') warn(`${name} over`, count > maximum, over);
			else if (count > maximum) {
				return {
					notification: cease(CEASE.maximumPrefixes, data(afi, maximum)),
					reason: over,
					...(restartSeconds !== undefined && { seconds: restartSeconds }),
				};
			}
			const percent = Math.floor((count * 100) / Math.max(1, maximum));
			warn(
				`${name} near`,
				percent >= warnPercent && count <= maximum,
				`${peer} announces ${count} ${name} prefixes, ${percent} % of the ${maximum} it may`,
			);
		}
		return undefined;
	};
};
