import { type ChildProcess, spawn } from 'node:child_process';
import { appendFileSync, closeSync, mkdirSync, openSync, statSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { findLab, paths, processRecords, supervisorRecord, writeAtomically } from './lab-state.ts';
import { isAlive, type ProcessRecord, recordOf } from './processes.ts';
import { LabError, until } from './shell.ts';
import { type Supervised, supervisedOf } from './supervised.ts';

/**
 * The lab's background process: starts daemons and router, and starts again what has died, a second later, as a
 * kubelet would. It holds nothing but the processes: when it is killed itself they live on, and the next `lab`
 * command starts another, which takes them over by the records in processes.json.
 */

const restartDelay = 1000;
/** How often processes taken over (not our children) are looked at. */
const watchInterval = 200;

const supervise = (name: string): void => {
	const files = paths(name);
	const records = new Map<string, ProcessRecord>(processRecords(name));
	const log = (text: string) => appendFileSync(files.supervisorLog, `${new Date().toISOString()} ${text}\n`);
	let ending = false;

	const remember = (id: string, record: ProcessRecord | undefined) => {
		if (record === undefined) records.delete(id);
		else {
			records.set(id, record);
			writeAtomically(join(files.state, `${id}.pid`), `${record.pid}\n`);
		}
		writeAtomically(files.processes, `${JSON.stringify(Object.fromEntries(records), null, '\t')}\n`);
	};

	/** The lab's folder gone: `down` was here, or somebody removed it. Nothing is left to supervise. */
	const isGone = () => statSync(files.lab, { throwIfNoEntry: false }) === undefined;

	const again = (item: Supervised, how: string) => {
		if (ending || isGone()) return;
		remember(item.id, undefined);
		log(`${item.id} ended (${how}), starting it again in ${restartDelay} ms`);
		setTimeout(() => start(item), restartDelay);
	};

	const start = (item: Supervised) => {
		if (ending || isGone()) return;
		const logFile = join(files.state, `${item.id}.log`);
		mkdirSync(dirname(logFile), { recursive: true });
		const output = openSync(logFile, 'a');
		// `ip netns exec` becomes the program itself: the pid is the daemon's.
		const child: ChildProcess = spawn('ip', ['netns', 'exec', item.netns, ...item.argv], {
			stdio: ['ignore', output, output],
			env: { ...process.env, ...item.env },
			cwd: '/',
		});
		closeSync(output);
		child.on('error', (error) => again(item, error.message));
		if (child.pid === undefined) return;
		const record = recordOf(child.pid);
		remember(item.id, record);
		log(`${item.id} started, process ${child.pid}`);
		child.on('exit', (code, signal) => again(item, signal ?? `exit status ${code}`));
	};

	const takeOver = (item: Supervised, record: ProcessRecord) => {
		log(`${item.id} runs already, process ${record.pid}`);
		const timer = setInterval(() => {
			if (isAlive(record)) return;
			clearInterval(timer);
			again(item, 'not our child');
		}, watchInterval);
	};

	const supervised = new Set<string>();
	const readPlan = () => {
		const lab = findLab(name);
		if (lab === undefined) return;
		for (const item of supervisedOf(lab)) {
			if (supervised.has(item.id)) continue;
			supervised.add(item.id);
			const record = records.get(item.id);
			if (record !== undefined && isAlive(record)) takeOver(item, record);
			else start(item);
		}
	};

	const end = () => {
		ending = true;
		process.exit(0);
	};
	process.on('SIGTERM', end);
	process.on('SIGINT', end);
	// A node was added: the plan has more to start.
	process.on('SIGHUP', readPlan);
	process.on('uncaughtException', (error) => log(`a bug in the supervisor: ${error.stack}`));
	writeAtomically(files.supervisor, JSON.stringify(recordOf(process.pid)));
	log(`supervisor of lab "${name}" started, process ${process.pid}`);
	readPlan();
	setInterval(() => {
		if (isGone()) end();
	}, 1000);
};

/** Starts the supervisor unless it runs, and returns once it has written its record. */
export const ensureSupervisor = async (name: string): Promise<void> => {
	const running = supervisorRecord(name);
	if (running !== undefined && isAlive(running)) return;
	const { supervisorLog } = paths(name);
	const output = openSync(supervisorLog, 'a');
	const child = spawn(process.execPath, [fileURLToPath(import.meta.url), name], {
		detached: true,
		stdio: ['ignore', output, output],
		cwd: '/',
	});
	closeSync(output);
	child.unref();
	// A machine with much else to do takes its time to start a program; one that has ended is not waited for.
	const problem = await until(60_000, async () =>
		supervisorRecord(name)?.pid === child.pid || child.exitCode !== null ? undefined : `its log is ${supervisorLog}`,
	);
	if (child.exitCode !== null)
		throw new LabError(`The lab's supervisor ended as it began: its log is ${supervisorLog}`);
	if (problem !== undefined) throw new LabError(`The lab's supervisor does not start: ${problem}`);
};

const [, script, labName] = process.argv;
if (import.meta.main && script !== undefined && labName !== undefined) supervise(labName);
