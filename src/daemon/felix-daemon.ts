import { createFelix } from '../../felix/felix.ts';
import { openKernel } from '../kernel/open-kernel.ts';
import { createRun } from '../kernel/run.ts';
import { openSetMembers } from '../kernel/set-members.ts';
import { openSysctls } from '../kernel/sysctl.ts';
import { runDaemon } from './daemon.ts';
import { nodeSysctls } from './node-sysctls.ts';

/** `manx felix`: felix with the real kernel, programs and sysctls of this node. */
export const runFelix = (configFile: string | undefined): Promise<void> =>
	runDaemon('felix', configFile, ({ settings, log }) => {
		const kernel = openKernel({ log: log.child({ part: 'kernel' }) });
		const setMembers = openSetMembers();
		const felix = createFelix({
			settings,
			kernel,
			log,
			run: createRun(),
			writeMembers: setMembers.write,
			sysctls: nodeSysctls(),
			wiring: {
				openKernelIn: (netns) => openKernel({ log, netns, watch: false }),
				sysctlsIn: (netns) => openSysctls(netns === undefined ? {} : { netns }),
			},
		});
		return {
			start: felix.start,
			onEvent: ({ changes, inSync }) => felix.onChanges(changes, inSync),
			unsettled: felix.unsettled,
			status: felix.status,
			stop: async () => {
				await felix.close();
				kernel.close();
				setMembers.close();
			},
		};
	});
