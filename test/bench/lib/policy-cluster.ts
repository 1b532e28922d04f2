/** The cluster of the policy benchmark: applications of ten pods on this node, with policies as they are met in the field. */
import type { Attachment } from '../../../felix/attachment.ts';
import { keyOf, type Labels, type NetworkPolicy, type Pod } from '../../../src/api/objects.ts';
import { makeNamespace, makePod, makePolicy, selector } from '../../property/calc-world.ts';

export { makeNamespace };

const byte = (i: number, shift: number): number => (i >>> shift) & 255;
/** Addresses by number: local ones in 10.128.0.0/16, remote ones in 10.0.0.0/9. */
const addresses = (net: number, i: number): string[] => [
	`10.${net + byte(i, 16)}.${byte(i, 8)}.${byte(i, 0)}`,
	`fd00:${net.toString(16)}::${(i + 0x10000).toString(16)}`
		.replace(/::(\w+)(\w{4})$/, '::$1:$2')
		.replace(/:0+(?=\w)/g, ':'),
];

export const podsOf = 10;
export const namespaceOf = (app: number): string => `app${app}`;

export type Local = { readonly pod: Pod; readonly attachment: Attachment };

export const interfaceOf = (i: number): string => `manx${i.toString(16).padStart(11, '0')}`;

/** A pod of this node; the first `podsOf` numbers are of app 0, and so on. */
export const localPod = (i: number, app = Math.floor(i / podsOf), labels: Labels = {}): Local => {
	const podIPs = addresses(128, i + 1);
	const key = `${namespaceOf(app)}/local${i}`;
	const tier = i % 2 === 0 ? 'a' : 'b';
	const attachment: Attachment = {
		containerID: `c${i}`,
		ifname: 'eth0',
		netns: '',
		podNamespace: namespaceOf(app),
		podName: `local${i}`,
		podUID: '',
		addresses: podIPs,
		hostInterface: interfaceOf(i),
		mac: '02:00:00:00:00:01',
	};
	return { pod: makePod(key, { tier, ...labels }, podIPs), attachment };
};

export const remotePod = (namespace: string, i: number, labels: Labels): Pod =>
	makePod(`${namespace}/remote${i}`, labels, addresses(0, i + 1));

export const ingressPolicy = (app: number, port: number, peer: Labels = { role: 'client' }): NetworkPolicy =>
	makePolicy(`${namespaceOf(app)}/ingress`, {
		ingress: [{ peers: [{ podSelector: selector(peer) }], ports: [{ protocol: 'TCP', port }] }],
	});

export const policiesOf = (app: number): NetworkPolicy[] => [
	ingressPolicy(app, 8080),
	makePolicy(`${namespaceOf(app)}/egress`, {
		policyTypes: ['Egress'],
		egress: [
			{
				peers: [{ namespaceSelector: selector({ team: 'system' }) }],
				ports: [
					{ protocol: 'UDP', port: 53 },
					{ protocol: 'TCP', port: 53 },
				],
			},
			{ peers: [{ podSelector: selector() }], ports: [] },
			{
				peers: [{ ipBlock: { cidr: '0.0.0.0/0', except: ['10.0.0.0/8'] } }, { ipBlock: { cidr: '::/0', except: [] } }],
				ports: [{ protocol: 'TCP', port: 443 }],
			},
		],
	}),
	makePolicy(`${namespaceOf(app)}/tier-a`, {
		podSelector: selector({ tier: 'a' }),
		ingress: [
			{
				peers: [{ namespaceSelector: selector({ team: 'crowd' }) }],
				ports: [{ protocol: 'TCP', port: 9090, endPort: 9100 }],
			},
		],
	}),
	makePolicy(`${namespaceOf(app)}/extra`, {
		podSelector: selector({ extra: 'yes' }),
		ingress: [{ peers: [{ podSelector: selector({ extra: 'yes' }) }], ports: [{ protocol: 'TCP', port: 22 }] }],
	}),
];

export const keyOfPod = (pod: Pod): string => keyOf(pod.metadata);
