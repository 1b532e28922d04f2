/** Whatever came before, and whatever others did meanwhile: after resync and apply the kernel holds what is wanted. */
import assert from 'node:assert/strict';
import { afterEach, beforeEach, describe, test } from 'node:test';
import fc from 'fast-check';
import {
	createChains,
	createIpsets,
	type Hook,
	type IpsetSpec,
	normaliseRule,
	parseSave,
	type Ruleset,
} from 'iptables-wrapper';
import { createTestNetns, type TestNetns } from '../netns/iptables-netns.ts';

const chainNames = ['MANX-A', 'MANX-B', 'MANX-C', 'MANX-D'];
const simpleRule = fc.constantFrom(
	'-i lo -j RETURN',
	'-p tcp --dport 80 -j ACCEPT',
	'-j DROP',
	'-s 10.0.0.1 -j ACCEPT',
	'-p udp -j RETURN',
);
/** Chains jump only to later ones, so there is no loop. */
const wantedRuleset: fc.Arbitrary<Ruleset> = fc
	.tuple(
		fc.array(fc.array(simpleRule, { maxLength: 4 }), { minLength: 4, maxLength: 4 }),
		fc.subarray(chainNames),
		fc.subarray([0, 1, 2]),
		fc.constantFrom<Hook['position']>('first', 'append', 'before-reject'),
	)
	.map(([bodies, present, jumps, position]) => {
		const chains = new Map<string, readonly string[]>();
		for (const [i, name] of chainNames.entries()) {
			if (!present.includes(name)) continue;
			const next = chainNames[i + 1];
			const jump = jumps.includes(i) && next !== undefined && present.includes(next) ? [`-j ${next}`] : [];
			chains.set(`filter ${name}`, [...(bodies[i] ?? []), ...jump]);
		}
		const hooks: Hook[] = present.slice(0, 2).map((name, i) => ({
			table: 'filter',
			chain: i === 0 ? 'FORWARD' : 'INPUT',
			position,
			rule: `-i eth${i} -j ${name}`,
		}));
		return { chains, hooks };
	});

const meddling = [
	'-F',
	'-F FORWARD',
	'-F MANX-A',
	'-A MANX-B -j ACCEPT',
	'-D MANX-A 1',
	'-I FORWARD -i foreign0 -j ACCEPT',
	'-A FORWARD -j MANX-A',
	'-N MANX-ALIEN',
	'-A INPUT -i foreign1 -j DROP',
	'-D FORWARD 1',
	'-X MANX-D',
] as const;

type Step = { readonly wanted: Ruleset } | { readonly meddle: string } | { readonly restart: true };
const steps = fc.array(
	fc.oneof(
		{ weight: 3, arbitrary: wantedRuleset.map((wanted): Step => ({ wanted })) },
		{ weight: 2, arbitrary: fc.constantFrom(...meddling).map((meddle): Step => ({ meddle })) },
		{ weight: 1, arbitrary: fc.constant<Step>({ restart: true }) },
	),
	{ minLength: 3, maxLength: 12 },
);

let netns: TestNetns;
beforeEach(() => {
	netns = createTestNetns();
});
afterEach(() => netns.remove());

