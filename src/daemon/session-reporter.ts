import type { PeerSessionStatus } from '../../bird/index.ts';
import type { KubernetesClient } from '../datastore/kubernetes/client.ts';
import type { Clock } from '../datastore/kubernetes/transport-types.ts';
import type { Logger } from '../logging.ts';

/**
 * How the sessions of a BGPPeer are doing on this node, in `status.nodes` of the object. Every node writes its own entry and
 * no other (merge patch).
 *
 * Each write goes to all who watch BGPPeers, that is to every node. So states are written when they have changed and lasted
 * for a moment, after a random while that grows with the cluster; numbers of prefixes alone a few times an hour; and of a
 * peer of many nodes only what is not up, of some nodes. A thousand nodes in good order write nothing.
 */

export type SessionReporter = { readonly close: () => void };

export type SessionReporterOptions = {
	readonly client: Pick<KubernetesClient, 'patchStatus' | 'readObject'>;
	readonly nodeName: string;
	/** Undefined while that is not known. */
	readonly sessions: () => readonly PeerSessionStatus[] | undefined;
	/** Nodes there are, and those that a BGPPeer is for; 0 when there is no such object. */
	readonly nodes: () => number;
	readonly nodesOf: (peer: string) => number;
	readonly log: Logger;
	readonly clock: Clock;
};

export type SessionEntry = {
	readonly state: string;
	/** RFC 3339. */
	readonly since: string;
	/** Prefixes. */
	readonly received: number;
	readonly advertised: number;
	readonly lastError: string;
};

/** Milliseconds. */
const times = {
	look: 2000,
	/** Before a change is written, at the least and for each node more. */
	settle: 2000,
	perNode: 30,
	longest: 60_000,
	/** Between writes for the sake of numbers alone. */
	numbers: 600_000,
	retry: 30_000,
	mostRetry: 600_000,
} as const;
/** A peer of more nodes has entries only of those where it is not up, and of no more than so many. */
const few = 100;
const mostDown = 50;

type Job = {
	readonly peer: string;
	/** What the object says, as far as we know; `null`: nothing; undefined: not known. */
	written: SessionEntry | null | undefined;
	due: number;
	/** What waits is more than numbers. */
	pressing: boolean;
	failures: number;
};

/** Of all sessions of a peer (a range, several nodes): up when all are, else as the first that is not. */
export const entryOf = (sessions: readonly PeerSessionStatus[]): SessionEntry | undefined => {
	const shown = sessions.find(({ state }) => state !== 'Established') ?? sessions[0];
	if (shown === undefined) return undefined;
	const sum = (of: (session: PeerSessionStatus) => number): number => sessions.reduce((n, one) => n + of(one), 0);
	return {
		state: shown.held === undefined ? shown.state : 'Held',
		since: shown.since.replace(/\.\d+Z$/, 'Z'),
		received: sum(({ received }) => received),
		advertised: sum(({ advertised }) => advertised),
		lastError: shown.state === 'Established' ? '' : (shown.held ?? shown.lastError).slice(0, 256),
	};
};

/** Machines on the way up go through states that are nobody's concern. */
const coarse = ({ state }: SessionEntry): string => (['Established', 'Held'].includes(state) ? state : 'down');

const nameOf = (session: string): string | undefined => /^peer\/([^/]+)/.exec(session)?.[1];

