import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { type LabStatus, labHarness, until } from './lab-harness.ts';

/**
 * Each kind of object of ours is taken out of the kernel by hand: it is back within 5 s (the tests grant more on a busy
 * machine and say how long it took), the log names what was missing, and nothing foreign is touched.
 */

const manifests = `
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: servers, namespace: default}
spec:
  podSelector: {matchLabels: {role: server}}
  ingress: [{from: [{podSelector: {matchLabels: {role: client}}}], ports: [{port: 80}]}]
  egress: [{to: [{ipBlock: {cidr: 198.51.100.0/24, except: [198.51.100.64/26]}}]}]
---
apiVersion: v1
kind: Pod
metadata: {name: server, namespace: default, labels: {role: server}}
spec: {nodeName: n1, containers: [{name: c, ports: [{name: web, containerPort: 80}]}]}
---
apiVersion: v1
kind: Pod
metadata: {name: client, namespace: default, labels: {role: client}}
spec: {nodeName: n2, containers: [{name: c}]}
`;

/** How long the xtables lock is held by another. */
const lockSeconds = Number(process.env.LOCK_SECONDS ?? 6);

for (const backend of ['nft', 'legacy'] as const) {
	describe(`drift, iptables ${backend}`, { timeout: 400_000 }, () => {
		const harness = labHarness(`drift${backend}`);
		let status: LabStatus;
		let netns: string;
		let veth: string;

		const node = async (command: string): Promise<string> => {
			const result = await harness.inNetns(netns, 'sh', '-c', command);
			assert.equal(result.code, 0, `${command}: ${result.stderr}`);
			return result.stdout;
		};
		/** Everything of ours and others in the node's kernel, without what changes by itself. */
		const snapshot = async (): Promise<string> => {
			const rules = await node(`iptables-${backend}-save; ip6tables-${backend}-save`);
			const sets = (await node('ipset save'))
				.split('\n')
				.filter((line) => line.startsWith('add '))
				.sort();
			const routes = await node('ip -d route show; ip -6 -d route show');
			const neighbours = await node('ip neigh show nud permanent; ip -6 neigh show nud permanent');
			const sources = await node(
				'for dev in $(ip -o link | grep -o "manx[0-9a-f]*@" | tr -d @); do tc filter show dev $dev ingress; done',
			);
			return [
				...rules
					.split('\n')
					.filter((line) => !line.startsWith('#'))
					.map((line) => line.replace(/ ?\[\d+:\d+\]/, '')),
				...sets,
				...routes
					.split('\n')
					.map((line) => line.trim())
					.sort(),
				...sources.split('\n').filter(Boolean),
				...neighbours
					.split('\n')
					.map((line) => line.trim())
					.sort(),
			].join('\n');
		};

		before(async () => {
			await harness.lab(['up', '--nodes', '2', '--pods', '0', '--iptables', backend]);
			await harness.lab(['apply', '-f', '-'], manifests);
			await harness.lab(['wait']);
			status = await harness.status();
			netns = status.nodes[0]?.netns ?? '';
			// What an operator may have: it must stay as it is, also after a flush of ours.
			await node(
				`iptables-${backend} -A INPUT -s 203.0.113.9 -j DROP; ipset create operator hash:ip; ip route add 203.0.113.0/24 via 192.0.2.1`,
			);
			veth = /manx[0-9a-f]{11}/.exec(await node('ip link'))?.[0] ?? '';
			assert.notEqual(veth, '');
		});
		after(() => harness.down());

		const pod = () => status.pods.find((one) => one.name === 'server')?.ips ?? [];
		const cases: [string, () => string, RegExp][] = [
			['a pod route, IPv4', () => `ip route del ${pod()[0]}`, /route 10\.244\.1\.\d+\/32/],
			['a pod route, IPv6', () => `ip -6 route del ${pod()[1]}`, /route fd00:244:0:1::\S+\/128/],
			['a blackhole', () => 'ip route del blackhole 10.244.1.0/24', /route 10\.244\.1\.0\/24/],
			['a learnt route, IPv4', () => 'ip route del 10.244.2.0/24', /10\.244\.2\.0\/24/],
			['a learnt route, IPv6', () => 'ip -6 route del fd00:244:0:2::/64', /fd00:244:0:2::\/64/],
			[
				'all routes of felix',
				() => 'ip route flush proto 173; ip -6 route flush proto 173',
				/route fd00:244:0:1::\/64/,
			],
			['all routes of bird', () => 'ip route flush proto 174; ip -6 route flush proto 174', /198\.51\.100\.0\/24/],
			['a changed route', () => `ip route change ${pod()[0]} dev lo metric 173 proto 173`, /route 10\.244\.1\.\d+\/32/],
			['a pod neighbour', () => `ip neigh del ${pod()[0]} dev ${veth}`, /neighbour manx\S+ 10\.244\.1/],
			['the veth, down and up', () => `ip link set ${veth} down; ip link set ${veth} up`, /route 10\.244\.1\.\d+\/32/],
			['the veth, down', () => `ip link set ${veth} down`, /was set down/],
			['a rule', () => `iptables-${backend} -D MANX-FORWARD 1`, /filter MANX-FORWARD/],
			['a chain', () => `iptables-${backend} -F MANX-EGRESS`, /filter MANX-EGRESS/],
			['a jump of ours', () => `iptables-${backend} -D FORWARD -j MANX-FORWARD`, /filter FORWARD/],
			['our place before others', () => `iptables-${backend} -I FORWARD -s 203.0.113.1 -j ACCEPT`, /filter FORWARD/],
			['what a pod may send from', () => `tc qdisc del dev ${veth} ingress`, /ingress filters of manx/],
			['the nat table', () => `iptables-${backend} -t nat -F`, /nat MANX-POSTROUTING/],
			['every rule of filter', () => `iptables-${backend} -F FORWARD; ip6tables-${backend} -F`, /filter MANX-INGRESS/],
			['a member of a set', () => `ipset del manx-4-src ${pod()[0]},${veth}`, /manx-4-src/],
			[
				'a swapped set',
				() =>
					'ipset create other hash:net,iface; ipset add other 203.0.113.7,lo; ipset swap manx-4-src other; ipset destroy other',
				/manx-4-src/,
			],
			[
				'all members of all sets',
				() => 'for set in $(ipset list -n | grep ^manx); do ipset flush $set; done',
				/manx-6-src/,
			],
			['forwarding', () => 'echo 0 > /proc/sys/net/ipv4/ip_forward', /ip_forward/],
		];
		for (const [name, command, logged] of cases) {
			it(`heals: ${name}`, async () => {
				const before = await snapshot();
				const logLength = harness.log('n1', 'felix').length + harness.log('n1', 'bird').length;
				const started = performance.now();
				await node(command());
				const wanted = name === 'our place before others' ? undefined : before;
				await until(name, 20, async () => {
					if ((await node('cat /proc/sys/net/ipv4/ip_forward')).trim() !== '1') return 'forwarding is off';
					const now = await snapshot();
					if (wanted === undefined) {
						return now.indexOf('-A FORWARD -j MANX-FORWARD') < now.indexOf('-A FORWARD -s 203.0.113.1') || 'not first';
					}
					if (name === 'every rule of filter') {
						// FORWARD was flushed with what others had in it, which is not ours to bring back.
						const ours = (text: string) =>
							text
								.split('\n')
								.filter((line) => !line.includes('203.0.113.1/'))
								.join('\n');
						return ours(now) === ours(wanted) || difference(ours(wanted), ours(now));
					}
					return now === wanted || difference(wanted, now);
				});
				const milliseconds = performance.now() - started;
				const log = harness.log('n1', 'felix') + harness.log('n1', 'bird');
				await until(`${name} is logged`, 5, async () => {
					const text = harness.log('n1', 'felix') + harness.log('n1', 'bird');
					return logged.test(text) && text.length > logLength;
				});
				assert.match(log, logged);
				console.log(`${backend}: ${name} was back after ${(milliseconds / 1000).toFixed(1)} s`);
			});
		}

		// iptables-nft has no such lock.
		if (backend === 'legacy') {
			it(`a pod that comes while another program holds the xtables lock for ${lockSeconds} s is admitted afterwards`, async () => {
				const holder = spawn('flock', [
					join(harness.state, 'n1/xtables.lock'),
					'sh',
					'-c',
					`echo held; exec sleep ${lockSeconds}`,
				]);
				const released = once(holder, 'exit');
				const lastError = async (): Promise<string> =>
					String((await harness.daemonStatus('n1', 'felix'))?.lastError ?? 'no felix');
				await once(holder.stdout, 'data');
				const started = performance.now();
				// A group of its own: its chains have to be written.
				const late = manifests
					.replace('name: servers', 'name: late')
					.replaceAll('role: server', 'role: late')
					.replace('name: server,', 'name: late,');
				const applied = harness.lab(['apply', '-f', '-'], late);
				await until('the wait is told', 60, async () => {
					const error = await lastError();
					return /another program holds the xtables lock/.test(error) || error;
				});
				await Promise.all([released, applied]);
				console.log(`the pod was there after ${((performance.now() - started) / 1000).toFixed(1)} s`);
				await harness.lab(['wait']);
				assert.match(await node('iptables-legacy-save -t filter'), /default\/late/);
				await until('the wait is over', 20, async () => {
					const error = await lastError();
					return error === '' || error;
				});
				assert.deepEqual(((await harness.daemonStatus('n1', 'felix')) as { problems: unknown }).problems, []);
			});
		}
	});
}

/** First lines that one has and the other has not. */
const difference = (wanted: string, now: string): string => {
	const a = new Set(wanted.split('\n'));
	const b = new Set(now.split('\n'));
	const missing = [...a].filter((line) => !b.has(line)).slice(0, 3);
	const extra = [...b].filter((line) => !a.has(line)).slice(0, 3);
	return `missing: ${missing.join(' | ')}; too much: ${extra.join(' | ')}`;
};
