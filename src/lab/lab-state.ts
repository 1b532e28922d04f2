import {
	existsSync,
	mkdirSync,
	readdirSync,
	readFileSync,
	renameSync,
	rmdirSync,
	rmSync,
	writeFileSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import { isLabName, type Lab, netnsPrefix } from './plan.ts';
import { isAlive, type ProcessRecord, recordOf } from './processes.ts';
import { LabError, sleep } from './shell.ts';

/**
 * What a lab keeps in files, all below /run/manx-lab/NAME:
 *
 *     lab.json           the plan, and the pods' sandboxes
 *     objects/           the directory datastore; objects/.generation
 *     NODE/              felix.yaml, bird.yaml, felix.log, bird.log, felix.pid, bird.pid, run/ (the daemons' runDir)
 *     tor/               the router's configuration, log and control socket
 *     cni/bin/manx       the CNI plugin
 *     supervisor.json    the background process that restarts what dies; processes.json: what it started
 */

const root = '/run/manx-lab';

export const stateDirOf = (name: string): string => join(root, name);

export const paths = (name: string) => {
	const state = stateDirOf(name);
	return {
		state,
		lab: join(state, 'lab.json'),
		objects: join(state, 'objects'),
		generation: join(state, 'objects', '.generation'),
		cniDir: join(state, 'cni', 'bin'),
		cniPlugin: join(state, 'cni', 'bin', 'manx'),
		tor: join(state, 'tor'),
		supervisor: join(state, 'supervisor.json'),
		supervisorLog: join(state, 'supervisor.log'),
		processes: join(state, 'processes.json'),
		node: (node: string) => join(state, node),
		runDir: (node: string) => join(state, node, 'run'),
	};
};

/** Written whole or not at all: into a file beside it (its name starts with a dot), then renamed. */
export const writeAtomically = (path: string, text: string): void => {
	const slash = path.lastIndexOf('/');
	const temporary = `${path.slice(0, slash)}/.${path.slice(slash + 1)}.${process.pid}.tmp`;
	writeFileSync(temporary, text);
	renameSync(temporary, path);
};

export const readJson = (path: string): unknown => {
	try {
		return JSON.parse(readFileSync(path, 'utf8'));
	} catch {
		return undefined;
	}
};

export const saveLab = (lab: Lab): void => writeAtomically(paths(lab.name).lab, `${JSON.stringify(lab, null, '\t')}\n`);

/** The lab's plan, or undefined when there is none that can be read. */
export const findLab = (name: string): Lab | undefined => {
	const value = readJson(paths(name).lab) as Lab | undefined;
	return value?.version === 1 ? value : undefined;
};

const howToStart = (name: string): string => `npm run lab -- up${name === 'lab' ? '' : ` --name ${name}`}`;

/** The plan of a lab that is up; throws a LabError that says what to do when it is not. */
export const loadLab = (name: string): Lab => {
	const lab = findLab(name);
	if (lab === undefined) throw new LabError(`There is no lab "${name}". Start it: ${howToStart(name)}`);
	return lab;
};

export const checkLabName = (name: string): void => {
	if (!isLabName(name)) {
		throw new LabError(`"${name}" cannot be a lab's name: take up to 32 of a-z, 0-9 and _ (no dash).`);
	}
};

/** Names of the network namespaces of a lab that exist, whatever its files say. */
export const existingNetns = (name: string): string[] => {
	try {
		return readdirSync('/run/netns').filter((entry) => entry.startsWith(netnsPrefix(name)));
	} catch {
		return [];
	}
};

export const hasTraces = (name: string): boolean => existsSync(stateDirOf(name)) || existingNetns(name).length > 0;

const asRecord = (value: unknown): ProcessRecord | undefined => {
	const record = value as Partial<ProcessRecord> | undefined;
	return typeof record?.pid === 'number' && typeof record.startTime === 'string'
		? (record as ProcessRecord)
		: undefined;
};

export const supervisorRecord = (name: string): ProcessRecord | undefined => asRecord(readJson(paths(name).supervisor));

/** Processes the supervisor started, by id (`n1/felix`, `tor/bird`). */
export const processRecords = (name: string): ReadonlyMap<string, ProcessRecord> => {
	const value = readJson(paths(name).processes);
	const entries = Object.entries((value ?? {}) as Record<string, unknown>).map(
		([id, record]) => [id, asRecord(record)] as const,
	);
	return new Map(entries.filter((entry): entry is [string, ProcessRecord] => entry[1] !== undefined));
};

/**
 * Runs `task` while no other process does anything under the same lock. A lock whose holder has died is taken over.
 * The file lies beside the state, so that `down` may remove the state while holding it.
 */
export const withLock = async <T>(name: string, what: string, task: () => Promise<T>): Promise<T> => {
	const path = join(root, `.${name}.${what}.lock`);
	const mine = JSON.stringify(recordOf(process.pid));
	const started = performance.now();
	for (;;) {
		mkdirSync(dirname(path), { recursive: true });
		try {
			writeFileSync(path, mine, { flag: 'wx' });
			break;
		} catch (error) {
			if ((error as NodeJS.ErrnoException).code === 'ENOENT') continue;
			if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
		}
		const holder = asRecord(readJson(path));
		if (holder !== undefined && !isAlive(holder)) rmSync(path, { force: true });
		// A file without a readable record is being written this instant, or its writer died in that instant.
		else if (holder === undefined && performance.now() - started > 2000) rmSync(path, { force: true });
		else if (performance.now() - started > 120_000) {
			throw new LabError(
				`Another command (process ${holder?.pid}) has been working on lab "${name}" for two minutes. Wait for it, or end it.`,
			);
		} else await sleep(20);
	}
	try {
		return await task();
	} finally {
		rmSync(path, { force: true });
		try {
			rmdirSync(root);
		} catch {
			// Other labs are there.
		}
	}
};
