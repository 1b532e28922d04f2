import { statusOf, waitFor } from './daemon-client.ts';
import type { Lab } from './plan.ts';
import { daemons } from './supervised.ts';

/**
 * Waits until every daemon has applied `generation`, read back from the kernel. Answers with one line for each daemon
 * that has not within `timeout` milliseconds: who and why.
 */
export const waitForGeneration = async (lab: Lab, generation: number, timeout: number): Promise<string[]> => {
	const asked = lab.machines.flatMap(({ name }) => daemons.map((daemon) => ({ node: name, daemon })));
	const problems = await Promise.all(
		asked.map(async ({ node, daemon }) => {
			const reason = await waitFor(lab.name, node, daemon, generation, timeout);
			return reason && `${daemon} on ${node}: ${reason}`;
		}),
	);
	return problems.filter((problem) => problem !== undefined);
};

/** Objects the daemons refuse, each once however many daemons say so. */
export const refusalsOf = async (lab: Lab): Promise<string[]> => {
	const statuses = await Promise.all(
		lab.machines.flatMap(({ name }) => daemons.map((daemon) => statusOf(lab.name, name, daemon))),
	);
	const lines = statuses
		.flatMap((status) => (typeof status === 'string' ? [] : (status.refusals ?? [])))
		.map(({ object, source, field, reason }) => `${object || source}${field === '' ? '' : ` ${field}`}: ${reason}`);
	return [...new Set(lines)].sort();
};
