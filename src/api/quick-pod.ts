import { canonicalAddress } from '../net/ip.ts';
import type { ContainerPort, Labels, Pod } from './objects.ts';

/**
 * A pod read by hand: what the schema in validate.ts makes of it, for pods in which everything is as usual, at a tenth of
 * the cost. Undefined for any other, good or bad: the schema has the last word on it. There may be 100,000 pods.
 */

type Raw = Readonly<Record<string, unknown>>;

const isRaw = (value: unknown): value is Raw =>
	typeof value === 'object' && value !== null && Object.getPrototypeOf(value) === Object.prototype;
const absent = (value: unknown): value is undefined | null => value === undefined || value === null;

/** The longest name. */
const most = 253;
const isName = (value: unknown): value is string =>
	typeof value === 'string' && value.length <= most && /^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$/.test(value);

/** Undefined where the map is not as usual. */
const stringMap = (value: unknown): Labels | undefined => {
	if (absent(value)) return {};
	if (!isRaw(value) || Object.hasOwn(value, '__proto__')) return undefined;
	for (const key in value) if (typeof value[key] !== 'string') return undefined;
	return value as Labels;
};

const isText = (value: unknown): value is string | undefined | null => absent(value) || typeof value === 'string';
const isProtocol = (value: unknown): value is ContainerPort['protocol'] =>
	value === 'TCP' || value === 'UDP' || value === 'SCTP';

/** Adds the named ports of containers; false where something is not as usual. */
const addPorts = (ports: ContainerPort[], containers: unknown, init: boolean): boolean => {
	if (absent(containers)) return true;
	if (!Array.isArray(containers)) return false;
	for (const one of containers) {
		if (!isRaw(one) || !isText(one.restartPolicy)) return false;
		if (absent(one.ports)) continue;
		if (!Array.isArray(one.ports)) return false;
		for (const port of one.ports) {
			if (!isRaw(port) || !isText(port.name)) return false;
			const { containerPort, protocol = 'TCP' } = port;
			if (typeof containerPort !== 'number' || !Number.isInteger(containerPort)) return false;
			if (containerPort < 1 || containerPort > 65535 || !isProtocol(protocol)) return false;
			if (!port.name || (init && one.restartPolicy !== 'Always')) continue;
			ports.push({ name: port.name, containerPort, protocol });
		}
	}
	return true;
};

const specOf = (raw: unknown): Pod['spec'] | undefined => {
	if (absent(raw)) return { nodeName: '', hostNetwork: false, ports: [] };
	if (!isRaw(raw) || !isText(raw.nodeName)) return undefined;
	if (!absent(raw.hostNetwork) && typeof raw.hostNetwork !== 'boolean') return undefined;
	const ports: ContainerPort[] = [];
	if (!addPorts(ports, raw.containers, false) || !addPorts(ports, raw.initContainers, true)) return undefined;
	return { nodeName: raw.nodeName ?? '', hostNetwork: raw.hostNetwork ?? false, ports };
};

const phases: ReadonlySet<unknown> = new Set(['Pending', 'Running', 'Succeeded', 'Failed', 'Unknown']);

const statusOf = (raw: unknown): Pod['status'] | undefined => {
	if (absent(raw)) return { phase: 'Pending', podIPs: [] };
	if (!isRaw(raw) || !isText(raw.podIP) || (!absent(raw.phase) && !phases.has(raw.phase))) return undefined;
	const podIPs: string[] = [];
	if (!absent(raw.podIPs)) {
		if (!Array.isArray(raw.podIPs)) return undefined;
		for (const entry of raw.podIPs) {
			const canonical = isRaw(entry) && typeof entry.ip === 'string' ? canonicalAddress(entry.ip) : undefined;
			if (canonical === undefined) return undefined;
			podIPs.push(canonical);
		}
	}
	const single = podIPs.length === 0 && raw.podIP ? canonicalAddress(raw.podIP) : undefined;
	if (single !== undefined) podIPs.push(single);
	// Grown one by one, an array keeps room for more.
	return { phase: (raw.phase ?? 'Pending') as Pod['status']['phase'], podIPs: podIPs.slice() };
};

export const quickPod = (raw: object): Pod | undefined => {
	if (!isRaw(raw) || raw.kind !== 'Pod' || !isRaw(raw.metadata)) return undefined;
	const { name, namespace = 'default', uid, creationTimestamp } = raw.metadata;
	if (!isName(name) || !isName(namespace) || !isText(uid) || !isText(creationTimestamp)) return undefined;
	const labels = stringMap(raw.metadata.labels);
	const annotations = stringMap(raw.metadata.annotations);
	const spec = specOf(raw.spec);
	const status = statusOf(raw.status);
	if (!labels || !annotations || !spec || !status) return undefined;
	const metadata = {
		name,
		namespace,
		uid: uid || `${namespace}/${name}`,
		creationTimestamp: creationTimestamp ?? '',
		labels,
		annotations,
	};
	return { kind: 'Pod', metadata, spec, status };
};
