import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { notRunning, type Refusal, statusOf, waitFor } from './daemon-client.ts';
import { paths } from './lab-state.ts';
import type { Lab } from './plan.ts';
import { type Daemon, daemons } from './supervised.ts';

/** The last thing a daemon wrote into its log, for one that is not there to be asked. */
const lastWords = (lab: string, node: string, daemon: Daemon): string => {
	const path = join(paths(lab).node(node), `${daemon}.log`);
	try {
		const lines = readFileSync(path, 'utf8').trim().split('\n');
		return `; the end of ${path}:\n    ${lines.slice(-3).join('\n    ')}`;
	} catch {
		return '';
	}
};

/**
 * Waits until every daemon has applied `generation`, read back from the kernel. Answers with one line for each daemon
 * that has not within `timeout` milliseconds: who and why.
 */
export const waitForGeneration = async (lab: Lab, generation: number, timeout: number): Promise<string[]> => {
	const asked = lab.machines.flatMap(({ name }) => daemons.map((daemon) => ({ node: name, daemon })));
	const problems = await Promise.all(
		asked.map(async ({ node, daemon }) => {
			const reason = await waitFor(lab.name, node, daemon, generation, timeout);
			if (reason === undefined) return undefined;
			return `${daemon} on ${node}: ${reason}${reason === notRunning ? lastWords(lab.name, node, daemon) : ''}`;
		}),
	);
	return problems.filter((problem) => problem !== undefined);
};

const lineOf = ({ object, source, field, reason }: Refusal): string =>
	`${object || source}${field === '' ? '' : ` ${field}`}: ${reason}`;

/** Objects the daemons refuse, and what else is wrong with objects: each once however many daemons say so. */
export const refusalsOf = async (lab: Lab): Promise<string[]> => {
	const answers = await Promise.all(
		lab.machines.flatMap(({ name }) => daemons.map((daemon) => statusOf(lab.name, name, daemon))),
	);
	const statuses = answers.filter((answer) => typeof answer !== 'string');
	const refused = statuses.flatMap(({ refusals }) => refusals ?? []).map((one) => `refused: ${lineOf(one)}`);
	const problems = statuses.flatMap((status) => status.problems ?? []).map((one) => `wrong: ${lineOf(one)}`);
	return [...new Set([...refused, ...problems])].sort();
};
