import { spawn } from 'node:child_process';
import { closeSync, openSync } from 'node:fs';
import { join } from 'node:path';
import { endProcesses, isAlive, recordOf } from '../../src/lab/processes.ts';
import { type Component, paths, recordedProcesses, recordProcess } from './state.ts';

/** The long-running programs of a cluster, each in a session of its own with a log file, known by pid and start time. */

export const startComponent = (cluster: string, { id, argv }: Component): number => {
	const log = openSync(join(paths(cluster).run, `${id}.log`), 'a');
	const [program = '', ...args] = argv;
	const child = spawn(program, args, { detached: true, stdio: ['ignore', log, log] });
	closeSync(log);
	const record = child.pid === undefined ? undefined : recordOf(child.pid);
	if (record === undefined) throw new Error(`${id} did not start: ${argv.join(' ')}`);
	recordProcess(cluster, id, record);
	child.unref();
	return record.pid;
};

/** SIGKILL to the component, as a crash would be. */
export const stopComponent = async (cluster: string, id: string): Promise<void> => {
	await endProcesses(recordedProcesses(cluster).filter((one) => one.id === id));
};

export const componentIsAlive = (cluster: string, id: string): boolean =>
	recordedProcesses(cluster).some((one) => one.id === id && isAlive(one));