export const createSessionReporter = (options: SessionReporterOptions): SessionReporter => {
	const { client, nodeName, clock, log } = options;
	const jobs = new Map<string, Job>();
	let closed = false;
	let cancel = (): void => {};
	let lastFailure = '';

	const wantedOf = (): ReadonlyMap<string, SessionEntry> | undefined => {
		const sessions = options.sessions();
		if (sessions === undefined) return undefined;
		const groups = new Map<string, PeerSessionStatus[]>();
		for (const session of sessions) {
			const peer = nameOf(session.name);
			if (peer === undefined) continue;
			const group = groups.get(peer);
			if (group === undefined) groups.set(peer, [session]);
			else group.push(session);
		}
		const wanted = new Map<string, SessionEntry>();
		for (const [peer, group] of groups) {
			const entry = entryOf(group);
			if (entry === undefined) continue;
			if (options.nodesOf(peer) <= few || coarse(entry) !== 'Established') wanted.set(peer, entry);
		}
		return wanted;
	};

	const urgent = (job: Job, entry: SessionEntry | null): boolean => {
		const { written } = job;
		if (written === undefined || written === null || entry === null) return written !== entry;
		return coarse(written) !== coarse(entry) || (coarse(entry) === 'down' && written.lastError !== entry.lastError);
	};
	const spread = (): number => {
		const most = Math.min(times.longest, times.settle + times.perNode * options.nodes());
		return times.settle + clock.random() * most;
	};

	/** Whether others have said enough of a peer of many nodes. */
	const crowded = async (peer: string): Promise<boolean> => {
		if (options.nodesOf(peer) <= few) return false;
		const read = await client.readObject('BGPPeer', peer);
		const object = (read.ok ? read.value : null) as { status?: { nodes?: Record<string, unknown> } } | null;
		const nodes = object?.status?.nodes ?? {};
		return Object.keys(nodes).length >= mostDown && !(nodeName in nodes);
	};

	const write = async (job: Job, entry: SessionEntry | null): Promise<void> => {
		if (entry !== null && (await crowded(job.peer))) {
			job.due = clock.now() + times.numbers;
			return;
		}
		// API servers of 1.20 take an empty text in a new entry for null, and refuse it.
		const told = entry && { ...entry, lastError: entry.lastError || null };
		const result = await client.patchStatus('BGPPeer', job.peer, { nodes: { [nodeName]: told } });
		// An object that is gone has no status.
		if (result.ok || result.failure.code === 404) {
			job.written = entry;
			job.failures = 0;
			return;
		}
		const pause = Math.min(times.mostRetry, times.retry * 2 ** job.failures++);
		job.pressing = true;
		job.due = clock.now() + Math.max(pause * (0.5 + clock.random()), result.failure.retryAfter);
		const text = `the state of BGPPeer ${job.peer} cannot be told in its status: ${result.failure.reason}`;
		if (text !== lastFailure) log.warn({ peer: job.peer }, `${text}. It is tried again.`);
		lastFailure = text;
	};

	/** One write a turn. */
	const work = async (): Promise<void> => {
		const wanted = wantedOf();
		const now = clock.now();
		if (wanted !== undefined) {
			for (const peer of wanted.keys()) {
				if (!jobs.has(peer))
					jobs.set(peer, { peer, written: undefined, due: now + spread(), pressing: true, failures: 0 });
			}
			let best: Job | undefined;
			for (const job of jobs.values()) {
				const entry = wanted.get(job.peer) ?? null;
				if (entry === null && (job.written ?? null) === null) {
					jobs.delete(job.peer);
					continue;
				}
				const pressing = urgent(job, entry);
				if (!pressing && JSON.stringify(job.written) === JSON.stringify(entry)) {
					job.due = Number.POSITIVE_INFINITY;
					continue;
				}
				// What is pressing does not wait for numbers; neither is drawn again each time it is looked at.
				if (job.due === Number.POSITIVE_INFINITY || (pressing && !job.pressing)) {
					job.due = now + (pressing ? spread() : times.numbers * (0.75 + clock.random() / 2));
				}
				job.pressing = pressing;
				if (job.due <= now && (best === undefined || job.due < best.due)) best = job;
			}
			if (best !== undefined) {
				best.due = Number.POSITIVE_INFINITY;
				best.pressing = false;
				await write(best, wanted.get(best.peer) ?? null);
			}
		}
		schedule();
	};
	const schedule = (): void => {
		if (!closed) cancel = clock.after(times.look, () => void work());
	};
	schedule();

	return {
		close: () => {
			closed = true;
			cancel();
		},
	};
};

/** What of `status.nodes` belongs to nobody: of nodes that are gone, and of this one when it has no session of the peer. */
export const forgottenNodes = (
	status: unknown,
	isNode: (name: string) => boolean,
	nodeName: string,
	hasSession: boolean,
): { readonly nodes: Readonly<Record<string, null>> } | undefined => {
	const { nodes } = (status ?? {}) as { nodes?: Record<string, unknown> | null };
	const gone = Object.keys(nodes ?? {}).filter((name) => !isNode(name) || (name === nodeName && !hasSession));
	return gone.length === 0 ? undefined : { nodes: Object.fromEntries(gone.map((name) => [name, null])) };
};
