import { type FSWatcher, watch } from 'node:fs';
import { readdir, readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { isDeepStrictEqual } from 'node:util';
import { LineCounter, parseAllDocuments } from 'yaml';
import { keyOf, type ManxObject } from '../api/objects.ts';
import { validate } from '../api/validate.ts';
import type { Logger } from '../logging.ts';
import type { Change, Datastore, DatastoreEvent, Refusal } from './datastore.ts';

/**
 * A folder of YAML (or JSON) manifests as datastore. The folder is watched; only files that changed are read again.
 * An object that is refused keeps its last good version; a file that is no YAML any more keeps all of its objects.
 * Files whose name begins with a dot are not read, but `.generation` holds a number: once it is seen, everything
 * written before it has been delivered (writers rename files into place).
 */

type FileState = {
	/** Good objects by `Kind key`. */
	readonly objects: ReadonlyMap<string, ManxObject>;
	readonly refusals: readonly Refusal[];
};

const suffix = /\.(ya?ml|json)$/;
const isManifest = (name: string): boolean => suffix.test(name) && !name.startsWith('.');

const idOf = (object: ManxObject): string => `${object.kind} ${keyOf(object.metadata)}`;

/** Kubernetes `List` objects, as `kubectl get -o yaml` prints them, are taken apart. */
const flatten = (raw: unknown): readonly unknown[] => {
	const object = raw as { kind?: unknown; items?: unknown } | null;
	return object !== null &&
		typeof object === 'object' &&
		typeof object.kind === 'string' &&
		object.kind.endsWith('List') &&
		Array.isArray(object.items)
		? object.items
		: [raw];
};

/** Reads the text of one file; `before` is what the file held when it was last read. */
export const parseManifests = (path: string, content: string, before: FileState | undefined): FileState => {
	const objects = new Map<string, ManxObject>();
	const refusals: Refusal[] = [];
	// An object that cannot be identified might be any of those the file held: all of them stay.
	let keepAll = false;
	const lines = new LineCounter();
	const documents = parseAllDocuments(content, { lineCounter: lines });
	for (const document of 'empty' in documents ? [] : documents) {
		const error = document.errors[0];
		if (error !== undefined) {
			keepAll = true;
			const { line } = lines.linePos(error.pos[0]);
			refusals.push({ source: path, object: '', field: '', reason: `line ${line} is not YAML: ${error.message}` });
			continue;
		}
		for (const raw of flatten(document.toJS({ maxAliasCount: 100 }) as unknown)) {
			if (raw === null || raw === undefined) continue;
			const result = validate(raw);
			if (result.type === 'foreign') continue;
			const id = result.type === 'object' ? idOf(result.object) : `${result.kind} ${result.key}`;
			if (objects.has(id)) {
				refusals.push({ source: path, object: id, field: '', reason: 'stands twice in this file; the first counts' });
			} else if (result.type === 'object') {
				objects.set(id, result.object);
			} else {
				refusals.push({ source: path, object: id.trim(), field: result.field, reason: result.reason });
				const lastGood = before?.objects.get(id);
				if (lastGood !== undefined) objects.set(id, lastGood);
				if (result.kind === '' || result.key === '') keepAll = true;
			}
		}
	}
	if (keepAll) for (const [id, object] of before?.objects ?? []) if (!objects.has(id)) objects.set(id, object);
	return { objects, refusals };
};

const sentence = (refusal: Refusal): string =>
	`${refusal.object || 'an object'} in ${refusal.source} is refused: ${[refusal.field, refusal.reason].filter(Boolean).join(' ')}. ` +
	'Its last good version stays in force, if there was one; correct the file.';

export type DirectoryOptions = {
	readonly path: string;
	readonly log: Logger;
	/** Milliseconds between full comparisons with the folder, in case a notification was lost. */
	readonly rescanInterval?: number;
};

export const createDirectoryDatastore = ({ path, log, rescanInterval = 30_000 }: DirectoryOptions): Datastore => {
	const files = new Map<string, FileState>();
	const stamps = new Map<string, string>();
	/** Files that hold an object, in path order the first of which counts. */
	const holders = new Map<string, Set<string>>();
	const published = new Map<string, ManxObject>();
	const dirty = new Set<string>();
	const logged = new Set<string>();
	const watchers = new Map<string, FSWatcher>();
	let refusals: readonly Refusal[] = [];
	let generation = 0;
	let inSync = false;
	let scanAll = true;
	let closed = false;
	let running: Promise<void> | undefined;
	let again = false;
	let timer: NodeJS.Timeout | undefined;
	let listener: (event: DatastoreEvent) => void = () => {};

	const readGeneration = async (): Promise<number> => {
		const number = Number(await readFile(join(path, '.generation'), 'utf8').catch(() => '0'));
		return Number.isSafeInteger(number) ? number : 0;
	};

	/** One watcher a folder: node's recursive watch loses files that are replaced by a rename. */
	const watchFolder = (folder: string): void => {
		const watcher = watch(folder, (_event, name) => {
			if (name !== null && isManifest(name)) dirty.add(join(folder, name));
			else if (name === null || !name.startsWith('.')) scanAll = true;
			trigger();
		});
		watcher.on('error', () => watcher.close());
		watcher.on('close', () => watchers.delete(folder));
		watchers.set(folder, watcher);
	};

	/** Manifest files of the folder and those below, each watched before it is listed. */
	const list = async (folder = path): Promise<string[]> => {
		if (!watchers.has(folder) && !closed) watchFolder(folder);
		const found: string[] = [];
		for (const entry of await readdir(folder, { withFileTypes: true })) {
			const full = join(folder, entry.name);
			if (isManifest(entry.name)) found.push(full);
			else if (entry.isDirectory() && !entry.name.startsWith('.')) found.push(...(await list(full)));
		}
		return found;
	};

	/** Reads one file again if it changed; returns the ids it touches. */
	const refresh = async (file: string): Promise<Iterable<string>> => {
		const before = files.get(file);
		const info = await stat(file, { bigint: true }).catch(() => undefined);
		const stamp = info?.isFile() ? `${info.ino} ${info.mtimeNs} ${info.size}` : undefined;
		if (stamp === undefined) {
			stamps.delete(file);
			files.delete(file);
			for (const id of before?.objects.keys() ?? []) holders.get(id)?.delete(file);
			return before?.objects.keys() ?? [];
		}
		if (stamp === stamps.get(file)) return [];
		const content = await readFile(file, 'utf8').catch((error: Error) => error);
		if (content instanceof Error) {
			const refusal = { source: file, object: '', field: '', reason: `cannot be read: ${content.message}` };
			files.set(file, { objects: before?.objects ?? new Map(), refusals: [refusal] });
			return [];
		}
		const state = parseManifests(file, content, before);
		stamps.set(file, stamp);
		files.set(file, state);
		for (const id of before?.objects.keys() ?? []) if (!state.objects.has(id)) holders.get(id)?.delete(file);
		for (const id of state.objects.keys()) {
			const set = holders.get(id) ?? new Set();
			holders.set(id, set.add(file));
		}
		return [...(before?.objects.keys() ?? []), ...state.objects.keys()];
	};

	const changeOf = (id: string): Change | undefined => {
		const file = [...(holders.get(id) ?? [])].sort()[0];
		const object = file === undefined ? undefined : files.get(file)?.objects.get(id);
		const old = published.get(id);
		if (object !== undefined) {
			if (isDeepStrictEqual(object, old)) return undefined;
			published.set(id, object);
			return { type: 'set', object };
		}
		holders.delete(id);
		if (old === undefined) return undefined;
		published.delete(id);
		return { type: 'delete', kind: old.kind, key: keyOf(old.metadata) };
	};

	const collectRefusals = (): void => {
		const all: Refusal[] = [...files.values()].flatMap((state) => state.refusals);
		for (const [id, set] of holders) {
			if (set.size < 2) continue;
			const [first, ...others] = [...set].sort();
			for (const source of others) {
				all.push({ source, object: id, field: '', reason: `is defined in ${first} already, which counts` });
			}
		}
		refusals = all;
		const texts = new Set(all.map(sentence));
		for (const refusal of all) {
			const message = sentence(refusal);
			if (!logged.has(message)) log.error({ ...refusal }, message);
		}
		logged.clear();
		for (const message of texts) logged.add(message);
	};

	const scan = async (): Promise<void> => {
		// The number is read before the files: what was written before it is then seen for certain.
		const declared = await readGeneration();
		const whole = scanAll || declared !== generation;
		scanAll = false;
		const candidates = new Set(dirty);
		dirty.clear();
		if (whole) {
			try {
				for (const file of await list()) candidates.add(file);
				for (const file of files.keys()) candidates.add(file);
			} catch (error) {
				scanAll = true;
				for (const file of candidates) dirty.add(file);
				const reason = (error as Error).message;
				log.error({ path }, `the folder of objects cannot be listed: ${reason}. What was read stays in force.`);
				for (const watcher of watchers.values()) watcher.close();
				setTimeout(trigger, 1000).unref();
				return;
			}
		}
		const ids = new Set<string>();
		for (const file of candidates) for (const id of await refresh(file)) ids.add(id);
		const changes = [...ids].map(changeOf).filter((change) => change !== undefined);
		collectRefusals();
		if (closed || (changes.length === 0 && inSync && declared === generation)) return;
		generation = declared;
		inSync = true;
		listener({ changes, inSync, generation });
	};

	const trigger = (): void => {
		again = true;
		running ??= (async () => {
			while (again && !closed) {
				again = false;
				await scan().catch((error: Error) => log.error({ path }, `reading the objects failed: ${error.message}`));
			}
		})().finally(() => {
			running = undefined;
			if (again && !closed) trigger();
		});
	};

	return {
		start: (onEvent) => {
			listener = onEvent;
			trigger();
			timer = setInterval(() => {
				scanAll = true;
				trigger();
			}, rescanInterval);
			timer.unref();
		},
		refusals: () => refusals,
		close: async () => {
			closed = true;
			clearInterval(timer);
			for (const watcher of watchers.values()) watcher.close();
			await running;
		},
	};
};
