/**
 * Keeps every selection in use equal to the pods it takes, touching only selections that a change can concern: scopes of
 * a pod's namespace, and in them the selectors that mention a label that changed (label-index.ts).
 */
import type { Labels } from '../../src/api/objects.ts';
import { type PodSelection, selectionKey } from './compile-policy.ts';
import { createLabelIndex } from './label-index.ts';
import {
	contributeTo,
	mostShared,
	type NamespaceRecord,
	type PodRecord,
	podsOf,
	type Scope,
	type Selection,
	withSelection,
} from './records.ts';
import { matches, type Selector } from './selector.ts';

export type Selections = {
	/** Counts one more user; the selection is filled when it is new. */
	readonly acquire: (selection: PodSelection) => Selection;
	readonly release: (selection: Selection) => void;
	/** A namespace record came; its own scope and those that take it are linked. */
	readonly addNamespace: (namespace: NamespaceRecord) => void;
	readonly removeNamespace: (namespace: NamespaceRecord) => void;
	/** `namespace.labels` changed from `before`. */
	readonly namespaceLabelsChanged: (namespace: NamespaceRecord, before: Labels | undefined) => void;
	/** Only labels changed, both known, of a pod that was and is eligible. */
	readonly podLabelsChanged: (pod: PodRecord, before: Labels) => void;
	/** Anything about the pod may have changed. */
	readonly podChanged: (pod: PodRecord) => void;
};

export type SelectionsNeeds = {
	readonly namespaces: ReadonlyMap<string, NamespaceRecord>;
	/** The record of a namespace, made when there is none. */
	readonly namespaceOf: (name: string) => NamespaceRecord;
	/** No selection is about this namespace by its name any more. */
	readonly namespaceReleased: (namespace: NamespaceRecord) => void;
	/** A local pod joined or left a selection that is some policy's podSelector. */
	readonly policiesChanged: (pod: PodRecord) => void;
};

const none: readonly Selection[] = [];

