import assert from 'node:assert/strict';
import { afterEach, beforeEach, describe, it } from 'node:test';
import { createIpsets, type IpsetSpec, type SetType } from 'iptables-wrapper';
import { inNetns } from '../../src/kernel/netns.ts';
import { openSetMembers, type SetMembers } from '../../src/kernel/set-members.ts';
import { createTestNetns, type TestNetns } from './iptables-netns.ts';

/** Members of every type of set by netlink, as ipset itself reads them back; and the set reconciler going that way. */

const types: [SetType, 4 | 6, string[]][] = [
	['hash:ip', 4, ['10.0.0.1', '10.0.0.2']],
	['hash:ip', 6, ['fd00::1', '1:0:0:2::3']],
	['hash:net', 4, ['10.0.0.0/8', '10.1.2.3', '128.0.0.0/1']],
	['hash:net', 6, ['fd00::/64', 'fd00::1', '8000::/1']],
	['hash:ip,port', 4, ['10.0.0.1,tcp:80', '10.0.0.1,udp:53', '10.0.0.1,sctp:65535']],
	['hash:ip,port', 6, ['fd00::1,tcp:443']],
	['hash:net,port', 4, ['10.0.0.0/8,tcp:443']],
	['hash:net,iface', 4, ['10.0.0.1,manx01234567890', '0.0.0.0/0,lo']],
	['hash:net,iface', 6, ['fd00::1,manx01', '::/0,lo']],
];

