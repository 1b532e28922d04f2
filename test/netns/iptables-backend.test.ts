/** detectBackend: on the real kernel, and with a program missing. */
import assert from 'node:assert/strict';
import { afterEach, beforeEach, describe, test } from 'node:test';
import { detectBackend, type Run } from 'iptables-wrapper';
import { createTestNetns, type TestNetns } from './iptables-netns.ts';

describe('detectBackend', () => {
	let netns: TestNetns;
	beforeEach(() => {
		netns = createTestNetns();
	});
	afterEach(() => netns.remove());
	/** A host where programs whose name contains `word` do not exist. */
	const without =
		(word: string, how: 'rejects' | '127'): Run =>
		async (file, args, input) => {
			if (!file.includes(word)) return netns.run(file, args, input);
			if (how === 'rejects') throw new Error(`spawn ${file} ENOENT`);
			return { code: 127, stdout: '', stderr: 'not found' };
		};

	for (const family of [4, 6] as const) {
		const tool = family === 4 ? 'iptables' : 'ip6tables';

		test(`nft where there are no rules, IPv${family}; looking makes no tables`, async () => {
			const { backend, mixed, reason } = await detectBackend(netns.run, family);
			assert.deepEqual({ backend, mixed }, { backend: 'nft', mixed: false });
			assert.match(reason, /no rules of others/);
			assert.equal(netns.sh(`${tool}-legacy-save`), '');
		});

		for (const [mine, other] of [
			['legacy', 'nft'],
			['nft', 'legacy'],
		] as const) {
			test(`${mine} where most rules of others are, IPv${family}`, async () => {
				netns.sh(`for i in 1 2 3; do ${tool}-${mine} -A INPUT -i lo -j ACCEPT; done`);
				assert.equal((await detectBackend(netns.run, family)).backend, mine);
				netns.sh(`${tool}-${other} -A INPUT -i lo -j ACCEPT`);
				const { backend, mixed } = await detectBackend(netns.run, family);
				assert.deepEqual({ backend, mixed }, { backend: mine, mixed: true });
			});

			test(`${mine} where Kubernetes' chains are, though ${other} has more rules, IPv${family}`, async () => {
				netns.sh(`${tool}-${mine} -t mangle -N KUBE-KUBELET-CANARY`);
				netns.sh(`for i in 1 2 3; do ${tool}-${other} -A INPUT -i lo -j ACCEPT; done`);
				assert.equal((await detectBackend(netns.run, family)).backend, mine);
			});
		}
	}

	test('rules of our own do not count', async () => {
		netns.sh(
			'iptables-nft -N MANX-A; for i in 1 2 3; do iptables-nft -A MANX-A -j DROP; done; iptables-nft -A INPUT -j MANX-A',
		);
		netns.sh('iptables-legacy -A INPUT -i lo -j ACCEPT');
		const { backend, mixed } = await detectBackend(netns.run, 4);
		assert.deepEqual({ backend, mixed }, { backend: 'legacy', mixed: false });
	});

	test('the other backend where the programs of one are missing', async () => {
		netns.sh('for b in legacy nft; do iptables-$b -A INPUT -i lo; done');
		for (const how of ['rejects', '127'] as const) {
			assert.equal((await detectBackend(without('legacy', how), 4)).backend, 'nft');
			assert.equal((await detectBackend(without('nft', how), 4)).backend, 'legacy');
		}
		const neither = await detectBackend(without('tables', '127'), 4);
		assert.match(neither.reason, /neither backend works; install iptables/);
	});
});
