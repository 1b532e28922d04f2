import { readdirSync } from 'node:fs';
import type { SysctlAccess } from '../../felix/dataplane/host-sysctls.ts';
import { openSysctls } from '../kernel/sysctl.ts';

/** The settings below /proc/sys/net of this node, as felix and cleanup take them. */
export const nodeSysctls = (root = '/proc/sys/net'): SysctlAccess => {
	const sysctls = openSysctls({ root });
	const nameOf = (path: string): string => path.replace(/^net\//, '');
	return {
		read: (path) => sysctls.read(nameOf(path)),
		write: (path, value) => sysctls.write(nameOf(path), value)?.message,
		interfaces: () => {
			try {
				return readdirSync(`${root}/ipv6/conf`);
			} catch {
				return [];
			}
		},
	};
};
