/** Pods and namespaces as they come and go, brought to what selectors and sets need to know of them. */
import { type ContainerPort, keyOf, type Namespace, type Pod } from '../../src/api/objects.ts';
import { createAddressOwners } from './address-owners.ts';
import { contribute, keyOfRecord, type NamespaceRecord, type PodRecord } from './records.ts';
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
	readonly all: () => Iterable<PodInfo>;
	readonly port: (key: string, protocol: string, name: string) => number | undefined;
};

const none: readonly never[] = [];
const finished = (phase: PodRecord['phase']): boolean => phase === 'Succeeded' || phase === 'Failed';

const samePorts = (a: readonly ContainerPort[], b: readonly ContainerPort[]): boolean =>
	a === b ||
	(a.length === b.length &&
		a.every((port, i) => {
			const other = b[i];
			return (
				port.name === other?.name && port.containerPort === other.containerPort && port.protocol === other.protocol
			);
		}));

/** What is known of a pod from the API. */
type Seen = Pick<PodRecord, 'spec' | 'phase' | 'podIPs' | 'labels'>;
const unseen: Seen = { spec: undefined, phase: 'Pending', podIPs: none, labels: undefined };

/** Whether the object is that of a pod made again elsewhere under its name, while the old one is still wired here. */
const isOther = (local: LocalPod | undefined, spec: Pod['spec'] | undefined): boolean =>
	local?.node !== undefined && spec !== undefined && spec.nodeName !== '' && spec.nodeName !== local.node;
/** What that other pod is kept under meanwhile: no name ends so. */
const otherKey = (key: string): string => `${key}@`;
const namespaceIn = (key: string): string => key.slice(0, key.indexOf('/'));
const nameIn = (key: string): string => key.slice(key.indexOf('/') + 1);
const withoutMark = (key: string): string => (key.endsWith('@') ? key.slice(0, -1) : key);

