import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { type Manifest, parseManifests } from '../../src/lab/manifests.ts';
import { isLabName, isReservedNodeName, podNetns } from '../../src/lab/plan.ts';
import { LabError } from '../../src/lab/shell.ts';
import { planTopology, schedule, type UpOptions } from '../../src/lab/topology.ts';

const plan = (options: Partial<UpOptions> = {}, yaml?: string) =>
	planTopology({
		name: 'lab',
		nodes: undefined,
		pods: undefined,
		outside: 1,
		mode: 'bgp',
		tor: 'bird',
		masquerade: true,
		iptablesBackend: 'auto',
		logLevel: 'info',
		manifests: yaml === undefined ? undefined : parseManifests(yaml, 'test'),
		...options,
	});

const ofKind = (objects: readonly Manifest[], kind: string) => objects.filter((object) => object.kind === kind);
const specOf = (object: Manifest | undefined) => object?.body.spec as Record<string, unknown>;

describe('the plan of a lab', () => {
	it('is three nodes and six pods, a router and a host outside', () => {
		const { lab, objects } = plan();
		assert.deepEqual(
			lab.machines.map(({ name, netns, addresses, podCIDRs }) => ({ name, netns, addresses, podCIDRs })),
			[1, 2, 3].map((n) => ({
				name: `n${n}`,
				netns: `manx-lab-n${n}`,
				addresses: [`192.0.2.1${n}`, `2001:db8:0:2::1${n}`],
				podCIDRs: [`10.244.${n}.0/24`, `fd00:244:0:${n}::/64`],
			})),
		);
		assert.deepEqual(lab.outside, [
			{ name: 'out1', netns: 'manx-lab-out1', addresses: ['198.51.100.11', '2001:db8:64::11'] },
		]);
		assert.deepEqual(
			ofKind(objects, 'Pod').map((pod) => specOf(pod).nodeName),
			['n1', 'n2', 'n3', 'n1', 'n2', 'n3'],
		);
		assert.deepEqual(specOf(ofKind(objects, 'BGPPeer')[0]), { peerIP: '192.0.2.1', asNumber: 64513 });
		assert.deepEqual(
			ofKind(objects, 'Namespace').map(({ name }) => name),
			['default'],
		);
	});

	it('has no BGPPeer in host-gw mode, and nothing outside without a router', () => {
		assert.equal(ofKind(plan({ mode: 'host-gw' }).objects, 'BGPPeer').length, 0);
		const { lab, objects } = plan({ tor: 'none', outside: 3 });
		assert.deepEqual(lab.outside, []);
		assert.equal(ofKind(objects, 'BGPPeer').length, 0);
	});

	it('takes nodes from manifests, and fills in addresses and podCIDRs that are free', () => {
		const { lab, objects } = plan(
			{},
			`
kind: Node
metadata: { name: a }
---
kind: Node
metadata: { name: b }
spec: { podCIDRs: [10.244.1.0/24] }
status: { addresses: [{ type: InternalIP, address: 192.0.2.11 }] }
`,
		);
		assert.deepEqual(lab.machines[0]?.addresses, ['192.0.2.12', '2001:db8:0:2::12']);
		assert.deepEqual(lab.machines[0]?.podCIDRs, ['10.244.2.0/24', 'fd00:244:0:2::/64']);
		assert.deepEqual(lab.machines[1]?.addresses, ['192.0.2.11']);
		assert.deepEqual(lab.machines[1]?.podCIDRs, ['10.244.1.0/24']);
		assert.equal(ofKind(objects, 'Pod').length, 0);
	});

	it('keeps what is bad in an object for the daemons to refuse', () => {
		const { lab, objects } = plan({}, 'kind: Node\nmetadata: { name: a }\nspec: { podCIDRs: [10.9.9.9/24, nonsense] }');
		assert.deepEqual(lab.machines[0]?.podCIDRs, ['10.9.9.9/24', 'nonsense']);
		assert.deepEqual(specOf(ofKind(objects, 'Node')[0]).podCIDRs, ['10.9.9.9/24', 'nonsense']);
	});

	it('puts a node with an address elsewhere on a segment of its own, with its own address of the router', () => {
		const { lab, objects } = plan(
			{},
			`
kind: Node
metadata: { name: a }
---
kind: Node
metadata: { name: b }
status: { addresses: [{ type: InternalIP, address: 203.0.113.7 }] }
`,
		);
		assert.deepEqual(
			lab.machines.map(({ segment }) => segment),
			[0, 1],
		);
		assert.equal(lab.segments[1]?.ipv4.gateway, '203.0.113.1');
		assert.deepEqual(ofKind(objects, 'BGPPeer').map(specOf), [
			{ peerIP: '192.0.2.1', asNumber: 64513, node: 'a' },
			{ peerIP: '203.0.113.1', asNumber: 64513, node: 'b' },
		]);
	});

	it('makes the Namespaces nobody wrote, and spreads pods without a node', () => {
		const pod = (name: string, rest = '') => `kind: Pod\nmetadata: { name: ${name}, namespace: shop }\n${rest}\n---\n`;
		const { objects } = plan({ nodes: 2 }, `${pod('a', 'spec: { nodeName: n1 }')}${pod('b')}${pod('c')}${pod('d')}`);
		assert.deepEqual(
			ofKind(objects, 'Pod').map((object) => specOf(object).nodeName),
			['n1', 'n2', 'n1', 'n2'],
		);
		assert.ok(ofKind(objects, 'Namespace').some(({ name }) => name === 'shop'));
	});

	it('uses the AS number of a BGPConfiguration', () => {
		const yaml = 'kind: BGPConfiguration\nmetadata: { name: default }\nspec: { asNumber: 65001 }';
		assert.equal(plan({}, yaml).lab.asNumber, 65001);
	});

	for (const [what, yaml] of [
		['a name of the lab itself', 'kind: Node\nmetadata: { name: tor }'],
		['a name Kubernetes does not allow', 'kind: Node\nmetadata: { name: Big_One }'],
		[
			'an address that is none',
			'kind: Node\nmetadata: { name: a }\nstatus: { addresses: [{ type: InternalIP, address: x }] }',
		],
	] as const) {
		it(`refuses a node with ${what}`, () => assert.throws(() => plan({}, yaml), LabError));
	}

	it('leaves pods alone that have a node', () => {
		const pod = { kind: 'Pod', namespace: 'default', name: 'a', body: { spec: { nodeName: 'elsewhere' } } };
		assert.deepEqual(schedule([pod], ['n1'], []), [pod]);
	});
});

