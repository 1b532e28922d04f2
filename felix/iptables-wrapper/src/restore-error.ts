/** Turns what iptables-restore says into a sentence that names the rule, the reason and what to do. */
import type { Run, ToolError } from './types.ts';

type Result = Awaited<ReturnType<Run>>;

/** 1-based number of the input line the tool named, if any. */
const failedLine = (stderr: string): number | undefined => {
	const match =
		/Error occurred at line: (\d+)/.exec(stderr) ??
		/\bline (\d+)(?::[^\n]*)? failed/.exec(stderr) ??
		/\bline (\d+): /.exec(stderr);
	return match === null ? undefined : Number(match[1]);
};

const reasonOf = (stderr: string): string =>
	stderr
		.split('\n')
		.filter((line) => !/^\s*$|^Try `|^# Warning|^Error occurred at line/.test(line))
		.map((line) => line.replace(/^ip6?tables(?:-nft|-legacy)?-restore(?: v[\d.]+ \([a-z_]+\))?: ?/, ''))
		.filter((line) => line !== '')
		.join('; ');

/** Line a reason is about although the tool named another: a missing chain is only noticed at COMMIT. */
const blamedLine = (lines: readonly string[], stderr: string, named: number): number => {
	const missing = /Chain '(\S+)' does not exist|Couldn't load target `([^']+)'/.exec(stderr);
	const chain = missing?.[1] ?? missing?.[2];
	if (chain === undefined || lines[named - 1]?.includes(chain)) return named;
	const at = lines.findIndex((line) => line.split(' ').includes(chain) && /\s(-j|-g|-A|-D|-X)\s|^-[ADXI] /.test(line));
	return at < 0 ? named : at + 1;
};

const adviceOf = (stderr: string): string => {
	if (/xtables lock/.test(stderr)) {
		return 'Another program held the xtables lock for too long: find it (fuser -v /run/xtables.lock), or raise lockSeconds.';
	}
	if (/Set \S+ doesn't exist/.test(stderr)) return 'Create the set before the rule that names it.';
	if (/does not exist|Couldn't load target/.test(stderr)) {
		return 'Add the chain to the ruleset, or take the rule that leads to it out.';
	}
	if (/Couldn't load match/.test(stderr)) return 'The extension is not installed with this iptables.';
	if (/Permission denied/.test(stderr)) return 'NET_ADMIN is needed in this network namespace.';
	return 'Correct the rule, or check that the kernel has the modules it needs.';
};

/** The rule in a line of a restore's input. */
export const ruleOf = (table: string, line: string): Pick<ToolError, 'rule'> => {
	const match = /^-(?:A|I) (\S+) (?:\d+ )?(.*)$/.exec(line);
	return match === null ? {} : { rule: { table, chain: match[1] as string, body: match[2] as string } };
};

export type RestoreFailure = {
	readonly error: ToolError;
	/** Tables whose COMMIT came before the failure, so that they were written. */
	readonly committed: readonly string[];
	/** Table that failed, when known. */
	readonly table: string | undefined;
	/** Whether the tool gave a line of its own for the rule, rather than the COMMIT of its table. */
	readonly named: boolean;
	/** Whether it was only that another program held the xtables lock. */
	readonly locked: boolean;
};

/** Explains a failed restore of `input`. */
export const explainRestore = (tool: string, input: string, result: Result): RestoreFailure => {
	const lines = input.split('\n');
	const given = failedLine(result.stderr);
	const at = given === undefined ? undefined : blamedLine(lines, result.stderr, given);
	const committed: string[] = [];
	let table: string | undefined;
	for (const [i, line] of lines.entries()) {
		if (given !== undefined && i >= given - 1) {
			if (line.startsWith('*') && table === undefined) table = line.slice(1);
			break;
		}
		if (line.startsWith('*')) table = line.slice(1);
		if (line === 'COMMIT' && given !== undefined && table !== undefined) committed.push(table);
	}
	const text = at === undefined ? undefined : lines[at - 1];
	const named = text !== undefined && text !== 'COMMIT';
	const what = named
		? `the rule "${text}" of table ${table}`
		: table === undefined || given === undefined
			? 'the rules'
			: `the rules of table ${table} (the kernel did not say which)`;
	const reason = reasonOf(result.stderr) || `exit status ${result.code}`;
	return {
		error: {
			message: `${tool} refused ${what}: ${reason}. Nothing of that table was changed. ${adviceOf(result.stderr)}`,
			code: result.code,
			stderr: result.stderr,
			...(named && table !== undefined && ruleOf(table, text)),
		},
		committed,
		table: given === undefined ? undefined : table,
		named,
		locked: /xtables lock/.test(result.stderr),
	};
};