/** `homeChanged`: a local pod came, went, or its list of policies may have changed. */
export const createPods = (homeChanged: (pod: PodRecord) => void): Pods => {
	const namespaces = new Map<string, NamespaceRecord>();
	const owners = createAddressOwners();

	const namespaceOf = (name: string): NamespaceRecord => {
		const known = namespaces.get(name);
		if (known) return known;
		const record: NamespaceRecord = {
			name,
			object: undefined,
			labels: undefined,
			pods: new Map(),
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

	const find = (key: string): PodRecord | undefined => namespaces.get(namespaceIn(key))?.pods.get(nameIn(key));
	/** `name`: a string of its own, where many are kept: one cut out of a key would keep the key in memory. */
	const podOf = (key: string, name = nameIn(key)): PodRecord => {
		const namespace = namespaceOf(namespaceIn(key));
		const known = namespace.pods.get(name);
		if (known) return known;
		const record: PodRecord = {
			name,
			namespace,
			spec: undefined,
			phase: 'Pending',
			podIPs: none,
			uid: '',
			inAPI: false,
			local: undefined,
			eligible: false,
			labels: undefined,
			claims: none,
			rank: 0,
			owned: none,
			selections: none,
			homes: undefined,
		};
		namespace.pods.set(name, record);
		return record;
	};

	/** Brings everything derived from what is seen of a pod, and from its wiring, up to date. */
	const refresh = (pod: PodRecord, { spec, phase, podIPs, labels }: Seen): void => {
		const { local } = pod;
		const before = { eligible: pod.eligible, labels: pod.labels };
		pod.phase = phase;
		pod.podIPs = podIPs;
		pod.labels = labels;
		pod.eligible = spec ? !spec.hostNetwork && !finished(phase) : local !== undefined;

		const claims = local?.addresses ?? (pod.eligible ? podIPs : none);
		const rank = (pod.eligible ? 4 : 0) + (local ? 2 : 0) + (phase === 'Running' ? 1 : 0);
		// All losses before any gain: both pods may be in the same set.
		const changed = owners.claim(pod, claims, rank);
		for (const one of changed) contribute(one, false);
		for (const one of changed) one.owned = owners.ownedBy(one);
		for (const one of changed) contribute(one, true);
		const portsChanged = !samePorts(spec?.ports ?? none, pod.spec?.ports ?? none);
		if (portsChanged) contribute(pod, false);
		pod.spec = spec;
		if (portsChanged) contribute(pod, true);

		const known = before.eligible && pod.eligible && pod.labels !== undefined;
		if (!known || before.labels === undefined) selections.podChanged(pod);
		else if (!sameLabels(before.labels, pod.labels)) selections.podLabelsChanged(pod, before.labels);
	};

	const settlePod = (pod: PodRecord): void => {
		refresh(pod, !pod.inAPI && !pod.local ? unseen : pod);
		if (pod.inAPI || pod.local) return;
		pod.namespace.pods.delete(pod.name);
		settleNamespace(pod.namespace);
	};

	const leaveAPI = (key: string): void => {
		const pod = find(key);
		if (pod === undefined) return;
		pod.inAPI = false;
		settlePod(pod);
	};
	const enterAPI = (key: string, uid: string, seen: Seen, name = nameIn(key)): void => {
		const pod = podOf(key, name);
		pod.uid = uid;
		pod.inAPI = true;
		refresh(pod, seen);
	};
	/** What the API has of the pod under one key is that under the other now. */
	const moveSeen = (from: string, to: string): void => {
		const pod = find(from);
		if (pod === undefined) return;
		const { uid, spec, phase, podIPs, labels } = pod;
		leaveAPI(from);
		enterAPI(to, uid, { spec, phase, podIPs, labels });
	};

	/** A pod that is not in the API, or whose namespace is not, is what an earlier felix last knew of it. */
	const recall = (pod: PodRecord, known: LastKnown): Seen => {
		const { namespace } = pod;
		if (namespace.object === undefined && namespace.labels === undefined && known.namespaceLabels !== undefined) {
			namespace.labels = known.namespaceLabels;
			selections.namespaceLabelsChanged(namespace, undefined);
		}
		if (pod.spec !== undefined) return pod;
		const { uid, labels, ports, phase } = known;
		pod.uid = uid;
		return { spec: { nodeName: '', hostNetwork: false, ports }, phase, podIPs: none, labels };
	};

	const infoOf = (pod: PodRecord): PodInfo => ({
		key: withoutMark(keyOfRecord(pod)),
		addresses: pod.local?.addresses ?? pod.podIPs,
		local: pod.local !== undefined,
		nodeName: pod.spec?.nodeName ?? '',
		eligible: pod.eligible,
	});

	return {
		selections,
		pod: (key) => {
			const pod = find(key);
			return pod && infoOf(pod);
		},
		port: (key, protocol, name) =>
			find(key)?.spec?.ports.find((port) => port.name === name && port.protocol === protocol)?.containerPort,
		lastKnown: (key) => {
			const pod = find(key);
			// One in the host's network was never wired.
			if (pod?.spec === undefined || pod.labels === undefined || pod.spec.hostNetwork) return undefined;
			const { uid, labels, spec, phase, namespace } = pod;
			const namespaceLabels = namespace.labels;
			return { uid, labels, ports: spec.ports, phase, ...(namespaceLabels && { namespaceLabels }) };
		},
		all: function* () {
			for (const { pods } of namespaces.values()) for (const pod of pods.values()) yield infoOf(pod);
		},
		podAt: (address) => {
			const pod = owners.ownerOf(address);
			return pod && infoOf(pod);
		},
		setPod: (object) => {
			const { metadata, spec, status } = object;
			const key = keyOf(metadata);
			const local = find(key)?.local;
			const other = isOther(local, spec);
			if (local !== undefined) leaveAPI(other ? key : otherKey(key));
			const seen = { spec, phase: status.phase, podIPs: status.podIPs, labels: metadata.labels };
			if (other) enterAPI(otherKey(key), metadata.uid, seen);
			else enterAPI(key, metadata.uid, seen, metadata.name);
		},
		deletePod: (key) => {
			leaveAPI(key);
			leaveAPI(otherKey(key));
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
			const known = find(local.key);
			if (known?.inAPI && isOther(local, known.spec)) moveSeen(local.key, otherKey(local.key));
			const pod = podOf(local.key);
			const wasLocal = pod.local !== undefined;
			pod.local = local;
			if (!wasLocal) pod.namespace.localPods++;
			refresh(pod, local.lastKnown === undefined ? pod : recall(pod, local.lastKnown));
			if (wasLocal) return;
			selections.podChanged(pod);
			homeChanged(pod);
		},
		deleteLocalPod: (key) => {
			const pod = find(key);
			if (!pod?.local) return;
			pod.local = undefined;
			pod.namespace.localPods--;
			settlePod(pod);
			if (pod.inAPI) selections.podChanged(pod);
			homeChanged(pod);
			settleNamespace(pod.namespace);
			moveSeen(otherKey(key), key);
		},
	};
};
