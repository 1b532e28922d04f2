import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import { routedPrefixes } from '../../src/lab/convergence.ts';
import { bringDown } from '../../src/lab/down.ts';
import { existingNetns, hasTraces, paths } from '../../src/lab/lab-state.ts';
import type { Lab } from '../../src/lab/plan.ts';
import { inNetns, run } from '../../src/lab/shell.ts';
import { buildLab, eventually, labName, startRouter } from './help.ts';

/** The routers' configurations against real BIRD on the nodes, which stands in for manx bird. */

const nodeConfig = (lab: Lab, index: number): string => {
	const machine = lab.machines[index];
	assert.ok(machine);
	const [ipv4, ipv6] = machine.addresses;
	const [cidr4, cidr6] = machine.podCIDRs;
	return `
router id ${ipv4};
protocol device {}
protocol static pods4 { ipv4; route ${cidr4} blackhole; }
protocol static pods6 { ipv6; route ${cidr6} blackhole; }
protocol kernel kernel4 { ipv4 { import none; export where source = RTS_BGP; }; }
protocol kernel kernel6 { ipv6 { import none; export where source = RTS_BGP; }; }
protocol bgp tor {
	local ${ipv4} as 64512;
	neighbor 192.0.2.1 as 64513;
	direct;
	connect delay time 1;
	connect retry time 1;
	error wait time 1, 2;
	ipv4 { import all; export where source = RTS_STATIC; };
	ipv6 { import all; export where source = RTS_STATIC; next hop address ${ipv6}; };
}
`;
};

const startNodes = (lab: Lab): ChildProcess[] =>
	lab.machines.map((machine, index) => {
		const folder = paths(lab.name).node(machine.name);
		mkdirSync(folder, { recursive: true });
		writeFileSync(join(folder, 'real.conf'), nodeConfig(lab, index));
		const argv = ['bird', '-f', '-c', join(folder, 'real.conf'), '-s', join(folder, 'real.ctl')];
		const [program, args] = inNetns(machine.netns, argv);
		return spawn(program, args, { stdio: 'ignore' });
	});

const has = async (netns: string, wanted: readonly string[]): Promise<string | undefined> => {
	const there = await routedPrefixes(netns);
	const missing = wanted.filter((prefix) => !there.includes(prefix));
	return missing.length === 0 ? undefined : `${netns} lacks ${missing.join(', ')}`;
};

const outsidePrefixes = ['198.51.100.0/24', '2001:db8:64::/64'];

describe('the top-of-rack routers speak with real BIRD nodes', { timeout: 300_000 }, () => {
	const used: string[] = [];
	after(async () => {
		for (const name of used) {
			await bringDown(name);
			assert.equal(hasTraces(name), false);
			assert.deepEqual(existingNetns(name), []);
		}
	});

	for (const tor of ['bird', 'frr'] as const) {
		it(`${tor} announces the outside, and installs the nodes' podCIDRs of both families`, async () => {
			const name = labName(tor);
			used.push(name);
			const lab = await buildLab({ name, nodes: 2, tor });
			startRouter(lab);
			startNodes(lab);
			const podCIDRs = lab.machines.flatMap((machine) => machine.podCIDRs);
			await eventually('the router learns', () => has(`manx-${name}-tor`, podCIDRs));
			for (const { netns } of lab.machines) await eventually('nodes learn', () => has(netns, outsidePrefixes));
		});
	}

	it('gobgp announces the outside and learns the podCIDRs, but installs nothing', async () => {
		const name = labName('gobgp');
		used.push(name);
		const lab = await buildLab({ name, nodes: 2, tor: 'gobgp' });
		startRouter(lab);
		startNodes(lab);
		for (const { netns } of lab.machines) await eventually('nodes learn', () => has(netns, outsidePrefixes));
		for (const family of ['ipv4', 'ipv6']) {
			await eventually(`gobgp learns ${family}`, async () => {
				const argv = ['gobgp', 'global', 'rib', '-a', family];
				const { stdout } = await run(...inNetns(`manx-${name}-tor`, argv));
				const index = family === 'ipv4' ? 0 : 1;
				return lab.machines.every(({ podCIDRs }) => stdout.includes(podCIDRs[index] ?? '?')) ? undefined : stdout;
			});
		}
		assert.notEqual(await has(`manx-${name}-tor`, ['10.244.1.0/24']), undefined);
	});
});
