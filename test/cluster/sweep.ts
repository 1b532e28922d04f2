import { existsSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { endProcesses, processesIn, recordOf, startTimeOf } from '../../src/lab/processes.ts';
import { ipBatch } from '../../src/lab/shell.ts';
import { down } from './down.ts';

/** What test processes that were killed left behind. All they make carries their process id. */

const entriesOf = (folder: string): readonly string[] => (existsSync(folder) ? readdirSync(folder) : []);

const ownerOf = (pattern: RegExp, entry: string): number | undefined => {
	const pid = pattern.exec(entry)?.[1];
	return pid === undefined ? undefined : Number(pid);
};

const places = [
	{ folder: '/run/manx-cluster', pattern: /^t(\d+)/ },
	// Of datastore-server.ts.
	{ folder: '/run/netns', pattern: /^manxt-(\d+)-api$/ },
	{ folder: tmpdir(), pattern: /^manx-api-(\d+)-/ },
];

/** Processes that something named after them says to be alive or to have been. */
export const testProcesses = (): ReadonlySet<number> =>
	new Set(places.flatMap(({ folder, pattern }) => entriesOf(folder).flatMap((entry) => ownerOf(pattern, entry) ?? [])));

/** Takes down everything whose process is gone. */
export const sweepDead = async (log: (line: string) => void): Promise<void> => {
	const [clusters, namespaces, folders] = places.map(({ folder, pattern }) =>
		entriesOf(folder).filter((entry) => {
			const pid = ownerOf(pattern, entry);
			return pid !== undefined && startTimeOf(pid) === undefined;
		}),
	) as [string[], string[], string[]];
	for (const name of clusters) {
		log(`taking down cluster ${name}, which its test left`);
		await down(name);
	}
	await endProcesses(processesIn(namespaces).flatMap((pid) => recordOf(pid) ?? []));
	await ipBatch(
		undefined,
		namespaces.map((name) => `netns del ${name}`),
	);
	for (const folder of folders) rmSync(join(tmpdir(), folder), { recursive: true, force: true });
};
