import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, describe, it } from 'node:test';
import { baseChainFindings, forwardFindings } from '../../src/host/firewalls.ts';
import { ipvsFindings, reversePathFindings } from '../../src/host/interfaces.ts';
import { networkManagerFindings } from '../../src/host/network-manager.ts';
import { networkdFindings } from '../../src/host/networkd.ts';

/** What files, links and rules of a host tell of programs that get in the way. */

describe('host findings', () => {
	let root: string;
	beforeEach(() => {
		root = mkdtempSync(join(tmpdir(), 'manx-host-'));
	});
	afterEach(() => rmSync(root, { recursive: true }));
	const write = (path: string, text: string): void => {
		mkdirSync(dirname(join(root, path)), { recursive: true });
		writeFileSync(join(root, path), text);
	};
	const no = '[Network]\nManageForeignRoutes=no\n';

	describe('systemd-networkd', () => {
		const runs = (): void => write('run/systemd/netif/state', 'OPER_STATE=routable\n');
		const found = (): boolean => networkdFindings(root).length > 0;

		it('is none where it does not run', () => {
			write('etc/systemd/networkd.conf', '[Network]\n#ManageForeignRoutes=yes\n');
			assert.deepEqual(networkdFindings(root), []);
		});
		it('removes routes of others unless told not to, and the fix is named', () => {
			runs();
			const [finding] = networkdFindings(root);
			assert.equal(finding?.code, 'NetworkdForeignRoutes');
			assert.match(finding?.fix ?? '', /ManageForeignRoutes=no/);
			write('etc/systemd/networkd.conf', '[Network]\n#ManageForeignRoutes=no\n');
			assert.ok(found());
		});
		for (const place of [
			'etc/systemd/networkd.conf',
			'usr/lib/systemd/networkd.conf',
			'etc/systemd/networkd.conf.d/manx.conf',
			'run/systemd/networkd.conf.d/manx.conf',
			'usr/lib/systemd/networkd.conf.d/manx.conf',
		]) {
			it(`may be told so in /${place}`, () => {
				runs();
				write(place, no);
				assert.ok(!found());
			});
		}
		it('believes the last of several drop-ins, and of two of one name that in /etc', () => {
			runs();
			write('usr/lib/systemd/networkd.conf.d/20-vendor.conf', no);
			write('etc/systemd/networkd.conf.d/10-first.conf', '[Network]\nManageForeignRoutes = yes\n');
			assert.ok(!found());
			write('etc/systemd/networkd.conf.d/20-vendor.conf', '');
			assert.ok(found());
		});
		it('is not told by another section or by another word', () => {
			runs();
			write('etc/systemd/networkd.conf', '[DHCPv4]\nManageForeignRoutes=no\n[Network]\nManageForeignRoutes=perhaps\n');
			assert.ok(found());
		});
	});

	it('names interfaces of pods that NetworkManager manages, others not', () => {
		const links = [
			{ index: 2, name: 'eth0' },
			{ index: 7, name: 'manx0123456789a' },
			{ index: 8, name: 'manxba987654321' },
		];
		assert.deepEqual(networkManagerFindings(root, links), []);
		write('run/NetworkManager/devices/2', '[device]\nmanaged=true\n');
		write('run/NetworkManager/devices/8', '[device]\nmanaged=false\n');
		assert.deepEqual(networkManagerFindings(root, links), []);
		write('run/NetworkManager/devices/7', '[device]\nmanaged=true\nnm-owned=0\n');
		const [finding] = networkManagerFindings(root, links);
		assert.equal(finding?.code, 'NetworkManagerManagesPods');
		assert.match(finding?.message ?? '', /\(manx0123456789a\)/);
	});

	it('sees IPVS by its interface, and calls the node degraded', () => {
		assert.deepEqual(ipvsFindings([{ name: 'eth0' }]), []);
		assert.equal(ipvsFindings([{ name: 'eth0' }, { name: 'kube-ipvs0' }])[0]?.degraded, true);
	});

	it('minds strict reverse path filters where the way back may be another', () => {
		const address = (dev: string, text: string) => ({ dev, address: text, length: 24, scope: 'global' as const });
		const strict = (name: string): string => (name === 'ipv4/conf/eth1/rp_filter' ? '1' : '0');
		const one = [address('eth1', '192.0.2.1'), address('lo', '192.0.2.9'), address('manx0123456789a', '192.0.2.8')];
		assert.deepEqual(reversePathFindings(one, strict), []);
		const two = [...one, address('eth0', '198.51.100.1')];
		assert.match(reversePathFindings(two, strict)[0]?.message ?? '', /strict on eth1 /);
		// Loose outweighs strict: the kernel takes the greater.
		assert.deepEqual(
			reversePathFindings(two, (name) => (name === 'ipv4/conf/all/rp_filter' ? '2' : strict(name))),
			[],
		);
	});

	describe('a rule that ends FORWARD', () => {
		const save = (...rules: string[]): string =>
			[
				'*filter',
				':FORWARD DROP [0:0]',
				':ufw-reject-forward - [0:0]',
				':MANX-ACCEPT - [0:0]',
				...rules,
				'COMMIT',
			].join('\n');
		const accept = '-A FORWARD -j MANX-ACCEPT';
		const ufw = [
			'-A FORWARD -j ufw-reject-forward',
			'-A ufw-reject-forward -j REJECT --reject-with icmp-port-unreachable',
		];

		it('is told when it comes before our accept, with the way out', () => {
			const [finding] = forwardFindings(save(...ufw, accept), 'MANX-ACCEPT');
			assert.equal(finding?.code, 'ForwardRejects');
			assert.match(finding?.fix ?? '', /acceptBeforeReject: true/);
			assert.match(finding?.message ?? '', /^ufw/);
			assert.equal(forwardFindings(save('-A FORWARD -j DROP', accept), 'MANX-ACCEPT').length, 1);
		});
		it('is no matter behind it, nor is one with a condition, nor a policy of DROP', () => {
			assert.deepEqual(forwardFindings(save(accept, ...ufw), 'MANX-ACCEPT'), []);
			assert.deepEqual(forwardFindings(save('-A FORWARD -s 203.0.113.9/32 -j DROP', accept), 'MANX-ACCEPT'), []);
		});
	});

	it('sees firewalls of nftables that have the last word, and not the tables of iptables', () => {
		const chain = {
			family: 'inet',
			table: 'firewalld',
			name: 'filter_FORWARD',
			type: 'filter',
			hook: 2,
			priority: 10,
			policy: 'accept',
		} as const;
		assert.match(baseChainFindings([chain], ['10.244.0.0/16'])[0]?.fix ?? '', /--add-source=10\.244\.0\.0\/16/);
		const own = { ...chain, table: 'filter', name: 'forward', policy: 'drop' } as const;
		assert.equal(baseChainFindings([own], [])[0]?.code, 'ForeignForwardChain');
		assert.deepEqual(
			baseChainFindings(
				[
					{ ...own, policy: 'accept' },
					{ ...own, hook: 1 },
				],
				[],
			),
			[],
		);
		assert.deepEqual(baseChainFindings([{ ...own, family: 'ip', name: 'FORWARD' }], []), []);
	});
});
