/**
 * Finds the selectors a set of labels can concern, without trying them all.
 *
 * `candidates` yields every entry that may match given labels: an entry waits under one requirement that needs a label
 * to be there (a value of In, else Exists), so only the object's own labels are looked up; selectors without such a
 * requirement are always candidates. `affected` yields every entry whose answer may differ between two sets of labels:
 * those that mention a value or a key that came or went. Both may yield an entry twice; the caller decides by matching.
 */
import type { Labels } from '../../src/api/objects.ts';
import { labelOf, type Requirement, type Selector } from './selector.ts';

export type LabelIndex<T> = {
	readonly add: (entry: T, selector: Selector) => void;
	readonly remove: (entry: T, selector: Selector) => void;
	readonly candidates: (labels: Labels | undefined) => Iterable<T>;
	readonly affected: (before: Labels, after: Labels) => Iterable<T>;
};

type Buckets<T> = Map<string, Set<T>>;

const valueKey = (key: string, value: string): string => `${key}\0${value}`;

const put = <T>(buckets: Buckets<T>, key: string, entry: T): void => {
	const bucket = buckets.get(key);
	if (bucket) bucket.add(entry);
	else buckets.set(key, new Set([entry]));
};

const take = <T>(buckets: Buckets<T>, key: string, entry: T): void => {
	const bucket = buckets.get(key);
	if (bucket?.delete(entry) && bucket.size === 0) buckets.delete(key);
};

/** The requirement an entry waits under: the In with the fewest values, else an Exists. */
const anchorOf = (selector: Selector): Requirement | undefined => {
	let anchor: Requirement | undefined;
	for (const requirement of selector.requirements) {
		if (requirement.operator === 'In') {
			if (anchor?.operator !== 'In' || requirement.values.length < anchor.values.length) anchor = requirement;
		} else if (requirement.operator === 'Exists') {
			anchor ??= requirement;
		}
	}
	return anchor;
};

export const createLabelIndex = <T>(): LabelIndex<T> => {
	const anchors: Buckets<T> = new Map();
	const mentions: Buckets<T> = new Map();
	const unanchored = new Set<T>();

	const each = (selector: Selector, entry: T, change: (buckets: Buckets<T>, key: string, entry: T) => void): void => {
		const under = ({ key, operator, values }: Requirement, buckets: Buckets<T>): void => {
			if (operator === 'Exists' || operator === 'DoesNotExist') change(buckets, key, entry);
			else for (const value of values) change(buckets, valueKey(key, value), entry);
		};
		const anchor = anchorOf(selector);
		if (anchor) under(anchor, anchors);
		for (const requirement of selector.requirements) under(requirement, mentions);
	};

	const none: ReadonlySet<T> = new Set();
	const under = (buckets: Buckets<T>, key: string): ReadonlySet<T> => buckets.get(key) ?? none;

	return {
		add: (entry, selector) => {
			if (!anchorOf(selector)) unanchored.add(entry);
			each(selector, entry, put);
		},
		remove: (entry, selector) => {
			unanchored.delete(entry);
			each(selector, entry, take);
		},
		candidates: function* (labels) {
			yield* unanchored;
			if (labels === undefined || anchors.size === 0) return;
			for (const key of Object.keys(labels)) {
				yield* under(anchors, key);
				yield* under(anchors, valueKey(key, labels[key] as string));
			}
		},
		affected: function* (before, after) {
			if (mentions.size === 0) return;
			for (const key of Object.keys(before)) {
				const now = labelOf(after, key);
				if (now === before[key]) continue;
				yield* under(mentions, valueKey(key, before[key] as string));
				if (now === undefined) yield* under(mentions, key);
			}
			for (const key of Object.keys(after)) {
				const was = labelOf(before, key);
				if (was === after[key]) continue;
				yield* under(mentions, valueKey(key, after[key] as string));
				if (was === undefined) yield* under(mentions, key);
			}
		},
	};
};
