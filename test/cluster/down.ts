import { existsSync, readdirSync, readFileSync, rmdirSync, rmSync } from 'node:fs';
import { basename, join } from 'node:path';
import { endProcesses, processesIn, recordOf } from '../../src/lab/processes.ts';
import { ipBatch, until } from '../../src/lab/shell.ts';
import { netnsPrefix, paths, recordedProcesses } from './state.ts';

/** Ends a cluster, also one whose maker died half-way: its processes, namespaces, control groups and files. */

const parentOf = (pid: number): number | undefined => {
	try {
		return Number(/^PPid:\s*(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]);
	} catch {
		return undefined;
	}
};

/** The processes and all that descend from them: containers live in namespaces of their own, below a shim. */
const withDescendants = (roots: ReadonlySet<number>): ReadonlySet<number> => {
	const all = new Set(roots);
	const parents = new Map<number, number>();
	for (const entry of readdirSync('/proc')) {
		if (!/^\d+$/.test(entry)) continue;
		const parent = parentOf(Number(entry));
		if (parent !== undefined) parents.set(Number(entry), parent);
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

const containersOf = (data: string): ReadonlySet<string> => {
	const names = new Set<string>();
	for (const node of existsSync(data) ? readdirSync(data) : []) {
		for (const kind of ['containers', 'sandboxes']) {
			const folder = join(data, node, 'containerd/io.containerd.grpc.v1.cri', kind);
			if (existsSync(folder)) for (const id of readdirSync(folder)) names.add(id);
		}
	}
	return names;
};

export const down = async (name: string): Promise<void> => {
	const { run, data } = paths(name);
	const netns = existsSync('/run/netns')
		? readdirSync('/run/netns').filter((entry) => entry.startsWith(netnsPrefix(name)))
		: [];
	// What a dying program starts in its last moment is found by the next pass.
	const left = await until(15_000, async () => {
		const recorded = recordedProcesses(name).filter(({ pid, startTime }) => recordOf(pid)?.startTime === startTime);
		const pids = withDescendants(new Set([...recorded.map(({ pid }) => pid), ...processesIn(netns)]));
		const records = [...pids].flatMap((pid) => recordOf(pid) ?? []);
		if (records.length === 0) return undefined;
		await endProcesses(records);
		return `processes ${records.map(({ pid }) => pid).join(', ')} are still there`;
	});
	if (left !== undefined) throw new Error(`Cluster ${basename(run)} is not down after 15 s: ${left}.`);
	await ipBatch(
		undefined,
		netns.map((one) => `netns del ${one}`),
	);
	removeControlGroups('/sys/fs/cgroup', containersOf(data));
	rmSync(run, { recursive: true, force: true });
	rmSync(data, { recursive: true, force: true });
};
