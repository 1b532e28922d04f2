/** Text in columns for a terminal. */

const widthOf = (text: string): number => [...text].length;

/** Rows under a header, columns two blanks apart; trailing blanks cut. */
export const table = (header: readonly string[], rows: readonly (readonly string[])[]): string => {
	const all = [header, ...rows];
	// Not as arguments of one call: a table may have hundreds of thousands of rows.
	const widths = header.map((_, column) => all.reduce((most, row) => Math.max(most, widthOf(row[column] ?? '')), 0));
	const line = (row: readonly string[]) =>
		row
			.map((cell, column) => cell + ' '.repeat((widths[column] ?? 0) - widthOf(cell)))
			.join('  ')
			.trimEnd();
	return all.map(line).join('\n');
};

export const duration = (since: number): string => `${((performance.now() - since) / 1000).toFixed(1)} s`;
