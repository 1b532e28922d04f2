/** createIpsets on the real kernel. */
import assert from 'node:assert/strict';
import { afterEach, beforeEach, describe, test } from 'node:test';
import { createChains, createIpsets, type IpsetSpec, type Ipsets, type SetType } from 'iptables-wrapper';
import { createTestNetns, type TestNetns } from './iptables-netns.ts';

const spec = (name: string, members: Iterable<string>, type: SetType = 'hash:ip', family: 4 | 6 = 4): IpsetSpec => ({
	name,
	type,
	family,
	members: new Set(members),
});
const want = (...specs: IpsetSpec[]): Map<string, IpsetSpec> => new Map(specs.map((each) => [each.name, each]));

describe('createIpsets', () => {
	let netns: TestNetns;
	let sets: Ipsets;
	beforeEach(() => {
		netns = createTestNetns();
		sets = createIpsets({ prefix: 'manx-', run: netns.run });
	});
	afterEach(() => netns.remove());

	const membersOf = (name: string): string[] =>
		netns
			.sh(`ipset save ${name}`)
			.split('\n')
			.filter((line) => line.startsWith('add '))
			.map((line) => line.split(' ')[2] ?? '')
			.sort();
	const names = (): string[] => netns.sh('ipset list -n').split('\n').filter(Boolean).sort();
	const bring = async (wanted: Map<string, IpsetSpec>, by = sets): Promise<string[]> => {
		by.want(wanted);
		const added = await by.applyAdditions();
		assert.equal(added.error, undefined, added.error?.message);
		const removed = await by.applyRemovals();
		assert.equal(removed.error, undefined, removed.error?.message);
		return [...added.changed, ...removed.changed];
	};

	test('creates sets of every type and both families in one restore, members as ipset prints them', async () => {
		const wanted = want(
			spec('manx-ip', ['10.0.0.1', '10.0.0.2/32']),
			spec('manx-ip6', ['FD00:0::1', '::ffff:10.0.0.1', '1:0:0:2:0:0:0:3/128'], 'hash:ip', 6),
			spec('manx-net', ['10.0.0.0/8', '10.1.2.3', '192.0.2.77/24', '0.0.0.0/0'], 'hash:net'),
			spec('manx-net6', ['::/0', 'fd00::1', 'fd00::1/64'], 'hash:net', 6),
			spec('manx-port', ['10.0.0.1,80', '10.0.0.1,UDP:53', '10.0.0.1,sctp:9'], 'hash:ip,port'),
			spec('manx-netport', ['0.0.0.0/0,tcp:80', '10.0.0.0/8,tcp:443'], 'hash:net,port'),
			spec('manx-iface', ['10.0.0.1,manx01', '10.0.0.2/32,manx02', '0.0.0.0/0,lo'], 'hash:net,iface'),
			spec('manx-iface6', ['fd00::1,manx01', '::/0,lo'], 'hash:net,iface', 6),
			spec('manx-empty', []),
		);
		await bring(wanted);
		assert.deepEqual(netns.calls, ['ipset', 'ipset']);
		assert.deepEqual(membersOf('manx-ip'), ['10.0.0.1', '10.0.0.2']);
		assert.deepEqual(membersOf('manx-ip6'), ['1:0:0:2::3', '::ffff:10.0.0.1', 'fd00::1']);
		assert.deepEqual(membersOf('manx-net'), ['0.0.0.0/1', '10.0.0.0/8', '10.1.2.3', '128.0.0.0/1', '192.0.2.0/24']);
		assert.deepEqual(membersOf('manx-net6'), ['8000::/1', '::/1', 'fd00::/64', 'fd00::1']);
		assert.deepEqual(membersOf('manx-port'), ['10.0.0.1,sctp:9', '10.0.0.1,tcp:80', '10.0.0.1,udp:53']);
		assert.deepEqual(membersOf('manx-netport'), ['0.0.0.0/1,tcp:80', '10.0.0.0/8,tcp:443', '128.0.0.0/1,tcp:80']);
		assert.deepEqual(membersOf('manx-iface'), ['0.0.0.0/0,lo', '10.0.0.1,manx01', '10.0.0.2,manx02']);
		assert.deepEqual(membersOf('manx-iface6'), ['::/0,lo', 'fd00::1,manx01']);
		assert.match(netns.sh('ipset save manx-ip'), /family inet hashsize 64 maxelem 1048576/);
		netns.calls.length = 0;
		assert.deepEqual(await bring(wanted), []);
		assert.deepEqual(await bring(new Map(wanted)), []);
		assert.deepEqual(netns.calls, []);
		assert.deepEqual(await sets.resync(), { drifted: [] });
		assert.deepEqual(await bring(wanted, createIpsets({ prefix: 'manx-', run: netns.run })), []);
	});

	test('additions come first and removals last, each as one small restore', async () => {
		const kept = spec('manx-kept', ['10.0.0.9']);
		await bring(want(kept, spec('manx-a', ['10.0.0.1', '10.0.0.2']), spec('manx-gone', ['10.0.0.3'])));
		netns.calls.length = 0;
		sets.want(want(kept, spec('manx-a', ['10.0.0.2', '10.0.0.4']), spec('manx-new', [])));
		assert.deepEqual((await sets.applyAdditions()).changed.toSorted(), ['manx-a', 'manx-new']);
		assert.deepEqual(membersOf('manx-a'), ['10.0.0.1', '10.0.0.2', '10.0.0.4']);
		assert.deepEqual(names(), ['manx-a', 'manx-gone', 'manx-kept', 'manx-new']);
		assert.deepEqual(await sets.resync(), { drifted: [] });
		assert.deepEqual((await sets.applyRemovals()).changed.toSorted(), ['manx-a', 'manx-gone']);
		assert.deepEqual(membersOf('manx-a'), ['10.0.0.2', '10.0.0.4']);
		assert.deepEqual(names(), ['manx-a', 'manx-kept', 'manx-new']);
		assert.deepEqual((await sets.applyRemovals()).changed, []);
	});

	test('wants that change between additions and removals end at the last one', async () => {
		sets.want(want(spec('manx-a', ['10.0.0.1', '10.0.0.2'])));
		await sets.applyAdditions();
		sets.want(want(spec('manx-a', ['10.0.0.2', '10.0.0.3'])));
		await sets.applyRemovals();
		assert.deepEqual(membersOf('manx-a'), ['10.0.0.2']);
		await sets.applyAdditions();
		sets.want(want(spec('manx-a', ['10.0.0.1'])));
		await sets.applyAdditions();
		sets.want(want(spec('manx-a', ['10.0.0.3', '10.0.0.4'])));
		await sets.applyAdditions();
		await sets.applyRemovals();
		assert.deepEqual(membersOf('manx-a'), ['10.0.0.3', '10.0.0.4']);
	});

	test('a restart writes the difference only, and sweeps owned sets nobody wants; others stay', async () => {
		netns.sh('ipset create theirs hash:ip && ipset add theirs 10.0.0.1 && ipset create manx-old hash:ip');
		netns.sh('ipset create manx-a hash:ip maxelem 1048576 && ipset add manx-a 10.0.0.1 && ipset add manx-a 10.0.0.2');
		assert.deepEqual(await bring(want(spec('manx-a', ['10.0.0.2', '10.0.0.3']))), ['manx-a', 'manx-a', 'manx-old']);
		assert.deepEqual(names(), ['manx-a', 'theirs']);
		assert.deepEqual(membersOf('manx-a'), ['10.0.0.2', '10.0.0.3']);
		assert.deepEqual(membersOf('theirs'), ['10.0.0.1']);
	});

	test('drift is named with what is missing, and mended', async () => {
		const wanted = want(
			spec('manx-4-src', ['10.0.0.1', '10.0.0.2', '10.0.0.3', '10.0.0.4']),
			spec('manx-b', ['10.0.0.1']),
			spec('manx-c', ['10.0.0.1']),
		);
		await bring(wanted);
		netns.sh('ipset del manx-4-src 10.0.0.1; ipset del manx-4-src 10.0.0.2; ipset del manx-4-src 10.0.0.3');
		netns.sh(
			'ipset add manx-4-src 192.0.2.1; ipset destroy manx-b; ipset flush manx-c; ipset create manx-alien hash:ip',
		);
		const drifted = [
			'manx-4-src: 3 members missing, 1 member not ours',
			'manx-alien: set not wanted',
			'manx-b: set missing',
			'manx-c: 1 member missing',
		];
		assert.deepEqual((await sets.resync()).drifted.toSorted(), drifted);
		assert.deepEqual((await sets.resync()).drifted.toSorted(), drifted);
		await bring(wanted);
		assert.deepEqual(await sets.resync(), { drifted: [] });
		assert.deepEqual(membersOf('manx-4-src'), ['10.0.0.1', '10.0.0.2', '10.0.0.3', '10.0.0.4']);
		assert.deepEqual(names(), ['manx-4-src', 'manx-b', 'manx-c']);
	});

	test('a set others destroyed meanwhile is found out by the write and made again', async () => {
		await bring(want(spec('manx-a', ['10.0.0.1']), spec('manx-b', ['10.0.0.1'])));
		netns.sh('ipset destroy manx-a');
		await bring(want(spec('manx-a', ['10.0.0.1', '10.0.0.2']), spec('manx-b', ['10.0.0.1'])));
		assert.deepEqual(membersOf('manx-a'), ['10.0.0.1', '10.0.0.2']);
	});

	test('a set made too small by another version is swapped under the rules that use it', async () => {
		netns.sh('ipset create manx-a hash:ip maxelem 2 && ipset add manx-a 10.0.0.1 && ipset add manx-a 10.0.0.9');
		netns.sh('iptables-legacy -A FORWARD -m set --match-set manx-a src');
		sets.want(want(spec('manx-a', ['10.0.0.1', '10.0.0.2', '10.0.0.3'])));
		assert.equal((await sets.applyAdditions()).error, undefined);
		assert.deepEqual(membersOf('manx-a'), ['10.0.0.1', '10.0.0.2', '10.0.0.3', '10.0.0.9']);
		await sets.applyRemovals();
		assert.deepEqual(membersOf('manx-a'), ['10.0.0.1', '10.0.0.2', '10.0.0.3']);
		assert.match(netns.sh('ipset save manx-a'), /maxelem 1048576/);
		assert.match(netns.sh('ipset list -t manx-a'), /References: 1/);
		assert.deepEqual(names(), ['manx-a']);
		assert.deepEqual(await sets.resync(), { drifted: [] });
	});

	test('another type replaces a set no rule uses; one in use is named and the others are written', async () => {
		await bring(want(spec('manx-a', ['10.0.0.1']), spec('manx-b', ['10.0.0.1'])));
		netns.sh('iptables-legacy -A FORWARD -m set --match-set manx-b src');
		sets.want(
			want(
				spec('manx-b', ['10.0.0.0/8'], 'hash:net'),
				spec('manx-a', ['10.0.0.0/8'], 'hash:net'),
				spec('manx-c', ['fd00::1'], 'hash:ip', 6),
			),
		);
		const { changed, error } = await sets.applyAdditions();
		assert.deepEqual(changed.toSorted(), ['manx-a', 'manx-c']);
		assert.match(error?.message ?? '', /manx-b .*another name/);
		assert.deepEqual(membersOf('manx-a'), ['10.0.0.0/8']);
		assert.deepEqual(membersOf('manx-b'), ['10.0.0.1']);
		netns.sh('iptables-legacy -F FORWARD');
		assert.equal((await sets.applyAdditions()).error, undefined);
		assert.deepEqual(membersOf('manx-b'), ['10.0.0.0/8']);
	});

	test('a bad member is refused by itself and never resolved as a name', async () => {
		sets.want(
			want(spec('manx-a', ['10.0.0.1', 'localhost', '10.0.0.300', '10.0.0.2']), spec('manx-b', ['10.0.0.0/8'])),
		);
		const { error } = await sets.applyAdditions();
		assert.match(error?.message ?? '', /manx-a: "localhost" is no member/);
		assert.match(error?.message ?? '', /10\.0\.0\.300/);
		assert.match(error?.message ?? '', /manx-b/);
		assert.deepEqual(membersOf('manx-a'), ['10.0.0.1', '10.0.0.2']);
		sets.want(want(spec('manx-a', ['10.0.0.1']), spec('manx-a-name-much-too-long-for-the-kernel', [])));
		assert.match((await sets.applyAdditions()).error?.message ?? '', /31 characters/);
		await sets.applyRemovals();
		assert.deepEqual(names(), ['manx-a']);
	});

	for (const backend of ['legacy', 'nft'] as const) {
		test(`a set a rule uses outlives removals until the rule is gone, iptables-${backend}`, async () => {
			const chains = createChains({ family: 4, backend, prefix: 'MANX-', run: netns.run });
			await bring(want(spec('manx-a', ['10.0.0.1']), spec('manx-b', ['10.0.0.1'])));
			const rules = ['-m set --match-set manx-a src -j DROP'];
			assert.equal((await chains.apply({ chains: new Map([['filter MANX-X', rules]]), hooks: [] })).error, undefined);
			sets.want(new Map());
			const { changed, error } = await sets.applyRemovals();
			assert.deepEqual(changed, ['manx-b']);
			assert.match(error?.message ?? '', /manx-a cannot be destroyed, a rule still uses it/);
			assert.equal((await chains.apply({ chains: new Map([['filter MANX-X', []]]), hooks: [] })).error, undefined);
			assert.deepEqual(await sets.applyRemovals(), { changed: ['manx-a'] });
			assert.deepEqual(names(), []);
		});

		test(`rules and their sets go in one pass, iptables-${backend}`, async () => {
			const chains = createChains({ family: 4, backend, prefix: 'MANX-', run: netns.run });
			const many = Array.from({ length: 40 }, (_, i) => spec(`manx-${i}`, ['10.0.0.1']));
			const rules = many.map(({ name }) => `-m set --match-set ${name} src -j DROP`);
			await bring(want(...many));
			for (let round = 0; round < 5; round++) {
				const key = 'filter MANX-X';
				assert.equal(
					(await chains.apply({ chains: new Map([[key, rules.slice(round)]]), hooks: [] })).error,
					undefined,
				);
				await bring(want(...many.slice(round)));
			}
			assert.equal((await chains.apply({ chains: new Map(), hooks: [] })).error, undefined);
			await bring(new Map());
			assert.deepEqual(names(), []);
		});
	}

	test('remove destroys owned sets only', async () => {
		netns.sh('ipset create theirs hash:ip');
		await bring(want(spec('manx-a', ['10.0.0.1']), spec('manx-b', ['fd00::1'], 'hash:ip', 6)));
		assert.equal(await sets.remove(), undefined);
		assert.deepEqual(names(), ['theirs']);
	});

	test('a large set costs one restore, and a change of one member one line', async () => {
		const members = Array.from({ length: 20_000 }, (_, i) => `10.${i >> 16}.${(i >> 8) & 255}.${i & 255}`);
		await bring(want(spec('manx-large', members)));
		assert.equal(membersOf('manx-large').length, 20_000);
		netns.calls.length = 0;
		await bring(want(spec('manx-large', [...members.slice(1), '10.200.0.1'])));
		assert.deepEqual(netns.calls, ['ipset', 'ipset']);
		assert.deepEqual(await sets.resync(), { drifted: [] });
	});
});
