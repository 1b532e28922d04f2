/** Policies, anti-spoofing and masquerade on the real kernel, in both iptables backends and both families. */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { keyOf, type NetworkPolicy } from '../../src/api/objects.ts';
import type { Family } from '../../src/net/ip.ts';
import { makeNamespace, makePod, makePolicy, selector } from '../property/calc-world.ts';
import { addressOf, type Place, type PolicyNode, podNames, ports, startPolicyNode } from './policy-node.ts';

type Probe = { readonly from: Place; readonly to: Place; readonly port?: number; readonly protocol?: 'TCP' | 'UDP' };

for (const backend of ['legacy', 'nft'] as const) {
	describe(`iptables-${backend}`, () => {
		let node: PolicyNode;
		let current: readonly NetworkPolicy[] = [];

		before(async () => {
			node = await startPolicyNode(backend);
			// A host that forwards nothing by itself, as Docker leaves it.
			for (const program of ['iptables', 'ip6tables']) {
				node.exec('node', `${program}-${backend}`, '-P', 'FORWARD', 'DROP');
			}
			node.calc.set(makeNamespace('x', { team: 'x' }));
			node.calc.set(makeNamespace('y', { team: 'y' }));
			for (const name of podNames) {
				const key = `${name === 'c' ? 'y' : 'x'}/${name}`;
				const addresses = [addressOf(name, 4), addressOf(name, 6)];
				const http = { name: 'http', containerPort: ports.http, protocol: 'TCP' } as const;
				node.calc.set(makePod(key, { app: name }, addresses, { ports: [http] }));
				node.calc.setLocalPod({ key, addresses });
			}
			await node.apply();
		});
		after(() => node?.stop());

		const policies = async (...wanted: NetworkPolicy[]): Promise<void> => {
			for (const { metadata } of current) node.calc.delete('NetworkPolicy', keyOf(metadata));
			for (const policy of wanted) node.calc.set(policy);
			current = wanted;
			await node.apply();
		};

		/** What comes back: the address the server saw, or how it failed. A denial is silence, waited for briefly. */
		const probe = ({ from, to, port = ports.http, protocol = 'TCP' }: Probe, family: Family, patience: number) =>
			node.ask(from, { do: 'probe', protocol, address: addressOf(to, family), port, patience });
		const expect = async (probes: { readonly allowed: readonly Probe[]; readonly denied: readonly Probe[] }) => {
			const all = ([4, 6] as const).flatMap((family) => [
				...probes.allowed.map(async (one) => {
					const result = await probe(one, family, 10_000);
					assert.ok(result.includes(family === 4 ? '.' : ':'), `${JSON.stringify(one)} IPv${family}: ${result}`);
				}),
				...probes.denied.map(async (one) => {
					const result = await probe(one, family, 400);
					assert.equal(result, 'silence', `${JSON.stringify(one)} IPv${family}`);
				}),
			]);
			await Promise.all(all);
		};

		test('without policies everyone reaches everyone, although the host forwards nothing', async () => {
			await policies();
			const places: Place[] = ['a', 'b', 'c', 'node', 'outside'];
			const allowed = places.flatMap((from) =>
				places
					.filter((to) => to !== from)
					.flatMap((to): Probe[] => [
						{ from, to },
						{ from, to, protocol: 'UDP' },
					]),
			);
			await expect({ allowed, denied: [] });
		});

		test('ingress: only the selected peer and port, the node always, replies always', async () => {
			await policies(
				makePolicy('x/b', {
					podSelector: selector({ app: 'b' }),
					ingress: [
						{
							peers: [{ podSelector: selector({ app: 'a' }) }],
							ports: [{ protocol: 'TCP', port: ports.http }],
						},
					],
				}),
			);
			await expect({
				allowed: [
					{ from: 'a', to: 'b' },
					{ from: 'node', to: 'b', port: ports.other },
					{ from: 'b', to: 'a' },
					{ from: 'b', to: 'outside', protocol: 'UDP' },
					{ from: 'c', to: 'a' },
				],
				denied: [
					{ from: 'a', to: 'b', port: ports.other },
					{ from: 'a', to: 'b', protocol: 'UDP' },
					{ from: 'c', to: 'b' },
					{ from: 'outside', to: 'b' },
				],
			});
		});

		test('egress: named port of the peers, also towards the node, and both sides count', async () => {
			await policies(
				makePolicy('x/a', {
					podSelector: selector({ app: 'a' }),
					policyTypes: ['Egress'],
					egress: [{ peers: [{ namespaceSelector: selector() }], ports: [{ protocol: 'TCP', port: 'http' }] }],
				}),
				makePolicy('y/none', { podSelector: selector() }),
			);
			await expect({
				allowed: [
					{ from: 'a', to: 'b' },
					{ from: 'b', to: 'a', port: ports.other },
					{ from: 'outside', to: 'a' },
					{ from: 'c', to: 'a' },
				],
				denied: [
					{ from: 'a', to: 'b', port: ports.other },
					{ from: 'a', to: 'c' },
					{ from: 'a', to: 'node' },
					{ from: 'a', to: 'outside' },
				],
			});
		});

		test('ipBlock with /0 and except; more ports than one rule holds', async () => {
			const many = Array.from({ length: 20 }, (_, i) => ({ protocol: 'UDP' as const, port: 2 * i + 43 }));
			const block = (cidr: string, except: string) => ({ ipBlock: { cidr, except: [except] } });
			await policies(
				makePolicy('x/all', {
					podSelector: selector(),
					ingress: [
						{
							peers: [block('0.0.0.0/0', '10.244.1.3/32'), block('::/0', 'fd00:244::3/128')],
							ports: many,
						},
					],
				}),
			);
			await expect({
				allowed: [
					{ from: 'a', to: 'b', port: ports.other, protocol: 'UDP' },
					{ from: 'outside', to: 'b', port: ports.other, protocol: 'UDP' },
				],
				denied: [
					{ from: 'c', to: 'b', port: ports.other, protocol: 'UDP' },
					{ from: 'outside', to: 'b', port: ports.other },
					{ from: 'outside', to: 'b', port: ports.http, protocol: 'UDP' },
				],
			});
		});

		test('a pod sends from its own addresses only', async () => {
			await policies();
			for (const family of [4, 6] as const) {
				const stolen = family === 4 ? '10.244.1.77' : 'fd00:244::77';
				const length = family === 4 ? 32 : 128;
				node.exec('a', 'ip', 'address', 'add', `${stolen}/${length}`, 'dev', 'lo');
				// The way back is open: only the source rule stands between.
				node.exec('node', 'ip', `-${family}`, 'route', 'add', `${stolen}/${length}`, 'dev', 'manxa');
				const command = { do: 'probe', protocol: 'UDP', address: addressOf('b', family), port: 80 } as const;
				assert.equal(await node.ask('a', { ...command, from: stolen, patience: 400 }), 'silence');
				assert.equal(
					await node.ask('a', { ...command, from: addressOf('a', family), patience: 10_000 }),
					addressOf('a', family),
				);
			}
		});

		test('a pod that the calculation does not know is dropped, not let through', async () => {
			await policies();
			node.calc.deleteLocalPod('x/b');
			await node.apply();
			await expect({
				allowed: [{ from: 'a', to: 'c' }],
				denied: [
					{ from: 'a', to: 'b' },
					{ from: 'b', to: 'c' },
				],
			});
			node.calc.setLocalPod({ key: 'x/b', addresses: [addressOf('b', 4), addressOf('b', 6)] });
			await node.apply();
			await expect({ allowed: [{ from: 'a', to: 'b' }], denied: [] });
		});

		test('the outside sees the node, pods see pods, and nothing to a pod is masqueraded', async () => {
			await policies();
			for (const family of [4, 6] as const) {
				const seen = (from: Place, to: Place) => probe({ from, to }, family, 10_000);
				assert.equal(await seen('a', 'outside'), addressOf('node', family));
				assert.equal(await seen('a', 'b'), addressOf('a', family));
				assert.equal(await seen('outside', 'a'), addressOf('outside', family));
				assert.equal(await seen('a', 'node'), addressOf('a', family));
			}
		});

		test('an isolated pod reaches itself through its Service', async () => {
			await policies(makePolicy('x/none', { podSelector: selector(), policyTypes: ['Ingress', 'Egress'] }));
			for (const [family, program, service] of [
				[4, 'iptables', '10.96.0.1'],
				[6, 'ip6tables', 'fd00:96::1'],
			] as const) {
				const nat = (...args: string[]) => node.exec('node', `${program}-${backend}`, '-t', 'nat', ...args);
				const own = addressOf('a', family);
				const target = family === 4 ? `${own}:80` : `[${own}]:80`;
				nat('-A', 'PREROUTING', '-d', service, '-p', 'tcp', '--dport', '80', '-j', 'DNAT', '--to-destination', target);
				nat('-A', 'POSTROUTING', '-s', own, '-d', own, '-j', 'MASQUERADE');
				const command = { do: 'probe', protocol: 'TCP', address: service, port: 80 } as const;
				assert.equal(await node.ask('a', { ...command, patience: 10_000 }), addressOf('node', family));
				assert.equal(await node.ask('b', { ...command, patience: 400 }), 'silence');
			}
		});

		test('a connection a new policy forbids is reset, whichever side sends, and does not come back', async () => {
			for (const [sender, family] of [
				['client', 4],
				['client', 6],
				['server', 4],
				['server', 6],
			] as const) {
				await policies();
				const name = `${sender}${family}`;
				const address = addressOf('b', family);
				assert.equal(await node.ask('outside', { do: 'open', name, address, port: 80 }), 'open');
				await policies(makePolicy('x/none', { podSelector: selector({ app: 'b' }) }));
				node.exec('node', 'conntrack', '-D', '-f', family === 4 ? 'ipv4' : 'ipv6', '-d', address);
				if (sender === 'server') {
					// Alone: its packets must neither arrive nor open the way back for the client's.
					await node.ask('b', { do: 'serverSend' });
					await node.ask('b', { do: 'serverEnded' });
				}
				await node.ask('outside', { do: 'send', name });
				assert.equal(await node.ask('outside', { do: 'ended', name }), 'ECONNRESET');
			}
		});
	});
}
