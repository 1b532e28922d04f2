/** Every row of table.yaml on the real kernel, in both backends and families. */
import assert from 'node:assert/strict';
import { after, describe, test } from 'node:test';
import { createConnectionEnder } from '../../felix/dataplane/connection-ender.ts';
import { keyOf, type Namespace, type Pod } from '../../src/api/objects.ts';
import { type Family, familyOf } from '../../src/net/ip.ts';
import {
	type Case,
	literalAddress,
	type PodChange,
	type Probe,
	probesOf,
	readCases,
	readCluster,
	readObject,
	readPolicy,
	type Step,
} from './read-table.ts';
import { type Landing, type Shot, startRig } from './rig.ts';

const node = ['192.0.2.1', '2001:db8::1'];
const places: Readonly<Record<string, readonly string[]>> = {
	node,
	othernode: ['192.0.2.2', '2001:db8::2'],
	outside: ['198.51.100.7', '2001:db8:64::7'],
	outside2: ['198.51.100.8', '2001:db8:64::8'],
};
/** What a Service's address and port lead to. */
const services: Readonly<Record<string, { readonly addresses: readonly string[]; readonly pod: string }>> = {
	'svc-a': { addresses: ['10.96.0.1', 'fd00:96::1'], pod: 'x/a' },
	'svc-b': { addresses: ['10.96.0.2', 'fd00:96::2'], pod: 'x/b' },
	'svc-far': { addresses: ['10.96.0.3', 'fd00:96::3'], pod: 'x/far' },
};
const servicePort = 8000;
const backendPort = 80;

const cluster = readCluster();
const basePods = cluster.filter((object): object is Pod => object.kind === 'Pod');
const isHere = (pod: Pod): boolean => pod.spec.nodeName === 'here' && !pod.spec.hostNetwork;
const wiredPods = new Map(basePods.filter(isHere).map((pod) => [keyOf(pod.metadata), pod.status.podIPs]));
const addressesOf = new Map(basePods.map((pod) => [keyOf(pod.metadata), pod.status.podIPs]));

const addressOf = (place: string, family: Family): string => {
	const known = places[place] ?? services[place]?.addresses ?? addressesOf.get(place);
	const found = known?.find((address) => familyOf(address) === family) ?? literalAddress(place, family);
	if (found === undefined) throw new Error(`there is no place '${place}' with an IPv${family} address`);
	return found;
};
/** Where a packet to a place comes out. */
const landingOf = (place: string): string => {
	const pod = services[place]?.pod ?? place;
	return wiredPods.has(pod) ? pod : pod === 'node' ? 'node' : 'uplink';
};

type Connection = { readonly probe: Probe; readonly client: Shot; readonly server: Shot; readonly oneWay?: true };