export const createSelections = (needs: SelectionsNeeds): Selections => {
	const { namespaces, namespaceOf, namespaceReleased, policiesChanged } = needs;
	const scopes = new Map<string, Scope>();
	const selections = new Map<string, Selection>();
	/** Scopes of namespace selectors, by the namespace labels they ask for. */
	const scopeIndex = createLabelIndex<Scope>();

	const join = (selection: Selection, pod: PodRecord): void => {
		if (pod.selections.includes(selection)) return;
		pod.selections = withSelection(pod.selections, selection);
		contributeTo(selection, pod, true);
		if (selection.policies.size > 0) policiesChanged(pod);
	};
	const forget = (pod: PodRecord, selection: Selection): void => {
		const rest = pod.selections.filter((other) => other !== selection);
		pod.selections = rest.length > mostShared ? rest : rest.reduce(withSelection, none);
	};
	const leave = (selection: Selection, pod: PodRecord): void => {
		if (!pod.selections.includes(selection)) return;
		forget(pod, selection);
		contributeTo(selection, pod, false);
		if (selection.policies.size > 0) policiesChanged(pod);
	};
	const takes = (selection: Selection, pod: PodRecord): boolean =>
		pod.eligible && (!selection.local || pod.local !== undefined) && matches(selection.selector, pod.labels);
	const settle = (selection: Selection, pod: PodRecord): void => {
		if (takes(selection, pod)) join(selection, pod);
		else leave(selection, pod);
	};

	const enterScope = (scope: Scope, pod: PodRecord): void => {
		if (!pod.eligible) return;
		for (const selection of scope.index.candidates(pod.labels)) settle(selection, pod);
		if (pod.local) for (const selection of scope.localIndex.candidates(pod.labels)) settle(selection, pod);
	};

	const link = (scope: Scope, namespace: NamespaceRecord): void => {
		scope.namespaces.add(namespace);
		namespace.scopes.add(scope);
		for (const pod of namespace.pods.values()) enterScope(scope, pod);
	};
	const unlink = (scope: Scope, namespace: NamespaceRecord): void => {
		scope.namespaces.delete(namespace);
		namespace.scopes.delete(scope);
		for (const selection of scope.selections) for (const pod of namespace.pods.values()) leave(selection, pod);
	};

	const scopeKey = (namespace: string | Selector): string =>
		typeof namespace === 'string' ? `n:${namespace}` : `s:${namespace.canonical}`;

	const scopeOf = (namespace: string | Selector): Scope => {
		const key = scopeKey(namespace);
		const known = scopes.get(key);
		if (known) return known;
		const scope: Scope = {
			namespace,
			namespaces: new Set(),
			selections: new Set(),
			index: createLabelIndex(),
			localIndex: createLabelIndex(),
		};
		scopes.set(key, scope);
		if (typeof namespace === 'string') {
			link(scope, namespaceOf(namespace));
		} else {
			scopeIndex.add(scope, namespace);
			for (const record of namespaces.values()) if (matches(namespace, record.labels)) link(scope, record);
		}
		return scope;
	};
	const dropScope = (scope: Scope): void => {
		scopes.delete(scopeKey(scope.namespace));
		if (typeof scope.namespace !== 'string') scopeIndex.remove(scope, scope.namespace);
		for (const namespace of [...scope.namespaces]) {
			unlink(scope, namespace);
			if (typeof scope.namespace === 'string') namespaceReleased(namespace);
		}
	};

	const settleNamespace = (scope: Scope, namespace: NamespaceRecord): void => {
		const inside = matches(scope.namespace as Selector, namespace.labels);
		if (inside === scope.namespaces.has(namespace)) return;
		if (inside) link(scope, namespace);
		else unlink(scope, namespace);
	};
	const selectorScopes = (namespace: NamespaceRecord): Scope[] =>
		[...namespace.scopes].filter((scope) => typeof scope.namespace !== 'string');

	return {
		acquire: (wanted) => {
			const key = selectionKey(wanted);
			const known = selections.get(key);
			if (known) {
				known.users++;
				return known;
			}
			const scope = scopeOf(wanted.namespace);
			const selection: Selection = {
				key,
				scope,
				selector: wanted.pods,
				local: wanted.local,
				policies: new Set(),
				addresses: undefined,
				namedPorts: new Map(),
				users: 1,
			};
			selections.set(key, selection);
			scope.selections.add(selection);
			(wanted.local ? scope.localIndex : scope.index).add(selection, wanted.pods);
			for (const namespace of scope.namespaces) {
				if (wanted.local && namespace.localPods === 0) continue;
				for (const pod of namespace.pods.values()) if (takes(selection, pod)) join(selection, pod);
			}
			return selection;
		},
		release: (selection) => {
			if (--selection.users > 0) return;
			const { scope } = selection;
			for (const pod of podsOf(selection)) forget(pod, selection);
			selections.delete(selection.key);
			scope.selections.delete(selection);
			(selection.local ? scope.localIndex : scope.index).remove(selection, selection.selector);
			if (scope.selections.size === 0) dropScope(scope);
		},
		addNamespace: (namespace) => {
			const own = scopes.get(scopeKey(namespace.name));
			if (own) link(own, namespace);
			for (const scope of scopeIndex.candidates(namespace.labels)) settleNamespace(scope, namespace);
		},
		removeNamespace: (namespace) => {
			for (const scope of [...namespace.scopes]) unlink(scope, namespace);
		},
		namespaceLabelsChanged: (namespace, before) => {
			const { labels } = namespace;
			const concerned =
				before !== undefined && labels !== undefined
					? scopeIndex.affected(before, labels)
					: [...scopeIndex.candidates(labels), ...selectorScopes(namespace)];
			for (const scope of [...concerned]) settleNamespace(scope, namespace);
		},
		podLabelsChanged: (pod, before) => {
			const after = pod.labels as Labels;
			for (const scope of pod.namespace.scopes) {
				for (const selection of scope.index.affected(before, after)) settle(selection, pod);
				if (!pod.local) continue;
				for (const selection of scope.localIndex.affected(before, after)) settle(selection, pod);
			}
		},
		podChanged: (pod) => {
			for (const selection of pod.selections) settle(selection, pod);
			for (const scope of pod.namespace.scopes) enterScope(scope, pod);
		},
	};
};
