import assert from 'node:assert/strict';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import type { PeerSessionStatus, RouteLine } from '../../bird/index.ts';
import { createRun } from '../../src/kernel/run.ts';
import { type LabStatus, labHarness, until } from './lab-harness.ts';

/** `manx bgp` on a node of a lab with a real router. */

const main = join(import.meta.dirname, '../../src/main.ts');
const run = createRun();

describe('manx bgp', { timeout: 300_000 }, () => {
	const harness = labHarness('bgp');
	let status: LabStatus;
	const bgp = (...args: string[]) =>
		run(process.execPath, [main, 'bgp', ...args, '--socket', `${harness.state}/n1/run/bird.sock`]);
	const json = async <T>(...args: string[]): Promise<T> => JSON.parse((await bgp(...args, '-o', 'json')).stdout) as T;
	const tor = async (): Promise<PeerSessionStatus> => {
		const found = (await json<PeerSessionStatus[]>('peers')).find(({ name }) => name.startsWith('peer/'));
		assert.ok(found);
		return found;
	};

	before(async () => {
		await harness.lab(['up', '--nodes', '2', '--pods', '2']);
		status = await harness.status();
	});
	after(() => harness.down());

	it('shows the peers, all or one, and says so when there is no such peer', async () => {
		const { stdout } = await bgp('peers');
		assert.match(stdout, /PEER +ADDRESS +AS +STATE +SINCE +RECEIVED +TOLD/);
		assert.match(stdout, /mesh\/n2 .*Established/);
		const peer = await tor();
		assert.equal((await json<PeerSessionStatus[]>('peers', peer.address))[0]?.name, peer.name);
		const { code, stderr } = await bgp('peers', 'nobody');
		assert.equal(code, 2);
		assert.match(stderr, /there is no peer nobody; there are mesh\/n2, peer\//);
	});

	it('shows routes: best, told by and told to a peer, and why one is used', async () => {
		const [podCIDR = ''] = status.nodes.find(({ name }) => name === 'n2')?.podCIDRs ?? [];
		assert.match((await bgp('routes')).stdout, new RegExp(`\\* +${podCIDR} .*mesh/n2`));
		const peer = await tor();
		const heard = await json<RouteLine[]>('routes', '--in', 'mesh/n2');
		assert.ok(heard.some(({ prefix }) => prefix === podCIDR));
		const told = await json<RouteLine[]>('routes', '--out', peer.address);
		assert.deepEqual(told.map(({ prefix }) => prefix).sort(), [...(status.nodes[0]?.podCIDRs ?? [])].sort());
		const address = podCIDR.replace(/0\/\d+$/, '7');
		const [why] = await json<RouteLine[]>('routes', address);
		assert.equal(why?.prefix, podCIDR);
		assert.deepEqual([why?.use, why?.reason], ['best', 'the only one that can be used']);
		assert.match((await bgp('routes', 'rubbish')).stderr, /'rubbish' is neither a prefix nor an address/);
	});

	it('refreshes and clears', async () => {
		const peer = await tor();
		assert.match((await bgp('refresh', peer.name)).stdout, /asked for all its routes/);
		assert.match((await bgp('refresh', '*', '--out')).stdout, /told again/);
		assert.equal((await tor()).since, peer.since);
		assert.match((await bgp('clear', peer.name, '-m', 'test')).stdout, /starts anew/);
		await until('another session', 20, async () => {
			const now = await tor();
			return now.since !== peer.since && now.state === 'Established';
		});
		assert.equal((await bgp('clear', 'nobody')).code, 2);
	});
});
