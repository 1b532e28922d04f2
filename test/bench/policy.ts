/**
 * Changes of policy, from the event to the kernel's acknowledgement, beside what the kernel's own tools need for the same
 * delta given by hand: `iptables-restore --noflush` and `ipset restore`, from spawn to exit, started by a small C
 * program. Ours is the calculation and the dataplane loop as felix runs them (routes of new pods and the periodic
 * comparison with the kernel included), both families. The two sides take turns, each in a network namespace of its own
 * that holds the same rules and sets. Prints p50 and p99 in ms and their ratio; then a full start (start.ts).
 * ROUNDS=40, BACKENDS, SIZES.
 */
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type Backend, createChains, createIpsets } from 'iptables-wrapper';
import { createPolicyCalc } from '../../felix/calc/index.ts';
import { createDataplane } from '../../felix/dataplane/dataplane.ts';
import { createDesired, type Desired } from '../../felix/dataplane/desired.ts';
import { openKernel } from '../../src/kernel/open-kernel.ts';
import { openRulesPrint } from '../../src/kernel/rules-print.ts';
import { openSetMembers } from '../../src/kernel/set-members.ts';
import { createShellRun } from '../../src/kernel/shell-run.ts';
import type { Logger } from '../../src/logging.ts';
import { byHand } from './lib/by-hand.ts';
import * as cluster from './lib/policy-cluster.ts';
import { type SpawnTimer, startSpawnTimer } from './lib/spawn-timer.ts';

const rounds = Number(process.env.ROUNDS ?? 40);
const backends = (process.env.BACKENDS ?? 'legacy nft').split(' ') as Backend[];
const sizes = (process.env.SIZES ?? '0 110 2000').split(' ').map(Number);
const warmUp = 3;

if (process.getuid?.() !== 0) {
	console.error('This benchmark makes network namespaces: run it as root.');
	process.exit(1);
}

const log: Logger = { debug: () => {}, info: () => {}, warn: console.warn, error: console.error, child: () => log };
const directory = mkdtempSync(join(tmpdir(), 'manx-bench-'));
const program = (file: string, args: readonly string[], input = ''): string =>
	execFileSync(file, args, { encoding: 'utf8', input, maxBuffer: 1 << 30 });
const namespaces: string[] = [];
const addNetns = (name: string): string => {
	program('ip', ['netns', 'add', name]);
	namespaces.push(name);
	return name;
};
const inside = (netns: string, file: string, args: readonly string[], input?: string): string =>
	program('ip', ['netns', 'exec', netns, file, ...args], input);
const quantile = (values: readonly number[], q: number): number =>
	[...values].sort((a, b) => a - b)[Math.min(values.length - 1, Math.floor(values.length * q))] ?? Number.NaN;

/** felix without its CNI server and datastore. */
const startOurs = (backend: Backend) => {
	const kernel = openKernel({ log });
	const shell = createShellRun({ folder: join(directory, 'shell') });
	const { run } = shell;
	const members = openSetMembers();
	const print = openRulesPrint(backend, 'manx-');
	const calc = createPolicyCalc();
	const desire = createDesired();
	const settings = { masquerade: true };
	const addresses = { 4: '192.0.2.1', 6: 'fd00:1::1' };
	let wanted: Desired | undefined;
	let inForce: () => void = () => {};
	const chains = (family: 4 | 6) => createChains({ family, backend, prefix: 'MANX-', run });
	const dataplane = createDataplane({
		kernel,
		chains: { 4: chains(4), 6: chains(6) },
		ipsets: createIpsets({ prefix: 'manx-', run, writeMembers: members.write, readSets: members.read }),
		rulesPrint: print.take,
		desired: (attachments) => {
			wanted = desire(
				{
					policy: calc.state,
					settings,
					podNetworks: ['10.0.0.0/8', 'fd00::/16'],
					localPodCIDRs: ['10.128.0.0/16', 'fd00:80::/64'],
					nonMasqueradeCIDRs: [],
					routes: [],
				},
				attachments,
			);
			return wanted;
		},
		policiesInForce: () => inForce(),
		nodeAddresses: () => addresses,
		settings: () => [],
		log,
		rulesCheckSeconds: 3,
		resyncSeconds: 300,
	});
	const wire = async ({ pod, attachment }: cluster.Local): Promise<void> => {
		calc.set(pod);
		calc.setLocalPod({ key: cluster.keyOfPod(pod), addresses: attachment.addresses });
		const refusal = await dataplane.attach(attachment);
		if (refusal !== undefined) throw new Error(refusal);
	};
	const unwire = async ({ pod, attachment }: cluster.Local): Promise<void> => {
		calc.delete('Pod', cluster.keyOfPod(pod));
		calc.deleteLocalPod(cluster.keyOfPod(pod));
		await dataplane.detach(attachment.hostInterface);
	};
	/** Wakes the loop; resolves when what was changed before is in force. */
	const programmed = (): Promise<void> =>
		new Promise((resolve) => {
			const { begun } = dataplane.passes();
			inForce = () => {
				if (dataplane.passes().begun > begun) resolve();
			};
			dataplane.wake();
		});
	return {
		calc,
		dataplane,
		wire,
		unwire,
		programmed,
		wanted: () => wanted as Desired,
		close: async () => {
			await dataplane.close();
			kernel.close();
			members.close();
			print.close();
			shell.close();
		},
	};
};
type Ours = ReturnType<typeof startOurs>;

