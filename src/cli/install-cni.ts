import { spawnSync } from 'node:child_process';
import {
	copyFileSync,
	existsSync,
	mkdirSync,
	readdirSync,
	readFileSync,
	renameSync,
	rmSync,
	writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { loadSettings } from '../config.ts';
import { pluginsFile } from '../daemon/cni-conf.ts';
import { hostFilesFile, networkdFindings } from '../host/networkd.ts';

/**
 * `manx install-cni`: puts the CNI executables into the runtime's folder, each by rename, so that one that is running is
 * not disturbed and none is ever seen half written. `manx` is always brought up to date; the standard plugins are only put
 * where the host has none, since its own are newer or older for a reason. What was added is remembered for cleanup.
 */

const installedFile = '.manx-installed.json';
const own = 'manx';
const chained = ['portmap', 'bandwidth'];

const same = (a: string, b: string): boolean => existsSync(b) && readFileSync(a).equals(readFileSync(b));

/** What all chained plugins can speak; a runtime asks all of a list's plugins for one version. */
const commonVersions = (folder: string): readonly string[] | undefined => {
	const lists = chained.map((name) => {
		const { stdout } = spawnSync(join(folder, name), [], {
			env: { CNI_COMMAND: 'VERSION' },
			input: '{"cniVersion":"1.0.0"}',
			encoding: 'utf8',
			timeout: 5000,
		});
		try {
			return (JSON.parse(stdout) as { supportedVersions: readonly string[] }).supportedVersions;
		} catch {
			return undefined;
		}
	});
	return lists.reduce((common, list) =>
		list === undefined ? common : (common?.filter((one) => list.includes(one)) ?? list),
	);
};

const installedBefore = (folder: string): readonly string[] => {
	try {
		return (JSON.parse(readFileSync(join(folder, installedFile), 'utf8')) as { files: readonly string[] }).files;
	} catch {
		return [];
	}
};

/** Takes away what was added; why it could not, or undefined. */
export const removeInstalled = (folder: string): string | undefined => {
	try {
		for (const name of [...installedBefore(folder), installedFile]) rmSync(join(folder, name), { force: true });
		return undefined;
	} catch (error) {
		return (error as Error).message;
	}
};

export const installCni = (options: {
	readonly from: string;
	readonly to?: string;
	/** Where the host's files are, for what felix shall know of them. */
	readonly host?: string;
	readonly config?: string;
}): undefined => {
	const loaded = loadSettings(options.config, process.env);
	const fail = (message: string): undefined => {
		console.error(`manx install-cni: ${message}`);
		process.exitCode = 1;
	};
	if (!loaded.ok) return fail(loaded.error);
	const { from } = options;
	const { runDir, cniBinDir } = loaded.settings;
	const to = options.to ?? cniBinDir;
	if (to === '') return fail('say where to: --to /opt/cni/bin, or the setting cniBinDir.');
	try {
		mkdirSync(to, { recursive: true });
		const added = new Set(installedBefore(to));
		for (const name of readdirSync(from).sort()) {
			const [source, target] = [join(from, name), join(to, name)];
			if (name === own ? same(source, target) : existsSync(target)) {
				console.log(`${target} stays`);
				continue;
			}
			const temporary = join(to, `.${name}.manx-tmp`);
			rmSync(temporary, { force: true });
			copyFileSync(source, temporary);
			renameSync(temporary, target);
			added.add(name);
			console.log(`${target} is installed`);
		}
		writeFileSync(join(to, `${installedFile}.tmp`), JSON.stringify({ files: [...added].sort() }));
		renameSync(join(to, `${installedFile}.tmp`), join(to, installedFile));
		mkdirSync(runDir, { recursive: true, mode: 0o700 });
		const tell = (name: string, what: object): void => {
			writeFileSync(join(runDir, `${name}.tmp`), JSON.stringify(what));
			renameSync(join(runDir, `${name}.tmp`), join(runDir, name));
		};
		if (options.host !== undefined) tell(hostFilesFile, { findings: networkdFindings(options.host) });
		const supportedVersions = commonVersions(to);
		if (supportedVersions !== undefined) tell(pluginsFile, { supportedVersions });
	} catch (error) {
		fail(`${(error as Error).message}. The folder must be writable: is it mounted read-only?`);
	}
};
