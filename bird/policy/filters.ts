import { compileFilter, type JudgeRoute } from './evaluate.ts';
import type { Filter } from './types.ts';

/** Filters compiled once, however many peers have the same and however often they are configured again. */

const textOf = (filter: Filter): string => JSON.stringify([filter[4], filter[6]]);

export const sameFilter = (a: Filter | undefined, b: Filter | undefined): boolean =>
	a === b || (a !== undefined && b !== undefined && textOf(a) === textOf(b));

export const asksForInterface = (filter: Filter): boolean =>
	[...filter[4], ...filter[6]].some((rule) => rule.interface !== undefined);

export type Filters = { readonly compiled: (filter: Filter | undefined) => JudgeRoute | undefined };

/** Texts remembered; then all are forgotten, since those still in use are known by their objects. */
const most = 256;

export const createFilters = (): Filters => {
	const byObject = new WeakMap<Filter, JudgeRoute>();
	const byText = new Map<string, JudgeRoute>();
	return {
		compiled: (filter) => {
			if (filter === undefined) return undefined;
			const known = byObject.get(filter);
			if (known !== undefined) return known;
			const text = textOf(filter);
			const compiled = byText.get(text) ?? compileFilter(filter);
			if (byText.size >= most) byText.clear();
			byText.set(text, compiled);
			byObject.set(filter, compiled);
			return compiled;
		},
	};
};
