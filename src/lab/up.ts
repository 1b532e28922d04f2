import { existsSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { buildShim } from '../../felix/cni/build-shim.ts';
import { waitForRoutes } from './convergence.ts';
import { asStored, startPods } from './kubelet.ts';
import { findLab, hasTraces, loadLab, paths, saveLab, withLock } from './lab-state.ts';
import { titleOf } from './manifests.ts';
import { buildNetwork } from './network.ts';
import { admitted, putObject, raiseGeneration } from './object-store.ts';
import type { Lab } from './plan.ts';
import { routerOf } from './routers/index.ts';
import { LabError } from './shell.ts';
import { settingsOf } from './supervised.ts';
import { ensureSupervisor } from './supervisor.ts';
import { duration } from './table.ts';
import { planTopology, type UpOptions } from './topology.ts';
import { waitForGeneration } from './wait.ts';

/** Longest time for daemons and routes to be there. */
const patience = 30_000;

const nameOption = (name: string): string => (name === 'lab' ? '' : ` --name ${name}`);

const buildPlugin = (name: string): void => {
	const built = buildShim(paths(name).cniPlugin);
	if (!built.ok) throw new LabError(built.error);
};

const writeFiles = (lab: Lab): void => {
	const { node, runDir, tor } = paths(lab.name);
	for (const machine of lab.machines) {
		mkdirSync(runDir(machine.name), { recursive: true });
		const settings = settingsOf(lab, machine);
		for (const daemon of ['felix', 'bird']) writeFileSync(join(node(machine.name), `${daemon}.yaml`), settings);
	}
	mkdirSync(tor, { recursive: true });
	for (const [path, text] of routerOf(lab)?.files(lab, tor) ?? []) writeFileSync(path, text);
};

const refuseIfThere = (name: string): void => {
	if (!hasTraces(name)) return;
	const down = `npm run lab -- down${nameOption(name)}`;
	if (findLab(name)?.complete === true) {
		throw new LabError(
			`Lab "${name}" is up already. Look at it: npm run lab -- status${nameOption(name)}. Take it down first: ${down}. Or bring up another beside it: --name other`,
		);
	}
	throw new LabError(
		`Lab "${name}" is there in part, an earlier lab up did not come to its end. Clear it away: ${down}`,
	);
};

/**
 * Brings a lab up and returns once every daemon has applied everything and the routes are in the kernels. On a failure
 * the lab stays as it is, to be looked at; `lab down` removes it.
 */
export const bringUp = (options: UpOptions, log: (line: string) => void): Promise<Lab> =>
	withLock(options.name, 'lab', async () => {
		refuseIfThere(options.name);
		const started = performance.now();
		const { lab, objects } = planTopology(options);
		const files = paths(lab.name);
		mkdirSync(files.objects, { recursive: true });
		saveLab(lab);
		writeFiles(lab);
		buildPlugin(lab.name);
		await buildNetwork(lab);
		const stored = objects.map((object) =>
			object.kind === 'Pod' ? asStored(admitted(object), undefined) : admitted(object),
		);
		for (const object of stored) putObject(lab.name, object);
		await raiseGeneration(lab.name);
		await ensureSupervisor(lab.name);
		log(`network and daemons of ${lab.machines.length} nodes started (${duration(started)})`);
		const outcomes = await startPods(
			lab,
			stored.filter(({ kind }) => kind === 'Pod'),
		);
		const failed = outcomes.filter(({ ok }) => !ok).map(({ pod, text }) => `${titleOf(pod)} ${text}`);
		const generation = await raiseGeneration(lab.name);
		log(`${outcomes.length - failed.length} of ${outcomes.length} pods wired (${duration(started)})`);
		const late = await waitForGeneration(lab, generation, patience);
		const routes = await waitForRoutes(lab, late.length > 0 ? 1 : patience);
		const problems = [...failed, ...late, ...(routes === undefined ? [] : [routes])];
		const complete = { ...loadLab(lab.name), complete: true };
		saveLab(complete);
		if (problems.length > 0) {
			const logs = existsSync(join(files.node(lab.machines[0]?.name ?? ''), 'felix.log'))
				? ` Logs: ${files.state}/*/*.log.`
				: '';
			throw new LabError(
				`Lab "${lab.name}" is up, but not all of it works:\n  ${problems.join('\n  ')}\n${logs} Look: npm run lab -- status${nameOption(lab.name)}; end it: npm run lab -- down${nameOption(lab.name)}`,
			);
		}
		log(`daemons in sync, routes everywhere (${duration(started)})`);
		return complete;
	});
