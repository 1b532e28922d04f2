import { decodeMessage } from 'bgp-js-lite';
import { bytes } from './build.ts';
import { dialPeer, type Frame, KEEPALIVE, soon, type WirePeer } from './wire-peer.ts';

/** A peer that is told everything, and keeps what it was told last: prefixes with their attributes as they are on the wire. */

export type Observer = {
	/** By prefix; of each attribute code its flags and value in hex. */
	readonly table: ReadonlyMap<string, ReadonlyMap<number, string>>;
	readonly until: (what: string, condition: () => boolean) => Promise<void>;
	readonly peer: WirePeer;
};

const hex = (value: Uint8Array): string => Buffer.from(value).toString('hex');

const attributesOf = (body: Uint8Array): Map<number, string> => {
	const view = new DataView(body.buffer, body.byteOffset, body.length);
	const found = new Map<number, string>();
	const start = 4 + view.getUint16(0);
	const end = start + view.getUint16(start - 2);
	for (let at = start; at < end; ) {
		const flags = view.getUint8(at);
		const head = flags & 0x10 ? 4 : 3;
		const length = head === 4 ? view.getUint16(at + 2) : view.getUint8(at + 2);
		const value = body.subarray(at + head, at + head + length);
		found.set(view.getUint8(at + 1), `${(flags & 0xe0).toString(16).padStart(2, '0')} ${hex(value)}`.trim());
		at += head + length;
	}
	return found;
};

export const observe = async (netns: string, from: string, to: string, open: string): Promise<Observer> => {
	const table = new Map<string, ReadonlyMap<number, string>>();
	const onFrame = ({ type, body }: Frame): void => {
		if (type !== 2) return;
		const decoded = decodeMessage(type, body, { fourOctetAs: true, ibgp: true, maxMessageLength: 65535 });
		if (!decoded.ok || decoded.value.type !== 'UPDATE') throw new Error(`the observer cannot read ${hex(body)}`);
		const attributes = attributesOf(body);
		for (const { nlri } of decoded.value.withdrawn) for (const { prefix } of nlri) table.delete(prefix);
		for (const { nlri } of decoded.value.announced) for (const { prefix } of nlri) table.set(prefix, attributes);
	};
	const peer = dialPeer({ netns, from, to, onFrame });
	peer.write(bytes(open), KEEPALIVE);
	await soon('the observer has its session', () => peer.keepalives() > 0);
	const timer = setInterval(() => peer.write(KEEPALIVE), 10_000).unref();
	peer.socket.on('close', () => clearInterval(timer));
	return {
		table,
		peer,
		until: (what, condition) =>
			soon(what, () => {
				if (peer.closed()) throw new Error(`the observer lost its session: ${peer.notification()}`);
				return condition();
			}),
	};
};
