import { nodeNameOf } from './cni-client.ts';
import { type DaemonStatus, type SessionStatus, statusOf } from './daemon-client.ts';
import { supervisorRecord } from './lab-state.ts';
import { bodyAt, isBody, listAt, textAt, textsAt } from './manifests.ts';
import { listObjects } from './object-store.ts';
import { type Lab, outside, torNetns } from './plan.ts';
import { isAlive } from './processes.ts';
import { routerOf } from './routers/index.ts';
import { pool } from './shell.ts';
import { table } from './table.ts';
import { refusalsOf } from './wait.ts';

/** What `lab status -o json` prints; netns names as `ip netns` knows them. */
export type LabStatus = {
	readonly nodes: readonly {
		readonly name: string;
		readonly netns: string;
		readonly addresses: readonly string[];
		readonly podCIDRs: readonly string[];
		readonly inSync: boolean;
		readonly sessions: readonly SessionStatus[];
	}[];
	readonly pods: readonly {
		readonly namespace: string;
		readonly name: string;
		readonly node: string;
		readonly netns: string;
		readonly ips: readonly string[];
	}[];
	readonly outside: readonly { readonly name: string; readonly netns: string; readonly addresses: readonly string[] }[];
	readonly routers: readonly {
		readonly name: string;
		readonly netns: string;
		readonly software: string;
		readonly addresses: readonly string[];
	}[];
};

type NodeDaemons = { readonly felix: DaemonStatus | string; readonly bird: DaemonStatus | string };

const askDaemons = (lab: Lab): Promise<NodeDaemons[]> =>
	pool([...lab.machines], 16, async ({ name }) => {
		const [felix, bird] = await Promise.all([statusOf(lab.name, name, 'felix'), statusOf(lab.name, name, 'bird')]);
		return { felix, bird };
	});

const inSync = (status: DaemonStatus | string): boolean => typeof status !== 'string' && status.inSync === true;

const describe = (lab: Lab, asked: readonly NodeDaemons[]): LabStatus => {
	const objects = listObjects(lab.name);
	const nodeOf = (name: string) => objects.find((object) => object.kind === 'Node' && object.name === name);
	const hostPods = objects.filter(
		(object) => object.kind === 'Pod' && bodyAt(object.body, 'spec').hostNetwork === true,
	);
	return {
		nodes: lab.machines.map(({ name, netns, addresses, podCIDRs }, index) => {
			const daemons = asked[index];
			const node = nodeOf(name);
			return {
				name,
				netns,
				addresses,
				podCIDRs: node === undefined ? podCIDRs : textsAt(bodyAt(node.body, 'spec'), 'podCIDRs'),
				inSync: daemons !== undefined && inSync(daemons.felix) && inSync(daemons.bird),
				sessions: typeof daemons?.bird === 'object' ? (daemons.bird.sessions ?? []) : [],
			};
		}),
		pods: [
			...lab.sandboxes.map(({ namespace, name, node, netns, ips }) => ({ namespace, name, node, netns, ips })),
			...hostPods.flatMap(({ namespace, name, body }) => {
				const machine = lab.machines.find((one) => one.name === nodeNameOf(body));
				const ips = listAt(bodyAt(body, 'status'), 'podIPs')
					.filter(isBody)
					.map((ip) => textAt(ip, 'ip'));
				return machine === undefined ? [] : [{ namespace, name, node: machine.name, netns: machine.netns, ips }];
			}),
		],
		outside: lab.outside,
		routers:
			lab.tor === 'none'
				? []
				: [
						{
							name: 'tor',
							netns: torNetns(lab.name),
							software: routerOf(lab)?.software ?? 'static routes',
							addresses: [
								...lab.segments.flatMap(({ ipv4, ipv6 }) => [ipv4.gateway, ipv6.gateway]),
								outside.ipv4.gateway,
								outside.ipv6.gateway,
							],
						},
					],
	};
};

export const statusOfLab = async (lab: Lab): Promise<LabStatus> => describe(lab, await askDaemons(lab));

