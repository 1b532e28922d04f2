/**
 * The read side of an API server on whose watches a flood comes: RATE changes a second of pods elsewhere and of labels that
 * decide nothing, and now and then one that decides. Prints its port, then `WHAT VALUE TIME` for each that decides, at the
 * moment it is sent. `go` on its standard input begins the flood; it ends with it. LOCAL: names of the node's pods.
 */
import { createServer, type ServerResponse } from 'node:http';
import { createInterface } from 'node:readline';

const rate = Number(process.env.RATE ?? 1000);
const others = Number(process.env.PODS ?? 1000);
const apps = 20;
let version = 100;

type Labels = Record<string, string>;
type Raw = { readonly metadata: { readonly name: string; readonly namespace: string } };

const pod = (name: string, nodeName: string, labels: Labels, ips: readonly string[]): Raw => ({
	metadata: { name, namespace: 'x', uid: `u-${name}`, resourceVersion: `${++version}`, labels } as Raw['metadata'],
	...{
		spec: { nodeName, containers: [{ name: 'c', ports: [{ name: 'http', containerPort: 80 }] }] },
		status: { phase: 'Running', podIPs: ips.map((ip) => ({ ip })) },
	},
});

const labelsOf: Record<string, Labels> = {
	server: { server: 'one' },
	second: { server: 'two' },
	client: { role: 'client' },
	stranger: { role: 'stranger' },
	flipper: { role: 'stranger' },
	swapper: { mode: 'free' },
};
const pods = new Map<string, Raw>();
const ipOf = (i: number): string[] => [`10.244.${2 + (i >> 8)}.${i & 255}`, `fd00:244:0:2::${i.toString(16)}`];
for (const [name, labels] of Object.entries(labelsOf)) pods.set(name, pod(name, 'n0', labels, []));
for (let i = 0; i < others; i++) pods.set(`o${i}`, pod(`o${i}`, 'n1', { app: `app${i % apps}` }, ipOf(i)));

const policy = (name: string, spec: object): object => ({
	metadata: { name, namespace: 'x', uid: name, resourceVersion: '7' },
	spec,
});
const from = (matchLabels: Labels): object => ({ podSelector: { matchLabels } });
const policies = [
	policy('server', {
		podSelector: { matchLabels: { server: 'one' } },
		ingress: [{ from: [from({ role: 'client' })] }],
	}),
	// Whoever is locked may send nothing, and nobody else may reach the second server: nobody ever does.
	policy('second', {
		podSelector: { matchLabels: { server: 'two' } },
		ingress: [{ from: [from({ mode: 'locked' })] }],
	}),
	policy('locked', { podSelector: { matchLabels: { mode: 'locked' } }, policyTypes: ['Egress'] }),
	...Array.from({ length: apps }, (_, i) =>
		policy(`app${i}`, {
			podSelector: { matchLabels: { server: 'one' } },
			ingress: [{ from: [from({ app: `app${i}` })], ports: [{ port: 'http' }] }],
		}),
	),
];
const node = (name: string, i: number): object => ({
	metadata: { name, uid: name, resourceVersion: '7' },
	spec: { podCIDRs: [`10.244.${i}.0/${i === 1 ? 24 : 20}`, `fd00:244:0:${i}::/64`] },
	status: { addresses: [{ type: 'InternalIP', address: `192.0.2.${i}` }] },
});

const kinds: Readonly<Record<string, readonly [string, () => Iterable<object>]>> = {
	'/api/v1/pods': ['PodList', () => pods.values()],
	'/api/v1/namespaces': ['NamespaceList', () => [{ metadata: { name: 'x', resourceVersion: '7' } }]],
	'/api/v1/nodes': ['NodeList', () => [node('n0', 1), node('n1', 16)]],
	'/apis/networking.k8s.io/v1/networkpolicies': ['NetworkPolicyList', () => policies],
};
const watchers = new Set<ServerResponse>();

const server = createServer((request, response) => {
	const url = new URL(request.url ?? '/', 'http://localhost');
	const found = kinds[url.pathname];
	if (request.method !== 'GET' || found === undefined) {
		response.writeHead(request.method === 'GET' ? 404 : 200, { 'content-type': 'application/json' });
		response.end('{"kind":"Status","status":"Failure","code":404,"reason":"NotFound"}');
		return;
	}
	response.writeHead(200, { 'content-type': 'application/json' });
	if (url.searchParams.has('watch')) {
		response.flushHeaders();
		if (url.pathname !== '/api/v1/pods') return;
		watchers.add(response);
		response.on('close', () => watchers.delete(response));
		return;
	}
	const [kind, items] = found;
	response.end(
		JSON.stringify({ kind, apiVersion: 'v1', metadata: { resourceVersion: `${version}` }, items: [...items()] }),
	);
});

const emit = (type: string, object: Raw): void => {
	const line = `${JSON.stringify({ type, object: { kind: 'Pod', apiVersion: 'v1', ...object } })}\n`;
	for (const watcher of watchers) watcher.write(line);
};
const set = (name: string, nodeName: string, labels: Labels, ips: readonly string[]): void => {
	const type = pods.has(name) ? 'MODIFIED' : 'ADDED';
	const object = pod(name, nodeName, labels, ips);
	pods.set(name, object);
	emit(type, object);
};
const say = (what: string, value: string): void =>
	console.log(`${what} ${value} ${performance.timeOrigin + performance.now()}`);

let sent = 0;
const one = (): void => {
	const turn = sent++;
	const i = (turn * 7919) % others;
	if (turn % 97 === 0) {
		// Labels of the node's own pods that decide nothing.
		for (const name of ['client', 'stranger', 'server']) {
			labelsOf[name] = { ...labelsOf[name], turn: `${turn}` };
			set(name, 'n0', labelsOf[name], []);
		}
	} else if (turn % 5 === 0) {
		const gone = pods.get(`o${i}`);
		if (gone === undefined) set(`o${i}`, 'n1', { app: `app${turn % apps}` }, ipOf(i));
		else {
			pods.delete(`o${i}`);
			emit('DELETED', gone);
		}
	} else set(`o${i}`, 'n1', { app: `app${turn % apps}` }, ipOf(i));
};

const timers: NodeJS.Timeout[] = [];
const go = (): void => {
	const every = (milliseconds: number, run: () => void): void => void timers.push(setInterval(run, milliseconds));
	const begun = performance.now();
	const count = sent;
	every(5, () => {
		for (const due = count + ((performance.now() - begun) * rate) / 1000; sent < due; ) one();
	});
	every(510, () => {
		const role = labelsOf.flipper?.role === 'client' ? 'stranger' : 'client';
		labelsOf.flipper = { role };
		say('flipper', role);
		set('flipper', 'n0', labelsOf.flipper, []);
	});
	every(130, () => {
		const mode = labelsOf.swapper?.mode === 'free' ? 'locked' : 'free';
		labelsOf.swapper = { mode };
		set('swapper', 'n0', labelsOf.swapper, []);
	});
	every(1000, () => say('sent', `${sent}`));
};

server.listen(0, '127.0.0.1', () => console.log((server.address() as { port: number }).port));
createInterface({ input: process.stdin })
	.on('line', (line) => (line === 'go' ? go() : timers.forEach(clearInterval)))
	.on('close', () => process.exit(0));