describe('createChains', () => {
	for (const backend of ['legacy', 'nft'] as const) {
		test(`ends at what is wanted, foreign rules kept, iptables-${backend}`, async () => {
			const tool = `iptables-${backend}`;
			const foreignRules = async (): Promise<string[]> => {
				const saved = parseSave((await netns.run(`${tool}-save`, [])).stdout).get('filter');
				return ['INPUT', 'FORWARD', 'OUTPUT'].flatMap((chain) =>
					(saved?.get(chain)?.rules ?? [])
						.filter(({ text }) => !text.includes('MANX-'))
						.map(({ text }) => `${chain} ${text}`),
				);
			};
			await fc.assert(
				fc.asyncProperty(steps, wantedRuleset, async (before, last) => {
					let chains = createChains({ family: 4, backend, prefix: 'MANX-', run: netns.run });
					for (const step of before) {
						// Jumps of others into a chain that is to go can only be known by reading: errors are for the next pass.
						if ('wanted' in step) await chains.apply(step.wanted);
						else if ('meddle' in step) await netns.run(tool, step.meddle.split(' '));
						else chains = createChains({ family: 4, backend, prefix: 'MANX-', run: netns.run });
					}
					const foreign = await foreignRules();
					await chains.resync();
					const { error } = await chains.apply(last);
					assert.equal(error, undefined, error?.message);
					assert.deepEqual(await chains.resync(), { drifted: [] });
					assert.deepEqual(await foreignRules(), foreign);
					const saved = parseSave((await netns.run(`${tool}-save`, [])).stdout).get('filter');
					const owned = [...(saved ?? [])].filter(([name]) => name.startsWith('MANX-'));
					assert.deepEqual(owned.map(([name]) => `filter ${name}`).sort(), [...last.chains.keys()].sort());
					for (const [name, { rules }] of owned) {
						const wanted = last.chains.get(`filter ${name}`) ?? [];
						assert.deepEqual(
							rules.map(({ text }) => normaliseRule(text)),
							wanted.map(normaliseRule),
						);
					}
					for (const { chain, position, rule } of last.hooks) {
						const texts = (saved?.get(chain)?.rules ?? []).map(({ text }) => text);
						const at = texts.indexOf(rule);
						assert.ok(at === 0 || (at > 0 && position !== 'first'), `${rule} in ${chain}: ${texts}`);
						assert.equal(texts.filter((text) => text.includes('MANX-')).length, 1);
					}
					assert.deepEqual(await chains.apply(last), { changed: [] });
				}),
				{ numRuns: 20, endOnFailure: true },
			);
		});
	}
});

const pool = Array.from({ length: 6 }, (_, i) => `10.0.0.${i + 1}`);
const wantedSets: fc.Arbitrary<Map<string, IpsetSpec>> = fc
	.array(fc.tuple(fc.constantFrom('manx-a', 'manx-b', 'manx-c'), fc.subarray(pool)))
	.map(
		(list) =>
			new Map(list.map(([name, members]) => [name, { name, type: 'hash:ip', family: 4, members: new Set(members) }])),
	);

describe('createIpsets', () => {
	test('ends at what is wanted, however calls and other hands interleave', async () => {
		const setSteps = fc.array(
			fc.oneof(
				wantedSets,
				fc.constantFrom('add', 'remove', 'resync', 'restart'),
				fc.constantFrom(
					'destroy manx-a',
					'flush manx-b',
					'add manx-a 10.0.0.1',
					'del manx-a 10.0.0.2',
					'add manx-b 192.0.2.1',
					'create manx-z hash:ip',
				),
			),
			{ maxLength: 15 },
		);
		await fc.assert(
			fc.asyncProperty(setSteps, wantedSets, async (before, last) => {
				let sets = createIpsets({ prefix: 'manx-', run: netns.run });
				for (const step of before) {
					if (typeof step !== 'string') sets.want(step);
					else if (step === 'add') await sets.applyAdditions();
					else if (step === 'remove') await sets.applyRemovals();
					else if (step === 'resync') await sets.resync();
					else if (step === 'restart') sets = createIpsets({ prefix: 'manx-', run: netns.run });
					else await netns.run('ipset', step.split(' '));
				}
				await sets.resync();
				sets.want(last);
				const added = await sets.applyAdditions();
				const removed = await sets.applyRemovals();
				assert.equal(added.error ?? removed.error, undefined, added.error?.message ?? removed.error?.message);
				assert.deepEqual(await sets.resync(), { drifted: [] });
				const text = (await netns.run('ipset', ['save'])).stdout;
				const got = [...text.matchAll(/^(?:create|add) (\S+)(?: (\d\S+))?/gm)].map(
					([, name, member]) => `${name} ${member ?? ''}`,
				);
				const wanted = [...last].flatMap(([name, { members }]) => [
					`${name} `,
					...[...members].map((m) => `${name} ${m}`),
				]);
				assert.deepEqual(got.sort(), wanted.sort());
				netns.calls.length = 0;
				await sets.applyAdditions();
				await sets.applyRemovals();
				assert.deepEqual(netns.calls, []);
			}),
			{ numRuns: 40, endOnFailure: true },
		);
	});
});
