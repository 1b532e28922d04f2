/**
 * What the kernel or its tools refuse of policies: it is left out by itself, what it would let pass is dropped, its policy is
 * named, everything else is written, and it heals when the cause goes.
 */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readdirSync, rmSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { createChains, createIpsets, type Run } from 'iptables-wrapper';
import { createPolicyCalc } from '../../felix/calc/index.ts';
import { createDesired } from '../../felix/dataplane/desired.ts';
import { createPolicyWriter } from '../../felix/dataplane/policy-writer.ts';
import { createRun } from '../../src/kernel/run.ts';
import type { Logger } from '../../src/logging.ts';
import { makeNamespace, makePod, makePolicy, selector } from '../property/calc-world.ts';

const program = createRun();
const lockSeconds = Number(process.env.LOCK_SECONDS ?? 3);
const libraries = ['/usr/lib/x86_64-linux-gnu/xtables', '/usr/lib/aarch64-linux-gnu/xtables'];
/** Where iptables finds its extensions, but for one. */
const librariesWithout = (name: string): string => {
	const folder = mkdtempSync(join(tmpdir(), 'xtables-'));
	for (const from of libraries) {
		let files: string[] = [];
		try {
			files = readdirSync(from);
		} catch {}
		for (const file of files) if (!file.includes(name)) symlinkSync(join(from, file), join(folder, file));
	}
	return folder;
};

