/**
 * The read side of an API server with a large cluster in it: lists, and watches on which nothing happens. Objects are
 * written as they are sent, each the size it has in a real cluster. Prints its port; ends with its standard input.
 * PODS, POLICIES, LOCAL and BYTES (of a pod as JSON) come by the environment.
 */
import { createServer, type ServerResponse } from 'node:http';
import { Readable } from 'node:stream';

const number = (name: string): number => Number(process.env[name]);
const [pods, policies, local, bytes] = [number('PODS'), number('POLICIES'), number('LOCAL'), number('BYTES')];
const perNode = 110;
const perNamespace = 50;
/** The node asked about has pods in as many namespaces as there are policies for, five each. */
const apps = Math.ceil(policies / 5);

const namespaces = Math.max(apps, Math.ceil(pods / perNamespace));
const nodeNumberOf = (i: number): number => (i < local ? 0 : 1 + Math.floor((i - local) / perNode));
const nodeOf = (i: number): string => `n${nodeNumberOf(i)}`;
const namespaceOf = (i: number): string => `ns${i < local ? i % apps : i % namespaces}`;

const metadata = (name: string, more: object = {}): object => ({
	name,
	uid: `u-${name}`,
	resourceVersion: '7',
	...more,
});

const podAt = (i: number): object => {
	const node = nodeNumberOf(i);
	const host = 2 + ((i - local) % perNode);
	const ip = `10.${16 + (node >> 8)}.${node & 255}.${host}`;
	const ip6 = `fd01:0:0:${node.toString(16)}::${host.toString(16)}`;
	const pod = {
		metadata: metadata(`pod${i}`, {
			namespace: namespaceOf(i),
			labels: { app: `app${i % 20}`, tier: i % 2 === 0 ? 'a' : 'b', 'pod-template-hash': '6d4b75cb6d' },
			creationTimestamp: '2026-01-01T00:00:00Z',
			annotations: { filler: '' },
		}),
		spec: {
			nodeName: nodeOf(i),
			containers: [{ name: 'c', image: 'example', ports: [{ name: 'http', containerPort: 8080, protocol: 'TCP' }] }],
		},
		// A pod of the node asked about has the address its CNI gives it.
		status: i < local ? { phase: 'Pending' } : { phase: 'Running', podIP: ip, podIPs: [{ ip }, { ip: ip6 }] },
	};
	const filler = bytes - JSON.stringify(pod).length;
	(pod.metadata as { annotations?: object }).annotations = { filler: 'x'.repeat(Math.max(0, filler)) };
	return pod;
};

const policyAt = (i: number): object => {
	const name = `policy${i % 5}`;
	const ports = [{ protocol: 'TCP', port: i % 4 === 0 ? 'http' : 8000 + (i % 100) }];
	const selectors = [
		{ podSelector: { matchLabels: { app: `app${i % 20}` } } },
		{ namespaceSelector: {} },
		{ namespaceSelector: { matchLabels: { team: `team${i % 10}` } }, podSelector: { matchLabels: { tier: 'a' } } },
		{ ipBlock: { cidr: `10.${i % 200}.0.0/16`, except: [`10.${i % 200}.1.0/24`] } },
	];
	const from = [selectors[i % selectors.length]];
	return {
		metadata: metadata(name, { namespace: `ns${Math.floor(i / 5) % apps}` }),
		spec: {
			podSelector: i % 2 === 0 ? {} : { matchLabels: { tier: 'a' } },
			policyTypes: i % 2 === 0 ? ['Ingress', 'Egress'] : ['Ingress'],
			ingress: [{ from, ports }],
			...(i % 2 === 0 && { egress: [{ to: from, ports }] }),
		},
	};
};

const namespaceAt = (i: number): object => ({
	metadata: metadata(`ns${i}`, { labels: { 'kubernetes.io/metadata.name': `ns${i}`, team: `team${i % 10}` } }),
});

const nodeAt = (i: number): object => {
	const podCIDRs = [`10.${16 + (i >> 8)}.${i & 255}.0/24`, `fd01:0:0:${i.toString(16)}::/64`];
	return {
		metadata: metadata(`n${i}`),
		spec: { podCIDR: podCIDRs[0], podCIDRs },
		status: { addresses: [{ type: 'InternalIP', address: `192.0.${2 + (i >> 8)}.${i & 255 || 254}` }] },
	};
};

const nodes = 1 + Math.ceil((pods - local) / perNode);
const kinds: Readonly<Record<string, readonly [string, number, (i: number) => object]>> = {
	'/api/v1/pods': ['PodList', pods, podAt],
	'/api/v1/namespaces': ['NamespaceList', namespaces, namespaceAt],
	'/api/v1/nodes': ['NodeList', nodes, nodeAt],
	'/apis/networking.k8s.io/v1/networkpolicies': ['NetworkPolicyList', policies, policyAt],
};

const list = function* (kind: string, count: number, at: (i: number) => object): Generator<string> {
	yield `{"kind":"${kind}","apiVersion":"v1","metadata":{"resourceVersion":"7"},"items":[`;
	let chunk: string[] = [];
	for (let i = 0; i < count; i++) {
		chunk.push(JSON.stringify(at(i)));
		if (chunk.length < 16 && i < count - 1) continue;
		yield chunk.join(',') + (i < count - 1 ? ',' : '');
		chunk = [];
	}
	yield ']}';
};

const answer = (url: URL, response: ServerResponse): void => {
	const found = kinds[url.pathname];
	if (found === undefined) {
		response.writeHead(404, { 'content-type': 'application/json' });
		response.end('{"kind":"Status","status":"Failure","code":404,"reason":"NotFound"}');
		return;
	}
	response.writeHead(200, { 'content-type': 'application/json' });
	if (url.searchParams.has('watch')) response.flushHeaders();
	else Readable.from(list(...found)).pipe(response);
};

const server = createServer((request, response) => {
	const url = new URL(request.url ?? '/', 'http://localhost');
	if (request.method === 'GET') return answer(url, response);
	response.writeHead(200, { 'content-type': 'application/json' });
	response.end('{}');
});
server.listen(0, '127.0.0.1', () => console.log((server.address() as { port: number }).port));
process.stdin.on('end', () => process.exit(0)).resume();
