import assert from 'node:assert/strict';
import { afterEach, describe, it } from 'node:test';
import type { Capability } from 'bgp-js-lite';
import { createLab, type Lab, pathOf, peerConfig, type RawPeer, until } from './raw-peer.ts';

/** Several paths to a prefix (RFC 7911), from a peer and to one. */

let lab: Lab;
afterEach(() => lab.close());

const prefix = '10.1.0.0/24';
const both = new Set(['1/1']);
const capability = (send: boolean, receive: boolean): Capability[] => [
	{ code: 1, afi: 1, safi: 1 },
	{ code: 2 },
	{ code: 69, families: [{ afi: 1, safi: 1, send, receive }] },
];
const tell = (peer: RawPeer, host: number, nextHop: string, pathId?: number, asPath = [65000 + host]): void =>
	peer.update({
		attributes: { origin: 'igp', asPath: pathOf(...asPath) },
		announced: { afi: 1, safi: 1, nextHop, nlri: [{ prefix, ...(pathId !== undefined && { pathId }) }] },
	});
const withdraw = (peer: RawPeer, pathId?: number): void =>
	peer.update({ withdrawn: { afi: 1, safi: 1, nlri: [{ prefix, ...(pathId !== undefined && { pathId }) }] } });
const hops = (): string[] =>
	(lab.kernel.get(prefix)?.multipath ?? []).map((path) => path.attributes.nextHop ?? '').sort();
/** Next hops told for the prefix by path identifier, as they stand. */
const told = (peer: RawPeer): Map<number | undefined, readonly number[]> => {
	const table = new Map<number | undefined, readonly number[]>();
	for (const { withdrawn, announced, attributes } of peer.updates()) {
		for (const { nlri } of withdrawn) for (const one of nlri) if (one.prefix === prefix) table.delete(one.pathId);
		for (const { nlri } of announced) {
			for (const one of nlri) {
				if (one.prefix === prefix) table.set(one.pathId, attributes?.asPath.flatMap((s) => s.asNumbers) ?? []);
			}
		}
	}
	return table;
};

describe('add-path (RFC 7911)', () => {
	it('takes several paths of one peer, each withdrawn and replaced by itself', async () => {
		lab = createLab([peerConfig(2, { addPath: { receive: true, sendPaths: 0 } })]);
		const peer = lab.dial(2, { capabilities: capability(true, false) }, { addPathSend: both });
		await peer.established();
		tell(peer, 2, '192.0.2.21', 1);
		tell(peer, 2, '192.0.2.22', 2);
		await until('both are used', () => String(hops()) === '192.0.2.21,192.0.2.22');
		tell(peer, 2, '192.0.2.23', 1);
		await until('one is replaced', () => String(hops()) === '192.0.2.22,192.0.2.23');
		withdraw(peer, 2);
		await until('one is gone', () => String(hops()) === '192.0.2.23');
		assert.equal(lab.speaker.status().sessions[0]?.received, 1);
		assert.equal(peer.table().has('10.244.1.0/24'), true, 'ours come without identifiers');
		peer.socket.destroy();
		await until('all are gone', () => lab.kernel.size === 0);
	});

	it('tells several paths, under identifiers that stay while the paths change', async () => {
		lab = createLab([peerConfig(2), peerConfig(3), peerConfig(4, { addPath: { receive: false, sendPaths: 8 } })]);
		const listener = lab.dial(4, { capabilities: capability(false, true) }, { addPathReceive: both });
		const [a, b] = [lab.dial(2), lab.dial(3)];
		await Promise.all([a, b, listener].map((peer) => peer.established()));
		tell(a, 2, '192.0.2.2', undefined, [65002, 7]);
		tell(b, 3, '192.0.2.3', undefined, [65003, 7, 8]);
		await until('both are told', () => told(listener).size === 2);
		const ids = [...told(listener).keys()];
		assert.ok(ids.every((id) => id !== undefined));
		tell(b, 3, '192.0.2.3', undefined, [65003]);
		await until('the other is best', () => lab.kernel.get(prefix)?.best.source.peer === 'p3');
		await until('told', () => [...told(listener).values()].some((path) => path.length === 2));
		assert.deepEqual([...told(listener).keys()].sort(), ids.sort());
		withdraw(a);
		await until('one is left', () => told(listener).size === 1);
		withdraw(b);
		await until('none is left', () => told(listener).size === 0);
		assert.equal(lab.speaker.status().sessions.find(({ name }) => name === 'p4')?.advertised, 1);
	});

	it('tells so many at most, the best among them', async () => {
		lab = createLab([peerConfig(2), peerConfig(3), peerConfig(4, { addPath: { receive: false, sendPaths: 1 } })]);
		const listener = lab.dial(4, { capabilities: capability(false, true) }, { addPathReceive: both });
		const [a, b] = [lab.dial(2), lab.dial(3)];
		await Promise.all([a, b, listener].map((peer) => peer.established()));
		tell(a, 2, '192.0.2.2', undefined, [65002, 7]);
		await until('the only one', () => told(listener).size === 1);
		tell(b, 3, '192.0.2.3');
		await until('the better one', () => String([...told(listener).values()]) === '64512,65003');
		assert.equal(told(listener).size, 1);
	});

	for (const [what, capabilities] of [
		['does not send them', capability(false, true)],
		['does not know them', capability(false, true).slice(0, 2)],
	] as const) {
		it(`uses no identifiers with a peer that ${what}`, async () => {
			lab = createLab([peerConfig(2, { addPath: { receive: true, sendPaths: 0 } })]);
			const peer = lab.dial(2, { capabilities });
			await peer.established();
			tell(peer, 2, '192.0.2.2');
			await until('plain routes', () => String(hops()) === '192.0.2.2');
		});
	}
});
