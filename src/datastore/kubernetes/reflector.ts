import type { Change } from '../datastore.ts';
import { backoff, triesTo, waits } from './backoff.ts';
import { type Failure, garbled, statusFailure, unreachable } from './failure.ts';
import type { ObjectCache, Taken } from './object-cache.ts';
import type { Resource } from './resources.ts';
import type { Cancel, Clock, ListEnd, Transport } from './transport-types.ts';

/**
 * Keeps the objects of one kind as the API server has them: list, then watch from there, for ever. It never stops, never
 * turns faster than its backoff allows, and while the server is away everything stays as it was.
 *
 *  - lists come from the server's cache (`resourceVersion=0`, later "not older than what we have"); what is true now, in
 *    pages, is asked for only when the cache cannot answer or a list broke off;
 *  - 410 Gone, an ERROR event, or anything that cannot be read: list again, and the difference becomes changes;
 *  - a watch on which nothing is heard for too long is cut and opened again from where it was;
 *  - after a failure, the server is asked first whether its data is older than ours: a server restored from a backup
 *    would keep a watch from our version silent until it got there (apiserver storage/cacher: events at or below the
 *    version asked for are left out).
 */

export type ReflectorDeps = {
	readonly resource: Resource;
	readonly cache: ObjectCache;
	readonly transport: Transport;
	readonly clock: Clock;
	readonly onChanges: (changes: readonly Change[]) => void;
	/** Once: everything that existed has been delivered. */
	readonly onListed: () => void;
	/** Why it does not go on as it should; undefined when it does again. */
	readonly onTrouble: (reason: string | undefined) => void;
	/** There is no such kind, and somebody knows better where to look: true when this reflector is not needed any more. */
	readonly onMissing?: () => boolean;
};

export type ReflectorStatus = {
	/** `absent`: the cluster does not have this kind. */
	readonly phase: 'listing' | 'checking' | 'opening' | 'watching' | 'waiting' | 'absent' | 'closed';
	/** Milliseconds since the server was last heard, or undefined. */
	readonly silence: number | undefined;
	readonly resourceVersion: string;
};

export type Reflector = {
	readonly start: () => void;
	readonly status: () => ReflectorStatus;
	readonly close: () => void;
};

/** Milliseconds. */
const limits = {
	/** Silence while waiting for an answer or in the middle of one. */
	answer: 30_000,
	/** Silence after a watch has shown that it carries bookmarks: the server sends one a minute (cacher.go). */
	bookmarked: 180_000,
	/** How much later than promised the server may end a watch. */
	overrun: 30_000,
	/** A watch that lived this long has worked: the next wait is short again. */
	worked: 10_000,
	/** How long 404 must last before it means "there is no such kind": a server that starts says it too. */
	absentAtFirst: 2_000,
	absentLater: 60_000,
	absentRetry: 30_000,
} as const;

const pageSize = 500;

type WatchEvent = { readonly type?: unknown; readonly object?: unknown } | null;
const eventTypes = new Set(['ADDED', 'MODIFIED', 'DELETED', 'BOOKMARK']);

const versionOf = (object: unknown): string => {
	const version = (object as { metadata?: { resourceVersion?: unknown } | null } | null)?.metadata?.resourceVersion;
	return typeof version === 'string' ? version : '';
};

/** Whether version `a` comes before `b`; versions that are no numbers cannot be told apart. */
const older = (a: string, b: string): boolean => /^\d+$/.test(a) && /^\d+$/.test(b) && BigInt(a) < BigInt(b);

/** Lets only what belongs to the request under way through. */
type Guard = {
	/** Something the server sent. */
	readonly heard: (run: () => void) => void;
	readonly failed: (run: () => void) => void;
};

