import { randomBytes, randomUUID } from 'node:crypto';
import { cniAdd, cniDel, nodeNameOf, podStatus } from './cni-client.ts';
import { existingNetns, findLab, saveLab } from './lab-state.ts';
import { bodyAt, type Manifest, textAt, titleOf } from './manifests.ts';
import { putObject, refusalOf, withFields } from './object-store.ts';
import { isObjectName, type Lab, podNetns, type Sandbox } from './plan.ts';
import { ipBatch, pool } from './shell.ts';

/**
 * The lab as kubelet and container runtime: a network namespace for each pod on one of the lab's nodes, wired by the
 * CNI plugin, its addresses written into the Pod's status. Callers hold the lab's lock; each change of the sandboxes
 * is saved at once, so that a crash leaves nothing unknown.
 */

/** Calls of the plugin at the same time: two cores are served well by few. */
const parallel = 4;
const patience = 30_000;

export type PodOutcome = {
	readonly pod: Manifest;
	/** What became of it, for people: `on n1: 10.244.1.2 fd00:...` or why not. */
	readonly text: string;
	readonly ok: boolean;
};

const machineOf = (lab: Lab, node: string) => lab.machines.find(({ name }) => name === node);

const setSandboxes = (name: string, change: (sandboxes: readonly Sandbox[]) => readonly Sandbox[]): void => {
	const lab = findLab(name);
	if (lab !== undefined) saveLab({ ...lab, sandboxes: change(lab.sandboxes) });
};

const isSame = (sandbox: Sandbox, pod: Pick<Manifest, 'namespace' | 'name'>): boolean =>
	sandbox.namespace === pod.namespace && sandbox.name === pod.name;

/** A Pod as the API server keeps it: with a uid, and with a status that only the kubelet changes. */
export const asStored = (pod: Manifest, before: Manifest | undefined): Manifest => {
	const metadata = bodyAt(pod.body, 'metadata');
	const uid = textAt(bodyAt(before?.body ?? {}, 'metadata'), 'uid') || textAt(metadata, 'uid') || randomUUID();
	const body = withFields(pod.body, 'metadata', { uid });
	const status = before === undefined ? { phase: 'Pending' } : bodyAt(before.body, 'status');
	return { ...pod, body: { ...body, status } };
};

const whyNoSandbox = (lab: Lab, pod: Manifest): string | undefined => {
	const node = nodeNameOf(pod.body);
	if (!isObjectName(pod.name) || !isObjectName(pod.namespace) || pod.namespace.includes('.')) {
		return 'written as it is, not started: its name or namespace is not one Kubernetes allows';
	}
	const refusal = refusalOf(pod);
	if (refusal !== undefined) return `written as it is, not started: the daemons refuse it: ${refusal}`;
	if (node === '') return 'pending: there is no node for it';
	if (machineOf(lab, node) === undefined) return `pending: there is no node ${node} in this lab`;
	return undefined;
};

const startOne = async (lab: Lab, pod: Manifest, sandbox: Sandbox): Promise<PodOutcome> => {
	const nodeNetns = machineOf(lab, sandbox.node)?.netns ?? '';
	const result = await cniAdd(lab.name, nodeNetns, sandbox, patience);
	if (result.ok) {
		setSandboxes(lab.name, (all) => all.map((one) => (isSame(one, pod) ? { ...one, ips: result.ips } : one)));
		putObject(lab.name, { ...pod, body: { ...pod.body, status: podStatus('Running', result.ips) } });
		return { pod, ok: true, text: `on ${sandbox.node}: ${result.ips.join(' ')}` };
	}
	// As the runtime does: what a failed ADD may have left is taken back, and the sandbox goes.
	const { code, message } = result.error;
	await cniDel(lab.name, nodeNetns, sandbox);
	await removeSandboxes(lab.name, [sandbox]);
	return { pod, ok: false, text: `not started on ${sandbox.node}: the CNI plugin says (code ${code}) ${message}` };
};

/** Starts the pods whose objects have been written and that have no sandbox yet. */
export const startPods = async (lab: Lab, pods: readonly Manifest[]): Promise<PodOutcome[]> => {
	const outcomes: PodOutcome[] = [];
	const start: { pod: Manifest; sandbox: Sandbox }[] = [];
	for (const pod of pods) {
		const problem = whyNoSandbox(lab, pod);
		const machine = machineOf(lab, nodeNameOf(pod.body));
		if (problem !== undefined || machine === undefined) {
			outcomes.push({ pod, ok: false, text: problem ?? '' });
		} else if (bodyAt(pod.body, 'spec').hostNetwork === true) {
			putObject(lab.name, { ...pod, body: { ...pod.body, status: podStatus('Running', machine.addresses) } });
			outcomes.push({ pod, ok: true, text: `on ${machine.name}, in the host's network` });
		} else {
			const sandbox: Sandbox = {
				namespace: pod.namespace,
				name: pod.name,
				uid: textAt(bodyAt(pod.body, 'metadata'), 'uid'),
				node: machine.name,
				netns: podNetns(lab.name, pod.namespace, pod.name),
				containerID: randomBytes(32).toString('hex'),
				ips: [],
			};
			start.push({ pod, sandbox });
		}
	}
	if (start.length === 0) return outcomes;
	setSandboxes(lab.name, (all) => [
		...all.filter((one) => !start.some(({ pod }) => isSame(one, pod))),
		...start.map(({ sandbox }) => sandbox),
	]);
	const there = new Set(existingNetns(lab.name));
	const fresh = start.map(({ sandbox }) => sandbox.netns).filter((netns) => !there.has(netns));
	await ipBatch(
		undefined,
		fresh.map((netns) => `netns add ${netns}`),
	);
	await pool(fresh, parallel, (netns) => ipBatch(netns, ['link set lo up']));
	// One after the other on each node: addresses are handed out in the order of the pods, for people to foresee.
	const nodes = [...Map.groupBy(start, ({ sandbox }) => sandbox.node).values()];
	const started = await pool(nodes, parallel, async (ofNode) => {
		const done: PodOutcome[] = [];
		for (const { pod, sandbox } of ofNode) done.push(await startOne(lab, pod, sandbox));
		return done;
	});
	return [...outcomes, ...started.flat()];
};

const removeSandboxes = async (lab: string, sandboxes: readonly Sandbox[]): Promise<void> => {
	const there = new Set(existingNetns(lab));
	await ipBatch(
		undefined,
		sandboxes.filter(({ netns }) => there.has(netns)).map(({ netns }) => `netns del ${netns}`),
	);
	setSandboxes(lab, (all) => all.filter((one) => !sandboxes.some((gone) => isSame(one, gone))));
};

/** DEL, then the namespace; their objects are the caller's. Returns what went wrong, per pod: it is gone all the same. */
export const stopPods = async (lab: Lab, pods: readonly Manifest[]): Promise<string[]> => {
	const sandboxes = lab.sandboxes.filter((sandbox) => pods.some((pod) => isSame(sandbox, pod)));
	const problems = await pool(sandboxes, parallel, async (sandbox) => {
		const error = await cniDel(lab.name, machineOf(lab, sandbox.node)?.netns ?? '', sandbox);
		const title = titleOf({ kind: 'Pod', ...sandbox });
		return error && `${title}: the CNI plugin's DEL failed (code ${error.code}): ${error.message}`;
	});
	await removeSandboxes(lab.name, sandboxes);
	return problems.filter((problem) => problem !== undefined);
};