describe('set members by netlink', () => {
	let netns: TestNetns;
	let members: SetMembers;
	beforeEach(() => {
		netns = createTestNetns();
		members = openSetMembers((run) => inNetns(`/run/netns/${netns.name}`, run));
	});
	afterEach(() => {
		members.close();
		netns.remove();
	});
	const read = (set: string): string[] =>
		netns
			.sh(`ipset save ${set}`)
			.split('\n')
			.filter((line) => line.startsWith('add '))
			.map((line) => line.split(' ')[2] ?? '')
			.sort();

	for (const [type, family, wanted] of types) {
		it(`${type}, IPv${family}: puts in, repeats, takes out`, async () => {
			netns.sh(`ipset create s ${type} family ${family === 4 ? 'inet' : 'inet6'}`);
			const changes = (verb: 'add' | 'del') => wanted.map((member) => ({ set: 's', verb, family, member }));
			assert.equal(await members.write(changes('add')), true);
			assert.deepEqual(read('s'), [...wanted].sort());
			assert.equal(await members.write(changes('add')), true);
			assert.equal(await members.write(changes('del')), true);
			assert.equal(await members.write(changes('del')), true);
			assert.deepEqual(read('s'), []);
		});
	}

	it('reads sets of a prefix as ipset prints them, every type, however large', async () => {
		const tell = async (prefix: string): Promise<string[]> => {
			let lines: string[] = [];
			let name = '';
			const readable = await members.read(prefix, () => {
				lines = [];
				return {
					set: (set, type, family, maxelem) => {
						name = set;
						lines.push(`create ${set} ${type} ${family} ${maxelem}`);
					},
					member: (text) => void lines.push(`add ${name} ${text}`),
				};
			});
			assert.equal(readable, true);
			return lines.sort();
		};
		assert.deepEqual(await tell('manx-'), []);
		const large = Array.from({ length: 20_000 }, (_, i) => `fd00::${(i >> 8).toString(16)}:${(i & 255).toString(16)}`);
		const dotted = ['::ffff:10.0.0.1', '::1.2.3.4', '::1:0:1', '::1'];
		const all = [...types, ['hash:ip', 6, [...large, ...dotted]] as const];
		const changes = all.flatMap(([type, family, list], i) => [
			{ set: `manx-${i}`, family, verb: 'create' as const, type, hashsize: 64, maxelem: 65536 + i },
			...list.map((member) => ({ set: `manx-${i}`, family, verb: 'add' as const, member })),
		]);
		assert.equal(await members.write(changes), true);
		netns.sh('ipset create other hash:ip && ipset add other 10.0.0.1');
		const printed = netns
			.sh('ipset save')
			.split('\n')
			.filter((line) => line.includes(' manx-'))
			.map((line) => {
				const create = /^create (\S+) (\S+) family (\S+) .*maxelem (\d+)/.exec(line);
				return create === null ? line : `create ${create[1]} ${create[2]} ${create[3] === 'inet' ? 4 : 6} ${create[4]}`;
			});
		assert.deepEqual(await tell('manx-'), printed.sort());
		netns.sh('ipset create manx-bits bitmap:port range 0-10 && ipset add manx-bits 7');
		assert.equal(await members.read('manx-', () => ({ set: () => {}, member: () => {} })), false);
	});

	it('says no for a set that is not there, and for what is no member', async () => {
		assert.equal(await members.write([{ set: 'none', verb: 'add', family: 4, member: '10.0.0.1' }]), false);
		netns.sh('ipset create s hash:ip');
		assert.equal(await members.write([{ set: 's', verb: 'add', family: 4, member: 'x' }]), false);
	});

	for (const [type, family] of types) {
		it(`${type}, IPv${family}: made as ipset makes it, also when it is there, and destroyed`, async () => {
			const create = { set: 's', verb: 'create', family, type, hashsize: 128, maxelem: 1048576 } as const;
			assert.equal(await members.write([create]), true);
			const made = netns.sh('ipset save s');
			const inet = family === 4 ? 'inet' : 'inet6';
			assert.ok(made.startsWith(`create s ${type} family ${inet} hashsize 128 maxelem 1048576`), made);
			assert.equal(await members.write([create]), true);
			assert.equal(await members.write([{ ...create, type: type === 'hash:ip' ? 'hash:net' : 'hash:ip' }]), false);
			assert.equal(await members.write([{ set: 's', verb: 'destroy', family }]), true);
			assert.equal(netns.sh('ipset list -n'), '');
		});
	}

	it('does not destroy a set that a rule uses', async () => {
		const set = { set: 's', family: 4 } as const;
		await members.write([{ ...set, verb: 'create', type: 'hash:ip', hashsize: 64, maxelem: 100 }]);
		netns.sh('iptables -A INPUT -m set --match-set s src -j DROP');
		assert.equal(await members.write([{ ...set, verb: 'destroy' }]), false);
	});

	it('spares the set reconciler every program, and heals what it did not know', async () => {
		const sets = createIpsets({ prefix: 'manx-', run: netns.run, writeMembers: members.write });
		const spec = (list: readonly string[]): Map<string, IpsetSpec> =>
			new Map([['manx-a', { name: 'manx-a', type: 'hash:ip', family: 4, members: new Set(list) }]]);
		const bring = async (list: readonly string[]): Promise<void> => {
			sets.want(spec(list));
			assert.equal((await sets.applyAdditions()).error, undefined);
			assert.equal((await sets.applyRemovals()).error, undefined);
		};
		await bring([]);
		const calls = netns.calls.length;
		sets.want(new Map());
		assert.deepEqual(await sets.applyRemovals(), { changed: ['manx-a'] });
		await bring(['10.0.0.1']);
		await bring(['10.0.0.1', '10.0.0.2']);
		await bring(['10.0.0.2', '10.0.0.3']);
		assert.equal(netns.calls.length, calls);
		assert.deepEqual(read('manx-a'), ['10.0.0.2', '10.0.0.3']);
		netns.sh('ipset destroy manx-a');
		await bring(['10.0.0.4']);
		assert.deepEqual(read('manx-a'), ['10.0.0.4']);
	});

	for (const way of ['netlink', 'program'] as const) {
		it(`finds what others did to a large set, read by ${way}, and after a restart writes the difference only`, async () => {
			const make = () =>
				createIpsets({
					prefix: 'manx-',
					run: netns.run,
					writeMembers: members.write,
					...(way === 'netlink' && { readSets: members.read }),
				});
			const list = Array.from({ length: 5000 }, (_, i) => `10.0.${i >> 8}.${i & 255}`);
			const spec = (names: readonly string[]): Map<string, IpsetSpec> =>
				new Map([['manx-a', { name: 'manx-a', type: 'hash:ip', family: 4, members: new Set(names) }]]);
			const bring = async (sets: ReturnType<typeof make>, names: readonly string[]) => {
				sets.want(spec(names));
				const added = await sets.applyAdditions();
				const removed = await sets.applyRemovals();
				return [...added.changed, ...removed.changed];
			};
			const first = make();
			assert.deepEqual(await bring(first, list), ['manx-a']);
			assert.deepEqual(await first.resync(), { drifted: [] });
			netns.sh('ipset del manx-a 10.0.0.7 && ipset add manx-a 192.0.2.1 && ipset create manx-b hash:ip');
			const drifted = ['manx-a: 1 member missing, 1 member not ours', 'manx-b: set not wanted'];
			assert.deepEqual(await first.resync(), { drifted });
			assert.deepEqual(await bring(first, list), ['manx-a', 'manx-a', 'manx-b']);
			assert.deepEqual(await first.resync(), { drifted: [] });
			const second = make();
			assert.deepEqual(await bring(second, list), []);
			assert.deepEqual(await bring(make(), list.slice(1)), ['manx-a']);
			assert.deepEqual(read('manx-a'), list.slice(1).sort());
		});
	}
});
