import { existsSync, readdirSync, readFileSync, readlinkSync, rmdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { endProcesses, processesIn, recordOf } from '../../src/lab/processes.ts';
import { ipBatch, run, until } from '../../src/lab/shell.ts';
import { netnsPrefix, paths, recordedProcesses } from './state.ts';

/** Ends a cluster, also one whose maker died half-way: its processes, namespaces, control groups and files. */

export const parentOf = (pid: number): number | undefined => {
	try {
		return Number(/^PPid:\s*(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]);
	} catch {
		return undefined;
	}
};

const pids = (): readonly number[] =>
	readdirSync('/proc')
		.filter((entry) => /^\d+$/.test(entry))
		.map(Number);

const mountNamespaceOf = (pid: number): string => {
	try {
		return readlinkSync(`/proc/${pid}/ns/mnt`);
	} catch {
		return '';
	}
};

/** What tests started in pods' networks, which nothing else ties to the cluster once the test is dead. */
const beside = (roots: readonly number[]): readonly number[] => {
	const wanted = new Set(roots.map(mountNamespaceOf));
	for (const common of ['', mountNamespaceOf(1), mountNamespaceOf(process.pid)]) wanted.delete(common);
	return wanted.size === 0 ? [] : pids().filter((pid) => wanted.has(mountNamespaceOf(pid)));
};

/** The processes and all that descend from them: containers live in namespaces of their own, below a shim. */
const withDescendants = (roots: ReadonlySet<number>): ReadonlySet<number> => {
	const all = new Set(roots);
	const parents = new Map<number, number>();
	for (const pid of pids()) {
		const parent = parentOf(pid);
		if (parent !== undefined) parents.set(pid, parent);
	}
	for (let grown = true; grown; ) {
		grown = false;
		for (const [pid, parent] of parents) {
			if (all.has(parent) && !all.has(pid)) {
				all.add(pid);
				grown = true;
			}
		}
	}
	all.delete(process.pid);
	return all;
};

/** Folders below `root` that bear one of the names: what a container killed without its runtime leaves behind. */
const removeControlGroups = (root: string, names: ReadonlySet<string>, depth = 0): void => {
	let entries: string[] = [];
	try {
		entries = readdirSync(root, { withFileTypes: true }).flatMap((entry) => (entry.isDirectory() ? [entry.name] : []));
	} catch {}
	for (const entry of entries) {
		const path = join(root, entry);
		if (names.has(entry)) {
			for (const inner of readdirSync(path, { withFileTypes: true })) {
				if (inner.isDirectory()) removeControlGroups(path, new Set([inner.name]));
			}
			try {
				rmdirSync(path);
			} catch {}
		} else if (depth < 3) removeControlGroups(path, names, depth + 1);
	}
};

const containersOf = (data: string, nodes: readonly string[]): ReadonlySet<string> => {
	const names = new Set<string>();
	for (const node of nodes) {
		for (const kind of ['containers', 'sandboxes']) {
			const folder = join(data, node, 'containerd/io.containerd.grpc.v1.cri', kind);
			if (existsSync(folder)) for (const id of readdirSync(folder)) names.add(id);
		}
	}
	return names;
};

/** Ends the recorded processes that `which` takes, all in these network namespaces, and what belongs to them. */
const endAll = async (name: string, netns: readonly string[], which: (id: string) => boolean): Promise<void> => {
	// What a dying program starts in its last moment is found by the next pass.
	const left = await until(60_000, async () => {
		const recorded = recordedProcesses(name)
			.filter(({ pid, startTime, id }) => which(id) && recordOf(pid)?.startTime === startTime)
			.map(({ pid }) => pid);
		const found = withDescendants(new Set([...recorded, ...beside(recorded), ...processesIn(netns)]));
		const records = [...found].flatMap((pid) => recordOf(pid) ?? []);
		if (records.length === 0) return undefined;
		await endProcesses(records);
		return `processes ${records.map(({ pid }) => pid).join(', ')} are still there`;
	});
	if (left !== undefined) throw new Error(`Cluster ${name} is not down after a minute: ${left}.`);
	await ipBatch(
		undefined,
		netns.map((one) => `netns del ${one}`),
	);
};

/** Ends a node as if its plug were pulled: its folders stay, as a disk would. */
export const endMachine = async (name: string, node: string): Promise<void> => {
	// The kernel takes its time over a dead namespace; the cable's other end must not be found by the next one.
	await run('ip', ['-n', `${netnsPrefix(name)}fabric`, 'link', 'delete', `p-${node}`]);
	await endAll(name, [`${netnsPrefix(name)}${node}`], (id) => id.endsWith(`-${node}`));
	removeControlGroups('/sys/fs/cgroup', containersOf(paths(name).data, [node]));
};

export const down = async (name: string): Promise<void> => {
	const { run: state, data } = paths(name);
	const netns = existsSync('/run/netns')
		? readdirSync('/run/netns').filter((entry) => entry.startsWith(netnsPrefix(name)))
		: [];
	await endAll(name, netns, () => true);
	removeControlGroups('/sys/fs/cgroup', containersOf(data, existsSync(data) ? readdirSync(data) : []));
	rmSync(state, { recursive: true, force: true });
	rmSync(data, { recursive: true, force: true });
};
