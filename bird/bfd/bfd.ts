import { Worker } from 'node:worker_threads';
import type { Logger } from '../../src/logging.ts';
import { COUNTER, COUNTERS } from './engine.ts';
import type { FromWorker, ToWorker } from './protocol.ts';
import type { SessionReport } from './report.ts';
import type { BfdSessionOptions, BfdSessionStatus, BfdStateChange } from './types.ts';

/**
 * BFD as the speaker sees it: sessions are added and removed, state changes come back. The work is done in a thread of
 * its own, started with the first session; should it ever fail it is started again, its sessions with it.
 */

export type BfdSessionRequest = BfdSessionOptions & {
	/** Not called for what this process did itself (added, removed, thread started again). */
	readonly onState: (change: BfdStateChange) => void;
};

export type Bfd = {
	/** Known by its `peer` already: other intervals are negotiated without the session going down. */
	readonly addSession: (request: BfdSessionRequest) => void;
	/** The peer is told that it is on purpose (AdminDown). */
	readonly removeSession: (peer: string) => void;
	readonly status: () => readonly BfdSessionStatus[];
	/** `adminDown`: peers are told that it is on purpose, so that no BGP session falls for it (RFC 5882 §3.2). */
	readonly stop: (how: { readonly adminDown: boolean }) => Promise<void>;
};

type Known = { request: BfdSessionRequest; readonly counters: Int32Array; report: SessionReport };

const RESTART_MS = 1_000;
const STOP_MS = 1_000;

/** Bundled (src/image) the thread's program lies beside the main one. */
const workerUrl = (): URL =>
	new URL(import.meta.url.endsWith('.ts') ? './worker.ts' : './bfd-worker.js', import.meta.url);

const initialReport = ({ peer, address, localAddress, multihop }: BfdSessionOptions): SessionReport => ({
	peer,
	address,
	localAddress,
	multihop,
	state: 'Down',
	since: new Date().toISOString(),
	lastError: '',
	transmitInterval: 1000,
	detectionTime: 0,
	remote: {
		state: 'Down',
		transmitInterval: 0,
		receiveInterval: 0,
		detectMultiplier: 0,
		controlPlaneIndependent: false,
	},
});

export const createBfd = ({ log }: { readonly log: Logger }): Bfd => {
	const sessions = new Map<string, Known>();
	let worker: Worker | undefined;
	let restart: ReturnType<typeof setTimeout> | undefined;
	let stopped = (): void => {};
	let stopping = false;

	const tell = (message: ToWorker): void => worker?.postMessage(message);
	const add = ({ request: { onState: _, ...options }, counters }: Known): void =>
		tell({ type: 'add', options, counters });

	const changed = (change: BfdStateChange): void => {
		const known = sessions.get(change.peer);
		if (known === undefined) return;
		const { previous, state, reason } = change;
		const lost = previous === 'Up';
		log[lost ? 'warn' : state === 'Up' ? 'info' : 'debug'](
			{ peer: change.peer, address: known.request.address },
			`BFD with ${change.peer}: ${previous} to ${state}: ${reason}`,
		);
		known.request.onState(change);
	};

	const start = (): void => {
		const current = new Worker(workerUrl(), { name: 'bfd', resourceLimits: { maxOldGenerationSizeMb: 64 } });
		worker = current;
		let failure = '';
		current.on('message', (message: FromWorker) => {
			if (worker !== current) return;
			if (message.type === 'changed') return changed(message.change);
			if (message.type === 'stopped') return stopped();
			const known = sessions.get(message.report.peer);
			if (known === undefined) return;
			const { lastError, state } = message.report;
			if (state !== 'Up' && lastError !== '' && lastError !== known.report.lastError && state === known.report.state) {
				log.warn({ peer: known.request.peer }, `BFD with ${known.request.peer}: ${lastError}`);
			}
			known.report = message.report;
		});
		current.on('error', (error: Error) => {
			failure = error.stack ?? error.message;
		});
		current.on('exit', () => {
			if (worker !== current) return;
			worker = undefined;
			stopped();
			if (stopping) return;
			log.error({}, `the BFD thread ended, it is started again: ${failure}`);
			for (const known of sessions.values()) known.report = initialReport(known.request);
			restart = setTimeout(start, RESTART_MS);
		});
		for (const known of sessions.values()) add(known);
	};

	return {
		addSession: (request) => {
			if (stopping) return;
			const before = sessions.get(request.peer);
			const known: Known = {
				request,
				counters: before?.counters ?? new Int32Array(new SharedArrayBuffer(COUNTERS * 4)),
				report: before?.report ?? initialReport(request),
			};
			sessions.set(request.peer, known);
			if (worker !== undefined) add(known);
			else if (restart === undefined) start();
		},
		removeSession: (peer) => {
			if (sessions.delete(peer)) tell({ type: 'remove', peer });
		},
		status: () =>
			[...sessions.values()].map(({ report, counters }) => ({
				...report,
				sent: counters[COUNTER.sent] ?? 0,
				received: counters[COUNTER.received] ?? 0,
				refused: counters[COUNTER.refused] ?? 0,
			})),
		stop: async ({ adminDown }) => {
			stopping = true;
			clearTimeout(restart);
			sessions.clear();
			const current = worker;
			if (current === undefined) return;
			if (adminDown) {
				await new Promise<void>((resolve) => {
					const timer = setTimeout(resolve, STOP_MS);
					stopped = () => {
						clearTimeout(timer);
						resolve();
					};
					tell({ type: 'stop', adminDown });
				});
			}
			worker = undefined;
			await current.terminate();
		},
	};
};
