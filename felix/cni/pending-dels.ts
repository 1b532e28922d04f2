import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, watch } from 'node:fs';
import { join } from 'node:path';
import type { Logger } from '../../src/logging.ts';
import { type CniReply, type CniRequest, decodeRequest } from './protocol.ts';
import { attachmentKey } from './records.ts';

/**
 * DELs the plugin remembered while felix was away: `<runDir>/pending-dels/ID:IFNAME`, each a request as protocol.ts
 * frames it. They are done at start, when one appears (the plugin may write one in the moment felix comes up) and, for
 * those that failed, again every few seconds. A file goes once its DEL has succeeded.
 */
export type PendingDels = {
	readonly has: (key: string) => boolean;
	readonly forget: (key: string) => void;
	/** Does all there are, one after the other. */
	readonly run: () => Promise<void>;
	/** Runs now and on every new file until closed. */
	readonly start: () => Promise<void>;
	readonly close: () => void;
};

const retryMs = 5_000;

export const createPendingDels = (options: {
	readonly runDir: string;
	readonly log: Logger;
	readonly handle: (request: CniRequest) => Promise<CniReply>;
}): PendingDels => {
	const { log, handle } = options;
	const directory = join(options.runDir, 'pending-dels');
	mkdirSync(directory, { recursive: true, mode: 0o700 });
	const pathOf = (key: string): string => join(directory, key);
	let running: Promise<void> | undefined;
	let again = false;
	let stop = (): void => {};

	const one = async (file: string): Promise<void> => {
		const path = join(directory, file);
		const bytes = readIfPresent(path);
		if (bytes === undefined) return;
		const decoded = decodeRequest(bytes);
		const env = decoded.type === 'request' ? decoded.request.env : new Map<string, string>();
		const id = { containerID: env.get('CNI_CONTAINERID') ?? '', ifname: env.get('CNI_IFNAME') ?? '' };
		if (decoded.type !== 'request' || env.get('CNI_COMMAND') !== 'DEL' || attachmentKey(id) !== file) {
			log.warn({ file: path }, 'not a remembered DEL of the CNI plugin: removed');
			rmSync(path, { force: true });
			return;
		}
		const reply = await handle(decoded.request);
		if (reply.exitCode === 0) {
			rmSync(path, { force: true });
			log.info(id, 'did a DEL that came while felix was away');
		} else {
			log.warn({ ...id, reply: reply.stdout.trim() }, 'a remembered DEL failed: it will be tried again');
		}
	};

	const runAll = async (): Promise<void> => {
		do {
			again = false;
			for (const file of readdirSync(directory)) {
				if (!file.startsWith('.')) await one(file);
			}
		} while (again);
	};

	const run = (): Promise<void> => {
		again = true;
		running ??= runAll().finally(() => {
			running = undefined;
		});
		return running;
	};

	const runLogged = (): void => {
		run().catch((error: unknown) => log.error({ error: String(error) }, `reading ${directory} failed`));
	};

	return {
		has: (key) => existsSync(pathOf(key)),
		forget: (key) => rmSync(pathOf(key), { force: true }),
		run,
		start: async () => {
			const watcher = watch(directory, { persistent: false }, runLogged);
			watcher.on('error', (error) => log.warn({ error: String(error) }, `watching ${directory} failed`));
			const timer = setInterval(runLogged, retryMs);
			timer.unref();
			stop = () => {
				watcher.close();
				clearInterval(timer);
			};
			await run();
		},
		close: () => stop(),
	};
};

const readIfPresent = (path: string): Buffer | undefined => {
	try {
		return readFileSync(path);
	} catch {
		return undefined;
	}
};
