import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { type LabStatus, labHarness, type Program, traffic, until } from './lab-harness.ts';

/** Nonsense of every kind: each gets its clear error, and traffic and sessions go on undisturbed beside it. */

const node = (name: string, cidrs: string, addresses: string, created = '2026-06-01T00:00:00Z') => `
apiVersion: v1
kind: Node
metadata: {name: ${name}, creationTimestamp: "${created}"}
spec: {podCIDRs: [${cidrs}]}
status: {addresses: [${addresses}]}
`;
const policy = (cidr: string) => `
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: bad, namespace: default}
spec: {podSelector: {}, ingress: [{from: [{ipBlock: {cidr: ${cidr}}}]}]}
`;

describe('bad input', { timeout: 300_000 }, () => {
	const harness = labHarness('bad');
	let status: LabStatus;
	let receiver: Program;
	let sender: Program;
	let sessionsBefore: string[];

	const sessions = async (): Promise<string[]> => {
		const answers = await Promise.all(['n1', 'n2'].map((name) => harness.daemonStatus(name, 'bird')));
		return answers.flatMap((answer) =>
			((answer?.sessions ?? []) as { name: string; state: string; since: string }[])
				.filter((one) => ['mesh/n1', 'mesh/n2', 'peer/tor'].includes(one.name))
				.map((one) => `${one.name} ${one.state} ${one.since}`),
		);
	};

	before(async () => {
		await harness.lab(['up', '--nodes', '2', '--pods', '2']);
		await harness.lab(['wait']);
		status = await harness.status();
		const [first, second] = status.pods;
		assert.ok(first && second);
		receiver = await traffic(second.netns, 'receive', '9000');
		sender = await traffic(first.netns, 'send', '9000', '50', 'p', ...second.ips);
		sessionsBefore = await sessions();
		assert.equal(sessionsBefore.length, 4, sessionsBefore.join(', '));
	});
	after(async () => {
		await harness.down();
	});

	/** Both daemons of n1 have it in their status, or the one named. */
	const told = async (daemon: 'felix' | 'bird', pattern: RegExp): Promise<void> =>
		until(`${daemon} tells ${pattern}`, 10, async () => {
			const answer = await harness.daemonStatus('n1', daemon);
			const text = JSON.stringify([answer?.refusals, answer?.problems]);
			return pattern.test(text) || text;
		});
	const write = (name: string, text: string) =>
		harness.inNetns(
			status.nodes[0]?.netns ?? '',
			'sh',
			'-c',
			`cat > ${harness.state}/objects/.x <<'END'\n${text}\nEND\nmv ${harness.state}/objects/.x ${harness.state}/objects/${name}`,
		);
	const remove = (name: string) =>
		harness.inNetns(status.nodes[0]?.netns ?? '', 'rm', `${harness.state}/objects/${name}`);

	it('two nodes with overlapping podCIDRs: the elder keeps it', async () => {
		await write(
			'x.yaml',
			node('a0', '10.244.2.128/25', '{type: InternalIP, address: 192.0.2.77}', '2090-01-01T00:00:00Z'),
		);
		for (const daemon of ['felix', 'bird'] as const) {
			await told(daemon, /Node a0.*spec\.podCIDRs\[0\].*10\.244\.2\.128\/25 overlaps 10\.244\.2\.0\/24 of Node n2/);
		}
		await remove('x.yaml');
	});

	it('a podCIDR with host bits', async () => {
		await write('x.yaml', node('a1', '10.99.1.5/24', '{type: InternalIP, address: 192.0.2.78}'));
		await told(
			'felix',
			/x\.yaml.*Node a1.*spec\.podCIDRs\[0\].*'10\.99\.1\.5\/24' has host bits set; the prefix would be 10\.99\.1\.0\/24/,
		);
		await remove('x.yaml');
		await until('the refusal goes with its file', 10, async () => {
			const answer = await harness.daemonStatus('n1', 'felix');
			return JSON.stringify(answer?.refusals) === '[]';
		});
	});

	it('a Node without addresses', async () => {
		await write('x.yaml', node('a2', '10.99.2.0/24', ''));
		await told('felix', /Node a2.*status\.addresses.*has no InternalIP/);
		await remove('x.yaml');
	});

	it('a policy with an invalid CIDR', async () => {
		const result = await harness.lab(['apply', '-f', '-'], policy('10.0.0.0/33'), true);
		assert.match(result.stdout + result.stderr, /./);
		await told(
			'felix',
			/NetworkPolicy default\/bad.*spec\.ingress\[0\]\.from\[0\]\.ipBlock\.cidr.*'10\.0\.0\.0\/33' is not a CIDR/,
		);
		const waited = await harness.lab(['wait']);
		assert.match(waited.stderr, /refused: NetworkPolicy default\/bad/);
		await harness.lab(['delete', '-f', '-'], policy('10.0.0.0/33'));
	});

	it('a file that is no YAML', async () => {
		await write('x.yaml', 'kind: [Pod\n}');
		await told('felix', /x\.yaml.*is not YAML/);
		await remove('x.yaml');
	});

	const cni = async (command: string, stdin: string, netns = '/var/run/netns/none') => {
		const environment = [
			`CNI_COMMAND=${command}`,
			'CNI_CONTAINERID=feedfeed',
			`CNI_NETNS=${netns}`,
			'CNI_IFNAME=eth0',
			`CNI_PATH=${harness.state}/cni/bin`,
			'CNI_ARGS=IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME=p1',
		];
		const script = `cat <<'END' | env '${environment.join("' '")}' ${harness.state}/cni/bin/manx\n${stdin}\nEND`;
		const result = await harness.inNetns(status.nodes[0]?.netns ?? '', 'sh', '-c', script);
		return { exit: result.code, answer: JSON.parse(result.stdout) as { code: number; msg: string; details: string } };
	};
	const conf = (version: string) =>
		JSON.stringify({ cniVersion: version, name: 'manx', type: 'manx', runDir: `${harness.state}/n1/run` });

	it('a CNI configuration that is not JSON', async () => {
		const { exit, answer } = await cni('ADD', '{"cniVersion": "1.0.0", nonsense');
		assert.equal(exit, 1);
		assert.equal(answer.code, 6);
		assert.match(answer.details, /JSON/);
	});

	it('a CNI version that is not spoken', async () => {
		const { answer } = await cni('ADD', conf('9.9.9'));
		assert.equal(answer.code, 1);
		assert.match(answer.details, /1\.1\.0/);
	});

	it('a network namespace that is not there', async () => {
		const { exit, answer } = await cni('ADD', conf('1.0.0'), '/var/run/netns/none');
		assert.equal(exit, 1);
		assert.match(answer.details, /\/var\/run\/netns\/none/);
	});

	it('a peer that sends garbage to port 179', async () => {
		const script = `
			const net = require('net');
			const bytes = Buffer.alloc(300, 0x41);
			let open = 0;
			for (let i = 0; i < 50; i++) {
				open++;
				const socket = net.connect(179, process.argv[1], () => socket.write(bytes));
				socket.on('error', () => {});
				socket.on('close', () => { if (--open === 0) process.exit(0); });
				socket.resume();
			}
			setTimeout(() => process.exit(3), 20000);`;
		const from = [status.routers[0]?.netns ?? '', status.outside[0]?.netns ?? ''];
		for (const netns of from) {
			const result = await harness.inNetns(netns, process.execPath, '-e', script, '192.0.2.11');
			assert.equal(result.code, 0, 'the speaker keeps connections open that talk no BGP');
		}
		await until('the log tells of it', 5, async () =>
			/marker|header|not a configured peer|no peer|unknown/i.test(harness.log('n1', 'bird')),
		);
	});

	it('disturbed nothing else: no packet lost, the same sessions, all settled', async () => {
		await harness.lab(['wait']);
		const { sent, errors } = (await sender.finish()) as { sent: number; errors: string[] };
		assert.deepEqual(errors, []);
		await new Promise((resolve) => setTimeout(resolve, 300));
		const flows = (await receiver.finish()) as Record<string, { count: number; missing: number[] }>;
		for (const ip of status.pods[1]?.ips ?? []) {
			assert.equal(flows[`p>${ip}`]?.count, sent);
		}
		assert.deepEqual(await sessions(), sessionsBefore);
	});
});
