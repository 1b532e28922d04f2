import { existsSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { createChains, createIpsets } from 'iptables-wrapper';
import { findFormerRoutes, removeFormerRoutes } from '../../bird/fib/former-routes.ts';
import { restoreHostSysctls } from '../../felix/dataplane/host-sysctls.ts';
import { loadSettings } from '../config.ts';
import { conflistName } from '../daemon/cni-conf.ts';
import { nodeSysctls } from '../daemon/node-sysctls.ts';
import { owners } from '../kernel/kernel.ts';
import { openKernel } from '../kernel/open-kernel.ts';
import { createRun } from '../kernel/run.ts';
import { createLogger } from '../logging.ts';
import { removeInstalled } from './install-cni.ts';

/**
 * `manx cleanup`: leaves the node as it was before. Run it when the daemons have ended. Rules go before the sets they
 * name; what is not ours is not touched. Goes on after a failure and ends with 1 then.
 */
export const cleanup = async (options: { readonly config?: string; readonly yes?: boolean }): Promise<void> => {
	const loaded = loadSettings(options.config, process.env);
	if (!loaded.ok) {
		console.error(`manx cleanup: ${loaded.error}`);
		process.exitCode = 2;
		return;
	}
	const { runDir, cniConfDir, cniBinDir } = loaded.settings;
	if (options.yes !== true) {
		console.error(
			'manx cleanup: this takes the network from every pod of this node. End felix and bird, then add --yes.',
		);
		process.exitCode = 2;
		return;
	}
	const log = createLogger('manx-cleanup', 'warn');
	const run = createRun();
	const failures: string[] = [];
	const step = (what: string, error: string | undefined): void => {
		if (error !== undefined) failures.push(`${what}: ${error}`);
		console.log(`${error === undefined ? 'done' : 'FAILED'}  ${what}`);
	};
	// First of all: while the list is there the runtime goes on asking for pods.
	if (cniConfDir !== '') {
		rmSync(join(cniConfDir, conflistName), { force: true });
		step(`CNI configuration in ${cniConfDir}`, undefined);
	}
	const kernel = openKernel({ log, watch: false });
	for (const backend of ['nft', 'legacy'] as const) {
		if ((await run(`iptables-${backend}-save`, ['--version'])).code !== 0) continue;
		for (const family of [4, 6] as const) {
			const error = await createChains({ family, backend, prefix: 'MANX-', run }).remove();
			step(`rules, IPv${family}, ${backend}`, error?.message);
		}
	}
	step('sets', (await createIpsets({ prefix: 'manx-', run }).remove())?.message);
	for (const link of await kernel.listLinks()) {
		if (!/^manx[0-9a-f]{11}$/.test(link.name) || link.kind !== 'veth') continue;
		step(`interface ${link.name}`, (await kernel.deleteLink(link.name))?.message);
	}
	// Under a metric of BGPConfiguration's.
	const former = await findFormerRoutes(kernel, owners.bird);
	if (former.count > 0) step(`${former.count} routes of bird`, await removeFormerRoutes(kernel, former.owners));
	for (const [name, owner] of Object.entries(owners)) {
		const routes = kernel.routes(owner);
		await routes.resync();
		routes.replace([]);
		routes.sweep(true);
		const { deleted, failed } = await routes.apply();
		step(`${deleted.length} routes of ${name}`, failed.values().next().value?.message);
	}
	const sysctls = join(runDir, 'sysctls.json');
	const refused = restoreHostSysctls(nodeSysctls(loaded.settings.sysctlRoot), sysctls);
	step('kernel settings', refused[0]);
	kernel.close();
	if (cniBinDir !== '') step(`CNI executables in ${cniBinDir}`, removeInstalled(cniBinDir));
	if (failures.length === 0 && existsSync(runDir)) rmSync(runDir, { recursive: true, force: true });
	for (const failure of failures) console.error(failure);
	process.exitCode = failures.length === 0 ? 0 : 1;
};
