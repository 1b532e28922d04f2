import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { KernelError } from './kernel.ts';
import { kernelError } from './kernel-error.ts';
import { inNetns } from './netns.ts';

/**
 * Sysctls under /proc/sys/net of one network namespace. That folder shows the namespace of whoever opens a file in it,
 * so another's is reached by entering it. In an unprivileged container /proc/sys is read-only, but a hostPath volume
 * of /proc/sys/net at another place is not: that place is `root`.
 */
export type Sysctls = {
	/** Value of `ipv4/ip_forward` or `ipv6/conf/eth0/accept_ra`, blanks trimmed; undefined when there is no such one. */
	readonly read: (name: string) => string | undefined;
	/** Writes unless the value is there already; undefined when done. */
	readonly write: (name: string, value: string) => KernelError | undefined;
	/**
	 * Writes all of them, entering the namespace once; the first refusal. A kernel without IPv6 has none of it to set:
	 * `ipv6/...` is passed over there.
	 */
	readonly writeAll: (settings: readonly (readonly [name: string, value: string])[]) => KernelError | undefined;
};

export type SysctlOptions = {
	/** Where /proc/sys/net is, `/proc/sys/net` when absent. */
	readonly root?: string;
	/** Path of another network namespace. */
	readonly netns?: string;
};

export const openSysctls = ({ root = '/proc/sys/net', netns }: SysctlOptions = {}): Sysctls => {
	const inside = <T>(run: () => T): T => (netns === undefined ? run() : inNetns(netns, run));
	const read = (name: string): string | undefined =>
		inside(() => {
			try {
				return readFileSync(join(root, name), 'utf8').trim();
			} catch {
				return undefined;
			}
		});
	const writeHere = (name: string, value: string): KernelError | undefined => {
		try {
			writeFileSync(join(root, name), value);
			return undefined;
		} catch (error) {
			const errno = (error as NodeJS.ErrnoException).errno;
			if (errno === undefined) throw error;
			const where = root === '/proc/sys/net' ? '' : `below ${root}`;
			return kernelError(-errno, `set net/${name} to ${value}`, where);
		}
	};
	return {
		read,
		write: (name, value) => (read(name) === value ? undefined : inside(() => writeHere(name, value))),
		writeAll: (settings) =>
			inside(() => {
				const hasIPv6 = existsSync(join(root, 'ipv6'));
				for (const [name, value] of settings) {
					if (name.startsWith('ipv6/') && !hasIPv6) continue;
					const error = writeHere(name, value);
					if (error !== undefined) return error;
				}
				return undefined;
			}),
	};
};
