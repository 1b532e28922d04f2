import { mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import type { Logger } from '../../src/logging.ts';

/**
 * The kernel settings of the node itself that routing needs. What they were before is remembered in a file, for
 * `manx cleanup`. Interfaces that take router advertisements (`accept_ra` 1) get 2 before forwarding goes on: with 1
 * a forwarding host ignores them and loses its default route (Documentation/networking/ip-sysctl.rst).
 */

export type SysctlAccess = {
	/** `net/ipv4/ip_forward`; undefined when there is no such setting. */
	readonly read: (path: string) => string | undefined;
	/** Why it could not be written, or undefined. */
	readonly write: (path: string, value: string) => string | undefined;
	/** Interfaces with IPv6 settings. */
	readonly interfaces: () => readonly string[];
};

const readSaved = (file: string): Record<string, string> => {
	try {
		return JSON.parse(readFileSync(file, 'utf8')) as Record<string, string>;
	} catch {
		return {};
	}
};

const wantedSysctls = (access: SysctlAccess): (readonly [path: string, value: string])[] => [
	...access
		.interfaces()
		.filter((name) => !name.startsWith('manx') && name !== 'all' && name !== 'default' && name !== 'lo')
		.map((name) => `net/ipv6/conf/${name}/accept_ra`)
		.filter((path) => access.read(path) === '1')
		.map((path) => [path, '2'] as const),
	['net/ipv4/ip_forward', '1'],
	['net/ipv6/conf/all/forwarding', '1'],
];

/** Brings them in order; returns the settings changed and those that could not be, in words. */
export const applyHostSysctls = (access: SysctlAccess, file: string): { changed: string[]; failed: string[] } => {
	const changed: string[] = [];
	const failed: string[] = [];
	for (const [path, value] of wantedSysctls(access)) {
		const before = access.read(path);
		// A kernel without IPv6 has no such setting, and needs none.
		if (before === undefined || before === value) continue;
		const saved = readSaved(file);
		if (!(path in saved)) {
			mkdirSync(dirname(file), { recursive: true });
			writeFileSync(`${file}.tmp`, JSON.stringify({ ...saved, [path]: before }));
			renameSync(`${file}.tmp`, file);
		}
		const error = access.write(path, value);
		if (error === undefined) changed.push(`${path} = ${value} (was ${before})`);
		else failed.push(`${path} cannot be set to ${value}: ${error}`);
	}
	return { changed, failed };
};

/** Puts back what was there before, last changed first; returns what could not be. */
export const restoreHostSysctls = (access: SysctlAccess, file: string): string[] =>
	Object.entries(readSaved(file))
		.reverse()
		.flatMap(([path, value]) => {
			if (access.read(path) === undefined) return [];
			const error = access.write(path, value);
			return error === undefined ? [] : [`${path} cannot be set back to ${value}: ${error}`];
		});

export type HostSysctls = {
	/** Brings them in order; those that were not, in words. */
	readonly bring: () => readonly string[];
	/** Settings that somebody changed back time and again. */
	readonly contested: () => readonly string[];
};

/** Changes of one setting, after the first, that look like another program's doing. */
const manyTimes = 3;

/** Keeps the node's settings in order and the log short. */
export const createHostSysctls = (access: SysctlAccess, file: string, log: Logger): HostSysctls => {
	const times = new Map<string, number>();
	let told = '';
	return {
		bring: () => {
			const { changed, failed } = applyHostSysctls(access, file);
			if (changed.length > 0) log.info({ changed }, `kernel settings brought in order: ${changed.join(', ')}`);
			if (failed.join() !== told) for (const failure of failed) log.error({}, failure);
			told = failed.join();
			for (const text of changed) {
				const [path = ''] = text.split(' ');
				times.set(path, (times.get(path) ?? 0) + 1);
			}
			return changed;
		},
		contested: () => [...times].filter(([, count]) => count > manyTimes).map(([path]) => path),
	};
};
