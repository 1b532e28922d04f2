import { existsSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { existingNetns, hasTraces, processRecords, stateDirOf, supervisorRecord, withLock } from './lab-state.ts';
import { commandLineOf, endProcesses, isAlive, processesIn, recordOf } from './processes.ts';
import { LabError, run } from './shell.ts';

/**
 * Removes a lab wholly: its processes, namespaces (with them every link, route and rule in them) and files. Works from
 * what is there, not from the plan, so it also clears up after a crash at any point, and when called twice.
 */
export const bringDown = (name: string): Promise<boolean> =>
	withLock(name, 'lab', async () => {
		if (!hasTraces(name)) return false;
		// First the supervisor, else it starts again what is ended here.
		const supervisor = supervisorRecord(name);
		if (supervisor !== undefined && commandLineOf(supervisor.pid).includes('supervisor'))
			await endProcesses([supervisor]);
		for (let round = 0; round < 5; round++) {
			const recorded = [...processRecords(name).values()].filter(isAlive);
			const living = processesIn(existingNetns(name)).map(recordOf);
			const all = [...recorded, ...living.filter((record) => record !== undefined)];
			if (all.length === 0) break;
			await endProcesses(all);
		}
		const namespaces = existingNetns(name);
		if (namespaces.length > 0) {
			const input = namespaces.map((netns) => `netns del ${netns}\n`).join('');
			await run('ip', ['-force', '-batch', '-'], { input });
			// Left by a crash between making the file and mounting the namespace on it: a plain file.
			for (const netns of existingNetns(name)) {
				await run('umount', [join('/run/netns', netns)]);
				rmSync(join('/run/netns', netns), { force: true });
			}
		}
		rmSync(stateDirOf(name), { recursive: true, force: true });
		const left = existingNetns(name);
		if (left.length > 0 || existsSync(stateDirOf(name))) {
			throw new LabError(`Could not remove ${[...left, stateDirOf(name)].join(', ')}; run lab down again.`);
		}
		return true;
	});
