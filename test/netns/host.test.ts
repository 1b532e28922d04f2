import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, it } from 'node:test';
import { createChains, createIpsets, removeLeftovers } from 'iptables-wrapper';
import { createHostChecks } from '../../src/host/checks.ts';
import { features, kernelFindings } from '../../src/host/kernel-features.ts';
import { listBaseChains } from '../../src/kernel/base-chains.ts';
import type { Kernel } from '../../src/kernel/kernel.ts';
import { inNetns } from '../../src/kernel/netns.ts';
import { openKernel } from '../../src/kernel/open-kernel.ts';
import { openSysctls } from '../../src/kernel/sysctl.ts';
import type { Logger } from '../../src/logging.ts';
import { createTestNetns, type TestNetns } from './iptables-netns.ts';

/** The host checks on a real kernel: links, rules of both backends, nftables of others, what the kernel can do. */

const silent: Logger = { debug: () => {}, info: () => {}, warn: () => {}, error: () => {}, child: () => silent };

describe('host checks in a network namespace', { timeout: 120_000 }, () => {
	let netns: TestNetns;
	let kernel: Kernel;
	let folder: string;
	beforeEach(() => {
		netns = createTestNetns();
		kernel = openKernel({ log: silent, netns: `/run/netns/${netns.name}`, watch: false });
		folder = mkdtempSync(join(tmpdir(), 'manx-host-'));
	});
	afterEach(() => {
		kernel.close();
		netns.remove();
		rmSync(folder, { recursive: true });
	});
	const baseChains = () => listBaseChains((run) => inNetns(`/run/netns/${netns.name}`, run));
	const codes = async (mixed = false, contested: readonly string[] = []): Promise<string[]> => {
		const checks = createHostChecks({
			nodeName: 'n1',
			root: folder,
			runDir: folder,
			kernel,
			run: netns.run,
			readSysctl: openSysctls({ netns: `/run/netns/${netns.name}` }).read,
			felix: () => ({ backend: 'nft', mixed, contested }),
			baseChains,
			podNetworks: [],
			log: silent,
		});
		await checks.look();
		checks.close();
		assert.equal(checks.problems().length + checks.warnings().length, checks.findings().length);
		return checks.findings().map(({ code }) => code);
	};

	it('find nothing on a plain host, and make no tables', async () => {
		assert.deepEqual(await codes(), []);
		assert.equal(netns.sh('iptables-legacy-save'), '');
		assert.equal(netns.sh('nft list tables; ipset list -n'), '');
	});

	it('find kube-ipvs0, a final reject, a firewall of nftables, mixed backends and a contested setting', async () => {
		netns.sh('ip link add kube-ipvs0 type veth peer name other');
		netns.sh('iptables-nft -N ufw-reject-forward; iptables-nft -A ufw-reject-forward -j REJECT');
		netns.sh(
			'iptables-nft -A FORWARD -j ufw-reject-forward; iptables-nft -N MANX-ACCEPT; iptables-nft -A FORWARD -j MANX-ACCEPT',
		);
		netns.sh(
			"nft add table inet firewalld; nft 'add chain inet firewalld filter_FORWARD { type filter hook forward priority 10; }'",
		);
		netns.sh(
			"nft add table inet strict; nft 'add chain inet strict forward { type filter hook forward priority 0; policy drop; }'",
		);
		const found = await codes(true, ['net/ipv4/ip_forward']);
		assert.deepEqual(found.sort(), [
			'Firewalld',
			'ForeignForwardChain',
			'ForwardRejects',
			'KubeProxyIPVS',
			'MixedIptables',
			'SettingContested',
		]);
		const { policy, priority } = (await baseChains()).find(({ table }) => table === 'strict') ?? assert.fail();
		assert.deepEqual({ policy, priority }, { policy: 'drop', priority: 0 });
	});

	for (const backend of ['nft', 'legacy'] as const) {
		it(`an accept before the reject lets nothing be refused any more, ${backend}`, async () => {
			const chains = createChains({ family: 4, backend, prefix: 'MANX-', run: netns.run });
			netns.sh(`iptables-${backend} -A FORWARD -j REJECT`);
			const hook = { table: 'filter', chain: 'FORWARD', rule: '-j MANX-ACCEPT' } as const;
			const content = new Map([['filter MANX-ACCEPT', ['-o manx+ -j ACCEPT']]]);
			await chains.apply({ chains: content, hooks: [{ ...hook, position: 'append' }] });
			assert.match(netns.sh(`iptables-${backend} -S FORWARD`), /REJECT.*\n-A FORWARD -j MANX-ACCEPT/);
			await chains.apply({ chains: content, hooks: [{ ...hook, position: 'before-reject' }] });
			assert.match(netns.sh(`iptables-${backend} -S FORWARD`), /-j MANX-ACCEPT\n-A FORWARD -j REJECT/);
		});

		it(`rules of ours in the other backend go, with the sets they used; those of others stay, ${backend} left`, async () => {
			const prefix = { prefix: 'MANX-', run: netns.run } as const;
			const sets = createIpsets({ prefix: 'manx-', run: netns.run });
			const members = new Set(['10.0.0.0/8']);
			sets.want(new Map([['manx-4-old', { name: 'manx-4-old', type: 'hash:net', family: 4, members }]]));
			await sets.applyAdditions();
			netns.sh(`iptables-${backend} -A FORWARD -s 203.0.113.9 -j DROP`);
			await createChains({ family: 4, backend, ...prefix }).apply({
				chains: new Map([['filter MANX-FORWARD', ['-m set --match-set manx-4-old src -j DROP']]]),
				hooks: [{ table: 'filter', chain: 'FORWARD', position: 'first', rule: '-j MANX-FORWARD' }],
			});
			for (const family of [4, 6] as const) {
				const { found, error } = await removeLeftovers({ family, backend, ...prefix });
				assert.equal(error, undefined);
				assert.equal(found, family === 4);
			}
			const left = netns.sh(`iptables-${backend}-save`);
			assert.ok(!left.includes('MANX') && left.includes('203.0.113.9'), left);
			sets.want(new Map());
			assert.equal((await sets.applyRemovals()).error, undefined);
			assert.equal(netns.sh('ipset list -n'), '');
		});

		it(`tell what the kernel lacks, by trying it in a namespace of its own, ${backend}`, async () => {
			assert.deepEqual(await kernelFindings(netns.run, backend, [4, 6]), []);
			const missing = { name: 'match ipvs', modules: 'xt_nonsense', command: '$IPTABLES -A FORWARD -m nonsense' };
			const [first = assert.fail(), ...more] = await kernelFindings(netns.run, backend, [4, 6], [...features, missing]);
			assert.deepEqual(more, []);
			assert.match(first.message, /lacks match ipvs for IPv4 and IPv6 \(.*nonsense/);
			assert.match(first.fix, /modprobe xt_nonsense/);
			assert.ok(first.degraded);
			assert.equal(netns.sh('ipset list -n'), '');
		});
	}
});
