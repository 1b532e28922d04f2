import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { addresses, createWire, type OurSpeaker, type Wire } from '../interop/harness.ts';
import { attribute, bytes, update } from './build.ts';
import { BASE, type Case, NLRI, type SessionKind } from './cases.ts';
import { type Observer, observe } from './observer.ts';
import { abuseConfig, sessions } from './sessions.ts';
import { headerCases, openCases, refreshCases, stateCases } from './table-messages.ts';
import { attributeCases, fieldCases, multiprotocolCases } from './table-updates.ts';
import { dialPeer, describe as inWords, KEEPALIVE, soon, type WirePeer } from './wire-peer.ts';

/** Every row of the tables over TCP against a speaker in a process of its own, what is left of its routes seen by another peer. */

const ORIGIN = attribute(0x40, 1, '00');
const NEXT_HOP = attribute(0x40, 3, 'c0000202');
const paths: Partial<Record<SessionKind, string>> = {
	iBGP: `${attribute(0x40, 2)}${NEXT_HOP}${attribute(0x40, 5, '00000064')}`,
	'eBGP, 2-octet AS': `${attribute(0x40, 2, '0201fde8')}${NEXT_HOP}`,
};
const good = (kind: SessionKind): string =>
	`${ORIGIN}${paths[kind] ?? `${attribute(0x40, 2, '02010000fde8')}${NEXT_HOP}`}`;

const announce = (kind: SessionKind, ...nlri: string[]): string => {
	const { pathId } = sessions[kind];
	return update({ attributes: good(kind), nlri: nlri.map((one) => pathId + one).join('') });
};
const announceV6 = (kind: SessionKind): string => {
	const reach = attribute(0x80, 14, `0002011020010db8${'00'.repeat(11)}0200${NLRI.ipv6}`);
	return update({ attributes: reach + good(kind).replace(NEXT_HOP, '') });
};

describe('a peer that says', () => {
	let wire: Wire;
	let ours: OurSpeaker;
	let observer: Observer;
	let count = 0;

	const dial = (kind: SessionKind): WirePeer =>
		dialPeer({ netns: wire.router, from: sessions[kind].address, to: addresses.node.ipv4 });

	before(async () => {
		wire = await createWire();
		for (const { address } of Object.values(sessions)) {
			if (address !== addresses.router.ipv4) await wire.ip(wire.router, `address add ${address}/24 dev eth0`);
		}
		ours = wire.speaker(abuseConfig());
		await soon('it listens', () => ours.log().includes('listening on 0.0.0.0'));
		observer = await observe(wire.router, sessions.observer.address, addresses.node.ipv4, sessions.observer.open);
	});
	after(async () => {
		await wire.close();
	});

	/** Prefixes of the case's peer that the observer knows. */
	const known = (): string[] =>
		[...observer.table.keys()].filter((prefix) => !prefix.startsWith('10.244.') && prefix !== '2001:db8:1::/64').sort();

	const toState = async (kind: SessionKind, state: Case['state'] = 'Established'): Promise<WirePeer> => {
		const peer = dial(kind);
		await soon('its OPEN', () => peer.frames.some(({ type }) => type === 1) || peer.closed());
		if (state === 'OpenSent') return peer;
		peer.write(bytes(sessions[kind].open));
		await soon('its KEEPALIVE', () => peer.keepalives() > 0 || peer.closed());
		if (state === 'OpenConfirm') return peer;
		peer.write(KEEPALIVE, bytes(announce(kind, NLRI.first, NLRI.second)), bytes(announceV6(kind)));
		await observer.until('the routes are known', () => known().length === 3);
		return peer;
	};

	const run = async ({ session = 'eBGP', state, send, expect }: Case): Promise<void> => {
		const peer = await toState(session, state);
		const answered = peer.keepalives();
		peer.write(bytes(send));
		if ('notification' in expect || 'closed' in expect) {
			await soon(`it ends; instead ${inWords(peer.notification())}`, peer.closed);
			assert.equal(
				peer.notification(),
				'notification' in expect ? expect.notification : undefined,
				inWords(peer.notification()),
			);
			await observer.until('all its routes go', () => known().length === 0);
			return;
		}
		if ('accepted' in expect) {
			await soon('its KEEPALIVE', () => peer.keepalives() > answered || peer.closed());
			assert.equal(peer.notification(), undefined, inWords(peer.notification()));
			peer.end();
			return;
		}
		const marker = `18c633${(++count & 255).toString(16).padStart(2, '0')}`;
		const markerPrefix = `198.51.${count & 255}.0/24`;
		peer.write(bytes(announce(session, marker)));
		await observer.until(
			`the session goes on; instead ${inWords(peer.notification())}`,
			() => observer.table.has(markerPrefix) || peer.closed(),
		);
		assert.equal(peer.notification(), undefined, inWords(peer.notification()));
		const gone = 'withdrawn' in expect ? expect.withdrawn : [];
		const there = Object.values(BASE).filter((prefix) => !gone.includes(prefix));
		if ('announced' in expect) {
			there.push(expect.announced as never);
			const told = observer.table.get(expect.announced);
			assert.ok(told, `${expect.announced} is not announced`);
			for (const code of expect.without ?? []) assert.equal(told.get(code), undefined, `attribute ${code}`);
			for (const [code, value] of Object.entries(expect.attributes ?? {})) assert.equal(told.get(Number(code)), value);
		}
		assert.deepEqual(known(), [...new Set([...there, markerPrefix])].sort());
		peer.end();
		await observer.until('all its routes go', () => known().length === 0);
	};

	for (const [title, cases] of [
		['headers', headerCases],
		['OPENs', openCases],
		['messages where they do not belong', stateCases],
		['ROUTE-REFRESHs', refreshCases],
		['UPDATEs: attributes', attributeCases],
		['UPDATEs: multiprotocol', multiprotocolCases],
		['UPDATEs: fields', fieldCases],
	] as const) {
		describe(title, () => {
			for (const row of cases) {
				const { session = 'eBGP', state = 'Established' } = row;
				it(`${row.rfc}: ${row.name} (${session}, ${state}): ${JSON.stringify(row.expect).slice(1, 90)}`, () =>
					run(row));
			}
		});
	}
});