const sessionsText = (sessions: readonly SessionStatus[]): string => {
	if (sessions.length === 0) return '-';
	const up = sessions.filter(({ state }) => state === 'Established').length;
	const down = sessions.filter(({ state }) => state !== 'Established').map(({ name, state }) => `${name} ${state}`);
	return `${up}/${sessions.length} up${down.length === 0 ? '' : ` (${down.join(', ')})`}`;
};

const heading = (lab: Lab, status: LabStatus): string => {
	const router = status.routers[0];
	const count = (n: number, word: string) => `${n} ${word}${n === 1 ? '' : 's'}`;
	return [
		`Lab "${lab.name}": ${count(status.nodes.length, 'node')}, ${count(status.pods.length, 'pod')}`,
		`mode ${lab.mode}`,
		router === undefined ? 'no router' : `router ${router.software}`,
		count(status.outside.length, 'host').replace(/$/, ' outside'),
	].join(', ');
};

/** Why sessions are not up, and addresses that could not be listened on. */
const sessionNotes = (lab: Lab, asked: readonly NodeDaemons[]): string[] =>
	asked.flatMap(({ bird }, index) => {
		if (typeof bird === 'string') return [];
		const who = `bird on ${lab.machines[index]?.name}`;
		const down = (bird.sessions ?? []).filter(({ state }) => state !== 'Established');
		return [
			...(bird.listenErrors ?? []).map((error) => `${who}: ${error}`),
			...down.map((one) => `${who}: session ${one.name} is ${one.state}${one.lastError ? `: ${one.lastError}` : ''}`),
		];
	});

/** The same for people, with what is wrong below. */
export const readableStatus = async (lab: Lab): Promise<string> => {
	const asked = await askDaemons(lab);
	const status = describe(lab, asked);
	const machines = [
		...status.nodes.map((node) => [
			`node/${node.name}`,
			node.addresses.join(' '),
			node.podCIDRs.join(' '),
			node.inSync ? 'in sync' : 'NOT in sync',
			sessionsText(node.sessions),
		]),
		...status.routers.map((router) => [
			`router/${router.name}`,
			router.addresses.slice(0, 2).join(' '),
			'',
			router.software,
			'',
		]),
		...status.outside.map((host) => [`out/${host.name}`, host.addresses.join(' '), '', '', '']),
	];
	const pods = status.pods.map((pod) => [
		`${pod.namespace}/${pod.name}`,
		pod.node,
		pod.ips.join(' ') || 'not wired',
		pod.netns,
	]);
	const shown = new Set(status.pods.map(({ namespace, name }) => `${namespace}/${name}`));
	const idle = listObjects(lab.name)
		.filter((object) => object.kind === 'Pod' && !shown.has(`${object.namespace}/${object.name}`))
		.map((pod) => [`${pod.namespace}/${pod.name}`, nodeNameOf(pod.body), 'not running', '']);
	const supervisor = supervisorRecord(lab.name);
	const notes = [
		...(lab.complete ? [] : ['lab up did not come to its end; take it down and up again: npm run lab -- down']),
		...(supervisor !== undefined && isAlive(supervisor)
			? []
			: ['the supervisor is not running: nothing restarts a daemon. lab apply, wait or check start it again']),
		...asked.flatMap((daemons, index) =>
			(['felix', 'bird'] as const).flatMap((daemon) => {
				const answer = daemons[daemon];
				const who = `${daemon} on ${lab.machines[index]?.name}`;
				if (typeof answer === 'string') return [`${who}: ${answer}`];
				if (answer.inSync) return [];
				return [`${who} is not in sync${answer.lastError ? `: ${answer.lastError}` : ''}`];
			}),
		),
		...sessionNotes(lab, asked),
		...(await refusalsOf(lab)),
	];
	return [
		heading(lab, status),
		'',
		table(['MACHINE', 'ADDRESSES', 'POD CIDRS', 'STATE', 'BGP SESSIONS'], machines),
		'',
		table(['POD', 'NODE', 'ADDRESSES', 'NETNS'], [...pods, ...idle]),
		...(notes.length === 0 ? [] : ['', ...notes.map((note) => `! ${note}`)]),
	].join('\n');
};
