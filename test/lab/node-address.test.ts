import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { after, before, describe, it } from 'node:test';
import { type LabStatus, labHarness, until } from './lab-harness.ts';

/** The address of a running node changes, on its interface and in its Node object: routes and sessions follow. */

const node = (number: number): string => `
apiVersion: v1
kind: Node
metadata: {name: n1}
spec: {podCIDRs: [10.244.1.0/24, "fd00:244:0:1::/64"]}
status: {addresses: [{type: InternalIP, address: 192.0.2.${number}}, {type: InternalIP, address: "2001:db8:0:2::${number}"}]}
`;

describe('the address of a node', { timeout: 300_000 }, () => {
	const harness = labHarness('addr');
	let status: LabStatus;
	before(async () => {
		await harness.lab(['up', '--nodes', '2', '--pods', '2', '--tor', 'none']);
		status = await harness.status();
	});
	after(() => harness.down());

	const netnsOf = (name: string): string => status.nodes.find((one) => one.name === name)?.netns ?? assert.fail(name);
	const inNode = async (name: string, command: string): Promise<string> => {
		const { code, stdout, stderr } = await harness.inNetns(netnsOf(name), 'sh', '-c', command);
		assert.equal(code, 0, `${command}: ${stderr}`);
		return stdout;
	};
	const routesShow = (name: string, what: string): Promise<void> =>
		until(`${name} has ${what}`, 60, async () => {
			const routes = await inNode(name, 'ip route; ip -6 route');
			return routes.includes(what) || routes;
		});
	const sessionsUp = (name: string): Promise<void> =>
		until(`the sessions of ${name}`, 90, async () => {
			const sessions = ((await harness.daemonStatus(name, 'bird'))?.sessions ?? []) as {
				name: string;
				state: string;
			}[];
			const open = sessions.filter(({ state }) => state !== 'Established');
			return (sessions.length > 0 && open.length === 0) || JSON.stringify(open);
		});
	const podsReach = async (): Promise<void> => {
		const [one, two] = ['n1', 'n2'].map((name) => status.pods.find((pod) => pod.node === name) ?? assert.fail(name));
		assert.ok(one && two);
		for (const [from, to] of [
			[one, two],
			[two, one],
		] as const) {
			for (const address of to.ips) {
				assert.equal((await harness.inNetns(from.netns, 'ping', '-c', '2', '-W', '2', address)).code, 0, address);
			}
		}
	};

	it('is followed when the Node object has another', async () => {
		await inNode('n1', 'ip address add 192.0.2.61/24 dev eth0; ip address add 2001:db8:0:2::61/64 dev eth0 nodad');
		await harness.lab(['apply', '-f', '-'], node(61));
		await inNode('n1', 'ip address del 192.0.2.11/24 dev eth0; ip address del 2001:db8:0:2::11/64 dev eth0');
		// Deleting the first address of a prefix takes the second along, unless it is promoted: an operator puts it back.
		await inNode('n1', 'ip address replace 192.0.2.61/24 dev eth0');
		await routesShow('n2', '10.244.1.0/24 via 192.0.2.61 dev eth0 proto 174');
		await routesShow('n2', 'fd00:244:0:1::/64 via 2001:db8:0:2::61 dev eth0 proto 174');
		await routesShow('n1', 'src 192.0.2.61 metric 173');
		await routesShow('n1', 'src 2001:db8:0:2::61 metric 174');
		for (const name of ['n1', 'n2']) await sessionsUp(name);
		await podsReach();
		assert.ok(!(await inNode('n2', 'ip route; ip -6 route')).includes('::11 '));
	});

	it('may be chosen by interface or prefix, and the choice follows the interface', async () => {
		for (const [setting, number] of [
			['eth0', 62],
			['192.0.2.0/24', 63],
		] as const) {
			for (const daemon of ['felix', 'bird'] as const) {
				const file = `${harness.state}/n1/${daemon}.yaml`;
				writeFileSync(file, `${readFileSync(file, 'utf8').replace(/^nodeAddress:.*\n/m, '')}nodeAddress: ${setting}\n`);
				const pid = harness.pidOf('n1', daemon);
				assert.ok(pid);
				process.kill(pid, 'SIGTERM');
				await until(`${daemon} is back`, 30, async () => {
					return harness.pidOf('n1', daemon) !== pid && (await harness.daemonStatus('n1', daemon))?.inSync === true;
				});
			}
			await inNode('n1', 'ip address flush dev eth0 scope global');
			await inNode('n1', `ip address add 192.0.2.${number}/24 dev eth0`);
			await harness.lab(['apply', '-f', '-'], node(number));
			await routesShow('n1', `src 192.0.2.${number} metric 173`);
			await routesShow('n2', `10.244.1.0/24 via 192.0.2.${number} dev eth0 proto 174`);
			await sessionsUp('n1');
		}
	});
});
