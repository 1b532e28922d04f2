import assert from 'node:assert/strict';
import { afterEach, describe, it } from 'node:test';
import type { Capability, PathAttributes } from 'bgp-js-lite';
import type { PeerConfig } from '../../bird/config.ts';
import { createLab, ipv4, type Lab, pathOf, peerConfig, type RawPeer, until } from './raw-peer.ts';

/** What happens to attributes between two external peers (AS 65002 tells, AS 65003 listens), by the rules of either session. */

let lab: Lab;
afterEach(() => lab.close());

const prefix = '10.1.0.0/24';
const mine = '10.244.1.0/24';
const GRACEFUL_SHUTDOWN = 0xffff0000;

const between = async (
	from: Partial<PeerConfig>,
	to: Partial<PeerConfig>,
	capabilities: readonly Capability[] = [{ code: 1, afi: 1, safi: 1 }, { code: 2 }],
): Promise<[RawPeer, RawPeer]> => {
	lab = createLab([peerConfig(2, from), peerConfig(3, to)]);
	const peers = [lab.dial(2, { capabilities }), lab.dial(3)] as const;
	await Promise.all(peers.map((peer) => peer.established()));
	await until('our own', () => from.rejectExport === true || peers[0].table().has(mine));
	return [...peers];
};
const tell = (peer: RawPeer, more: Partial<PathAttributes> = {}, announced = prefix): void =>
	peer.update({
		attributes: { origin: 'igp', asPath: pathOf(65002), ...more },
		announced: ipv4('192.0.2.2', announced),
	});
const told = async (peer: RawPeer, wanted = prefix): Promise<PathAttributes> => {
	await until(`${wanted} is told`, () => peer.table().has(wanted));
	return peer.table().get(wanted)?.attributes as PathAttributes;
};
/** Until everything sent before was read: an own mark follows it. */
const refusedBy = async (peer: RawPeer): Promise<boolean> => {
	tell(peer, {}, '10.9.9.0/24');
	await until('the mark', () => lab.kernel.has('10.9.9.0/24'));
	return !lab.kernel.has(prefix);
};
const numbers = ({ asPath }: PathAttributes): readonly number[] => asPath.flatMap((segment) => segment.asNumbers);

describe('AS numbers', () => {
	it('another AS of ours: shown with ours, put in front of what comes in', async () => {
		const [a, b] = await between({ localAS: { asNumber: 64999, noPrepend: false, replaceAS: false } }, {});
		assert.deepEqual(numbers(await told(a, mine)), [64999, 64512]);
		const open = a.messages[0];
		assert.equal(open?.type === 'OPEN' && open.asNumber, 64999);
		tell(a);
		assert.deepEqual(numbers(await told(b)), [64512, 64999, 65002]);
	});

	it('another AS of ours, no-prepend replace-as: shown alone, and only to that peer', async () => {
		const [a, b] = await between({ localAS: { asNumber: 64999, noPrepend: true, replaceAS: true } }, {});
		assert.deepEqual(numbers(await told(a, mine)), [64999]);
		tell(a);
		assert.deepEqual(numbers(await told(b)), [64512, 65002]);
	});

	for (const [allowOwnAS, path, taken] of [
		[0, [65002, 64512], false],
		[1, [65002, 64512], true],
		[1, [65002, 64512, 64512], false],
		[2, [65002, 64512, 64512], true],
	] as const) {
		it(`own AS allowed ${allowOwnAS} times: ${path.join(' ')} is ${taken ? 'taken' : 'a loop'}`, async () => {
			const [a] = await between({ allowOwnAS }, {});
			tell(a, { asPath: pathOf(...path) });
			assert.equal(await refusedBy(a), !taken);
		});
	}

	it('own AS allowed and not any more, while the session lives', async () => {
		const [a] = await between({}, {});
		tell(a, { asPath: pathOf(65002, 64512) });
		assert.equal(await refusedBy(a), true);
		const allowed = (allowOwnAS: number): void => {
			const peers = lab.config.peers.map((peer) => (peer.name === 'p2' ? { ...peer, allowOwnAS } : peer));
			lab.speaker.update({ ...lab.config, peers });
		};
		allowed(1);
		await until('it is taken', () => lab.kernel.has(prefix));
		allowed(0);
		await until('it is a loop again', () => !lab.kernel.has(prefix));
	});

	it('AS override: the peer’s own AS in the path is replaced by ours, else it is not told', async () => {
		const [a, b] = await between({}, { asOverride: true });
		tell(a, { asPath: pathOf(65002, 65003, 65003) });
		assert.deepEqual(numbers(await told(b)), [64512, 65002, 64512, 64512]);
	});

	it('private AS numbers are taken out', async () => {
		const [a, b] = await between({}, { removePrivateAS: true });
		tell(a, { asPath: pathOf(65002, 3356, 4_200_000_001, 65001, 174) });
		assert.deepEqual(numbers(await told(b)), [64512, 3356, 174]);
	});
});

