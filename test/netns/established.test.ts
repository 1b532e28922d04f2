/** Connections that a tightened policy ends, and those it leaves alone, on the real kernel. */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { type ConnectionEnder, createConnectionEnder } from '../../felix/dataplane/connection-ender.ts';
import { keyOf, type NetworkPolicy } from '../../src/api/objects.ts';
import type { Kernel } from '../../src/kernel/kernel.ts';
import { openKernel } from '../../src/kernel/open-kernel.ts';
import type { Logger } from '../../src/logging.ts';
import type { Family } from '../../src/net/ip.ts';
import { makeNamespace, makePod, makePolicy, selector } from '../property/calc-world.ts';
import { until } from './kernel-netns.ts';
import { addressOf, type Place, type PolicyNode, podNames, ports, startPolicyNode } from './policy-node.ts';

const log: Logger = { debug: () => {}, info: () => {}, warn: () => {}, error: () => {}, child: () => log };
const families = [4, 6] as const;
const service = { 4: '10.96.0.1', 6: 'fd00:96::1' } as const;

for (const backend of ['legacy', 'nft'] as const) {
	describe(`iptables-${backend}`, () => {
		let node: PolicyNode;
		let kernel: Kernel;
		let ender: ConnectionEnder;
		let current: readonly NetworkPolicy[] = [];

		before(async () => {
			node = await startPolicyNode(backend);
			kernel = openKernel({ log, netns: node.netns('node'), watch: false });
			const own = ['node'].flatMap(() => families.map((family) => addressOf('node', family)));
			ender = createConnectionEnder({
				endConnections: kernel.endConnections,
				isNode: (address) => own.includes(address),
				later: (milliseconds, action) => void setTimeout(action, milliseconds),
				now: () => performance.now(),
				log,
			});
			node.calc.set(makeNamespace('x'));
			for (const name of podNames) {
				const addresses = families.map((family) => addressOf(name, family));
				node.calc.set(makePod(`x/${name}`, { app: name }, addresses));
				node.calc.setLocalPod({ key: `x/${name}`, addresses });
			}
			for (const family of families) {
				const program = `${family === 4 ? 'iptables' : 'ip6tables'}-${backend}`;
				const nat = (...args: string[]) => node.exec('node', program, '-t', 'nat', '-A', 'PREROUTING', ...args);
				const address = addressOf('b', family);
				for (const protocol of ['tcp', 'udp']) {
					const to = family === 4 ? `${address}:80` : `[${address}]:80`;
					nat('-d', service[family], '-p', protocol, '--dport', '8000', '-j', 'DNAT', '--to-destination', to);
				}
			}
			await policies();
		});
		after(async () => {
			await ender?.close();
			kernel?.close();
			await node?.stop();
		});

		const policies = async (...wanted: NetworkPolicy[]): Promise<void> => {
			for (const { metadata } of current) node.calc.delete('NetworkPolicy', keyOf(metadata));
			for (const policy of wanted) node.calc.set(policy);
			current = wanted;
			await node.apply();
			ender.inForce({ 4: node.calc.state(4), 6: node.calc.state(6) });
			await until(() => !ender.pending(), 'connections have been looked at');
		};
		const open = async (from: Place, name: string, address: string, port: number): Promise<void> =>
			assert.equal(await node.ask(from, { do: 'open', name, address, port }), 'open');
		const entries = (family: Family, ...filter: string[]): string[] =>
			node
				.exec('node', 'conntrack', '-L', '-o', 'id', '-f', family === 4 ? 'ipv4' : 'ipv6', ...filter)
				.split('\n')
				.flatMap((line) => /id=(\d+)/.exec(line)?.[1] ?? []);

		const shut = makePolicy('x/shut', {
			podSelector: selector({ app: 'b' }),
			ingress: [{ peers: [{ podSelector: selector({ app: 'c' }) }], ports: [] }],
		});
		const noEgress = makePolicy('x/no-egress', { podSelector: selector({ app: 'a' }), policyTypes: ['Egress'] });

		for (const family of families) {
			const b = addressOf('b', family);

			test(`TCP over IPv${family}: reset whoever sends; through a Service as well; allowed ones stay as they are`, async () => {
				await policies();
				await open('outside', 'outside', b, ports.http);
				await open('a', 'direct', b, ports.http);
				await open('a', 'service', service[family], 8000);
				await open('c', 'allowed', b, ports.http);
				await open('node', 'probe', b, ports.http);
				await open('b', 'reverse', addressOf('a', family), ports.other);
				const kept = ['c', 'node'].flatMap((from) => entries(family, '-s', addressOf(from as Place, family), '-d', b));
				assert.equal(kept.length, 2);
				await node.ask('outside', { do: 'send', name: 'outside' });
				await policies(shut);
				// The server sends on all of them, the clients of two only.
				await node.ask('b', { do: 'serverSend' });
				await node.ask('a', { do: 'send', name: 'direct' });
				assert.equal(await node.ask('a', { do: 'ended', name: 'direct' }), 'ECONNRESET');
				assert.equal(await node.ask('outside', { do: 'ended', name: 'outside' }), 'ECONNRESET');
				await node.ask('a', { do: 'send', name: 'service' });
				assert.equal(await node.ask('a', { do: 'ended', name: 'service' }), 'ECONNRESET');
				for (const [place, name] of [
					['c', 'allowed'],
					['node', 'probe'],
					['b', 'reverse'],
				] as const) {
					assert.equal(await node.ask(place, { do: 'echo', name }), 'echo', name);
					await node.ask(place, { do: 'close', name });
				}
				assert.deepEqual(
					['c', 'node'].flatMap((from) => entries(family, '-s', addressOf(from as Place, family), '-d', b)),
					kept,
				);
			});

			test(`TCP over IPv${family}: only the server sends, and is alone with it`, async () => {
				await policies();
				await open('a', 'silent', b, ports.http);
				await policies(shut);
				await node.ask('b', { do: 'serverSend' });
				await node.ask('b', { do: 'serverEnded' });
				await node.ask('a', { do: 'send', name: 'silent' });
				assert.equal(await node.ask('a', { do: 'ended', name: 'silent' }), 'ECONNRESET');
			});

			test(`egress over IPv${family}: towards pods, the outside behind masquerade, and the node that keeps sending`, async () => {
				await policies();
				for (const to of ['b', 'outside', 'node'] as const) {
					await open('a', to, addressOf(to, family), ports.http);
				}
				await open('node', 'to-pod', addressOf('a', family), ports.http);
				await policies(noEgress);
				for (const to of ['b', 'outside', 'node'] as const) await node.ask(to, { do: 'serverSend' });
				await node.ask('node', { do: 'serverEnded' });
				for (const name of ['b', 'outside', 'node'] as const) {
					await node.ask('a', { do: 'send', name });
					assert.equal(await node.ask('a', { do: 'ended', name }), 'ECONNRESET', name);
				}
				assert.equal(await node.ask('node', { do: 'echo', name: 'to-pod' }), 'echo');
				await node.ask('node', { do: 'close', name: 'to-pod' });
			});

			test(`UDP over IPv${family}: answers stop, through a Service as well; allowed ones go on`, async () => {
				await policies();
				const streams = [
					['a', 'direct', b, ports.http],
					['a', 'service', service[family], 8000],
					['c', 'allowed', b, ports.http],
				] as const;
				for (const [from, name, address, port] of streams) {
					assert.equal(await node.ask(from, { do: 'stream', name, address, port }), 'open');
				}
				const count = async (from: Place, name: string): Promise<[number, number]> => {
					const [sent, received] = (await node.ask(from, { do: 'streamed', name })).split(' ').map(Number);
					return [sent ?? 0, received ?? 0];
				};
				await policies(shut);
				for (const [from, name] of streams) {
					const [sentBefore, receivedBefore] = await count(from, name);
					await until(async () => (await count(from, name))[0] >= sentBefore + 20, 'datagrams sent');
					const received = (await count(from, name))[1] - receivedBefore;
					// One may have been on its way back.
					assert.ok(name === 'allowed' ? received > 10 : received <= 1, `${name}: ${received} answers`);
					await node.ask(from, { do: 'close', name });
				}
			});

			test(`echo requests over IPv${family}: the entry goes`, async () => {
				await policies();
				const a = addressOf('a', family);
				node.exec('a', 'ping', '-c', '1', b);
				const pings = (): string[] => entries(family, '-p', family === 4 ? 'icmp' : 'icmpv6', '-s', a, '-d', b);
				assert.equal(pings().length, 1);
				await policies(shut);
				assert.equal(pings().length, 0);
			});
		}
	});
}
