import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { type LabStatus, labHarness, until } from './lab-harness.ts';

/**
 * A Node object made anew gets other podCIDRs: the pods it runs keep their addresses and stay reachable from all nodes (and
 * in bgp mode from outside), new ones get addresses of the new network, and a node that is given the old one gives away none
 * of those in use.
 */

const node = (name: string, number: number, ...podCIDRs: string[]): string => `
apiVersion: v1
kind: Node
metadata: {name: ${name}}
spec: {podCIDRs: [${podCIDRs.map((cidr) => `"${cidr}"`).join(', ')}]}
status: {addresses: [{type: InternalIP, address: 192.0.2.1${number}}, {type: InternalIP, address: "2001:db8:0:2::1${number}"}]}
`;
const pod = (name: string, nodeName: string): string => `
apiVersion: v1
kind: Pod
metadata: {name: ${name}, namespace: default, labels: {app: ${name}}}
spec: {nodeName: ${nodeName}, containers: [{name: c}]}
`;
/** Only pods get in: not what is masqueraded. */
const policy = `
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: pods, namespace: default}
spec:
  podSelector: {matchLabels: {app: p1}}
  ingress: [{from: [{podSelector: {}}, {ipBlock: {cidr: 198.51.100.0/24}}, {ipBlock: {cidr: "2001:db8:64::/64"}}]}]
`;

for (const mode of ['bgp', 'host-gw'] as const) {
	describe(`a Node object with other podCIDRs, ${mode}`, { timeout: 300_000 }, () => {
		const harness = labHarness(`cidr${mode.replace('-', '')}`);
		let status: LabStatus;
		before(async () => {
			await harness.lab(['up', '--pods', '3', '--mode', mode]);
			await harness.lab(['apply', '-f', '-'], policy);
			status = await harness.status();
		});
		after(() => harness.down());

		const podOf = (name: string) => status.pods.find((one) => one.name === name) ?? assert.fail(name);
		const ping = async (netns: string, address: string): Promise<boolean> =>
			(await harness.inNetns(netns, 'ping', '-c', '1', '-W', '1', address)).code === 0;
		const reaches = (from: string, netns: string, addresses: readonly string[]): Promise<void> =>
			until(`${from} reaches ${addresses.join(' and ')}`, 40, async () => {
				for (const address of addresses) if (!(await ping(netns, address))) return `not ${address}`;
				return true;
			});

		it('keeps its pods, gives new ones addresses of the new network, and lets no other node give away the old', async () => {
			const old = podOf('p1');
			assert.equal(old.node, 'n1');
			await harness.lab(['delete', '-f', '-'], node('n1', 1));
			await harness.lab(['apply', '-f', '-'], node('n1', 1, '10.244.101.0/24', 'fd00:244:0:101::/64'));
			for (const name of ['p2', 'p3']) {
				await reaches(name, podOf(name).netns, old.ips);
				await reaches(`p1 towards ${name}`, old.netns, podOf(name).ips);
			}
			const outside = status.outside[0];
			assert.ok(outside);
			if (mode === 'bgp') await reaches('the outside', outside.netns, old.ips);
			await harness.lab(['apply', '-f', '-'], pod('fresh', 'n1'));
			status = await harness.status();
			const fresh = podOf('fresh');
			assert.match(fresh.ips.join(), /^10\.244\.101\.\d+,fd00:244:0:101::/);
			await reaches('p2', podOf('p2').netns, fresh.ips);
			const felix = await harness.daemonStatus('n1', 'felix');
			assert.match(((felix?.warnings ?? []) as string[]).join(), /PodsOutsidePodCIDR: 2 addresses .*default\/p1/);

			// n2 is given what was n1's.
			await harness.lab(['apply', '-f', '-'], node('n2', 2, '10.244.1.0/24', 'fd00:244:0:1::/64'));
			await until('n2 tells that its network is in use', 20, async () => {
				const found = ((await harness.daemonStatus('n2', 'felix'))?.problems ?? []) as {
					code?: string;
					reason: string;
				}[];
				return found.some(({ code, reason }) => code === 'PodCIDRInUse' && reason.includes('default/p1 on n1'));
			});
			await harness.lab(['apply', '-f', '-'], pod('second', 'n2'));
			status = await harness.status();
			const second = podOf('second');
			assert.match(second.ips.join(), /^10\.244\.1\.\d+,fd00:244:0:1::/);
			for (const address of second.ips) assert.ok(!old.ips.includes(address), `${address} is given twice`);
			await reaches('second', second.netns, old.ips);
			await reaches('p3', podOf('p3').netns, [...old.ips, ...second.ips, ...podOf('p2').ips]);

			// When the pod goes, so do its routes, and its addresses are free for the node that has their network.
			await harness.lab(['delete', '-f', '-'], pod('p1', 'n1'));
			for (const name of ['n2', 'n3']) {
				const { netns } = status.nodes.find((one) => one.name === name) ?? assert.fail(name);
				await until(`${name} has no route to a pod that is gone`, 20, async () => {
					const { stdout } = await harness.inNetns(netns, 'sh', '-c', 'ip route; ip -6 route');
					return !old.ips.some((address) => stdout.includes(`${address} via`)) || stdout;
				});
			}
			await until('n2 has nothing to tell any more', 20, async () => {
				const found = ((await harness.daemonStatus('n2', 'felix'))?.problems ?? []) as { code?: string }[];
				return !found.some(({ code }) => code === 'PodCIDRInUse');
			});
		});
	});
}