describe('graceful shutdown (RFC 8326)', () => {
	it('a path with the community is the last choice', async () => {
		const [a, b] = await between({}, {});
		tell(a, { communities: [GRACEFUL_SHUTDOWN] });
		await until('the only way', () => lab.kernel.get(prefix)?.best.source.peer === 'p2');
		b.update({ attributes: { origin: 'egp', asPath: pathOf(65003, 1, 2, 3) }, announced: ipv4('192.0.2.3', prefix) });
		await until('any other is better', () => lab.kernel.get(prefix)?.best.source.peer === 'p3');
	});

	it('goes out with everything while we leave, without a session being touched', async () => {
		const [a, b] = await between({}, {});
		tell(a, { communities: [7] });
		await told(b);
		lab.speaker.update({ ...lab.config, gracefulShutdown: true });
		await until('told', () => b.table().get(prefix)?.attributes?.communities?.includes(GRACEFUL_SHUTDOWN) === true);
		assert.deepEqual((await told(b)).communities, [7, GRACEFUL_SHUTDOWN]);
		await until('ours too', () => b.table().get(mine)?.attributes?.communities?.[0] === GRACEFUL_SHUTDOWN);
		lab.speaker.update(lab.config);
		await until('and back', () => b.table().get(mine)?.attributes?.communities === undefined);
		assert.ok(!a.closed() && !b.closed());
	});
});

it('communities of all kinds and unknown attributes pass; what must not leave the AS does not', async () => {
	const [a, b] = await between({}, {});
	const passing: Partial<PathAttributes> = {
		communities: [(65002 << 16) >>> 0, 42],
		largeCommunities: [[4_200_000_000, 1, 2]],
		extendedCommunities: [0x0002_fde8_0000_0001n],
		unknown: [{ flags: 0xe0, code: 213, value: Uint8Array.of(1, 2, 3) }],
	};
	// The link bandwidth of 0x4004 is non-transitive.
	tell(a, { ...passing, med: 5, extendedCommunities: [0x0002_fde8_0000_0001n, 0x4004_fde8_0000_0000n] });
	const attributes = await told(b);
	for (const [name, value] of Object.entries(passing))
		assert.deepEqual(attributes[name as keyof PathAttributes], value);
	assert.equal(attributes.med, undefined);
	assert.equal(attributes.localPref, undefined);
});

describe('without a policy (RFC 8212)', () => {
	it('takes nothing', async () => {
		const [a, b] = await between({ rejectImport: true }, {});
		tell(a);
		b.update({ attributes: { origin: 'igp', asPath: pathOf(65003) }, announced: ipv4('192.0.2.3', '10.3.0.0/24') });
		await until('of another', () => a.table().has('10.3.0.0/24'));
		assert.equal(lab.kernel.has(prefix), false);
	});
	it('tells nothing', async () => {
		const [a, b] = await between({ rejectExport: true }, {});
		b.update({ attributes: { origin: 'igp', asPath: pathOf(65003) }, announced: ipv4('192.0.2.3', '10.3.0.0/24') });
		tell(a);
		await told(b);
		assert.equal(a.table().size, 0);
	});
});

describe('roles (RFC 9234)', () => {
	const role = (value: number): Capability[] => [
		{ code: 1, afi: 1, safi: 1 },
		{ code: 9, role: value },
	];
	const customer = role(3);
	const provider = role(0);

	for (const [what, config, capabilities, fits] of [
		['provider and customer', { role: 'provider' }, customer, true],
		['two providers', { role: 'provider' }, provider, false],
		['one that says nothing, asked strictly', { role: 'provider', strictRole: true }, role(3).slice(0, 1), false],
		['one that says nothing', { role: 'provider' }, role(3).slice(0, 1), true],
		['two different roles', { role: 'provider' }, [...customer, { code: 9, role: 4 }], false],
	] as const) {
		it(`${what} ${fits ? 'agree' : 'are refused with 2/11'}`, async () => {
			lab = createLab([peerConfig(2, config)]);
			const peer = lab.dial(2, { capabilities });
			if (fits) await peer.established();
			else
				await until('refused', () =>
					peer.messages.some((m) => m.type === 'NOTIFICATION' && m.code === 2 && m.subcode === 11),
				);
		});
	}

	it('a route of a provider is marked with its AS and goes to customers, not to another provider', async () => {
		const [a, b] = await between({ role: 'customer' }, { role: 'customer' }, provider);
		tell(a);
		await until('taken', () => lab.kernel.get(prefix)?.best.attributes.onlyToCustomer === 65002);
		const peers = lab.config.peers.map((peer) => (peer.name === 'p3' ? { ...peer, role: 'provider' as const } : peer));
		lab.speaker.update({ ...lab.config, peers });
		await until('the session went', () => b.closed());
		assert.equal(b.table().has(prefix), false);
		const again = lab.dial(3);
		await again.established();
		assert.equal((await told(again)).onlyToCustomer, 65002);
		assert.equal((await told(again, mine)).onlyToCustomer, 64512);
	});

	it('a leak is refused: marked by a customer, or by another than the peer itself', async () => {
		const [a] = await between({ role: 'provider' }, {}, customer);
		tell(a, { onlyToCustomer: 65002 });
		assert.ok(await refusedBy(a));
		assert.ok(lab.log.some((line) => /route leak/.test(line)));
	});
});
