/** Text in columns for a terminal. */

const widthOf = (text: string): number => [...text].length;

/** Rows under a header, columns two blanks apart; trailing blanks cut. */
export const table = (header: readonly string[], rows: readonly (readonly string[])[]): string => {
	const all = [header, ...rows];
	const widths = header.map((_, column) => Math.max(...all.map((row) => widthOf(row[column] ?? ''))));
	const line = (row: readonly string[]) =>
		row
			.map((cell, column) => cell + ' '.repeat((widths[column] ?? 0) - widthOf(cell)))
			.join('  ')
			.trimEnd();
	return all.map(line).join('\n');
};

export const duration = (since: number): string => `${((performance.now() - since) / 1000).toFixed(1)} s`;
