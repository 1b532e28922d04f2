import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { createPolicyCalc } from '../../felix/calc/index.ts';
import { createIpam } from '../../felix/cni/ipam.ts';
import { createStrays } from '../../felix/strays.ts';
import { type Cluster, clusterOf } from '../../src/api/cluster.ts';
import type { Node, Pod } from '../../src/api/objects.ts';
import { validate } from '../../src/api/validate.ts';

const objectOf = (raw: object) => {
	const result = validate(raw);
	assert.ok(result.type === 'object', JSON.stringify(result));
	return result.object;
};
const node = (name: string, ...podCIDRs: string[]): Node =>
	objectOf({ apiVersion: 'v1', kind: 'Node', metadata: { name }, spec: { podCIDRs } }) as Node;
const pod = (name: string, nodeName: string, address: string, phase = 'Running', hostNetwork = false): Pod =>
	objectOf({
		apiVersion: 'v1',
		kind: 'Pod',
		metadata: { name, namespace: 'default' },
		spec: { nodeName, hostNetwork, containers: [{ name: 'c' }] },
		status: { phase, podIPs: [{ ip: address }] },
	}) as Pod;

describe('pods outside of the podCIDRs of their node', () => {
	const made = (networks: readonly string[], cluster: Cluster, ...pods: Pod[]) => {
		const calc = createPolicyCalc();
		const strays = createStrays('n1', networks, calc.pods);
		const set = (key: string, one: Pod | undefined): boolean => {
			const matters = strays.set(key, one);
			if (one === undefined) calc.delete('Pod', key);
			else calc.set(one);
			return matters;
		};
		for (const one of pods) set(`default/${one.metadata.name}`, one);
		strays.judge(cluster);
		return { ...strays, set };
	};
	const cluster = clusterOf([node('n1', '10.1.0.0/24'), node('n2', '10.2.0.0/24')]);

	it('are routed one by one, those that live and have an address of their own', () => {
		const strays = made(
			[],
			cluster,
			pod('in', 'n2', '10.2.0.7'),
			pod('out', 'n2', '10.9.0.7'),
			pod('done', 'n2', '10.9.0.8', 'Succeeded'),
			pod('host', 'n2', '10.9.0.9', 'Running', true),
			pod('lost', 'n3', '10.9.0.10'),
			pod('mine', 'n1', '10.9.1.1'),
		);
		assert.deepEqual(
			[...strays.routed()],
			[
				['n2', ['10.9.0.7']],
				['n1', ['10.9.1.1']],
			],
		);
		assert.deepEqual(strays.problems(), []);
		assert.match(strays.warnings()[0] ?? '', /^PodsOutsidePodCIDR: 1 addresses .*default\/mine 10\.9\.1\.1/);
		// A pod that is wired here may be missing from the API.
		assert.deepEqual(['10.9.1.1', '10.9.0.20', '198.51.100.1'].map(strays.mayAnnounce), [true, true, false]);
	});

	it('are not routed on the word of a pod status to where no pods belong', () => {
		const claims = [pod('claim', 'n2', '198.51.100.7'), pod('mine', 'n1', '198.51.100.8')];
		const strays = made([], cluster, ...claims);
		assert.equal(strays.routed().size, 0);
		assert.match(
			strays.problems()[0]?.reason ?? '',
			/default\/mine has the address 198\.51\.100\.8, outside of .*private/,
		);
		assert.equal(strays.problems()[0]?.code, 'PodUnreachable');
		assert.deepEqual(
			[
				...made(['198.51.100.0/24'], cluster, ...claims)
					.routed()
					.keys(),
			],
			['n2', 'n1'],
		);
	});

	it('do not take an address from the pod on the node it belongs to', () => {
		const strays = made([], cluster, pod('rightful', 'n2', '10.2.0.7'), pod('thief', 'n1', '10.2.0.7'));
		assert.equal(strays.routed().size, 0);
		assert.ok(!strays.mayAnnounce('10.2.0.7'));
		assert.match(strays.problems()[0]?.reason ?? '', /default\/rightful on n2 has too/);
	});

	it('in a network that this node was given are told, and their addresses are taken until they go', () => {
		const strays = made([], cluster, pod('old', 'n2', '10.1.0.1'), pod('older', 'n2', '10.1.0.2'));
		assert.deepEqual([...strays.taken()], ['10.1.0.1', '10.1.0.2']);
		assert.equal(strays.problems()[0]?.code, 'PodCIDRInUse');
		assert.deepEqual([...strays.routed()], [['n2', ['10.1.0.1', '10.1.0.2']]]);
		const ipam = createIpam({ clock: { now: () => 1e12 } });
		ipam.setPools(['10.1.0.0/30'], strays.taken());
		assert.match(JSON.stringify(ipam.allocate('a')), /no free IPv4 address/);
		assert.equal(strays.set('default/old', undefined), true);
		strays.judge(cluster);
		ipam.setPools(['10.1.0.0/30'], strays.taken());
		assert.deepEqual(ipam.allocate('a'), { ok: true, addresses: ['10.1.0.1'] });
		assert.equal(ipam.allocate('b').ok, false);
	});

	it('ask to be judged again only when something of concern changes', () => {
		const strays = made([], cluster, pod('out', 'n2', '10.9.0.7'));
		assert.equal(strays.set('default/a', pod('a', 'n2', '10.2.0.9')), false);
		assert.equal(strays.set('default/a', pod('a', 'n2', '10.2.0.9')), false);
		assert.equal(strays.set('default/a', undefined), false);
		assert.equal(strays.set('default/b', pod('b', 'n1', '10.1.0.9')), false);
		assert.equal(strays.set('default/c', pod('c', 'n1', '10.9.0.9')), true);
		// The pod that the address of a stray belongs to came.
		assert.equal(strays.set('default/d', pod('d', 'n1', '10.9.0.7')), true);
		assert.equal(strays.set('default/out', pod('out', 'n2', '10.9.0.7', 'Failed')), true);
	});
});
