import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { checkLab } from '../../src/lab/check.ts';
import { bringDown } from '../../src/lab/down.ts';
import { existingNetns } from '../../src/lab/lab-state.ts';
import type { Lab } from '../../src/lab/plan.ts';
import { inNetns, ipBatch, mustRun } from '../../src/lab/shell.ts';
import { buildLab, labName, routeNodes, turnOnForwarding, wirePod } from './help.ts';

const name = labName('check');

describe('lab check, with pods and routes made by hand', { timeout: 120_000 }, () => {
	let lab: Lab;
	before(async () => {
		lab = await buildLab({ name, nodes: 2, mode: 'host-gw', masquerade: false });
		await turnOnForwarding(lab);
		await routeNodes(lab);
		lab = { ...lab, sandboxes: [await wirePod(lab, 0, 'a'), await wirePod(lab, 1, 'b')] };
	});
	after(async () => {
		await bringDown(name);
		assert.deepEqual(existingNetns(name), []);
	});

	const netns = (index: number): string => lab.machines[index]?.netns ?? '';
	const fails = async (expected: RegExp): Promise<void> => {
		const { ok, text } = await checkLab(lab);
		assert.equal(ok, false, text);
		assert.match(text, expected);
	};

	it('passes when every pair answers with its own addresses', async () => {
		const { ok, text } = await checkLab(lab);
		assert.equal(ok, true, text);
		assert.match(text, /12 of 12 pairs answer/);
		assert.match(text, /12 of 12 pairs between machines seen/);
		assert.match(text, /no encapsulation/);
	});

	it('names the node that has no route', async () => {
		await ipBatch(netns(0), ['route del 10.244.2.0/24', 'route add unreachable 10.244.2.0/24']);
		await fails(
			/default\/a -> default\/b \(10.244.1.7 -> 10.244.2.7\): the packet stops at node n1: .*no usable route/,
		);
		await ipBatch(netns(0), ['route del unreachable 10.244.2.0/24', 'route add 10.244.2.0/24 via 192.0.2.12']);
	});

	it('names the node that drops by a blackhole', async () => {
		await ipBatch(netns(1), ['route del fd00:244:0:2::7 dev manxb', 'route add blackhole fd00:244:0:2::/64']);
		await fails(
			/\(fd00:244:0:1::7 -> fd00:244:0:2::7\): the packet stops at node n2: .*(no usable route|drops packets)/,
		);
		await ipBatch(netns(1), ['route del blackhole fd00:244:0:2::/64', 'route add fd00:244:0:2::7 dev manxb']);
	});

	it('names the link on which packets get lost', async () => {
		await ipBatch(`manx-${name}-fabric`, ['link set port2 down']);
		await fails(/default\/a -> default\/b .*(nobody answers for the next hop 192.0.2.12|never comes to node n2)/);
		await ipBatch(`manx-${name}-fabric`, ['link set port2 up']);
	});

	it('tells a rule that drops from a missing route', async () => {
		const rule = ['iptables', '-w', '-t', 'filter', '-A', 'FORWARD', '-d', '10.244.2.7', '-j', 'DROP'];
		await mustRun(...inNetns(netns(1), rule));
		await fails(
			/default\/a -> default\/b \(10.244.1.7 -> 10.244.2.7\): the packet stops at node n2: .*a rule drops it/,
		);
		await mustRun(...inNetns(netns(1), ['iptables', '-w', '-F', 'FORWARD']));
	});

	it('names the hop at which the answer stops', async () => {
		const rule = ['iptables', '-w', '-A', 'FORWARD', '-s', '10.244.2.7', '-d', '10.244.1.7', '-j', 'DROP'];
		await mustRun(...inNetns(netns(0), rule));
		await fails(/default\/a -> default\/b \(10.244.1.7 -> 10.244.2.7\): the answer stops at node n1/);
		await mustRun(...inNetns(netns(0), ['iptables', '-w', '-F', 'FORWARD']));
	});

	it('finds a tunnel between nodes', async () => {
		for (const [index, other] of [
			[0, 12],
			[1, 11],
		] as const) {
			await ipBatch(netns(index), [
				`link add vx type vxlan id 7 dstport 4789 local 192.0.2.${11 + index} remote 192.0.2.${other}`,
				`link set vx up`,
				`addr add 192.168.77.${11 + index}/24 dev vx`,
				`route replace 10.244.${2 - index}.0/24 via 192.168.77.${other}`,
			]);
		}
		await fails(/ENCAPSULATED: 192.0.2.1[12] > 192.0.2.1[12] \(IP protocol 17\)/);
	});
});
