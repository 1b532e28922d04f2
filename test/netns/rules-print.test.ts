/** The print of rules and sets: the same while nobody changes them, another when anybody does. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { after, before, describe, it } from 'node:test';
import { inNetns } from '../../src/kernel/netns.ts';
import { openRulesPrint, type RulesPrint } from '../../src/kernel/rules-print.ts';

for (const backend of ['nft', 'legacy'] as const) {
	describe(`rules and sets, iptables ${backend}`, () => {
		const netns = `manxt-${process.pid}-print-${backend}`;
		const node = (command: string): void => {
			const { status, stderr } = spawnSync('ip', ['netns', 'exec', netns, 'sh', '-c', command], { encoding: 'utf8' });
			assert.equal(status, 0, `${command}: ${stderr}`);
		};
		let print: RulesPrint;
		const take = (): Promise<string | undefined> => print.take();

		before(() => {
			spawnSync('ip', ['netns', 'add', netns]);
			print = openRulesPrint(backend, 'manx-', (run) => inNetns(`/run/netns/${netns}`, run));
			node(
				'ipset create manx-a hash:ip; ipset add manx-a 10.0.0.1; ipset create manx-b hash:ip; ipset add manx-b 10.0.0.2',
			);
			node(
				`iptables-${backend} -N MANX-A; iptables-${backend} -A FORWARD -j MANX-A; iptables-${backend} -A MANX-A -j DROP`,
			);
		});
		after(() => {
			print.close();
			spawnSync('ip', ['netns', 'del', netns]);
		});

		it('stays the same', async () => {
			const first = await take();
			assert.ok(first);
			node(`iptables-${backend}-save >/dev/null; ipset save >/dev/null; ipset create other hash:ip`);
			assert.equal(await take(), first);
		});
		for (const [name, command] of [
			['a rule more', `iptables-${backend} -A MANX-A -j ACCEPT`],
			['a chain flushed', `iptables-${backend} -F MANX-A`],
			['a jump deleted', `iptables-${backend} -D FORWARD -j MANX-A`],
			['IPv6', `ip6tables-${backend} -A FORWARD -j DROP`],
			['a member more', 'ipset add manx-a 10.0.0.3'],
			['a set swapped with one of as many members', 'ipset del manx-a 10.0.0.3; ipset swap manx-a manx-b'],
			['a set flushed', 'ipset flush manx-b'],
			['a set more', 'ipset create manx-c hash:net'],
		] as const) {
			it(`tells ${name}`, async () => {
				if (name.startsWith('a set swapped')) node('ipset del manx-a 10.0.0.3; ipset add manx-a 10.0.0.3');
				const first = await take();
				node(name.startsWith('a set swapped') ? 'ipset swap manx-a manx-b' : command);
				assert.notEqual(await take(), first);
			});
		}
	});
}
