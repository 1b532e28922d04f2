/** createChains on the real kernel, both backends, both families. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { afterEach, beforeEach, describe, test } from 'node:test';
import { type Chains, createChains, type Hook, type Ruleset } from 'iptables-wrapper';
import { createTestNetns, type TestNetns } from './iptables-netns.ts';

const forward: Hook = { table: 'filter', chain: 'FORWARD', position: 'first', rule: '-j MANX-FORWARD' };
const accept: Hook = { table: 'filter', chain: 'FORWARD', position: 'append', rule: '-m mark --mark 1 -j MANX-ACCEPT' };

const ruleset = (chains: Record<string, readonly string[]>, hooks: readonly Hook[] = [forward]): Ruleset => ({
	chains: new Map(Object.entries(chains)),
	hooks,
});

for (const family of [4, 6] as const) {
	for (const backend of ['legacy', 'nft'] as const) {
		const tool = `${family === 4 ? 'iptables' : 'ip6tables'}-${backend}`;
		const local = family === 4 ? '127.0.0.1' : '::1';

		describe(`createChains, ${tool}`, () => {
			let netns: TestNetns;
			let chains: Chains;
			const create = (): Chains => createChains({ family, backend, prefix: 'MANX-', run: netns.run });
			const apply = async (wanted: Ruleset, by = chains): Promise<readonly string[]> => {
				const { changed, error } = await by.apply(wanted);
				assert.equal(error, undefined, error?.message);
				return [...changed].sort();
			};
			const rulesOf = (chain: string, table = 'filter'): string[] =>
				netns
					.sh(`${tool} -t ${table} -S ${chain}`)
					.split('\n')
					.filter((line) => line.startsWith('-A'))
					.map((line) => line.replace(/^-A \S+ ?/, ''));
			const ping = (): string => netns.sh(`ping -c 1 -W 1 -q ${local}`);
			beforeEach(() => {
				netns = createTestNetns();
				chains = create();
			});
			afterEach(() => netns.remove());

			const base = {
				'filter MANX-FORWARD': ['-m conntrack --ctstate ESTABLISHED,RELATED -j RETURN', '-i manx+ -j MANX-FROM'],
				'filter MANX-FROM': ['-p tcp --dport 80 -j RETURN', '-j DROP'],
			};

			test('writes several tables and their hooks in one restore', async () => {
				const wanted = ruleset(
					{ ...base, 'raw MANX-RAW': ['-i manx+ -j DROP'], 'nat MANX-NAT': ['-o eth0 -j MASQUERADE --random-fully'] },
					[
						forward,
						{ table: 'raw', chain: 'PREROUTING', position: 'first', rule: '-j MANX-RAW' },
						{ table: 'nat', chain: 'POSTROUTING', position: 'append', rule: '-j MANX-NAT' },
					],
				);
				assert.deepEqual(await apply(wanted), [
					'filter FORWARD hook',
					'filter MANX-FORWARD',
					'filter MANX-FROM',
					'nat MANX-NAT',
					'nat POSTROUTING hook',
					'raw MANX-RAW',
					'raw PREROUTING hook',
				]);
				assert.deepEqual(netns.calls, [`${tool}-save`, `${tool}-restore`]);
				assert.deepEqual(rulesOf('FORWARD'), ['-j MANX-FORWARD']);
				assert.deepEqual(rulesOf('MANX-FROM'), ['-p tcp -m tcp --dport 80 -j RETURN', '-j DROP']);
				assert.deepEqual(rulesOf('POSTROUTING', 'nat'), ['-j MANX-NAT']);
				assert.deepEqual(await chains.resync(), { drifted: [] });
			});

			test('runs nothing for a ruleset that says the same, in the same or other words', async () => {
				await apply(ruleset(base));
				netns.calls.length = 0;
				assert.deepEqual(await apply(ruleset({ ...base })), []);
				assert.deepEqual(
					await apply(ruleset({ ...base, 'filter MANX-FROM': ['-p 6 -m tcp --dport 80:80 -j RETURN', '--jump DROP'] })),
					[],
				);
				assert.deepEqual(netns.calls, []);
			});

			test('a new instance takes over what is there without writing', async () => {
				await apply(ruleset(base));
				netns.calls.length = 0;
				assert.deepEqual(await apply(ruleset(base), create()), []);
				assert.deepEqual(netns.calls, [`${tool}-save`]);
			});

			test('an edited chain leaves the counters of the others, and a longer one its own', async () => {
				const hooks: Hook[] = [{ table: 'filter', chain: 'OUTPUT', position: 'first', rule: '-j MANX-OUT' }];
				const kept = {
					'filter MANX-OUT': ['-o lo', '-j MANX-EDIT'],
					'filter MANX-EDIT': ['-o lo', '-d 192.0.2.1 -j DROP'],
				};
				if (family === 6) kept['filter MANX-EDIT'] = ['-o lo', '-d fd00::1 -j DROP'];
				await apply(ruleset(kept, hooks));
				ping();
				const before = await chains.counters('filter', 'MANX-OUT');
				assert.ok((before[0]?.packets ?? 0) > 0);
				const longer = [...kept['filter MANX-EDIT'], '-p udp --dport 9 -j DROP'];
				assert.deepEqual(await apply(ruleset({ ...kept, 'filter MANX-EDIT': longer }, hooks)), ['filter MANX-EDIT']);
				const edited = await chains.counters('filter', 'MANX-EDIT');
				assert.equal(edited.length, 3);
				assert.deepEqual(edited[0], before[0]);
				await apply(ruleset({ ...kept, 'filter MANX-EDIT': ['-o lo -p udp', '-j RETURN'] }, hooks));
				assert.deepEqual(await chains.counters('filter', 'MANX-OUT'), before);
				assert.deepEqual(await chains.counters('filter', 'MANX-EDIT'), [
					{ packets: 0, bytes: 0 },
					{ packets: 0, bytes: 0 },
				]);
			});

			test('foreign rules and chains stay, the first hook comes before them, the appended one after', async () => {
				netns.sh(
					`${tool} -N THEIRS; ${tool} -A THEIRS -j RETURN; ${tool} -A FORWARD -j THEIRS; ${tool} -P FORWARD DROP`,
				);
				await apply(ruleset({ ...base, 'filter MANX-ACCEPT': ['-j ACCEPT'] }, [forward, accept]));
				assert.deepEqual(rulesOf('FORWARD'), ['-j MANX-FORWARD', '-j THEIRS', '-m mark --mark 0x1 -j MANX-ACCEPT']);
				assert.deepEqual(rulesOf('THEIRS'), ['-j RETURN']);
				assert.match(netns.sh(`${tool} -S FORWARD`), /-P FORWARD DROP/);
			});

			test('a hook that another rule overtook comes first again after a resync; an appended one stays where it is', async () => {
				await apply(ruleset({ ...base, 'filter MANX-ACCEPT': ['-j ACCEPT'] }, [forward, accept]));
				netns.sh(`${tool} -I FORWARD -i lo -j ACCEPT; ${tool} -A FORWARD -i lo -j DROP`);
				assert.deepEqual(await chains.resync(), { drifted: ['filter FORWARD hook'] });
				assert.deepEqual(await apply(ruleset({ ...base, 'filter MANX-ACCEPT': ['-j ACCEPT'] }, [forward, accept])), [
					'filter FORWARD hook',
				]);
				assert.deepEqual(rulesOf('FORWARD'), [
					'-j MANX-FORWARD',
					'-i lo -j ACCEPT',
					'-m mark --mark 0x1 -j MANX-ACCEPT',
					'-i lo -j DROP',
				]);
				assert.deepEqual(await chains.resync(), { drifted: [] });
			});

			test('a hook before a final reject comes, and is kept, before the rule that lets nothing past', async () => {
				const wanted = ruleset({ ...base, 'filter MANX-ACCEPT': ['-j ACCEPT'] }, [
					forward,
					{ table: 'filter', chain: 'FORWARD', position: 'before-reject', rule: '-j MANX-ACCEPT' },
				]);
				netns.sh(`${tool} -N ufw-reject && ${tool} -A ufw-reject -p udp -j DROP && ${tool} -A ufw-reject -j REJECT`);
				netns.sh(`${tool} -A FORWARD -i lo -j DROP`);
				await apply(wanted);
				assert.deepEqual(rulesOf('FORWARD'), ['-j MANX-FORWARD', '-i lo -j DROP', '-j MANX-ACCEPT']);
				netns.sh(
					`${tool} -I FORWARD 2 -m comment --comment "the end" -j ufw-reject; ${tool} -A FORWARD -i eth9 -j DROP`,
				);
				assert.deepEqual(await chains.resync(), { drifted: ['filter FORWARD hook'] });
				await apply(wanted);
				assert.deepEqual(rulesOf('FORWARD'), [
					'-j MANX-FORWARD',
					'-j MANX-ACCEPT',
					'-m comment --comment "the end" -j ufw-reject',
					'-i lo -j DROP',
					'-i eth9 -j DROP',
				]);
				assert.deepEqual(await chains.resync(), { drifted: [] });
			});

			test('what others flushed, edited or deleted comes back after a resync that names it', async () => {
				const wanted = ruleset({ ...base, 'filter MANX-MORE': ['-j RETURN'] });
				await apply(wanted);
				netns.sh(`${tool} -F`);
				netns.sh(`${tool} -X MANX-FROM && ${tool} -A MANX-MORE -j ACCEPT && ${tool} -N MANX-ALIEN`);
				assert.deepEqual((await chains.resync()).drifted.toSorted(), [
					'filter FORWARD hook',
					'filter MANX-ALIEN',
					'filter MANX-FORWARD',
					'filter MANX-FROM',
					'filter MANX-MORE',
				]);
				assert.equal((await apply(wanted)).length, 5);
				assert.deepEqual(rulesOf('FORWARD'), ['-j MANX-FORWARD']);
				assert.deepEqual(await chains.resync(), { drifted: [] });
			});

			test('an apply that meets a kernel others changed reads it and mends everything', async () => {
				await apply(ruleset(base));
				netns.sh(`${tool} -F; ${tool} -X`);
				const wanted = { ...base, 'filter MANX-FORWARD': ['-i manx0 -j MANX-FROM', '-j RETURN'] };
				assert.equal((await apply(ruleset(wanted))).length, 3);
				assert.deepEqual(await chains.resync(), { drifted: [] });
			});

			test('stale chains go in the same restore, with the foreign rules that lead to them', async () => {
				netns.sh(
					`${tool} -N MANX-OLD; ${tool} -N MANX-OLDER; ${tool} -A MANX-OLD -j MANX-OLDER; ${tool} -A INPUT -j MANX-OLD`,
				);
				netns.sh(`${tool} -A MANX-OLDER -p tcp -j DROP; ${tool} -A INPUT -p udp -g MANX-OLDER`);
				await apply(ruleset(base));
				assert.doesNotMatch(netns.sh(`${tool}-save`), /MANX-OLD/);
				netns.calls.length = 0;
				const fewer = { 'filter MANX-FORWARD': ['-j RETURN'] };
				assert.deepEqual(await apply(ruleset(fewer)), ['filter MANX-FORWARD', 'filter MANX-FROM']);
				assert.deepEqual(netns.calls, [`${tool}-restore`]);
				assert.deepEqual(await apply(ruleset({}, [])), ['filter FORWARD hook', 'filter MANX-FORWARD']);
				assert.doesNotMatch(netns.sh(`${tool}-save`), /MANX-/);
			});

			test('a refused rule is named, and nothing of its table is changed', async () => {
				await apply(ruleset(base));
				const before = netns.sh(`${tool}-save`).replace(/^#.*$/gm, '');
				for (const [rule, reason] of [
					['-j MANX-NOWHERE', /MANX-NOWHERE/],
					[
						'-m set --match-set nosuchset src -j DROP',
						/-m set --match-set nosuchset src.*nosuchset doesn't exist.*Create the set/s,
					],
					['-p tcp --dport 99999 -j DROP', /--dport 99999.*invalid port/s],
					['-m rpfilter -j DROP', /-A MANX-NEW -m rpfilter -j DROP/],
				] as const) {
					const { changed, error } = await chains.apply(
						ruleset({ ...base, 'filter MANX-FORWARD': ['-j MANX-FROM'], 'filter MANX-NEW': ['-j RETURN', rule] }, [
							forward,
							{ table: 'filter', chain: 'INPUT', position: 'first', rule: '-j MANX-NEW' },
						]),
					);
					assert.deepEqual(changed, []);
					assert.match(error?.message ?? '', reason);
					assert.equal(netns.sh(`${tool}-save`).replace(/^#.*$/gm, ''), before);
				}
				assert.deepEqual(await apply(ruleset(base)), []);
			});

			test('a hook into a chain that does not exist is named, the rest is written', async () => {
				const docker: Hook = { table: 'filter', chain: 'DOCKER-USER', position: 'first', rule: '-j MANX-FORWARD' };
				const { changed, error } = await chains.apply(ruleset(base, [docker]));
				assert.equal(changed.length, 2);
				assert.match(error?.message ?? '', /DOCKER-USER/);
				netns.sh(`${tool} -N DOCKER-USER`);
				assert.deepEqual(await chains.resync(), { drifted: ['filter DOCKER-USER hook'] });
				assert.deepEqual(await apply(ruleset(base, [docker])), ['filter DOCKER-USER hook']);
			});

			test('no apply waits for a resync, which says nothing of what was written meanwhile', async () => {
				let hold = async (): Promise<void> => {};
				const { run } = netns;
				const held = createChains({
					family,
					backend,
					prefix: 'MANX-',
					run: async (file, args, input) => {
						const result = await run(file, args, input);
						if (file.endsWith('-save')) await hold();
						return result;
					},
				});
				await apply(ruleset(base), held);
				netns.sh(`${tool} -A MANX-FORWARD -j DROP`);
				let release = (): void => {};
				const read = new Promise<void>((reached) => {
					hold = () => {
						reached();
						return new Promise((go) => {
							release = go;
						});
					};
				});
				const resync = held.resync();
				await read;
				const edited = { ...base, 'filter MANX-FROM': ['-j DROP'] };
				assert.deepEqual(await apply(ruleset(edited), held), ['filter MANX-FROM']);
				release();
				hold = async () => {};
				assert.deepEqual(await resync, { drifted: ['filter MANX-FORWARD'] });
				assert.deepEqual(await apply(ruleset(edited), held), ['filter MANX-FORWARD']);
				assert.deepEqual(await held.resync(), { drifted: [] });
				assert.deepEqual(rulesOf('MANX-FROM'), ['-j DROP']);
			});

			test('remove takes out hooks and chains and nothing else', async () => {
				netns.sh(`${tool} -A FORWARD -i lo -j ACCEPT`);
				await apply(ruleset({ ...base, 'nat MANX-NAT': ['-j MASQUERADE'] }));
				assert.equal(await create().remove(), undefined);
				assert.doesNotMatch(netns.sh(`${tool}-save`), /MANX-/);
				assert.deepEqual(rulesOf('FORWARD'), ['-i lo -j ACCEPT']);
				assert.equal(await chains.remove(), undefined);
			});

			if (backend === 'legacy') {
				test('a held xtables lock is waited for; one held too long is named', async () => {
					const holder = spawn('flock', [netns.lockFile, 'sh', '-c', 'echo held; exec sleep 2'], {
						stdio: ['ignore', 'pipe', 'ignore'],
					});
					await once(holder.stdout, 'data');
					let released = false;
					const exited = once(holder, 'exit').then(() => {
						released = true;
					});
					const hasty = createChains({ family, backend, prefix: 'MANX-', run: netns.run, lockSeconds: 1 });
					assert.match((await hasty.apply(ruleset(base))).error?.message ?? '', /xtables lock/);
					assert.equal(released, false);
					await apply(ruleset(base));
					await exited;
					assert.deepEqual(rulesOf('FORWARD'), ['-j MANX-FORWARD']);
				});
			}
		});
	}
}
