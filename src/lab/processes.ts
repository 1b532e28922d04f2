import { readdirSync, readFileSync, statSync } from 'node:fs';
import { sleep } from './shell.ts';

/**
 * Which processes are the lab's: those recorded by pid **and** start time (a pid alone may have been handed to another
 * since), and those that live in the lab's own network namespaces.
 */

export type ProcessRecord = { readonly pid: number; readonly startTime: string };

/** Field 22 of /proc/PID/stat (proc(5)), or undefined when there is no such process or it is a zombie. */
export const startTimeOf = (pid: number): string | undefined => {
	try {
		const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
		// The second field is the program's name in parentheses and may hold anything, blanks and parentheses too.
		const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
		return fields[0] === 'Z' || fields[0] === 'X' ? undefined : fields[19];
	} catch {
		return undefined;
	}
};

export const recordOf = (pid: number): ProcessRecord | undefined => {
	const startTime = startTimeOf(pid);
	return startTime === undefined ? undefined : { pid, startTime };
};

export const isAlive = (record: ProcessRecord): boolean => startTimeOf(record.pid) === record.startTime;

const identity = (path: string): string | undefined => {
	try {
		const { dev, ino } = statSync(path);
		return `${dev}:${ino}`;
	} catch {
		return undefined;
	}
};

/** Processes in the named network namespaces (what `ip netns pids` tells, for many in one pass over /proc). */
export const processesIn = (netnsNames: readonly string[]): number[] => {
	const own = identity('/proc/self/ns/net');
	const wanted = new Set(netnsNames.map((name) => identity(`/run/netns/${name}`)));
	wanted.delete(undefined);
	// A netns file whose mount is gone is a plain file; and our own namespace is never the lab's.
	wanted.delete(own);
	if (wanted.size === 0) return [];
	return readdirSync('/proc')
		.filter((entry) => /^\d+$/.test(entry))
		.filter((pid) => wanted.has(identity(`/proc/${pid}/ns/net`)))
		.map(Number)
		.filter((pid) => pid !== process.pid);
};

/** Whether `pid` runs one of our scripts: its command line holds `text`. */
export const commandLineOf = (pid: number): string => {
	try {
		return readFileSync(`/proc/${pid}/cmdline`, 'utf8').replaceAll('\0', ' ').trim();
	} catch {
		return '';
	}
};

/** SIGKILL, then waits until the processes are gone (at most five seconds); returns those that are not. */
export const endProcesses = async (records: readonly ProcessRecord[]): Promise<readonly ProcessRecord[]> => {
	for (const record of records) {
		if (!isAlive(record)) continue;
		try {
			process.kill(record.pid, 'SIGKILL');
		} catch {}
	}
	const deadline = performance.now() + 5000;
	let left = records.filter(isAlive);
	while (left.length > 0 && performance.now() < deadline) {
		await sleep(5);
		left = left.filter(isAlive);
	}
	return left;
};
