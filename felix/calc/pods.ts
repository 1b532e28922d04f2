/** Pods and namespaces as they come and go, brought to what selectors and sets need to know of them. */
import { keyOf, type Namespace, type Pod } from '../../src/api/objects.ts';
import { createAddressOwners } from './address-owners.ts';
import { contribute, type NamespaceRecord, type PodRecord } from './records.ts';
import { createSelections, type Selections } from './selections.ts';
import { sameLabels } from './selector.ts';
import type { LastKnown, LocalPod, PodInfo } from './types.ts';

export type Pods = {
	readonly selections: Selections;
	readonly setPod: (pod: Pod) => void;
	readonly deletePod: (key: string) => void;
	readonly setNamespace: (namespace: Namespace) => void;
	readonly deleteNamespace: (name: string) => void;
	readonly setLocalPod: (pod: LocalPod) => void;
	readonly deleteLocalPod: (key: string) => void;
	readonly pod: (key: string) => PodInfo | undefined;
	readonly lastKnown: (key: string) => LastKnown | undefined;
	readonly podAt: (address: string) => PodInfo | undefined;
	readonly port: (key: string, protocol: string, name: string) => number | undefined;
};

const none: readonly never[] = [];
const finished = (pod: Pod): boolean => pod.status.phase === 'Succeeded' || pod.status.phase === 'Failed';

const samePorts = (a: PodRecord['ports'], b: PodRecord['ports']): boolean =>
	a === b ||
	(a.length === b.length &&
		a.every((port, i) => {
			const other = b[i];
			return (
				port.name === other?.name && port.containerPort === other.containerPort && port.protocol === other.protocol
			);
		}));

