import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Backend, Run } from 'iptables-wrapper';
import type { Problem } from '../api/cluster.ts';
import type { BaseChain } from '../kernel/base-chains.ts';
import type { Kernel } from '../kernel/kernel.ts';
import type { Logger } from '../logging.ts';
import type { HostFinding } from './finding.ts';
import { sentenceOf } from './finding.ts';
import { baseChainFindings, forwardFindings } from './firewalls.ts';
import { ipvsFindings, reversePathFindings } from './interfaces.ts';
import { kernelFindings } from './kernel-features.ts';
import { networkManagerFindings } from './network-manager.ts';
import { hostFilesFile, networkdFindings } from './networkd.ts';

/**
 * Looks at the host for what gets in the way of pods: when felix has brought its rules in, and again each minute. What is
 * found is logged once, shown by `manx status` with what to do, and where it degrades the node, told on its Node object.
 */

export type HostChecks = {
	readonly findings: () => readonly HostFinding[];
	/** Those that degrade the node, as problems of its Node object. */
	readonly problems: () => readonly Problem[];
	/** The others, as sentences. */
	readonly warnings: () => readonly string[];
	/** Looks now. */
	readonly look: () => Promise<void>;
	readonly close: () => void;
};

export type HostChecksOptions = {
	readonly nodeName: string;
	/** '' : no files are looked at. */
	readonly root: string;
	readonly runDir: string;
	readonly kernel: Pick<Kernel, 'listLinks' | 'listAddresses'>;
	/** Of the node's netns. */
	readonly run: Run;
	readonly readSysctl: (name: string) => string | undefined;
	/** What felix chose and met; undefined while it is not known. */
	readonly felix: () =>
		| { readonly backend: Backend; readonly mixed: boolean; readonly contested: readonly string[] }
		| undefined;
	/** Of the node's netns. */
	readonly baseChains: () => Promise<readonly BaseChain[]>;
	/** By setting. */
	readonly podNetworks: readonly string[];
	readonly log: Logger;
};

/** Milliseconds. */
const first = 3000;
const interval = 60_000;

const accept = 'MANX-ACCEPT';

const readHostFiles = (runDir: string): readonly HostFinding[] => {
	try {
		return (JSON.parse(readFileSync(join(runDir, hostFilesFile), 'utf8')) as { findings: readonly HostFinding[] })
			.findings;
	} catch {
		return [];
	}
};

const mixedFinding = (backend: Backend): HostFinding => ({
	code: 'MixedIptables',
	message: `other programs have rules in both iptables-legacy and iptables-nft, and a packet must pass both; Manx uses ${backend}`,
	fix: 'Let all programs use one (update-alternatives --set iptables), flush the other, and say iptablesBackend if Manx chose wrongly.',
	degraded: false,
});

const contestedFinding = (path: string): HostFinding => {
	const name = path.replace(/^net\//, 'net/').replaceAll('/', '.');
	return {
		code: 'SettingContested',
		message: `another program changes ${name} back time and again, and pods are cut off for seconds each time`,
		fix: `Find who writes it (grep -r ${name} /etc/sysctl.d /etc/sysctl.conf /usr/lib/sysctl.d; configuration management, a firewall) and set it there as Manx needs it.`,
		degraded: true,
	};
};

export const createHostChecks = (options: HostChecksOptions): HostChecks => {
	const { nodeName, root, runDir, kernel, run, readSysctl, felix, podNetworks, log } = options;
	let findings: readonly HostFinding[] = [];
	/** Tried once: what a kernel can do does not change, but for modules loaded later. */
	let lacking: readonly HostFinding[] | undefined;
	let told: ReadonlySet<string> = new Set();
	let timer: NodeJS.Timeout | undefined;
	let closed = false;

	/** A look that fails says nothing, and must not keep the others from being taken. */
	const attempt = async (
		look: () => Promise<readonly HostFinding[]> | readonly HostFinding[],
	): Promise<readonly HostFinding[]> => {
		try {
			return await look();
		} catch (error) {
			log.debug({}, `a look at the host failed: ${(error as Error).message}`);
			return [];
		}
	};

	const look = async (): Promise<void> => {
		const [links, addresses] = await Promise.all([kernel.listLinks(), kernel.listAddresses()]);
		const known = felix();
		const found: HostFinding[] = [
			...ipvsFindings(links),
			...reversePathFindings(addresses, readSysctl),
			...(await attempt(async () => baseChainFindings(await options.baseChains(), podNetworks))),
		];
		if (root !== '') {
			found.push(...networkManagerFindings(root, links));
			const ofFiles = [...networkdFindings(root), ...readHostFiles(runDir)];
			found.push(...new Map(ofFiles.map((finding) => [finding.code, finding])).values());
		}
		if (known !== undefined) {
			const { backend, mixed, contested } = known;
			if (mixed) found.push(mixedFinding(backend));
			found.push(...contested.map(contestedFinding));
			for (const program of ['iptables', 'ip6tables']) {
				found.push(
					...(await attempt(async () => {
						const { code, stdout } = await run(`${program}-${backend}-save`, ['-t', 'filter']);
						return code === 0 ? forwardFindings(stdout, accept) : [];
					})),
				);
			}
			// Looked at again while something is lacking: a module may have been loaded.
			if (lacking === undefined || lacking.length > 0) {
				lacking = await attempt(() =>
					kernelFindings(run, backend, readSysctl('ipv6/conf/all/forwarding') === undefined ? [4] : [4, 6]),
				);
			}
			found.push(...lacking);
		}
		findings = [...new Map(found.map((finding) => [sentenceOf(finding), finding])).values()];
		for (const finding of findings) {
			if (!told.has(sentenceOf(finding))) log.warn({ code: finding.code }, sentenceOf(finding));
		}
		told = new Set(findings.map(sentenceOf));
	};

	const again = (milliseconds: number): void => {
		if (closed) return;
		timer = setTimeout(() => {
			void attempt(async () => {
				await look();
				return [];
			}).finally(() => again(interval));
		}, milliseconds);
		timer.unref();
	};
	again(first);

	return {
		findings: () => findings,
		problems: () =>
			findings
				.filter(({ degraded }) => degraded)
				.map(({ code, message, fix }) => ({
					object: `Node ${nodeName}`,
					field: '',
					code,
					reason: `${message}. ${fix}`,
					node: nodeName,
				})),
		warnings: () => findings.filter(({ degraded }) => !degraded).map(sentenceOf),
		look,
		close: () => {
			closed = true;
			clearTimeout(timer);
		},
	};
};
