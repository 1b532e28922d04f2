/**
 * Label selectors, compiled: matching, and one canonical text for all spellings of the same selector.
 *
 * Semantics of apimachinery `labels/selector.go`: all requirements hold; NotIn and DoesNotExist match a missing key; a
 * value '' still needs the key. Labels that are not known (an object not yet seen) match the empty selector only, the one
 * whose answer cannot change once they are.
 */
import type { LabelSelector, LabelSelectorRequirement, Labels } from '../../src/api/objects.ts';

export type Requirement = {
	readonly key: string;
	readonly operator: LabelSelectorRequirement['operator'];
	/** Sorted, unique; empty for Exists and DoesNotExist. */
	readonly values: readonly string[];
};

export type Selector = {
	readonly requirements: readonly Requirement[];
	/** Equal for selectors with the same requirements, whatever their order or spelling. */
	readonly canonical: string;
};

const compare = (a: string, b: string): number => (a < b ? -1 : a > b ? 1 : 0);

export const compileSelector = (source: LabelSelector): Selector => {
	const found = new Map<string, Requirement>();
	const add = (key: string, operator: Requirement['operator'], values: readonly string[]): void => {
		const counts = operator === 'In' || operator === 'NotIn';
		const requirement = { key, operator, values: counts ? [...new Set(values)].sort(compare) : [] };
		found.set(JSON.stringify([key, operator, ...requirement.values]), requirement);
	};
	for (const [key, value] of Object.entries(source.matchLabels)) add(key, 'In', [value]);
	for (const { key, operator, values } of source.matchExpressions) add(key, operator, values);
	const sorted = [...found].sort(([a], [b]) => compare(a, b));
	return {
		requirements: sorted.map(([, requirement]) => requirement),
		canonical: sorted.map(([text]) => text).join(''),
	};
};

/** Matches everything, also what is not known. */
export const everything: Selector = compileSelector({ matchLabels: {}, matchExpressions: [] });

export const labelOf = (labels: Labels, key: string): string | undefined =>
	Object.hasOwn(labels, key) ? labels[key] : undefined;

const holds = ({ key, operator, values }: Requirement, labels: Labels): boolean => {
	const value = labelOf(labels, key);
	switch (operator) {
		case 'In':
			return value !== undefined && values.includes(value);
		case 'NotIn':
			return value === undefined || !values.includes(value);
		case 'Exists':
			return value !== undefined;
		case 'DoesNotExist':
			return value === undefined;
	}
};

/** Whether `labels` (undefined: not known) fulfil every requirement. */
export const matches = (selector: Selector, labels: Labels | undefined): boolean => {
	if (labels === undefined) return selector.requirements.length === 0;
	for (const requirement of selector.requirements) if (!holds(requirement, labels)) return false;
	return true;
};

export const sameLabels = (a: Labels | undefined, b: Labels | undefined): boolean => {
	if (a === b) return true;
	if (a === undefined || b === undefined) return false;
	const keys = Object.keys(a);
	return keys.length === Object.keys(b).length && keys.every((key) => labelOf(b, key) === a[key]);
};
