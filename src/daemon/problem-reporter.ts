import type { Problem } from '../api/cluster.ts';
import type { Kind } from '../api/objects.ts';
import { keyOf } from '../api/objects.ts';
import type { DatastoreEvent } from '../datastore/datastore.ts';
import type { KubernetesClient } from '../datastore/kubernetes/client.ts';
import type { Failure } from '../datastore/kubernetes/failure.ts';
import type { Clock } from '../datastore/kubernetes/transport-types.ts';
import type { Logger } from '../logging.ts';
import { acceptedStatus, type StatusProblem } from './accepted.ts';

/**
 * Tells of objects that make no sense where their author looks: an Event on the object, and on our own kinds the condition
 * `Accepted`, which is True again once nothing is wrong. What is found is looked at once a second, so nothing has to call.
 *
 * Many nodes find the same: an Event is named after what it says, a status is read before it is written, and each node
 * waits a random while first, so that one writes and the others find it there. Writes are few a second at the most, and
 * stop for a growing while when the API server fails; what is to be told is derived from what is found, so nothing piles up.
 */

export type ProblemReporter = {
	/** Nodes and our own objects are followed. */
	readonly onEvent: (event: DatastoreEvent) => void;
	readonly close: () => void;
};

export type ProblemReporterOptions = {
	readonly client: KubernetesClient;
	readonly nodeName: string;
	/** Of which objects this daemon tells. */
	readonly kinds: readonly Kind[];
	/** All that is wrong now, refusals of the datastore too (they have neither code nor node); undefined while not known. */
	readonly problems: () => readonly Problem[] | undefined;
	/** What else is to change in the status of an object that was read; merged into it. */
	readonly alsoIn?: (kind: Kind, key: string, status: unknown, isNode: (name: string) => boolean) => object | undefined;
	readonly log: Logger;
	readonly clock?: Clock;
	/** For timestamps. */
	readonly date?: () => Date;
};

const systemClock: Clock = {
	now: () => performance.now(),
	after: (milliseconds, run) => {
		const timer = setTimeout(run, milliseconds);
		timer.unref();
		return () => clearTimeout(timer);
	},
	random: Math.random,
};

/** Milliseconds between looks at what is found. */
const lookInterval = 1000;
/** Milliseconds before something new is told: at the least, and for each node more, so that nodes do not speak at once. */
const spread = { least: 300, perNode: 20, most: 30_000 };
/** Milliseconds after which an object is looked at again: Events are forgotten after an hour, a status may be overwritten. */
const again = 1_800_000;
/** Requests that may be made at once, and milliseconds until there is another. */
const burst = 30;
const refill = 500;
/** Milliseconds to wait after a failure. */
const wait = { first: 1000, last: 60_000 };

type Job = {
	readonly kind: Kind;
	readonly key: string;
	found: readonly Problem[];
	/** What `found` says, to notice changes by. */
	text: string;
	due: number;
	/** When Events may be forgotten: then they are said again, which says nothing new as long as they are not. */
	forgottenAt: number;
	/** In a row. */
	failures: number;
	/** Events said. */
	readonly told: Set<string>;
};

type RawObject = { readonly metadata?: { uid?: string; resourceVersion?: string }; readonly status?: unknown } | null;

const ours: readonly Kind[] = ['BGPConfiguration', 'BGPPeer', 'BGPFilter', 'BFDProfile'];

const sentence = ({ field, reason }: Problem): string => [field, reason].filter(Boolean).join(' ');
const codeOf = ({ code }: Problem): string => code ?? 'Refused';