/** `homeChanged`: a local pod came, went, or its list of policies may have changed. */
export const createPods = (homeChanged: (pod: PodRecord) => void): Pods => {
	const namespaces = new Map<string, NamespaceRecord>();
	const pods = new Map<string, PodRecord>();
	const owners = createAddressOwners();

	const namespaceOf = (name: string): NamespaceRecord => {
		const known = namespaces.get(name);
		if (known) return known;
		const record: NamespaceRecord = {
			name,
			object: undefined,
			labels: undefined,
			pods: new Set(),
			localPods: 0,
			scopes: new Set(),
		};
		namespaces.set(name, record);
		selections.addNamespace(record);
		return record;
	};
	const selections: Selections = createSelections({
		namespaces,
		namespaceOf,
		namespaceReleased: (namespace) => settleNamespace(namespace),
		policiesChanged: homeChanged,
	});

	/** Labels stay known while pods are wired in the namespace, gone or not; a record nobody needs is dropped. */
	const settleNamespace = (namespace: NamespaceRecord): void => {
		const before = namespace.labels;
		if (namespace.object) namespace.labels = namespace.object.metadata.labels;
		else if (namespace.localPods === 0) namespace.labels = undefined;
		if (!sameLabels(before, namespace.labels)) selections.namespaceLabelsChanged(namespace, before);
		const own = [...namespace.scopes].some((scope) => scope.namespace === namespace.name);
		if (namespace.object || namespace.pods.size > 0 || own) return;
		selections.removeNamespace(namespace);
		namespaces.delete(namespace.name);
	};

	const podOf = (key: string): PodRecord => {
		const known = pods.get(key);
		if (known) return known;
		const namespace = namespaceOf(key.slice(0, key.indexOf('/')));
		const record: PodRecord = {
			key,
			namespace,
			object: undefined,
			inAPI: false,
			local: undefined,
			eligible: false,
			labels: undefined,
			ports: none,
			claims: none,
			rank: 0,
			owned: none,
			selections: [],
			homes: undefined,
		};
		pods.set(key, record);
		namespace.pods.add(record);
		return record;
	};

	/** Brings everything derived from a pod's object and wiring up to date. */
	const refresh = (pod: PodRecord): void => {
		const { object, local } = pod;
		const before = { eligible: pod.eligible, labels: pod.labels };
		pod.eligible = object ? !object.spec.hostNetwork && !finished(object) : local !== undefined;
		pod.labels = object?.metadata.labels;

		const claims = local?.addresses ?? (pod.eligible ? (object?.status.podIPs ?? none) : none);
		const rank = (pod.eligible ? 4 : 0) + (local ? 2 : 0) + (object?.status.phase === 'Running' ? 1 : 0);
		// All losses before any gain: both pods may be in the same set.
		const changed = owners.claim(pod, claims, rank);
		for (const one of changed) contribute(one, false);
		for (const one of changed) one.owned = owners.ownedBy(one);
		for (const one of changed) contribute(one, true);
		const ports = object?.spec.ports ?? none;
		if (!samePorts(ports, pod.ports)) {
			contribute(pod, false);
			pod.ports = ports;
			contribute(pod, true);
		}

		const known = before.eligible && pod.eligible && pod.labels !== undefined;
		if (!known || before.labels === undefined) selections.podChanged(pod);
		else if (!sameLabels(before.labels, pod.labels)) selections.podLabelsChanged(pod, before.labels);
	};

	const settlePod = (pod: PodRecord): void => {
		if (!pod.inAPI && !pod.local) pod.object = undefined;
		refresh(pod);
		if (pod.inAPI || pod.local) return;
		pods.delete(pod.key);
		pod.namespace.pods.delete(pod);
		settleNamespace(pod.namespace);
	};

	/** A pod that is not in the API, or whose namespace is not, is what an earlier felix last knew of it. */
	const recall = ({ key, namespace, object }: PodRecord, known: LastKnown): Pod => {
		if (namespace.object === undefined && namespace.labels === undefined && known.namespaceLabels !== undefined) {
			namespace.labels = known.namespaceLabels;
			selections.namespaceLabelsChanged(namespace, undefined);
		}
		if (object !== undefined) return object;
		const { uid, labels, ports, phase } = known;
		const name = key.slice(namespace.name.length + 1);
		return {
			kind: 'Pod',
			metadata: { namespace: namespace.name, name, uid, labels, annotations: {}, creationTimestamp: '' },
			spec: { nodeName: '', hostNetwork: false, ports },
			status: { phase, podIPs: none },
		};
	};

	const infoOf = ({ key, local, object, eligible }: PodRecord): PodInfo => ({
		key,
		addresses: local?.addresses ?? object?.status.podIPs ?? none,
		local: local !== undefined,
		nodeName: object?.spec.nodeName ?? '',
		eligible,
	});

	return {
		selections,
		pod: (key) => {
			const pod = pods.get(key);
			return pod && infoOf(pod);
		},
		port: (key, protocol, name) =>
			pods.get(key)?.ports.find((port) => port.name === name && port.protocol === protocol)?.containerPort,
		lastKnown: (key) => {
			const pod = pods.get(key);
			if (pod?.object === undefined) return undefined;
			const { metadata, spec, status } = pod.object;
			// Never wired.
			if (spec.hostNetwork) return undefined;
			const { labels } = pod.namespace;
			return {
				uid: metadata.uid,
				labels: metadata.labels,
				ports: spec.ports,
				phase: status.phase,
				...(labels === undefined ? {} : { namespaceLabels: labels }),
			};
		},
		podAt: (address) => {
			const pod = owners.ownerOf(address);
			return pod && infoOf(pod);
		},
		setPod: (object) => {
			const pod = podOf(keyOf(object.metadata));
			pod.object = object;
			pod.inAPI = true;
			refresh(pod);
		},
		deletePod: (key) => {
			const pod = pods.get(key);
			if (!pod) return;
			pod.inAPI = false;
			settlePod(pod);
		},
		setNamespace: (object) => {
			const namespace = namespaceOf(object.metadata.name);
			namespace.object = object;
			settleNamespace(namespace);
		},
		deleteNamespace: (name) => {
			const namespace = namespaces.get(name);
			if (!namespace) return;
			namespace.object = undefined;
			settleNamespace(namespace);
		},
		setLocalPod: (local) => {
			const pod = podOf(local.key);
			const wasLocal = pod.local !== undefined;
			pod.local = local;
			if (!wasLocal) pod.namespace.localPods++;
			if (local.lastKnown !== undefined) pod.object = recall(pod, local.lastKnown);
			refresh(pod);
			if (wasLocal) return;
			selections.podChanged(pod);
			homeChanged(pod);
		},
		deleteLocalPod: (key) => {
			const pod = pods.get(key);
			if (!pod?.local) return;
			pod.local = undefined;
			pod.namespace.localPods--;
			settlePod(pod);
			if (pod.inAPI) selections.podChanged(pod);
			homeChanged(pod);
			settleNamespace(pod.namespace);
		},
	};
};
