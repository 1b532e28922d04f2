/**
 * A node with pods on the real kernel, and packets through it. The pods' ends of the veths and the far end of the
 * uplink lie in one namespace without addresses, so nothing answers by itself; packets are made by hand, sent into one
 * end and looked for at the other. Nobody waits for silence: a packet is denied when the rules' DROP counters say so,
 * and the run fails unless every packet sent either arrived or was counted.
 */
import { spawnSync } from 'node:child_process';
import { type Backend, createChains, createIpsets, parseSave, type Run } from 'iptables-wrapper';
import { createPolicyCalc, type MergeLimits, type PolicyCalc } from '../../felix/calc/index.ts';
import { renderRuleset, staticSets } from '../../felix/render/index.ts';
import type { Kernel } from '../../src/kernel/kernel.ts';
import { openKernel } from '../../src/kernel/open-kernel.ts';
import { createRun } from '../../src/kernel/run.ts';
import type { Logger } from '../../src/logging.ts';
import { type Family, familyOf } from '../../src/net/ip.ts';
import { decodePacket, decodeTransport, encodePacket, type RawPacket } from './raw-packets.ts';
import { openHost, openWire, type Wire } from './raw-sockets.ts';

export type RigOptions = {
	readonly backend: Backend;
	/** Addresses of each local pod, by its name. */
	readonly pods: ReadonlyMap<string, readonly string[]>;
	/** The node's own, one a family. Everything else is beyond the uplink. */
	readonly node: readonly string[];
	readonly podNetworks: readonly string[];
	readonly localPodCIDRs: readonly string[];
	readonly masquerade?: boolean;
	/** From where on rules are merged. */
	readonly limits?: MergeLimits;
};

/** A packet and where it starts; `RawPacket.number` is given by the rig. */
export type Shot = Omit<RawPacket, 'number'>;

export type Rig = {
	readonly calc: PolicyCalc;
	readonly kernel: Kernel;
	/** Brings rules and sets in line with the calculation, in the order docs/design/policy.md gives. */
	readonly apply: () => Promise<void>;
	/** Sends them all; for each the addresses of the ends it arrived at (none: dropped). */
	readonly shoot: (shots: readonly Shot[]) => Promise<readonly Arrival[]>;
	/** Runs a program on the node. */
	readonly exec: (program: string, ...args: string[]) => string;
	/** Forgets all connections. */
	readonly flush: () => void;
	readonly stop: () => void;
};

/** Where a packet came out: a pod's name, `node`, or `uplink`; undefined: nowhere. */
export type Arrival = Landing | undefined;
/** `source` and `sourcePort` after NAT; not told where it arrived at the node. */
export type Landing = { readonly at: string; readonly source: string; readonly sourcePort: number };

const log: Logger = { debug: () => {}, info: () => {}, warn: () => {}, error: () => {}, child: () => log };
const gateway = 'ee:ee:ee:ee:ee:ee';
const far = { 4: '169.254.9.9', 6: 'fe80::9' } as const;
let made = 0;

const must = (program: string, args: readonly string[], input = ''): string => {
	const { status, stdout, stderr } = spawnSync(program, args, { encoding: 'utf8', input });
	if (status !== 0) throw new Error(`${program} ${args.join(' ')}: ${stderr}`);
	return stdout;
};

