/** What is said of lines that ipset refused. */
import { type Refused, textOf } from './ipset-tool.ts';
import type { ToolError } from './types.ts';

export const summary = (problems: readonly string[]): ToolError | undefined => {
	const [first, ...more] = problems;
	if (first === undefined) return undefined;
	const rest = more.length === 0 ? '' : ` (and ${more.length} more: ${more.slice(0, 4).join(' ')})`;
	return { message: `${first}${rest}`, code: 1, stderr: problems.join('\n') };
};

export const stillUsed = (set: string): string =>
	`Set ${set} cannot be destroyed, a rule still uses it: take the rule out; the set goes with the next apply.`;

/** `most`: members a set may hold. */
export const explain = ({ line: at, reason }: Refused, most: number): string => {
	const { set, verb } = at;
	if (/ is full/.test(reason)) return `Set ${set} is too large: it may hold ${most} members, the others were left out.`;
	if (/in use by a kernel component/.test(reason)) {
		return verb === 'other'
			? stillUsed(set)
			: `Set ${set} is there with another type or family, and a rule uses it: give the new one another name.`;
	}
	return `ipset refused "${textOf(at)}": ${reason}. Correct or remove it; the rest was written.`;
};