for (const backend of ['nft', 'legacy'] as const) {
	describe(`what is refused, iptables ${backend}`, () => {
		const netns = `manxt-${process.pid}-refused-${backend}`;
		let environment: string[] = [];
		const run: Run = (file, args, input) =>
			program('ip', ['netns', 'exec', netns, 'env', ...environment, file, ...args], input);
		const node = async (...argv: string[]): Promise<string> => {
			const { code, stdout, stderr } = await run(argv[0] as string, argv.slice(1));
			assert.equal(code, 0, `${argv.join(' ')}: ${stderr}`);
			return stdout;
		};
		const said: string[] = [];
		const log: Logger = {
			debug: () => {},
			info: (_, text) => void said.push(text),
			warn: (_, text) => void said.push(text),
			error: (_, text) => void said.push(text),
			child: () => log,
		};
		let clock = 0;
		const calc = createPolicyCalc();
		const writer = createPolicyWriter({
			chains: {
				4: createChains({ family: 4, backend, prefix: 'MANX-', run, lockSeconds: 1 }),
				6: createChains({ family: 6, backend, prefix: 'MANX-', run, lockSeconds: 1 }),
			},
			ipsets: createIpsets({ prefix: 'manx-', run, maxMembers: 8 }),
			now: () => clock,
			log,
		});
		const desired = createDesired();
		const write = async (): Promise<void> => {
			const wanted = desired(
				{
					policy: calc.state,
					settings: { masquerade: false },
					podNetworks: [],
					localPodCIDRs: [],
					nonMasqueradeCIDRs: [],
					routes: [],
				},
				[],
			);
			assert.equal(await writer.write(wanted), undefined);
		};
		const rules = (): Promise<string> => node(`iptables-${backend}-save`, '-t', 'filter');
		const named = (): string[][] => writer.refusals().map(({ policies }) => [...policies]);

		before(async () => {
			assert.equal((await program('ip', ['netns', 'add', netns])).code, 0);
			calc.set(makeNamespace('x'));
			for (const [i, name] of ['a', 'b', 'c'].entries()) {
				calc.set(makePod(`x/${name}`, { app: name }, [`10.0.0.${i + 1}`]));
				calc.setLocalPod({ key: `x/${name}`, addresses: [`10.0.0.${i + 1}`] });
			}
			calc.set(
				makePolicy('x/good', {
					podSelector: selector({ app: 'a' }),
					ingress: [{ peers: [{ podSelector: selector({ app: 'c' }) }], ports: [] }],
				}),
			);
			await write();
			assert.match(await rules(), /x\/good/);
		});
		after(async () => {
			await program('ip', ['netns', 'del', netns]);
		});

		it(`rules wait for the xtables lock, held for ${lockSeconds} s, and say so`, async () => {
			// iptables-nft has no such lock.
			if (backend === 'nft') return;
			const file = join(tmpdir(), `${netns}.lock`);
			environment = [`XTABLES_LOCKFILE=${file}`];
			const holder = spawn('flock', [file, 'sh', '-c', `echo held; exec sleep ${lockSeconds}`]);
			await once(holder.stdout, 'data');
			calc.set(makePolicy('x/late', { podSelector: selector({ app: 'c' }) }));
			const written = write();
			let told: string | undefined;
			while (told === undefined && holder.exitCode === null) {
				await new Promise((resolve) => setTimeout(resolve, 20));
				told = writer.waiting();
			}
			await written;
			environment = [];
			rmSync(file, { force: true });
			assert.match(told ?? '', /another program holds the xtables lock/);
			assert.equal(writer.waiting(), undefined);
			assert.match(await rules(), /MANX-I-/);
			assert.deepEqual(said.slice(-2), [
				'another program holds the xtables lock; waiting for it',
				'the xtables lock is free again',
			]);
			calc.delete('NetworkPolicy', 'x/late');
			await write();
		});

		it('a set whose name is taken by another of another type', async () => {
			const policy = makePolicy('x/clash', {
				podSelector: selector({ app: 'b' }),
				ingress: [
					{ peers: [{ podSelector: selector({ app: 'a' }) }], ports: [] },
					{ peers: [{ podSelector: selector({ app: 'c' }) }], ports: [{ protocol: 'TCP', port: 443 }] },
				],
			});
			calc.set(policy);
			const state = calc.state(4);
			const name = state.groups
				.flatMap((group) => group.rules)
				.find((rule) => rule.policy === 'x/clash' && rule.ports === undefined)?.peerSet;
			assert.ok(name);
			await node('ipset', 'create', name, 'hash:net');
			await node('ipset', 'add', name, '10.0.0.0/8');
			await node(`iptables-${backend}`, '-A', 'OUTPUT', '-m', 'set', '--match-set', name, 'dst', '-j', 'ACCEPT');
			await write();
			assert.deepEqual(named(), [['x/clash']]);
			assert.match(writer.refusals()[0]?.reason ?? '', /another type/);
			const text = await rules();
			assert.ok(!text.split('\n').some((line) => line.includes('MANX-') && line.includes(name)), text);
			assert.match(text, /--dports 443 .*x\/clash/);
			assert.match(text, /x\/good/);
			assert.match(said.at(-1) ?? '', /part of x\/clash is not in force/);

			await node(`iptables-${backend}`, '-F', 'OUTPUT');
			await write();
			assert.deepEqual(named(), []);
			assert.ok((await rules()).split('\n').some((line) => line.includes('MANX-I-') && line.includes(name)));
			calc.delete('NetworkPolicy', 'x/clash');
			await write();
		});

		it('a set that outgrows what a set may hold', async () => {
			const peer = (i: number) => makePod(`x/peer${i}`, { app: 'peer' }, [`10.1.0.${i}`]);
			calc.set(
				makePolicy('x/large', {
					podSelector: selector({ app: 'b' }),
					ingress: [{ peers: [{ podSelector: selector({ app: 'peer' }) }], ports: [] }],
				}),
			);
			for (let i = 1; i <= 8; i++) calc.set(peer(i));
			await write();
			assert.deepEqual(named(), []);
			calc.set(peer(9));
			await write();
			assert.deepEqual(named(), [['x/large']]);
			assert.match(writer.refusals()[0]?.reason ?? '', /^Set manx-4-s-\S+ is too large: it may hold 8 members/);
			const name = calc
				.state(4)
				.groups.flatMap((group) => group.rules)
				.find(({ policy }) => policy === 'x/large')?.peerSet;
			const members = (await node('ipset', 'save', name ?? '')).split('\n').filter((line) => line.startsWith('add'));
			assert.equal(members.length, 8, 'nobody else is let in');
			assert.match(await rules(), /x\/good/);
			calc.delete('Pod', 'x/peer1');
			await write();
			// Members come before others go: there is room the next time.
			await write();
			assert.deepEqual(named(), []);
			calc.delete('NetworkPolicy', 'x/large');
			await write();
		});

		it('a rule with a match that is not there', async () => {
			const without = librariesWithout('libxt_multiport');
			try {
				environment = [`XTABLES_LIBDIR=${without}`];
				calc.set(
					makePolicy('x/ports', {
						podSelector: selector({ app: 'b' }),
						ingress: [
							{ peers: [{ podSelector: selector({ app: 'a' }) }], ports: [{ protocol: 'SCTP', port: 9 }] },
							{ peers: [{ podSelector: selector({ app: 'c' }) }], ports: [] },
						],
					}),
				);
				await write();
				assert.deepEqual(named(), [['x/ports']]);
				assert.match(writer.refusals()[0]?.reason ?? '', /multiport/);
				environment = [];
				const closed = await rules();
				assert.ok(!closed.includes('--dports 9 '), closed);
				// The other rule of the policy is in force, and so is the other policy.
				assert.match(closed, /-A MANX-I-\S+ -m set --match-set \S+ src -m comment --comment "?x\/ports/);
				assert.match(closed, /x\/good/);
				await write();
				assert.deepEqual(named(), [['x/ports']], 'it is not tried at once again');
				clock += 60_000;
				await write();
				assert.deepEqual(named(), []);
				assert.match(await rules(), /--dports 9 .*x\/ports/);
				assert.match(said.at(-1) ?? '', /in force now/);
			} finally {
				rmSync(without, { recursive: true });
			}
		});
	});
}