export const createProblemReporter = (options: ProblemReporterOptions): ProblemReporter => {
	const { client, nodeName, kinds, problems, log, clock = systemClock, date = () => new Date() } = options;
	const nodes = new Set<string>();
	/** Names of our own objects that exist, as `Kind key`. */
	const known = new Set<string>();
	const jobs = new Map<string, Job>();
	let inSync = false;
	let closed = false;
	let tokens = burst;
	let refilledAt = clock.now();
	let pausedUntil = 0;
	let pause = wait.first;
	/** When each failure was logged. */
	const logged = new Map<string, number>();
	let cancel = (): void => {};

	const jitter = (): number =>
		spread.least + clock.random() * Math.min(spread.most, spread.least + spread.perNode * nodes.size);
	const token = (): boolean => {
		const earned = Math.floor((clock.now() - refilledAt) / refill);
		refilledAt += earned * refill;
		tokens = Math.min(burst, tokens + earned);
		if (tokens === 0) return false;
		tokens--;
		return true;
	};

	/** Brings the jobs in line with what is found now. */
	const look = (): void => {
		const all = inSync ? problems() : undefined;
		if (all === undefined) return;
		const byObject = new Map<string, Problem[]>([...known].map((object) => [object, []]));
		for (const problem of all) {
			const found = byObject.get(problem.object);
			if (found !== undefined) found.push(problem);
			else byObject.set(problem.object, [problem]);
		}
		for (const object of jobs.keys()) if (!byObject.has(object)) jobs.delete(object);
		for (const [object, found] of byObject) {
			const [kind = '', key = ''] = object.split(' ');
			if (key === '' || !(kinds as readonly string[]).includes(kind)) continue;
			const text = JSON.stringify(found);
			const job = jobs.get(object);
			if (job === undefined) {
				const due = clock.now() + jitter();
				jobs.set(object, { kind: kind as Kind, key, found, text, due, forgottenAt: 0, failures: 0, told: new Set() });
			} else if (job.text !== text) {
				Object.assign(job, { found, text, due: Math.min(job.due, clock.now() + jitter()) });
			}
		}
	};

	const sayEvents = async ({ kind, key, found, told }: Job, uid: string): Promise<Failure | 'busy' | undefined> => {
		const wanted = new Map(found.map((problem) => [`${uid} ${codeOf(problem)} ${sentence(problem)}`, problem]));
		for (const one of told) if (!wanted.has(one)) told.delete(one);
		for (const [one, problem] of wanted) {
			if (told.has(one)) continue;
			if (!token()) return 'busy';
			const [reason, message] = [codeOf(problem), sentence(problem)];
			const created = await client.createEvent({ kind, key, uid, type: 'Warning', reason, message, shared: true });
			if (!created.ok) return created.failure;
			told.add(one);
		}
		return undefined;
	};

	const writeStatus = async ({ kind, key, found }: Job, object: RawObject): Promise<Failure | 'busy' | undefined> => {
		const own = found.map((problem): StatusProblem => {
			const { node } = problem;
			return { ...(node !== undefined && { node }), reason: codeOf(problem), message: sentence(problem) };
		});
		const timestamp = date()
			.toISOString()
			.replace(/\.\d+Z$/, 'Z');
		const isNode = (name: string): boolean => nodes.has(name);
		const accepted = acceptedStatus(object?.status, own, nodeName, isNode, timestamp);
		const more = options.alsoIn?.(kind, key, object?.status, isNode);
		if (accepted === undefined && more === undefined) return undefined;
		const status = { ...accepted, ...more };
		if (!token()) return 'busy';
		const written = await client.patchStatus(kind, key, status, object?.metadata?.resourceVersion);
		return written.ok ? undefined : written.failure;
	};

	/** Undefined when all is told; else why not. Takes a token a request: without one it is to be called again. */
	const tell = async (job: Job): Promise<Failure | 'busy' | undefined> => {
		if (!token()) return 'busy';
		const read = await client.readObject(job.kind, job.key);
		// Deleted meanwhile, or never there: nothing to tell it on.
		if (!read.ok) return read.failure.code === 404 ? undefined : read.failure;
		const object = read.value as RawObject;
		const status = ours.includes(job.kind) ? await writeStatus(job, object) : undefined;
		return (await sayEvents(job, object?.metadata?.uid ?? '')) ?? status;
	};

	const onFailure = (job: Job, failure: Failure): void => {
		const now = clock.now();
		// Another node wrote at the same time: what it wrote is looked at first.
		if (failure.code === 409) {
			job.due = now + jitter();
			return;
		}
		for (const [reason, at] of logged) if (now - at >= again) logged.delete(reason);
		if (!logged.has(failure.reason)) {
			logged.set(failure.reason, now);
			const about = `${job.kind} ${job.key}`;
			log.warn({}, `what is found of ${about} cannot be told on the object: ${failure.reason}. It is tried again.`);
		}
		// What is wrong with one object must not keep the others waiting; what is wrong with the server is wrong with all.
		job.due = now + Math.min(again, wait.last * 2 ** job.failures);
		job.failures++;
		const onlyThis = failure.code >= 400 && failure.code < 500 && ![401, 429].includes(failure.code);
		if (onlyThis) return;
		job.due = pausedUntil = now + Math.max(pause * (0.5 + clock.random() / 2), failure.retryAfter);
		pause = Math.min(pause * 2, wait.last);
	};

	const work = async (): Promise<void> => {
		look();
		const due = [...jobs.values()].filter((job) => job.due <= clock.now());
		// Those with something wrong first, those that failed last.
		const rank = ({ found, failures }: Job): number => (failures > 0 ? 2 : found.length > 0 ? 0 : 1);
		for (const job of due.sort((a, b) => rank(a) - rank(b) || a.due - b.due)) {
			if (closed || clock.now() < pausedUntil) break;
			if (job.forgottenAt <= clock.now()) {
				job.told.clear();
				job.forgottenAt = clock.now() + again * (0.75 + clock.random() / 2);
			}
			const failure = await tell(job);
			if (failure === 'busy') break;
			if (failure !== undefined) {
				onFailure(job, failure);
				continue;
			}
			pause = wait.first;
			job.failures = 0;
			job.due = job.forgottenAt;
		}
		schedule();
	};
	const schedule = (): void => {
		if (!closed) cancel = clock.after(lookInterval, () => void work());
	};
	schedule();

	return {
		onEvent: (event) => {
			for (const change of event.changes) {
				const kind = change.type === 'set' ? change.object.kind : change.kind;
				const key = change.type === 'set' ? keyOf(change.object.metadata) : change.key;
				const set = kind === 'Node' ? nodes : ours.includes(kind) ? known : undefined;
				const entry = kind === 'Node' ? key : `${kind} ${key}`;
				if (change.type === 'set') set?.add(entry);
				else set?.delete(entry);
				// Made anew under the same name, it has no status yet.
				const job = jobs.get(entry);
				if (change.type === 'delete') jobs.delete(entry);
				else if (job !== undefined) job.due = Math.min(job.due, clock.now() + jitter());
			}
			({ inSync } = event);
		},
		close: () => {
			closed = true;
			cancel();
		},
	};
};
