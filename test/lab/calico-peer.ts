/** A BGPPeer with many of Calico's fields at once, written as Calico writes them, and the router it is for (BIRD). */

export const calicoRouter = `router id 192.0.2.2;
protocol device {}
protocol bgp node {
	local 192.0.2.2 as 65101;
	neighbor 192.0.2.11 as 64999;
	password "of the rack";
	ttl security on;
	connect delay time 1;
	ipv4 { import all; export none; };
}
`;

const object = (apiVersion: string, kind: string, metadata: object, rest: object): string =>
	JSON.stringify({ apiVersion, kind, metadata, ...rest });
const rule = {
	...{ cidr: '10.244.1.0/24', matchOperator: 'Equal', action: 'Accept' },
	operations: [{ addCommunity: { value: '64512:7' } }],
};

export const calicoObjects = [
	object('manx.dev/v1', 'BGPConfiguration', { name: 'default' }, { spec: {} }),
	object(
		'v1',
		'Secret',
		{ name: 'bgp-passwords', namespace: 'kube-system' },
		{ data: { tor: Buffer.from('of the rack').toString('base64') } },
	),
	object('manx.dev/v1', 'BGPFilter', { name: 'marked' }, { spec: { exportV4: [rule] } }),
	object(
		'manx.dev/v1',
		'BGPPeer',
		{ name: 'tor-a' },
		{
			spec: {
				node: 'a1',
				peerIP: '192.0.2.2:179',
				asNumber: '65101',
				localASNumber: 64999,
				nextHopMode: 'Self',
				sourceAddress: 'UseNodeIP',
				ttlSecurity: 1,
				filters: ['marked'],
				keepaliveTime: '10s',
				maxRestartTime: '1m0s',
				numAllowedLocalASNumbers: 1,
				password: { secretKeyRef: { name: 'bgp-passwords', key: 'tor' } },
			},
		},
	),
].join('\n---\n');