describe('names', () => {
	it('of labs hold no dash, so that no lab takes another for its own', () => {
		assert.ok(isLabName('t_1'));
		for (const bad of ['', 'a-b', 'A', '../x', 'a'.repeat(33)]) assert.equal(isLabName(bad), false, bad);
	});
	it('of nodes never meet those of the lab', () => {
		for (const bad of ['tor', 'fabric', 'out1', 'pod-x']) assert.ok(isReservedNodeName(bad), bad);
		assert.equal(isReservedNodeName('n1'), false);
	});
	it('of pods give namespaces that differ and fit into a file name', () => {
		assert.notEqual(podNetns('lab', 'a', 'b-c'), podNetns('lab', 'a-b', 'c'));
		const long = podNetns('lab', 'n'.repeat(63), 'p'.repeat(253));
		assert.ok(long.length < 128);
		assert.notEqual(long, podNetns('lab', 'n'.repeat(63), `${'p'.repeat(252)}q`));
	});
});

describe('manifests', () => {
	it('are taken from several documents and from Lists', () => {
		const text =
			'kind: Pod\nmetadata: { name: a }\n---\nkind: List\nitems: [{ kind: Node, metadata: { name: n } }]\n---\n';
		assert.deepEqual(
			parseManifests(text, 'x').map(({ kind, namespace, name }) => [kind, namespace, name]),
			[
				['Pod', 'default', 'a'],
				['Node', '', 'n'],
			],
		);
	});
	for (const [text, reason] of [
		['a: [', /x is not YAML/],
		['kind: Pod', /no metadata.name/],
		['metadata: { name: a }', /no kind/],
		['just text', /not an object/],
	] as const) {
		it(`refuse ${JSON.stringify(text)}`, () => assert.throws(() => parseManifests(text, 'x'), reason));
	}
});
