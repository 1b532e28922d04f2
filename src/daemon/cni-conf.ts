import { mkdirSync, readdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Logger } from '../logging.ts';

/**
 * The network configuration list in the runtime's folder. Its appearance tells the kubelet that the node has its network,
 * so it is written when felix can serve and not before; it then stays while felix is away (ADD answers "try again later").
 * Other lists are left alone and reported: the first in the order of names is the one the runtime uses.
 */

export const conflistName = '05-manx.conflist';

/** What `manx install-cni` found of the chained plugins, kept in runDir. */
export const pluginsFile = 'cni-plugins.json';

const versions = ['0.3.1', '0.4.0', '1.0.0', '1.1.0'] as const;

/**
 * Of `cniVersion` and `cniVersions` together a runtime takes the latest it knows (libcni, NetworkConfFromBytes), and asks every
 * plugin of the list for that one; a plugin that does not speak it fails every ADD. So only what all are known to speak is listed:
 * those of Debian 12 (1.1.1) stop at 1.0.0.
 */
const versionsOf = (runDir: string): readonly string[] => {
	try {
		const { supportedVersions } = JSON.parse(readFileSync(join(runDir, pluginsFile), 'utf8')) as {
			supportedVersions: readonly string[];
		};
		return versions.filter((version) => supportedVersions.includes(version));
	} catch {
		return versions.filter((version) => version !== '1.1.0');
	}
};

export const conflistText = (runDir: string): string => {
	const list = {
		cniVersion: '1.0.0',
		cniVersions: versionsOf(runDir),
		name: 'manx',
		plugins: [
			// The bandwidth is the last one's work; ours makes room for it (Attachment.shaped).
			{ type: 'manx', runDir, capabilities: { bandwidth: true } },
			{ type: 'portmap', capabilities: { portMappings: true } },
			{ type: 'bandwidth', capabilities: { bandwidth: true } },
		],
	};
	return `${JSON.stringify(list, null, 2)}\n`;
};

const isConfiguration = (name: string): boolean => /\.(conflist|conf|json)$/.test(name);

export const createCniConf = (options: { readonly dir: string; readonly runDir: string; readonly log: Logger }) => {
	const { dir, runDir, log } = options;
	const file = join(dir, conflistName);
	let told = '';
	let offered = false;
	let problems: readonly string[] = [];

	const read = (): string | undefined => {
		try {
			return readFileSync(file, 'utf8');
		} catch {
			return undefined;
		}
	};
	const lookAround = (): readonly string[] => {
		const others = readdirSync(dir).filter((name) => isConfiguration(name) && name !== conflistName);
		const first = others.filter((name) => name < conflistName);
		if (first.length > 0) {
			return [
				`${first.join(', ')} in ${dir} comes before ${conflistName}: the runtime uses it for new pods. Remove it.`,
			];
		}
		if (others.length === 0) return [];
		return [
			`${others.join(', ')} of another network is in ${dir}; ${conflistName} comes first. Remove what is left of it.`,
		];
	};

	return {
		/** Writes the list unless it is there as it should be. */
		write: (): void => {
			const found: string[] = [];
			try {
				const wanted = conflistText(runDir);
				if (read() !== wanted) {
					mkdirSync(dir, { recursive: true });
					writeFileSync(`${file}.tmp`, wanted, { mode: 0o644 });
					renameSync(`${file}.tmp`, file);
					log.info({ file }, `${file} is written: the runtime may ask for pods`);
				}
				offered = true;
				found.push(...lookAround());
			} catch (error) {
				found.push(`${file} cannot be written: ${(error as Error).message}. No pod gets a network without it.`);
			}
			if (found.join() !== told) for (const problem of found) log.warn({}, problem);
			told = found.join();
			problems = found;
		},
		problems: () => problems,
		/** Whether it has been written once. */
		offered: () => offered,
	};
};