for (const backend of ['legacy', 'nft'] as const) {
	describe(`iptables-${backend}`, () => {
		const rig = startRig({
			backend,
			pods: wiredPods,
			node,
			podNetworks: ['10.0.0.0/16', 'fd00::/48'],
			localPodCIDRs: ['10.0.0.0/24', 'fd00::/112'],
		});
		after(() => rig.stop());
		for (const { addresses, pod } of Object.values(services)) {
			for (const address of addresses) {
				const family = familyOf(address);
				const program = `${family === 4 ? 'iptables' : 'ip6tables'}-${backend}`;
				const to = addressOf(pod, family);
				const nat = (...args: string[]) => rig.exec(program, '-t', 'nat', '-A', ...args);
				const target = family === 4 ? `${to}:${backendPort}` : `[${to}]:${backendPort}`;
				for (const protocol of ['tcp', 'udp']) {
					const match = ['-d', address, '-p', protocol, '--dport', `${servicePort}`];
					nat('PREROUTING', ...match, '-j', 'DNAT', '--to-destination', target);
				}
				nat('POSTROUTING', '-s', to, '-d', to, '-j', 'MASQUERADE');
			}
		}

		let clock = 0;
		const ender = createConnectionEnder({
			endConnections: rig.kernel.endConnections,
			isNode: (address) => node.includes(address),
			later: (milliseconds, action) => void setTimeout(action, milliseconds),
			now: () => clock,
			log: { debug: () => {}, info: () => {}, warn: () => {}, error: () => {}, child: () => assert.fail() },
		});
		const apply = async (): Promise<void> => {
			await rig.apply();
			clock += 3_600_000;
			ender.inForce({ 4: rig.calc.state(4), 6: rig.calc.state(6) });
			while (ender.pending()) await new Promise((resolve) => setImmediate(resolve));
		};

		let policies = new Set<string>();
		let extraPods = new Set<string>();
		let extraNamespaces = new Set<string>();
		const reset = (): void => {
			for (const key of policies) rig.calc.delete('NetworkPolicy', key);
			for (const key of extraPods) rig.calc.delete('Pod', key);
			for (const name of extraNamespaces) rig.calc.delete('Namespace', name);
			policies = new Set();
			extraPods = new Set();
			extraNamespaces = new Set();
			for (const object of cluster) rig.calc.set(object);
			for (const [key, addresses] of wiredPods) rig.calc.setLocalPod({ key, addresses, node: 'here' });
			rig.flush();
		};
		const changePod = (key: string, change: PodChange | null): void => {
			if (change === null) {
				rig.calc.delete('Pod', key);
				return;
			}
			const [namespace = '', name = ''] = key.split('/');
			const base = basePods.find((pod) => keyOf(pod.metadata) === key);
			if (base === undefined) extraPods.add(key);
			const { labels = base?.metadata.labels ?? {}, ips = base?.status.podIPs ?? [] } = change;
			const { hostNetwork = false, initContainers = [], ports = base?.spec.ports ?? [] } = change;
			const nodeName = change.nodeName ?? base?.spec.nodeName ?? 'there';
			const deletion = change.terminating
				? { deletionTimestamp: '2026-01-01T00:00:00Z', deletionGracePeriodSeconds: 30 }
				: {};
			rig.calc.set(
				readObject({
					kind: 'Pod',
					metadata: { name, namespace, labels, ...deletion },
					spec: { nodeName, hostNetwork, initContainers, containers: [{ name: 'main', ports }] },
					status: { phase: change.phase ?? 'Running', podIPs: ips.map((ip) => ({ ip })) },
				}) as Pod,
			);
		};
		const change = async (step: Step): Promise<void> => {
			for (const [key, spec] of Object.entries(step.policies ?? {})) {
				policies.add(key);
				if (spec === null) rig.calc.delete('NetworkPolicy', key);
				else rig.calc.set(readPolicy(key, spec));
			}
			for (const [key, pod] of Object.entries(step.pods ?? {})) changePod(key, pod);
			for (const [name, labels] of Object.entries(step.namespaces ?? {})) {
				if (!cluster.some((object) => object.kind === 'Namespace' && object.metadata.name === name)) {
					extraNamespaces.add(name);
				}
				if (labels === null) rig.calc.delete('Namespace', name);
				else rig.calc.set(readObject({ kind: 'Namespace', metadata: { name, labels } }) as Namespace);
			}
			for (const key of step.unwired ?? []) rig.calc.deleteLocalPod(key);
			for (const key of step.wired ?? []) {
				rig.calc.setLocalPod({ key, addresses: wiredPods.get(key) ?? [], node: 'here' });
			}
			await apply();
		};

		let sourcePort = 10_000;
		const shotOf = ({ from, to, family, protocol, port }: Probe): Shot => ({
			source: addressOf(from, family),
			destination: addressOf(to, family),
			protocol,
			sourcePort: sourcePort++,
			destinationPort: port,
		});
		/** Shots back from where another came out. */
		const answerTo = ({ to, family, port }: Probe, shot: Shot, { source, sourcePort }: Landing): Shot => {
			const service = services[to];
			return {
				source: addressOf(service?.pod ?? to, family),
				destination: source === '' ? shot.source : source,
				protocol: shot.protocol,
				sourcePort: service === undefined ? port : backendPort,
				destinationPort: source === '' ? shot.sourcePort : sourcePort,
			};
		};

		/** Shoots, and adds to `wrong` what came out otherwise than at `expected` (undefined: nowhere). */
		const expect = async (
			shots: readonly { readonly text: string; readonly shot: Shot; readonly expected: string | undefined }[],
			wrong: string[],
		): Promise<readonly (Landing | undefined)[]> => {
			const landings = await rig.shoot(shots.map(({ shot }) => shot));
			shots.forEach(({ text, expected }, i) => {
				const at = landings[i]?.at;
				if (at === expected) return;
				wrong.push(`${text}: ${at === undefined ? 'dropped' : `arrived at ${at}`}, not ${expected ?? 'dropped'}`);
			});
			return landings;
		};

		const openAll = async (probes: readonly Probe[], wrong: string[]): Promise<Connection[]> => {
			const clients = probes.map(shotOf);
			const landings = await expect(
				probes.map((probe, i) => ({ text: probe.text, shot: clients[i] as Shot, expected: landingOf(probe.to) })),
				wrong,
			);
			const opened = probes.flatMap((probe, i): Connection[] => {
				const landing = landings[i];
				const client = clients[i] as Shot;
				return landing === undefined ? [] : [{ probe, client, server: answerTo(probe, client, landing) }];
			});
			const answers = opened.map(({ probe, server }) => ({
				text: `answer to ${probe.text}`,
				shot: { ...server, flags: 'SYN,ACK' as const },
				expected: landingOf(probe.from),
			}));
			await expect(answers, wrong);
			return opened;
		};

		/** A second packet and a third, which only a flow that is known need not be judged for. */
		const openOneWay = async (probes: readonly Probe[], wrong: string[]): Promise<Connection[]> => {
			const clients = probes.map(shotOf);
			for (const which of ['first', 'second', 'third']) {
				const text = (probe: Probe): string => `${probe.text}, ${which} packet`;
				await expect(
					probes.map((probe, i) => ({ text: text(probe), shot: clients[i] as Shot, expected: landingOf(probe.to) })),
					wrong,
				);
			}
			return probes.map((probe, i) => {
				const client = clients[i] as Shot;
				return { probe, client, server: client, oneWay: true };
			});
		};

		const checkOpen = async (connections: readonly Connection[], alive: boolean, wrong: string[]): Promise<void> => {
			const both = connections.flatMap(({ probe, client, server, oneWay }) => {
				const [there, back] = alive ? [landingOf(probe.to), landingOf(probe.from)] : [undefined, undefined];
				const forth = {
					text: `${probe.text}, its client`,
					shot: { ...client, flags: 'ACK' as const },
					expected: there,
				};
				const answer = {
					text: `${probe.text}, its server`,
					shot: { ...server, flags: 'ACK' as const },
					expected: back,
				};
				// A server's datagram that nobody asked for is a new flow, and judged as one.
				if (oneWay || (!alive && client.protocol === 'UDP')) return [forth];
				// Behind masquerade the server speaks to the node, which knows nothing of it any more.
				if (!alive && node.includes(server.destination) && landingOf(probe.from) !== 'node') {
					return [forth, { ...answer, expected: 'node' }];
				}
				return [forth, answer];
			});
			await expect(both, wrong);
		};

		const checkRelated = async (probes: readonly Probe[], wrong: string[]): Promise<void> => {
			for (const { probe, server } of await openAll(probes, wrong)) {
				const { source, destination, sourcePort, destinationPort, protocol } = server;
				const asSeen = {
					source: destination,
					destination: source,
					sourcePort: destinationPort,
					destinationPort: sourcePort,
				};
				const seen = { ...asSeen, protocol };
				const router = addressOf('outside2', probe.family);
				const expected = landingOf(probe.from);
				await expect(
					[
						{ text: `error about ${probe.text}`, shot: { ...seen, unreachable: true }, expected },
						{ text: `too big, about ${probe.text}`, shot: { ...seen, tooBigFor: router }, expected },
					].filter(({ shot }) => protocol === 'UDP' || 'tooBigFor' in shot),
					wrong,
				);
				if (!wiredPods.has(probe.to)) continue;
				const answer = { ...server, tooBigFor: router, ...(protocol === 'TCP' && { flags: 'ACK' as const }) };
				await expect([{ text: `too big, about the answer to ${probe.text}`, shot: answer, expected: probe.to }], wrong);
			}
		};

		const run = async ({ families = [4, 6], then = [], ...first }: Case): Promise<void> => {
			reset();
			const opened = new Map<string, Connection>();
			for (const [i, step] of [first, ...then].entries()) {
				const wrong: string[] = [];
				await change(step);
				await expect(
					[
						...probesOf(step.allow, families).map((probe) => ({ probe, expected: landingOf(probe.to) })),
						...probesOf(step.deny, families).map((probe) => ({ probe, expected: undefined })),
					].map(({ probe, expected }) => ({ text: probe.text, shot: shotOf(probe), expected })),
					wrong,
				);
				await openAll(probesOf(step.replies, families), wrong);
				await checkRelated(probesOf(step.related, families), wrong);
				for (const alive of [true, false]) {
					const named = probesOf(alive ? step.alive : step.ended, families).map(({ text }) => {
						const connection = opened.get(text);
						assert.ok(connection, `${text} was not opened`);
						return connection;
					});
					await checkOpen(named, alive, wrong);
				}
				for (const one of await openAll(probesOf(step.open, families), wrong)) opened.set(one.probe.text, one);
				for (const one of await openOneWay(probesOf(step.oneWay, families), wrong)) opened.set(one.probe.text, one);
				assert.deepEqual(wrong, [], `step ${i + 1}`);
			}
		};

		for (const one of readCases()) test(one.case, () => run(one));
	});
}