export const startRig = (options: RigOptions): Rig => {
	const { backend } = options;
	const prefix = `manxt-${process.pid}-c${made++}`;
	const names = { node: `${prefix}-node`, far: `${prefix}-far` };
	const pods = [...options.pods].map(([name, addresses], i) => ({
		name,
		addresses,
		host: `manx${i}`,
		peer: `pod${i}`,
	}));
	const closers: (() => void)[] = [];
	const stop = (): void => {
		for (const close of closers.splice(0).reverse()) close();
		for (const name of Object.values(names)) spawnSync('ip', ['netns', 'del', name]);
	};

	const wire = (): void => {
		for (const name of Object.values(names)) {
			must('ip', ['netns', 'add', name]);
			must('ip', ['-n', name, 'link', 'set', 'lo', 'up']);
		}
		const sysctl = (name: string, ...settings: string[]) =>
			must('ip', ['netns', 'exec', name, 'sysctl', '-qw', ...settings]);
		sysctl(names.far, 'net.ipv6.conf.all.disable_ipv6=1', 'net.ipv6.conf.default.disable_ipv6=1');
		sysctl(
			names.node,
			'net.ipv4.ip_forward=1',
			'net.ipv6.conf.all.forwarding=1',
			'net.ipv4.conf.all.rp_filter=0',
			'net.ipv4.conf.default.rp_filter=0',
			'net.ipv6.conf.default.accept_dad=0',
			'net.ipv6.conf.default.router_solicitations=0',
			// Most of our packets have no transport checksum.
			'net.netfilter.nf_conntrack_checksum=0',
			// Their sequence numbers are names, not numbers in sequence.
			'net.netfilter.nf_conntrack_tcp_be_liberal=1',
		);
		const links = [...pods, { host: 'uplink', peer: 'fabric' }];
		const batch = links.flatMap(({ host, peer }) => [
			`link add ${host} address ${gateway} type veth peer name ${peer} netns ${names.far}`,
			`link set ${host} up`,
		]);
		for (const address of options.node)
			batch.push(`address add ${address}/${familyOf(address) === 4 ? 32 : 128} dev uplink`);
		for (const family of [4, 6] as const) {
			batch.push(`neighbour replace ${far[family]} lladdr 02:00:00:00:00:09 dev uplink nud permanent`);
			batch.push(`-${family} route add default via ${far[family]} dev uplink onlink`.replace(/^-4 /, ''));
		}
		for (const { addresses, host } of pods) {
			for (const address of addresses) {
				batch.push(`neighbour replace ${address} lladdr 02:00:00:00:00:01 dev ${host} nud permanent`);
				batch.push(`route add ${address}/${familyOf(address) === 4 ? 32 : 128} dev ${host}`);
			}
		}
		must('ip', ['-n', names.node, '-batch', '-'], `${batch.map((line) => line.replace(/^-6 /, '')).join('\n')}\n`);
		must('ip', ['-n', names.far, '-batch', '-'], `${links.map(({ peer }) => `link set ${peer} up`).join('\n')}\n`);
	};

	try {
		wire();
	} catch (error) {
		stop();
		throw error;
	}

	const paths = { node: `/run/netns/${names.node}`, far: `/run/netns/${names.far}` };
	const ends = new Map<string, Wire>();
	const indexes = JSON.parse(must('ip', ['-n', names.far, '-j', 'link'])) as readonly {
		ifname: string;
		ifindex: number;
	}[];
	for (const { name, peer } of [...pods, { name: 'uplink', peer: 'fabric' }]) {
		const index = indexes.find(({ ifname }) => ifname === peer)?.ifindex ?? 0;
		ends.set(name, openWire(paths.far, peer, index, gateway));
	}
	const host = openHost(paths.node);
	const kernel = openKernel({ log, netns: paths.node, watch: false });
	closers.push(
		() => kernel.close(),
		() => host.close(),
		...[...ends.values()].map((end) => () => end.close()),
	);

	const program = createRun();
	const run: Run = (file, args, input) => program('ip', ['netns', 'exec', names.node, file, ...args], input);
	const exec: Rig['exec'] = (program, ...args) => must('ip', ['netns', 'exec', names.node, program, ...args]);
	const flush = (): void => {
		spawnSync('ip', ['netns', 'exec', names.node, 'conntrack', '-F']);
	};

	const calc = createPolicyCalc(options.limits);
	const chainsOf = (family: Family) => createChains({ family, backend, prefix: 'MANX-', run });
	const chains = { 4: chainsOf(4), 6: chainsOf(6) };
	const ipsets = createIpsets({ prefix: 'manx-', run });
	const check = ({ error }: { readonly error?: { readonly message: string } }): void => {
		if (error) throw new Error(error.message);
	};
	const settings = { masquerade: options.masquerade ?? true, logging: true };

	const apply = async (): Promise<void> => {
		const families = ([4, 6] as const).map((family) => ({ family, policy: calc.state(family), settings }));
		ipsets.want(
			new Map(
				families.flatMap(({ family, policy }) => [
					...policy.sets,
					...staticSets({
						family,
						attachments: pods.map(({ addresses, host }) => ({ addresses, hostInterface: host })),
						podNetworks: options.podNetworks,
						localPodCIDRs: options.localPodCIDRs,
						nonMasqueradeCIDRs: [],
					}),
				]),
			),
		);
		check(await ipsets.applyAdditions());
		for (const wanted of families) check(await chains[wanted.family].apply(renderRuleset(wanted)));
		check(await ipsets.applyRemovals());
	};

	/** Packets our rules dropped or rejected so far. */
	const refused = async (): Promise<number> => {
		const saves = await Promise.all(
			['iptables', 'ip6tables'].map((program) => run(`${program}-${backend}-save`, ['-c'])),
		);
		let total = 0;
		for (const { stdout } of saves) {
			for (const table of parseSave(stdout).values()) {
				for (const [name, { rules }] of table) {
					if (!name.startsWith('MANX-')) continue;
					for (const { text, packets } of rules) if (/-j (DROP|REJECT)/.test(text)) total += packets;
				}
			}
		}
		return total;
	};

	const podOf = new Map(pods.flatMap(({ name, addresses }) => addresses.map((address) => [address, name])));
	let next = 1000;
	const shoot: Rig['shoot'] = async (shots) => {
		if (shots.length === 0) return [];
		const first = next;
		next += shots.length;
		const arrivals: Arrival[] = shots.map(() => undefined);
		let count = 0;
		const note = (number: number | undefined, at: string, source: string, sourcePort: number): void => {
			if (number === undefined || number < first || number >= next) return;
			if (arrivals[number - first] === undefined) count++;
			arrivals[number - first] = { at, source, sourcePort };
		};
		const drain = (): void => {
			for (const [name, end] of ends) {
				end.drain((data, length) => {
					const seen = decodePacket(data, 14, length);
					if (seen !== undefined) note(seen.number, name, seen.source, seen.sourcePort);
				});
			}
			host.drain((data, start, protocol) => note(decodeTransport(data, start, protocol), 'node', '', 0));
		};
		drain();
		const before = await refused();
		shots.forEach((shot, i) => {
			const family = familyOf(shot.source);
			const packet = encodePacket({ ...shot, number: first + i });
			const from = shot.tooBigFor ?? (shot.unreachable ? shot.destination : shot.source);
			const to = shot.unreachable || shot.tooBigFor !== undefined ? shot.source : shot.destination;
			if (options.node.includes(from)) host.send(packet, family, to);
			else (ends.get(podOf.get(from) ?? 'uplink') as Wire).send(packet, family);
			if (i % 100 === 99) drain();
		});
		for (const end = Date.now() + 10_000; ; ) {
			drain();
			const lost = shots.length - count - ((await refused()) - before);
			if (lost === 0) return arrivals;
			if (lost < 0) throw new Error(`the rules dropped ${-lost} packets nobody sent, or some that arrived`);
			if (Date.now() <= end) continue;
			const missing = shots.filter((_, i) => arrivals[i] === undefined).slice(0, 10);
			throw new Error(
				`${lost} of ${shots.length} packets neither arrived nor were dropped by a rule of ours, among these: ${JSON.stringify(missing)}`,
			);
		}
	};

	return { calc, kernel, apply, shoot, exec, flush, stop };
};
