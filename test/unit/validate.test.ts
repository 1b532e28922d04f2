import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { parse } from 'yaml';
import { validate } from '../../src/api/validate.ts';

const check = (yaml: string) => validate(parse(yaml));
const policy = (spec: string): string =>
	`{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, metadata: {name: p, namespace: ns}, spec: ${spec}}`;
const node = (spec: string): string => `{apiVersion: v1, kind: Node, metadata: {name: n1}, spec: ${spec}}`;

const policySpec = (yaml: string) => {
	const result = check(policy(yaml));
	assert.ok(result.type === 'object' && result.object.kind === 'NetworkPolicy', JSON.stringify(result));
	return result.object.spec;
};

describe('validation refuses, naming field and reason', () => {
	const table: [string, string, string, RegExp][] = [
		['host bits in a podCIDR', node('{podCIDRs: [10.244.1.5/24]}'), 'spec.podCIDRs[0]', /host bits.*10\.244\.1\.0\/24/],
		['a podCIDR without length', node('{podCIDRs: [10.244.1.0]}'), 'spec.podCIDRs[0]', /length is missing/],
		['a name that is none', '{apiVersion: v1, kind: Node, metadata: {name: N_1}}', 'metadata.name', /RFC 1123/],
		['no metadata', '{apiVersion: v1, kind: Node}', 'metadata', /./],
		['a list', '[1]', '', /not an object/],
		[
			'an old apiVersion',
			'{apiVersion: extensions/v1beta1, kind: NetworkPolicy}',
			'apiVersion',
			/networking\.k8s\.io\/v1/,
		],
		['an unknown kind of ours', '{apiVersion: manx.dev/v1, kind: BGPPeerz}', 'kind', /not known/],
		[
			'a second configuration',
			'{apiVersion: manx.dev/v1, kind: BGPConfiguration, metadata: {name: x}}',
			'metadata.name',
			/'default'/,
		],
		[
			'an invalid CIDR',
			policy('{podSelector: {}, ingress: [{from: [{ipBlock: {cidr: 10.0.0/8}}]}]}'),
			'spec.ingress[0].from[0].ipBlock.cidr',
			/not a CIDR/,
		],
		[
			'except outside',
			policy('{podSelector: {}, ingress: [{from: [{ipBlock: {cidr: 10.0.0.0/8, except: [11.0.0.0/16]}}]}]}'),
			'spec.ingress[0].from[0].ipBlock.except[0]',
			/within 10\.0\.0\.0\/8/,
		],
		[
			'except of the same size',
			policy('{podSelector: {}, ingress: [{from: [{ipBlock: {cidr: 10.0.0.0/8, except: [10.0.0.0/8]}}]}]}'),
			'spec.ingress[0].from[0].ipBlock.except[0]',
			/smaller/,
		],
		[
			'a block beside a selector',
			policy('{podSelector: {}, ingress: [{from: [{podSelector: {}, ipBlock: {cidr: 10.0.0.0/8}}]}]}'),
			'spec.ingress[0].from[0]',
			/may not stand beside/,
		],
		['an empty peer', policy('{podSelector: {}, ingress: [{from: [{}]}]}'), 'spec.ingress[0].from[0]', /must have/],
		[
			'In without values',
			policy('{podSelector: {matchExpressions: [{key: a, operator: In}]}}'),
			'spec.podSelector.matchExpressions[0].values',
			/not be empty/,
		],
		[
			'Exists with values',
			policy('{podSelector: {matchExpressions: [{key: a, operator: Exists, values: [b]}]}}'),
			'spec.podSelector.matchExpressions[0].values',
			/must be empty/,
		],
		['port 0', policy('{podSelector: {}, ingress: [{ports: [{port: 0}]}]}'), 'spec.ingress[0].ports[0].port', /./],
		[
			'endPort without port',
			policy('{podSelector: {}, ingress: [{ports: [{endPort: 5}]}]}'),
			'spec.ingress[0].ports[0].endPort',
			/numeric port/,
		],
		[
			'endPort below port',
			policy('{podSelector: {}, ingress: [{ports: [{port: 9, endPort: 5}]}]}'),
			'spec.ingress[0].ports[0].endPort',
			/not greater/,
		],
		['a policy whose spec is a list', policy('[]'), 'spec', /expected object/],
		[
			'AS 0',
			'{apiVersion: manx.dev/v1, kind: BGPPeer, metadata: {name: p}, spec: {peerIP: 1.2.3.4, asNumber: 0}}',
			'spec.asNumber',
			/1 to/,
		],
		[
			'a peer that is no address',
			'{apiVersion: manx.dev/v1, kind: BGPPeer, metadata: {name: p}, spec: {peerIP: tor, asNumber: 1}}',
			'spec.peerIP',
			/not an IP/,
		],
		[
			'a hold time of 2',
			'{apiVersion: manx.dev/v1, kind: BGPPeer, metadata: {name: p}, spec: {peerIP: 1.2.3.4, asNumber: 1, holdTime: 2}}',
			'spec.holdTime',
			/at least 3/,
		],
	];
	for (const [name, yaml, field, reason] of table) {
		it(name, () => {
			const result = check(yaml);
			assert.ok(result.type === 'refused', JSON.stringify(result));
			assert.equal(result.field, field);
			assert.match(result.reason, reason);
		});
	}
});

