/** What is written while something is compared with the kernel: of that the comparison can say nothing. */
export type Touched = {
	readonly note: (name: string) => void;
	/** Everything noted from now on, until `end`. */
	readonly begin: () => { readonly names: ReadonlySet<string>; readonly end: () => void };
};

export const createTouched = (): Touched => {
	const open = new Set<Set<string>>();
	return {
		note: (name) => {
			for (const names of open) names.add(name);
		},
		begin: () => {
			const names = new Set<string>();
			open.add(names);
			return { names, end: () => open.delete(names) };
		},
	};
};