type Operation = {
	readonly name: string;
	/** Under iptables-nft it deletes rules, which waits for RCU. */
	readonly deletes?: boolean;
	readonly act: (round: number) => Promise<void>;
	readonly undo: () => Promise<void>;
};

const operations = ({ calc, wire, unwire, programmed }: Ours, size: number): Operation[] => {
	// Even numbers are of one tier, as is pod 0: its group is known.
	const next = size + (size % 2);
	const known = cluster.localPod(next + 2, 0);
	const fresh = cluster.localPod(next + 4, 0, { extra: 'yes' });
	const crowd = Array.from({ length: 1000 }, (_, i) => cluster.remotePod('crowd', 5000 + i, {}));
	const labelled = (role: string) => cluster.remotePod(cluster.namespaceOf(0), 0, { role });
	return [
		{ name: 'new pod, known group', act: () => wire(known), undo: () => unwire(known) },
		{ name: 'new pod, new group', act: () => wire(fresh), undo: () => unwire(fresh) },
		{
			name: 'policy edited: port',
			deletes: true,
			act: (round) => {
				calc.set(cluster.ingressPolicy(0, 9000 + round));
				return programmed();
			},
			undo: async () => {},
		},
		{
			name: 'policy edited: peer',
			deletes: true,
			act: (round) => {
				calc.set(cluster.ingressPolicy(0, 8080, { role: `other${round}` }));
				return programmed();
			},
			undo: () => {
				calc.set(cluster.ingressPolicy(0, 8080));
				return programmed();
			},
		},
		{
			name: 'label changed',
			act: (round) => {
				calc.set(labelled(round % 2 === 0 ? 'none' : 'client'));
				return programmed();
			},
			undo: async () => {},
		},
		{
			name: '1,000 members added',
			act: () => {
				for (const pod of crowd) calc.set(pod);
				return programmed();
			},
			undo: () => {
				for (const pod of crowd) calc.delete('Pod', cluster.keyOfPod(pod));
				return programmed();
			},
		},
	];
};

const settled = async ({ dataplane }: Ours): Promise<void> => {
	while (dataplane.passes().begun !== dataplane.passes().succeeded) await new Promise(setImmediate);
};

const destroy = async (hand: SpawnTimer, names: readonly string[]): Promise<void> => {
	// iptables-nft frees what a deleted rule used a moment after it returned.
	for (let tries = 0; names.length > 0; tries++) {
		const input = names.map((name) => `destroy ${name}\n`).join('');
		try {
			await hand.time([{ file: 'ipset', args: ['restore', '-exist'], input }]);
			return;
		} catch (error) {
			if (tries === 20) throw error;
		}
	}
};

const race = async (ours: Ours, hand: SpawnTimer, operation: Operation, backend: Backend): Promise<void> => {
	const mine: number[] = [];
	const bare: number[] = [];
	for (let round = -warmUp; round < rounds; round++) {
		const before = ours.wanted();
		const start = process.hrtime.bigint();
		await operation.act(round + warmUp);
		const took = Number(process.hrtime.bigint() - start) / 1e6;
		await settled(ours);
		const after = ours.wanted();
		const forward = byHand(before, after, backend);
		const byHandTook = await hand.time(forward.commands);
		await destroy(hand, forward.leftOver);
		if (round >= 0) {
			mine.push(took);
			bare.push(byHandTook);
		}
		await operation.undo();
		await settled(ours);
		const back = byHand(after, ours.wanted(), backend);
		await hand.time(back.commands);
		await destroy(hand, back.leftOver);
	}
	const [ours50, ours99, bare50, bare99] = [
		quantile(mine, 0.5),
		quantile(mine, 0.99),
		quantile(bare, 0.5),
		quantile(bare, 0.99),
	] as const;
	const text = (ms: number): string => ms.toFixed(2).padStart(7);
	const late =
		operation.deletes && backend === 'nft' ? `  bare ${(ours50 - bare50).toFixed(1).padStart(5)} ms more` : '';
	console.log(
		`  ${operation.name.padEnd(22)} ours ${text(ours50)} ${text(ours99)}   bare ${text(bare50)} ${text(bare99)}   ratio ${(ours50 / bare50).toFixed(2)}${late}`,
	);
};

