import { join } from 'node:path';
import { createFelix } from '../../felix/felix.ts';
import { createHostChecks } from '../host/checks.ts';
import { listBaseChains } from '../kernel/base-chains.ts';
import { openNflog } from '../kernel/nflog.ts';
import { openKernel } from '../kernel/open-kernel.ts';
import { openRulesPrint, type RulesPrint } from '../kernel/rules-print.ts';
import { openSetMembers } from '../kernel/set-members.ts';
import { createShellRun } from '../kernel/shell-run.ts';
import { openSysctls } from '../kernel/sysctl.ts';
import { createCniConf } from './cni-conf.ts';
import { runDaemon } from './daemon.ts';
import { felixRoutes } from './felix-routes.ts';
import { createNodeCondition } from './node-condition.ts';
import { nodeSysctls } from './node-sysctls.ts';

/** Milliseconds between looks at the runtime's folder. */
const cniConfInterval = 5000;

/** `manx felix`: felix with the real kernel, programs and sysctls of this node. */
export const runFelix = (configFile: string | undefined): Promise<void> =>
	runDaemon('felix', configFile, ({ settings, log, client }) => {
		const { nodeName } = settings;
		const condition = client === undefined ? undefined : createNodeCondition({ client, nodeName, log });
		const kernel = openKernel({ log: log.child({ part: 'kernel' }) });
		const setMembers = openSetMembers();
		let rulesPrint: RulesPrint | undefined;
		const shell = createShellRun({ folder: join(settings.runDir, 'shell') });
		const felix = createFelix({
			settings,
			kernel,
			log,
			run: shell.run,
			writeMembers: setMembers.write,
			readSets: setMembers.read,
			openNflog,
			openRulesPrint: (backend) => {
				rulesPrint = openRulesPrint(backend, 'manx-');
				return rulesPrint.take;
			},
			sysctls: nodeSysctls(settings.sysctlRoot),
			wiring: {
				openKernelIn: (netns) => openKernel({ log, netns, watch: false }),
				sysctlsIn: (netns) => openSysctls({ root: settings.sysctlRoot, ...(netns !== undefined && { netns }) }),
			},
		});
		const { cniConfDir, runDir } = settings;
		const cniConf = cniConfDir === '' ? undefined : createCniConf({ dir: cniConfDir, runDir, log });
		const sysctls = openSysctls({ root: settings.sysctlRoot });
		const host = createHostChecks({
			nodeName,
			root: settings.hostRoot,
			runDir,
			kernel,
			run: shell.run,
			readSysctl: sysctls.read,
			baseChains: () => listBaseChains(),
			podNetworks: settings.podNetworks,
			log: log.child({ part: 'host' }),
			felix: () => {
				const { iptables, contestedSettings: contested } = felix.status();
				return iptables && { ...iptables, contested };
			},
		});
		let listening = false;
		let inSync = false;
		const unready = (): readonly string[] => {
			if (!listening) return ['the CNI socket is not open yet'];
			if (felix.status().podCIDRs.length > 0) return [];
			return [
				`Node ${nodeName} does not exist or has no spec.podCIDRs: does the controller-manager allocate node CIDRs?`,
			];
		};
		/** The configuration appears when felix can serve, and comes back when somebody removes it. */
		const offer = (): void => {
			if (inSync && unready().length === 0) cniConf?.write();
		};
		const timer = setInterval(offer, cniConfInterval);
		return {
			start: async () => {
				await felix.start();
				listening = true;
				condition?.serving();
				offer();
			},
			onEvent: (event) => {
				felix.onChanges(event.changes, event.inSync);
				condition?.onEvent(event);
				inSync = event.inSync;
				if (cniConf?.offered() === false) offer();
			},
			unsettled: felix.unsettled,
			routes: felixRoutes(felix),
			unready,
			problems: () => [...felix.status().problems, ...host.problems()],
			status: () => ({
				...felix.status(),
				problems: [...felix.status().problems, ...host.problems()],
				warnings: [...(cniConf?.problems() ?? []), ...felix.status().warnings, ...host.warnings()],
				host: host.findings(),
			}),
			stop: async () => {
				clearInterval(timer);
				condition?.close();
				host.close();
				await felix.close();
				kernel.close();
				setMembers.close();
				rulesPrint?.close();
				shell.close();
			},
		};
	});
