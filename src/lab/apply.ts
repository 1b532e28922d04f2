import { nodeNameOf } from './cni-client.ts';
import { asStored, startPods, stopPods } from './kubelet.ts';
import { loadLab, withLock } from './lab-state.ts';
import { type Body, type Manifest, titleOf } from './manifests.ts';
import {
	admitted,
	getObject,
	listObjects,
	putObject,
	raiseGeneration,
	refusalOf,
	removeObject,
	withFields,
} from './object-store.ts';
import type { Lab } from './plan.ts';
import { ensureSupervisor } from './supervisor.ts';
import { missingNamespaces, schedule } from './topology.ts';

/**
 * Changes of objects in a running lab. Objects are written as given, good or bad: the daemons refuse what is bad, and
 * `lab status` and `lab wait` tell. Pods are started and ended as well.
 */

/** What an apply or delete did, line by line, and whether all of it worked. */
export type Report = { readonly lines: readonly string[]; readonly ok: boolean };

/** Policies are to be there before the pods they select. */
const rank: Readonly<Record<string, number>> = { Namespace: 0, Node: 1, Pod: 9 };
const inOrder = (objects: readonly Manifest[]): Manifest[] =>
	[...objects].sort((a, b) => (rank[a.kind] ?? 5) - (rank[b.kind] ?? 5));

/** A Node without status keeps the one it has, as with a real API server (status is the kubelet's). */
const keepStatus = (given: Manifest, before: Manifest | undefined): Manifest => {
	if (given.kind !== 'Node' || before === undefined || 'status' in given.body) return given;
	return { ...given, body: { ...given.body, status: before.body.status as Body } };
};

const sameBody = (a: Manifest, b: Manifest): boolean => JSON.stringify(a.body) === JSON.stringify(b.body);

const writeObjects = (lab: Lab, objects: readonly Manifest[], lines: string[]): void => {
	for (const given of objects) {
		const before = getObject(lab.name, given);
		const object = keepStatus(admitted(given), before);
		putObject(lab.name, object);
		const done = before === undefined ? 'created' : sameBody(before, object) ? 'unchanged' : 'configured';
		const machine = lab.machines.some(({ name }) => name === object.name);
		const note =
			object.kind === 'Node' && before === undefined && !machine
				? ' (the object only: machines are made by lab up -f)'
				: '';
		const refusal = refusalOf(object);
		const warning = refusal === undefined ? '' : `, but the daemons refuse it: ${refusal}`;
		lines.push(`${titleOf(object)} ${done}${note}${warning}`);
	}
};

export const applyObjects = (name: string, given: readonly Manifest[]): Promise<Report> =>
	withLock(name, 'lab', async () => {
		const lab = loadLab(name);
		await ensureSupervisor(name);
		const lines: string[] = [];
		let ok = true;
		const known = new Set(
			listObjects(name)
				.filter(({ kind }) => kind === 'Namespace')
				.map((object) => object.name),
		);
		const objects = inOrder([...missingNamespaces(given, known), ...given]);
		writeObjects(
			lab,
			objects.filter(({ kind }) => kind !== 'Pod'),
			lines,
		);
		const running = new Set(
			lab.sandboxes.filter(({ ips }) => ips.length > 0).map((one) => titleOf({ kind: 'Pod', ...one })),
		);
		const start: Manifest[] = [];
		const pods = objects
			.filter(({ kind }) => kind === 'Pod')
			.map((pod) => {
				const before = getObject(name, pod);
				const node = nodeNameOf(before?.body ?? {});
				const keep = before !== undefined && nodeNameOf(pod.body) === '' && node !== '';
				return { before, pod: keep ? { ...pod, body: withFields(pod.body, 'spec', { nodeName: node }) } : pod };
			});
		const scheduled = schedule(
			pods.map(({ pod }) => pod),
			lab.machines.map((machine) => machine.name),
			lab.sandboxes.map(({ node }) => node),
		);
		for (const [index, pod] of scheduled.entries()) {
			const before = pods[index]?.before;
			const object = asStored(admitted(pod), before);
			if (!running.has(titleOf(object))) {
				putObject(name, object);
				start.push(object);
				continue;
			}
			const [was, is] = [nodeNameOf(before?.body ?? {}), nodeNameOf(object.body)];
			if (before !== undefined && was !== is) {
				ok = false;
				lines.push(
					`${titleOf(object)} not changed: it runs on ${was}, and a pod never moves (asked for: ${is}). Delete it first.`,
				);
				continue;
			}
			putObject(name, object);
			const refusal = refusalOf(object);
			const warning = refusal === undefined ? '' : `, but the daemons refuse it and keep what they had: ${refusal}`;
			lines.push(
				`${titleOf(object)} ${before !== undefined && sameBody(before, object) ? 'unchanged' : 'configured'}${warning}`,
			);
		}
		// An ADD waits for the pod's object to arrive: declared before, not after.
		await raiseGeneration(name);
		if (start.length > 0) {
			for (const outcome of await startPods(lab, start)) {
				lines.push(`${titleOf(outcome.pod)} ${outcome.text}`);
				ok &&= outcome.ok;
			}
			await raiseGeneration(name);
		}
		return { lines, ok };
	});

/** Deletes objects by key; a Namespace takes along what is in it. What is not there is said, and is no error. */
export const deleteObjects = (name: string, given: readonly Manifest[]): Promise<Report> =>
	withLock(name, 'lab', async () => {
		const lab = loadLab(name);
		await ensureSupervisor(name);
		const namespaces = new Set(given.filter(({ kind }) => kind === 'Namespace').map((object) => object.name));
		const inThem = listObjects(name).filter(({ namespace }) => namespaces.has(namespace));
		const all = [...new Map([...given, ...inThem].map((object) => [titleOf(object), object])).values()];
		const pods = all.filter(({ kind }) => kind === 'Pod');
		const problems = await stopPods(lab, pods);
		// Policies outlive the pods they protect, namespaces what is in them.
		const lines = inOrder(all)
			.reverse()
			.map((object) => `${titleOf(object)} ${removeObject(name, object) ? 'deleted' : 'was not there'}`);
		await raiseGeneration(name);
		return { lines: [...lines, ...problems], ok: problems.length === 0 };
	});