describe('validation makes objects total', () => {
	it('defaults policyTypes as the API server does', () => {
		assert.deepEqual(policySpec('{podSelector: {}}').policyTypes, ['Ingress']);
		assert.deepEqual(policySpec('{podSelector: {}, policyTypes: []}').policyTypes, ['Ingress']);
		assert.deepEqual(policySpec('{podSelector: {}, egress: [{}]}').policyTypes, ['Ingress', 'Egress']);
		assert.deepEqual(policySpec('{podSelector: {}, policyTypes: [Egress]}').policyTypes, ['Egress']);
	});
	it('takes a policy without podSelector, or without a spec, for one of the whole namespace, as the API server does', () => {
		const nothing = { matchLabels: {}, matchExpressions: [] };
		const isolated = { podSelector: nothing, policyTypes: ['Ingress'], ingress: [], egress: [] };
		assert.deepEqual(policySpec('{}'), isolated);
		assert.deepEqual(policySpec('{podSelector: }'), isolated);
		const bare = check('{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, metadata: {name: p}}');
		assert.ok(bare.type === 'object' && bare.object.kind === 'NetworkPolicy');
		assert.deepEqual(bare.object.spec, isolated);
	});
	it('takes null and absent lists as empty, protocol as TCP, and clears host bits of ipBlocks', () => {
		const spec = policySpec(
			'{podSelector: null, ingress: [{from: null, ports: [{}]}], egress: [{to: [{ipBlock: {cidr: 192.168.1.1/24}}]}]}',
		);
		assert.deepEqual(spec.ingress, [{ peers: [], ports: [{ protocol: 'TCP' }] }]);
		assert.deepEqual(spec.egress[0]?.peers, [{ ipBlock: { cidr: '192.168.1.0/24', except: [] } }]);
	});
	it('reads leading zeros in an ipBlock as API servers do, never as octal', () => {
		const spec = policySpec(
			'{ingress: [{from: [{ipBlock: {cidr: 010.000.0.0/08, except: [10.012.0.0/16]}}, {ipBlock: {cidr: 0.0.0.0/0}}]}]}',
		);
		assert.deepEqual(spec.ingress[0]?.peers, [
			{ ipBlock: { cidr: '10.0.0.0/8', except: ['10.12.0.0/16'] } },
			{ ipBlock: { cidr: '0.0.0.0/0', except: [] } },
		]);
	});
	it('leaves foreign kinds alone', () => {
		assert.deepEqual(check('{apiVersion: apps/v1, kind: Deployment}'), { type: 'foreign', kind: 'Deployment' });
	});
	it('reads named ports of containers and of init containers that stay', () => {
		const result = check(
			'{apiVersion: v1, kind: Pod, metadata: {name: p}, spec: {containers: [{ports: [{name: web, containerPort: 80}, {containerPort: 81}]}], initContainers: [{ports: [{name: x, containerPort: 1}]}, {restartPolicy: Always, ports: [{name: y, containerPort: 2, protocol: UDP}]}]}}',
		);
		assert.ok(result.type === 'object' && result.object.kind === 'Pod');
		assert.deepEqual(
			result.object.spec.ports.map((port) => `${port.name} ${port.containerPort}/${port.protocol}`),
			['web 80/TCP', 'y 2/UDP'],
		);
	});
});
