/**
 * Finds the rule a kernel refused when it did not say which: iptables-legacy gives a table to the kernel as a whole.
 * Tries halves of the rules in a chain nothing leads to, which no packet meets. What depends on the hook a chain is
 * reached from is not found that way.
 */
import { targetOf } from './rule.ts';

/** Rules of one table of a restore's input, in order: `line` as it stood there, `body` without chain and position. */
const rulesOf = (input: string, table: string): { readonly line: string; readonly body: string }[] => {
	const start = `\n${input}`.indexOf(`\n*${table}\n`);
	const section = input.slice(start, input.indexOf('\nCOMMIT', start));
	const rules: { line: string; body: string }[] = [];
	for (const line of section.split('\n')) {
		const match = /^-(?:A|I) \S+ (?:\d+ )?(.*)$/.exec(line);
		if (match !== null) rules.push({ line, body: match[1] ?? '' });
	}
	return rules;
};

/**
 * The first line of `table` in `input` that `accepts` refuses on its own; undefined when none is. `accepts` runs a
 * restore and tells whether it succeeded.
 */
export const findRefused = async (
	input: string,
	table: string,
	prefix: string,
	accepts: (input: string) => Promise<boolean>,
): Promise<string | undefined> => {
	const probe = `${prefix}PROBE`;
	// The chains jumped to may not exist outside the input that failed.
	const bodyOf = (body: string): string =>
		targetOf(body)?.startsWith(prefix) ? body.replace(/(^|\s)(?:-j|-g|--jump|--goto)\s+\S+/, '$1') : body;
	const accepted = (some: readonly { readonly body: string }[]): Promise<boolean> =>
		accepts(
			[`*${table}`, `:${probe} - [0:0]`, ...some.map(({ body }) => `-A ${probe} ${bodyOf(body)}`), 'COMMIT', ''].join(
				'\n',
			),
		);
	let suspects = rulesOf(input, table);
	const guilty = suspects.length > 0 && !(await accepted(suspects));
	while (guilty && suspects.length > 1) {
		const half = suspects.slice(0, Math.ceil(suspects.length / 2));
		suspects = (await accepted(half)) ? suspects.slice(half.length) : half;
	}
	await accepts([`*${table}`, `:${probe} - [0:0]`, `-X ${probe}`, 'COMMIT', ''].join('\n'));
	return guilty ? suspects[0]?.line : undefined;
};
