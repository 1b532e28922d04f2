import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { HostFinding } from './finding.ts';

/**
 * systemd-networkd removes routes that it did not make, when it starts and when it sets up a link, unless it is told not to
 * (networkd.conf(5), ManageForeignRoutes). Routing policy rules are of no concern here: Manx makes none.
 */

/** What `manx install-cni` finds in files that felix's container does not see, in runDir. */
export const hostFilesFile = 'host-files.json';

/** In the order of precedence. */
const folders = ['etc/systemd', 'run/systemd', 'usr/local/lib/systemd', 'usr/lib/systemd'];

const read = (path: string): string | undefined => {
	try {
		return readFileSync(path, 'utf8');
	} catch {
		return undefined;
	}
};
const list = (folder: string): string[] => {
	try {
		return readdirSync(folder);
	} catch {
		return [];
	}
};

/** The main file, then drop-ins by name; of files of one name that of the first folder stands for all. */
const configurationOf = (root: string): string[] => {
	const main = folders.map((folder) => read(join(root, folder, 'networkd.conf'))).find((text) => text !== undefined);
	const dropIns = new Map<string, string>();
	for (const folder of folders) {
		const path = join(root, folder, 'networkd.conf.d');
		for (const name of list(path)) {
			if (name.endsWith('.conf') && !dropIns.has(name)) dropIns.set(name, read(join(path, name)) ?? '');
		}
	}
	const sorted = [...dropIns].sort(([a], [b]) => (a < b ? -1 : 1));
	return [main ?? '', ...sorted.map(([, text]) => text)];
};

/** The last value of a boolean; an empty one, or none that is a boolean, says nothing. */
const settingOf = (texts: readonly string[], wanted: string, preset: boolean): boolean => {
	let value = preset;
	for (const text of texts) {
		let section = '';
		for (const line of text.split('\n').map((one) => one.trim())) {
			section = /^\[(.*)\]$/.exec(line)?.[1] ?? section;
			const [, key, given = ''] = /^(\w+)\s*=\s*(.*)$/.exec(line) ?? [];
			if (section !== 'Network' || key !== wanted) continue;
			if (given === '') value = preset;
			else if (/^(1|yes|y|true|t|on)$/i.test(given)) value = true;
			else if (/^(0|no|n|false|f|off)$/i.test(given)) value = false;
		}
	}
	return value;
};

/** `root` is where the host's files are. Nothing is found where networkd does not run. */
export const networkdFindings = (root: string): readonly HostFinding[] => {
	const runs =
		existsSync(join(root, 'run/systemd/netif/state')) || list(join(root, 'run/systemd/netif/links')).length > 0;
	if (!runs || !settingOf(configurationOf(root), 'ManageForeignRoutes', true)) return [];
	return [
		{
			code: 'NetworkdForeignRoutes',
			message: 'systemd-networkd runs and removes routes of others, those to pods too, whenever it sets up a link',
			fix: 'Write [Network] and ManageForeignRoutes=no into /etc/systemd/networkd.conf.d/manx.conf, then systemctl restart systemd-networkd.',
			degraded: false,
		},
	];
};