/** In `netns`, which this process lives in. */
const measure = async (backend: Backend, size: number, netns: string, handNetns: string): Promise<void> => {
	// Both ends of a veth are pods' interfaces here: half as many to make.
	const pairs = Array.from(
		{ length: Math.ceil((size + 10) / 2) },
		(_, i) =>
			`link add ${cluster.interfaceOf(2 * i)} type veth peer name ${cluster.interfaceOf(2 * i + 1)}\n` +
			`link set ${cluster.interfaceOf(2 * i)} up\nlink set ${cluster.interfaceOf(2 * i + 1)} up\n`,
	);
	inside(netns, 'sysctl', ['-qw', 'net.ipv6.conf.default.addr_gen_mode=1']);
	program('ip', ['-n', netns, '-batch', '-'], pairs.join(''));
	for (const [family, address] of [
		['-4', '192.0.2.1/32'],
		['-6', 'fd00:1::1/128'],
	] as const) {
		program('ip', ['-n', netns, family, 'addr', 'add', address, 'dev', 'lo']);
	}
	program('ip', ['-n', netns, 'link', 'set', 'lo', 'up']);

	const ours = startOurs(backend);
	const hand = startSpawnTimer(handNetns, directory);
	try {
		const { calc } = ours;
		calc.set(cluster.makeNamespace('system', { team: 'system' }));
		calc.set(cluster.makeNamespace('crowd', { team: 'crowd' }));
		// Beside the pods counted there is the one that changes are about.
		const apps = Math.max(1, Math.ceil(size / cluster.podsOf));
		for (let app = 0; app < apps; app++) {
			calc.set(cluster.makeNamespace(cluster.namespaceOf(app)));
			for (const policy of cluster.policiesOf(app)) calc.set(policy);
			for (let i = 0; i < cluster.podsOf; i++) {
				calc.set(cluster.remotePod(cluster.namespaceOf(app), app * cluster.podsOf + i, { role: 'client' }));
			}
		}
		ours.dataplane.begin();
		const start = performance.now();
		await Promise.all(Array.from({ length: Math.max(1, size) }, (_, i) => ours.wire(cluster.localPod(i))));
		await settled(ours);
		const took = (performance.now() - start).toFixed(0);
		for (const family of ['iptables', 'ip6tables']) {
			const saved = inside(netns, `${family}-${backend}-save`, []);
			inside(handNetns, `${family}-${backend}-restore`, [], '');
			inside(handNetns, 'ipset', ['restore', '-exist'], inside(netns, 'ipset', ['save']));
			inside(handNetns, `${family}-${backend}-restore`, [], saved);
		}
		const rules = inside(netns, `iptables-${backend}-save`, [])
			.split('\n')
			.filter((line) => line.startsWith('-A'));
		const { 4: policy } = ours.wanted().policies;
		console.log(
			`iptables-${backend}, ${size} pods programmed in ${took} ms: ${policy.groups.length} groups, ` +
				`${rules.length} rules, ${policy.sets.size} sets a family`,
		);
		for (const operation of operations(ours, Math.max(1, size))) await race(ours, hand, operation, backend);
	} finally {
		await ours.close();
		hand.close();
	}
};

const [backend, size, netns, handNetns] = process.argv.slice(process.argv.indexOf('--measure') + 1);
try {
	if (process.argv.includes('--measure')) {
		await measure(backend as Backend, Number(size), netns as string, handNetns as string);
	} else {
		console.log(`p50 and p99 of ${rounds} rounds, in ms`);
		for (const backend of backends) {
			for (const size of sizes) {
				// A process of its own for each, in the netns: what it starts is there too, and none has grown by another's work.
				const own = addNetns(`manxb-${process.pid}-${backend}-${size}`);
				const words = [
					process.execPath,
					import.meta.filename,
					'--measure',
					backend,
					`${size}`,
					own,
					addNetns(`${own}-hand`),
				];
				execFileSync('ip', ['netns', 'exec', own, ...words], { stdio: 'inherit' });
			}
		}
	}
	if (!process.argv.includes('--measure')) {
		if (process.env.SIZES === undefined)
			execFileSync(process.execPath, [join(import.meta.dirname, 'start.ts')], { stdio: 'inherit' });
	}
} finally {
	for (const name of namespaces) program('ip', ['netns', 'del', name]);
	rmSync(directory, { recursive: true });
}