export const createReflector = (deps: ReflectorDeps): Reflector => {
	const { resource, cache, transport, clock } = deps;
	let phase: ReflectorStatus['phase'] = 'waiting';
	let resourceVersion = '';
	let mustList = true;
	/** How to list next: from the server's cache, or what is true now: in pages, or at once. */
	let listMode: 'cache' | 'pages' | 'whole' = 'cache';
	let mustCheck = false;
	let listed = false;
	let failures = 0;
	let missingSince: number | undefined;
	let lastHeard: number | undefined;
	let openedAt = 0;
	let turn = 0;
	let cancelRequest: Cancel = () => {};
	let cancelTimer: Cancel = () => {};

	const stop = (): void => {
		turn++;
		cancelRequest();
		cancelTimer();
		cancelRequest = cancelTimer = () => {};
	};

	const wait = (milliseconds: number, next: ReflectorStatus['phase'] = 'waiting'): void => {
		stop();
		phase = next;
		cancelTimer = clock.after(milliseconds, go);
	};

	const retry = (limit: number, atLeast = 0): void => {
		wait(Math.max(backoff(failures, limit, clock.random()), atLeast));
		// No further than this limit needs: short-lived watches must not make the next failure a long one.
		failures = Math.min(failures + 1, triesTo(limit));
	};

	const go = (): void => {
		if (mustList) list();
		else if (mustCheck) check();
		else watch();
	};

	const failed = (failure: Failure): void => {
		const { type, code } = failure;
		if (type !== 'unreachable') lastHeard = clock.now();
		else mustCheck = true;
		if (code === 404 && deps.onMissing?.()) return;
		if (resource.optional && code === 404) {
			missing();
			return;
		}
		missingSince = undefined;
		const watching = phase === 'watching';
		if (watching && clock.now() - openedAt >= limits.worked) failures = 0;
		if (phase !== 'listing' && (type === 'garbled' || [400, 404, 410].includes(code))) mustList = true;
		// etcd compacts in the ordinary course of things; only a row of 410s is trouble.
		if (code !== 410 || failures > 0) deps.onTrouble(failure.reason);
		retry(watching && type === 'unreachable' ? waits.shortLived : waits.failing, failure.retryAfter);
	};

	/** Begins a request and watches over its silence; `open` must not call back before it returns. */
	const begin = (
		next: ReflectorStatus['phase'],
		patience: () => number,
		open: (guard: Guard) => Cancel,
		onSilence: (failure: Failure) => void = failed,
	): void => {
		stop();
		phase = next;
		const mine = turn;
		let last = clock.now();
		const look = (): void => {
			const left = last + patience() - clock.now();
			if (left > 0) cancelTimer = clock.after(left, look);
			else onSilence(unreachable(`nothing was heard from the API server for ${Math.round(patience() / 1000)} s`));
		};
		cancelTimer = clock.after(patience(), look);
		cancelRequest = open({
			heard: (run) => {
				if (turn !== mine) return;
				last = lastHeard = clock.now();
				run();
			},
			failed: (run) => {
				if (turn === mine) run();
			},
		});
	};

	/** 404: no objects, if it lasts. What runs must not be torn down because an API server has only just started. */
	const missing = (): void => {
		const now = clock.now();
		missingSince ??= now;
		mustList = true;
		resourceVersion = '';
		listMode = 'cache';
		const known = cache.size() > 0;
		if (now - missingSince < (known ? limits.absentLater : limits.absentAtFirst)) {
			wait(backoff(known ? 4 : 2, waits.failing, clock.random()));
			return;
		}
		take(cache.replace([]));
		failures = 0;
		wait(backoff(20, limits.absentRetry, clock.random()), 'absent');
	};

	const take = (changes: readonly Change[]): void => {
		if (changes.length > 0) deps.onChanges(changes);
		deps.onTrouble(undefined);
		if (listed) return;
		listed = true;
		deps.onListed();
	};

	const list = (): void => {
		const taken: Taken[] = [];
		// The first of all lists goes on as it comes: what is there is true by itself, and nothing can be gone.
		const first = !listed && cache.size() === 0;
		const takeAtOnce = (one: Taken): void => {
			const change = cache.set(one);
			if (change !== undefined) deps.onChanges([change]);
		};
		let some = false;
		let stranger = false;
		const version = listMode === 'cache' ? resourceVersion || '0' : '';
		const onFailure = (failure: Failure, paging: boolean): void => {
			// An expired continue: pages take too long here, so all at once. What breaks off may be too long for one answer.
			if (failure.code === 410 && paging) listMode = 'whole';
			else if ([400, 410].includes(failure.code) || failure.tooLarge) listMode = 'pages';
			else if (failure.type === 'unreachable' && some) listMode = 'pages';
			failed(failure);
		};
		const onDone = (end: ListEnd, paging: boolean): void => {
			if (stranger) onFailure(garbled(`the list of ${resource.path} holds something else`), paging);
			else if (end.continue !== '') page(end.continue);
			else if (end.resourceVersion === '') {
				onFailure(garbled(`the list of ${resource.path} has no resourceVersion`), paging);
			} else complete(end.resourceVersion);
		};
		const complete = (versionOfList: string): void => {
			resourceVersion = versionOfList;
			mustList = mustCheck = false;
			listMode = 'cache';
			missingSince = undefined;
			take(first ? [] : cache.replace(taken));
			go();
		};
		const page = (token: string): void => {
			const query = {
				resourceVersion: version,
				...(listMode === 'pages' && { limit: pageSize }),
				...(token !== '' && { continue: token }),
			};
			const open = (guard: Guard): Cancel =>
				transport.list(query, {
					alive: () => guard.heard(() => {}),
					item: (raw) =>
						guard.heard(() => {
							const one = cache.read(raw);
							some = true;
							if (one === undefined) stranger = true;
							else if (first) takeAtOnce(one);
							else taken.push(one);
						}),
					done: (end) => guard.heard(() => onDone(end, token !== '')),
					failed: (failure) => guard.failed(() => onFailure(failure, token !== '')),
				});
			begin(
				'listing',
				() => limits.answer,
				open,
				(failure) => onFailure(failure, token !== ''),
			);
		};
		page('');
	};

	/** Asks for the store's present version by a list of one. */
	const check = (): void => {
		const open = (guard: Guard): Cancel =>
			transport.list(
				{ resourceVersion: '', limit: 1 },
				{
					alive: () => guard.heard(() => {}),
					item: () => {},
					done: (end) =>
						guard.heard(() => {
							mustCheck = false;
							if (older(end.resourceVersion, resourceVersion)) {
								const found = `version ${end.resourceVersion} after ${resourceVersion}`;
								deps.onTrouble(`the API server's data is older than before (${found}): it is read anew`);
								mustList = true;
								listMode = 'pages';
							}
							go();
						}),
					failed: (failure) => guard.failed(() => failed(failure)),
				},
			);
		begin('checking', () => limits.answer, open);
	};

	const watch = (): void => {
		const timeoutSeconds = 300 + Math.floor(clock.random() * 300);
		let bookmarked = false;
		const patience = (): number => {
			if (phase !== 'watching') return limits.answer;
			return bookmarked ? limits.bookmarked : timeoutSeconds * 1000 + limits.overrun;
		};
		/** Takes an event, or says what is wrong with it. */
		const takeEvent = ({ type, object }: NonNullable<WatchEvent>): Failure | undefined => {
			if (type === 'ERROR') return statusFailure(0, object);
			const what = `a watch of ${resource.path} sent`;
			if (typeof type !== 'string' || !eventTypes.has(type)) return garbled(`${what} no event we know`);
			const version = versionOf(object);
			if (version === '') return garbled(`${what} an object without resourceVersion`);
			if (type === 'BOOKMARK') bookmarked = true;
			else {
				const taken = cache.read(object);
				if (taken === undefined) return garbled(`${what} something that is no ${resource.kind}`);
				const change = type === 'DELETED' ? cache.delete(taken.key) : cache.set(taken);
				if (change !== undefined) deps.onChanges([change]);
			}
			resourceVersion = version;
			return undefined;
		};
		const onEvent = (event: WatchEvent): void => {
			const failure = takeEvent(event ?? {});
			if (failure !== undefined) failed(failure);
		};
		const onEnded = (): void => {
			if (clock.now() - openedAt >= limits.worked) failures = 0;
			else if (failures >= 3) deps.onTrouble('the API server ends watches as soon as they begin');
			retry(waits.shortLived);
		};
		const open = (guard: Guard): Cancel =>
			transport.watch(
				{ resourceVersion, timeoutSeconds },
				{
					alive: () => guard.heard(() => {}),
					opened: () =>
						guard.heard(() => {
							phase = 'watching';
							openedAt = clock.now();
							deps.onTrouble(undefined);
						}),
					event: (raw) => guard.heard(() => onEvent(raw as WatchEvent)),
					ended: () => guard.heard(onEnded),
					failed: (failure) => guard.failed(() => failed(failure)),
				},
			);
		begin('opening', patience, open);
	};

	return {
		start: go,
		status: () => ({
			phase,
			silence: lastHeard === undefined ? undefined : clock.now() - lastHeard,
			resourceVersion,
		}),
		close: () => {
			stop();
			phase = 'closed';
		},
	};
};
